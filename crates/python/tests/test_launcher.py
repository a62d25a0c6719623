"""Launchers as values, in documents, and as scripts of the user's own."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import mizzen as run
import pytest
from mizzen import _core
from mizzen.errors import ConfigError
from mizzen.experiment.document import experiment_document
from mizzen.launcher import LAUNCHERS, launcher_named


def one(kind: str) -> run.Launcher:
    needed = {"slurm_template": {"template_inline": "{{ command }}"}, "command": {"command": ["env"]}}
    return LAUNCHERS[kind](**needed.get(kind, {}))


def test_every_launcher_has_every_setting_of_the_rust_one() -> None:
    known = json.loads(_core.launcher_kinds())
    assert list(known) == list(LAUNCHERS)
    for kind, cls in LAUNCHERS.items():
        properties = known[kind]["properties"]
        assert {field.name for field in fields(cls)} == set(properties), kind
        for name, value in one(kind).to_settings().items():
            if name != "kind" and value is not None and (kind, name) not in {("slurm_template", "template_inline"), ("command", "command")}:
                assert value == properties[name].get("default"), f"{kind}.{name}"


def test_settings_that_are_not_given_are_not_written() -> None:
    settings = run.Torchrun(max_restarts=0).to_settings()
    assert settings["kind"] == "torchrun" and settings["max_restarts"] == 0
    assert "rdzv_port" not in settings
    assert launcher_named(settings) == run.Torchrun(max_restarts=0)
    assert launcher_named("ft") == run.FaultTolerance()
    with pytest.raises(ConfigError, match="not the launcher `torchrun`'s"):
        launcher_named({"kind": "torchrun", "max_restart": 1})
    with pytest.raises(ConfigError, match="needs one of"):
        run.SlurmTemplate()


def test_a_launcher_stands_in_its_executors_settings() -> None:
    executor = run.SlurmExecutor(launcher=run.Ranks(max_restarts=1, hang_timeout="10m"))
    assert executor.to_settings()["launcher"]["hang_timeout"] == "10m"
    assert executor.supports_launcher_transform()
    assert executor.get_launcher_prefix() is None


def documents(launcher: Any, task: Any) -> dict[str, Any]:
    executor = run.LocalExecutor(launcher=launcher)
    experiment = run.Experiment("t", executor=executor, log_level="ERROR")
    experiment.add(task, name="job")
    document = experiment_document("t", experiment._jobs.units)
    (found,) = document["tasks"]
    assert isinstance(found, dict)
    return {**found, "launcher": document["executors"]["local"]["launcher"]}


@dataclass(kw_only=True)
class Twice(run.Launcher):
    """Runs the command two times."""

    note: str = "mine"

    def transform(self, cmd: list[str]) -> run.Script | None:
        line = shlex.join(cmd)
        return run.Script(inline=f"{line}\n{line}\n")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIZZEN_HOME", str(tmp_path / "a home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_launcher_of_ones_own_is_written_as_what_it_extends(home: Path) -> None:
    found = documents(Twice(), run.Script("say.sh", args=["a b", "$x"]))
    assert found["launcher"]["kind"] == "none" and "note" not in found["launcher"]
    assert found["inline"] == "bash say.sh 'a b' '$x'\n" * 2
    assert "run" not in found


def test_a_launcher_of_ones_own_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAUNCHERS, "twice", Twice)
    found = documents("twice", run.Script(inline="echo so"))
    assert found["launcher"]["kind"] == "none"
    assert found["inline"].count('"$MIZZEN_JOB_DIR"/scripts/job.task') == 2


def test_what_a_launcher_of_ones_own_makes_runs(home: Path) -> None:
    (home / "say.sh").write_text('echo "<$1>"\n')
    for task in (run.Script("say.sh", args=["a b$x"]), run.Script(inline="#!/bin/sh\necho '<a b$x>'\n")):
        run.run(task, executor=run.LocalExecutor(launcher=Twice()), name="job", log_level="ERROR")
    logs = list((home / "a home").glob("experiments/*/*/job/attempts/1/rank-0.log"))
    assert [log.read_text() for log in logs] == ["<a b$x>\n" * 2] * 2


def test_a_missing_program_is_told_of_before_anything_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    executor = run.LocalExecutor(launcher=run.FaultTolerance(), env_vars={"PATH": "/nowhere"})
    with pytest.raises(ConfigError, match="its launcher needs `ft_launcher`, which is not on its PATH"):
        run.run(run.Script("t.sh"), executor=executor, name="job", log_level="ERROR")
