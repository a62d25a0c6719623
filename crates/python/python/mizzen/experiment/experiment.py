"""The experiment as users hold it."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from mizzen.config import Config, ConfigurableMixin
from mizzen.errors import ConfigError, ExperimentError, NotFoundError, ResultError
from mizzen.executor.local import LocalExecutor
from mizzen.experiment.collection import Collection
from mizzen.experiment.given import INFO, as_executor, level_of
from mizzen.experiment.installation import executors_surround, home_folder
from mizzen.experiment.job import FINAL_STATES, Job, JobGroup
from mizzen.experiment.naming import check_id, check_name, new_id
from mizzen.experiment.view import View
from mizzen.experiment.watching import Client, LogLine, check_on_interrupt, lines_of, lines_of_async, show_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import TracebackType
    from typing import TypeVar

    from typing_extensions import Self

    from mizzen._core import Core, Logs
    from mizzen.executor import Executor
    from mizzen.experiment.planned import PlannedJobs
    from mizzen.plugin import Plugin

    T = TypeVar("T")

__all__ = ["Experiment"]



class Experiment(ConfigurableMixin):
    """A titled set of jobs that are run together.

    .. code-block:: python

        with run.Experiment("llama") as experiment:
            experiment.add(run.Partial(prepare), name="prepare")
            experiment.add(run.Partial(train, lr=3e-4), name="train", dependencies=["prepare"])
            experiment.run()
        print(experiment.result("train"))

    As a context manager it waits at the end for what was started and neither detached from nor waited for; it starts nothing by
    itself, and after an exception it does not wait either.

    Args:
        title: letters, digits, ``_``, ``.``, ``+`` and ``-``.
        executor: where jobs run that name no executor; this machine if ``None``.
        id: 1 to 40 lower-case letters and digits; a random one if ``None``.
        log_level: ``"INFO"`` shows on ``sys.stderr`` what happens, ``"WARNING"`` and above do not. No logger is touched.
        jobs: jobs to begin with.
        base_dir: Mizzen's home for this experiment; ``MIZZEN_HOME`` or ``~/.mizzen`` if ``None``.
        clean_mode: show nothing but logs that were asked for.
        enable_goodbye_message: say at the end how to come back to the experiment.
        threadpool_workers: has no effect; there for code written for NeMo-Run.
        skip_status_at_exit: do not say at the end how it went.
        serialize_metadata_for_scripts: keep the fields of each ``Script`` with the experiment, so that it can be loaded again.

    Raises:
        ConfigError: an argument can't be right.
    """

    def __init__(
        self,
        title: str,
        executor: Executor | Config[Any] | None = None,
        id: str | None = None,
        log_level: str | int = "INFO",
        *,
        jobs: Iterable[Job | JobGroup] | None = None,
        base_dir: str | os.PathLike[str] | None = None,
        clean_mode: bool = False,
        enable_goodbye_message: bool = True,
        threadpool_workers: int = 16,
        skip_status_at_exit: bool = False,
        serialize_metadata_for_scripts: bool = True,
    ) -> None:
        self._title = check_name(title, "title")
        self._id = new_id() if id is None else check_id(id)
        self._given_id = id
        self._executor = as_executor(executor) if executor is not None else LocalExecutor()
        self._log_level = log_level
        self._level = level_of(log_level)
        if not isinstance(threadpool_workers, int) or threadpool_workers < 1:
            raise ConfigError(f"threadpool_workers must be a number above 0, not {threadpool_workers!r}", path=".threadpool_workers")
        self._base_dir = None if base_dir is None else home_folder(base_dir)
        self._clean_mode = clean_mode
        self._enable_goodbye_message = enable_goodbye_message
        self._threadpool_workers = threadpool_workers
        self._skip_status_at_exit = skip_status_at_exit
        self._serialize_metadata_for_scripts = serialize_metadata_for_scripts
        self._jobs = Collection(self)
        self._view = View(self._base_dir)
        self._stored: dict[str, Any] | None = None
        self._forget()
        for job in jobs or ():
            self._jobs.take(job)

    def _forget(self) -> None:
        self._started = False
        self._detached = False
        self._waited = False
        self._direct: tuple[dict[str, str], dict[str, Any]] | None = None
        self._view.clear()

    # What it is

    @property
    def title(self) -> str:
        """Its title."""
        return self._title

    @property
    def id(self) -> str:
        """Its id."""
        return self._id

    @property
    def executor(self) -> Executor:
        """Where jobs run that name no executor."""
        return self._executor

    @property
    def jobs(self) -> list[Job | JobGroup]:
        """Its jobs and groups, in the order in which they were added."""
        return list(self._jobs.units)

    @property
    def tasks(self) -> list[Any]:
        """What its jobs run; for a group a list."""
        return [unit.tasks if isinstance(unit, JobGroup) else unit.task for unit in self._jobs.units]

    @property
    def tunnels(self) -> dict[str, Any]:
        """The tunnels of its executors. No executor has any yet."""
        return {}

    @property
    def dir(self) -> str:
        """Its folder. It exists once the experiment was started."""
        return os.path.join(self._view.home_now, "experiments", self._title, self._id)

    @property
    def state(self) -> str:
        """``"UNSUBMITTED"`` before it was started, then the state that all jobs together are in."""
        if self._direct is not None:
            from mizzen.experiment.job import joint_state

            return joint_state(self._direct[0].values())
        view = self._look()
        return "UNSUBMITTED" if view is None else str(view["state"])

    def __iter__(self) -> Iterator[Job]:
        for unit in self._jobs.units:
            if isinstance(unit, JobGroup):
                yield from unit.jobs
            else:
                yield unit

    def __len__(self) -> int:
        return sum(len(unit) if isinstance(unit, JobGroup) else 1 for unit in self._jobs.units)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, job_id: str) -> Job | JobGroup:
        return self._jobs.find(job_id)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._jobs.by_id

    def __repr__(self) -> str:
        return f"<Experiment {self._title} {self._id}>"

    def to_config(self) -> Config[Any]:
        """How it was made, without its jobs."""
        return Config(
            Experiment,
            title=self._title,
            executor=self._executor.to_config(),
            id=self._id,
            log_level=self._log_level,
            base_dir=self._base_dir,
            clean_mode=self._clean_mode,
            enable_goodbye_message=self._enable_goodbye_message,
            threadpool_workers=self._threadpool_workers,
            skip_status_at_exit=self._skip_status_at_exit,
            serialize_metadata_for_scripts=self._serialize_metadata_for_scripts,
        )

    # Building it

    def add(
        self,
        task: Any,
        executor: Executor | Config[Any] | list[Any] | None = None,
        name: str = "",
        plugins: list[Plugin] | None = None,
        tail_logs: bool = False,
        dependencies: Iterable[Any] | None = None,
    ) -> str:
        """Adds a job, or for a list of tasks a group that starts together.

        What is handed in is copied: changing it later changes nothing here.

        Args:
            task: a ``Partial``, a ``Script``, a callable that needs no arguments, or a list of them.
            executor: where it runs; the experiment's executor if ``None``. For a group one, or a list with one for each task.
            name: the job's name; otherwise it is called after its task. A name that is taken gets a number behind it.
            plugins: set up the copies of task and executor.
            tail_logs: show its log while the experiment is attended.
            dependencies: what must have happened before: ids that ``add`` returned or will return, or pairs such as ``(id, "any")``;
                ``"ok"`` (the default): it succeeded, ``"any"``: it ended, ``"failed"``: it failed, ``"start"``: it started.

        Returns:
            The job's id, unlike all others in the experiment.

        Raises:
            ConfigError: an argument can't be right.
            ConfigTypeError: the task is none.
            ExperimentError: the experiment was started already.
        """
        self._check_open("add to")
        return self._jobs.add(task, executor, name, plugins, tail_logs, dependencies)

    def _check_open(self, what: str) -> None:
        if self._started or self._direct is not None:
            raise ExperimentError(
                f"you can't {what} the experiment {self._title} ({self._id}): it was started already\n"
                "hint: `reset()` makes a new one of it, with the same jobs"
            )

    # Running it

    def run(
        self,
        sequential: bool = False,
        detach: bool = False,
        tail_logs: bool = False,
        direct: bool = False,
        *,
        raise_on_failure: bool = True,
        on_interrupt: str | None = None,
    ) -> None:
        """Starts the jobs and waits for their end.

        A Ctrl-C (or Jupyter's interrupt) ends the jobs on this machine as a shell would, a second one kills them, a third one leaves
        them; from jobs elsewhere it detaches. Then ``KeyboardInterrupt`` is raised.

        Args:
            sequential: one after the other, in the order in which they were added; after a failure none follows.
            detach: return at once; the jobs go on, even if this process ends.
            tail_logs: show the logs of all jobs.
            direct: run in this process, one after the other, without recording anything. Exceptions come through as they are.
            raise_on_failure: raise if a job failed.
            on_interrupt: what a Ctrl-C does: ``"cancel"`` ends all jobs, ``"detach"`` leaves them running, ``None`` as said above.

        Raises:
            JobFailed: a job failed or was cancelled.
            ConfigError: the jobs can't be planned: a circle of dependencies, values that can't be written down, …
            ExperimentError: it was started already.
        """
        check_on_interrupt(on_interrupt)
        if direct:
            self._run_direct(sequential, raise_on_failure)
            return
        from mizzen.experiment.attending import attend, make_client

        try:
            client = self._start(sequential, detach, tail_logs, on_interrupt)
        except KeyboardInterrupt:
            if not self._started or detach:
                raise
            # It came while the jobs were being started: they are not left to themselves.
            client = make_client(self, self._view.core(drives=True), tail_logs, on_interrupt)
            client.interrupt()
        if client is not None:
            attend(self, client, raise_on_failure)

    async def run_async(
        self,
        sequential: bool = False,
        tail_logs: bool = False,
        *,
        raise_on_failure: bool = True,
        on_interrupt: str | None = None,
    ) -> None:
        """As :meth:`run`, for asyncio: waiting is done in threads, in short calls, and never holds up the loop.

        Cancelling the task detaches from the jobs: they go on, and :meth:`from_id` finds them again. With
        ``on_interrupt="cancel"`` it ends them. A Ctrl-C under :func:`asyncio.run` cancels the task.
        """
        from asyncio import to_thread

        from mizzen.experiment.attending import attend_async

        check_on_interrupt(on_interrupt)
        client = await to_thread(self._start, sequential, False, tail_logs, on_interrupt)
        if client is not None:
            await attend_async(self, client, raise_on_failure, on_interrupt)

    def _start(self, sequential: bool, detach: bool, tail_logs: bool, on_interrupt: str | None) -> Client | None:
        """Writes the experiment down and has it driven; returns who attends it."""
        self._check_open("run")
        if not self._jobs.units:
            raise ExperimentError(f"the experiment {self._title} has no jobs\nhint: add some first")
        base = self._view.base
        document = self._document(sequential, base)
        self._view.home = self._view.home_now
        core = self._view.core(drives=True)
        if self._given_id is not None and self._exists(core):
            raise ExperimentError(
                f"there is an experiment of the id {self._id} already\nhint: choose another id; `Experiment.from_id` loads that one"
            )
        from mizzen.experiment.attending import make_client, say_detached

        try:
            self._explained(core, document, base, lambda text: core.create(text, base, self._id))
            self._started = True
        except KeyboardInterrupt:
            self._started = self._exists(core)
            raise
        self._detached = detach
        # The client is there before anything can happen: it misses nothing.
        client = None if detach else make_client(self, core, tail_logs, on_interrupt)
        core.supervise(self._id)
        if client is None:
            say_detached(self)
        else:
            client.begin()
        return client

    def _run_direct(self, sequential: bool, raise_on_failure: bool) -> None:
        from mizzen.experiment.direct import run_units
        from mizzen.experiment.document import check_dependencies

        self._check_open("run")
        check_dependencies(self._jobs.units, sequential)
        self._waited = True
        self._direct = ({}, {})
        self._direct = run_units(self._jobs.units, raise_on_failure)

    def dryrun(self, log: bool = True, exist_ok: bool = False, delete_exp_dir: bool = True, *, sequential: bool = False) -> PlannedJobs:
        """Shows exactly what would be sent for each job. Writes and starts nothing.

        Args:
            log: print it on ``sys.stdout``.
            exist_ok: has no effect: no folder is made.
            delete_exp_dir: has no effect either.
            sequential: as for :meth:`run`.

        Returns:
            The jobs, in their order: each is a dictionary with ``name``, ``executor``, ``kind``, ``argv`` (of each rank), ``env``, ``workdir``, ``after``,
            ``files`` and ``request``. Values that look private are masked.

        Raises:
            ConfigError: the jobs can't be planned.
        """
        base = self._view.base
        document = self._document(sequential, base)
        core = self._view.core()
        from mizzen.experiment.planned import PlannedJobs

        planned = PlannedJobs(self._explained(core, document, base, lambda text: core.plan(text, base)))
        if log:
            from mizzen.experiment.showing import show_plan

            show_plan(planned)
        return planned

    def _document(self, sequential: bool, base: str) -> dict[str, Any]:
        from mizzen.experiment.document import experiment_document

        return experiment_document(
            self._title,
            self._jobs.units,
            sequential=sequential,
            stored=self._stored,
            notes_for_scripts=self._serialize_metadata_for_scripts,
            prefix="python-" if executors_surround(self._view.home_now, base) else "",
        )

    @staticmethod
    def _explained(core: Core, document: dict[str, Any], base: str, do: Callable[[str], T]) -> T:
        try:
            return do(json.dumps(document))
        except ConfigError:
            # Said once more about a text with lines: the place in it can then be shown.
            core.plan(json.dumps(document, indent=2), base)
            raise

    # Seeing how it goes

    def status(self, return_dict: bool = False) -> dict[str, dict[str, Any]] | None:
        """How the jobs are.

        Args:
            return_dict: return it instead of printing it on ``sys.stdout``.

        Returns:
            For each job's id a dictionary with ``name``, ``status``, ``cause``, ``message``, ``executor``, ``job_id``, ``handle``,
            ``local_dir`` and ``attempts``; for a group ``jobs`` holds its members in the same form.
        """
        if not return_dict:
            from mizzen.experiment.showing import show_status

            show_status(self, self._look())
            return None
        from mizzen.experiment.showing import status_of

        self._look()
        return {unit.id: status_of(self, unit) for unit in self._jobs.units}

    def logs(
        self,
        job_id: str | None = None,
        regex: str | None = None,
        follow: bool = False,
        rank: int | None = None,
        attempt: int | None = None,
    ) -> None:
        """Prints the log of a job, a group or all jobs on ``sys.stdout``; of several, each line behind its job's name.

        Args:
            job_id: the job or the group; all if ``None``.
            regex: only the lines that match it (Rust's syntax).
            follow: go on until the jobs have ended. A Ctrl-C only ends the looking.
            rank: only this process.
            attempt: only this attempt; otherwise the last one.
        """
        from mizzen.experiment.attending import several_ranks

        names = self._jobs.names(job_id)
        logs = self._open_logs(names, regex, follow, rank, attempt)
        show_lines(logs, named=len(names) > 1, several_ranks=several_ranks(self) if rank is None else ())

    def log_lines(
        self,
        job_id: str | None = None,
        regex: str | None = None,
        follow: bool = False,
        rank: int | None = None,
        attempt: int | None = None,
    ) -> Iterator[LogLine]:
        """The lines that :meth:`logs` would print, one by one."""
        return lines_of(self._open_logs(self._jobs.names(job_id), regex, follow, rank, attempt))

    def logs_async(
        self,
        job_id: str | None = None,
        regex: str | None = None,
        follow: bool = False,
        rank: int | None = None,
        attempt: int | None = None,
    ) -> AsyncIterator[LogLine]:
        """The lines that :meth:`logs` would print, for ``async for``. Waiting is done in threads."""
        return lines_of_async(self._open_logs(self._jobs.names(job_id), regex, follow, rank, attempt))

    def _open_logs(self, names: list[str], regex: str | None, follow: bool, rank: int | None, attempt: int | None) -> Logs:
        core = self._view.core(drives=follow)
        numbers = self._numbers_of(core, names)
        self._view.expire()
        return core.logs(self._id, numbers, follow=follow, rank=rank, attempt=attempt, pattern=regex)

    def result(self, job_id: str) -> Any:
        """What a job's Python callable returned.

        Args:
            job_id: the job; for a group the results of all members are returned, as a list.

        Raises:
            ResultError: the job has not ended, is no Python callable, or returned something that can't be written down.
            JobFailed: it failed; ``remote_traceback`` has what the callable raised.
        """
        unit = self._jobs.find(job_id)
        if isinstance(unit, JobGroup):
            return [self.result(job.id) for job in unit.jobs]
        if self._direct is not None:
            return self._direct_result(unit)
        view = self._look()
        job = self._view.by_name.get(unit.id)
        if view is None or job is None:
            raise ResultError(f"the job `{unit.id}` has no result: its experiment was not started")
        if job["state"] not in FINAL_STATES:
            raise ResultError(f"the job `{unit.id}` has no result yet: it is {job['state']}\nhint: `wait()` waits for its end")
        from mizzen.experiment.results import value_of

        return value_of(self._view.core(), view, job)

    def _direct_result(self, job: Job) -> Any:
        states, values = self._direct or ({}, {})
        if job.id not in values:
            raise ResultError(f"the job `{job.id}` has no result: it is {states.get(job.id, 'UNSUBMITTED')}")
        return values[job.id]

    # Intervening

    def wait(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> None:
        """Waits for the end of an experiment that was started here or elsewhere. A Ctrl-C only ends the waiting.

        Args:
            timeout: at most so many seconds; as long as it takes if ``None``.
            raise_on_failure: raise if a job failed.

        Raises:
            TimeoutError: it has not ended in time.
            JobFailed: a job failed or was cancelled.
        """
        client = self._waiter()
        limit = None if timeout is None else time.monotonic() + timeout
        client.attend(until=None if limit is None else lambda: time.monotonic() >= limit)
        self._after_wait(client, timeout, raise_on_failure)

    async def wait_async(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> None:
        """As :meth:`wait`, for asyncio. Cancelling the task only ends the waiting."""
        from asyncio import to_thread

        client = await to_thread(self._waiter)
        limit = None if timeout is None else time.monotonic() + timeout
        while not client.over and (limit is None or time.monotonic() < limit):
            await to_thread(client.step, 0.1)
        await to_thread(self._after_wait, client, timeout, raise_on_failure)

    def _waiter(self) -> Client:
        self._check_started("wait for")
        return Client(self._view.core(drives=True), self._id, progress=False, on_interrupt="detach")

    def _after_wait(self, client: Client, timeout: float | None, raise_on_failure: bool) -> None:
        self._view.expire()
        if not client.over:
            raise TimeoutError(f"the experiment {self._title} ({self._id}) has not ended within {timeout} s")
        self._waited = True
        from mizzen.experiment.attending import check_end

        check_end(self, raise_on_failure)

    def cancel(self, job_id: str | None = None, kill: bool = False) -> None:
        """Asks for the end of a job, a group or all jobs, and returns at once.

        Args:
            job_id: the job or the group; all jobs if ``None``.
            kill: at once; otherwise a job gets SIGTERM and time to end.
        """
        self._check_started("cancel")
        core = self._view.core(drives=True)
        names = self._jobs.names(job_id)
        core.cancel(self._id, self._numbers_of(core, names) if job_id is not None else [], "kill" if kill else "terminate")
        self._view.expire()

    def retry(
        self,
        jobs: str | Iterable[str] | None = None,
        *,
        detach: bool = False,
        tail_logs: bool = False,
        raise_on_failure: bool = True,
        on_interrupt: str | None = None,
    ) -> list[str]:
        """Runs jobs again that did not succeed, and what was skipped because of them.

        Args:
            jobs: their ids; all that did not succeed if ``None``.
            detach, tail_logs, raise_on_failure, on_interrupt: as for :meth:`run`.

        Returns:
            The names of the jobs that were run.

        Raises:
            ExperimentError: it still runs, or there is nothing to run again.
        """
        from mizzen.experiment.attending import attend, make_client, say_detached

        check_on_interrupt(on_interrupt)
        self._check_started("retry")
        core = self._view.core(drives=True)
        chosen = [jobs] if isinstance(jobs, str) else list(jobs or ())
        numbers = self._numbers_of(core, [name for one in chosen for name in self._jobs.names(one)])
        # The client is there before anything can happen: it misses nothing, and shows nothing that was there before.
        client = None if detach else make_client(self, core, tail_logs, on_interrupt, only_new=True)
        again = set(core.retry(self._id, numbers))
        names = [job["name"] for job in self._view.read(core, self._id)["jobs"] if job["index"] in again]
        self._waited, self._detached = False, detach
        if client is None:
            say_detached(self)
        else:
            client.begin()
            attend(self, client, raise_on_failure)
        return names

    def reset(self) -> Self:
        """Makes a new experiment of it, which has not been started: the same jobs, dependencies, groups and plugins under a new id.

        What the old one left stays in the store, under its id.

        Returns:
            The experiment itself.

        Raises:
            ExperimentError: it still runs.
        """
        if self._started:
            view = self._look()
            if view is not None and view["ended"] is None:
                raise ExperimentError(
                    f"the experiment {self._title} ({self._id}) still runs\nhint: `wait()` waits for its end, `cancel()` ends it"
                )
        self._forget()
        self._id = new_id()
        self._given_id = None
        for job in self:
            self._jobs.prepare(job)
        return self

    # Finding experiments again

    @classmethod
    def from_id(cls, id: str, *, base_dir: str | os.PathLike[str] | None = None) -> Experiment:
        """A stored experiment. No code of it runs: tasks are read when they are asked for, and import nothing until built.

        Args:
            id: its id, or a beginning of it that no other has.
            base_dir: Mizzen's home; ``MIZZEN_HOME`` or ``~/.mizzen`` if ``None``.

        Raises:
            NotFoundError: there is none.
        """
        from mizzen.experiment.catalog import load

        return load(cls, id, base_dir)

    @classmethod
    def from_title(cls, title: str, *, base_dir: str | os.PathLike[str] | None = None) -> Experiment:
        """The newest stored experiment of a title.

        Raises:
            NotFoundError: there is none.
        """
        from mizzen.experiment.catalog import newest

        return cls.from_id(newest(title, base_dir), base_dir=base_dir)

    @classmethod
    def catalog(cls, title: str = "", *, base_dir: str | os.PathLike[str] | None = None) -> list[str]:
        """The ids of the experiments of a title, newest first; without a title, all titles."""
        from mizzen.experiment.catalog import listed

        return listed(title, base_dir)

    # As a context manager

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None and self._is_left_alone():
            from mizzen.experiment.attending import attend, make_client

            attend(self, make_client(self, self._view.core(drives=True)), True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None and self._is_left_alone():
            from asyncio import to_thread

            from mizzen.experiment.attending import attend_async, make_client

            client = await to_thread(lambda: make_client(self, self._view.core(drives=True)))
            await attend_async(self, client, True, None)

    def _is_left_alone(self) -> bool:
        return self._started and not self._detached and not self._waited

    # What the store says

    @property
    def _shows_progress(self) -> bool:
        return self._level <= INFO and not self._clean_mode

    def _exists(self, core: Core) -> bool:
        try:
            return core.resolve(self._id) == self._id
        except NotFoundError:
            return False

    def _check_started(self, what: str) -> None:
        if not self._started:
            raise ExperimentError(f"you can't {what} the experiment {self._title} ({self._id}): it was not started")

    def _look(self) -> dict[str, Any] | None:
        """What the store says, not much older than now; ``None`` before the experiment was started."""
        if not self._started:
            return None
        return self._view.look(self._id)

    def _seen(self, job_id: str) -> dict[str, Any] | None:
        if self._direct is not None:
            state = self._direct[0].get(job_id)
            return None if state is None else {"state": state, "cause": None, "message": None, "handle": None, "dir": None, "attempts": []}
        return None if self._look() is None else self._view.by_name.get(job_id)

    def _numbers_of(self, core: Core, names: list[str]) -> list[int]:
        self._check_started("look into")
        if len(names) == len(self):
            return []
        self._view.read(core, self._id)
        return [self._view.by_name[name]["index"] for name in names]
