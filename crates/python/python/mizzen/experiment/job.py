"""Jobs, groups of jobs, and their attempts, as users see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from mizzen.errors import ConfigError, ExperimentError
from mizzen.experiment.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mizzen.config import Partial, Script
    from mizzen.executor import Executor
    from mizzen.experiment.experiment import Experiment
    from mizzen.plugin import Plugin

__all__ = ["FINAL_STATES", "Attempt", "Dependency", "Job", "JobGroup", "joint_state", "read_dependencies"]

#: The states that nothing follows by itself.
FINAL_STATES = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})

#: The state of several jobs is the first of these that one of them is in.
_WORST_FIRST = ("FAILED", "UNKNOWN", "RUNNING", "PENDING", "SUBMITTED", "UNSUBMITTED", "CANCELLED", "SUCCEEDED")

_CONDITIONS = ("ok", "any", "failed", "start")


class Dependency(NamedTuple):
    """What must have happened before a job starts.

    Attributes:
        job: the id of the job, or of the group, that comes first.
        when: ``"ok"``: it succeeded; ``"any"``: it ended, well or not; ``"failed"``: it failed; ``"start"``: it started.
    """

    job: str
    when: str = "ok"


@dataclass(frozen=True)
class Attempt:
    """One try of a job.

    Attributes:
        number: counted from 1.
        state: one of TorchX's words, such as ``"RUNNING"``.
        cause: why it ended, unless it succeeded; ``None`` as long as it goes on.
        exit_code: its exit status, 128 + number for a signal; ``None`` if there is none.
        started: when its first process was started, in UTC.
        ended: when its last process was gone, in UTC.
        nodes: the machines that it ran on.
        log_path: the log of its rank 0, or of the rank that failed first; ``None`` before it began.
        dir: its folder, which holds the logs of all ranks.
        handle: what names it at its place.
        usage: what it used, in all or so far; ``None`` where that is not known.
    """

    number: int
    state: str
    cause: str | None
    exit_code: int | None
    started: datetime | None
    ended: datetime | None
    nodes: tuple[str, ...]
    log_path: str | None
    dir: str
    handle: str | None
    usage: Usage | None = None

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Attempt:
        """From an attempt of the status document."""
        return cls(
            number=document["number"],
            state=document["state"],
            cause=document["cause"],
            exit_code=document["exit_code"],
            started=read_time(document["started"]),
            ended=read_time(document["ended"]),
            nodes=tuple(document["nodes"]),
            log_path=document["log"],
            dir=document["dir"],
            handle=document["handle"],
            usage=Usage.from_document(document["usage"]),
        )


def read_time(text: str | None) -> datetime | None:
    """A time of the status document, with its zone."""
    if text is None:
        return None
    # Python 3.10 does not know the Z.
    return datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)


class Job:
    """One task on one executor.

    What it is is said by ``id``, ``task``, ``executor``, ``plugins``, ``tail_logs``, ``dependencies`` and ``group``; how it goes
    is read from the store when it is asked for.

    Attributes:
        id: its name, unlike all others in the experiment.
        plugins: the plugins that set it up.
        tail_logs: whether its log is shown while the experiment is attended.
        dependencies: what must have happened before.
        group: the id of the group that it starts with; ``None`` for none.
    """

    __slots__ = (
        "_executor",
        "_experiment",
        "_load",
        "_original",
        "_owned",
        "_stored",
        "_task",
        "dependencies",
        "group",
        "id",
        "plugins",
        "tail_logs",
    )

    def __init__(
        self,
        id: str,
        task: Partial[Any] | Script | None,
        executor: Executor,
        plugins: list[Plugin] | None = None,
        tail_logs: bool = False,
        dependencies: Iterable[Any] = (),
        *,
        group: str | None = None,
    ) -> None:
        self.id = id
        self.plugins: list[Plugin] = plugins if plugins is not None else []
        self.tail_logs = tail_logs
        self.dependencies: list[Dependency] = read_dependencies(dependencies, id) if dependencies else []
        self.group = group
        self._task: Any = task
        self._executor = executor
        # Jobs share an executor until somebody looks at it.
        self._owned = False
        self._experiment: Experiment | None = None
        # A job that plugins have changed is set up anew for a new experiment, from what was handed in.
        self._original: tuple[Any, Executor] | None = None
        # A job from the store: its task as the document has it, and what makes the Python object of it.
        self._stored: dict[str, Any] | None = None
        self._load: Callable[[], Any] | None = None

    @property
    def name(self) -> str:
        """The job's name: its id."""
        return self.id

    @property
    def task(self) -> Any:
        """What it runs: a ``Partial`` or a ``Script``. Of a stored experiment it is read when first asked for; no code runs.

        ``None`` for a stored job that was not made in Python and is no script.
        """
        if self._task is None and self._load is not None:
            self._task = self._load()
        return self._task

    @task.setter
    def task(self, task: Partial[Any] | Script) -> None:
        self._task = task
        self._stored = None
        self._load = None

    @property
    def executor(self) -> Executor:
        """Where it runs: the job's own copy, assigned to the job."""
        if not self._owned and self._experiment is not None:
            self._executor = self._executor.clone()
            self._owned = True
            self._experiment._jobs.assign(self)
        return self._executor

    @executor.setter
    def executor(self, executor: Executor) -> None:
        self._executor = executor
        self._owned = True
        if self._stored is not None:
            self._stored = {**self._stored, "executor": None}

    @property
    def state(self) -> str:
        """``"UNSUBMITTED"``, ``"SUBMITTED"``, ``"PENDING"``, ``"RUNNING"``, ``"SUCCEEDED"``, ``"FAILED"``, ``"CANCELLED"`` or
        ``"UNKNOWN"``."""
        seen = self._seen()
        return "UNSUBMITTED" if seen is None else str(seen["state"])

    @property
    def cause(self) -> str | None:
        """Why it is in its state, such as ``"app-failure"`` or ``"upstream-failed"``; ``None`` if there is no reason."""
        seen = self._seen()
        return None if seen is None else seen["cause"]

    @property
    def message(self) -> str | None:
        """A sentence about its state, where there is more to say."""
        seen = self._seen()
        return None if seen is None else seen["message"]

    @property
    def handle(self) -> str | None:
        """What names its latest attempt at its place."""
        seen = self._seen()
        return None if seen is None else seen["handle"]

    @property
    def dir(self) -> str | None:
        """Its folder; ``None`` before the experiment was started."""
        seen = self._seen()
        return None if seen is None else seen["dir"]

    @property
    def launched(self) -> bool:
        """Whether it was handed to its place."""
        return self.state != "UNSUBMITTED"

    @property
    def attempts(self) -> list[Attempt]:
        """Its attempts so far, the first one first."""
        seen = self._seen()
        return [] if seen is None else [Attempt.from_document(one) for one in seen["attempts"]]

    @property
    def usage(self) -> Usage | None:
        """What its last attempt used, in all or so far: processors, memory, bytes, GPUs."""
        attempts = self.attempts
        return attempts[-1].usage if attempts else None

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self.attempts)

    def result(self) -> Any:
        """What its Python callable returned: see :meth:`Experiment.result`."""
        return self._of().result(self.id)

    def logs(self, **options: Any) -> None:
        """Shows its log: see :meth:`Experiment.logs`."""
        self._of().logs(self.id, **options)

    def cancel(self, kill: bool = False) -> None:
        """Ends it: see :meth:`Experiment.cancel`."""
        self._of().cancel(self.id, kill=kill)

    def _seen(self) -> dict[str, Any] | None:
        return None if self._experiment is None else self._experiment._seen(self.id)

    def _of(self) -> Experiment:
        if self._experiment is None:
            raise ExperimentError(f"the job `{self.id}` belongs to no experiment")
        return self._experiment

    def __repr__(self) -> str:
        return f"<Job {self.id}>"


