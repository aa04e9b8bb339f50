"""Questions to the database about keys: many are asked at once, and clients take turns.

Whoever sends random keys that look right makes a question of each. Such questions must not keep
those about good keys waiting, nor what else is asked of the database. So

* at most `MOST_UNDER_WAY` batches are under way, each with the questions of up to `BATCH` requests;
* requests wait in the line of their client's network, and networks take turns (`FairLine`);
* few wait for one network in the first line (`MOST_AT_FRONT`). More of them, and all of a network
  that is over its limit of failed attempts, wait in a second line, which has `BATCH_OF_BEHIND`
  places of each batch to itself: it is never what the first line waits for, and never starves;
* what is asked about requests that were admitted before is asked first, and never refused.

A request without a place is refused with 429, since others of its network wait; with 503 only where
as many networks wait as there are places.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from portal_gateway.errors import GatewayError, fault
from portal_gateway.policy.fair_line import FairLine

__all__ = [
    "BATCH",
    "BATCH_OF_BEHIND",
    "MOST_AT_FRONT",
    "MOST_BEHIND",
    "MOST_UNDER_WAY",
    "PLACES",
    "KeyQuestions",
]

MOST_UNDER_WAY: Final = 2
"""Batches at the same time: one that is read while the answers to the other are given. What else is
asked of the database is behind these at most."""

BATCH: Final = 128
"""Requests that one batch answers: 2 ms of SQLite, and 10 to 20 ms of answers in one turn."""

BATCH_OF_BEHIND: Final = 32
"""Those of them that the second line has."""

MOST_AT_FRONT: Final = 32
"""Requests that wait for one network in the first line."""

MOST_BEHIND: Final = 2_048
"""The same in the second line: a request of each connection that an address may have."""

PLACES: Final = 16_384
"""Places of each line, some 500 bytes each. Requests that wait for the first line are all answered
after 170 batches, which takes half a second; a database that needs longer is away by its timeout.
"""

T = TypeVar("T")


class _Question(Generic[T]):
    """The question of one request, and its answer to come."""

    __slots__ = ("answer", "digest")

    def __init__(self, digest: bytes) -> None:
        self.digest = digest
        # Who asks no more is still counted until it is its turn, or asking and leaving would be
        # a way around the places of a network.
        self.answer: Deferred[T] = Deferred(lambda _answer: None)


class KeyQuestions(Generic[T]):
    """Asks by ``ask``, which gives a Deferred with the answer to each digest. It never fails.

    ``refused`` counts requests for which there was no place to wait.
    """

    __slots__ = (
        "_ask",
        "_asking",
        "_behind",
        "_driven_out",
        "_first",
        "_front",
        "_going_on",
        "_under_way",
        "refused",
    )

    def __init__(self, ask: Callable[[Sequence[bytes]], Deferred[Mapping[bytes, T]]]) -> None:
        self._ask = ask
        self._first: deque[_Question[T]] = deque()
        self._front: FairLine[_Question[T]] = FairLine(PLACES, MOST_AT_FRONT)
        self._behind: FairLine[_Question[T]] = FairLine(PLACES, MOST_BEHIND)
        # The batch in which a digest is under way.
        self._under_way: dict[bytes, list[_Question[T]]] = {}
        self._driven_out: list[_Question[T]] = []
        self._asking = 0
        self._going_on = False
        self.refused = 0

    def __len__(self) -> int:
        """Requests that wait in line."""
        return len(self._first) + len(self._front) + len(self._behind)

    def waiting_of(self, network: str) -> int:
        """Requests that wait in line for ``network``."""
        return self._front.waiting_of(network) + self._behind.waiting_of(network)

    def ask(
        self, digest: bytes, network: str, *, behind: bool = False
    ) -> Deferred[T] | GatewayError:
        """The answer for a request of ``network``, or the refusal where it has no place to wait.

        ``behind`` says that the network waits behind the others. The Deferred fails with the
        refusal where the request loses its place to one of another network.
        """
        question: _Question[T] = _Question(digest)
        if self._joins(question):
            return question.answer
        out = question if behind else self._front.add(network, question)
        if out is not None:
            out = self._behind.add(network, out) if out is question else out
        if out is question:
            self.refused += 1
            return _crowded() if self.waiting_of(network) else _full()
        if out is not None:
            # Told with the next batch, or its connection might ask again within this call.
            self._driven_out.append(out)
        self._go_on()
        return question.answer

    def ask_first(self, digest: bytes) -> Deferred[T]:
        """The answer for a request that was admitted by this key before."""
        question: _Question[T] = _Question(digest)
        if not self._joins(question):
            self._first.append(question)
            self._go_on()
        return question.answer

    def _joins(self, question: _Question[T]) -> bool:
        """Whether it is answered with one that is under way, and has place in that batch."""
        batch = self._under_way.get(question.digest)
        if batch is None or len(batch) >= BATCH:
            return False
        batch.append(question)
        return True

    def _go_on(self) -> None:
        # An answer that comes at once makes a loop of this, not a call within the call.
        if self._going_on:
            return
        self._going_on = True
        while self._asking < MOST_UNDER_WAY:
            batch = self._next_batch()
            if not batch:
                break
            self._asking += 1
            digests = list(dict.fromkeys(question.digest for question in batch))
            for digest in digests:
                self._under_way[digest] = batch
            self._ask(digests).addCallback(self._answered, digests, batch)
        self._going_on = False

    def _next_batch(self) -> list[_Question[T]]:
        batch: list[_Question[T]] = []
        first = self._first
        while first and len(batch) < BATCH:
            _take_up(first.popleft(), batch)
        _fill(batch, self._front, BATCH - BATCH_OF_BEHIND)
        _fill(batch, self._behind, len(batch) + BATCH_OF_BEHIND)
        return batch

    def _answered(
        self, answers: Mapping[bytes, T], digests: Sequence[bytes], batch: list[_Question[T]]
    ) -> None:
        self._asking -= 1
        for digest in digests:
            if self._under_way.get(digest) is batch:
                del self._under_way[digest]
        for question in batch:
            if not question.answer.called:
                question.answer.callback(answers[question.digest])
        driven_out, self._driven_out = self._driven_out, []
        for question in driven_out:
            if not question.answer.called:
                self.refused += 1
                question.answer.errback(Failure(_crowded()))
        self._go_on()


def _fill(batch: list[_Question[T]], line: FairLine[_Question[T]], most: int) -> None:
    while len(batch) < most and (question := line.take()) is not None:
        _take_up(question, batch)


def _take_up(question: _Question[T], batch: list[_Question[T]]) -> None:
    """Add it to the batch, unless nobody waits for it any more."""
    if not question.answer.called:
        batch.append(question)


def _crowded() -> GatewayError:
    return fault(
        "rate_limit_exceeded",
        "too many requests from this address wait for their API keys to be looked up; wait 1 s",
        [(b"Retry-After", b"1")],
    )


def _full() -> GatewayError:
    return fault("keys_unavailable", "too many clients wait for their API keys to be looked up")
