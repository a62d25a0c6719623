"""Experiments from end to end: real jobs on this machine."""

from __future__ import annotations

import json
import os
import pickle
import re
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mizzen as run
from mizzen.experiment import Attempt, Dependency, Job, JobGroup, LogLine


def echo(text: str, status: int = 0) -> run.Script:
    return run.Script(inline=f"echo '{text}'; exit {status}")


def test_jobs_run_and_their_results_come_back(home: Path, tasks: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    with run.Experiment("sums") as experiment:
        first = experiment.add(run.Partial(tasks.add, 1))
        second = experiment.add(run.Partial(tasks.add, 3, b=4), name="other", dependencies=[first])
        assert (first, second) == ("add", "other")
        assert experiment.state == "UNSUBMITTED"
        assert not home.exists()
        experiment.run()
    assert experiment.state == "SUCCEEDED"
    assert (experiment.result("add"), experiment.result("other")) == (3, 7)
    out, err = capfd.readouterr()
    assert out == ""
    lines = [line.split(" ", 1)[-1] for line in err.splitlines()]
    assert err.startswith(f"mizzen: experiment {experiment.id} (sums), 2 jobs\n")
    assert [line.split(" after ")[0] for line in lines[1:5]] == ["add RUNNING", "add SUCCEEDED", "other RUNNING", "other SUCCEEDED"]
    assert "sums SUCCEEDED after" in err
    assert "hint: `mizzen logs" in err


def test_attempts_are_typed(home: Path, tasks: ModuleType) -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    experiment = run.Experiment("typed", log_level="WARNING")
    experiment.add(run.Partial(tasks.add, 1))
    experiment.run()
    (job,) = experiment
    assert isinstance(job, Job)
    (attempt,) = job
    assert isinstance(attempt, Attempt)
    assert (attempt.number, attempt.state, attempt.cause, attempt.exit_code) == (1, "SUCCEEDED", None, 0)
    assert attempt.started is not None and attempt.ended is not None
    assert before <= attempt.started <= attempt.ended <= datetime.now(timezone.utc)
    assert len(attempt.nodes) == 1
    assert attempt.log_path is not None and Path(attempt.log_path).read_text() == "adding 1 2\n"
    assert job.dir is not None and attempt.dir == f"{job.dir}/attempts/1"
    assert attempt.usage is not None and attempt.usage == job.usage
    # As long as a second it need not have run.
    assert attempt.usage.memory_peak > 0 and attempt.usage.cpu_seconds > 0 and attempt.usage.gpus == ()
    assert (job.state, job.cause, job.name, job.launched) == ("SUCCEEDED", None, "add", True)
    assert job.handle == attempt.handle
    assert job.executor.job_dir == job.dir
    assert job.executor.experiment_id == experiment.id


def test_a_failure_is_raised(home: Path, tasks: ModuleType) -> None:
    experiment = run.Experiment("failing", log_level="ERROR")
    experiment.add(run.Partial(tasks.fail, "so\nit is"), name="train")
    experiment.add(echo("after"), name="report", dependencies=["train"])
    with pytest.raises(run.JobFailed) as caught:
        experiment.run()
    failure = caught.value
    assert (failure.job, failure.state, failure.cause) == ("train", "FAILED", "app-failure")
    assert (failure.attempt, failure.rank, failure.exit_code) == (1, 0, 1)
    assert failure.lines[0] == "about to fail"
    assert failure.lines[-2:] == ("ValueError: so", "it is")
    assert failure.remote_traceback is not None and "tasks_of_test.py" in failure.remote_traceback
    assert "runner.py" not in failure.remote_traceback
    assert (failure.experiment_id, failure.title, failure.failed) == (experiment.id, "failing", ("train",))
    message = str(failure)
    assert failure.kind == "exception" and failure.reason is not None
    assert re.fullmatch(r"ValueError: so \(tasks_of_test\.py:[0-9]+\)", failure.reason)
    said = f"the job `train` of failing ({experiment.id}) failed: {failure.reason}, exit code 1\n    │ about to fail"
    assert message.startswith(said)
    assert f"hint: `mizzen logs {experiment.id} train`" in message
    report = experiment["report"]
    assert (report.state, experiment.state) == ("CANCELLED", "FAILED")
    assert isinstance(report, Job) and report.cause == "upstream-failed"
    with pytest.raises(run.JobFailed, match="was cancelled: upstream-failed: train did not succeed"):
        experiment.result("report")
    with pytest.raises(run.JobFailed) as caught:
        experiment.result("train")
    assert caught.value.remote_traceback == failure.remote_traceback


def test_a_failure_may_be_no_exception(home: Path) -> None:
    experiment = run.Experiment("failing", log_level="ERROR")
    experiment.add(echo("x", 3))
    experiment.run(raise_on_failure=False)
    assert experiment.state == "FAILED"
    (job,) = experiment
    assert job.attempts[0].exit_code == 3


def test_the_failing_rank_is_named(home: Path, tasks: ModuleType) -> None:
    experiment = run.Experiment("ranks", run.LocalExecutor(ntasks_per_node=3), log_level="ERROR")
    experiment.add(run.Partial(tasks.rank_fails, 1))
    with pytest.raises(run.JobFailed, match="rank 1 failed first.*, exit code 7") as caught:
        experiment.run()
    assert (caught.value.rank, caught.value.exit_code, caught.value.lines) == (1, 7, ("rank 1",))


def test_the_reason_is_told_with_what_to_do(home: Path, tmp_path: Path) -> None:
    script, never = tmp_path / "train.py", tmp_path / "never"
    os.mkfifo(never)
    script.write_text(f"import os\nif os.environ['RANK'] == '1':\n    import no_such_module_here\nopen({str(never)!r}).read()\n")
    experiment = run.Experiment("reasons", run.LocalExecutor(ntasks_per_node=2), log_level="ERROR")
    experiment.add(run.Script(str(script), entrypoint="python3"), name="train")
    with pytest.raises(run.JobFailed) as caught:
        experiment.run()
    failure = caught.value
    assert (failure.rank, failure.host, failure.kind) == (1, None, "missing-module")
    assert failure.reason == "there is no Python module no_such_module_here"
    said = r"failed: rank 1 failed first(, [0-9.]+ m?s before the rest)?: there is no Python module no_such_module_here, exit code 1\n"
    assert re.search(said, str(failure))
    assert failure.hint is not None and f"\nhint: {failure.hint}\n" in str(failure)
    again = pickle.loads(pickle.dumps(failure))
    assert (again.kind, again.reason, again.hint) == (failure.kind, failure.reason, failure.hint)


def test_a_program_that_is_not_there(home: Path) -> None:
    experiment = run.Experiment("missing", log_level="ERROR")
    experiment.add(run.Script("x.py", entrypoint="/nowhere/python9"))
    with pytest.raises(run.JobFailed, match="launch-failure.*/nowhere/python9") as caught:
        experiment.run()
    assert caught.value.cause == "launch-failure"


def test_conditions_of_dependencies(home: Path) -> None:
    experiment = run.Experiment("conditions", log_level="ERROR")
    # Each of them comes before what it depends on: references may lead forward.
    experiment.add(echo("any"), name="any", dependencies=[("bad", "any")])
    experiment.add(echo("failed"), name="failed", dependencies=[("bad", "failed")])
    experiment.add(echo("never"), name="never", dependencies=[("good", "failed")])
    experiment.add(echo("start"), name="start", dependencies=[Dependency("good", "start")])
    experiment.add(echo("bad", 1), name="bad")
    experiment.add(echo("good"), name="good")
    experiment.run(raise_on_failure=False)
    states = {job.name: job.state for job in experiment}
    assert states == {
        "any": "SUCCEEDED",
        "failed": "SUCCEEDED",
        "never": "CANCELLED",
        "start": "SUCCEEDED",
        "bad": "FAILED",
        "good": "SUCCEEDED",
    }
    never = experiment["never"]
    assert isinstance(never, Job) and never.cause == "not-needed"


def test_sequential(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "order"
    experiment = run.Experiment("order", run.LocalExecutor(slots=4), log_level="ERROR")
    for number in range(4):
        experiment.add(run.Partial(tasks.write, str(path), str(number)), name="write")
    assert [job.name for job in experiment] == ["write", "write_1", "write_2", "write_3"]
    experiment.run(sequential=True)
    assert path.read_text().split() == ["0", "1", "2", "3"]


def test_a_group_starts_together(home: Path, tasks: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    experiment = run.Experiment("groups", run.LocalExecutor(slots=1))
    group = experiment.add([run.Partial(tasks.meet, one, two), run.Partial(tasks.meet, two, one)], name="pair", tail_logs=True)
    experiment.add(run.Partial(tasks.add, 1), dependencies=[group])
    (pair, _) = experiment.jobs
    assert isinstance(pair, JobGroup)
    assert [job.name for job in pair] == ["pair-0", "pair-1"]
    assert pair.state == "UNSUBMITTED"
    experiment.run()
    assert (pair.state, len(pair.handles)) == ("SUCCEEDED", 2)
    assert sorted(value for value in experiment.result("pair") if value) == sorted([one, two])
    status = experiment.status(return_dict=True)
    assert status is not None and list(status) == ["pair", "add"]
    assert list(status["pair"]["jobs"]) == ["pair-0", "pair-1"]
    assert experiment["pair-0"].state == "SUCCEEDED"


def test_members_of_a_group_may_differ_in_their_environment(home: Path) -> None:
    experiment = run.Experiment("groups", log_level="ERROR")
    task = run.Script(inline="echo $WHO $X")
    places = [run.LocalExecutor(env_vars={"WHO": "$one"}), run.LocalExecutor(env_vars={"WHO": "two", "X": "y"})]
    group = experiment.add([task, task], executor=places, name="g")
    experiment.run()
    # The group may end as soon as its leader has: only what was begun is written.
    assert [line.text for line in experiment.log_lines("g-0")] == ["$one"]
    assert group == "g"
    experiment = run.Experiment("groups", log_level="ERROR")
    experiment.add([task, task], executor=[run.LocalExecutor(), run.LocalExecutor(gpus=1)], name="g")
    with pytest.raises(run.ConfigError, match="`gpus` of member 1 is another than of member 0"):
        experiment.run()


def test_logs(home: Path, tasks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("logs", log_level="ERROR")
    experiment.add(run.Script(inline="printf 'one\\ntwo\\n'"), name="a")
    experiment.add(run.Script(inline="printf 'three\\n\\xff\\n'"), name="b", dependencies=["a"])
    experiment.run(tail_logs=True)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "a │ one\na │ two\nb │ three\nb │ \ufffd\n")
    experiment.logs("a")
    assert capsys.readouterr().out == "one\ntwo\n"
    experiment.logs("a", regex="^t")
    assert capsys.readouterr().out == "two\n"
    experiment.logs(follow=True)
    assert sorted(capsys.readouterr().out.splitlines()) == ["a │ one", "a │ two", "b │ three", "b │ \ufffd"]
    assert list(experiment.log_lines("a", rank=0, attempt=1)) == [LogLine("a", 1, 0, "one"), LogLine("a", 1, 0, "two")]
    job = experiment["a"]
    assert isinstance(job, Job)
    job.logs(regex="one")
    assert capsys.readouterr().out == "one\n"
    with pytest.raises(run.ConfigError, match="regex"):
        experiment.logs("a", regex="(")


def test_one_job_writes_to_standard_output(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("one", log_level="ERROR")
    experiment.add(echo("hello"), tail_logs=True)
    experiment.run()
    assert capsys.readouterr() == ("hello\n", "")


def test_quiet(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for options in ({"log_level": "WARNING"}, {"log_level": 40}, {"clean_mode": True}):
        experiment = run.Experiment("quiet", **options)
        experiment.add(echo("x"))
        experiment.run()
    assert capfd.readouterr() == ("", "")


def test_retry(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "flag"
    experiment = run.Experiment("again", log_level="ERROR")
    experiment.add(run.Partial(tasks.flaky, str(path)))
    experiment.add(run.Partial(tasks.add, 1), dependencies=["flaky"])
    experiment.add(echo("fine"), name="fine")
    with pytest.raises(run.JobFailed):
        experiment.run()
    path.touch()
    assert experiment.retry() == ["flaky", "add"]
    assert experiment.state == "SUCCEEDED"
    flaky = experiment["flaky"]
    assert isinstance(flaky, Job)
    assert [(attempt.number, attempt.state) for attempt in flaky] == [(1, "FAILED"), (2, "SUCCEEDED")]
    assert experiment.result("flaky") == "done"
    with pytest.raises(run.ExperimentError, match="nothing to run again"):
        experiment.retry()
    with pytest.raises(run.NotFoundError, match="no job `flakey`; did you mean `flaky`"):
        experiment.retry("flakey")


def test_retries_of_the_executor(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "count"
    script = run.Script(inline=f"echo x >> {path}; test $(wc -l < {path}) = 3")
    experiment = run.Experiment("again", run.LocalExecutor(retries=3), log_level="ERROR")
    experiment.add(script, name="third")
    experiment.run()
    (job,) = experiment
    assert [attempt.state for attempt in job] == ["FAILED", "FAILED", "SUCCEEDED"]


def test_a_retry_shows_what_is_new(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("again")
    experiment.add(run.Script(inline="echo attempt $MIZZEN_ATTEMPT; test $MIZZEN_ATTEMPT = 2"), name="job")
    experiment.run(raise_on_failure=False)
    capfd.readouterr()
    experiment.retry("job", tail_logs=True)
    out, err = capfd.readouterr()
    assert out == "attempt 2\n"
    assert "job RUNNING attempt 2\n" in err
    assert "job SUCCEEDED" in err and "FAILED" not in err
    experiment.reset()
    experiment.run(raise_on_failure=False)
    assert experiment.retry(detach=True) == ["job"]
    experiment.wait(60)
    assert experiment.state == "SUCCEEDED"


def test_of_many_jobs_only_failures_are_told(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("many")
    for number in range(60):
        experiment.add(run.Script(inline=f"exit {int(number == 7)}"), name=f"job-{number}")
    with pytest.raises(run.JobFailed, match="the job `job-7`"):
        experiment.run()
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 4
    assert "job-7 FAILED" in lines[1]
    assert "many FAILED after" in lines[2] and "59 SUCCEEDED · 1 FAILED" in lines[2]


def test_further_attempts_are_told(home: Path, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("flaky", run.LocalExecutor(retries=1))
    experiment.add(run.Script(inline="echo try; test $MIZZEN_ATTEMPT = 2"), name="job")
    experiment.run()
    told = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()]
    assert told[1] == "job RUNNING"
    assert told[2].startswith("job PENDING for attempt 2 in ")
    assert told[2].endswith(": app-failure, exit code 1")
    assert told[4] == "job RUNNING attempt 2"


def test_reset(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "order"
    experiment = run.Experiment("again", log_level="ERROR")
    experiment.add(run.Partial(tasks.write, str(path), "second"), name="second", dependencies=["first"])
    experiment.add(run.Partial(tasks.write, str(path), "first"), name="first")
    experiment.run()
    first = experiment.id
    assert experiment.reset() is experiment
    assert experiment.id != first
    assert (experiment.state, experiment["first"].state) == ("UNSUBMITTED", "UNSUBMITTED")
    assert experiment["second"].dependencies == [Dependency("first")]
    experiment.run()
    assert path.read_text().split() == ["first", "second"] * 2
    assert run.Experiment.catalog("again") == [experiment.id, first]


def test_what_was_started_stays_as_it_is(home: Path) -> None:
    experiment = run.Experiment("closed", log_level="ERROR")
    with pytest.raises(run.ExperimentError, match="has no jobs"):
        experiment.run()
    experiment.add(echo("x"))
    experiment.run()
    for act in (lambda: experiment.add(echo("y")), experiment.run):
        with pytest.raises(run.ExperimentError, match="it was started already\nhint: `reset"):
            act()


def test_an_exception_inside_starts_nothing(home: Path) -> None:
    with pytest.raises(KeyError), run.Experiment("stopped") as experiment:
        experiment.add(echo("x"))
        raise KeyError("x")
    assert not home.exists()


def test_nothing_runs_without_run(home: Path) -> None:
    with run.Experiment("stopped") as experiment:
        experiment.add(echo("x"), name="x")
    assert not home.exists()
    assert experiment.state == "UNSUBMITTED"
    with pytest.raises(run.ExperimentError, match="can't wait for the experiment stopped .*: it was not started"):
        experiment.wait()
    with pytest.raises(run.ResultError, match="was not started"):
        experiment.result("x")


def test_detached_jobs_are_found_again(home: Path, tasks: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    experiment = run.Experiment("far")
    experiment.add(run.Partial(tasks.meet, str(tmp_path / "mine"), str(other)))
    experiment.run(detach=True)
    assert f"experiment {experiment.id} (far) was started\nhint: " in capfd.readouterr().err
    with pytest.raises(run.ResultError, match="has no result yet"):
        experiment.result("meet")
    with pytest.raises(TimeoutError, match="has not ended within 0.01 s"):
        experiment.wait(0.01)
    with pytest.raises(run.ExperimentError, match="still runs"):
        experiment.reset()
    found = run.Experiment.from_id(experiment.id[:6])
    assert (found.id, found.title) == (experiment.id, "far")
    other.touch()
    found.wait(60)
    assert found.result("meet") == str(tmp_path / "mine")
    assert experiment.state == "SUCCEEDED"


def test_cancelling(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    experiment = run.Experiment("ended", run.LocalExecutor(slots=4), log_level="ERROR")
    experiment.add(run.Partial(tasks.hold), name="one")
    experiment.add(run.Partial(tasks.hold), name="two")
    experiment.run(detach=True)
    assert next(iter(experiment.log_lines("one", follow=True))).text == "holding"
    experiment.cancel("one")
    for _ in experiment.log_lines("one", follow=True):
        pass
    assert (experiment["one"].state, experiment["two"].state) == ("CANCELLED", "RUNNING")
    experiment.cancel(kill=True)
    with pytest.raises(run.JobFailed, match=r"was cancelled: cancelled.* \(1 more job") as caught:
        experiment.wait(60)
    assert (caught.value.state, caught.value.failed) == ("CANCELLED", ("one", "two"))


def test_dryrun_shows_the_requests(home: Path, tasks: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("shown", run.LocalExecutor(env_vars={"API_TOKEN": "hunter2"}))
    experiment.add(run.Script("train.py", args=["--lr", "$LR", "a b"], entrypoint="bash"), name="train")
    experiment.add(run.Partial(tasks.add, 1), dependencies=["train"])
    train, add = experiment.dryrun()
    out = capsys.readouterr().out
    assert "command  bash train.py --lr '$LR' 'a b'" in out
    assert "after    train (ok)" in out
    assert "hunter2" not in out + json.dumps([train, add])
    assert train["argv"] == [["bash", "train.py", "--lr", "$LR", "a b"]]
    assert add["argv"][0][1].endswith("/files/mizzen_runner.py")
    assert train["request"]["members"][0]["ranks"]
    assert not home.exists()
    again = experiment.dryrun(log=False)
    assert list(again) == again[:] == [train, add] and again[-1] == add
    assert capsys.readouterr().out == ""


def test_status_as_text(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("shown", log_level="ERROR")
    experiment.add(echo("why", 2), name="train")
    assert experiment.status() is None
    assert "train  UNSUBMITTED" in capsys.readouterr().out
    experiment.run(raise_on_failure=False)
    experiment.status()
    out = capsys.readouterr().out
    assert out.startswith(f"shown  {experiment.id}  FAILED  1 FAILED\n")
    assert "app-failure, exit code 2: why" in out
    status = experiment.status(return_dict=True)
    assert status is not None
    assert {key: status["train"][key] for key in ("name", "status", "cause", "job_id")} == {
        "name": "train",
        "status": "FAILED",
        "cause": "app-failure",
        "job_id": "train",
    }


class Recorder(run.Plugin):
    def setup(self, task: Any, executor: Any) -> None:
        executor.env_vars["FOR"] = self.experiment_id
        task.name = "FOR"


def test_plugins_change_copies(home: Path, tasks: ModuleType) -> None:
    task = run.Partial(tasks.environment, name="NOTHING")
    executor = run.LocalExecutor()
    experiment = run.Experiment("plugged", executor, log_level="ERROR")
    experiment.add(task, plugins=[Recorder()])
    experiment.add([task, task], plugins=[Recorder()], name="group")
    experiment.run()
    assert experiment.result("environment") == experiment.id
    assert experiment.result("group-0") == experiment.id
    assert task.name == "NOTHING"
    assert executor == run.LocalExecutor()
    experiment.reset()
    experiment.run()
    assert experiment.result("environment") == experiment.id


def test_adding_copies(home: Path, tasks: ModuleType) -> None:
    task, executor = run.Partial(tasks.environment, "A"), run.LocalExecutor(env_vars={"A": "1"})
    experiment = run.Experiment("copies", log_level="ERROR")
    experiment.add(task, executor, name="first")
    task.name, executor.env_vars["A"] = "B", "2"
    experiment.add(task, executor, name="second")
    executor.env_vars["B"] = "3"
    experiment.add(task, executor, name="third")
    experiment.run()
    assert [experiment.result(name) for name in ("first", "second", "third")] == ["1", None, "3"]


def test_direct(home: Path, tasks: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = run.Experiment("here")
    experiment.add(run.Partial(tasks.add, 1), dependencies=["script"])
    experiment.add(run.Script(inline="echo script"), name="script")
    experiment.run(direct=True)
    assert capfd.readouterr().out == "script\nadding 1 2\n"
    assert experiment.result("add") == 3
    assert (experiment.state, experiment["script"].state) == ("SUCCEEDED", "SUCCEEDED")
    assert not home.exists()
    failing = run.Experiment("here")
    failing.add(run.Partial(tasks.fail, "as it is"))
    failing.add(run.Partial(tasks.add, 1), dependencies=["fail"])
    with pytest.raises(ValueError, match="as it is"):
        failing.run(direct=True)
    failing.reset()
    failing.run(direct=True, raise_on_failure=False)
    assert [job.state for job in failing] == ["FAILED", "CANCELLED"]
    grouped = run.Experiment("here")
    grouped.add([run.Partial(tasks.add, 1)], name="g")
    with pytest.raises(run.ExperimentError, match="group `g` can't run with direct=True"):
        grouped.run(direct=True)


def test_text_reaches_jobs_as_it_is(home: Path) -> None:
    words = ["$HOME", "${x}", "$$", "a b", "it's", '"', "*", "${env:HOME}", "\n", "", "ü", "$$${node_rank_var}", "~"]
    code = "import sys, json; print(json.dumps(sys.argv[1:]))"
    experiment = run.Experiment("words", log_level="ERROR")
    experiment.add(run.Script("-c", args=[code, *words], entrypoint="python", env={"V": "${x} $$ $V"}), name="argv")
    experiment.add(run.Script(inline="echo \"$V ${x:-unset}\" '${x}'", env={"V": "${x} $$ $V"}), name="inline")
    experiment.run()
    (line,) = experiment.log_lines("argv")
    assert json.loads(line.text) == [*words[:-2], "0", "~"]
    (line,) = experiment.log_lines("inline")
    assert line.text == "${x} $$ $V unset ${x}"


def test_an_id_of_ones_own(home: Path) -> None:
    experiment = run.Experiment("named", id="mine1", log_level="ERROR")
    experiment.add(echo("x"))
    experiment.run()
    assert run.Experiment.from_id("mine1").state == "SUCCEEDED"
    again = run.Experiment("named", id="mine1", log_level="ERROR")
    again.add(echo("x"))
    with pytest.raises(run.ExperimentError, match="there is an experiment of the id mine1 already"):
        again.run()


def test_another_home(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other-home"
    experiment = run.Experiment("elsewhere", base_dir=other, log_level="ERROR")
    experiment.add(echo("x"))
    experiment.run()
    assert not home.exists()
    assert experiment.dir.startswith(str(other))
    assert run.Experiment.from_title("elsewhere", base_dir=other).id == experiment.id
    with pytest.raises(run.NotFoundError):
        run.Experiment.from_title("elsewhere")


def test_the_home_is_asked_for_each_time(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = run.Experiment("first", log_level="ERROR")
    experiment.add(echo("x"))
    experiment.run()
    monkeypatch.setenv("MIZZEN_HOME", str(tmp_path / "second"))
    assert run.Experiment.catalog() == []
    # An experiment stays where it was written down.
    assert experiment.state == "SUCCEEDED"
    monkeypatch.setenv("MIZZEN_HOME", str(home))
    assert run.Experiment.catalog() == ["first"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"title": "my title"}, "`my title` can't be a title(.|\n)*hint: `my-title` can"),
        ({"title": "a/b"}, "hint: `a-b` can"),
        ({"title": ""}, "can't be a title"),
        ({"title": "latest"}, "always means the newest"),
        ({"title": "x" * 101}, "101 characters"),
        ({"title": "x", "id": "No"}, "no experiment's id"),
        ({"title": "x", "log_level": "LOUD"}, "no log level 'LOUD'; there are: DEBUG"),
        ({"title": "x", "executor": "local"}, "'local' is no executor"),
        ({"title": "x", "threadpool_workers": 0}, "threadpool_workers"),
    ],
)
def test_arguments_of_an_experiment(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(run.ConfigError, match=message):
        run.Experiment(**arguments)


def test_arguments_of_add(tasks: ModuleType) -> None:
    experiment = run.Experiment("x")
    for wrong, message in (
        ({"task": 3}, "3 is no task"),
        ({"task": []}, "the list is empty"),
        ({"task": echo("x"), "name": "a b"}, "hint: `a-b` can"),
        ({"task": echo("x"), "executor": [run.LocalExecutor()]}, "a single task has a single executor"),
        ({"task": [echo("x")] * 3, "executor": [run.LocalExecutor()] * 2}, "3 tasks and 2 executors"),
        ({"task": echo("x"), "dependencies": [3]}, r"dependencies\[0\]: 3 is no dependency"),
        ({"task": echo("x"), "dependencies": [("a", "later")]}, "`later` is no condition; there are: ok, any, failed, start"),
        ({"task": echo("x"), "plugins": [3]}, "3 is no plugin"),
    ):
        with pytest.raises(run.ConfigError, match=message):
            experiment.add(**wrong)
    assert list(experiment) == []


def test_dependencies_are_checked_when_planned(home: Path) -> None:
    experiment = run.Experiment("circles")
    experiment.add(echo("a"), name="a", dependencies=["c"])
    experiment.add(echo("b"), name="b", dependencies=["a"])
    experiment.add(echo("c"), name="c", dependencies=["b"])
    for act in (experiment.run, experiment.dryrun, lambda: experiment.run(direct=True)):
        with pytest.raises(run.ConfigError, match="circle: a → c → b → a"):
            act()
    experiment = run.Experiment("circles")
    experiment.add(echo("a"), name="train")
    experiment.add(echo("a"), name="report", dependencies=["trian"])
    with pytest.raises(run.ConfigError, match="`report` comes after `trian`, which is not in the experiment; did you mean `train`"):
        experiment.run()
    experiment = run.Experiment("circles")
    experiment.add(echo("a"), name="a", dependencies=["a"])
    with pytest.raises(run.ConfigError, match="comes after itself"):
        experiment.run()
    experiment = run.Experiment("circles")
    experiment.add(echo("a"), name="a", dependencies=["b"])
    experiment.add(echo("b"), name="b")
    with pytest.raises(run.ConfigError, match="circle"):
        experiment.run(sequential=True)
    assert not home.exists()


def test_values_that_cannot_be_written_down(home: Path, tasks: ModuleType) -> None:
    experiment = run.Experiment("values")
    experiment.add(run.Partial(tasks.add, a={"deep": [1, object()]}))
    with pytest.raises(run.SerializationError, match=r"the job `add` can't be written down: (.|\n)*deep") as caught:
        experiment.run()
    assert "deep" in caught.value.path
    assert not home.exists()


def test_a_result_that_cannot_be_written_down(home: Path, tasks: ModuleType) -> None:
    experiment = run.Experiment("values", log_level="ERROR")
    experiment.add(run.Partial(tasks.unwritable))
    experiment.add(echo("x"), name="script")
    experiment.run()
    with pytest.raises(run.ResultError, match="object"):
        experiment.result("unwritable")
    with pytest.raises(run.ResultError, match="is no Python callable"):
        experiment.result("script")
    with pytest.raises(run.NotFoundError, match="no job `scirpt`; did you mean `script`"):
        experiment.result("scirpt")


def test_a_wrong_setting_shows_its_place(home: Path) -> None:
    experiment = run.Experiment("wrong", run.LocalExecutor(timeout="soon"))
    experiment.add(echo("x"))
    with pytest.raises(run.ConfigError, match='"timeout": "soon"'):
        experiment.run()
    assert not (home / "experiments").exists()


def test_the_users_executors_change_nothing(home: Path) -> None:
    home.mkdir()
    (home / "executors.toml").write_text('[executors.local]\nkind = "local"\nenv_vars = { A = "user" }\ntimeout = "1s"\n')
    experiment = run.Experiment("layers", run.LocalExecutor(env_vars={"B": "1"}), log_level="ERROR")
    experiment.add(run.Script(inline="echo ${A:-unset} $B"), name="x")
    (job,) = experiment.dryrun(log=False)
    assert job["timeout"] is None
    experiment.run()
    assert [line.text for line in experiment.log_lines("x")] == ["unset 1"]


def test_to_config(home: Path) -> None:
    experiment = run.Experiment("configured", run.LocalExecutor(slots=2), log_level="ERROR")
    again = run.build(experiment.to_config())
    assert (again.title, again.id, again.executor) == (experiment.title, experiment.id, run.LocalExecutor(slots=2))
