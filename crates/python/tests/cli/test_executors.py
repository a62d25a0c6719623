"""`executor=`, `plugins=`, and experiments."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mizzen as run
from mizzen.cli import ArgumentValueError, CLIException, RunContext, UndefinedVariableError, entrypoint, factory
from mizzen.cli.arguments import split
from mizzen.cli.command import run_command
from mizzen.cli.entrypoints import Entrypoint, entrypoint_of


@dataclass(kw_only=True)
class Noise(run.Plugin):
    level: float = 0.5

    def setup(self, task: Any, executor: Any) -> None: ...


@factory
def big(ntasks_per_node: int = 4) -> run.Config[run.LocalExecutor]:
    return run.Config(run.LocalExecutor, ntasks_per_node=ntasks_per_node)


def visible() -> run.LocalExecutor:
    return run.LocalExecutor(ntasks_per_node=3)


@factory
def loud(level: float = 9.0) -> run.Config[Noise]:
    return run.Config(Noise, level=level)


@factory
def both() -> list[run.Plugin]:
    return [Noise(level=1.0), Noise(level=2.0)]


def train(steps: int = 1) -> None: ...


def context(*words: str, entry: Entrypoint | None = None) -> RunContext:
    line = split(words)
    chosen = entry or Entrypoint(train)
    made = chosen.run_ctx_cls(**line.options)  # type: ignore[arg-type]
    made.configure(chosen, line.tokens)
    made.executor, made.plugins = made.build_run()
    return made


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIZZEN_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("word", "tasks"),
    [
        ("executor=big", 4),
        ("executor=big(ntasks_per_node=2)", 2),
        ("run.executor=big(ntasks_per_node=2)", 2),
        ("executor=visible", 3),
        ("executor=LocalExecutor", 1),
        ("executor=LocalExecutor(ntasks_per_node=5, env_vars={A: b})", 5),
        ("executor=local", 1),
        ("executor=from_file", 6),
        ("executor=from_file(ntasks_per_node=7)", 7),
        ("executor=from_function(tasks=8)", 8),
    ],
)
def test_executors_by_name(home: Path, word: str, tasks: int) -> None:
    (home / "executors.toml").write_text('[executors.from_file]\nkind = "local"\nntasks_per_node = 6\n')
    (home / "executors.py").write_text(
        "import mizzen as run\n\ndef from_function(tasks: int = 1) -> run.LocalExecutor:\n"
        "    return run.LocalExecutor(ntasks_per_node=tasks)\n"
    )
    found = context(word).executor
    assert isinstance(found, run.LocalExecutor)
    assert found.ntasks_per_node == tasks


def test_settings_of_an_executor() -> None:
    for prefix in ("", "run."):
        found = context(
            f"{prefix}executor=big", f"{prefix}executor.ntasks_per_node*=2", f"{prefix}executor.env_vars.A=b"
        ).executor
        assert (found.ntasks_per_node, found.env_vars) == (8, {"A": "b"})


def test_a_default_executor_is_not_changed() -> None:
    default = run.LocalExecutor(env_vars={"A": "a"})
    entry = Entrypoint(train, default_executor=default, default_plugins=Noise())
    found = context("executor.env_vars.B=b", "plugins.level=3", entry=entry)
    assert found.executor.env_vars == {"A": "a", "B": "b"} and found.plugins[0].level == 3
    assert default.env_vars == {"A": "a"} and entry.default_plugins.level == 0.5  # type: ignore[attr-defined]
    assert context(entry=Entrypoint(train, default_executor="big")).executor.ntasks_per_node == 4


@pytest.mark.parametrize(
    ("words", "kind", "message"),
    [
        (["executor=bgi"], UndefinedVariableError, "there is no executor `bgi`"),
        (["executor=bigg"], UndefinedVariableError, "hint: did you mean `big`?"),
        (["executor=big(nodes=2)"], UndefinedVariableError, "`big` has no argument `nodes`"),
        (["executor=big(ntasks_per_node=x)"], CLIException, "expected int"),
        (["executor.nodes=2"], ArgumentValueError, "no executor was named yet\nhint: put `executor=NAME` before it"),
        (["executor=big", "executor.ntask=2"], UndefinedVariableError, "did you mean `ntasks_per_node`?"),
        (["executor=[big]"], ArgumentValueError, "an executor is named: `executor=NAME`"),
        (["executor+=big"], ArgumentValueError, "an executor is set by `=`"),
        (["plugins.level=2"], ArgumentValueError, "there are 0 plugins"),
        (["plugins=lod"], CLIException, "did you mean `loud`?"),
        (["plugins=loud", "plugins[1].level=2"], UndefinedVariableError, "has 1 elements"),
        (["run.executors=big"], UndefinedVariableError, "did you mean `run.executor`?"),
        (["run.detach=maybe"], CLIException, "`run.detach`: expected bool"),
    ],
)
def test_errors(words: list[str], kind: type[CLIException], message: str) -> None:
    with pytest.raises(kind) as raised:
        context(*words)
    assert message in str(raised.value)
    assert raised.value.arg == words[-1]


def test_plugins() -> None:
    def levels(*words: str) -> list[float]:
        return [plugin.level for plugin in context(*words).plugins]

    assert levels("plugins=loud") == [9.0]
    assert levels("run.plugins=loud(level=2)") == [2.0]
    assert levels("plugins=[loud, Noise(level=1), loud(level=3)]") == [9.0, 1.0, 3.0]
    assert levels("plugins=both") == [1.0, 2.0]
    assert levels("plugins=loud", "plugins+=[Noise]") == [9.0, 0.5]
    assert levels("plugins=[loud, Noise]", "plugins[1].level+=1", "run.plugins[0].level=4") == [4.0, 1.5]
    assert levels("plugins=Noise", "plugins.level=7") == [7.0]
    assert levels("plugins=loud", "plugins=Noise") == [0.5]


def test_a_functions_own_parameters_come_first() -> None:
    def own(executor: str = "", plugins: int = 0, run: int = 0) -> None: ...

    line = split(["executor=x", "plugins=3", "run=4"])
    made = RunContext()
    config = made.configure(Entrypoint(own), line.tokens)
    assert (config.executor, config.plugins, config.run, made.executor) == ("x", 3, 4, None)


def test_without_an_executor_the_words_mean_nothing() -> None:
    entry = Entrypoint(train, enable_executor=False)
    with pytest.raises(ArgumentValueError, match="runs without an executor"):
        context("run.executor=big", entry=entry)
    with pytest.raises(UndefinedVariableError, match="`train` has no argument `executor`"):
        context("executor=big", entry=entry)


@dataclass
class Model:
    hidden: int = 1


SEEN: list[Any] = []


@entrypoint(type="experiment", skip_confirmation=True)
def compare(
    ctx: RunContext,
    number: int = 1,
    models: list[run.Config[Model]] = [],
    model: Model = Model(),
    task: run.Partial[Any] | None = None,
) -> None:
    SEEN[:] = [ctx, number, models, model, task]
    ctx.launch(FakeExperiment(), sequential=True)


class FakeExperiment:
    def run(self, **given: Any) -> None:
        SEEN.append(("run", given))

    def dryrun(self) -> None:
        SEEN.append(("dryrun", {}))


def test_an_experiment_gets_its_context_and_launches() -> None:
    words = ["number=3", "models=[Model(hidden=2)]", "model.hidden=5", "task=train(steps=4)", "executor=big", "--detach"]
    assert run_command(entrypoint_of(compare), words) == 0
    ctx, number, models, model, task, launched = SEEN
    assert (number, models, model) == (3, [run.Config(Model, hidden=2)], Model(5))
    assert isinstance(task, run.Partial) and task.steps == 4
    assert isinstance(ctx, RunContext) and ctx.executor.ntasks_per_node == 4
    assert launched == ("run", {"sequential": True, "detach": True, "tail_logs": False, "direct": False})
    assert run_command(entrypoint_of(compare), ["--dryrun"]) == 0
    assert SEEN[-1] == ("dryrun", {})


def test_the_context_is_not_the_users_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(entrypoint_of(compare), ["ctx=3"]) == 2
    assert "`ctx` is given by Mizzen itself" in capsys.readouterr().err
    assert run_command(entrypoint_of(compare), ["7"]) == 0
    assert SEEN[1] == 7


def place(executor: run.Executor | None = None, where: run.Executor | str = "here") -> None: ...


def test_executors_as_arguments(home: Path) -> None:
    (home / "executors.toml").write_text('[executors.from_file]\nkind = "local"\nntasks_per_node = 6\n')
    made = run.cli.parse_partial(place, "executor=from_file", "where=anywhere")
    assert made.executor.ntasks_per_node == 6 and made.where == "anywhere"
    assert run.cli.parse_partial(place, "executor=big(2)").executor == run.Config(run.LocalExecutor, ntasks_per_node=2)
    with pytest.raises(CLIException, match="there is no executor `from_fiel`"):
        run.cli.parse_partial(place, "executor=from_fiel")
