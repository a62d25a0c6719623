"""What the command line's tests share: running a script as a user would."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a script."""

    def write(text: str, name: str = "script.py") -> Path:
        path = tmp_path / name
        path.write_text(textwrap.dedent(text))
        return path

    return write


@pytest.fixture
def python(tmp_path: Path) -> Run:
    """Runs Python in a folder of its own, with a home of its own, without a terminal."""

    def run(*words: str | Path, text: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "MIZZEN_HOME": str(tmp_path / "home"), "COLUMNS": "100", **variables}
        environment.pop("WORLD_SIZE", None)
        return subprocess.run(
            [sys.executable, *map(str, words)],
            input=text,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            timeout=120,
        )

    return run
