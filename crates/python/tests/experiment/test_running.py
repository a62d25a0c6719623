"""`run`: one task, here or as a job."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mizzen as run


def test_without_an_executor_it_runs_here(home: Path, tasks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    result = run.run(run.Partial(tasks.add, 1, b=5))
    assert (result.value, result.state, result.experiment, result.job) == (6, "SUCCEEDED", None, "add")
    assert capsys.readouterr().out == "adding 1 5\n"
    assert run.run(lambda: 7).value == 7
    with pytest.raises(ValueError, match="as it is"):
        run.run(run.Partial(tasks.fail, "as it is"))
    failed = run.run(run.Partial(tasks.fail), raise_on_failure=False)
    assert failed.state == "FAILED"
    with pytest.raises(run.ResultError, match="`fail` has no value: it is FAILED"):
        _ = failed.value
    assert not home.exists()


def test_with_an_executor_it_is_recorded(home: Path, tasks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    result = run.run(run.Partial(tasks.add, 1), executor=run.LocalExecutor(), name="sum")
    out, err = capsys.readouterr()
    assert out == "adding 1 2\n"
    assert "sum RUNNING" in err and "sum SUCCEEDED" in err
    assert (result.value, result.state, result.job) == (3, "SUCCEEDED", "sum")
    assert result.experiment is not None
    assert run.Experiment.from_title("sum").id == result.experiment.id


def test_a_failed_job_raises(home: Path, tasks: ModuleType) -> None:
    with pytest.raises(run.JobFailed, match="ValueError: no .*, exit code 1"):
        run.run(run.Partial(tasks.fail), executor=run.LocalExecutor(), log_level="ERROR", tail_logs=False)
    result = run.run(run.Partial(tasks.fail), run.LocalExecutor(), log_level="ERROR", tail_logs=False, raise_on_failure=False)
    assert result.state == "FAILED"
    with pytest.raises(run.JobFailed):
        _ = result.value


def test_scripts(home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    script = run.Script(inline="echo $A", env={"A": "a b"})
    assert run.run(script).value is None
    assert capfd.readouterr().out == "a b\n"
    assert run.run(script, executor=run.LocalExecutor(), log_level="ERROR").value is None
    assert capfd.readouterr().out == "a b\n"
    file = tmp_path / "script.py"
    file.write_text("#!/usr/bin/env python3\nimport sys\nprint(sys.executable, sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n")
    for executor in (None, run.LocalExecutor()):
        with pytest.raises(run.JobFailed, match="app-failure, exit code 4") as caught:
            run.run(run.Script(str(file), args=["4"], entrypoint="python"), executor=executor, log_level="ERROR")
        assert caught.value.exit_code == 4
        assert capfd.readouterr().out == f"{sys.executable} ['4']\n"
    with pytest.raises(run.JobFailed, match="can't be started"):
        run.run(run.Script("x", entrypoint="/nowhere/python9"))
    run.run(run.Script("json.tool", m=True, entrypoint="python", args=["--help"]), run.LocalExecutor(), log_level="ERROR")
    assert "json.tool" in capfd.readouterr().out


def test_detached(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    other = tmp_path / "other"
    task = run.Partial(tasks.meet, str(tmp_path / "mine"), str(other))
    result = run.run(task, executor=run.LocalExecutor(), detach=True, log_level="ERROR")
    assert result.state != "SUCCEEDED"
    other.touch()
    assert result.wait(60).value == str(tmp_path / "mine")


def test_dryrun_and_direct(home: Path, tasks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    run.run(run.Partial(tasks.add, 1), executor=run.LocalExecutor(), dryrun=True)
    assert "add  on local\n  command  " in capsys.readouterr().out
    run.run(run.Partial(tasks.add, 1), dryrun=True)
    assert "adding" not in capsys.readouterr().out
    assert run.run(run.Partial(tasks.add, 1), executor=run.LocalExecutor(), direct=True).experiment is None
    assert not home.exists()


class Doubling(run.Plugin):
    def setup(self, task: Any, executor: Any) -> None:
        assert len(self.experiment_id) == 10
        task.a = task.a * 2


def test_plugins(home: Path, tasks: ModuleType) -> None:
    task = run.Partial(tasks.add, a=5)
    assert run.run(task, plugins=Doubling()).value == 12
    assert run.run(task, executor=run.LocalExecutor(), plugins=[Doubling()], log_level="ERROR").value == 12
    assert task.a == 5


def test_what_a_script_defines_travels(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import mizzen as run\n"
        "FACTOR = 3\n"
        "def times(x):\n"
        "    return x * FACTOR\n"
        "if __name__ == '__main__':\n"
        "    print(run.run(run.Partial(times, 4), executor=run.LocalExecutor(), tail_logs=False, log_level='ERROR').value)\n"
    )
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("12\n", "")
    done = subprocess.run([sys.executable, "-"], env=environment, input=script.read_text(), capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("12\n", "")


def test_the_launching_interpreter_runs_jobs(home: Path, tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual environment need not be activated: PATH has another Python, or none."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    executor = run.LocalExecutor()
    assert run.run(run.Partial(tasks.interpreter), executor=executor, log_level="ERROR", tail_logs=False).value == sys.executable


def test_a_failed_script_says_so_by_its_exit_status(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import mizzen as run\n"
        "run.run(run.Script(inline='echo why; exit 3'), executor=run.LocalExecutor(), log_level='ERROR', tail_logs=False)\n"
    )
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "mizzen.errors.JobFailed: the job `echo_why___`" in done.stderr or "JobFailed: the job" in done.stderr
    assert "app-failure, exit code 3\n    │ why" in done.stderr


def test_logging_is_left_alone(home: Path, tasks: ModuleType) -> None:
    import logging

    before = (logging.root.level, list(logging.root.handlers))
    run.run(run.Partial(tasks.add, 1), executor=run.LocalExecutor(), log_level="ERROR", tail_logs=False)
    assert (logging.root.level, list(logging.root.handlers)) == before
    assert not [name for name in logging.root.manager.loggerDict if name.startswith("mizzen")]
