"""From Python objects to the one document that an experiment is made from, and back.

.. code-block:: text

    Job ── task_document ──▶ tasks[]       Partial: run = python mizzen_runner.py configs/<job>.json, and these files
        ── _Executors ─────▶ executors{}   Script: run, module, or inline
    document ── stored_task ──▶ Partial of targets that are not imported, or Script

Text is literal: every dollar is doubled but those of the executors' macros, so that ``${…}`` reaches the job as it is.
Pitfall: a document is laid over the user's and the project's, table by table. Where those have executors, ours get names of
their own, so that what has one name there and here is not mixed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from dataclasses import fields
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mizzen.errors import ConfigError, SerializationError
from mizzen.executor.base import similar
from mizzen.executor.macros import ExecutorMacros
from mizzen.experiment.job import Job, JobGroup
from mizzen.launcher import LAUNCHERS, Launcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mizzen.config import Partial, Script
    from mizzen.executor import Executor

__all__ = ["check_dependencies", "experiment_document", "literal", "stored_task"]

#: Where the notes of Python stand in a task's and an experiment's metadata.
NOTES = "python"
#: Its name in the job differs from its name here: the folder is on the path of what the job starts.
_RUNNER = "mizzen_runner.py"
_MACRO = re.compile(r"\$\{(?:" + "|".join(one.name for one in fields(ExecutorMacros)) + r")\}")
_PYTHON = re.compile(r"python3?")


def literal(text: str) -> str:
    """Text that interpolation leaves as it is.

    Text with a macro is a template as Python has them, in which ``$$`` is one dollar; in text without one every dollar stands
    for itself.
    """
    if "$" not in text:
        return text
    if _MACRO.search(text) is None:
        return text.replace("$", "$$")
    parts = []
    at = 0
    while (dollar := text.find("$", at)) >= 0:
        parts.append(text[at:dollar])
        parts.append("$" if _MACRO.match(text, dollar) else "$$")
        at = dollar + (2 if text.startswith("$$", dollar) else 1)
    parts.append(text[at:])
    return "".join(parts)


def experiment_document(
    title: str,
    units: Sequence[Job | JobGroup],
    *,
    sequential: bool = False,
    stored: dict[str, Any] | None = None,
    notes_for_scripts: bool = True,
    prefix: str = "",
) -> dict[str, Any]:
    """The document of an experiment.

    Args:
        title: its title.
        units: its jobs and groups, in their order.
        sequential: each unit comes after the one before it.
        stored: the document that the stored ones among the jobs come from.
        notes_for_scripts: keep the fields of a :class:`~mizzen.config.Script` with its task.
        prefix: stands before the executors' names.

    Raises:
        ConfigError: a dependency leads nowhere or into a circle; a task or an executor can't be written down.
    """
    check_dependencies(units, sequential)
    members = _members(units)
    kept = stored or {}
    executors = _Executors(kept.get("executors", {}), prefix)
    files: dict[str, str] = dict(kept.get("files", {}))
    known: dict[tuple[str, ...], Any] = {}
    tasks: list[dict[str, Any]] = []
    written: set[str] = set()
    groups: dict[str, Any] = {}
    before: list[str] = []
    for unit in units:
        jobs = unit.jobs if isinstance(unit, JobGroup) else [unit]
        if isinstance(unit, JobGroup):
            groups[unit.id] = kept.get("groups", {}).get(unit.id, {})
        places = executors.of_group(unit) if isinstance(unit, JobGroup) else [(executors.name(jobs[0]._executor), {})]
        for job, (place, extra) in zip(jobs, places, strict=True):
            if job._stored is not None:
                # Several jobs of a sweep are one task.
                if job._stored["name"] not in written:
                    written.add(job._stored["name"])
                    again = _again(job, job._stored, before)
                    if again.get("executor", place) is None:
                        again["executor"] = place
                    tasks.append(again)
                continue
            task = _task(job, files, known, notes_for_scripts)
            task["executor"] = place
            if extra:
                task["env"] = {**extra, **task.get("env", {})}
            after = [_after(name, when) for first, when in job.dependencies for name in dict.fromkeys(members[first])]
            after += [name for name in before if name not in after]
            if after:
                task["after"] = after
            if isinstance(unit, JobGroup):
                task["group"] = unit.id
            written.add(job.id)
            tasks.append(task)
        if sequential:
            before = members[unit.id]
    document: dict[str, Any] = {name: kept[name] for name in ("description", "defaults", "on_failure") if name in kept}
    document |= {"title": title, "executors": executors.document(), "tasks": tasks}
    if groups:
        document["groups"] = groups
    if files:
        document["files"] = files
    document["metadata"] = {**kept.get("metadata", {}), NOTES: {"version": sys.version.split()[0]}}
    return document


def _members(units: Iterable[Job | JobGroup]) -> dict[str, list[str]]:
    """The tasks that each id stands for: a group's are all of its members'."""
    members = {}
    for unit in units:
        if isinstance(unit, JobGroup):
            members[unit.id] = [_task_name(job) for job in unit.jobs]
            members.update((job.id, [_task_name(job)]) for job in unit.jobs)
        else:
            members[unit.id] = [_task_name(unit)]
    return members


def _task_name(job: Job) -> str:
    """A job's task has its name, but for a stored task with a sweep, which has several jobs."""
    return job.id if job._stored is None else str(job._stored["name"])


