"""The ways from a client to the service that interoperation is shown on, each a set of processes.

::

    genuine relay, tunnel on the SDK    gateway ─ Portal's relay ─ SDK tunnel ─ origin
    genuine relay, our expose           gateway ─ Portal's relay ─ expose ───── origin
    our relay, tunnel on the SDK        gateway ─ our relay ────── SDK tunnel ─ origin
    client on the SDK, all else ours    SDK client ─ our relay ─── expose ───── origin

Each with both pinned versions of Portal. Where a directory has ids only (1.2.0), the
gateway finds a name through its pin, and the SDK client is given the id.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from portal_gateway.relay.credential_file import load_or_create_credential
from tests.integration import programs
from tests.integration.calls import Client

__all__ = ["LEASES", "PLAIN_NAME", "UNICODE_NAME", "VERSIONS", "WAYS", "Stack", "Way"]

VERSIONS = ("1.2.0", "1.4.14")

PLAIN_NAME = "agent"
UNICODE_NAME = "에이전트-βeta_٣"
LEASES = (PLAIN_NAME, UNICODE_NAME)


class Way(NamedTuple):
    """One of the rows above."""

    version: str
    genuine_relay: bool
    sdk_tunnel: bool

    @property
    def gateway(self) -> bool:
        return self.genuine_relay or self.sdk_tunnel

    @property
    def names(self) -> bool:
        """Whether this version's directory holds names, not only ids."""
        return self.version != "1.2.0"

    def __str__(self) -> str:
        client = "gateway" if self.gateway else f"sdk-{self.version}"
        relay = f"relay-{self.version}" if self.genuine_relay else "our-relay"
        return f"{client}-{relay}-{f'tunnel-{self.version}' if self.sdk_tunnel else 'expose'}"


WAYS = [
    Way(version, genuine_relay, sdk_tunnel)
    for version in VERSIONS
    for genuine_relay, sdk_tunnel in ((True, True), (True, False), (False, True), (False, False))
]


class Stack:
    """The processes of one way, up and ready; :meth:`client` speaks to a lease through them."""

    def __init__(
        self,
        way: Way,
        origin: str,
        directory: Path,
        *relay_options: str,
        publisher_options: tuple[str, ...] = (),
    ) -> None:
        self.way = way
        self._publisher_options = publisher_options
        self.ids: dict[str, str] = {}
        self._exit = contextlib.ExitStack()
        with contextlib.ExitStack() as exit_stack:
            self._build(exit_stack, origin, directory, relay_options)
            self._exit = exit_stack.pop_all()

    def _build(
        self,
        exit_stack: contextlib.ExitStack,
        origin: str,
        directory: Path,
        relay_options: tuple[str, ...],
    ) -> None:
        way = self.way
        if way.genuine_relay:
            relay = programs.go_relay(way.version, *relay_options)
        else:
            shape = () if way.names else ("--ids-only",)
            relay = programs.embedded_relay(*shape, *relay_options)
        self.relay = exit_stack.enter_context(relay)
        with ThreadPoolExecutor() as executor:
            publishers = list(
                executor.map(lambda name: self._publish(name, origin, directory), LEASES)
            )
        self.publishers = [exit_stack.enter_context(publisher) for publisher in publishers]
        self.ours = [program for program in (self.relay, *self.publishers) if program.ours]
        if way.gateway:
            pins = {name: {"identity": lease_id} for name, lease_id in self.ids.items()}
            self.gateway = exit_stack.enter_context(
                programs.Gateway(
                    {
                        "portal": {"relays": [{"url": self.relay.url}]},
                        "leases": {} if way.names else pins,
                    },
                    directory,
                )
            )
            self.gateway.wait_ready()
            self.ours.append(self.gateway)

    def _publish(self, name: str, origin: str, directory: Path) -> programs.Program:
        file = directory / f"{name}.pem"
        credential = load_or_create_credential(file)
        self.ids[name] = credential.identity.id
        more = self._publisher_options
        if self.way.sdk_tunnel:
            return programs.sdk_tunnel(
                self.way.version, self.relay, name, origin, credential, *more
            )
        return programs.expose(self.relay, name, origin, file, *more)

    @property
    def published(self) -> str:
        """What a publisher's log says each time that the relay takes its lease."""
        return programs.TUNNEL_READY if self.way.sdk_tunnel else programs.EXPOSE_READY

    @contextlib.contextmanager
    def client(
        self, name: str = PLAIN_NAME, *, by_id: bool = False, timeout: float = 30
    ) -> Iterator[Client]:
        """A client of the lease called ``name``, reached by that or by its id."""
        address, prefix, key, end = self.entry(name, by_id=by_id)
        with end, Client(address, prefix, key, timeout) as client:
            yield client

    def entry(
        self, name: str = PLAIN_NAME, *, by_id: bool = False
    ) -> tuple[str, str, str | None, contextlib.AbstractContextManager[object]]:
        """Where that lease is reached: host:port, prefix of paths, key, and what ends it all."""
        if self.way.gateway:
            segment = self.ids[name] if by_id else quote(name, safe="")
            return (
                self.gateway.address,
                f"/peer/{segment}",
                programs.API_KEY,
                contextlib.nullcontext(),
            )
        by_id = by_id or not self.way.names
        lease = ("-id", self.ids[name]) if by_id else ("-name", name)
        program, address = programs.sdk_client(self.way.version, self.relay, *lease)
        return address, "", None, program

    @property
    def alive(self) -> bool:
        """Whether every process of it still runs."""
        return all(program.alive for program in (self.relay, *self.publishers, *self.ours))

    def close(self) -> None:
        self._exit.close()
