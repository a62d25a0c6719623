"""The document that an experiment is made from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mizzen as run
from mizzen.experiment.document import literal
from mizzen.experiment.naming import check_name, clean_name

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20) | st.text(alphabet="${}a:_ ", max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(words=st.lists(TEXT, max_size=20), variable=TEXT)
def test_any_text_reaches_the_request(home: Path, words: list[str], variable: str) -> None:
    experiment = run.Experiment("words")
    experiment.add(run.Script("x", args=words, entrypoint="sh", env={"V": variable}), name="x")
    (job,) = experiment.dryrun(log=False)
    assert job["argv"] == [["sh", "x", *words]]
    assert ["V", variable] in job["env"]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("no dollar", "no dollar"),
        ("$$${head_node_ip_var}:$PORT", "$$${head_node_ip_var}:$$PORT"),
        ("$${head_node_ip_var}", "$${head_node_ip_var}"),
        ("${lr} $x $$ $", "$${lr} $$x $$$$ $$"),
        ("--at=${head_node_ip_var}:${port}", "--at=${head_node_ip_var}:$${port}"),
        ("${head_node_ip_var", "$${head_node_ip_var"),
    ],
)
def test_macros_are_left_to_executors(text: str, written: str) -> None:
    assert literal(text) == written


@given(st.text(max_size=200))
def test_names_can_be_made_of_anything(text: str) -> None:
    assert check_name(clean_name(text), "name") == clean_name(text)


def test_like_executors_are_written_once(home: Path, tasks: ModuleType) -> None:
    experiment = run.Experiment("many", run.LocalExecutor())
    for number in range(6):
        experiment.add(run.Partial(tasks.add, number), executor=run.LocalExecutor(slots=number % 2 + 1))
    experiment.add(run.Partial(tasks.add, 1))
    document = experiment._document(False, "/")
    assert [task["executor"] for task in document["tasks"]] == ["local", "local-2"] * 3 + ["local-3"]
    assert {name: table["slots"] for name, table in document["executors"].items()} == {"local": 1, "local-2": 2, "local-3": None}
    assert set(document["files"]) == {"mizzen_runner.py"}


def test_tasks_as_a_document(home: Path, tasks: ModuleType) -> None:
    experiment = run.Experiment("tasks")
    experiment.add(run.Partial(tasks.add, 1), name="partial")
    experiment.add(run.Script("train.sh", args=["${x}"], env={"A": "$"}), name="path")
    experiment.add(run.Script("pkg.train", m=True, entrypoint="python"), name="module", dependencies=["path", ("partial", "any")])
    experiment.add(run.Script(inline="echo ${x}", entrypoint="bash -e"), name="inline")
    experiment.add(run.Script(inline="#!/usr/bin/perl\n1"), name="shebang")
    experiment.add(run.Script("./run", entrypoint=""), name="program")
    tasks_by_name = {task["name"]: task for task in experiment._document(False, "/")["tasks"]}
    partial = tasks_by_name["partial"]
    assert partial["run"] == [sys.executable, "${experiment_dir}/files/mizzen_runner.py", "${job_dir}/configs/partial.json"]
    assert json.loads(partial["files"]["configs/partial.json"])["root"]["_target_"] == "tasks_of_test.add"
    assert tasks_by_name["path"]["run"] == ["bash", "train.sh", "$${x}"]
    assert tasks_by_name["path"]["env"] == {"A": "$$"}
    module = tasks_by_name["module"]
    assert (module["module"], module["interpreter"], module["args"]) == ("pkg.train", [sys.executable], [])
    assert module["after"] == ["path", {"task": "partial", "when": "any"}]
    assert (tasks_by_name["inline"]["inline"], tasks_by_name["inline"]["interpreter"]) == ("echo ${x}", ["bash", "-e"])
    assert "interpreter" not in tasks_by_name["shebang"]
    assert tasks_by_name["program"]["run"] == ["./run"]
    assert len(experiment.dryrun(log=False)) == 6


def test_notes_of_scripts_may_be_left_out(home: Path) -> None:
    experiment = run.Experiment("notes", serialize_metadata_for_scripts=False)
    experiment.add(run.Script("train.sh"))
    assert "metadata" not in experiment._document(False, "/")["tasks"][0]


def test_plugins_are_noted(home: Path, tasks: ModuleType) -> None:
    class Nameless(run.Plugin):
        def setup(self, task: object, executor: object) -> None:
            pass

    experiment = run.Experiment("notes")
    experiment.add(run.Partial(tasks.add, 1), plugins=[Nameless()])
    (note,) = experiment._document(False, "/")["tasks"][0]["metadata"]["python"]["plugins"]
    assert note["_target_"].endswith("Nameless")


def test_members_of_a_slurm_group_have_executors_of_their_own(home: Path) -> None:
    def places() -> list[run.SlurmExecutor]:
        return [run.SlurmExecutor(nodes=number, ntasks_per_node=2, env_vars={"N": f"${number}"}) for number in (1, 2)]

    for executor in (places(), run.SlurmExecutor.merge(places(), num_tasks=2)):
        experiment = run.Experiment("group", log_level="ERROR")
        experiment.add([run.Script(inline="serve"), run.Script(inline="ask 'a b'")], executor=executor, name="pair")
        document = experiment._document(False, "/")
        assert [document["executors"][task["executor"]]["nodes"] for task in document["tasks"]] == [1, 2]
        first, second = experiment.dryrun(log=False)
        assert first["request"] == second["request"]
        assert "--nodes=3" in first["request"]["options"]
        files = {file["path"]: file["contents"] for file in first["request"]["files"]}
        assert "--relative=1" in files["pair-0/submit/1.sh"]
        assert "export N='$2'" in files["pair-1/submit/1.command.sh"]
