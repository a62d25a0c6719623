"""Executors from the user's files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mizzen.errors import ConfigError, ConfigTypeError, NotFoundError
from mizzen.executor import LocalExecutor, import_executor

DOCUMENT = """
[executors.two]
kind = "local"
ntasks_per_node = 2

[executors.two-slow]
extends = "two"
timeout = "10m"
env_vars = { A = "1" }
"""

CODE = """
from __future__ import annotations
from dataclasses import dataclass
import mizzen as run

@dataclass
class Site:
    slots: int = 4

def wide(nproc: int = 8, retries: int = 0) -> run.LocalExecutor:
    return run.LocalExecutor(ntasks_per_node=nproc, slots=Site().slots, retries=retries)

fixed = run.LocalExecutor(retries=1)
config = run.Config(run.LocalExecutor, nodes=2)
number = lambda: 7
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIZZEN_HOME", str(tmp_path))
    return tmp_path


def test_from_a_document(home: Path) -> None:
    (home / "executors.toml").write_text(DOCUMENT)
    assert import_executor("two") == LocalExecutor(ntasks_per_node=2)
    assert import_executor("two-slow") == LocalExecutor(ntasks_per_node=2, timeout="10m", env_vars={"A": "1"})
    assert import_executor("two", retries=3, call=True) == LocalExecutor(ntasks_per_node=2, retries=3)
    assert import_executor("two", call=False) == LocalExecutor(ntasks_per_node=2)


def test_from_another_file(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "places.yaml"
    path.write_text("executors: {here: {kind: local, slots: 3}}")
    assert import_executor("here", str(path)) == LocalExecutor(slots=3)


def test_from_code(home: Path) -> None:
    (home / "executors.py").write_text(CODE)
    assert import_executor("wide") == LocalExecutor(ntasks_per_node=8, slots=4)
    assert import_executor("wide", nproc=2, retries=1) == LocalExecutor(ntasks_per_node=2, slots=4, retries=1)
    assert import_executor("fixed") == LocalExecutor(retries=1)
    assert import_executor("fixed", retries=2) == LocalExecutor(retries=2)
    assert import_executor("config") == LocalExecutor(nodes=2)
    assert "mizzen_executors" not in sys.modules


def test_call_is_honoured(home: Path) -> None:
    (home / "executors.py").write_text(CODE)
    function = import_executor("wide", call=False)
    assert callable(function)
    assert function(nproc=3) == LocalExecutor(ntasks_per_node=3, slots=4)
    with pytest.raises(ConfigError, match="`nproc` can't be handed over with call=False"):
        import_executor("wide", call=False, nproc=2)


def test_a_document_is_asked_before_code_runs(home: Path) -> None:
    (home / "executors.toml").write_text(DOCUMENT)
    (home / "executors.py").write_text("raise SystemExit('this must not run')")
    assert import_executor("two").nproc_per_node() == 2


def test_code_is_asked_after_the_document(home: Path) -> None:
    (home / "executors.toml").write_text(DOCUMENT)
    (home / "executors.py").write_text(CODE)
    assert import_executor("wide").nproc_per_node() == 8


def test_unknown_names_are_answered_with_the_known_ones(home: Path) -> None:
    with pytest.raises(NotFoundError, match=r"neither .*executors.toml nor .*executors.py is there"):
        import_executor("two")
    (home / "executors.toml").write_text(DOCUMENT)
    with pytest.raises(NotFoundError, match=r"no executor `tow` .*two, two-slow"):
        import_executor("tow")
    (home / "executors.py").write_text(CODE)
    with pytest.raises(NotFoundError, match=r"two, two-slow(.|\n)*did you mean `wide`\?; there are: config, fixed, number, wide"):
        import_executor("wid")
    with pytest.raises(NotFoundError, match="can't read"):
        import_executor("x", str(home / "missing.py"))


def test_what_is_no_executor(home: Path) -> None:
    (home / "executors.py").write_text(CODE)
    with pytest.raises(ConfigTypeError, match="`number` in .* did not return an executor but int"):
        import_executor("number")
    with pytest.raises(ConfigTypeError, match="`__doc__`|is no executor"):
        import_executor("__name__")


def test_unknown_settings(home: Path) -> None:
    (home / "executors.toml").write_text(DOCUMENT)
    with pytest.raises(ConfigError, match="no setting `retires`; did you mean `retries`"):
        import_executor("two", retires=1)


def test_what_the_file_raises_comes_through(home: Path) -> None:
    (home / "executors.py").write_text("1 / 0")
    with pytest.raises(ZeroDivisionError):
        import_executor("x")
