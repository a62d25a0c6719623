"""Experiments: tasks that run together, watched and recorded.

.. code-block:: text

    add ──▶ Job, JobGroup ── document ──▶ JSON ── _core ──▶ plan · store · supervisor ──▶ jobs
    run, wait, retry ◀── watching (events, log lines, Ctrl-C) ◀── store ◀──────────────────┘
    status, result, iteration ◀── view (what the store says, read again when it may have changed)

Nothing here holds a connection: every call opens the store of the home that the experiment belongs to, so experiments may
be used from several threads and on both sides of a fork. The client may die; the jobs go on under their supervisor.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen.experiment.experiment import Experiment as Experiment
    from mizzen.experiment.job import Attempt as Attempt
    from mizzen.experiment.job import Dependency as Dependency
    from mizzen.experiment.job import Job as Job
    from mizzen.experiment.job import JobGroup as JobGroup
    from mizzen.experiment.running import RunResult as RunResult
    from mizzen.experiment.running import run as run
    from mizzen.experiment.running import run_async as run_async
    from mizzen.experiment.usage import GpuUsage as GpuUsage
    from mizzen.experiment.usage import Usage as Usage
    from mizzen.experiment.watching import LogLine as LogLine

_HOMES = {
    "Attempt": "job",
    "Dependency": "job",
    "Experiment": "experiment",
    "GpuUsage": "usage",
    "Job": "job",
    "JobGroup": "job",
    "LogLine": "watching",
    "RunResult": "running",
    "Usage": "usage",
    "run": "running",
    "run_async": "running",
}

__all__ = [
    "Attempt",
    "Dependency",
    "Experiment",
    "GpuUsage",
    "Job",
    "JobGroup",
    "LogLine",
    "RunResult",
    "Usage",
    "run",
    "run_async",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'mizzen.experiment' has no attribute '{name}'")
    value: object = getattr(import_module(f"mizzen.experiment.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
