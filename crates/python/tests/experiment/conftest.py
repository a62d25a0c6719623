"""A home of its own for each test, with nothing left running in it, and a module of tasks that jobs can import."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

TASKS = '''
import os
import sys
import time


def add(a, b=2):
    print("adding", a, b)
    return a + b


def fail(message="no"):
    print("about to fail")
    raise ValueError(message)


def write(path, text):
    with open(path, "a") as file:
        file.write(text + "\\n")


def flaky(path):
    """Fails as long as the file is not there."""
    if not os.path.exists(path):
        raise RuntimeError("not yet")
    return "done"


def hold(path=None):
    """Says that it runs, then stays."""
    if path is not None:
        open(path, "w").close()
    print("holding", flush=True)
    time.sleep(600)


def meet(mine, other):
    """Ends only if another job runs at the same time; fails where none has come after a minute."""
    open(mine, "w").close()
    limit = time.monotonic() + 60
    while not os.path.exists(other):
        if time.monotonic() > limit:
            raise TimeoutError(f"nobody made {other}")
        time.sleep(0.01)
    return mine


def environment(name):
    return os.environ.get(name)


def interpreter():
    return sys.executable


def unwritable():
    return object()


def rank_fails(rank):
    number = int(os.environ["RANK"])
    print("rank", number)
    if number == rank:
        sys.exit(7)
    time.sleep(600)
'''


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home; at the end everything in it is ended."""
    folder = tmp_path / "home"
    monkeypatch.setenv("MIZZEN_HOME", str(folder))
    monkeypatch.delenv("MIZZEN_SET", raising=False)
    workdir = tmp_path / "work"
    workdir.mkdir()
    monkeypatch.chdir(workdir)
    yield folder
    end_everything(folder)


def end_everything(home: Path) -> None:
    """Kills what still runs in a home, and waits until it has ended."""
    from mizzen.experiment.installation import open_core

    if not (home / "mizzen.db").exists():
        return
    core = open_core(str(home), drives=True, workdir="/")
    for one in json.loads(core.list(None, None)):
        if one["ended"] is None:
            core.cancel(one["id"], [], "kill")
            watch = core.watch(one["id"], 0)
            while watch.next(5.0) is not None:
                pass


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module that jobs can import, too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "tasks_of_test.py").write_text(TASKS)
    monkeypatch.syspath_prepend(str(folder))
    sys.modules.pop("tasks_of_test", None)
    yield import_module("tasks_of_test")
    sys.modules.pop("tasks_of_test", None)


@pytest.fixture
def environment(home: Path, tasks: ModuleType) -> dict[str, str]:
    """For a child process: the home, and where the tasks are."""
    folder = str(Path(str(tasks.__file__)).parent)
    path = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{folder}:{path}" if path else folder}
