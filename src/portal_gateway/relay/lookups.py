"""Look-ups of the host names that lease names make up.

A relay by host has a host name for each lease, and whoever has a key can make up names of leases.
Each look-up takes one of the reactor's ten threads, for as long as the resolver likes: a resolver
that is silent keeps it for 10 s and more, whether anybody still waits or not (``getaddrinfo``
cannot be cancelled). The same threads look up configured origins, relays, Redis and the issuers of
tokens. So, of all relays by host together,

* at most `MAX_LOOKUPS` names are looked up at a time, and a place is free again only when the
  resolver is done;
* names that were never found have `MAX_NEW_NAMES` of these places, and `MAX_OF_ONE` for one asker,
  which is the id of a key; those that were found before have `MAX_KNOWN_NAMES`. So neither kind
  waits for the other, nor another's new name for somebody's made-up ones;
* askers take turns in the two lines, which have `PLACES` each (``policy/fair_line.py``);
* one look-up serves all who ask for a name.

Answers are not kept: the resolver does that, and knows for how long.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
    IStreamClientEndpoint,
)
from twisted.logger import Logger
from zope.interface import implementer

from portal_gateway.errors import GatewayError, fault
from portal_gateway.relay.tcp import resolved_name

__all__ = [
    "MAX_FOUND",
    "MAX_KNOWN_NAMES",
    "MAX_LOOKUPS",
    "MAX_NEW_NAMES",
    "MAX_OF_ONE",
    "MOST_OF_ONE_WAITING",
    "PLACES",
    "Line",
    "LookedUpEndpoint",
    "Lookups",
    "MakeLine",
]

_log = Logger(__name__)

MAX_LOOKUPS: Final = 4
"""Names that are looked up at a time: less than half of the reactor's ten threads."""

MAX_NEW_NAMES: Final = 3
"""Those of them that were not found before: the last place is for names that are known to exist."""

MAX_KNOWN_NAMES: Final = 3
"""Those of them that were found before: who has many of them asked for keeps no new one waiting."""

MAX_OF_ONE: Final = 2
"""Those of the new names that one asker has: there is a place for another's."""

PLACES: Final = 256
"""Look-ups in each of the two lines, the one of names that were found before and that of new ones.
A resolver that takes 20 ms answers them in 2 s. Each holds one request of the asker at least."""

MOST_OF_ONE_WAITING: Final = 128
"""Those of them that wait for one asker."""

MAX_FOUND: Final = 4096
"""Names kept that were found, the one that was asked for longest ago goes first: some 1 MB."""

_Host = tuple[str, int]
"""Name and port."""

_Addresses = tuple[IAddress, ...]


class _Lookup:
    """The look-up of one name, and who waits for its answer."""

    __slots__ = ("asker", "host", "is_new", "waiters")

    def __init__(self, host: _Host, asker: str, *, is_new: bool) -> None:
        self.host = host
        self.asker = asker
        self.is_new = is_new
        self.waiters: dict[Deferred[_Addresses], Callable[[], bool]] = {}

    @property
    def is_wanted(self) -> bool:
        """Whether somebody who waits still has a use for the answer."""
        return any(wanted() for wanted in self.waiters.values())


class Line(Protocol):
    """A line in which askers take turns, as ``FairLine`` of ``policy/`` has it."""

    def add(self, client: str, item: _Lookup) -> _Lookup | None:
        """Let ``item`` wait. Returns what has no place then, if anything."""

    def take(self) -> _Lookup | None:
        """Remove the next one."""

    def discard(self, client: str, item: _Lookup) -> bool:
        """Remove an item that waits no more. Whether it was here."""

    def hold(self, client: str) -> None:
        """Let ``client`` have no turn until `release`."""

    def release(self, client: str) -> None:
        """Let ``client`` take turns again."""


MakeLine = Callable[[int, int], Line]
"""Makes a line with so many places, and so many of them for one asker. Relays do not import
policies: they are given this one."""


