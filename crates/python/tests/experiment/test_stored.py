"""Experiments that are loaded from the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mizzen as run
from mizzen.config import Target
from mizzen.experiment import Dependency, Job, JobGroup
from mizzen.experiment.installation import find_program


class Noted(run.Plugin):
    def setup(self, task: Any, executor: Any) -> None:
        pass


def an_experiment(tasks: ModuleType) -> run.Experiment:
    experiment = run.Experiment("stored", run.LocalExecutor(slots=3, env_vars={"A": "1"}), log_level="ERROR")
    script = run.Script("-c", args=["print('$x')"], entrypoint="python", env={"V": "$v"}, metadata={"note": {1, 2}})
    experiment.add(script, name="script")
    experiment.add(run.Script(inline="#!/bin/sh\necho ${x}"), name="inline", dependencies=[("script", "any")])
    experiment.add([run.Partial(tasks.add, 1), run.Partial(tasks.add, a=2)], name="group", dependencies=["inline"])
    experiment.add(run.Partial(tasks.add, a=5), name="last", dependencies=["group"], plugins=[Noted()])
    experiment.run()
    return experiment


def test_an_experiment_comes_back(home: Path, tasks: ModuleType) -> None:
    experiment = an_experiment(tasks)
    loaded = run.Experiment.from_id(experiment.id)
    assert (loaded.title, loaded.id, loaded.state, loaded.dir) == ("stored", experiment.id, "SUCCEEDED", experiment.dir)
    assert [unit.id for unit in loaded.jobs] == ["script", "inline", "group", "last"]
    assert [job.name for job in loaded] == ["script", "inline", "group-0", "group-1", "last"]
    script, inline, group, last = loaded.jobs
    assert isinstance(script, Job) and isinstance(inline, Job) and isinstance(last, Job)
    assert script.task == experiment["script"].task  # type: ignore[union-attr]
    assert inline.task == run.Script(inline="#!/bin/sh\necho ${x}")
    assert inline.dependencies == [Dependency("script", "any")]
    assert isinstance(group, JobGroup)
    assert last.dependencies == [Dependency("group-0"), Dependency("group-1")]
    assert last.task.__target__ == Target("tasks_of_test.add")
    assert last.task == run.Partial(tasks.add, a=5)
    settings = (last.executor.env_vars, last.executor.retries)
    assert settings == ({"A": "1"}, 0)
    assert isinstance(last.executor, run.LocalExecutor) and last.executor.slots == 3
    assert last.executor.job_dir == last.dir
    assert loaded.result("last") == 7
    assert [line.text for line in loaded.log_lines("inline")] == [""]


def test_loading_runs_no_code(home: Path, tasks: ModuleType, environment: dict[str, str], tmp_path: Path) -> None:
    experiment = an_experiment(tasks)
    Path(str(tasks.__file__)).write_text("raise SystemExit('this was run')")
    code = (
        "import sys, mizzen as run\n"
        f"experiment = run.Experiment.from_id('{experiment.id}')\n"
        "print([repr(job.task) for job in experiment][-1], experiment.status(return_dict=True)['last']['status'])\n"
        "print('tasks_of_test' in sys.modules, experiment.result('last'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["Partial(tasks_of_test.add, a=5) SUCCEEDED", "False 7"]


def test_a_stored_experiment_runs_again(home: Path, tasks: ModuleType) -> None:
    experiment = an_experiment(tasks)
    loaded = run.Experiment.from_title("stored")
    with pytest.raises(run.ExperimentError, match="it was started already"):
        loaded.run()
    loaded.reset()
    loaded.run()
    assert loaded.id != experiment.id
    assert loaded.result("group") == [3, 4]
    assert [job.name for job in loaded] == [job.name for job in experiment]


def test_a_stored_task_may_be_changed(home: Path, tasks: ModuleType) -> None:
    an_experiment(tasks)
    loaded = run.Experiment.from_title("stored").reset()
    last, script = loaded["last"], loaded["script"]
    assert isinstance(last, Job) and isinstance(script, Job)
    last.task.a = 40
    script.task = run.Script(inline="echo other")
    last.executor = run.LocalExecutor(env_vars={"A": "2"})
    loaded.add(run.Partial(tasks.environment, "A"), name="new", executor=last.executor, dependencies=["last"])
    loaded.run()
    assert (loaded.result("last"), loaded.result("new")) == (42, "2")
    assert [line.text for line in loaded.log_lines("script")] == ["other"]


def test_what_the_command_line_started(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "experiment.toml"
    file.write_text(
        'title = "file"\n[[tasks]]\nname = "a"\nrun = ["sh", "-c", "echo ${lr}"]\nsweep = { lr = [1, 2] }\n'
        '[[tasks]]\nname = "b"\ninline = "echo b"\nafter = { task = "a", when = "any" }\n'
    )
    subprocess.run([find_program(), "-q", "launch", file], env=environment, check=True, timeout=60)
    loaded = run.Experiment.from_title("file")
    assert [job.name for job in loaded] == ["a-lr=1", "a-lr=2", "b"]
    assert [job.task for job in loaded] == [None, None, run.Script(inline="echo b")]
    assert [line.text for line in loaded.log_lines("a-lr=2")] == ["2"]
    loaded.reset()
    loaded.run()
    assert [job.state for job in loaded] == ["SUCCEEDED"] * 3


def test_what_is_not_there(home: Path, tasks: ModuleType) -> None:
    with pytest.raises(run.NotFoundError, match="there is none yet"):
        run.Experiment.from_id("abc")
    with pytest.raises(run.NotFoundError, match="no experiment of the title `stord`"):
        run.Experiment.from_title("stord")
    experiment = an_experiment(tasks)
    with pytest.raises(run.NotFoundError, match="did you mean `stored`"):
        run.Experiment.from_title("stord")
    with pytest.raises(run.NotFoundError, match="no experiment of the id `stored`(.|\n)*from_title"):
        run.Experiment.from_id("stored")
    assert run.Experiment.catalog() == ["stored"]
    assert run.Experiment.catalog("stored") == [experiment.id]
    assert run.Experiment.catalog("other") == []


def test_a_deleted_home(home: Path, tasks: ModuleType) -> None:
    import shutil

    experiment = an_experiment(tasks)
    shutil.rmtree(home)
    for act in (experiment.status, lambda: experiment.result("last"), lambda: experiment.logs("last"), experiment.retry, experiment.wait):
        with pytest.raises(run.NotFoundError, match=str(home)):
            act()
    experiment._started = False
    again = run.Experiment("stored", log_level="ERROR")
    again.add(run.Partial(tasks.add, 1))
    again.run()
    assert again.result("add") == 3
