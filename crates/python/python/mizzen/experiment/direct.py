"""Running tasks in this process: nothing is recorded, and what fails raises as it would have without Mizzen."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from mizzen.errors import ConfigTypeError, ExperimentError, JobFailed
from mizzen.experiment.job import Job, JobGroup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mizzen.config import Script
    from mizzen.executor import Executor

__all__ = ["call_task", "run_units"]


def call_task(task: Any, executor: Executor | None = None, name: str = "") -> Any:
    """Runs a task here and now.

    Args:
        task: a ``Partial``, which is built and called, a ``Config``, which is built, or a ``Script``, which is run as a child.
        executor: where its variables come from, for a script.
        name: what a failed script is called.

    Returns:
        What the callable returned; ``None`` for a script.

    Raises:
        JobFailed: a script ended with another status than 0. What a callable raises is not changed.
    """
    from mizzen.config import Script

    if isinstance(task, Script):
        return _run_script(task, {} if executor is None else executor.env_vars, name or task.get_name())
    from mizzen.job import run_in_process

    return run_in_process(task)


def _run_script(script: Script, variables: Mapping[str, str], name: str) -> None:
    import shlex
    import tempfile

    words = shlex.split(script.entrypoint)
    if words and words[0] in ("python", "python3") and sys.executable:
        words[0] = sys.executable
    environment = {**os.environ, **variables, **{key: str(value) for key, value in script.env.items()}}
    if not script.inline:
        arguments = ["-m", script.path] if script.m else [script.path]
        status = _spawn([*words, *arguments, *map(str, script.args)], environment)
    else:
        with tempfile.TemporaryDirectory(prefix="mizzen-") as folder:
            path = os.path.join(folder, "script")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o700), "w", encoding="utf-8") as file:
                file.write(script.inline)
            status = _spawn([path] if script.inline.startswith("#!") else [*words, path], environment)
    if status != 0:
        code = 128 - status if status < 0 else status
        raise JobFailed(
            f"the script `{name}` failed: app-failure, exit code {code}",
            experiment_id="",
            title="",
            job=name,
            state="FAILED",
            cause="app-failure",
            exit_code=code,
        )


def _spawn(command: list[str], environment: dict[str, str]) -> int:
    try:
        if sys.stdout is sys.__stdout__:
            return subprocess.run(command, env=environment, check=False).returncode
        # A notebook's output is no file: what the child writes is handed on.
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as child:
            for line in child.stdout or ():
                sys.stdout.write(line.decode("utf-8", "replace"))
        return child.returncode
    except OSError as error:
        raise JobFailed(
            f"`{command[0]}` can't be started: {error.strerror}",
            experiment_id="",
            title="",
            job=command[0],
            state="FAILED",
            cause="launch-failure",
        ) from error


def run_units(units: Sequence[Job | JobGroup], raise_on_failure: bool) -> tuple[dict[str, str], dict[str, Any]]:
    """Runs jobs one after another, each after those that it depends on.

    Args:
        units: the jobs; their dependencies have been checked.
        raise_on_failure: let the first exception through; otherwise go on with what does not depend on it.

    Returns:
        The state of each job, and what those that succeeded returned.

    Raises:
        ExperimentError: there is a group among them: its members would have to run at the same time.
    """
    states: dict[str, str] = {}
    values: dict[str, Any] = {}
    waiting = list(units)
    for unit in units:
        if isinstance(unit, JobGroup):
            raise ExperimentError(f"the group `{unit.id}` can't run with direct=True: its members must run at the same time")
    while waiting:
        # In the order in which they were added, as far as dependencies allow; there are no circles.
        unit = next(one for one in waiting if all(name in states for name, _ in one.dependencies))
        waiting.remove(unit)
        if not isinstance(unit, Job):
            raise ConfigTypeError(f"{unit!r} is no job")
        if not all(_holds(when, states[name]) for name, when in unit.dependencies):
            states[unit.id] = "CANCELLED"
            continue
        try:
            values[unit.id] = call_task(unit.task, unit.executor, unit.id)
            states[unit.id] = "SUCCEEDED"
        except Exception:
            states[unit.id] = "FAILED"
            if raise_on_failure:
                raise
    return states, values


def _holds(when: str, state: str) -> bool:
    if when == "ok":
        return state == "SUCCEEDED"
    if when == "failed":
        return state == "FAILED"
    return when == "any" or state != "CANCELLED"
