"""The jobs of an experiment while it is put together: their names, their own copies of what was handed in, their plugins."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from mizzen.errors import ConfigError, NotFoundError
from mizzen.executor.base import Executor, similar
from mizzen.experiment.given import as_executor, as_plugin, as_task
from mizzen.experiment.job import Job, JobGroup
from mizzen.experiment.naming import check_name, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mizzen.experiment.experiment import Experiment

__all__ = ["Collection"]


class Collection:
    """The jobs and groups of one experiment.

    Attributes:
        units: jobs and groups, in the order in which they were added.
        by_id: jobs, groups and members of groups by their ids.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.units: list[Job | JobGroup] = []
        self.by_id: dict[str, Job | JobGroup] = {}
        self._experiment = experiment
        # The last number that was put behind a name, so that a thousand jobs of one name are not counted a thousand times.
        self._numbers: dict[str, int] = {}
        self._shared: dict[int, tuple[Executor, Executor]] = {}

    def add(self, task: Any, executor: Any, name: str, plugins: Any, tail_logs: bool, dependencies: Iterable[Any] | None) -> str:
        """Adds what was handed to :meth:`Experiment.add`; returns its id."""
        named = check_name(name, "name") if name else ""
        chosen = [as_plugin(plugin) for plugin in plugins] if plugins else []
        unit: Job | JobGroup
        if isinstance(task, (list, tuple)):
            tasks = [as_task(one) for one in task]
            if not tasks:
                raise ConfigError("a group needs tasks, and the list is empty", path=".task")
            group = self._unique(named or name_of(tasks[0]), len(tasks))
            places = executor if isinstance(executor, list) else [executor]
            unit = JobGroup(group, tasks, [self._place(one) for one in places], chosen, tail_logs, dependencies or ())
        else:
            if isinstance(executor, list):
                raise ConfigError("a single task has a single executor\nhint: a list of tasks makes a group", path=".executor")
            single = as_task(task)
            job_id = self._unique(named or name_of(single), 0)
            unit = Job(job_id, single, self._place(executor), chosen, tail_logs, dependencies or ())
        self.take(unit)
        return unit.id

    def take(self, unit: Job | JobGroup) -> None:
        """Takes a job or a group in, and lets its plugins set it up.

        Raises:
            ConfigError: there is one of that name.
        """
        jobs = unit.jobs if isinstance(unit, JobGroup) else [unit]
        for taken in {unit.id, *(job.id for job in jobs)}:
            if taken in self.by_id:
                raise ConfigError(f"there are two jobs of the name `{taken}`", path=".jobs")
        for job in jobs:
            job._experiment = self._experiment
            if unit.plugins:
                job._original = (job.task, job._executor)
                self.prepare(job)
            self.by_id[job.id] = job
        self.by_id[unit.id] = unit
        self.units.append(unit)

    def prepare(self, job: Job) -> None:
        """Assigns a job to the experiment, and lets its plugins change copies of its task and its executor."""
        if job._original is not None:
            task, executor = job._original
            job._task, job._executor, job._owned = deepcopy(task), executor.clone(), True
        if job._owned:
            self.assign(job)
        for plugin in job.plugins if job._original is not None else ():
            plugin.assign(self._experiment.id)
            plugin.setup(job._task, job._executor)

    def assign(self, job: Job) -> None:
        """Tells a job's own executor which job it is for."""
        experiment = self._experiment
        job._executor.assign(experiment.id, experiment.dir, job.id, job.id)

    def find(self, job_id: str) -> Job | JobGroup:
        """The job or group of an id.

        Raises:
            NotFoundError: there is none.
        """
        found = self.by_id.get(job_id)
        if found is None:
            known = ", ".join(list(self.by_id)[:20]) or "none"
            raise NotFoundError(
                f"the experiment {self._experiment.title} ({self._experiment.id}) has no job `{job_id}`"
                f"{similar(str(job_id), self.by_id)}; there are: {known}"
            )
        return found

    def names(self, job_id: str | None) -> list[str]:
        """The names of the jobs that an id stands for; of all if it is ``None``."""
        units = self.units if job_id is None else [self.find(job_id)]
        return [job.id for unit in units for job in (unit.jobs if isinstance(unit, JobGroup) else [unit])]

    def _place(self, executor: Any) -> Executor:
        """A copy of an executor, which jobs share as long as the original stays the same."""
        given = self._experiment.executor if executor is None else as_executor(executor)
        known = self._shared.get(id(given))
        if known is None or known[0] is not given or known[1] != given:
            known = (given, given.clone())
            self._shared[id(given)] = known
        return known[1]

    def _unique(self, name: str, members: int) -> str:
        """The name, with a number behind it where it is taken."""
        candidate = name
        number = self._numbers.get(name, 0)
        while candidate in self.by_id or any(f"{candidate}-{member}" in self.by_id for member in range(members)):
            number += 1
            candidate = f"{name}_{number}"
        self._numbers[name] = number
        return candidate
