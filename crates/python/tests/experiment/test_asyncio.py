"""The variants for asyncio: nothing holds up the loop, and a cancellation detaches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import ModuleType

import pytest

import mizzen as run
from mizzen.experiment import Job

# Seconds after which a test has waited in vain.
LIMIT = 60


def holding(tasks: ModuleType) -> run.Experiment:
    experiment = run.Experiment("held")
    experiment.add(run.Partial(tasks.hold), name="hold")
    return experiment


async def until_it_holds(experiment: run.Experiment) -> None:
    async for line in experiment.logs_async("hold", follow=True):
        assert line.text == "holding"
        return


def test_experiments_side_by_side(home: Path, tasks: ModuleType) -> None:
    async def main() -> list[object]:
        experiments = [run.Experiment(f"side-{number}", log_level="ERROR") for number in range(3)]
        for number, experiment in enumerate(experiments):
            experiment.add(run.Partial(tasks.add, number), name="add")
        await asyncio.gather(*(experiment.run_async() for experiment in experiments))
        return [experiment.result("add") for experiment in experiments]

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)) == [2, 3, 4]


def test_the_loop_goes_on(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    """The job ends only if the loop does something while it runs."""
    mine, other = tmp_path / "mine", tmp_path / "other"

    async def answer() -> None:
        while not mine.exists():
            await asyncio.sleep(0.001)
        other.touch()

    async def main() -> run.RunResult:
        result, _ = await asyncio.gather(
            run.run_async(run.Partial(tasks.meet, str(mine), str(other)), run.LocalExecutor(), log_level="ERROR"), answer()
        )
        return result

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)).value == str(mine)


def test_a_failure_is_raised(home: Path, tasks: ModuleType) -> None:
    experiment = run.Experiment("failing", log_level="ERROR")
    experiment.add(run.Partial(tasks.fail))
    with pytest.raises(run.JobFailed) as caught:
        asyncio.run(experiment.run_async())
    assert caught.value.remote_traceback is not None


def test_a_cancellation_detaches(home: Path, tasks: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = holding(tasks)

    async def main() -> None:
        task = asyncio.create_task(experiment.run_async())
        while experiment.state == "UNSUBMITTED" or experiment.dir is None:
            await asyncio.sleep(0.001)
        await until_it_holds(experiment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), LIMIT))
    assert experiment.state == "RUNNING"
    err = capfd.readouterr().err
    assert f"mizzen: the task that waited was cancelled; 1 job of {experiment.id} goes on\nhint: " in err
    experiment.cancel(kill=True)
    with pytest.raises(run.JobFailed):
        experiment.wait(60)


def test_a_cancellation_may_end_the_jobs(home: Path, tasks: ModuleType) -> None:
    experiment = holding(tasks)

    async def main() -> None:
        task = asyncio.create_task(experiment.run_async(on_interrupt="cancel"))
        while experiment.state == "UNSUBMITTED":
            await asyncio.sleep(0.001)
        await until_it_holds(experiment)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await experiment.wait_async(60, raise_on_failure=False)

    asyncio.run(asyncio.wait_for(main(), LIMIT))
    job = experiment["hold"]
    assert isinstance(job, Job)
    assert (job.state, job.cause) == ("CANCELLED", "cancelled")


def test_waiting_has_a_limit(home: Path, tasks: ModuleType) -> None:
    experiment = holding(tasks)
    experiment.run(detach=True)

    async def main() -> None:
        with pytest.raises(TimeoutError, match="has not ended within 0 s"):
            await experiment.wait_async(0)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(experiment.wait_async(), 0.01)

    try:
        asyncio.run(asyncio.wait_for(main(), LIMIT))
    except asyncio.TimeoutError:  # Python 3.10 has one of its own.
        pass
    assert experiment.state not in ("SUCCEEDED", "FAILED", "CANCELLED")


def test_as_a_context_manager(home: Path, tasks: ModuleType) -> None:
    async def main() -> run.Experiment:
        async with run.Experiment("context", log_level="ERROR") as experiment:
            experiment.add(run.Partial(tasks.add, 1))
            await experiment.run_async()
        return experiment

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)).result("add") == 3


def test_results_may_be_waited_for(home: Path, tasks: ModuleType) -> None:
    async def main() -> object:
        result = run.run(run.Partial(tasks.add, 1), executor=run.LocalExecutor(), detach=True, log_level="ERROR")
        return (await result.wait_async(60)).value

    assert asyncio.run(asyncio.wait_for(main(), LIMIT)) == 3
