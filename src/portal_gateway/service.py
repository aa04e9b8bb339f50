"""The daemon: options for twistd, and the root service built from a configuration.

The only importer of the reactor.
"""

import gc
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import react
from twisted.logger import ILogObserver, Logger, globalLogBeginner
from twisted.python.components import Componentized
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError
from twisted.web.resource import IResource

from portal_gateway.config.database import DatabaseSection
from portal_gateway.config.key_database import KeyDatabase
from portal_gateway.config.loading import ConfigInvalid, load_config
from portal_gateway.config.model import Config
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.acme_challenge import WithChallenges
from portal_gateway.frontend.limits import ChannelLimits
from portal_gateway.frontend.listening import Listener
from portal_gateway.frontend.measured import Measured
from portal_gateway.frontend.negotiation import ALPN
from portal_gateway.frontend.problem import problem_response
from portal_gateway.frontend.quota_guard import QuotaGuard
from portal_gateway.frontend.quotas import QuotaParts, make_quotas
from portal_gateway.frontend.rate_limiter import sweeping
from portal_gateway.frontend.readings import (
    of_certificate,
    of_databases,
    of_limits,
    of_quotas,
    of_redis,
    of_relays,
)
from portal_gateway.frontend.redirect import RedirectToHTTPS
from portal_gateway.frontend.response_stream import StreamRules
from portal_gateway.frontend.routes import build_tree
from portal_gateway.frontend.rules import (
    make_rate_limiter,
    make_redis,
    make_rules,
    make_trusted_proxies,
)
from portal_gateway.frontend.site import Site
from portal_gateway.frontend.tokens import Tokens, make_tokens
from portal_gateway.observe.logs import Log, Sink
from portal_gateway.observe.request_ids import request_id
from portal_gateway.policy.rate_limits import Tables
from portal_gateway.relay.credential_file import CredentialFileError
from portal_gateway.relay.router import Relay
from portal_gateway.relay.upstreams import make_upstreams
from portal_gateway.sd_notify import Notifier, Watchdog, notifier_of
from portal_gateway.signals import end_by_signals
from portal_gateway.store.threads import Threads, WorkerThreads
from portal_gateway.tls.acme_service import AutoCertificate
from portal_gateway.tls.rotation import Rotation

if TYPE_CHECKING:
    from portal_gateway.frontend.stored_keys import StoredKeys
    from portal_gateway.store.database import Database

__all__ = ["Gateway", "Options", "ask", "makeService", "run", "use_monotonic_time"]

_log = Logger()

T = TypeVar("T")
S = TypeVar("S", bound=IService)


