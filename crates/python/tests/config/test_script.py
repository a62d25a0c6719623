"""Script: its fields, what is refused, and its command line. And the home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mizzen.config import (
    RUNDIR_NAME,
    RUNDIR_SPECIAL_NAME,
    SCRIPTS_DIR,
    USE_WITH_RAY_CLUSTER_KEY,
    Config,
    Script,
    build,
    decode,
    encode,
    get_mizzen_home,
    get_nemorun_home,
    set_nemorun_home,
)
from mizzen.errors import ConfigError, ConfigTypeError


def test_names() -> None:
    assert Script("dir/train.py").get_name() == "train.py"
    assert Script(inline="echo hello; echo more").get_name() == "echo_hello"


@pytest.mark.parametrize(
    ("script", "command"),
    [
        (Script("a.sh", args=["x y"]), ["bash", "a.sh", "x y"]),
        (Script("pkg.mod", m=True, entrypoint="python", args=["1"]), ["python", "-m", "pkg.mod", "1"]),
        (Script("a.py", entrypoint="python -u"), ["python", "-u", "a.py"]),
        (Script("./program", entrypoint=""), ["./program"]),
        (Script(inline="echo 'a b'"), ["bash", "-c", "echo 'a b'"]),
    ],
)
def test_commands(script: Script, command: list[str]) -> None:
    assert script.to_command(with_entrypoint=True) == command
    assert script.to_command() == command[len(script.entrypoint.split()) :]


def test_an_inline_script_is_written_into_a_file(tmp_path: Path) -> None:
    file = tmp_path / "scripts" / "a.sh"
    script = Script(inline="cat /nemo_run/x; echo done")
    assert script.to_command(filename=str(file), is_local=True, substitute_rundir_path="/here") == [str(file)]
    assert file.read_text().endswith("\ncat /here/x; echo done")
    assert script.to_command(filename=str(file)) == ["/nemo_run/scripts/a.sh"]
    done = subprocess.run([str(file)], capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs `path` or `inline`"),
        ({"path": "a", "inline": "b"}, "not both"),
        ({"inline": "a", "args": ["b"]}, "go with `path`"),
        ({"path": "a", "m": True}, 'add entrypoint="python"'),
        ({"path": "python train.py --lr 3"}, "write run.Script('train.py', args=['--lr', '3'], entrypoint='python')"),
        ({"path": "train.py --lr 3"}, "not a whole command"),
        ({"path": "echo hello"}, "write run.Script(inline='echo hello')"),
        ({"path": "echo 1\necho 2"}, "goes into `inline`"),
    ],
)
def test_misuse_is_told(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Script(**fields)
    assert message in str(caught.value)


@pytest.mark.parametrize("fields", [{"path": 3}, {"path": "a", "args": "b"}, {"path": "a", "env": {"A": None}}, {"path": "a", "args": [None]}])
def test_wrong_types_are_told(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigTypeError):
        Script(**fields)


def test_values_become_text() -> None:
    script = Script(Path("a.sh"), args=[1, Path("b")], env={"A": 1})  # type: ignore[arg-type, list-item, dict-item]
    assert (script.path, script.args, script.env) == ("a.sh", ["1", "b"], {"A": "1"})


def test_a_file_may_have_a_blank_in_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my script").write_text("")
    assert Script("my script").path == "my script"
    assert Script("my.dir name/script.sh").path == "my.dir name/script.sh"


def test_a_script_stays_a_script_in_a_config_and_in_documents() -> None:
    script = Script("a.sh", env={"A": "1"}, metadata={USE_WITH_RAY_CLUSTER_KEY: True})
    assert Config(dict, script=script).script is script
    assert decode(encode(script)) == script
    assert encode(script)["_type_"] == "script"
    assert build(script.to_config()) == script


def test_constants() -> None:
    assert (RUNDIR_NAME, RUNDIR_SPECIAL_NAME, SCRIPTS_DIR) == ("nemo_run", "/$nemo_run", "scripts")


def test_the_home_is_read_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIZZEN_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_mizzen_home() == f"{tmp_path}/.mizzen"
    set_nemorun_home("~/other")
    assert get_nemorun_home() == f"{tmp_path}/other"
    child = subprocess.run(
        [sys.executable, "-c", "from mizzen.config import get_mizzen_home; print(get_mizzen_home())"], capture_output=True, text=True, check=True
    )
    assert child.stdout.strip() == f"{tmp_path}/other"
