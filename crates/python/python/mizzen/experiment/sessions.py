"""Sessions with an executor's settings: the ``mizzen`` executable does the work, at this process's terminal."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from mizzen.errors import ExperimentError, RefusedError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mizzen.devspace import DevSpace
    from mizzen.executor import Executor

__all__ = ["call", "launch_devspace", "shell"]

#: What executors are called in the file that is made of one.
_NAME = "from-python"


def call(words: Sequence[str]) -> None:
    """Runs a program at this process's terminal; ``mizzen`` is this installation's.

    Raises:
        ExperimentError: it failed; what it said went to standard error.
        UnreachableError: a place can't be reached.
        RefusedError: a place refused the job.
    """
    from mizzen.experiment.installation import find_program

    program, *rest = words
    status = subprocess.run([find_program() if program == "mizzen" else program, *rest], check=False).returncode
    if status == 0:
        return
    kind = {3: UnreachableError, 4: RefusedError}.get(status if program == "mizzen" else -1, ExperimentError)
    raise kind(f"`{' '.join([program, *rest[:2]])}` failed with exit status {status}")


def shell(
    executor: Executor,
    command: Sequence[str] = (),
    *,
    alloc: bool = False,
    name: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """A session on nodes (``mizzen shell``); comes back when it has ended.

    Args:
        executor: whose settings it has.
        command: the command; empty for a shell.
        alloc: only get the nodes.
        name: what the place calls it.
        env_vars: variables over the executor's.
        settings: settings over the executor's.

    Raises:
        ExperimentError: as :func:`call`.
    """
    details = {"job_details": {"job_name": name}} if name else {}
    options = ["--alloc"] if alloc else []
    _with_executor(executor, {**details, **(settings or {})}, env_vars, ["shell"], [*options, *(["--", *command] if command else [])])


def launch_devspace(space: DevSpace) -> str:
    """Starts a devspace (``mizzen devspace up``).

    Returns:
        Its name.

    Raises:
        ExperimentError: as :func:`call`.
    """
    variables = dict(space.env_vars or {})
    if space.add_workspace_to_pythonpath:
        variables["MIZZEN_DEVSPACE_PYTHONPATH"] = "1"
    _with_executor(space.executor, {}, variables, ["devspace", "up"], ["--name", space.name])
    return space.name


def _with_executor(
    executor: Executor, settings: Mapping[str, Any], env_vars: Mapping[str, str] | None, command: list[str], options: list[str]
) -> None:
    """Runs a command of ``mizzen``'s with an executor, which goes there in a file: its variables are nobody's business."""
    import tempfile

    document = {"kind": executor.kind, **executor.to_settings(), **settings}
    document["env_vars"] = {**document.get("env_vars", {}), **(env_vars or {})}
    with tempfile.TemporaryDirectory(prefix="mizzen-") as folder:
        path = os.path.join(folder, "executor.json")
        with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            json.dump({"executors": {_NAME: document}}, file)
        call(["mizzen", *command, "--executors-file", path, "-e", _NAME, *options])
