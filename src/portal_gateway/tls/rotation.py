"""Certificates that are renewed while the gateway runs.

The files are looked at, not watched: whatever renews them, by writing, renaming or moving a link,
and on whatever file system, that works. A pair that is half written or does not match is not used,
and what is served stays as it was.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from OpenSSL import SSL
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from portal_gateway.tls.certificates import BadTLSFile
from portal_gateway.tls.contexts import Contexts, bare_context, make_context
from portal_gateway.tls.files import Contents, TLSFiles, TLSMaterial

__all__ = ["LOOK_EVERY", "TICKET_KEY_LIFE", "Rotation"]

_log = Logger()

LOOK_EVERY = 0.5
"""Seconds between two looks, each a few system calls: a new certificate is there within one."""

TICKET_KEY_LIFE = 24 * 3600.0
"""Seconds that a context is used at most. A session ticket is encrypted with a key of its context,
so who steals that key can read no more than a day of resumed TLS 1.2 sessions."""

_SETTLING = 4
"""Looks that read the files again after a change: a second write within one tick of the file
system's clock cannot be told from the first by its times."""


def _now() -> datetime:
    return datetime.now(UTC)


class Served(NamedTuple):
    """What is served from ``files``: without ``material``, nothing, ``why``."""

    files: TLSFiles
    state: tuple[object, ...]
    contents: Contents | None
    material: TLSMaterial | None
    context: SSL.Context
    why: BadTLSFile | None = None


class Rotation:
    """Keeps ``contexts`` at what ``files`` say; ``expires`` is the end of what is served,
    and ``names`` whom it is for.

    The first reading happens here, and raises `BadTLSFile`; after `start` whatever goes wrong is
    logged once, and what was there before is served on. Where somebody is to bring a certificate
    yet, ``may_wait`` has the first reading fail as the later ones do: until there is one, every
    handshake is refused with an alert, since a certificate made up for the time would teach clients
    to look away.
    """

    def __init__(
        self,
        clock: IReactorTime,
        files: TLSFiles,
        protocols: Sequence[bytes],
        now: Callable[[], datetime] = _now,
        *,
        may_wait: bool = False,
    ) -> None:
        self._clock = clock
        self._protocols = tuple(protocols)
        self._now = now
        self._call: IDelayedCall | None = None
        served = self.prepare(files, may_wait=may_wait)
        self.contexts = Contexts(served.context)
        self.use(served)

    def prepare(self, files: TLSFiles, *, may_wait: bool) -> Served:
        """Read ``files``, to be served from later. It may be called in another thread.

        Raises `BadTLSFile` unless it ``may_wait``.
        """
        state = files.state()
        try:
            contents = files.contents()
            material = files.check(contents, self._now())
            context = make_context(material, self._protocols)
        except BadTLSFile as bad:
            if not may_wait:
                raise
            return Served(files, state, None, None, bare_context(), bad)
        return Served(files, state, contents, material, context)

    def use(self, served: Served) -> None:
        """Serve what was prepared, and keep to its files from now on."""
        self.files = served.files
        self._state = served.state
        self._contents = served.contents
        self._settling = 0
        self._made = self._clock.seconds()
        self.contexts.current = served.context
        self._complaint = None if served.why is None else str(served.why)
        self.expires: datetime | None = None
        self.names: tuple[str, ...] = ()
        if served.why is not None:
            reason = served.why.reason
            _log.warn("no certificate yet, TLS handshakes are refused: {why}", why=reason)
        elif served.material is not None:
            self._note(served.material)
            self._warn(served.material)

    def start(self) -> None:
        """Look at the files from now on."""
        if self._call is None:
            self._call = self._clock.callLater(LOOK_EVERY, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = self._clock.callLater(LOOK_EVERY, self._look)
        state = self.files.state()
        if state != self._state:
            self._state = state
            self._settling = _SETTLING
        elif self._settling:
            self._settling -= 1
        elif self._clock.seconds() - self._made < TICKET_KEY_LIFE:
            return
        self._read()

    def _read(self) -> None:
        old = self._clock.seconds() - self._made >= TICKET_KEY_LIFE
        if old:
            # Tried once in this time, whatever comes of it.
            self._made = self._clock.seconds()
        before, self._contents = self._contents, None
        try:
            self._contents = contents = self.files.contents()
            changed = contents != before
            if not changed and not old:
                return
            material = self.files.check(contents, self._now())
            context = make_context(material, self._protocols)
        except (BadTLSFile, SSL.Error) as error:
            self._complain(str(error))
            return
        self.contexts.current = context
        self._note(material)
        self._made = self._clock.seconds()
        self._complaint = None
        if changed:
            _log.info(
                "serving a new certificate, valid until {expires}",
                expires=material.certificate.expires.isoformat(),
            )
        self._warn(material)

    def _note(self, material: TLSMaterial) -> None:
        self.expires = material.certificate.expires
        self.names = material.certificate.names

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            self._complaint = why
            _log.warn("TLS files not used, the old certificate stays: {why}", why=why)

    def _warn(self, material: TLSMaterial) -> None:
        for concern in self.files.concerns(material, self._now()):
            _log.warn("gateway.tls.{file}: {text}", file=concern.file, text=concern.text)
