"""What happens in an experiment, in words: the lines of the attached client, the causes of failures."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from mizzen.experiment.job import FINAL_STATES, read_time

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["Board", "count", "duration", "ending", "failure_words", "last_lines", "printable", "tally"]

_ORDER = ("RUNNING", "SUBMITTED", "PENDING", "UNSUBMITTED", "SUCCEEDED", "FAILED", "CANCELLED", "UNKNOWN")


def count(number: int, what: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def duration(seconds: float) -> str:
    """A length of time for people: ``8ms``, ``1.5s``, ``2m 3s``, ``1h 5m``."""
    if seconds < 0.1:
        return f"{round(max(seconds, 0.0) * 1000)}ms"
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}m {rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes}m"


def tally(states: dict[str, int]) -> str:
    """``3 RUNNING · 1 FAILED``."""
    return " · ".join(f"{states[state]} {state}" for state in _ORDER if states.get(state))


def ending(cause: str | None, record: dict[str, Any] | None, failure: dict[str, Any] | None = None) -> str:
    """How an attempt ended: ``app-failure, exit code 3``, or with what is known of the reason ``rank 5 on n2 failed first, 0.8 s
    before the rest: CUDA out of memory, exit code 1``."""
    words = printable(failure["words"]) if failure and failure["words"] else ""
    # A failure of the program's own is what the words tell of.
    parts = [cause] if cause and not (words and cause == "app-failure") else []
    if words:
        parts.append(words)
    failed = None if record is None else record.get("first_failure")
    if record is not None and failed is not None:
        rank = failed["rank"]
        end = record["ranks"][rank] if rank < len(record["ranks"]) else {}
        how = ""
        if end.get("error") is not None:
            how = printable(end["error"])
        elif end.get("code") is not None:
            how = f"exit code {end['code']}"
        elif end.get("signal") is not None:
            how = signal_name(end["signal"], short=bool(words))
        if how and not any(how in part for part in parts):
            parts.append(how)
    return ", ".join(parts)


def signal_name(number: int, *, short: bool = False) -> str:
    """``signal 9 (SIGKILL)``, or ``SIGKILL``."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    return name if short else f"signal {number} ({name})"


def printable(text: str) -> str:
    """Without what would move a terminal's cursor."""
    return "".join(character if character.isprintable() else " " for character in text)


def last_lines(record: dict[str, Any] | None) -> list[str]:
    """The last lines of the rank that failed first, without blank ones at the end."""
    failed = None if record is None else record.get("first_failure")
    lines = [] if failed is None else [printable(line) for line in failed["last_lines"]]
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


class Board:
    """The states of an experiment's jobs, kept up to date by its events.

    Args:
        status: the status document that the events continue.
    """

    def __init__(self, status: dict[str, Any]) -> None:
        self.id: str = status["id"]
        self.title: str = status["title"]
        self.created = read_time(status["created"])
        self.names: list[str] = [job["name"] for job in status["jobs"]]
        self.states: list[str] = [job["state"] for job in status["jobs"]]
        self.local: list[bool] = [job["local"] for job in status["jobs"]]
        self.sequence: int = status["sequence"]
        #: A job has written something, or may have.
        self.has_started = any(job["attempts"] for job in status["jobs"])
        self._began: dict[int, datetime] = {}

    def unfinished(self) -> list[int]:
        """The numbers of the jobs that may still change."""
        return [number for number, state in enumerate(self.states) if state not in FINAL_STATES]

    def counts(self) -> dict[str, int]:
        """How many jobs are in which state."""
        counts: dict[str, int] = {}
        for state in self.states:
            counts[state] = counts.get(state, 0) + 1
        return counts

    def apply(self, event: dict[str, Any]) -> str | None:
        """Takes an event in.

        Returns:
            A line about it, with the last lines of a failed job's log below it; ``None`` where it deserves none.
        """
        self.sequence = max(self.sequence, event["sequence"])
        number = event.get("job")
        if number is None or number >= len(self.names):
            return None
        kind = event["type"]
        words: str | None = None
        if kind in ("intended", "submitted"):
            self.states[number] = "SUBMITTED"
        elif kind == "reset":
            self.states[number] = "UNSUBMITTED"
        elif kind == "observed":
            self.states[number] = event["state"]
            words = f": {printable(event['detail'])}" if event["detail"] else None
        elif kind == "started":
            self.states[number] = "RUNNING"
            self.has_started = True
            self._note_start(number, event)
            words = f" attempt {event['attempt']}" if event["attempt"] > 1 else ""
        elif kind == "skipped":
            self.states[number] = "CANCELLED"
            words = f": {printable(event['message'])}"
        elif kind == "ended":
            words = self._ended(number, event)
        if words is None:
            return None
        clock = _local_clock(event)
        return f"{clock} {self.names[number]} {self.states[number]}{words}"

    def _note_start(self, number: int, event: dict[str, Any]) -> None:
        time = read_time(event["time"])
        if time is not None:
            self._began[number] = time

    def _ended(self, number: int, event: dict[str, Any]) -> str:
        record = event.get("record")
        retry = event.get("retry")
        self.states[number] = "PENDING" if retry else event["state"]
        after = ""
        if record is not None:
            after = f" after {duration((record['ended'] - record['started']) / 1e6)}"
        elif number in self._began:
            now = read_time(event["time"])
            after = f" after {duration((now - self._began[number]).total_seconds())}" if now else ""
        why = failure_words(event.get("cause"), event.get("message"), record, event.get("failure"))
        below = "".join(f"\n    │ {line}" for line in last_lines(record)) if event["state"] == "FAILED" else ""
        if retry:
            wait = _seconds_between(event["time"], retry["at"])
            attempt = event["attempt"]
            return f" for attempt {attempt + 1} in {duration(wait)}; attempt {attempt}{after}: {why}{below}"
        return f"{after}: {why}{below}" if why else after


def failure_words(
    cause: str | None, message: str | None, record: dict[str, Any] | None, failure: dict[str, Any] | None = None
) -> str:
    """A failed attempt in one line: how it ended, and what else is known."""
    words = ending(cause, record, failure)
    said = printable(message) if message else ""
    if not said or said in words:
        return words
    return f"{words}: {said}" if words else said


def _local_clock(event: dict[str, Any]) -> str:
    time = read_time(event["time"])
    return "" if time is None else time.astimezone().strftime("%H:%M:%S")


def _seconds_between(first: str, second: Any) -> float:
    begin = read_time(first)
    if isinstance(second, (int, float)):  # Microseconds since the epoch.
        return max(second / 1e6 - (begin.timestamp() if begin else 0.0), 0.0)
    end = read_time(second)
    return max((end - begin).total_seconds(), 0.0) if begin and end else 0.0
