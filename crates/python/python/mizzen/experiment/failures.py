"""The exception that a failed experiment raises."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mizzen.errors import JobFailed, ResultError
from mizzen.experiment.reading import failure_words, last_lines

if TYPE_CHECKING:
    from mizzen._core import Core

__all__ = ["job_failure", "experiment_failure"]

#: So many of a job's last lines are told where its record has none.
_LINES = 20


def experiment_failure(core: Core, status: dict[str, Any]) -> JobFailed | None:
    """The failure of an experiment that is over: that of the job which failed first; ``None`` if it succeeded.

    Args:
        core: the library, for the logs.
        status: the status document.
    """
    if status["state"] == "SUCCEEDED":
        return None
    jobs = status["jobs"]
    failed = [job for job in jobs if job["state"] == "FAILED"]
    # Without a failure it was cancelled. What was not needed is no news.
    failed = failed or [job for job in jobs if job["state"] not in ("SUCCEEDED", "FAILED") and job["cause"] != "not-needed"]
    if not failed:
        return None
    first = min(failed, key=_ended)
    return job_failure(core, status, first, tuple(job["name"] for job in failed))


def _ended(job: dict[str, Any]) -> tuple[bool, str]:
    ended = job["attempts"][-1]["ended"] if job["attempts"] else None
    return ended is None, ended or ""


def job_failure(core: Core, status: dict[str, Any], job: dict[str, Any], failed: tuple[str, ...] = ()) -> JobFailed:
    """The failure of one job.

    Args:
        core: the library, for the logs.
        status: the status document of its experiment.
        job: the job's part of it.
        failed: the names of all that failed.
    """
    attempt = job["attempts"][-1] if job["attempts"] else None
    record = attempt["record"] if attempt else None
    first = record.get("first_failure") if record else None
    lines = last_lines(record)
    if not lines and attempt is not None and job["state"] == "FAILED":
        lines = _lines_from_log(core, status["id"], job)
    why = attempt["failure"] if attempt else None
    words = failure_words(job["cause"], job["message"], record, why)
    verb = {"FAILED": "failed", "CANCELLED": "was cancelled"}.get(job["state"], f"is {job['state']}")
    message = f"the job `{job['name']}` of {status['title']} ({status['id']}) {verb}"
    message += f": {words}" if words else ""
    more = len(failed) - 1
    if more > 0:
        message += f" ({more} more {'job' if more == 1 else 'jobs'} {verb.replace('was', 'were') if more > 1 else verb})"
    message += "".join(f"\n    │ {line}" for line in lines)
    if why and why["hint"]:
        message += f"\nhint: {why['hint']}"
    if attempt is not None:
        message += f"\nhint: `mizzen logs {status['id']} {job['name']}` shows its whole output"
    return JobFailed(
        message,
        experiment_id=status["id"],
        title=status["title"],
        job=job["name"],
        state=job["state"],
        cause=job["cause"],
        attempt=attempt["number"] if attempt else None,
        rank=why["rank"] if why else None,
        host=why["host"] if why else None,
        kind=why["kind"] if why else None,
        reason=why["reason"] if why else None,
        hint=why["hint"] if why else None,
        exit_code=attempt["exit_code"] if attempt else None,
        lines=tuple(lines),
        remote_traceback=_traceback(attempt, first["rank"] if first else 0),
        failed=failed,
    )


def _lines_from_log(core: Core, experiment: str, job: dict[str, Any]) -> list[str]:
    logs = core.logs(experiment, [job["index"]], attempt=job["attempts"][-1]["number"], tail=_LINES)
    lines: list[str] = []
    while (found := logs.next(0.0)) is not None:
        lines += [data.decode("utf-8", "replace") for *_, data in found]
    return lines[-_LINES:]


def _traceback(attempt: dict[str, Any] | None, rank: int) -> str | None:
    """The traceback that the runner wrote down, if the job was a Python callable that raised."""
    if attempt is None:
        return None
    for name in (f"result-{rank}.json", "result.json"):
        path = os.path.join(attempt["dir"], name)
        if os.path.exists(path):
            from mizzen.job.results import read_result

            try:
                exception = read_result(path).exception
            except ResultError:
                continue
            if exception is not None:
                return exception.traceback
    return None
