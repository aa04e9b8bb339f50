"""``/health/details``: how every part of the gateway is, for those who run it.

It holds names and figures, no secret: of stores neither where they are nor who logs in.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from twisted.web.resource import Resource

from portal_gateway import __version__
from portal_gateway.frontend.health import answer_json, nothing_below
from portal_gateway.frontend.request import Request
from portal_gateway.frontend.sources import Sources
from portal_gateway.observe.memory import Memory, memory_now
from portal_gateway.observe.reload_results import ReloadResults
from portal_gateway.relay.router import Relay, Router
from portal_gateway.tls.rotation import Rotation

__all__ = ["Details", "HealthReport"]

OK, DOWN, NONE = "ok", "down", "not_configured"

_EXPIRES_SOON: Final = 7 * 24 * 3600.0
"""Seconds before the end of a certificate from which on it should be there again long since."""


class HealthReport:
    """Looks at the parts of the gateway. ``wall_clock`` and ``seconds`` are its clocks."""

    def __init__(
        self,
        router: Router,
        sources: Sources,
        rotation: Rotation | None,
        reloads: ReloadResults,
        wall_clock: Callable[[], float],
        seconds: Callable[[], float],
        memory: Callable[[], Memory] = memory_now,
    ) -> None:
        self._router = router
        self._sources = sources
        self._rotation = rotation
        self._reloads = reloads
        self._wall_clock = wall_clock
        self._seconds = seconds
        self._started = seconds()
        self._memory = memory

    def tell(self, *, draining: bool) -> dict[str, Any]:
        """What there is to tell, as JSON has it."""
        memory = self._memory()
        checks = {
            "portal_connection": self._relays(),
            "redis_connection": self._redis(),
            "database_connection": self._databases(),
            "certificate": self._certificate(),
            "configuration": OK if self._reloads.last_succeeded else "last_reload_failed",
        }
        healthy = all(found in {OK, NONE} for found in checks.values())
        if draining or not self._router.ready:
            status = "draining" if draining else "unhealthy"
        else:
            status = "healthy" if healthy else "degraded"
        return {
            "status": status,
            "checks": {**checks, "memory_usage": memory.used},
            "version": __version__,
            "uptime_seconds": int(self._seconds() - self._started),
            "memory": {"resident_bytes": memory.resident, "limit_bytes": memory.limit},
            "configuration": {
                "generation": self._reloads.generation,
                "in_use_since": _moment(self._reloads.applied),
                "failed_reloads": self._reloads.failures,
            },
            "relays": [self._relay(relay) for relay in self._router.relays],
            "leases": sum(relay.directory.figures.leases for relay in self._router.relays),
            "certificates": list(self._certificates()),
        }

    def _relays(self) -> str:
        relays = self._router.relays
        up = sum(relay.session.connected for relay in relays)
        if not relays:
            return NONE
        return OK if up == len(relays) else f"{up} of {len(relays)}" if up else DOWN

    def _redis(self) -> str:
        redis = self._sources.now.redis
        if redis is None:
            return NONE
        return OK if redis.usable else DOWN

    def _databases(self) -> str:
        databases = self._sources.databases
        if not databases:
            return NONE
        # One that nobody has asked yet is not known to be away.
        return DOWN if any(each.figures.usable is False for each in databases) else OK

    def _certificate(self) -> str:
        rotation = self._rotation
        if rotation is None:
            return NONE
        if rotation.expires is None:
            return "missing"
        left = rotation.expires.timestamp() - self._wall_clock()
        if left <= 0:
            return "expired"
        return "expires_soon" if left < _EXPIRES_SOON else OK

    def _certificates(self) -> Iterator[dict[str, Any]]:
        rotation = self._rotation
        if rotation is not None and rotation.expires is not None:
            expires = _moment(rotation.expires.timestamp())
            yield {"names": list(rotation.names), "not_after": expires}

    def _relay(self, relay: Relay) -> dict[str, Any]:
        session = relay.session
        trip, since = session.round_trip, session.since
        if since is not None:
            # Its clock is none that tells the time of day.
            since += self._wall_clock() - self._seconds()
        return {
            "relay": session.name,
            "state": str(session.state),
            "since": None if since is None else _moment(since),
            "round_trip_ms": None if trip is None else round(trip * 1000, 1),
            "last_loss": None if session.last_loss is None else str(session.last_loss),
            "leases": relay.directory.figures.leases,
        }


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(int(unix), UTC).isoformat().replace("+00:00", "Z")


class Details(Resource):
    """The page: 200 while requests can be served, else 503."""

    isLeaf = True

    def __init__(self, report: HealthReport) -> None:
        super().__init__()
        self._report = report

    def render_GET(self, request: Request) -> bytes:
        """Tell everything. Raises 404 for what is below."""
        nothing_below(request)
        told = self._report.tell(draining=request.site.draining)
        serves = told["status"] in {"healthy", "degraded"}
        return answer_json(request, 200 if serves else 503, told)