@implementer(IResolutionReceiver)
class _Answer:
    """Receives the addresses of one look-up."""

    def __init__(self, done: Callable[[_Addresses], None]) -> None:
        self._done = done
        self._addresses: list[IAddress] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The resolver has begun. It cannot be told to stop."""

    def addressResolved(self, address: IAddress) -> None:
        """One address of the name."""
        self._addresses.append(address)

    def resolutionComplete(self) -> None:
        """The resolver is done; without an address the name does not exist."""
        self._done(tuple(self._addresses))


def _always() -> bool:
    return True


class Lookups:
    """Looks names up by the reactor's resolver, a few at a time; who waits is in lines.

    ``refused`` counts requests for which there was no place to wait.
    """

    def __init__(self, reactor: Any, make_line: MakeLine) -> None:
        self._reactor = reactor
        self._known = make_line(PLACES, MOST_OF_ONE_WAITING)
        self._new = make_line(PLACES, MOST_OF_ONE_WAITING)
        # One that waits is its asker's: by joining it, another would wait for the asker's turn.
        self._waiting: dict[tuple[str, _Host], _Lookup] = {}
        self._under_way: dict[_Host, _Lookup] = {}
        self._running: set[_Lookup] = set()
        self._new_of: Counter[str] = Counter()
        self._found: OrderedDict[_Host, None] = OrderedDict()
        self._going_on = False
        self.refused = 0

    @property
    def running(self) -> int:
        """Look-ups that the resolver has not done yet."""
        return len(self._running)

    def __len__(self) -> int:
        """Look-ups that wait in line."""
        return len(self._waiting)

    def look_up(
        self, name: str, port: int, asker: str, wanted: Callable[[], bool] = _always
    ) -> Deferred[_Addresses]:
        """The addresses of ``name``, none where it does not exist.

        A look-up whose turn comes when ``wanted`` says no is not begun, and has no addresses.

        The Deferred may be cancelled; a look-up that nobody waits for any more leaves the line, but
        keeps its place until the resolver is done. It fails with the `GatewayError`
        ``relay_unavailable`` where there is no place, and with `DNSLookupError` for what cannot be
        a name.
        """
        try:
            # As ``getaddrinfo`` does it: there the error would be the thread's, and nobody's.
            name.encode("idna")
        except UnicodeError:
            return fail(DNSLookupError("no host can have that name"))
        host = (name, port)
        lookup = self._under_way.get(host) or self._waiting.get((asker, host))
        if lookup is None:
            lookup = _Lookup(host, asker, is_new=host not in self._found)
            out = self._line_of(lookup).add(asker, lookup)
            if out is lookup:
                self.refused += 1
                return fail(_crowded())
            self._waiting[asker, host] = lookup
        else:
            out = None
        joined = lookup
        waiter: Deferred[_Addresses] = Deferred(lambda waiter: self._leave(joined, waiter))
        lookup.waiters[waiter] = wanted
        if out is not None:
            self._refuse(out)
        self._go_on()
        return waiter

    def _line_of(self, lookup: _Lookup) -> Line:
        return self._new if lookup.is_new else self._known

    def _leave(self, lookup: _Lookup, waiter: Deferred[_Addresses]) -> None:
        lookup.waiters.pop(waiter, None)
        if not lookup.waiters and self._line_of(lookup).discard(lookup.asker, lookup):
            del self._waiting[lookup.asker, lookup.host]

    def _refuse(self, lookup: _Lookup) -> None:
        """It lost its place in line to one of another asker."""
        del self._waiting[lookup.asker, lookup.host]
        for waiter in _take_all(lookup):
            if not waiter.called:
                self.refused += 1
                waiter.errback(_crowded())

    def _go_on(self) -> None:
        # An answer that comes at once makes a loop of this, not a call within the call.
        if self._going_on:
            return
        self._going_on = True
        try:
            while (lookup := self._next()) is not None:
                if lookup.is_wanted:
                    self._begin(lookup)
                else:
                    del self._waiting[lookup.asker, lookup.host]
                    _answer_all(lookup, ())
        finally:
            self._going_on = False

    def _next(self) -> _Lookup | None:
        running, new = len(self._running), self._new_of.total()
        if running >= MAX_LOOKUPS:
            return None
        lookup = self._known.take() if running - new < MAX_KNOWN_NAMES else None
        if lookup is None and new < MAX_NEW_NAMES:
            lookup = self._new.take()
        return lookup

    def _begin(self, lookup: _Lookup) -> None:
        asker, host = lookup.asker, lookup.host
        del self._waiting[asker, host]
        self._running.add(lookup)
        self._under_way[host] = lookup
        if lookup.is_new:
            self._new_of[asker] += 1
            if self._new_of[asker] >= MAX_OF_ONE:
                self._new.hold(asker)
        answer = _Answer(lambda addresses: self._done(lookup, addresses))
        try:
            self._reactor.nameResolver.resolveHostName(answer, host[0], portNumber=host[1])
        except Exception:  # noqa: BLE001 - whatever it is, the place is not to be lost
            _log.failure("the resolver failed")
            self._done(lookup, ())

    def _done(self, lookup: _Lookup, addresses: _Addresses) -> None:
        if lookup not in self._running:
            return
        self._running.remove(lookup)
        asker, host = lookup.asker, lookup.host
        if self._under_way.get(host) is lookup:
            del self._under_way[host]
        if lookup.is_new:
            self._new_of[asker] -= 1
            if not self._new_of[asker]:
                del self._new_of[asker]
            self._new.release(asker)
        if addresses:
            self._remember(host)
        _answer_all(lookup, addresses)
        self._go_on()

    def _remember(self, host: _Host) -> None:
        self._found[host] = None
        self._found.move_to_end(host)
        if len(self._found) > MAX_FOUND:
            self._found.popitem(last=False)


@implementer(IStreamClientEndpoint)
class LookedUpEndpoint:
    """Looks ``host`` up among others, then connects by the endpoint that ``make`` makes.

    ``make`` is called with a reactor that knows the answer. The factory may say in ``asker`` who
    the connection is made for, and by ``wanted`` whether they still wait for it.
    """

    def __init__(
        self,
        lookups: Lookups,
        reactor: Any,
        host: str,
        port: int,
        make: Callable[[Any], IStreamClientEndpoint],
    ) -> None:
        self._lookups = lookups
        self._reactor = reactor
        self._name = resolved_name(host)
        self._port = port
        self._make = make

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a protocol of the factory; it may be cancelled."""

        def connect(addresses: _Addresses) -> Deferred[IProtocol]:
            endpoint = self._make(_Answered(self._reactor, addresses))
            connecting: Deferred[IProtocol] = endpoint.connect(protocolFactory)
            return connecting

        asker: str = getattr(protocolFactory, "asker", "")
        wanted: Callable[[], bool] = getattr(protocolFactory, "wanted", _always)
        looked_up = self._lookups.look_up(self._name, self._port, asker, wanted)
        return looked_up.addCallback(connect)


