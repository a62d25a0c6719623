"""Stored experiments: finding them, and making an :class:`Experiment` of one. None of their code runs."""

from __future__ import annotations

import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from mizzen.errors import ConfigError, NotFoundError
from mizzen.executor.base import Executor, executor_from
from mizzen.experiment.document import stored_task
from mizzen.experiment.installation import home_folder, open_core
from mizzen.experiment.job import Dependency, Job, JobGroup

if TYPE_CHECKING:
    from mizzen.experiment.experiment import Experiment

__all__ = ["listed", "load", "newest"]


def listed(title: str, base_dir: str | os.PathLike[str] | None) -> list[str]:
    """The ids of a title, newest first; without a title, all titles."""
    experiments = json.loads(open_core(home_folder(base_dir)).list(title or None, None))
    return list(dict.fromkeys(one["id" if title else "title"] for one in experiments))


def newest(title: str, base_dir: str | os.PathLike[str] | None) -> str:
    """The id of the newest experiment of a title.

    Raises:
        NotFoundError: there is none.
    """
    home = home_folder(base_dir)
    found = json.loads(open_core(home).list(title, 1))
    if not found:
        from mizzen.executor.base import similar

        raise NotFoundError(f"there is no experiment of the title `{title}` in {home}{similar(title, listed('', base_dir))}")
    return str(found[0]["id"])


def load(kind: type[Experiment], id: str, base_dir: str | os.PathLike[str] | None) -> Experiment:
    """A stored experiment.

    Raises:
        NotFoundError: there is none.
    """
    home = home_folder(base_dir)
    core = open_core(home)
    found = core.resolve(id)
    if not found.startswith(id):
        raise NotFoundError(f"there is no experiment of the id `{id}` in {home}\nhint: `from_title` finds one by its title")
    status = json.loads(core.status(found))
    record = json.loads(core.record(found))
    experiment = kind(status["title"], id=found, base_dir=home)
    experiment._base_dir = None if base_dir is None else home
    experiment._given_id = None
    experiment._view.workdir = record["workdir"]
    experiment._stored = record["document"]
    tasks = {task["name"]: task for task in record["document"]["tasks"]}
    executors = _StoredExecutors(record["document"])
    # A task with a sweep has several jobs.
    names: dict[str, list[str]] = {}
    for one in status["jobs"]:
        names.setdefault(one["task"], []).append(one["name"])
    units: dict[str, Job | JobGroup] = {}
    for one in status["jobs"]:
        job = _job(one, tasks[one["task"]], executors, names)
        if job.group is None:
            units[job.id] = job
            continue
        group = units.setdefault(job.group, JobGroup(job.group, [], []))
        if isinstance(group, JobGroup):
            group.jobs.append(job)
            group.dependencies = job.dependencies
    for unit in units.values():
        experiment._jobs.take(unit)
    experiment._started = True
    experiment._detached = True
    return experiment


def _job(status: dict[str, Any], task: dict[str, Any], executors: _StoredExecutors, names: dict[str, list[str]]) -> Job:
    job = Job(status["name"], None, executors.of(task), group=task.get("group"))
    job._stored = task
    job._load = partial(stored_task, task)
    after = task.get("after") or []
    for one in after if isinstance(after, list) else [after]:
        first, when = (one, "ok") if isinstance(one, str) else (one["task"], one.get("when", "ok"))
        job.dependencies += [Dependency(name, when) for name in names.get(first, [first])]
    return job


class _StoredExecutors:
    """The executors of a stored document, each of them made once."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._made: dict[str, Executor] = {}

    def of(self, task: dict[str, Any]) -> Executor:
        given = task.get("executor", self._document.get("defaults", {}).get("executor", "local"))
        text = given if isinstance(given, str) else json.dumps(given, sort_keys=True)
        if text not in self._made:
            self._made[text] = self._make(given)
        return self._made[text]

    def _make(self, given: Any) -> Executor:
        table = self._document.get("executors", {}).get(given, {"kind": given}) if isinstance(given, str) else given
        settings = {name: value for name, value in table.items() if name not in ("kind", "extends")}
        try:
            return executor_from(table["kind"], settings)
        except (ConfigError, TypeError):
            # Of a kind or with a setting that this version does not know: the experiment can be looked at all the same.
            return Executor()
