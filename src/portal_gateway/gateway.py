"""The gateway: everything the daemon is, by one configuration after the other."""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any, NamedTuple

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.web.resource import IResource

from portal_gateway.config.model import Config, LoggingSection
from portal_gateway.config.standing import keep_standing
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.acme_challenge import WithChallenges
from portal_gateway.frontend.guards import ADMIN_GUARDS, Rules, guarded
from portal_gateway.frontend.health_details import Details, HealthReport
from portal_gateway.frontend.keyless_pages import KeylessPage
from portal_gateway.frontend.limits import ChannelLimits
from portal_gateway.frontend.listening import Listener
from portal_gateway.frontend.listening_sockets import ListeningSockets
from portal_gateway.frontend.measured import Measured
from portal_gateway.frontend.negotiation import ALPN
from portal_gateway.frontend.problem import problem_response
from portal_gateway.frontend.rate_limiter import sweeping
from portal_gateway.frontend.readings import (
    of_certificate,
    of_databases,
    of_limits,
    of_log,
    of_lookups,
    of_quotas,
    of_redis,
    of_relays,
    of_stored_keys,
    of_tokens,
)
from portal_gateway.frontend.redirect import RedirectToHTTPS
from portal_gateway.frontend.response_stream import StreamRules
from portal_gateway.frontend.routes import build_tree
from portal_gateway.frontend.rules import make_rate_limiter, make_rules, make_trusted_proxies
from portal_gateway.frontend.site import Site
from portal_gateway.frontend.sources import PreparedSources, Sources
from portal_gateway.frontend.withdrawal import make_judge, withdraw, withdraw_by_keys
from portal_gateway.observe.log_queue import LogQueue
from portal_gateway.observe.logs import Log
from portal_gateway.observe.request_ids import request_id
from portal_gateway.observe.worker_files import WorkerFiles
from portal_gateway.policy.fair_line import FairLine
from portal_gateway.policy.local_hosts import configured_hosts
from portal_gateway.policy.security_headers import SecurityHeaders
from portal_gateway.relay.direct_events import pass_events_directly
from portal_gateway.relay.upstreams import PreparedUpstreams, Upstreams
from portal_gateway.reloading import Reloads
from portal_gateway.sd_notify import Notifier, Watchdog
from portal_gateway.store.threads import Threads, WorkerThreads
from portal_gateway.tls.acme_service import AutoCertificate
from portal_gateway.tls.contexts import plain_connection
from portal_gateway.tls.rotation import Rotation, Served

__all__ = ["Gateway", "Prepared"]

_log = Logger()


class Prepared(NamedTuple):
    """A configuration and all that is made of it. ``left_out`` are the keys that need a restart."""

    config: Config
    left_out: list[str]
    upstreams: PreparedUpstreams
    sources: PreparedSources
    rules: Rules
    tree: IResource
    page: IResource | None
    served: Served | None
    certificate: AutoCertificate | None
    sink: LogQueue | None


