"""Whole commands: what is said, on which stream, and with which exit status."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mizzen.cli import command
from mizzen.cli.entrypoints import Entrypoint, create_cli, entrypoint, list_entrypoints

Write = Callable[..., Path]
Python = Callable[..., "subprocess.CompletedProcess[str]"]

SCRIPT = """
    from dataclasses import dataclass
    import mizzen as run

    @dataclass
    class Model:
        hidden: int = 8

    @run.cli.factory
    def small() -> run.Config[Model]:
        return run.Config(Model, hidden=2)

    @run.cli.entrypoint
    def train(model: Model, steps: int = 1, fail: str = "", mode: str = "plain"):
        '''Trains.'''
        if fail == "exit":
            raise SystemExit(7)
        if fail == "interrupt":
            raise KeyboardInterrupt
        if fail == "job":
            raise run.JobFailed("the job `x` failed", experiment_id="e", title="t", job="x", state="FAILED")
        if fail == "place":
            raise run.UnreachableError("no route to the cluster")
        if fail == "refused":
            raise run.RefusedError("no such partition")
        if fail == "config":
            run.Config(Model, hiden=3)
        if fail:
            raise ValueError(fail)
        print(f"trained {model.hidden} for {steps} in {mode}")

    def evil():
        print("called")

    if __name__ == "__main__":
        run.cli.main(train)
        print("after")
"""


def test_success_is_0_and_the_script_goes_on(script: Write, python: Python) -> None:
    done = python(script(SCRIPT), "model=small", "steps+=2", "mode=evil")
    assert (done.returncode, done.stdout, done.stderr) == (0, "trained 2 for 3 in evil\nafter\n", "")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["stepps=1"], 2, "error: in `stepps=1`: `train` has no argument `stepps`\nhint: did you mean `steps`?\n"),
        (["steps=x"], 2, "error: in `steps=x`: `steps`: expected int, but `x` is no number\n"),
        (
            [],
            2,
            "error: `train` needs `model` (Model)\nhint: give it as `model=VALUE`, such as `model=small`; `--help` shows all arguments\n",
        ),
        (["--dryrunn"], 2, "error: there is no flag `--dryrunn`\nhint: did you mean `--dryrun`?\n"),
        (["run.nam=x"], 2, "error: in `run.nam=x`: there is no `run.nam`\nhint: did you mean `name`?\n"),
        (["model=small", "fail=exit"], 7, ""),
        (["model=small", "fail=interrupt"], 130, "mizzen: interrupted\n"),
        (["model=small", "fail=job"], 1, "error: the job `x` failed\n"),
        (["model=small", "fail=place"], 3, "error: no route to the cluster\n"),
        (["model=small", "fail=refused"], 4, "error: no such partition\n"),
    ],
)
def test_exit_statuses(script: Write, python: Python, words: list[str], status: int, said: str) -> None:
    done = python(script(SCRIPT), *words)
    assert (done.returncode, done.stdout, done.stderr) == (status, "", said)


def test_what_the_task_raises_is_shown_from_its_own_frame_on(script: Write, python: Python) -> None:
    path = script(SCRIPT)
    done = python(path, "model=small", "fail=no data")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):" and f'"{path}"' in lines[1] and lines[-1] == "ValueError: no data"
    assert "mizzen" not in done.stderr
    done = python(path, "model=small", "fail=no data", "-v")
    assert done.returncode == 1 and "mizzen" in done.stderr
    done = python(path, "model=small", "fail=config")
    assert done.returncode == 1 and "Traceback" in done.stderr and "did you mean" in done.stderr


def test_a_job_that_succeeds_and_one_that_fails(script: Write, python: Python) -> None:
    path = script(SCRIPT)
    done = python(path, "model=small", "executor=LocalExecutor")
    assert done.returncode == 0 and "trained 2 for 1" in done.stdout
    done = python(path, "model=small", "fail=no data", "executor=LocalExecutor")
    assert done.returncode == 1
    assert "failed: ValueError: no data (script.py:29), exit code 1" in done.stderr.splitlines()[-2]


def test_help_comes_on_stdout_and_runs_nothing(script: Write, python: Python) -> None:
    done = python(script(SCRIPT), "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("usage: script.py [flags] model=… [argument=value …]\n\nTrains.\n")
    assert "trained" not in done.stdout


def test_help_loads_no_heavy_module(script: Write, python: Python) -> None:
    path = script(SCRIPT)
    done = python("-X", "importtime", path, "--help")
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    heavy = {
        "argparse",
        "asyncio",
        "subprocess",
        "json",
        "difflib",
        "typer",
        "rich",
        "mizzen._core",
        "mizzen.experiment",
        "traceback",
    }
    assert loaded & heavy == set()


def test_dryrun_says_what_would_be_run(script: Write, python: Python) -> None:
    done = python(script(SCRIPT), "model=small", "executor=LocalExecutor", "--dryrun")
    assert done.returncode == 0 and "\ntrained 2" not in done.stdout
    assert "configs/train.json" in done.stdout


def test_workspace_files_are_executed_only_when_asked_for(script: Write, python: Python) -> None:
    path = script(SCRIPT)
    workspace = """
        import sys
        import mizzen as run
        from __main__ import Model

        print("workspace")

        @run.cli.factory
        def mine() -> run.Config[Model]:
            return run.Config(Model, hidden=77)
    """
    script(workspace, "workspace.py")
    script(workspace, "workspace_private.py")
    done = python(path, "model=mine", INCLUDE_WORKSPACE_FILE="true")
    assert done.returncode == 2 and "workspace" not in done.stdout
    done = python(path, "model=mine", "--workspace", "workspace.py")
    assert (done.returncode, done.stdout) == (0, "workspace\ntrained 77 for 1 in plain\nafter\n")


def on_a_terminal(words: list[str], answer: bytes, folder: Path, **variables: str) -> tuple[int, str]:
    """Runs Python on a terminal, types an answer; returns the exit status and what was to be seen."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "MIZZEN_HOME": str(folder / "home"), **variables}
    process = subprocess.Popen(
        [sys.executable, *words], stdin=follower, stdout=follower, stderr=follower, cwd=folder, env=environment, close_fds=True
    )
    os.close(follower)
    os.write(leader, answer)
    seen = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(leader)
    return process.wait(60), seen.decode()


