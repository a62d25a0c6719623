"""Values from files, and configurations into files and back."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import pytest

import mizzen as run
from mizzen.cli import ArgumentValueError, CLIException, entrypoint, factory, parse_partial
from mizzen.cli.arguments import split
from mizzen.cli.command import run_command
from mizzen.cli.entrypoints import Entrypoint, entrypoint_of


class Color(enum.Enum):
    RED = 1


@dataclass
class Optimizer:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class Model:
    hidden: int = 8
    optimizer: Optional[Optimizer] = None
    sizes: set[int] = field(default_factory=set)


@factory
def tiny(hidden: int = 2) -> run.Config[Model]:
    return run.Config(Model, hidden=hidden, optimizer=run.Config(Optimizer))


@entrypoint
def train(
    model: Model = Model(),
    steps: int = 1,
    out: Path = Path("out"),
    color: Color = Color.RED,
    note: str = "",
    weights: dict[str, float] = {},
    names: tuple[str, ...] = (),
    numbers: Optional[list[float]] = None,
) -> None: ...


@factory(target=train)
def recipe(steps: int = 7) -> run.Partial[Any]:
    return run.Partial(train, steps=steps, model=run.Config(Model, hidden=3, optimizer=run.Config(Optimizer)))


ENTRY: Entrypoint = entrypoint_of(train)


def configured(*words: str) -> Any:
    line = split(words)
    return ENTRY.run_ctx_cls(**line.options).configure(ENTRY, line.tokens)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_value_from_a_file_and_its_section(folder: Path) -> None:
    (folder / "all.yaml").write_text("model:\n  hidden: 5\n  optimizer: {lr: 1}\nsteps: 9\n")
    (folder / "model.toml").write_text("hidden = 4\nsizes = [1, 1, 2]\n[optimizer]\nbetas = [0.1, 0.2]\n")
    (folder / "list.json").write_text("[1, 2.5]")
    config = parse_partial(train, "model=@all.yaml:model", "steps=@all.yaml:steps", "model.hidden*=2")
    assert run.build(config.model) == Model(10, Optimizer(1.0))
    assert config.steps == 9
    assert run.build(parse_partial(train, "model=@model.toml").model) == Model(4, Optimizer(0.1, (0.1, 0.2)), {1, 2})
    assert parse_partial(train, "numbers=@list.json").numbers == [1.0, 2.5]


def test_text_that_begins_with_an_at_sign_stays_text() -> None:
    config = parse_partial(train, "note=@someone", "out=@file.yaml", "weights={a: 1}")
    assert (config.note, config.out) == ("@someone", Path("@file.yaml"))
    assert parse_partial(train, "note=@file.yaml").note == "@file.yaml"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model=@none.yaml", "can't be read: No such file"),
        ("model=@bad.yaml:model", "has no section `model`\nhint: did you mean `modle`?"),
        ("model=@bad.yaml:modle", "`Model` has no argument `hiden`\nhint: did you mean `hidden`?"),
        ("steps=@bad.yaml:text", "expected int"),
        ("steps=@bad.yaml:modle", "the file has a table there"),
        ("model=@broken.json", "broken.json:1:"),
    ],
)
def test_errors_in_files(folder: Path, text: str, message: str) -> None:
    (folder / "bad.yaml").write_text("modle: {hiden: 3}\ntext: x\n")
    (folder / "broken.json").write_text("{")
    with pytest.raises(CLIException) as raised:
        parse_partial(train, text)
    assert message in str(raised.value)
    assert raised.value.arg == text


def test_factories_and_operators_in_files(folder: Path) -> None:
    (folder / "a.yaml").write_text(
        "model:\n  _factory_: tiny(hidden=4)\n  hidden*=: 3\n  optimizer:\n    lr/=: 2\nsteps+=: 4\nnames+=: [a, b]\n"
    )
    config = configured("--yaml", "a.yaml", "steps*=2")
    assert run.build(config.model) == Model(12, Optimizer(0.05))
    assert (config.steps, config.names) == (10, ("a", "b"))


def test_a_file_changes_what_the_factory_gives_and_overrides_come_last(folder: Path) -> None:
    (folder / "a.yaml").write_text("model: {optimizer: {lr: 2}}\n")
    config = configured("steps+=1", "--factory", "recipe(steps=2)", "model.hidden=9", "--yaml", "a.yaml")
    assert run.build(config.model) == Model(9, Optimizer(2.0))
    assert config.steps == 3


def test_the_run_block_and_a_factory_at_the_root(folder: Path) -> None:
    (folder / "a.yaml").write_text("_factory_: recipe\nsteps: 3\nrun:\n  name: night\n  tail_logs: false\n  detach: true\n")
    context = ENTRY.run_ctx_cls(yaml="a.yaml")
    config = context.configure(ENTRY, [])
    assert (context.name, context.tail_logs, context.detach, config.steps, config.model.hidden) == ("night", False, True, 3, 3)


@pytest.mark.parametrize("kind", ["yaml", "toml", "json"])
def test_what_is_exported_is_read_back(folder: Path, kind: str) -> None:
    words = [
        "--factory",
        "recipe",
        "model.optimizer.betas=(0.5, 0.6)",
        "out=a/b",
        "names=(x, y)",
        "weights={a: 1}",
        "model.sizes={3}",
    ]
    assert run_command(ENTRY, [*words, f"--to-{kind}", f"all.{kind}"]) == 0
    before = configured(*words)
    for again in (configured("--yaml", f"all.{kind}"), configured("--factory", f"@all.{kind}")):
        assert run.build(again).keywords == run.build(before).keywords
    changed = configured("--factory", f"@all.{kind}", "model.hidden=1")
    assert run.build(changed.model) == Model(1, Optimizer(0.1, (0.5, 0.6)), {3})


def test_a_section_alone_is_exported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(ENTRY, ["model=tiny(hidden=6)", "--to-yaml", "m.yaml:model", "--to-json", "-:model.optimizer"]) == 0
    assert configured("model=@m.yaml").model.hidden == 6
    said = capsys.readouterr()
    assert '"_target_"' in said.out and "hidden" not in said.out
    assert said.err == "mizzen: wrote m.yaml\n"


def test_a_file_of_another_function_is_refused(folder: Path) -> None:
    (folder / "a.yaml").write_text("_target_: other.test\nsteps: 3\n")
    with pytest.raises(ArgumentValueError, match="a.yaml configures `other.test`, not `train`"):
        configured("--yaml", "a.yaml")


def test_dollars_are_replaced_only_when_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEPS", "12")
    (folder / "a.yaml").write_text("steps: ${env:STEPS}\n")
    words = ("steps=${env:STEPS}", "note=${steps} $$ ${model.hidden} ${env:NONE,x}")
    config = configured("--interpolate", *words)
    assert (config.steps, config.note) == (12, "12 $ 8 x")
    assert configured("--interpolate", "--yaml", "a.yaml").steps == 12
    assert configured("--interpolate", "steps=@a.yaml:steps").steps == 12
    with pytest.raises(CLIException, match="is no number"):
        configured("steps=@a.yaml:steps")
    assert configured("note=${steps}").note == "${steps}"
    for text, message in (
        ("note=${env:NO_SUCH}", "NO_SUCH"),
        ("note=${stepps}", "did you mean `steps`"),
        ("note=${a b}", "names nothing"),
    ):
        with pytest.raises(CLIException, match=message) as raised:
            configured("--interpolate", text)
        assert raised.value.arg == text
