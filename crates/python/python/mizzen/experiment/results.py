"""What a job's Python callable returned, from what its runner wrote down."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mizzen.errors import ResultError
from mizzen.experiment.failures import job_failure

if TYPE_CHECKING:
    from mizzen._core import Core

__all__ = ["value_of"]


def value_of(core: Core, status: dict[str, Any], job: dict[str, Any]) -> Any:
    """The value that a job's callable returned.

    Args:
        core: the library, for the logs.
        status: the status document of its experiment.
        job: the job's part of it; its state is final.

    Raises:
        JobFailed: it did not succeed; ``remote_traceback`` has what its callable raised.
        ResultError: it returned something that can't be written down, or was no Python callable.
    """
    if job["state"] != "SUCCEEDED":
        raise job_failure(core, status, job)
    path = os.path.join(job["attempts"][-1]["dir"], "result.json")
    if not os.path.exists(path):
        raise ResultError(
            f"the job `{job['name']}` left no result: it is no Python callable, or its folder was removed ({path})\n"
            f"hint: its log may have what you look for: `mizzen logs {status['id']} {job['name']}`"
        )
    from mizzen.job.results import read_result

    return read_result(path).value