class Gateway(MultiService):
    """Everything the daemon is: the relays, the tree, and the listener, started in that order.

    ``tables`` are the buckets of the rate limits, ``redis`` where they are shared, if they are.
    ``site`` is what answers requests, ``certificate`` has one issued by ACME, if that is asked for.
    ``announce`` is told the URL once requests are taken, ``notifier`` how the gateway is. As a
    child of twistd's application it makes ``log`` the process's log.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        log: Log,
        announce: Callable[[str], object] = lambda _url: None,
        threads: Threads | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        super().__init__()
        self._log = log
        self.notifier = notifier or Notifier()
        # Not a child: it runs until everything else has ended.
        self._watchdog = Watchdog(reactor, self.notifier)
        self._threads = threads
        for warning in config.warnings:
            _log.warn("{warning}", warning=str(warning))
        made = make_upstreams(reactor, config)
        self._reactor = reactor
        self._router = made.router
        self.tables = Tables()
        self._tokens: Tokens | None = None
        self._quotas: QuotaParts | None = None
        self._stored_keys: tuple[KeyDatabase, DatabaseSection, StoredKeys] | None = None
        self._databases: dict[DatabaseSection, Database] = {}
        self._closed_at_end = list(made.close_pools)
        storage = config.rate_limit.storage
        self.redis = None if storage.redis is None else make_redis(storage.redis, reactor)

        self._measured = Measured(config.metrics, reactor)
        self._measured.read(of_relays, lambda: self._router)
        self._measured.read(of_limits, lambda: self.tables)
        self._measured.read(of_redis, lambda: self.redis)
        self._measured.read(of_databases, self._databases.values)
        self._measured.read(of_quotas, lambda: self._quotas)

        def serve(resource: IResource) -> Site:
            site = Site(
                resource,
                reactor,
                render_problem=problem_response,
                on_exchange_end=self._exchange_over,
                make_request_id=request_id,
                limits=ChannelLimits(**asdict(config.gateway.limits)),
                streams=StreamRules(**asdict(config.sse)),
                proxies=make_trusted_proxies(config.gateway),
            )
            self._measured.sites.append(site)
            return site

        started: list[Callable[[], None]] = [relay.start for relay in made.relays]
        if self.redis is not None:
            started.append(self.redis.start)
            self._closed_at_end.append(self.redis.stop)
        self.addService(_Upstreams(made.relays, started, self._closed_at_end))
        gateway = config.gateway
        tls = gateway.tls
        self.certificate: AutoCertificate | None = None
        rotation = None
        if tls is not None:
            rotation = Rotation(reactor, tls.files, ALPN, may_wait=tls.auto_cert is not None)
            if tls.auto_cert is not None:
                stem = tls.files.cert_file.stem
                self.certificate = AutoCertificate(reactor, tls.auto_cert, stem)
                self.certificate.prove_on(rotation)
        self._measured.read(of_certificate, lambda: rotation)
        self.site = serve(self.tree(config))
        listener = Listener(
            reactor,
            gateway.listen,
            gateway.listen_endpoint,
            self.site,
            announce,
            rotation,
            gateway.drain,
        )
        self._listeners = [listener]
        if tls is not None and tls.redirect_from is not None:
            redirect = self._with_challenges(
                RedirectToHTTPS(lambda: tls.redirect_port or listener.port)
            )
            plain = Listener(reactor, *tls.redirect_from, serve(redirect), drain=gateway.drain)
            self._listeners.append(plain)
        self._listeners += self._metrics_listeners(config, serve)
        for each in [*self._listeners, self._measured]:
            self.addService(each)
        if self.certificate is not None:
            # The authority comes to the listeners, which are there by then.
            self.addService(self.certificate.renewal)
        self.addService(sweeping(self.tables, reactor))

    def tree(self, config: Config) -> IResource:
        """The Resource tree by ``config``, over the upstreams and limits that are there.

        In the place of ``site.resource`` it decides about every request that begins then.
        """
        limiter = make_rate_limiter(config, self.tables, self.redis, self._reactor)
        tokens = self._tokens_by(config)
        quotas = self._quotas_by(config)
        rules = make_rules(
            config, tokens, limiter, quotas, self.tables, self._router, self._reactor
        )
        rules = rules._replace(stored_keys=self._stored_keys_by(config))
        tree = build_tree(
            self._router,
            rules,
            time.time,
            self._reactor,
            config.websocket,
            config.gateway.lease_host,
            self._measured.page(config.metrics, rules),
        )
        return self._with_challenges(tree)

    def _metrics_listeners(
        self, config: Config, serve: Callable[[IResource], Site]
    ) -> list[Listener]:
        """The listener that metrics have to themselves, if they have one."""
        metrics = config.metrics
        if not metrics.enabled or metrics.listen is None:
            return []
        site = serve(self._measured.root)
        return [Listener(self._reactor, *metrics.listen, site, drain=config.gateway.drain)]

    def _with_challenges(self, resource: IResource) -> IResource:
        tokens = None if self.certificate is None else self.certificate.tokens
        return resource if tokens is None else WithChallenges(tokens, resource)

    def _tokens_by(self, config: Config) -> Tokens | None:
        """What judges tokens: the same as before for the same section, with the keys it has."""
        before = self._tokens
        section = config.auth.jwt
        if before is None or before.section != section:
            if before is not None and before.source is not None:
                before.source.disownServiceParent()
            self._tokens = make_tokens(section, self._reactor)
            if self._tokens is not None and self._tokens.source is not None:
                self.addService(self._tokens.source)
        return self._tokens

    def _quotas_by(self, config: Config) -> QuotaGuard | None:
        """What counts by the quotas: what was used is kept from one configuration to the next."""
        if not config.quotas.any:
            return None
        if self._quotas is None:
            self._quotas = make_quotas(
                config,
                self.redis,
                lambda: self._open_database(config.database),
                self._reactor,
                time.time,
            )
            self.addService(self._quotas.keeper)
        return self._quotas.guard(config)

    def _stored_keys_by(self, config: Config) -> "StoredKeys | None":
        """What looks keys up in a database: the same as before for the same one."""
        section = config.auth.database
        if section is None:
            return None
        where = section.database(config.database)
        before = self._stored_keys
        if before is None or before[:2] != (section, where):
            from portal_gateway.frontend.stored_keys import make_stored_keys  # noqa: PLC0415

            if before is not None:
                before[2].disownServiceParent()
            database = self._open_database(where)
            keys = make_stored_keys(database, where, section.cache_ttl, self._reactor, time.time)
            self._stored_keys = before = (section, where, keys)
            self.addService(keys)
        return before[2]

    def _open_database(self, section: DatabaseSection) -> "Database":
        """The database, which is closed when everything else has ended."""
        if section in self._databases:
            return self._databases[section]
        # It takes a tenth of a second to import, which only who has a database pays.
        from portal_gateway.store.database import Database, threads_of  # noqa: PLC0415

        threads = self._threads
        if threads is None:
            threads = WorkerThreads(self._reactor, threads_of(section), "database")
        database = self._databases[section] = Database(section, threads, self._reactor)
        self._closed_at_end += [threads.stop, database.close]
        return database

    def _exchange_over(self, exchange: Exchange) -> None:
        if self._quotas is not None:
            self._quotas.keeper.exchange_over(exchange)
        self._measured.exchange_over(exchange)
        self._log.access(exchange)

    def setServiceParent(self, parent: object) -> None:
        """Join ``parent``; twistd asks its application which observer is to write the log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start everything; the service manager hears of it when all listeners listen."""
        super().startService()
        self._watchdog.startService()
        listening = gatherResults([listener.ready for listener in self._listeners])
        listening.addCallback(lambda _all: self._ready())

    def _ready(self) -> None:
        if self.running:
            self.notifier.ready("requests are taken")

    def stopService(self) -> Deferred[Any]:
        """Stop the listeners; when their requests are over, what counted them, and then the rest.

        Fires when all of it has ended and the log is written.
        """
        self.notifier.stopping("ending when the requests under way are over")
        Service.stopService(self)
        upstreams, *others = self
        counting: list[IService] = [] if self._quotas is None else [self._quotas.keeper]
        counting += [] if self._stored_keys is None else [self._stored_keys[2]]
        stopped = _all_stopped(other for other in others if other not in counting)
        stopped.addBoth(lambda _result: _all_stopped(counting))
        stopped.addBoth(lambda _result: upstreams.stopService())
        return stopped.addBoth(self._stopped)

    def hurry(self) -> None:
        """Wait for no request any more."""
        for listener in self._listeners:
            listener.hurry()

    def _stopped(self, result: object) -> object:
        self._watchdog.stopService()
        _log.info("stopped")
        self._log.flush()
        return result


def _all_stopped(services: Iterable[IService]) -> Deferred[Any]:
    return gatherResults(
        [maybeDeferred(service.stopService) for service in services], consumeErrors=True
    )


class _Upstreams(Service):
    """Keeps the relays' sessions up, and closes every upstream connection at the end."""

    def __init__(
        self,
        relays: list[Relay],
        started: list[Callable[[], None]],
        closed_at_end: list[Callable[[], None]],
    ) -> None:
        self._relays = relays
        self._started = started
        self._closed_at_end = closed_at_end

    def startService(self) -> None:
        super().startService()
        for start in self._started:
            start()

    def stopService(self) -> Deferred[list[None]]:
        super().stopService()
        for close in self._closed_at_end:
            close()
        return gatherResults([relay.stop() for relay in self._relays], consumeErrors=True)


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


