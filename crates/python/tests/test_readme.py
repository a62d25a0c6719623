"""README's Python quickstart, word for word: its script, then its commands, with what it says of them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[3] / "README.md"


def section() -> str:
    text = README.read_text(encoding="utf-8")
    found = re.search(r"^## Python$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    assert found, "README has no section about Python"
    return found.group(1)


def test_the_quickstart(tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MIZZEN_") or name == "MIZZEN_PROGRAM"},
        "MIZZEN_HOME": str(tmp_path / "home"),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "VIRTUAL_ENV": str(programs.parent),
    }
    if program := os.environ.get("MIZZEN_PROGRAM"):
        environment["PATH"] = f"{Path(program).parent}{os.pathsep}{environment['PATH']}"
    assert shutil.which("mizzen", path=environment["PATH"])
    (script,) = re.findall(r"^```python\n(.*?)^```", section(), re.MULTILINE | re.DOTALL)
    (tmp_path / "digits.py").write_text(script)
    session = re.findall(r"^```console\n(.*?)^```", section(), re.MULTILINE | re.DOTALL)[1]
    commands = [line.removeprefix("$ ") for line in session.splitlines() if line.startswith("$ ")]
    assert len(commands) == 5

    said = {}
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        said[command] = done
        fails = "exit status 1" in command
        assert done.returncode == (1 if fails else 0), f"{command}\n{done.stdout}\n{done.stderr}"
    first = said[commands[0]]
    assert first.stdout.splitlines()[-1] == "{'loss': 0.008, 'lr': 0.1}"
    assert "mizzen: digits SUCCEEDED after" in first.stderr and ": 2 SUCCEEDED" in first.stderr
    assert said[commands[1]].stdout == "training (32, 32) with lr=0.3\n"
    assert "mizzen: train SUCCEEDED after" in said[commands[1]].stderr
    assert "the learning rate." in said[commands[2]].stdout
    assert said[commands[3]].stdout == "training (64, 64) with lr=0.1\n"
    failure = said[commands[4]]
    assert "a learning rate of 3.0 is too large" in failure.stdout + failure.stderr


@pytest.mark.parametrize("name", ["Config", "Partial", "Script", "Experiment", "JobFailed", "LocalExecutor", "cli"])
def test_the_names_are_there(name: str) -> None:
    import mizzen

    assert name in mizzen.__all__ and hasattr(mizzen, name)
