"""Plans and states as text on standard output."""

from __future__ import annotations

import os
import shlex
import sys
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from mizzen.experiment.job import FINAL_STATES, Job, JobGroup, read_time
from mizzen.experiment.reading import count, duration, failure_words, last_lines, printable, tally

if TYPE_CHECKING:
    from mizzen.experiment.experiment import Experiment
    from mizzen.experiment.planned import PlannedJobs

__all__ = ["plan_text", "show_plan", "show_status", "status_of", "status_text"]


def show_plan(planned: PlannedJobs) -> None:
    """Prints what would be sent."""
    _print(plan_text(planned))


def show_status(experiment: Experiment, view: dict[str, Any] | None) -> None:
    """Prints how the jobs are."""
    _print(status_text(experiment, view))


def status_of(experiment: Experiment, unit: Job | JobGroup) -> dict[str, Any]:
    """How a job or a group is, as :meth:`Experiment.status` returns it."""
    if isinstance(unit, JobGroup):
        return {
            "name": unit.id,
            "status": unit.state,
            "executor": unit.jobs[0]._executor.info(),
            "job_id": unit.id,
            "handle": unit.handles,
            "local_dir": experiment.dir,
            "jobs": {job.id: status_of(experiment, job) for job in unit.jobs},
        }
    return {
        "name": unit.id,
        "status": unit.state,
        "cause": unit.cause,
        "message": unit.message,
        "executor": unit._executor.info(),
        "job_id": unit.id,
        "handle": unit.handle,
        "local_dir": unit.dir if unit.dir is not None else os.path.join(experiment.dir, unit.id),
        "attempts": unit.attempts,
    }


def _print(text: str) -> None:
    if sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()


def plan_text(planned: PlannedJobs) -> str:
    """A plan as ``mizzen plan`` shows it: each command is a line that can be pasted into a shell."""
    lines = [f"{planned.title}  {count(len(planned), 'job')}, plan {planned.fingerprint}"]
    for job in planned:
        place = job["executor"] if job["executor"] == job["kind"] else f"{job['executor']} ({job['kind']})"
        lines += ["", f"{job['name']}  on {place}" + (f", group {job['group']}" if job.get("group") else "")]
        several = len(job["argv"]) > 1
        for rank, argv in enumerate(job["argv"]):
            lines.append(_row(f"rank {rank}" if several else "command", shlex.join(argv)))
        if job["ranks"] > 1 and not several:
            lines.append(_row("ranks", str(job["ranks"])))
        lines.append(_row("in", shlex.quote(job["workdir"])))
        if job["after"]:
            lines.append(_row("after", ", ".join(job["after"])))
        if job["timeout"] is not None:
            lines.append(_row("timeout", duration(job["timeout"])))
        if job["retries"]["failure"]:
            lines.append(_row("retries", str(job["retries"]["failure"])))
        lines += [_row("env", f"{name}={shlex.quote(value)}") for name, value in job["env"]]
        for file in job["files"]:
            lines.append(_row("file", file["path"] + (" (executable)" if file.get("executable") else "")))
            lines += [_row("", f"│ {printable(line)}") for line in file["contents"].splitlines()]
    return "\n".join(lines) + "\n"


def _row(name: str, value: str) -> str:
    return f"  {name:<8} {value}"


def status_text(experiment: Experiment, view: dict[str, Any] | None) -> str:
    """A table of the jobs, as ``mizzen status`` shows it."""
    if view is None:
        rows = [(job.id, job.state, "", job._executor.kind, "", "") for job in experiment]
        head = f"{experiment.title}  {experiment.id}  {experiment.state}"
    else:
        rows = [_job_row(job) for job in view["jobs"]]
        counts: dict[str, int] = {}
        for job in view["jobs"]:
            counts[job["state"]] = counts.get(job["state"], 0) + 1
        head = f"{view['title']}  {view['id']}  {view['state']}  {tally(counts)}"
    table = [("JOB", "STATE", "ATTEMPT", "EXECUTOR", "TIME", ""), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    lines = [head]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[5]]).rstrip())
    return "\n".join(lines) + "\n"


def _job_row(job: dict[str, Any]) -> tuple[str, str, str, str, str, str]:
    last = job["attempts"][-1] if job["attempts"] else None
    number = str(last["number"]) if last else ""
    return job["name"], job["state"], number, job["executor"], _lasted(last), _detail(job, last)


def _lasted(attempt: dict[str, Any] | None) -> str:
    started = read_time(attempt["started"]) if attempt else None
    if attempt is None or started is None:
        return ""
    ended = read_time(attempt["ended"])
    if ended is None:
        if attempt["state"] in FINAL_STATES:
            return ""
        ended = datetime.now(timezone.utc)
    return duration((ended - started).total_seconds())


def _detail(job: dict[str, Any], last: dict[str, Any] | None) -> str:
    failure = last["failure"] if last else None
    words = (
        failure_words(job["cause"], job["message"], last["record"] if last else None, failure) if job["state"] != "SUCCEEDED" else ""
    )
    if failure and failure["reason"]:
        return words
    lines = [line for line in last_lines(last["record"] if last else None) if line.strip()] if job["state"] == "FAILED" else []
    return f"{words}: {lines[-1]}" if lines else words
