"""Showing: differences, help, pictures, HTML; and questions about annotations."""

from __future__ import annotations

import os
import shutil
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar, Union

import pytest

import mizzen as run
from mizzen.config import Config, Partial, get_type_namespace, get_underlying_types
from mizzen.errors import ConfigError, InstallationError


@dataclass
class Adam:
    lr: float = 0.1
    beta: float = 0.9


@dataclass
class Sgd:
    """Plain descent."""

    lr: float = 0.1
    steps: list[int] = field(default_factory=list)


def train(model: str, optimizer: Any = None, layers: list[int] | None = None, *extra: int, **more: str) -> float:
    """Trains a model.

    Returns the loss.
    """
    return 0.0


def test_differences_are_told_line_by_line() -> None:
    old = Config(train, "a", optimizer=Config(Adam, lr=1.0, beta=0.5), layers=[1, 2], gone="x")
    new = old.clone()
    assert not new.diff(old) and str(new.diff(old)) == "(no differences)"
    new.optimizer.lr = 2.0
    new.layers.append(3)
    new.added = "y"
    del new.gone
    difference = new.diff(old)
    assert str(difference).split("\n") == ["~ optimizer.lr: 1.0 → 2.0", "+ layers[2] = 3", "+ added = 'y'", "- gone = 'x'"]
    assert [change.path for change in difference] == [".optimizer.lr", ".layers[2]", ".added", ".gone"]
    assert len(difference) == 4 and "optimizer.lr" in difference._repr_html_()
    new.optimizer = Config(Sgd, lr=1.0)
    assert str(new.diff(old)).startswith("~ optimizer: Config(Adam) → Config(Sgd)\n- optimizer.beta = 0.5")
    assert new.diff(old).new is new


def test_a_picture_of_a_difference_shows_what_changed() -> None:
    old = Config(train, "a", optimizer=Config(Adam, lr=1.0, beta=0.5), gone="x")
    new = Config(train, "a", optimizer=Config(Adam, lr=2.0, beta=0.5))
    source = new.diff(old).visualize().source
    assert "2.0" in source and "gone" in source and "0.5" not in source
    assert "0.5" in new.diff(old, trim=False).visualize().source


def test_help_prints_arguments_and_docs(capsys: pytest.CaptureFixture[str]) -> None:
    run.help(train)
    out = capsys.readouterr().out
    assert out.startswith(f"{__name__}.train -> float\n")
    assert "layers     list[int] | None  None" in out and "model      str               (required)" in out
    assert "*extra" in out and "**more" in out and out.endswith("Returns the loss.\n")
    run.help(Sgd, with_docs=False)
    assert "steps     list[int]  list()" in capsys.readouterr().out
    run.help(Config(Adam, lr=7.0))
    assert "lr        float  0.1      7.0" in capsys.readouterr().out
    run.help(dict)
    assert "not known" in capsys.readouterr().out


def test_html_folds_and_escapes() -> None:
    shared = Config(Adam)
    html = Config(dict, a=shared, b=[shared], text="<script>")._repr_html_()
    assert "<details open>" in html and "&lt;script&gt;" in html and "<script>" not in html
    assert html.count("(shown above)") == 1


def test_pictures_are_text_for_dot() -> None:
    shared = Config(Adam, lr=3.0)
    graph = Config(dict, a='quo"te', b=shared, c=[1], d=[{"k": shared}]).visualize(bgcolor="red")
    assert graph.source.startswith("digraph config {\n") and 'bgcolor="red"' in graph.source
    assert graph.source.count("Adam") == 1 and graph.source.count(" -> ") == 4


def test_without_dot_there_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    config = Config(Adam)
    assert config._repr_svg_() is None
    with pytest.raises(InstallationError, match="hint: install graphviz"):
        config.save_config_img(str(tmp_path / "a.png"))
    config.save_config_img(str(tmp_path / "a.dot"))
    assert (tmp_path / "a.dot").read_text() == config.visualize().source
    with pytest.raises(ConfigError, match="no ending"):
        config.save_config_img(str(tmp_path / "a"))


def test_dot_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "dot"
    fake.write_text("#!/bin/sh\necho \"picture $1\"\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    config = Partial(Adam, lr=1.0)
    assert config._repr_svg_() == "picture -Tsvg\n"
    config.save_config_img(str(tmp_path))
    assert (tmp_path / "config.png").read_text() == "picture -Tpng\n"
    config.diff(Partial(Adam)).save(str(tmp_path / "diff.svg"))
    assert (tmp_path / "diff.svg").exists()
    fake.write_text("#!/bin/sh\necho 'syntax error' >&2; exit 1\n")
    with pytest.raises(ConfigError, match="failed: syntax error"):
        config.visualize().pipe("png")


@pytest.mark.skipif(shutil.which("dot") is None, reason="graphviz's dot is not installed")
def test_the_real_dot_draws() -> None:
    svg = Config(train, "a<b&", optimizer=Config(Adam)).visualize()._repr_svg_()
    assert svg is not None and "<svg" in svg


def test_namespaces_and_underlying_types() -> None:
    bounded = TypeVar("bounded", bound=int)
    assert get_type_namespace(Adam) == f"{__name__}.Adam"
    assert get_type_namespace(Config(Adam)) == f"{__name__}.Adam"
    assert get_underlying_types(Optional[Union[int, Annotated[str, "x"]]]) == {int, str, type(None)}
    assert get_underlying_types(int | None) == {int, type(None)}
    assert get_underlying_types(list[int]) == {list[int]}
    assert get_underlying_types(bounded) == {int}


def test_the_namespace_of_the_launching_script_is_its_file(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = tmp_path / "my_script.py"
    script.write_text("from mizzen.config import get_type_namespace\ndef f(): pass\nprint(get_type_namespace(f))\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "my_script.f\n"
