"""``run``: one task, here and now or on an executor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mizzen.errors import ResultError
from mizzen.experiment.direct import call_task
from mizzen.experiment.watching import check_on_interrupt

if TYPE_CHECKING:
    from mizzen.executor import Executor
    from mizzen.experiment.experiment import Experiment
    from mizzen.plugin import Plugin

__all__ = ["RunResult", "run", "run_async"]


class RunResult:
    """What became of a :func:`run`.

    Attributes:
        experiment: the experiment that the task ran in; ``None`` if it ran in this process.
        job: the job's name in it.
    """

    def __init__(self, experiment: Experiment | None, job: str, state: str, value: Any = None) -> None:
        self.experiment = experiment
        self.job = job
        self._state = state
        self._value = value

    @property
    def state(self) -> str:
        """The job's state, such as ``"SUCCEEDED"``."""
        return self._state if self.experiment is None else self.experiment[self.job].state

    @property
    def value(self) -> Any:
        """What the callable returned; ``None`` for a script.

        Raises:
            ResultError: it has not ended, or returned something that can't be written down.
            JobFailed: it failed.
        """
        if self.experiment is None:
            if self._state != "SUCCEEDED":
                raise ResultError(f"`{self.job}` has no value: it is {self._state}")
            return self._value
        from mizzen.config import Script

        job: Any = self.experiment[self.job]
        if isinstance(job.task, Script) and job.state == "SUCCEEDED":
            return None
        return self.experiment.result(self.job)

    def wait(self, timeout: float | None = None) -> RunResult:
        """Waits for the end, where :func:`run` did not: see :meth:`Experiment.wait`."""
        if self.experiment is not None:
            self.experiment.wait(timeout)
        return self

    async def wait_async(self, timeout: float | None = None) -> RunResult:
        """As :meth:`wait`, for asyncio."""
        if self.experiment is not None:
            await self.experiment.wait_async(timeout)
        return self

    def __repr__(self) -> str:
        where = "" if self.experiment is None else f" of {self.experiment.id}"
        return f"<RunResult {self.job}{where} {self.state}>"


def run(
    fn_or_script: Any,
    executor: Executor | None = None,
    plugins: Plugin | list[Plugin] | None = None,
    name: str = "",
    dryrun: bool = False,
    direct: bool = False,
    detach: bool = False,
    tail_logs: bool = True,
    log_level: str | int = "INFO",
    *,
    raise_on_failure: bool = True,
    on_interrupt: str | None = None,
    base_dir: str | None = None,
) -> RunResult:
    """Runs one task.

    Without an executor it runs in this process, and what it raises comes through as it is. With one it becomes the job of an
    experiment, which is recorded.

    Args:
        fn_or_script: a ``Partial``, a ``Script`` or a function without arguments.
        executor: where it runs.
        plugins: set up copies of the task and the executor.
        name: the job's name and the experiment's title; otherwise the task's.
        dryrun: only show what would be run.
        direct: run in this process even with an executor.
        detach: return at once; the job goes on. Without an executor it is a job on this machine then.
        tail_logs: show the job's log.
        log_level, raise_on_failure, on_interrupt, base_dir: as for :class:`Experiment` and :meth:`Experiment.run`.

    Returns:
        The result: ``.value``, ``.state``, ``.experiment``.

    Raises:
        JobFailed: the job failed.
        ConfigError: it can't be planned.
    """
    check_on_interrupt(on_interrupt)
    if executor is None and detach and not direct:
        # What is to go on without this process can only be a job of its own.
        from mizzen.executor import LocalExecutor

        executor = LocalExecutor()
    if executor is None or direct:
        return _run_here(fn_or_script, executor, plugins, name, dryrun, raise_on_failure)
    experiment, job = _single(fn_or_script, executor, plugins, name, log_level, base_dir)
    if dryrun:
        experiment.dryrun()
    else:
        experiment.run(detach=detach, tail_logs=tail_logs, raise_on_failure=raise_on_failure, on_interrupt=on_interrupt)
    return RunResult(experiment, job, "UNSUBMITTED")


async def run_async(
    fn_or_script: Any,
    executor: Executor,
    plugins: Plugin | list[Plugin] | None = None,
    name: str = "",
    tail_logs: bool = True,
    log_level: str | int = "INFO",
    *,
    raise_on_failure: bool = True,
    on_interrupt: str | None = None,
    base_dir: str | None = None,
) -> RunResult:
    """As :func:`run` with an executor, for asyncio: see :meth:`Experiment.run_async` for what a cancellation does."""
    experiment, job = _single(fn_or_script, executor, plugins, name, log_level, base_dir)
    await experiment.run_async(tail_logs=tail_logs, raise_on_failure=raise_on_failure, on_interrupt=on_interrupt)
    return RunResult(experiment, job, "UNSUBMITTED")


def _single(
    task: Any, executor: Executor, plugins: Plugin | list[Plugin] | None, name: str, log_level: str | int, base_dir: str | None
) -> tuple[Experiment, str]:
    from mizzen.experiment.experiment import Experiment
    from mizzen.experiment.given import as_task
    from mizzen.experiment.naming import name_of

    task = as_task(task)
    title = name or name_of(task)
    experiment = Experiment(title, executor=executor, log_level=log_level, base_dir=base_dir)
    return experiment, experiment.add(task, name=title, plugins=_listed(plugins))


def _listed(plugins: Plugin | list[Plugin] | None) -> list[Plugin] | None:
    return plugins if plugins is None or isinstance(plugins, list) else [plugins]


def _run_here(
    task: Any,
    executor: Executor | None,
    plugins: Plugin | list[Plugin] | None,
    name: str,
    dryrun: bool,
    raise_on_failure: bool,
) -> RunResult:
    from mizzen.experiment.given import as_task
    from mizzen.experiment.naming import name_of

    task = as_task(task)
    called = name or name_of(task)
    if plugins:
        from mizzen.executor import LocalExecutor
        from mizzen.experiment.naming import new_id

        executor = LocalExecutor() if executor is None else executor.clone()
        experiment_id = new_id()
        for plugin in _listed(plugins) or ():
            plugin.assign(experiment_id)
            plugin.setup(task, executor)
    if dryrun:
        from mizzen.config import dryrun_fn

        dryrun_fn(task, executor)
        return RunResult(None, called, "UNSUBMITTED")
    try:
        value = call_task(task, executor, called)
    except Exception:
        if raise_on_failure:
            raise
        return RunResult(None, called, "FAILED")
    return RunResult(None, called, "SUCCEEDED", value)
