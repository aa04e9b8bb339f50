"""What has to be asked for each piece, made into what writes by itself."""

from typing import TYPE_CHECKING

from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from portal_gateway.frontend.request import Request

__all__ = ["PulledProducer"]


@implementer(IPushProducer)
class PulledProducer:
    """Drives a pull producer: one piece in each turn of the reactor while the client takes them."""

    def __init__(self, producer: IPullProducer, request: "Request") -> None:
        self._producer: IPullProducer | None = producer
        self._request = request
        self._paused = False
        self._scheduled = False
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._request.site.call_soon(self._pull)

    def _pull(self) -> None:
        self._scheduled = False
        if self._producer is not None and not self._paused:
            self._producer.resumeProducing()
            if self._producer is not None:
                self._schedule()

    def pauseProducing(self) -> None:
        """The client takes no more for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The client takes more."""
        self._paused = False
        if self._producer is not None:
            self._schedule()

    def forget(self) -> None:
        """The producer is done."""
        self._producer = None

    def stopProducing(self) -> None:
        """The client has gone."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
