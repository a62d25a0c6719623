"""What `docs/migrating-from-nemo-run.md` says that Mizzen does otherwise, first of all under "Things to know first"."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mizzen as run
import mizzen.compat
import pytest
from mizzen.compat.missing import MISSING
from mizzen.compat.names import MODULES

GUIDE = Path(__file__).parents[4] / "docs" / "migrating-from-nemo-run.md"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MIZZEN_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "home"


def quiet(title: str, **options: Any) -> run.Experiment:
    return run.Experiment(title, executor=run.LocalExecutor(**options), log_level="ERROR")


def test_a_failure_is_raised_unless_it_is_not_wanted() -> None:
    script = run.Script(inline="echo so; exit 3")
    with pytest.raises(run.JobFailed) as raised:
        run.run(script, executor=run.LocalExecutor(), name="fails", log_level="ERROR")
    failure = raised.value
    assert (failure.job, failure.cause, failure.exit_code, failure.rank) == ("fails", "app-failure", 3, 0)
    assert failure.lines[-1] == "so"
    result = run.run(script, executor=run.LocalExecutor(), name="fails", log_level="ERROR", raise_on_failure=False)
    assert result.state == "FAILED"


def test_dependents_of_a_failed_job_are_skipped() -> None:
    experiment = quiet("chain")
    first = experiment.add(run.Script(inline="exit 1"), name="first")
    experiment.add(run.Script(inline="true"), name="second", dependencies=[first])
    experiment.add(run.Script(inline="true"), name="cleanup", dependencies=[(first, "any")])
    experiment.run(raise_on_failure=False)
    states = experiment.status(return_dict=True) or {}
    assert {name: (job["status"], job["cause"]) for name, job in states.items()} == {
        "first": ("FAILED", "app-failure"),
        "second": ("CANCELLED", "upstream-failed"),
        "cleanup": ("SUCCEEDED", None),
    }


def test_tasks_per_node_are_ranks(capfd: pytest.CaptureFixture[str]) -> None:
    experiment = quiet("ranks", ntasks_per_node=2)
    experiment.add(run.Script(inline='echo "$RANK of $WORLD_SIZE"'), name="job")
    experiment.run()
    assert {line.text for line in experiment.log_lines("job")} == {"0 of 2", "1 of 2"}


def test_names_become_folders() -> None:
    with pytest.raises(run.ConfigError, match="hint: `night-run` can"):
        run.Experiment("night run")
    with pytest.raises(run.ConfigError, match="hint: `long-one` can"):
        quiet("names").add(run.Script(inline="true"), name="long one")


def test_a_type_is_checked_when_it_is_set() -> None:
    with pytest.raises(run.ConfigTypeError, match="nodes"):
        run.Config(run.LocalExecutor, nodes="many")


def test_a_whole_command_is_no_path() -> None:
    with pytest.raises(run.ConfigError, match=re.escape("run.Script('train.py', args=['--x', '1'], entrypoint='python')")):
        run.Script("python train.py --x 1")


def test_a_second_job_of_a_name_has_a_folder_of_its_own() -> None:
    experiment = quiet("twice")
    names = [experiment.add(run.Script(inline="pwd"), name="train") for _ in range(3)]
    assert names == ["train", "train_1", "train_2"]
    folders = {job.executor.job_dir for job in experiment}
    assert len(folders) == 3


def test_dependencies_may_be_added_in_any_order() -> None:
    experiment = quiet("order")
    experiment.add(run.Script(inline="true"), name="early", dependencies=["late"])
    experiment.add(run.Script(inline="true"), name="late", dependencies=["early"])
    with pytest.raises(run.ConfigError, match="early → late → early|late → early → late"):
        experiment.run()


def test_detaching_and_coming_back() -> None:
    experiment = quiet("away")
    experiment.add(run.Script(inline="true"), name="job")
    experiment.run(detach=True)
    again = run.Experiment.from_id(experiment.id)
    again.wait(timeout=60)
    assert again.state == "SUCCEEDED"


def test_reset_keeps_what_was_added() -> None:
    experiment = quiet("again")
    first = experiment.add(run.Script(inline="true"), name="first")
    experiment.add(run.Script(inline="true"), name="second", dependencies=[(first, "any")])
    experiment.run()
    before = experiment.id
    experiment.reset()
    assert experiment.id != before
    assert [list(job.dependencies) for job in experiment] == [[], [("first", "any")]]


def test_a_group_lasts_until_all_have_ended_or_one_failed() -> None:
    def states(*lines: str) -> list[tuple[str, str | None]]:
        experiment = quiet("group")
        experiment.add([run.Script(inline=line) for line in lines], name="group")
        experiment.run(raise_on_failure=False)
        return [(job.state, job.cause) for job in experiment]

    assert states("true", "cat /dev/null") == [("SUCCEEDED", None), ("SUCCEEDED", None)]
    assert states("exit 3", "sleep 600") == [("FAILED", "app-failure"), ("CANCELLED", "upstream-failed")]


def test_imported_experiments_are_found_in_python(home: Path) -> None:
    nemo = Path(__file__).parents[4] / "crates" / "core" / "tests" / "nemo-home"
    mizzen_program = Path(sys.executable).parent / "mizzen"
    program = str(mizzen_program) if mizzen_program.exists() else "mizzen"
    subprocess.run([program, "import-nemo", str(nemo)], check=True, capture_output=True)
    experiment = run.Experiment.from_title("sweep")
    assert [(job.id, job.state) for job in experiment] == [
        ("prepare", "SUCCEEDED"),
        ("train", "SUCCEEDED"),
        ("train_2", "FAILED"),
    ]
    assert [line.text for line in experiment.log_lines("train")] == ["step 0 lr 0.5", "step 1 lr 0.5", "step 2 lr 0.5"]
    with pytest.raises(run.ExperimentError, match="history that was imported from NeMo-Run"):
        experiment.retry()
    with pytest.raises(run.JobFailed, match="exit code 1"):
        experiment.wait()
    unknown = run.Experiment.from_title("cluster")
    assert (unknown.state, unknown["first"].state) == ("UNKNOWN", "UNKNOWN")
    with pytest.raises(run.JobFailed, match="NeMo-Run keeps no state of it"):
        unknown.wait()
    assert len(list(unknown.log_lines("first", follow=True))) == 2
    assert set(run.Experiment.catalog()) == {"hello", "sweep", "pair", "direct", "prepared", "night-run", "cluster"}


def test_the_guide_names_what_is_missing() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    section = text.partition("## What is not there yet")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", section))
    public = set(MODULES["nemo_run"]) | {"KubeRayExecutor", "RayCluster", "RayJob"}
    for name in set(MISSING) & public - set(mizzen.__all__):
        assert name in named, name
    for name in named & set(MISSING):
        assert name not in run.__all__, f"{name} is there by now"


def test_the_guides_links_and_modules_are_there() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert (GUIDE.parent / link).exists(), link
    headings = {re.sub(r"[^\w -]", "", line[3:].lower()).replace(" ", "-") for line in text.splitlines() if line.startswith("## ")}
    for anchor in re.findall(r"\]\(#([^)]+)\)", text):
        assert anchor in headings, anchor
    from importlib import import_module

    for module in set(re.findall(r"`(mizzen(?:\.\w+)+)`", text)):
        try:
            import_module(module)
        except ModuleNotFoundError:
            home_module, _, name = module.rpartition(".")
            assert hasattr(import_module(home_module), name), module