@implementer(IReactorPluggableNameResolver, IHostnameResolver)
class _Answered:
    """A reactor that knows the addresses of the one name that it is asked for."""

    def __init__(self, reactor: Any, addresses: _Addresses) -> None:
        self._reactor = reactor
        self._addresses = addresses

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._reactor, attribute)

    @property
    def nameResolver(self) -> IHostnameResolver:
        """Itself."""
        return self

    def resolveHostName(
        self,
        resolutionReceiver: Any,
        hostName: str,  # noqa: ARG002 - the one name
        portNumber: int = 0,  # noqa: ARG002 - it was looked up with the port
        addressTypes: Any = None,  # noqa: ARG002 - all that there are
        transportSemantics: str = "TCP",  # noqa: ARG002 - it was looked up for TCP
    ) -> Any:
        """Answer before returning."""
        for address in self._addresses:
            resolutionReceiver.addressResolved(address)
        resolutionReceiver.resolutionComplete()
        return None


def _answer_all(lookup: _Lookup, addresses: _Addresses) -> None:
    for waiter in _take_all(lookup):
        # The answer to another may have cancelled it.
        if not waiter.called:
            waiter.callback(addresses)


def _take_all(lookup: _Lookup) -> list[Deferred[_Addresses]]:
    waiters = list(lookup.waiters)
    lookup.waiters.clear()
    return waiters


def _crowded() -> GatewayError:
    return fault(
        "relay_unavailable", "Too many names of leases are being looked up at the relay; try again."
    )
