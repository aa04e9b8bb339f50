"""Reloading: a configuration is read, checked and made in a thread, then taken up in one turn.

What is wrong with it is found before anything changes. However often a reload is asked for while
one is under way, there is one more afterwards.
"""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from portal_gateway.config.loading import ConfigInvalid
from portal_gateway.config.model import Config
from portal_gateway.observe.reload_results import ReloadResults
from portal_gateway.relay.credential_file import CredentialFileError
from portal_gateway.store.threads import Threads

__all__ = ["Reloads", "in_the_background"]

_log = Logger()

P = TypeVar("P")

BAD_INPUT = (ConfigInvalid, CredentialFileError, OSError, ValueError)
"""What making something of a configuration raises where the configuration, or a file that it names,
is wrong; `portal_gateway.tls.certificates.BadTLSFile` is a ``ValueError``."""

_SWITCH_INTERVAL: Final = 0.0002
"""Seconds for which the thread may keep the interpreter while the reactor wants it. With the usual
5 ms a request, which gives it up for each system call, would wait a multiple of that."""


MANY_OBJECTS: Final = 50_000
"""Objects made by a reload that would take the collector more than some 5 ms to look through."""


class Reloads(Generic[P]):
    """Has configurations read by ``load``, made by ``prepare`` and taken up by ``use``.

    ``load`` and ``prepare`` run in ``threads``. ``tell`` hears when a reload begins (True) and when
    it is over (False). ``results`` counts what came of them; ``last_failure`` is why the last one
    was not taken up, None if it was.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        prepare: Callable[[Config], P],
        use: Callable[[P], object],
        threads: Threads,
        results: ReloadResults,
        tell: Callable[[bool], object] = lambda _begins: None,
    ) -> None:
        self._load = load
        self._prepare = prepare
        self._use = use
        self._threads = threads
        self._tell = tell
        self._stopped = False
        self._busy = False
        self._next: list[Deferred[bool]] = []
        self.results = results
        self.last_failure: str | None = None

    def reload(self) -> Deferred[bool]:
        """Reload; fires with whether a configuration was taken up that was read after this call."""
        if self._stopped:
            return succeed(False)  # noqa: FBT003 - a result
        asked: Deferred[bool] = Deferred()
        self._next.append(asked)
        if not self._busy:
            self._begin()
        return asked

    def stop(self) -> None:
        """Take up nothing any more. Who waits hears that nothing came of it."""
        self._stopped = True
        self._threads.stop()
        self._answer(self._next, taken_up=False)

    def _begin(self) -> None:
        asked, self._next = self._next, []
        self._tell(True)  # noqa: FBT003 - its meaning stands with the class
        self._busy = True
        taken_up = self._threads.run(self._make).addCallbacks(self._made, self._failed)
        taken_up.addErrback(self._defect).addCallback(self._over, asked)

    def _make(self) -> P:
        with in_the_background():
            return self._prepare(self._load())

    def _made(self, made: P) -> bool:
        if self._stopped:
            return False
        self._use(made)
        self.results.succeeded()
        self.last_failure = None
        _log.info("configuration {generation} is in use", generation=self.results.generation)
        return True

    def _failed(self, failure: Failure) -> bool:
        failure.trap(*BAD_INPUT)
        error = failure.value
        why = [str(each) for each in error.faults] if isinstance(error, ConfigInvalid) else []
        for line in why or [str(error)]:
            _log.error("not reloaded, the configuration stays as it was: {why}", why=line)
        self._note_failure("\n".join(why) or str(error))
        return False

    def _defect(self, failure: Failure) -> bool:
        _log.failure("a configuration could not be taken up", failure)
        self._note_failure("a defect of the gateway's own; the log has it")
        return False

    def _note_failure(self, why: str) -> None:
        self.results.failed()
        self.last_failure = why

    def _over(self, taken_up: bool, asked: list[Deferred[bool]]) -> None:
        self._busy = False
        if self._next and not self._stopped:
            self._begin()
        else:
            self._tell(False)  # noqa: FBT003 - as above
        self._answer(asked, taken_up=taken_up)

    @staticmethod
    def _answer(asked: list[Deferred[bool]], *, taken_up: bool) -> None:
        while asked:
            asked.pop(0).callback(taken_up)


@contextmanager
def in_the_background() -> Iterator[None]:
    """For work in a thread that is not to keep the reactor waiting.

    The garbage collector stays away: looking through what is being made, again and again, would
    stop both threads for tens of milliseconds each time. Of a large configuration it never gets to
    see what was made. That hides what else there is from it for good, ended connections among it
    that it had not come by yet, some 50 KB each, so it is not done for others.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > MANY_OBJECTS:
            gc.freeze()
        gc.enable()
        sys.setswitchinterval(interval)