def _after(name: str, when: str) -> Any:
    return name if when == "ok" else {"task": name, "when": when}


class _Executors:
    """The executors of a document, each of them once."""

    def __init__(self, stored: dict[str, Any], prefix: str) -> None:
        self._document: dict[str, Any] = dict(stored)
        self._prefix = prefix
        self._by_text: dict[str, str] = {_canonical(value): name for name, value in stored.items()}
        # Jobs share their executors, so most need not be looked at twice. The executors are kept: an id may be given again.
        self._by_id: dict[int, tuple[Executor, str]] = {}

    def name(self, executor: Executor) -> str:
        known = self._by_id.get(id(executor))
        if known is None:
            known = (executor, self._name_of(executor.kind, executor.to_settings()))
            self._by_id[id(executor)] = known
        return known[1]

    def of_group(self, group: JobGroup) -> list[tuple[str, dict[str, str]]]:
        """The executor of each of a group's members, and what it has in its environment beside it."""
        places = [job._executor.member(number) for number, job in enumerate(group.jobs)]
        if all(place.mixed_groups for place in places):
            return [(self._name_of(place.kind, place.to_settings()), {}) for place in places]
        settings = [executor.to_settings() for executor in places]
        variables = [one["env_vars"] for one in settings]
        if all(one == variables[0] for one in variables):
            variables = [{} for _ in variables]
        else:
            # Members of one allocation may differ in their environment, which is the task's matter as well.
            settings = [{**one, "env_vars": {}} for one in settings]
        kind = places[0].kind
        for number, (executor, one) in enumerate(zip(places, settings, strict=True)):
            if executor.kind != kind or one != settings[0]:
                different = next((name for name in one if one[name] != settings[0].get(name)), "kind")
                raise ConfigError(
                    f"the members of the group `{group.id}` have different executors: `{different}` of member {number} is another "
                    f"than of member 0\nhint: members start together in one allocation; they may differ in `env_vars` only",
                    path=f".executor[{number}].{different}",
                )
        escaped = [{name: literal(value) for name, value in one.items()} for one in variables]
        name = self._name_of(kind, settings[0])
        return [(name, one) for one in escaped]

    def _name_of(self, kind: str, settings: dict[str, Any]) -> str:
        value = {"kind": kind, **settings}
        text = _canonical(value)
        name = self._by_text.get(text)
        if name is None:
            stem = name = self._prefix + kind
            number = 1
            while name in self._document:
                number += 1
                name = f"{stem}-{number}"
            self._document[name] = value
            self._by_text[text] = name
        return name

    def document(self) -> dict[str, Any]:
        return self._document


def _canonical(value: Any) -> str:
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"an executor's setting can't be written down: {error}", path=".executor") from None


def _task(job: Job, files: dict[str, str], known: dict[tuple[str, ...], Any], notes_for_scripts: bool) -> dict[str, Any]:
    from mizzen.config import Script

    task = job.task
    if isinstance(task, Script):
        document = _script(task, job, notes_for_scripts)
    else:
        document = _partial(task, job, files, known)
    given = job._executor.launcher
    # Names that Python does not know are the document's, or a mistake, which is found there.
    kind = LAUNCHERS.get(given, Launcher) if isinstance(given, str) else type(given)
    if issubclass(kind, Launcher) and kind.transform is not Launcher.transform:
        document = _transformed(document, job._executor.get_launcher(), job)
    if job.plugins:
        notes = document.setdefault("metadata", {}).setdefault(NOTES, {})
        notes["plugins"] = [_plugin(plugin) for plugin in job.plugins]
    return document


