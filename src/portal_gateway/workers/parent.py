"""The parent of the workers: it starts, watches and ends them, and speaks for them.

It has no reactor and no threads, so that what is forked from it is like a process that has just
begun, only sooner: everything is imported, the configuration is read, and the addresses are taken.
"""

import gc
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

from portal_gateway.sd_notify import Notifier
from portal_gateway.signals import ENDING
from portal_gateway.workers.crew import Crew, Worker
from portal_gateway.workers.lifeline import END, HURRY, LISTENS, MAX_WORD, RELOAD

__all__ = ["Notes", "Parent"]

_SIGNALS: Final = (*ENDING, signal.SIGHUP, signal.SIGCHLD)

_LONGEST: Final = 3600.0
"""Seconds without anything to do: a bound for the system call."""


class Notes(Protocol):
    """Where the parent says what happens."""

    def info(self, message: str) -> None:
        """Something as it should be."""

    def error(self, message: str) -> None:
        """Something that it should not be."""


class Parent:
    """Keeps ``count`` workers running.

    Each is a fork that does ``work``, with its number and its end of the connection to the parent,
    and gives its exit status. ``notifier`` is told how all of them are, ``announce`` once the URL.
    ``close`` gives up what is open here for the workers. ``reloading`` is called for each SIGHUP,
    when the workers have heard of it.
    """

    def __init__(
        self,
        count: int,
        work: Callable[[int, socket.socket], int],
        notifier: Notifier,
        notes: Notes,
        *,
        announce: Callable[[str], object],
        reloading: Callable[[], object],
        close: Callable[[], object],
    ) -> None:
        self._crew = Crew(count)
        self._work = work
        self._notifier = notifier
        self._notes = notes
        self._announce = announce
        self._reloading = reloading
        self._close = close
        self._connections: dict[int, socket.socket] = {}
        self._url: str | None = None
        self._told_ready = False
        self._reload_asked = False
        self._status = 0
        self._hurried = False
        self._fed = 0.0
        self._wakeup_in, self._wakeup_out = socket.socketpair()

    def run(self) -> int:
        """Run until all workers have ended; the exit status.

        That is 0 after a signal that ended every worker well, and 1 when one could not start at all
        or ended badly.
        """
        with self._hearing_signals():
            crew = self._crew
            self._fed = time.monotonic()
            while crew.running or not crew.ending:
                for worker in crew.due(time.monotonic()):
                    self._start(worker)
                self._wait()
                self._reap()
                self._feed()
        return self._status

    # Signals.

    @contextmanager
    def _hearing_signals(self) -> Iterator[None]:
        for each in (self._wakeup_in, self._wakeup_out):
            each.settimeout(0)
        before = {number: signal.signal(number, _nothing) for number in _SIGNALS}
        signal.set_wakeup_fd(self._wakeup_out.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for number, action in before.items():
                signal.signal(number, action)
            self._wakeup_in.close()
            self._wakeup_out.close()

    def _hear(self) -> None:
        try:
            numbers = self._wakeup_in.recv(4096)
        except BlockingIOError:
            return
        for number in numbers:
            if number in ENDING:
                self._end(signal.Signals(number).name)
        if signal.SIGHUP in numbers and not self._crew.ending:
            self._reload()

    def _end(self, name: str) -> None:
        word = END
        if not self._crew.ending:
            self._notes.info(f"{name}: ending when the requests under way are over")
            self._stop()
        elif not self._hurried:
            self._hurried = True
            self._notes.info(f"{name} again: ending now")
            word = HURRY
        else:
            return
        for worker in self._crew.running:
            self._want(worker, word)

    def _stop(self) -> None:
        self._crew.ending = True
        self._notifier.stopping("ending when the requests under way are over")
        # What waits at a socket is lost when the last process closes it, which takes it first.
        self._close()

    def _reload(self) -> None:
        self._notifier.reloading()
        self._reload_asked = True
        for worker in self._crew.running:
            self._crew.is_busy(worker)
            self._want(worker, RELOAD)
        # A large file takes time, in which the workers read it, too.
        self._reloading()

    def _want(self, worker: Worker, word: bytes) -> None:
        try:
            self._connections[worker.number].send(word)
        except OSError:
            # It does not listen, if it is there at all.
            if word != RELOAD and worker.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(worker.pid, signal.SIGTERM)

    # Workers.

    def _start(self, worker: Worker) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(0)
        theirs.settimeout(0)
        # The collector would look through the parent's memory in each of them, and copy it so.
        gc.collect()
        gc.freeze()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            ours.close()
            os._exit(self._be_worker(worker, theirs))
        theirs.close()
        self._connections[worker.number] = ours
        self._crew.started(worker, pid, time.monotonic())
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._notes.info(f"worker {worker.number} is started as process {pid}")

    def _be_worker(self, worker: Worker, connection: socket.socket) -> int:
        """Be the worker, in the process that was just forked; its exit status."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        for each in (self._wakeup_in, self._wakeup_out, *self._connections.values()):
            each.close()
        # A key of the terminal is for the parent, which passes it on.
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return self._work(worker.number, connection)

    def _reap(self) -> None:
        for worker in self._crew.running:
            assert worker.pid is not None
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                self._listen(worker)
                self._ended(worker, pid, os.waitstatus_to_exitcode(status))

    def _ended(self, worker: Worker, pid: int, status: int) -> None:
        crew = self._crew
        was_ready = worker.ready
        wait = crew.ended(worker, time.monotonic())
        self._connections.pop(worker.number).close()
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        what = f"worker {worker.number} (process {pid}) has ended {how}"
        if crew.ending:
            if status in {0, -signal.SIGTERM} and (status == 0 or not was_ready):
                self._notes.info(what)
            else:
                self._status = 1
                self._notes.error(what)
        elif not crew.was_ready:
            # What keeps one from starting keeps the others, too.
            self._notes.error(f"{what} before all were ready: ending")
            self._status = 1
            self._stop()
            for other in crew.running:
                self._want(other, END)
        else:
            later = f"in {wait:g} s" if wait else "at once"
            self._notes.error(f"{what}; another is started {later}")
            self._tell_count()

    # What they say.

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._wakeup_in, select.POLLIN)
        by_descriptor = {}
        for worker in self._crew.running:
            descriptor = self._connections[worker.number].fileno()
            by_descriptor[descriptor] = worker
            poll.register(descriptor, select.POLLIN)
        for descriptor, _ in poll.poll(self._timeout() * 1000):
            said = by_descriptor.get(descriptor)
            if said is None:
                self._hear()
            elif not self._listen(said):
                # Its end is closed: it is about to be reaped, and not to be asked in a loop.
                self._await_end(said)

    def _timeout(self) -> float:
        now = time.monotonic()
        due = self._crew.next_due()
        times = [_LONGEST] if due is None else [due - now]
        if self._notifier.watchdog is not None:
            times.append(self._fed + self._notifier.watchdog / 2 - now)
        return max(0.0, min(times))

    def _listen(self, worker: Worker) -> bool:
        """Take what the worker has said; False when it will say nothing more."""
        connection = self._connections[worker.number]
        while True:
            try:
                packet = connection.recv(MAX_WORD)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not packet:
                return False
            self._heard(worker, packet)

    def _heard(self, worker: Worker, packet: bytes) -> None:
        crew, now = self._crew, time.monotonic()
        words = packet.split(b"\n")
        if b"READY=1" in words:
            crew.is_ready(worker, now)
            if crew.all_ready:
                self._all_ready()
            else:
                self._tell_count()
        elif b"RELOADING=1" in words:
            crew.is_busy(worker, now)
        elif packet.startswith(LISTENS):
            self._url = packet[len(LISTENS) :].decode()
        crew.is_alive(worker, now)

    def _all_ready(self) -> None:
        words = f"{len(self._crew.workers)} workers take requests"
        if not self._told_ready:
            self._told_ready = True
            if self._url is not None:
                self._announce(self._url)
        elif not self._reload_asked:
            self._notes.info(words)
            self._notifier.status(words)
            return
        self._reload_asked = False
        self._notes.info(words)
        self._notifier.ready(words)

    def _tell_count(self) -> None:
        if self._told_ready and not self._crew.ending:
            ready, count = self._crew.ready_count, len(self._crew.workers)
            self._notifier.status(f"{ready} of {count} workers take requests")

    def _await_end(self, worker: Worker) -> None:
        """Wait for the process that has closed its end of the connection, which is what dying does.

        One that goes on without a parent is ended: nobody would end it later.
        """
        assert worker.pid is not None
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            if os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                return
            select.poll().poll(1)
        with suppress(ProcessLookupError):
            os.kill(worker.pid, signal.SIGKILL)

    def _feed(self) -> None:
        """Serve the watchdog, as long as all workers answer."""
        watchdog = self._notifier.watchdog
        now = time.monotonic()
        if watchdog is None or now < self._fed + watchdog / 2:
            return
        self._fed = now
        if self._crew.all_answer(now, watchdog / 2):
            self._notifier.alive()
        else:
            self._notes.error("a worker does not answer: the watchdog is not served")


def _nothing(_number: int, _frame: object) -> None:
    """A signal is heard by the descriptor that it wakes; the default would end the process."""
