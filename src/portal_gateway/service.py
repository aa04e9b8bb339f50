"""The daemon: options for twistd, and the root service built from a configuration.

The only importer of the reactor.
"""

import gc
import sys
import time
from collections.abc import Callable, Mapping
from os import environ
from pathlib import Path
from typing import Any, TextIO, TypeVar

from twisted.application.service import IService
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import globalLogBeginner
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from portal_gateway.config.loading import ConfigInvalid, load_config
from portal_gateway.config.model import Config
from portal_gateway.gateway import Gateway
from portal_gateway.observe.logs import Log, Sink
from portal_gateway.relay.credential_file import CredentialFileError
from portal_gateway.sd_notify import notifier_of
from portal_gateway.signals import end_by_signals, reload_by_signal

__all__ = ["Options", "ask", "loading", "makeService", "run", "use_monotonic_time"]

T = TypeVar("T")
S = TypeVar("S", bound=IService)


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
    sink = _twistd_sink(options.parent or {})
    logging = options.config.logging
    log = Log(reactor, sink, level=logging.level, style=logging.format)
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


def _make_or_exit(make: Callable[[], S]) -> S:
    """The service, or the end of the process with one line about the file that cannot be used."""
    try:
        return make()
    except (CredentialFileError, OSError, ValueError) as error:
        raise SystemExit(f"portal-gateway: {error}") from None


def _twistd_sink(options: Mapping[str, object]) -> Sink:
    """Where twistd's own options send the log: ``--logfile``, else its default for a daemon."""
    name = options.get("logfile")
    if name is None:
        name = "-" if options.get("nodaemon") else "twistd.log"
    if name == "-":
        return sys.stdout
    return Path(str(name)).open("a", encoding="ascii")


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
    make: Callable[[Any, Log], S],
    *,
    level: str = "info",
    style: str = "json",
    sink: TextIO | None = None,
    obey: Callable[[Any, S], object] = end_by_signals,
) -> None:
    """Run a service in the foreground until a signal ends it; the log goes to standard error.

    ``obey`` is called when the reactor runs, and has signals, or others, end the service.

    Raises ``SystemExit`` with a message when the service cannot start.
    """
    from twisted.internet import reactor  # noqa: PLC0415 - as above

    use_monotonic_time(reactor)
    log = Log(reactor, sink or sys.stderr, level=level, style=style)
    service = _make_or_exit(lambda: make(reactor, log))
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    _reload_by_signal(reactor, service)
    service.privilegedStartService()
    reactor.callWhenRunning(service.startService)
    reactor.callWhenRunning(spare_the_collector)
    reactor.callWhenRunning(obey, reactor, service)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    log.flush()
