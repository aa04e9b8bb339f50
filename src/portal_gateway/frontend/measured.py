"""The metrics of a running gateway, put together: what is counted, what is read, who may see it."""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.web.resource import IResource

from portal_gateway.config.model import MetricsSection
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.guards import ADMIN_GUARDS, Rules, guarded
from portal_gateway.frontend.keyless_pages import KeylessPage
from portal_gateway.frontend.metrics_page import MetricsPage
from portal_gateway.frontend.readings import of_reloads, of_sites
from portal_gateway.frontend.routes import NothingHere
from portal_gateway.frontend.site import Site
from portal_gateway.observe.figures import Reading
from portal_gateway.observe.metrics import Metrics
from portal_gateway.observe.reload_results import ReloadResults
from portal_gateway.observe.worker_files import WRITE_INTERVAL, WorkerFiles
from portal_gateway.policy.local_hosts import LocalHosts

__all__ = ["Measured"]

T = TypeVar("T")


class Measured(MultiService):
    """What is measured, or nothing while that is switched off.

    ``sites`` are those whose connections count, ``reloads`` is told of new configurations. ``root``
    is for a listener of its own.
    """

    def __init__(
        self,
        section: MetricsSection,
        clock: IReactorTime,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._metrics = Metrics(section.series_budget, clock)
        self._counting = False
        self.sites: list[Site] = []
        self.reloads = ReloadResults(wall_clock)
        self.root = NothingHere()
        self._told_in = self._told_out = 0
        self.read(of_sites, lambda: self.sites)
        self._metrics.sources.append(self._of_bodies)
        self.read(of_reloads, lambda: self.reloads)
        self._writing = LoopingCall(self._write)
        self._writing.clock = clock
        self._shares = False
        self.use(section, None)

    def share(self, files: WorkerFiles) -> None:
        """Tell of all workers that keep their figures in ``files``, as this one does from now."""
        self._metrics.share(files)
        self._shares = True

    def startService(self) -> None:
        """Feel the event loop, and have other workers know from now on."""
        super().startService()
        if self._shares:
            self._writing.start(WRITE_INTERVAL)

    def _write(self) -> None:
        if self._counting:
            self._metrics.write()

    def stopService(self) -> Deferred[Any]:
        """Have them know the last of it."""
        if self._writing.running:
            self._writing.stop()
            self._metrics.write_last()
        stopped: Deferred[Any] = super().stopService()
        return stopped

    def use(self, section: MetricsSection, page: IResource | None) -> None:
        """Count by ``section`` from now on. What was counted is kept.

        ``page`` is the one of a listener of its own, if it has one.
        """
        own = NothingHere() if page is None or section.listen is None else page
        self.root.putChild(b"metrics", own)
        self._metrics.keep_to(section.series_budget)
        if section.enabled != self._counting:
            self._counting = section.enabled
            lag = self._metrics.lag
            if section.enabled:
                lag.setServiceParent(self)
            else:
                lag.disownServiceParent()

    def read(self, source: Callable[[T], Iterable[Reading]], find: Callable[[], T | None]) -> None:
        """Have ``source`` tell at each scrape of the part that ``find`` gives then, if any."""

        def readings() -> Iterator[Reading]:
            part = find()
            if part is not None:
                yield from source(part)

        self._metrics.sources.append(readings)

    def _of_bodies(self) -> Iterator[Reading]:
        """What is under way, and the bytes both ways, of requests that are not over too."""
        requests = self._metrics.requests
        bytes_in, bytes_out = requests.bytes_in, requests.bytes_out
        count = 0
        for site in self.sites:
            for exchange in site.under_way:
                count += 1
                bytes_in += exchange.bytes_in
                bytes_out += exchange.bytes_out
        # An answer can be taken back before it leaves, and what it had counted with it.
        self._told_in = max(self._told_in, bytes_in)
        self._told_out = max(self._told_out, bytes_out)
        yield Reading("portal_gateway_requests_in_progress", count)
        yield Reading("portal_gateway_request_body_bytes_total", self._told_in)
        yield Reading("portal_gateway_response_body_bytes_total", self._told_out)

    def exchange_over(self, exchange: Exchange) -> None:
        """Count a request that is over."""
        if self._counting:
            self._metrics.requests.exchange_over(exchange)

    def page(self, section: MetricsSection, rules: Rules, hosts: LocalHosts) -> IResource | None:
        """The page at ``/metrics``, of the gateway or of a listener of its own, if there is one.

        ``hosts`` are those that a client on this machine may ask without a key.
        """
        if not section.enabled:
            return None
        page: IResource = MetricsPage(self._metrics.registry)
        for_admins = guarded(page, rules, time.time, ADMIN_GUARDS)
        if section.auth:
            return for_admins
        return KeylessPage(page, for_admins, hosts, only_here=False)
