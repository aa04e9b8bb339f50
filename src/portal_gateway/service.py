"""The daemon: options for twistd, and the root service built from a configuration.

The only importer of the reactor.
"""

import atexit
import gc
import time
from collections.abc import Callable, Mapping
from functools import partial
from os import environ
from pathlib import Path
from typing import Any, TypeVar

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from portal_gateway.config.loading import ConfigInvalid, load_config
from portal_gateway.config.model import Config, LoggingSection
from portal_gateway.gateway import Gateway
from portal_gateway.observe.library_logs import hear_libraries
from portal_gateway.observe.log_output import (
    STDERR,
    STDOUT,
    LogFile,
    LogStream,
    Output,
    open_output,
)
from portal_gateway.observe.log_queue import LogQueue
from portal_gateway.observe.logs import DELAY, Log
from portal_gateway.relay.credential_file import CredentialFileError
from portal_gateway.sd_notify import notifier_of
from portal_gateway.signals import end_by_signals, reload_by_signal

__all__ = ["Options", "ask", "loading", "makeService", "run", "use_monotonic_time"]

T = TypeVar("T")
Service = TypeVar("Service", bound=IService)


class Options(UsageOptions):
    """twistd's options of ``portal-gateway``."""

    optParameters = [["config", "c", None, "The configuration file, in YAML."]]  # noqa: RUF012

    config: Config

    def postOptions(self) -> None:
        """Read the configuration. Raises ``UsageError`` that tells every fault of it."""
        if self["config"] is None:
            raise UsageError("--config FILE is needed")
        try:
            self.config = load_config(Path(self["config"]), environ)
        except ConfigInvalid as invalid:
            raise UsageError("\n".join(str(fault) for fault in invalid.faults)) from None
        if self.config.gateway.workers != 1:
            # Its reactor is there before anything can be forked.
            raise UsageError(
                "gateway.workers: twistd runs one process; portal-gateway run starts several"
            )


def makeService(options: Options) -> IService:
    """The service that twistd runs."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd chooses the reactor first

    use_monotonic_time(reactor)
    reactor.callWhenRunning(spare_the_collector)
    log = _make_or_exit(
        lambda: _open_log(reactor, options.config.logging, partial(_twistd_output, options.parent))
    )
    # What cannot start says why in one line, and needs no log of how it was about to.
    reactor.callWhenRunning(atexit.register, log.close)
    load = loading(Path(options["config"]))
    notifier = notifier_of(environ)
    gateway = _make_or_exit(
        lambda: Gateway(
            reactor,
            options.config,
            log,
            load=load,
            notifier=notifier,
        )
    )
    _reload_by_signal(reactor, gateway)
    reactor.callWhenRunning(end_by_signals, reactor, gateway)
    return gateway


def loading(path: Path) -> Callable[[], Config]:
    """What reads the configuration at ``path`` anew, wherever the process is by then."""
    absolute = path.absolute()
    return lambda: load_config(absolute, environ)


def _reload_by_signal(reactor: Any, service: IService) -> None:
    """Have SIGHUP reload from now on: one that came before would end the process."""
    if isinstance(service, Gateway) and service.reloads is not None:
        reload_by_signal(reactor, service.reloads.reload)


def spare_the_collector() -> None:
    """Keep what was made until now out of the garbage collector's sight.

    Modules and configuration stay as long as the process. Looking through them again each time took
    25 to 50 ms, several times a second under load, and every request waited.
    """
    gc.collect()
    gc.freeze()


def use_monotonic_time(reactor: Any) -> None:
    """Have the reactor's clock, and all that it is to call later, run on when the time is set.

    Twisted's own reactors take the time of day: set back by an hour, it would keep every deadline
    waiting for an hour, and set forward it would let all of them pass at once. To be called before
    anything is scheduled; a reactor with a clock of its own keeps it.
    """
    if reactor.seconds is time.time:
        reactor.seconds = time.monotonic


def _make_or_exit(make: Callable[[], T]) -> T:
    """The service, or the end of the process with one line about the file that cannot be used."""
    try:
        return make()
    except (CredentialFileError, OSError, ValueError) as error:
        raise SystemExit(f"portal-gateway: {error}") from None


def _open_log(reactor: Any, logging: LoggingSection, elsewhere: Callable[[], Output]) -> Log:
    """The log, which somebody has to close."""

    def open_sink(logging: LoggingSection) -> LogQueue:
        return LogQueue(open_output(logging, elsewhere))

    log = Log(
        reactor,
        open_sink(logging),
        level=logging.level,
        style=logging.format,
        query=logging.query,
        delay=DELAY,
        open_sink=open_sink,
    )
    hear_libraries()
    return log


def _twistd_output(options: Mapping[str, object] | None) -> Output:
    """Where twistd's own options send the log: ``--logfile``, else its default for a daemon."""
    name = (options or {}).get("logfile")
    if name is None:
        name = "-" if (options or {}).get("nodaemon") else "twistd.log"
    return LogStream(STDOUT) if name == "-" else LogFile(Path(str(name)).absolute())


def ask(question: Callable[[Any], Deferred[T]]) -> T:
    """Run the reactor until ``question``, which is given it, has its answer.

    Raises ``SystemExit`` when it fails.
    """
    answers: list[T] = []

    def main(reactor: Any) -> Deferred[None]:
        return question(reactor).addCallback(answers.append)

    try:
        react(main)
    except SystemExit:
        if not answers:
            raise
    return answers[0]


def run(
    make: Callable[[Any, Log], Service],
    logging: LoggingSection = LoggingSection(),  # noqa: B008 - it is frozen
    *,
    obey: Callable[[Any, Service], object] = end_by_signals,
) -> None:
    """Run a service in the foreground until a signal ends it.

    The log goes to standard error where ``logging`` does not say otherwise. ``obey`` is called when
    the reactor runs, and has signals, or others, end the service.

    Raises ``SystemExit`` with a message when the service cannot start.
    """
    from twisted.internet import reactor  # noqa: PLC0415 - as above

    use_monotonic_time(reactor)
    log = _make_or_exit(lambda: _open_log(reactor, logging, lambda: LogStream(STDERR)))
    service = _make_or_exit(lambda: make(reactor, log))
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    _reload_by_signal(reactor, service)
    service.privilegedStartService()
    reactor.callWhenRunning(service.startService)
    reactor.callWhenRunning(spare_the_collector)
    reactor.callWhenRunning(obey, reactor, service)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    log.close()