class Gateway(MultiService):
    """The relays, whom the guards ask, the tree, and the listeners, started in that order.

    ``site`` is what answers requests, ``certificate`` has one issued by ACME, if that is asked for.
    ``announce`` is told the URL once requests are taken, ``notifier`` how the gateway is. ``load``
    reads the configuration anew for ``reloads``. ``workers`` is where workers share their metrics,
    ``sockets`` what they take connections from. ``threads`` are for what blocks, instead of some of
    its own; ``wall_clock`` gives unix seconds. As a child of twistd's application the gateway makes
    ``log`` the process's log.

    Raises ``CredentialFileError``, ``OSError`` or ``ValueError`` for a file that cannot be used.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        log: Log,
        announce: Callable[[str], object] = lambda _url: None,
        threads: Threads | None = None,
        load: Callable[[], Config] | None = None,
        wall_clock: Callable[[], float] = time.time,
        notifier: Notifier | None = None,
        workers: WorkerFiles | None = None,
        sockets: ListeningSockets | None = None,
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._wall_clock = wall_clock
        self._log = log
        self.notifier = notifier or Notifier()
        # Not a child: it runs until everything else has ended.
        self._watchdog = Watchdog(reactor, self.notifier)
        self._sockets = sockets or ListeningSockets(reuse_port=config.gateway.reuse_port)
        self._config = config
        self.upstreams = Upstreams(reactor, FairLine)
        self.sources = Sources(reactor, wall_clock, threads)
        self.certificate: AutoCertificate | None = None
        tls = config.gateway.tls
        self._rotation: Rotation | None = None
        if tls is not None:
            waits = tls.auto_cert is not None
            self._rotation = Rotation(reactor, tls.files, ALPN, may_wait=waits)
        self._measured = Measured(config.metrics, reactor, wall_clock)
        if workers is not None:
            self._measured.share(workers)
        self._measured.read(of_relays, lambda: self.upstreams.router)
        self._measured.read(of_lookups, lambda: self.upstreams.lookups)
        self._measured.read(of_limits, lambda: self.sources.tables)
        self._measured.read(of_redis, lambda: self.sources.now.redis)
        self._measured.read(of_databases, lambda: self.sources.databases)
        self._measured.read(of_quotas, lambda: self.sources.now.quotas)
        self._measured.read(of_stored_keys, lambda: self.sources.now.stored_keys)
        self._measured.read(of_tokens, lambda: self.sources.now.tokens)
        self._measured.read(of_certificate, lambda: self._rotation)
        self._measured.read(of_log, lambda: log)
        self._health = HealthReport(
            self.upstreams.router,
            self.sources,
            self._rotation,
            self._measured.reloads,
            wall_clock,
            reactor.seconds,
        )
        self._rules: Rules | None = None
        self._sites: list[Site] = []
        first = self.prepare(config)
        self.site = self._serve(first.tree)
        self._redirect: Site | None = None
        self._listeners = self._make_listeners(config, announce)
        self.addService(_Upstreams(self.upstreams))
        self.addService(self.sources)
        for each in [*self._listeners, self._measured]:
            self.addService(each)
        self.addService(sweeping(self.sources.tables, reactor))
        self.use(first)
        self.reloads: Reloads[Prepared] | None = None
        if load is not None:
            own = threads or WorkerThreads(reactor, 1, "reload")
            self.reloads = Reloads(
                load, self.prepare, self.use, own, self._measured.reloads, self._reloading
            )

    def _serve(self, resource: IResource) -> Site:
        site = Site(
            resource,
            self._reactor,
            render_problem=problem_response,
            on_exchange_end=self._exchange_over,
            make_request_id=request_id,
        )
        self._sites.append(site)
        self._measured.sites.append(site)
        return site

    def _make_listeners(self, config: Config, announce: Callable[[str], object]) -> list[Listener]:
        gateway, metrics, reactor = config.gateway, config.metrics, self._reactor
        sockets = self._sockets

        def listener(address: str, endpoint: str, site: Site) -> Listener:
            return Listener(reactor, address, endpoint, site, sockets=sockets)

        main = Listener(
            reactor,
            gateway.listen,
            gateway.listen_endpoint,
            self.site,
            announce,
            self._rotation,
            sockets=sockets,
        )
        listeners = [main]
        if gateway.tls is not None and gateway.tls.redirect_from is not None:
            self._redirect = self._serve(RedirectToHTTPS(lambda: self._redirect_port or main.port))
            listeners.append(listener(*gateway.tls.redirect_from, self._redirect))
        if metrics.listen is not None:
            listeners.append(listener(*metrics.listen, self._serve(self._measured.root)))
        return listeners

    @property
    def _redirect_port(self) -> int | None:
        tls = self._config.gateway.tls
        return None if tls is None else tls.redirect_port

    # From one configuration to the next.

    def prepare(self, config: Config) -> Prepared:
        """Make everything that ``config`` needs; nothing changes, and nothing is connected.

        It may be called in another thread. Raises as the class does.
        """
        config, left_out = keep_standing(config, self._config)
        upstreams = self.upstreams.prepare(config)
        sources = self.sources.prepare(config)
        tables, router, reactor = self.sources.tables, self.upstreams.router, self._reactor
        limiter = make_rate_limiter(config, tables, sources.redis, reactor)
        quotas = None if sources.quotas is None else sources.quotas.guard(config)
        rules = make_rules(config, sources.tokens, limiter, quotas, tables, router, reactor)
        rules = rules._replace(stored_keys=sources.stored_keys)
        page = self._measured.page(config.metrics, rules, configured_hosts(config))
        tree = build_tree(
            router,
            rules,
            self._wall_clock,
            reactor,
            config.websocket,
            config.gateway.lease_host,
            page if config.metrics.listen is None else None,
            self._details(config, rules),
        )
        parts = (upstreams, sources, rules, tree, page)
        served, certificate = self._prepare_tls(config)
        # Last: nothing may fail after it, since it is open from here on.
        sink = self._prepare_log(config.logging)
        return Prepared(config, left_out, *parts, served, certificate, sink)

    def _details(self, config: Config, rules: Rules) -> IResource:
        page = Details(self._health)
        for_admins = guarded(page, rules, self._wall_clock, ADMIN_GUARDS)
        if not config.health.local_details:
            return for_admins
        return KeylessPage(page, for_admins, configured_hosts(config), only_here=True)

    def _prepare_log(self, wanted: LoggingSection) -> LogQueue | None:
        """Another output, where it is another one."""
        now = self._config.logging
        asked = (wanted.output, wanted.rotate_size, wanted.rotate_keep)
        open_sink = self._log.open_sink
        if open_sink is None or asked == (now.output, now.rotate_size, now.rotate_keep):
            return None
        return open_sink(wanted)

    def _prepare_tls(self, config: Config) -> tuple[Served | None, AutoCertificate | None]:
        tls, rotation = config.gateway.tls, self._rotation
        if tls is None or rotation is None:
            return None, None
        waits = tls.auto_cert is not None
        served = None
        if tls.files != rotation.files:
            served = rotation.prepare(tls.files, may_wait=waits)
        certificate = self.certificate
        if tls.auto_cert is None:
            certificate = None
        elif certificate is None or certificate.settings != tls.auto_cert:
            stem = tls.files.cert_file.stem
            certificate = AutoCertificate(self._reactor, tls.auto_cert, stem)
        return served, certificate

    def use(self, prepared: Prepared) -> None:
        """Go by this configuration from now on.

        Requests under way go on, but for those whose caller would be refused now.
        """
        self._config = config = prepared.config
        for warning in config.warnings:
            _log.warn("{warning}", warning=str(warning))
        for key in prepared.left_out:
            _log.warn(
                "{file}: {key} has changed, which needs a restart; all else is in use",
                file=config.source,
                key=key,
            )
        logging = config.logging
        self._log.use(logging.level, logging.format, query=logging.query)
        if prepared.sink is not None:
            self._log.send_to(prepared.sink)
        self.upstreams.use(prepared.upstreams)
        self.sources.use(prepared.sources)
        self._use_tls(prepared)
        headers = config.security_headers
        security = SecurityHeaders(headers) if headers.enabled else None
        gateway = config.gateway
        for site in self._sites:
            site.use(
                ChannelLimits(**asdict(gateway.limits)),
                StreamRules(**asdict(config.sse)),
                make_trusted_proxies(gateway),
                security,
                gateway.underscore_fields,
            )
        for listener in self._listeners:
            listener.use(config.gateway.drain)
        self._use_rules(prepared)

    def _use_stored_keys(self, rules: Rules) -> None:
        """Have requests under way end with their keys in the database."""
        stored = rules.stored_keys
        if stored is not None:
            judge = make_judge(rules, rules)
            stored.on_change = lambda key_ids: withdraw_by_keys(
                self.site.requests(), stored, key_ids, judge, self._wall_clock
            )

    def _use_tls(self, prepared: Prepared) -> None:
        before, self.certificate = self.certificate, prepared.certificate
        rotation = self._rotation
        if rotation is None:
            return
        if prepared.served is not None:
            rotation.use(prepared.served)
        if before is self.certificate:
            return
        if before is not None:
            ended = maybeDeferred(self.removeService, before.renewal)
            ended.addErrback(lambda why: _log.failure("a renewal did not end well", why))
        rotation.contexts.make = plain_connection
        if self.certificate is not None:
            self.certificate.prove_on(rotation)
            # The authority comes to the listeners, which are before it among the services.
            self.addService(self.certificate.renewal)

    def _use_rules(self, prepared: Prepared) -> None:
        before, self._rules = self._rules, prepared.rules
        self._use_stored_keys(prepared.rules)
        self._measured.use(prepared.config.metrics, prepared.page)
        self.site.resource = self._with_challenges(prepared.tree)
        if self._redirect is not None:
            main = self._listeners[0]
            redirect = RedirectToHTTPS(lambda: self._redirect_port or main.port)
            self._redirect.resource = self._with_challenges(redirect)
        if before is None:
            return
        judge = make_judge(before, prepared.rules)
        if before.later is not None:
            before.later.judge = judge
        ended = withdraw(self.site.requests(), judge, self._wall_clock())
        if ended:
            _log.info("requests under way that are admitted no more: {count}", count=ended)

    def _with_challenges(self, resource: IResource) -> IResource:
        tokens = None if self.certificate is None else self.certificate.tokens
        return resource if tokens is None else WithChallenges(tokens, resource)

    # Life.

    def _exchange_over(self, exchange: Exchange) -> None:
        self.sources.exchange_over(exchange)
        self._measured.exchange_over(exchange)
        self._log.access(exchange)

    def setServiceParent(self, parent: object) -> None:
        """Join ``parent``; twistd asks its application which observer is to write the log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._log)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Start everything; the service manager hears of it when all listeners listen."""
        pass_events_directly(self._reactor)
        super().startService()
        self._watchdog.startService()
        listening = gatherResults([listener.ready for listener in self._listeners])
        listening.addCallback(lambda _all: self._ready())

    def _ready(self) -> None:
        if self.running:
            self.notifier.ready("requests are taken")

    def _reloading(self, begins: bool) -> None:
        if begins:
            self.notifier.reloading()
        else:
            self._ready()

    def stopService(self) -> Deferred[Any]:
        """Stop the listeners; when their requests are over, what counted them, and then the rest.

        What measures comes last, so that other workers know all of it.

        Fires when all of it has ended and the log is written.
        """
        self.notifier.stopping("ending when the requests under way are over")
        Service.stopService(self)
        if self.reloads is not None:
            self.reloads.stop()
        upstreams, sources, *others = self
        stopped = _all_stopped(other for other in others if other is not self._measured)
        stopped.addBoth(lambda _result: sources.stopService())
        stopped.addBoth(lambda _result: upstreams.stopService())
        stopped.addBoth(lambda _result: self._measured.stopService())
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

    def __init__(self, upstreams: Upstreams) -> None:
        self._upstreams = upstreams

    def startService(self) -> None:
        super().startService()
        self._upstreams.start()

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        return self._upstreams.stop()
