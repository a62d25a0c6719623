"""Staying with an experiment until its end, in a thread of one's own or for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mizzen.experiment.failures import experiment_failure
from mizzen.experiment.given import ranks_of
from mizzen.experiment.watching import Client, say

if TYPE_CHECKING:
    from mizzen._core import Core
    from mizzen.experiment.experiment import Experiment

__all__ = ["attend", "attend_async", "check_end", "make_client", "say_detached", "several_ranks"]


def make_client(experiment: Experiment, core: Core, tail_logs: bool = False, on_interrupt: str | None = None) -> Client:
    """Who attends an experiment that is written down, and shows what the experiment's options ask for."""
    tail: list[int] | None = []
    if not tail_logs:
        names = {job.id for job in experiment if job.tail_logs}
        jobs = experiment._view.read(core, experiment.id)["jobs"] if names else []
        tail = [job["index"] for job in jobs if job["name"] in names] or None
    return Client(
        core,
        experiment.id,
        progress=experiment._shows_progress,
        summary=not experiment._skip_status_at_exit,
        tail=tail,
        several_ranks=several_ranks(experiment) if tail is not None else frozenset(),
        on_interrupt=on_interrupt,
    )


def several_ranks(experiment: Experiment) -> frozenset[str]:
    """The names of the jobs that have several processes."""
    return frozenset(job.id for job in experiment if ranks_of(job._executor) > 1)


def attend(experiment: Experiment, client: Client, raise_on_failure: bool) -> None:
    """Stays until the end, and raises if it is a bad one.

    Raises:
        KeyboardInterrupt: after a Ctrl-C.
        JobFailed: a job failed or was cancelled.
    """
    experiment._waited = True
    try:
        client.attend()
    finally:
        experiment._view.expire()
    _part(experiment)
    check_end(experiment, raise_on_failure)


async def attend_async(experiment: Experiment, client: Client, raise_on_failure: bool, on_interrupt: str | None) -> None:
    """As :func:`attend`, in a thread, in short calls: nothing goes on after a cancellation."""
    from asyncio import CancelledError, to_thread

    experiment._waited = True
    try:
        while not client.over:
            await to_thread(client.step, 0.1)
        await to_thread(client.end)
    except CancelledError:
        if not client.over:
            _leave(experiment, client, on_interrupt)
        raise
    finally:
        experiment._view.expire()
    _part(experiment)
    await to_thread(check_end, experiment, raise_on_failure)


def _leave(experiment: Experiment, client: Client, on_interrupt: str | None) -> None:
    if on_interrupt == "cancel":
        from threading import Thread

        # The loop is not held up by it, and it is done even if the loop ends now.
        Thread(target=client.cancel_unfinished).start()
    elif experiment._shows_progress:
        client.say_goes_on("the task that waited was cancelled")


def check_end(experiment: Experiment, raise_on_failure: bool = True) -> None:
    """After the end: raises if it was a bad one.

    Raises:
        JobFailed: a job failed or was cancelled.
    """
    if not raise_on_failure:
        return
    core = experiment._view.core()
    failure = experiment_failure(core, experiment._view.read(core, experiment.id))
    if failure is not None:
        raise failure


def _part(experiment: Experiment) -> None:
    if experiment._shows_progress and experiment._enable_goodbye_message:
        say(f"hint: `mizzen logs {experiment.id}` shows the output, `mizzen status {experiment.id}` all jobs")


def say_detached(experiment: Experiment) -> None:
    """Says that an experiment was started, and how to come back to it."""
    if not experiment._shows_progress:
        return
    say(f"mizzen: experiment {experiment.id} ({experiment.title}) was started")
    if experiment._enable_goodbye_message:
        say(
            f"hint: `mizzen status {experiment.id}` shows it, `mizzen logs -f {experiment.id}` its output, "
            f'`mizzen wait {experiment.id}` waits for its end; in Python: `mizzen.Experiment.from_id("{experiment.id}")`'
        )