#: What stands for folders in the words that launchers see: paths that no shell would quote.
_FOLDERS = {"${job_dir}": "/.mizzen-job-dir", "${experiment_dir}": "/.mizzen-experiment-dir"}
_VARIABLES = {"${job_dir}": '"$MIZZEN_JOB_DIR"', "${experiment_dir}": '"$MIZZEN_EXPERIMENT_DIR"'}


def _transformed(document: dict[str, Any], launcher: Launcher, job: Job) -> dict[str, Any]:
    """The task with the script that its launcher makes of its command, if it makes one."""
    document = dict(document)
    files = dict(document.get("files", {}))
    if "inline" in document:
        file = f"scripts/{job.id}.task"
        files[file] = document["inline"]
        words = [*document.get("interpreter", ["sh"]), "${job_dir}/" + file]
    elif "module" in document:
        words = [*document["interpreter"], "-m", document["module"], *document["args"]]
    else:
        words = list(document["run"])
    seen = []
    for word in words:
        for mark, path in _FOLDERS.items():
            word = word.replace(mark, path)
        seen.append(word if _MACRO.search(word) else word.replace("$$", "$"))
    script = launcher.transform(seen)
    if script is None:
        return document
    inside = _script(script, job, False)
    if "inline" in inside:
        for mark, path in _FOLDERS.items():
            inside["inline"] = inside["inline"].replace(path, _VARIABLES[mark])
    for mark, path in _FOLDERS.items():
        for key in ("run", "args"):
            if key in inside:
                inside[key] = [word.replace(path, mark) for word in inside[key]]
    for key in ("inline", "interpreter", "module", "args", "run"):
        document.pop(key, None)
    if files:
        document["files"] = files
    env = {**document.get("env", {}), **inside.pop("env", {})}
    document |= inside
    if env:
        document["env"] = env
    return document


def _partial(task: Partial[Any], job: Job, files: dict[str, str], known: dict[tuple[str, ...], Any]) -> dict[str, Any]:
    from mizzen.job.source import capture

    try:
        captured = capture(task, local=job._executor.kind == "local", name=job.id, known=known)
    except SerializationError as error:
        raise type(error)(f"the job `{job.id}` can't be written down: {error}", path=error.path) from error
    if _RUNNER not in files:
        files[_RUNNER] = _runner_text()
    files.update(captured.files)
    config = f"configs/{job.id}.json"
    run = [literal(_interpreter(job._executor)), "${experiment_dir}/files/" + _RUNNER, "${job_dir}/" + config]
    return {"name": job.id, "run": run, "files": {config: json.dumps(captured.document)}}


def _runner_text() -> str:
    import mizzen.job

    # Read and not imported: nothing of it runs here.
    (folder,) = mizzen.job.__path__
    with open(os.path.join(folder, "runner.py"), encoding="utf-8") as file:
        return file.read()


def _interpreter(executor: Executor) -> str:
    """The Python that runs a job: on this machine the launching one, whatever environment is activated."""
    if executor.kind == "local":
        return sys.executable or "python3"
    return getattr(executor, "python", None) or "python3"


def _entrypoint(script: Script, executor: Executor) -> list[str]:
    """The words of a script's entrypoint. On this machine a bare ``python`` is the launching one."""
    words = list(_split(script.entrypoint))
    if words and executor.kind == "local" and _PYTHON.fullmatch(words[0]):
        words[0] = _interpreter(executor)
    return words


@lru_cache(maxsize=64)
def _split(text: str) -> tuple[str, ...]:
    return tuple(shlex.split(text))


def _script(script: Script, job: Job, notes: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"name": job.id}
    words = [literal(word) for word in _entrypoint(script, job._executor)]
    if script.inline:
        document["inline"] = script.inline
        if not script.inline.startswith("#!"):
            document["interpreter"] = words
    elif script.m:
        document["module"] = script.path
        document["interpreter"] = words
        document["args"] = [literal(str(argument)) for argument in script.args]
    else:
        document["run"] = [*words, literal(script.path), *(literal(str(argument)) for argument in script.args)]
    if script.env:
        document["env"] = {name: literal(str(value)) for name, value in script.env.items()}
    if notes:
        document["metadata"] = {NOTES: {"script": _script_notes(script)}}
    return document