def makeService(options: Options) -> IService:
    """The service that twistd runs."""
    from twisted.internet import reactor  # noqa: PLC0415 - twistd chooses the reactor first

    use_monotonic_time(reactor)
    reactor.callWhenRunning(spare_the_collector)
    sink = _twistd_sink(options.parent or {})
    logging = options.config.logging
    log = Log(reactor, sink, level=logging.level, style=logging.format)
    notifier = notifier_of(environ)
    gateway = _make_or_exit(lambda: Gateway(reactor, options.config, log, notifier=notifier))
    reactor.callWhenRunning(end_by_signals, reactor, gateway)
    return gateway


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
    make: Callable[[Any, Log], IService],
    *,
    level: str = "info",
    style: str = "json",
    sink: TextIO | None = None,
) -> None:
    """Run a service in the foreground until a signal ends it; the log goes to standard error.

    Raises ``SystemExit`` with a message when the service cannot start.
    """
    from twisted.internet import reactor  # noqa: PLC0415 - as above

    use_monotonic_time(reactor)
    log = Log(reactor, sink or sys.stderr, level=level, style=style)
    service = _make_or_exit(lambda: make(reactor, log))
    globalLogBeginner.beginLoggingTo([log], redirectStandardIO=False)
    service.privilegedStartService()
    reactor.callWhenRunning(service.startService)
    reactor.callWhenRunning(spare_the_collector)
    reactor.callWhenRunning(end_by_signals, reactor, service)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
    log.flush()
