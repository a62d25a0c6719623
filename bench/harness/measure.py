"""Timing programs, taking turns, and what many figures come to.

Figures that are compared are taken in turns (A B A B …), so that whatever else the machine does meets both alike, and
the medians are compared: one slow round moves a mean, but no median.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import statistics
import subprocess
import time
from typing import Callable, Dict, List, Optional, Sequence, Union


class NotMeasured(Exception):
    """Why there is no figure, in words for the table."""


@dataclasses.dataclass
class Measured:
    """The figures of one contestant, in the order in which they were taken."""

    name: str
    unit: str
    values: List[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def p95(self) -> float:
        return self._at(0.95)

    @property
    def p99(self) -> float:
        return self._at(0.99)

    def _at(self, share: float) -> float:
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclasses.dataclass
class Missing:
    """A contestant without figures: a table says so, it never leaves one out."""

    name: str
    reason: str


Row = Union[Measured, Missing]


@dataclasses.dataclass
class Contestant:
    name: str
    once: Callable[[], float]
    """Measures once, in the table's unit; raises NotMeasured."""
    rounds: Optional[int] = None
    """Fewer turns than the others, for what takes long; they are spread over all rounds."""


def take_turns(contestants: Sequence[Contestant], rounds: int, unit: str, warm_ups: int = 0) -> List[Row]:
    """Lets every contestant measure once a round. Who fails is out, with the reason; the others go on."""
    values: Dict[str, List[float]] = {contestant.name: [] for contestant in contestants}
    reasons: Dict[str, str] = {}
    for number in range(-warm_ups, rounds):
        for contestant in contestants:
            if contestant.name in reasons or not _has_turn(contestant, number, rounds):
                continue
            try:
                value = contestant.once()
            except NotMeasured as error:
                reasons[contestant.name] = str(error)
                continue
            if number >= 0:
                values[contestant.name].append(value)
    return [
        Missing(contestant.name, reasons[contestant.name])
        if contestant.name in reasons
        else Measured(contestant.name, unit, values[contestant.name])
        for contestant in contestants
    ]


def _has_turn(contestant: Contestant, number: int, rounds: int) -> bool:
    if contestant.rounds is None or contestant.rounds >= rounds:
        return True
    return number >= 0 and number * contestant.rounds % rounds < contestant.rounds


def absent(name: str, reason: str) -> Contestant:
    """A contestant that is known beforehand not to take part."""

    def once() -> float:
        raise NotMeasured(reason)

    return Contestant(name, once)


_NOWHERE = [
    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
]


def start_to_end(argv: Sequence[str], environment: Optional[Dict[str, str]] = None) -> float:
    """Milliseconds from starting a program to having reaped it. For short ones: nothing ends it if it hangs.

    posix_spawn with vfork underneath: what this interpreter adds is some ten microseconds, whatever its size.
    argv[0] is a path, so that no search on PATH is timed.
    """
    env = dict(os.environ) if environment is None else environment
    start = time.perf_counter_ns()
    child = os.posix_spawn(argv[0], argv, env, file_actions=_NOWHERE)
    _, status = os.waitpid(child, 0)
    elapsed = (time.perf_counter_ns() - start) / 1e6
    if status != 0:
        run(argv, env)  # once more, for its words
        raise NotMeasured(f"`{' '.join(argv)}` ended with wait status {status:#x}")
    return elapsed


def run(
    argv: Sequence[str],
    environment: Optional[Dict[str, str]] = None,
    folder: Optional[str] = None,
    timeout: float = 600,
    keep_output: bool = True,
) -> "Finished":
    """Runs a program to its end and times it; raises NotMeasured with its last words if it fails or takes too long."""
    start = time.perf_counter()
    try:
        process = subprocess.Popen(
            argv,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if keep_output else subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise NotMeasured(f"`{argv[0]}` can't be started: {error.strerror}") from error
    try:
        output, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end(process)
        raise NotMeasured(f"`{short(argv)}` was not done after {timeout:g} s") from None
    except BaseException:
        end(process)
        raise
    elapsed = time.perf_counter() - start
    if process.returncode != 0:
        raise NotMeasured(f"`{short(argv)}` ended with {process.returncode}: {last_line(errors)}")
    return Finished(elapsed, (output or b"").decode(errors="replace"))


@dataclasses.dataclass
class Finished:
    seconds: float
    output: str


def end(process: "subprocess.Popen[bytes]") -> None:
    """Kills a process that leads its own session, with all of its group, and reaps it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def short(argv: Sequence[str]) -> str:
    """A command line for a message: the program's name without its folder, and its arguments."""
    return " ".join([os.path.basename(argv[0]), *argv[1:]])


def last_line(text: bytes) -> str:
    lines = [line.strip() for line in text.decode(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["it said nothing"])[-1][:300]