#: A script's fields with their defaults; the text of an inline script stands in the task already.
_SCRIPT_DEFAULTS: dict[str, Any] = {"path": "", "args": [], "env": {}, "entrypoint": "bash", "m": False, "metadata": {}}


def _script_notes(script: Script) -> dict[str, Any]:
    from mizzen.config.values import encode

    notes: dict[str, Any] = {}
    for name, default in _SCRIPT_DEFAULTS.items():
        value = getattr(script, name)
        if value != default:
            notes[name] = encode(value) if name == "metadata" else value
    return notes


def _plugin(plugin: Any) -> Any:
    """A plugin's configuration, for the record. One that can't be written down is named at least."""
    from mizzen.config.values import encode

    try:
        return encode(plugin.to_config())
    except (ConfigError, NotImplementedError, TypeError):
        kind = type(plugin)
        return {"_target_": f"{kind.__module__}.{kind.__qualname__}", "_call_": False}


def stored_task(task: dict[str, Any]) -> Any:
    """The Python object of a stored task: a ``Partial`` whose targets are not imported, or a ``Script``; else ``None``."""
    from mizzen.config import Script
    from mizzen.config.values import decode

    if _is_partial(task):
        return decode(json.loads(_config_text(task))["root"])
    notes = task.get("metadata", {}).get(NOTES, {}).get("script")
    if notes is not None:
        given = {**notes, "metadata": decode(notes["metadata"])} if "metadata" in notes else notes
        return Script(inline=task.get("inline", ""), **given)
    if "inline" in task and isinstance(task["inline"], str):
        return Script(inline=task["inline"])
    return None


def _is_partial(task: dict[str, Any]) -> bool:
    run = task.get("run")
    return isinstance(run, list) and len(run) == 3 and run[1] == "${experiment_dir}/files/" + _RUNNER


def _config_text(task: dict[str, Any]) -> str:
    return str(next(text for name, text in task["files"].items() if name.startswith("configs/")))


def _again(job: Job, stored: dict[str, Any], before: Iterable[str]) -> dict[str, Any]:
    """A stored task once more, with what was changed in its Python object since."""
    task = dict(stored)
    if _is_partial(stored) and job._task is not None:
        from mizzen.config.values import encode

        (name,) = (name for name in stored["files"] if name.startswith("configs/"))
        document = {**json.loads(stored["files"][name]), "root": encode(job._task)}
        task["files"] = {**stored["files"], name: json.dumps(document)}
    before = list(before)
    if before:
        task["after"] = [*_listed(task.get("after")), *before]
    return task


def _listed(after: Any) -> list[Any]:
    if after is None:
        return []
    return list(after) if isinstance(after, list) else [after]


def check_dependencies(units: Sequence[Job | JobGroup], sequential: bool = False) -> None:
    """Every dependency must be another job of the experiment, and none may lead back to where it began.

    Raises:
        ConfigError: one does not; the message names the circle.
    """
    # A group counts as one: its members start together.
    unit_of = {name: unit.id for unit in units for name in _members([unit])}
    edges: dict[str, list[str]] = {}
    previous: str | None = None
    for unit in units:
        for position, (name, _) in enumerate(unit.dependencies):
            path = f".dependencies[{position}]"
            if unit_of.get(name) == unit.id:
                raise ConfigError(f"the job `{unit.id}` comes after itself", path=path)
            if name not in unit_of:
                known = [one for one in unit_of if one != unit.id]
                shown = ", ".join(known[:20]) or "none"
                raise ConfigError(
                    f"the job `{unit.id}` comes after `{name}`, which is not in the experiment{similar(name, known)}; there are: {shown}",
                    path=path,
                )
        edges[unit.id] = [unit_of[name] for name, _ in unit.dependencies]
        if sequential and previous is not None:
            edges[unit.id].append(previous)
        previous = unit.id
    _check_circles(edges)


def _check_circles(edges: dict[str, list[str]]) -> None:
    done: set[str] = set()
    for start in edges:
        # Depth first, with a stack of our own: a chain of 10,000 jobs is fine.
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(start, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop()
                on_path.discard(name)
                done.add(name)
                continue
            if name in done:
                continue
            if name in on_path:
                circle = [*path[path.index(name) :], name]
                raise ConfigError(
                    f"jobs wait for each other in a circle: {' → '.join(circle)}\nhint: each arrow is a dependency; one of them must go",
                    path=".dependencies",
                )
            path.append(name)
            on_path.add(name)
            stack.append((name, True))
            stack.extend((other, False) for other in edges[name])
