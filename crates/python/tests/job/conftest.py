"""Launching scripts, and the interpreters that nodes have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import mizzen

HERE = Path(__file__).parent
PACKAGE = Path(mizzen.__file__).parents[1]


def interpreters() -> list[str]:
    """Other Pythons to run jobs under: ``MIZZEN_TEST_PYTHONS`` (separated as PATH is), or those on PATH."""
    named = os.environ.get("MIZZEN_TEST_PYTHONS")
    if named:
        return named.split(os.pathsep)
    found = (shutil.which(f"python3.{minor}") for minor in range(8, 15))
    return [path for path in found if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0]


@pytest.fixture(params=[*interpreters(), None], ids=lambda path: path or "this")
def node_python(request: pytest.FixtureRequest) -> str:
    """An interpreter that a node may have."""
    return request.param or sys.executable


def environment(folder: Path, **more: str) -> dict[str, str]:
    """What a launching process of a test has in its environment."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MIZZEN", "SLURM", "RANK"))},
        "PYTHONPATH": f"{PACKAGE}{os.pathsep}{HERE}",
        "JOB_FOLDER": str(folder / "job"),
        **more,
    }


def launched(done: subprocess.CompletedProcess[str]) -> SimpleNamespace:
    """What the last ``launch`` of a script said."""
    lines = [line for line in done.stdout.splitlines() if line.startswith("LAUNCHED ")]
    assert lines, f"nothing was launched:\n{done.stdout}\n{done.stderr}"
    told = json.loads(lines[-1].removeprefix("LAUNCHED "))
    result = told.get("result") or {}
    return SimpleNamespace(
        status=told.get("status"),
        out=told.get("out", ""),
        err=told.get("err", ""),
        value=result.get("value"),
        result=result,
        exception=SimpleNamespace(**result["exception"]) if "exception" in result else None,
        error=told.get("error"),
        path=told.get("path"),
        count=len(lines),
        launcher=done,
    )


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Runs a launching script from a file; returns what its job did."""

    def run(text: str, *arguments: str, python: str | None = None, files: dict[str, str] | None = None, **more: str) -> SimpleNamespace:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        for name, content in {"script.py": text, **(files or {})}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(textwrap.dedent(content), encoding="utf-8")
        if python:
            more["JOB_PYTHON"] = python
        done = subprocess.run(
            [sys.executable, "script.py", *arguments],
            cwd=folder,
            env=environment(tmp_path, **more),
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        return launched(done)

    return run


@pytest.fixture
def piped(tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Runs a launching script given to ``python -`` or ``python -c``; returns what its job did."""

    def run(text: str, how: str, python: str | None = None) -> SimpleNamespace:
        text = textwrap.dedent(text)
        more = {"JOB_PYTHON": python} if python else {}
        options: dict[str, object] = {"cwd": tmp_path, "env": environment(tmp_path, **more), "capture_output": True, "text": True}
        if how == "command":
            return launched(subprocess.run([sys.executable, "-X", "dev", "-Wignore", "-uc", text], stdin=subprocess.DEVNULL, **options))
        if how == "pipe":
            return launched(subprocess.run([sys.executable, "-"], input=text, **options))
        (tmp_path / "input").write_text(text)
        with open(tmp_path / "input") as file:
            return launched(subprocess.run([sys.executable, *(["-"] if how == "file" else [])], stdin=file, **options))

    return run
