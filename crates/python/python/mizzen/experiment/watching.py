"""The attached client: shows an experiment while its supervisor drives it, and knows what a Ctrl-C means.

.. code-block:: text

    Watch (events) ──▶ Board ──▶ lines on sys.stderr
    Logs (lines)   ──▶ sys.stdout, or sys.stderr behind the name of their job
    KeyboardInterrupt ──▶ end the jobs on this machine · kill them · leave

The client holds nothing that the experiment needs: it may be killed at any point. Pitfall: it never waits long in one call;
Python sees a signal only between calls, and a thread that waits for an asyncio task must be able to end.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from mizzen.errors import ConfigError
from mizzen.experiment.reading import Board, count, duration, tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from mizzen._core import Core, Logs, Watch

__all__ = ["Client", "LogLine", "check_on_interrupt", "lines_of", "lines_of_async", "say", "show_lines"]

#: The longest wait in one call, in seconds.
_LONGEST_WAIT = 0.1
#: The first pause between two looks for log lines; it grows as long as nothing happens, …
_SHORTEST_WAIT = 0.004
#: … up to this one.
_LONGEST_WAIT_FOR_LINES = 0.04
#: With more jobs than this, only those are told of that do not go well.
_MANY_JOBS = 50


class LogLine(NamedTuple):
    """A line that a job wrote.

    Attributes:
        job: the job's name.
        attempt: the attempt, counted from 1.
        rank: the process.
        text: the line without its end; bytes that are not UTF-8 are replaced.
    """

    job: str
    attempt: int
    rank: int
    text: str


def check_on_interrupt(on_interrupt: str | None) -> None:
    """What a Ctrl-C leads to must be known.

    Raises:
        ConfigError: it is not.
    """
    if on_interrupt not in (None, "cancel", "detach"):
        raise ConfigError(
            f"`{on_interrupt}` is nothing that a Ctrl-C can do; there are: `cancel`, `detach`, or None for what a shell does",
            path=".on_interrupt",
        )


class Client:
    """Attends one experiment until its end.

    Args:
        core: the library, able to start supervisors.
        experiment: the experiment's id.
        progress: say on ``sys.stderr`` what happens.
        summary: say at the end how it went.
        tail: the numbers of the jobs whose logs are shown; empty for all, ``None`` for none.
        several_ranks: the names of the jobs that have several ranks: their lines say which one wrote them.
        on_interrupt: ``"cancel"``: a Ctrl-C ends all jobs; ``"detach"``: it leaves them running; ``None``: it ends those on this
            machine, as a shell's children would.
    """

    def __init__(
        self,
        core: Core,
        experiment: str,
        *,
        progress: bool = True,
        summary: bool = True,
        tail: list[int] | None = None,
        several_ranks: frozenset[str] = frozenset(),
        on_interrupt: str | None = None,
    ) -> None:
        check_on_interrupt(on_interrupt)
        self._core = core
        self._id = experiment
        self._progress = progress
        self._summary = progress and summary
        self._on_interrupt = on_interrupt
        status = json.loads(core.status(experiment))
        self._board = Board(status)
        self._few = len(self._board.names) <= _MANY_JOBS
        self._watch: Watch = core.watch(experiment, self._board.sequence)
        self._logs: Logs | None = None
        self._printer: _Printer | None = None
        if tail is not None:
            self._logs = core.logs(experiment, tail, follow=True)
            shown = len(tail) or len(self._board.names)
            self._printer = _Printer(shown > 1, several_ranks)
        self._wait = _SHORTEST_WAIT
        self._over = False
        self._interrupts = 0
        self._ending: list[int] = []

    @property
    def over(self) -> bool:
        """The experiment is over."""
        return self._over

    def begin(self) -> None:
        """Says what is attended."""
        if self._progress:
            say(f"mizzen: experiment {self._id} ({self._board.title}), {count(len(self._board.names), 'job')}")

    def attend(self, until: Callable[[], bool] | None = None) -> None:
        """Stays until the end.

        Args:
            until: asked again and again; the client leaves once it says so.

        Raises:
            KeyboardInterrupt: after a Ctrl-C, when the jobs that it ends have ended, or at once if it ends none.
        """
        told = 0
        while True:
            # An interrupt may come anywhere, in the answer to one as well: only the loop counts them.
            try:
                while told < self._interrupts:
                    told += 1
                    if not self._interrupted(told):
                        raise _Left
                while not self._over and (until is None or not until()):
                    self.step(_LONGEST_WAIT)
                    if self._has_ended_what_it_could():
                        break
                break
            except KeyboardInterrupt:
                self._interrupts += 1
            except _Left:
                break
        if self._over:
            self.end()
        if self._interrupts:
            if not self._over:
                self.say_goes_on("the jobs on this machine have ended" if self._has_ended_what_it_could() else "interrupted")
            raise KeyboardInterrupt

    def step(self, longest: float) -> None:
        """Shows what has happened, waiting for so many seconds at most for something to happen."""
        if self._logs is None or not self._board.has_started:
            self._read_events(longest)
            return
        # Waiting is for events: a job's end is then told at once, and its lines are read a moment after they are written.
        happened = self._read_lines(0.0)
        happened |= self._read_events(0.0 if happened else min(self._wait, longest))
        self._wait = _SHORTEST_WAIT if happened else min(self._wait * 1.25, _LONGEST_WAIT_FOR_LINES)

    def end(self) -> None:
        """Shows what is left after the end."""
        while self._logs is not None:
            self._read_lines(_LONGEST_WAIT)
        if self._summary:
            status = json.loads(self._core.status(self._id))
            board = Board(status)
            lasted = f" after {duration(_lasted(status))}" if status["ended"] else ""
            say(f"mizzen: {board.title} {status['state']}{lasted}: {tally(board.counts())}")

    def say_goes_on(self, why: str) -> None:
        """Says that the jobs go on without the client, and how to come back to them."""
        left = len(self._board.unfinished())
        say(f"mizzen: {why}; {count(left, 'job')} of {self._id} {'goes' if left == 1 else 'go'} on")
        say(
            f"hint: `mizzen status {self._id}` shows it, `mizzen logs -f {self._id}` its output, `mizzen cancel {self._id}` ends it; "
            f'in Python: `mizzen.Experiment.from_id("{self._id}")`'
        )

    def cancel_unfinished(self) -> None:
        """Ends the jobs that a Ctrl-C ends."""
        chosen = self._chosen()
        if chosen:
            self._core.cancel(self._id, chosen, "interrupt")

    def _interrupted(self, times: int) -> bool:
        """Answers a Ctrl-C. Returns whether the client stays."""
        if times == 1:
            chosen = self._chosen()
            if not chosen:
                return False
            them = "it" if len(chosen) == 1 else "them"
            say(f"mizzen: interrupted: ending {count(len(chosen), 'job')}; once more kills {them} at once")
            # What was found before the first line is written holds even if writing is interrupted again.
            self._ending = chosen
            self._core.cancel(self._id, chosen, "interrupt")
            return True
        if times == 2:
            say("mizzen: interrupted again: killing the jobs at once")
            self._core.cancel(self._id, self._ending or self._chosen(), "kill")
            return True
        return False

    def _chosen(self) -> list[int]:
        unfinished = self._board.unfinished()
        if self._on_interrupt == "detach":
            return []
        if self._on_interrupt == "cancel":
            return unfinished
        return [number for number in unfinished if self._board.local[number]]

    def _has_ended_what_it_could(self) -> bool:
        """The jobs that a Ctrl-C ends have ended, and others go on elsewhere."""
        unfinished = set(self._board.unfinished())
        return bool(self._ending) and bool(unfinished) and unfinished.isdisjoint(self._ending)

    def _read_events(self, timeout: float) -> bool:
        events = self._watch.next(timeout)
        if events is None:
            self._over = True
            return False
        for text in events:
            line = self._board.apply(json.loads(text))
            if line is None:
                continue
            # What a job has written stands before what is said about it.
            while self._read_lines(0.0):
                pass
            if self._progress and (self._few or not _goes_well(line)):
                say(line)
        return bool(events)

    def _read_lines(self, timeout: float) -> bool:
        if self._logs is None or self._printer is None:
            return False
        lines = self._logs.next(timeout)
        if lines is None:
            self._logs = None
            return False
        self._printer.show(lines)
        return bool(lines)


class _Left(Exception):
    """The client leaves the jobs to themselves."""


def _goes_well(line: str) -> bool:
    words = line.split("\n", 1)[0].split(" ", 3)
    return len(words) > 2 and words[2].rstrip(":") in ("RUNNING", "SUCCEEDED", "SUBMITTED")


def _lasted(status: dict[str, Any]) -> float:
    from mizzen.experiment.job import read_time

    created, ended = read_time(status["created"]), read_time(status["ended"])
    return (ended - created).total_seconds() if created and ended else 0.0


def say(line: str) -> None:
    # Looked up each time: notebooks and tests put streams of their own there.
    stream = sys.stderr
    if stream is not None:
        stream.write(line + "\n")
        stream.flush()


class _Printer:
    """Shows log lines: one job's as they are on standard output, those of several behind their job's name on standard error."""

    def __init__(self, named: bool, several_ranks: Iterable[str], *, always_out: bool = False) -> None:
        self._named = named
        self._out = always_out or not named
        self._several_ranks = set(several_ranks)
        self._widest = 0

    def show(self, lines: list[tuple[str, int, int, bytes]]) -> None:
        stream = sys.stdout if self._out else sys.stderr
        if not lines or stream is None:
            return
        shown = []
        for job, _, rank, data in lines:
            text = data.decode("utf-8", "replace")
            label = ""
            if self._named:
                label = f"{job}[{rank}]" if job in self._several_ranks else job
            elif job in self._several_ranks:
                label = f"rank {rank}"
            if label:
                self._widest = max(self._widest, len(label)) if len(label) <= 32 else self._widest
                text = f"{label:<{self._widest}} │ {text}" if text else f"{label:<{self._widest}} │"
            shown.append(text + "\n")
        stream.write("".join(shown))
        stream.flush()


def show_lines(logs: Logs, *, named: bool, several_ranks: Iterable[str]) -> None:
    """Shows all lines on standard output.

    Args:
        logs: where they come from.
        named: each stands behind its job's name.
        several_ranks: the names of the jobs whose lines say which rank wrote them.
    """
    printer = _Printer(named, several_ranks, always_out=True)
    while (lines := logs.next(_LONGEST_WAIT)) is not None:
        printer.show(lines)


def lines_of(logs: Logs) -> Iterator[LogLine]:
    """The lines one by one."""
    while (lines := logs.next(_LONGEST_WAIT)) is not None:
        for job, attempt, rank, data in lines:
            yield LogLine(job, attempt, rank, data.decode("utf-8", "replace"))


async def lines_of_async(logs: Logs) -> AsyncIterator[LogLine]:
    """The lines one by one. Waiting is done in a thread, in short calls: nothing goes on after a cancellation."""
    from asyncio import to_thread

    while (lines := await to_thread(logs.next, _LONGEST_WAIT)) is not None:
        for job, attempt, rank, data in lines:
            yield LogLine(job, attempt, rank, data.decode("utf-8", "replace"))