def test_it_asks_on_a_terminal_only(script: Write, tmp_path: Path) -> None:
    path = str(script(SCRIPT))
    status, seen = on_a_terminal([path, "model=small"], b"n\n", tmp_path)
    assert status == 130 and "run it? [y/N]" in seen and "not run" in seen and "trained" not in seen
    assert "hidden=2" in seen
    status, seen = on_a_terminal([path, "model=small"], b"y\n", tmp_path)
    assert status == 0 and "trained 2 for 1" in seen
    status, seen = on_a_terminal([path, "model=small", "-y"], b"", tmp_path)
    assert status == 0 and "run it?" not in seen and "trained 2 for 1" in seen
    status, seen = on_a_terminal([path, "model=small"], b"", tmp_path, WORLD_SIZE="2")
    assert status == 0 and "run it?" not in seen


def test_the_interpreter_has_the_task_and_runs_nothing_by_itself(script: Write, python: Python) -> None:
    done = python(script(SCRIPT), "model=small", "--repl", text="print(task.model.hidden + 40)\n")
    assert done.returncode == 0 and "42" in done.stdout and "trained" not in done.stdout


# In this process: what the context hands over.


class Recorder:
    """Stands for `run.run`."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, task: Any, **given: Any) -> None:
        self.calls.append({"task": task, **given})


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    import mizzen.experiment

    made = Recorder()
    monkeypatch.setattr(mizzen.experiment, "run", made, raising=False)
    return made


def task(steps: int = 1) -> None: ...


def test_flags_reach_the_run(recorder: Recorder) -> None:
    assert (
        command.run_command(Entrypoint(task), ["steps=3", "-n", "night", "--detach", "--no-tail-logs", "--direct", "--dryrun"])
        == 0
    )
    (call,) = recorder.calls
    assert call.pop("task").steps == 3
    assert call == {
        "executor": None,
        "plugins": None,
        "name": "night",
        "dryrun": True,
        "direct": True,
        "detach": True,
        "tail_logs": False,
    }
    assert command.run_command(Entrypoint(task), ["run.name=day", "run.detach=yes"]) == 0
    assert (recorder.calls[1]["name"], recorder.calls[1]["detach"], recorder.calls[1]["tail_logs"]) == ("day", True, True)


def test_defaults_of_the_command(recorder: Recorder) -> None:
    assert command.run_command(Entrypoint(task), ["--no-direct"], {"direct": True, "name": "x"}) == 0
    assert (recorder.calls[0]["direct"], recorder.calls[0]["name"]) == (False, "x")


def test_a_result_that_says_it_failed_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    import mizzen.experiment

    class Failed:
        succeeded = False

    monkeypatch.setattr(mizzen.experiment, "run", lambda *_, **__: Failed(), raising=False)
    assert command.run_command(Entrypoint(task), []) == 1


def test_registered_entry_points_make_a_command_line(recorder: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    @entrypoint(namespace="tests.cli", name="first", help="The first one.")
    def first(steps: int = 1) -> None: ...

    @entrypoint(namespace="tests.cli")
    def second() -> None: ...

    assert first.cli_entrypoint.path == "tests.cli.first"  # type: ignore[attr-defined]
    assert list(list_entrypoints("tests.cli")) == ["first", "second"]
    assert list_entrypoints()["tests"]["cli"]["first"].fn is first
    cli = create_cli(load=False)
    assert cli(["tests", "cli", "first", "steps=4"]) == 0
    assert recorder.calls[0]["task"].steps == 4
    assert cli(["tests", "cli", "frist"]) == 2
    assert "there is no command `tests cli frist`\nhint: did you mean `first`?" in capsys.readouterr().err
    assert cli(["tests", "cli"]) == 2
    assert "first" in capsys.readouterr().err
    assert cli(["tests", "cli", "--help"]) == 0
    assert "The first one." in capsys.readouterr().out


def test_the_function_is_handed_back_unchanged() -> None:
    def plain(x: int) -> int:
        return x

    assert entrypoint(plain) is plain and plain(3) == 3


def test_json_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run_command(Entrypoint(task), ["steps=3", "--to-json", "-"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["steps"] == 3 and said.err == ""
