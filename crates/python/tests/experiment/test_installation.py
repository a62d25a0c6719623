"""Where the executable and the home are looked for."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import mizzen as run
from mizzen.experiment import installation


def an_executable(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without Mizzen's executable."""
    monkeypatch.delenv("MIZZEN_PROGRAM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sysconfig, "get_path", lambda name, scheme="venv": str(tmp_path / scheme))
    monkeypatch.setattr(run, "__file__", str(tmp_path / "target" / "mizzen" / "__init__.py"))
    return tmp_path


def test_the_executable_is_looked_for(nowhere: Path) -> None:
    with pytest.raises(run.InstallationError, match="the `mizzen` executable is neither in .*/venv, .* nor on PATH\nhint: "):
        installation.find_program()
    user = sysconfig.get_preferred_scheme("user")
    for place in (nowhere / "path", nowhere / "target" / "bin", nowhere / user, nowhere / "venv"):
        program = an_executable(place / "mizzen")
        assert installation.find_program() == program


def test_an_executable_may_be_named(nowhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    an_executable(nowhere / "venv" / "mizzen")
    named = an_executable(nowhere / "other" / "mizzen")
    monkeypatch.setenv("MIZZEN_PROGRAM", named)
    assert installation.find_program() == named
    monkeypatch.setenv("MIZZEN_PROGRAM", str(nowhere / "missing"))
    with pytest.raises(run.InstallationError, match="MIZZEN_PROGRAM names .*/missing, which is no executable file"):
        installation.find_program()


def test_nothing_is_written_without_an_executable(home: Path, nowhere: Path) -> None:
    experiment = run.Experiment("x", log_level="ERROR")
    experiment.add(run.Script(inline="true"))
    with pytest.raises(run.InstallationError):
        experiment.run()
    assert not home.exists()
    assert len(experiment.dryrun(log=False)) == 1


def test_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIZZEN_HOME", "some/../where")
    assert installation.home_folder() == str(tmp_path / "where")
    monkeypatch.setenv("MIZZEN_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert installation.home_folder() == str(tmp_path / ".mizzen")
    assert installation.home_folder("~/x") == str(tmp_path / "x")


def test_a_working_directory_that_is_gone(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    experiment = run.Experiment("x")
    experiment.add(run.Script(inline="true"))
    with pytest.raises(run.ExperimentError, match="the working directory can't be read"):
        experiment.run()


def test_variables_that_are_no_text(home: Path, environment: dict[str, str]) -> None:
    code = (
        "import mizzen as run\n"
        "experiment = run.Experiment('bytes', log_level='ERROR')\n"
        "experiment.add(run.Script(inline='echo ${ODD:-none}'))\n"
        "experiment.run(tail_logs=True)\n"
    )
    given = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()} | {b"ODD": b"\xff"}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == ("none", "")


def test_the_first_import_brings_nothing() -> None:
    code = "import sys; before = set(sys.modules); import mizzen; print(sorted(set(sys.modules) - before - {'__future__'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['mizzen']"
