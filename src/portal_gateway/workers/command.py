"""``portal-gateway run`` with several workers: what the parent and each of them is made of."""

import os
import shutil
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger

from portal_gateway import service
from portal_gateway.config.endpoint_strings import without_proxy
from portal_gateway.config.loading import ConfigInvalid
from portal_gateway.config.model import Config, LoggingSection
from portal_gateway.config.standing import keep_standing
from portal_gateway.frontend.listening_sockets import ListeningSockets
from portal_gateway.gateway import Gateway
from portal_gateway.observe.log_output import STDERR, AtOnce, LogStream, open_output
from portal_gateway.observe.logs import Log
from portal_gateway.observe.worker_files import WorkerFiles
from portal_gateway.sd_notify import Notifier
from portal_gateway.signals import end_by_signals
from portal_gateway.workers.lifeline import LISTENS, Lifeline
from portal_gateway.workers.parent import Parent

__all__ = ["count_of", "run_workers"]


def count_of(config: Config) -> int:
    """How many processes the configuration asks for on this machine."""
    workers = config.gateway.workers
    # The cores that this process may use, which in a container can be fewer than there are.
    return len(os.sched_getaffinity(0)) if workers == "auto" else workers


def run_workers(
    config: Config,
    load: Callable[[], Config],
    notifier: Notifier,
    announce: Callable[[str], object],
) -> int:
    """Run as many workers as ``config`` says until a signal ends them; the exit status.

    Raises ``SystemExit`` with a message when an address cannot be listened on, or the log cannot be
    written to.
    """
    try:
        notes = _Notes(config.logging)
    except OSError as error:
        raise SystemExit(f"portal-gateway: {error}") from None
    crew = Workers(config, load, notifier.watchdog)
    crew.open_sockets()
    try:
        crew.figures = Path(tempfile.mkdtemp(prefix="portal-gateway-"))
    except OSError as error:
        # FileNotFoundError where no directory for such files can be written to.
        notes.error(f"each worker tells its own metrics only: {error.strerror or error}")

    def reloading() -> None:
        crew.reload()
        notes.use(crew.config.logging)

    parent = Parent(
        count_of(config),
        crew.work,
        notifier,
        notes,
        announce=announce,
        reloading=reloading,
        close=crew.sockets.close,
    )
    try:
        return parent.run()
    finally:
        crew.sockets.remove()
        if crew.figures is not None:
            shutil.rmtree(crew.figures, ignore_errors=True)


class Workers:
    """What is forked: the configuration that new workers begin with, and the sockets they share.

    ``figures`` is the directory where they know each other's metrics from, if they do.
    """

    def __init__(
        self, config: Config, load: Callable[[], Config], watchdog: float | None = None
    ) -> None:
        self.config = config
        self.sockets = ListeningSockets(reuse_port=config.gateway.reuse_port, shared=True)
        self.figures: Path | None = None
        self._load = load
        self._watchdog = watchdog

    def open_sockets(self) -> None:
        """Take every address. Raises ``SystemExit`` for one that cannot be listened on."""
        for address, endpoint in _addresses(self.config):
            try:
                self.sockets.open(without_proxy(endpoint))
            except OSError as error:
                why = error.strerror or error
                raise SystemExit(f"portal-gateway: cannot listen on {address}: {why}") from None

    def reload(self) -> None:
        """Have workers that are started later begin with what is in the file now.

        A file with a fault changes nothing; the workers that run say what it is.
        """
        try:
            self.config, _ = keep_standing(self._load(), self.config)
        except (ConfigInvalid, OSError, ValueError):
            return

    def work(self, number: int, connection: socket.socket) -> int:
        """Be a worker; the exit status of its process."""
        try:
            self._run(number, connection)
        except SystemExit as error:
            if isinstance(error.code, str):
                sys.stderr.write(f"{error.code}\n")
                return 1
            return error.code or 0
        except BaseException:  # noqa: BLE001 - this is where the process ends
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _run(self, number: int, connection: socket.socket) -> None:
        config, directory = self.config, self.figures
        # The parent looks half as often as the service manager, and hears of each in between.
        watchdog = None if self._watchdog is None else self._watchdog / 2
        notifier = Notifier(connection.send, watchdog)

        def make(reactor: Any, log: Log) -> Gateway:
            known = None if directory is None else WorkerFiles(directory, number, reactor.seconds)
            return Gateway(
                reactor,
                config,
                log,
                lambda url: connection.send(LISTENS + url.encode()),
                load=self._load,
                notifier=notifier,
                sockets=self.sockets,
                workers=known,
            )

        def obey(reactor: Any, gateway: Gateway) -> None:
            ending = end_by_signals(reactor, gateway)
            assert gateway.reloads is not None
            Lifeline(reactor, connection, ending, gateway.reloads.reload)

        service.run(make, config.logging, obey=obey)


def _addresses(config: Config) -> Iterator[tuple[str, str]]:
    gateway = config.gateway
    yield gateway.listen, gateway.listen_endpoint
    if gateway.tls is not None and gateway.tls.redirect_from is not None:
        yield gateway.tls.redirect_from
    if config.metrics.listen is not None:
        yield config.metrics.listen


class _Notes:
    """The parent's lines in the log, written at once: it has no reactor for later."""

    def __init__(self, logging: LoggingSection) -> None:
        self._output = self._open(logging)

    def _open(self, logging: LoggingSection) -> AtOnce:
        output = AtOnce(open_output(logging, lambda: LogStream(STDERR)))
        self._log = Log(Clock(), output, level=logging.level, style=logging.format)
        self._logger = Logger("portal_gateway.workers", observer=self._log)
        return output

    def use(self, logging: LoggingSection) -> None:
        """Write by another configuration from now on, if that can be done."""
        before = self._output
        try:
            self._output = self._open(logging)
        except OSError:
            # The workers say why, and stay with what they have.
            return
        before.close()

    def info(self, message: str) -> None:
        self._logger.info(message)
        self._log.flush()

    def error(self, message: str) -> None:
        self._logger.error(message)
        self._log.flush()
