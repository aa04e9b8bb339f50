"""The metrics of a running gateway, put together: what is counted, what is read, who may see it."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from twisted.application.service import IService
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import IResource

from portal_gateway.config.model import MetricsSection
from portal_gateway.exchange import Exchange
from portal_gateway.frontend.guards import ADMIN_GUARDS, Rules, guarded
from portal_gateway.frontend.metrics_page import MetricsPage
from portal_gateway.frontend.readings import of_sites
from portal_gateway.frontend.routes import NothingHere
from portal_gateway.frontend.site import Site
from portal_gateway.observe.metrics import Metrics, Reading

__all__ = ["Measured"]

T = TypeVar("T")


class Measured:
    """What is measured, or nothing where that is switched off.

    ``sites`` are those whose connections count. ``root`` is for a listener of its own.
    """

    def __init__(self, section: MetricsSection, clock: IReactorTime) -> None:
        self._metrics = Metrics(section.series_budget, clock) if section.enabled else None
        self.sites: list[Site] = []
        self.root = NothingHere()
        self.read(of_sites, self.sites)

    @property
    def services(self) -> list[IService]:
        """What has to run for it."""
        return [] if self._metrics is None else [self._metrics.lag]

    def read(self, source: Callable[[T], Iterable[Reading]], part: T | None) -> None:
        """Have ``source`` tell of a part of the gateway at each scrape, if there is one."""
        if self._metrics is not None and part is not None:
            self._metrics.sources.append(partial(source, part))

    def exchange_over(self, exchange: Exchange) -> None:
        """Count a request that is over."""
        if self._metrics is not None:
            self._metrics.requests.exchange_over(exchange)

    def page(self, section: MetricsSection, rules: Rules) -> IResource | None:
        """What is at ``/metrics`` of the gateway, if anything is.

        A listener of its own has the page instead, by these rules from now on.
        """
        if self._metrics is None:
            return None
        page: IResource = MetricsPage(self._metrics.registry)
        if section.auth:
            page = guarded(page, rules, time.time, ADMIN_GUARDS)
        if section.listen is None:
            return page
        self.root.putChild(b"metrics", page)
        return None