class JobGroup:
    """Jobs that start together, in one allocation.

    Attributes:
        id: the group's name.
        jobs: its members.
        plugins: the plugins that set them up.
        tail_logs: whether their logs are shown while the experiment is attended.
        dependencies: what must have happened before.
    """

    __slots__ = ("dependencies", "id", "jobs", "plugins", "tail_logs")

    def __init__(
        self,
        id: str,
        tasks: list[Any],
        executors: Executor | list[Executor],
        plugins: list[Plugin] | None = None,
        tail_logs: bool = False,
        dependencies: Iterable[Any] = (),
    ) -> None:
        self.id = id
        self.plugins: list[Plugin] = plugins if plugins is not None else []
        self.tail_logs = tail_logs
        self.dependencies: list[Dependency] = read_dependencies(dependencies, id) if dependencies else []
        places = executors if isinstance(executors, list) else [executors]
        if len(places) == 1:
            places = places * len(tasks)
        if len(places) != len(tasks):
            raise ConfigError(
                f"the group `{id}` has {len(tasks)} tasks and {len(places)} executors\nhint: give one executor, or one for each task"
            )
        self.jobs = [
            Job(f"{id}-{number}", task, executor, self.plugins, tail_logs, self.dependencies, group=id)
            for number, (task, executor) in enumerate(zip(tasks, places, strict=True))
        ]

    @property
    def name(self) -> str:
        """The group's name: its id."""
        return self.id

    @property
    def tasks(self) -> list[Any]:
        """What its members run."""
        return [job.task for job in self.jobs]

    @property
    def executors(self) -> list[Executor]:
        """Where its members run."""
        return [job.executor for job in self.jobs]

    @property
    def state(self) -> str:
        """The members' states as one: failed if one failed, running as long as one runs, succeeded if all did."""
        return joint_state(job.state for job in self.jobs)

    @property
    def launched(self) -> bool:
        """Whether it was handed to its place."""
        return self.state != "UNSUBMITTED"

    @property
    def handles(self) -> list[str]:
        """What names the members at their place."""
        return [job.handle for job in self.jobs if job.handle is not None]

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)

    def __len__(self) -> int:
        return len(self.jobs)

    def cancel(self, kill: bool = False) -> None:
        """Ends all members: see :meth:`Experiment.cancel`."""
        self.jobs[0]._of().cancel(self.id, kill=kill)

    def __repr__(self) -> str:
        return f"<JobGroup {self.id} of {len(self.jobs)}>"


def joint_state(states: Iterable[str]) -> str:
    """The state of several jobs as one."""
    found = set(states)
    return next((state for state in _WORST_FIRST if state in found), "UNSUBMITTED")


def read_dependencies(given: Iterable[Any], job: str) -> list[Dependency]:
    """Dependencies as users write them: ids, pairs of an id and a condition, jobs, groups.

    Raises:
        ConfigError: something else was given.
    """
    if isinstance(given, (str, Job, JobGroup, Dependency)):
        given = [given]
    read = []
    for position, one in enumerate(given):
        path = f".dependencies[{position}]"
        name, when = one if isinstance(one, tuple) and len(one) == 2 else (one, "ok")
        if isinstance(name, (Job, JobGroup)):
            name = name.id
        if not isinstance(name, str):
            raise ConfigError(
                f"{job}{path}: {one!r} is no dependency\nhint: give the id that `add` returned, or a pair such as (id, \"any\")",
                path=path,
            )
        if when not in _CONDITIONS:
            raise ConfigError(f"{job}{path}: `{when}` is no condition; there are: {', '.join(_CONDITIONS)}", path=path)
        read.append(Dependency(name, when))
    return read
