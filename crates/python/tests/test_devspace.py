"""Sessions and devspaces: what ``mizzen`` is asked for, and one devspace on this machine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import mizzen as run
import pytest
from mizzen.experiment.installation import find_program

#: Stands for the executable: keeps its words and the executor's file, and ends with the status that it is told.
RECORDER = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done >"$RECORD/words"
while [ $# -gt 0 ]; do
    if [ "$1" = --executors-file ]; then cat "$2" >"$RECORD/executors"; ls -l "$2" >"$RECORD/file"; fi
    shift
done
exit "${STATUS:-0}"
"""


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "mizzen"
    program.write_text(RECORDER)
    program.chmod(0o700)
    monkeypatch.setenv("MIZZEN_PROGRAM", str(program))
    monkeypatch.setenv("RECORD", str(tmp_path))
    return tmp_path


def recorded(folder: Path) -> tuple[list[str], dict[str, object]]:
    words = (folder / "words").read_text().splitlines()
    at = words.index("--executors-file")
    del words[at : at + 2]
    assert (folder / "file").read_text().startswith("-rw-------")
    executors = json.loads((folder / "executors").read_text())["executors"]
    assert list(executors) == [words[words.index("-e") + 1]]
    return words, executors[words[words.index("-e") + 1]]


def test_sessions_of_slurm(recorder: Path) -> None:
    executor = run.SlurmExecutor(account="team", job_name_prefix="me-", srun_args=["--mpi=pmix"], env_vars={"A": "$1", "B": "2"})
    executor.alloc()
    words, settings = recorded(recorder)
    assert words == ["shell", "-e", "from-python", "--alloc"]
    assert settings["kind"] == "slurm" and settings["account"] == "team"
    assert settings["job_details"] == {"job_name": "me-interactive"}
    executor.bash(job_name="mine")
    words, settings = recorded(recorder)
    assert words == ["shell", "-e", "from-python"]
    assert settings["job_details"] == {"job_name": "me-mine"}
    executor.srun("echo 'a b' $HOME", flags=["--label"], env_vars={"B": "3"}, arg_dict={"mem": "1G"})
    words, settings = recorded(recorder)
    assert words == ["shell", "-e", "from-python", "--", "echo", "a b", "$HOME"]
    assert settings["srun_args"] == ["--mpi=pmix", "--label"]
    assert settings["additional_parameters"] == {"mem": "1G"}
    assert settings["env_vars"] == {"A": "$1", "B": "3"}
    assert executor.env_vars == {"A": "$1", "B": "2"} and executor.srun_args == ["--mpi=pmix"]


def test_devspaces_are_asked_for(recorder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = run.SlurmExecutor(account="team", env_vars={"A": "1"})
    space = run.DevSpace("dev", executor, env_vars={"A": "2"})
    assert (space.cmd, space.use_packager, space.add_workspace_to_pythonpath) == ("launch_devspace", False, True)
    assert space.launch() == "dev"
    words, settings = recorded(recorder)
    assert words == ["devspace", "up", "-e", "from-python", "--name", "dev"]
    assert settings["env_vars"] == {"A": "2", "MIZZEN_DEVSPACE_PYTHONPATH": "1"}
    assert run.Config(run.DevSpace, name="dev", executor=run.Config(run.SlurmExecutor, account="team")).name == "dev"
    for status, kind in (("1", run.ExperimentError), ("3", run.UnreachableError), ("4", run.RefusedError)):
        monkeypatch.setenv("STATUS", status)
        with pytest.raises(kind):
            space.launch()
    with pytest.raises(run.ConfigError, match="use_packager"):
        run.DevSpace("dev", executor, use_packager=True).launch()
    with pytest.raises(run.ConfigError, match="no method `fly`"):
        run.DevSpace("dev", executor, cmd="fly").launch()


def test_another_method_and_an_editor(recorder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(run.LocalExecutor):
        def take_off(self, space: run.DevSpace) -> str:
            return f"{space.name} flies"

    assert run.DevSpace("dev", Mine(), cmd="take_off").launch() == "dev flies"
    shutil.copy(recorder / "mizzen", recorder / "code")
    monkeypatch.setenv("PATH", f"{recorder}:{os.environ['PATH']}")
    run.DevSpace.connect("dev", "/scratch/me")
    assert (recorder / "words").read_text().split() == ["--remote", "ssh-remote+dev", "/scratch/me"]
    run.DevSpace.connect("dev")
    assert (recorder / "words").read_text().split() == ["devspace", "ssh", "dev"]


def test_a_devspace_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not any(os.access(os.path.join(folder, "sshd"), os.X_OK) for folder in ("/usr/sbin", "/usr/local/sbin")):
        pytest.skip("there is no sshd (Debian's package is openssh-server)")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIZZEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    space = run.DevSpace("here", run.LocalExecutor(env_vars={"GREETING": "it's $me"}), env_vars={"MORE": "1"})
    try:
        assert space.launch() == "here"
        words = ["ssh", "-F", str(tmp_path / ".ssh/config"), "here", 'printf "%s|" "$GREETING" "$MORE" "$PYTHONPATH"']
        said = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
        assert said.split("|")[:2] == ["it's $me", "1"]
        assert said.split("|")[2].split(":")[0] == str(tmp_path)
    finally:
        subprocess.run([find_program(), "devspace", "down", "here"], check=True, timeout=60)
    assert not (tmp_path / ".ssh/config").exists()
