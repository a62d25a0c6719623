"""Factories: where they may be named, what is called when, and what never is."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Optional, Protocol, Union

import pytest

import mizzen as run
from mizzen.cli import (
    ArgumentValueError,
    TypeParsingError,
    UndefinedVariableError,
    factory,
    list_factories,
    parse_factory,
    parse_partial,
    resolve_factory,
)

CALLS: list[str] = []


class Model:
    """No dataclass: what a factory of it makes is of no use before the job."""

    def __init__(self, hidden: int = 1, sizes: list[int] | None = None, inner: Optional[Model] = None) -> None:
        CALLS.append("Model")
        self.hidden = hidden
        self.sizes = sizes
        self.inner = inner


class BigModel(Model):
    pass


@dataclass
class Data:
    path: str = ""
    shards: int = 1


class Runs(Protocol):
    def go(self) -> None: ...


class Dtype:
    """As torch's: named constants of a module."""

    def __init__(self, name: str) -> None:
        self.name = name


bfloat16 = Dtype("bfloat16")


@factory
def small(hidden: int = 8, sizes: list[int] = []) -> run.Config[Model]:
    CALLS.append("small")
    return run.Config(Model, hidden=hidden, sizes=sizes)


@factory
def plain(hidden: int = 3) -> Model:
    CALLS.append("plain")
    return Model(hidden)


@factory(name="shards")
def sharded(shards: int = 4) -> Data:
    CALLS.append("sharded")
    return Data("s", shards)


@factory(is_target_default=True)
def default_data() -> run.Config[Data]:
    return run.Config(Data, path="default")


@factory
def two_models() -> list[run.Config[Model]]:
    return [run.Config(Model, hidden=1), run.Config(Model, hidden=2)]


class Odd: ...


@factory(target=Odd)
def broken() -> run.Config[Any]:
    raise RuntimeError("no disk")


def take_odd(odd: Odd) -> None: ...


def annotated(hidden: int = 5) -> run.Config[Model]:
    return run.Config(Model, hidden=hidden)


def unannotated():  # type: ignore[no-untyped-def]
    CALLS.append("unannotated")
    return "surprise"


def returns_text() -> str:
    CALLS.append("returns_text")
    return "surprise"


def train(
    model: Model,
    data: Data,
    mode: str = "fast",
    anything: Any = None,
    models: list[Model] = [],
    either: Union[str, Model] = "x",
    kind: type[Model] = Model,
    loss: Optional[Callable[..., float]] = None,
    dtype: Optional[Dtype] = None,
    table: dict[str, Model] = {},
    config: Optional[run.Config[Model]] = None,
    task: Optional[run.Partial[Any]] = None,
) -> None: ...


@factory(target=train, target_arg="mode")
def never_for_text() -> str:
    CALLS.append("never_for_text")
    return "surprise"


@factory(target=train)
def recipe(hidden: int = 1) -> run.Partial[Any]:
    return run.Partial(train, model=run.Config(Model, hidden=hidden))


@pytest.fixture(autouse=True)
def forget_calls() -> None:
    CALLS.clear()


def value(text: str, name: str) -> Any:
    return parse_partial(train, text).__arguments__[name]


def test_a_name_and_a_call() -> None:
    assert value("model=small", "model") == run.Config(Model, hidden=8, sizes=[])
    assert value("model=small(hidden=3, sizes=[1, 2])", "model") == run.Config(Model, hidden=3, sizes=[1, 2])
    assert value("model=small(4)", "model").hidden == 4
    assert "Model" not in CALLS


def test_brackets_and_commas_nest() -> None:
    made = value("model=Model(hidden=2, inner=Model(sizes=[1, 2, 3], inner=small(sizes=[4, 5])))", "model")
    assert made.inner.inner.sizes == [4, 5]


def test_classes_subclasses_and_annotated_functions_by_name() -> None:
    assert value("model=Model(hidden=2)", "model") == run.Config(Model, hidden=2)
    assert value("model=BigModel", "model") == run.Config(BigModel)
    assert value(f"model={__name__}.BigModel(3)", "model") == run.Config(BigModel, hidden=3)
    assert value("model=annotated(hidden=2)", "model") == run.Config(Model, hidden=2)
    assert value("model={hidden: 2}", "model") == run.Config(Model, hidden=2)
    assert CALLS == []


def test_a_factory_of_objects_is_left_to_the_job() -> None:
    assert value("model=plain(hidden=4)", "model") == run.Config(plain, hidden=4)
    assert CALLS == []


def test_a_factory_of_dataclasses_can_be_reached_into() -> None:
    partial = parse_partial(train, "data=shards(shards=2)", "data.shards+=1")
    assert run.build(partial.data) == Data("s", 3)


def test_defaults_of_a_type_fill_what_is_required_and_not_given() -> None:
    assert parse_partial(train).data == run.Config(Data, path="default")
    assert parse_partial(train, "data.shards=3").data == run.Config(Data, path="default", shards=3)
    assert "model" not in parse_partial(train).__arguments__


def test_lists_of_factories_and_factories_of_lists() -> None:
    assert [model.hidden for model in value("models=[small, small(hidden=2), Model(hidden=3)]", "models")] == [8, 2, 3]
    assert [model.hidden for model in value("models=two_models", "models")] == [1, 2]
    assert value("table={a: small(hidden=2)}", "table")["a"].hidden == 2


def test_text_never_calls() -> None:
    for text in ("mode=small", "mode=unannotated", "mode=os.getcwd", "mode=never_for_text", "anything=small", "either=small"):
        name, _, word = text.partition("=")
        assert value(text, name) == word
    assert CALLS == []
    assert value("either=Model(hidden=2)", "either") == run.Config(Model, hidden=2)


@pytest.mark.parametrize("name", ["unannotated", f"{__name__}.unannotated"])
def test_functions_that_dont_say_what_they_make_are_not_called(name: str) -> None:
    with pytest.raises(
        TypeParsingError, match="expected Model, but nothing says what `.*unannotated` makes, so it is not called"
    ):
        parse_partial(train, f"model={name}")
    with pytest.raises(TypeParsingError):
        parse_partial(train, "model=returns_text")
    with pytest.raises(TypeParsingError, match="nothing says what `os.getcwd` makes"):
        parse_partial(train, "model=os.getcwd()")
    assert CALLS == []


def test_unknown_names_say_the_nearest() -> None:
    with pytest.raises(TypeParsingError, match="did you mean `small`"):
        parse_partial(train, "model=smal")
    with pytest.raises(UndefinedVariableError, match="did you mean `hidden`"):
        parse_partial(train, "model=small(hiden=3)")
    with pytest.raises(TypeParsingError, match=r"`model.hidden`: expected int"):
        parse_partial(train, "model=small(hidden=x)")


def test_a_factory_that_fails_says_so() -> None:
    with pytest.raises(ArgumentValueError, match="`odd`: the factory `broken` failed: RuntimeError: no disk") as raised:
        parse_partial(take_odd, "odd=broken")
    assert isinstance(raised.value.__cause__, RuntimeError)


def test_classes_callables_and_constants_by_name() -> None:
    assert value("kind=BigModel", "kind") is BigModel
    assert value("loss=math.fsum", "loss") is __import__("math").fsum
    assert value("loss=returns_text", "loss") is returns_text
    assert value("loss=none", "loss") is None
    assert value("loss=builtins.pow(exp=2)", "loss") == run.Partial(pow, exp=2)
    assert value("dtype=bfloat16", "dtype") is bfloat16
    assert value(f"dtype={__name__}.bfloat16", "dtype") is bfloat16
    assert CALLS == []


def test_configurations_as_annotations() -> None:
    assert value("config=small", "config") == run.Config(Model, hidden=8, sizes=[])
    assert value("config=Model(hidden=1)", "config") == run.Config(Model, hidden=1)
    made = value("task=train(mode=slow)", "task")
    assert isinstance(made, run.Partial) and made.mode == "slow"


def test_a_protocol_is_fulfilled_by_whatever_is_named_in_full() -> None:
    def take(runner: Runs) -> None: ...

    assert parse_partial(take, f"runner={__name__}.Model").runner == run.Config(Model)


def test_configurations_in_the_signature_are_built() -> None:
    def take(model: Data = run.Config(Data, path="signature"), models: list[Data] = [run.Config(Data)]) -> Any:  # type: ignore[assignment,list-item]
        return model, models

    assert run.build(parse_partial(take))() == (Data("signature"), [Data()])
    assert run.build(parse_partial(take, "model.shards=3"))() == (Data("signature", 3), [Data()])


def test_registered_factories_can_be_listed_and_resolved() -> None:
    assert small in list_factories(Model) and plain in list_factories(Model)
    assert list_factories(train) == [recipe]
    assert list_factories("no such namespace") == []
    assert resolve_factory(Model, "small") is small
    assert resolve_factory(train, "recipe") is recipe
    with pytest.raises(UndefinedVariableError, match="did you mean `small`"):
        resolve_factory(Model, "smal")
    assert parse_factory(train, "model", Model, "small(hidden=2)") == run.Config(Model, hidden=2, sizes=[])


def test_a_factory_defined_again_replaces_itself() -> None:
    class Cell: ...

    for number in (1, 2):

        @factory
        def cell() -> run.Config[Cell]:
            return run.Config(Cell)

    assert len([made for made in list_factories() if made.__qualname__ == cell.__qualname__]) == 1


def test_a_factory_needs_a_type() -> None:
    with pytest.raises(ArgumentValueError, match="nothing says what the factory `unannotated` makes"):
        factory(unannotated)


def test_modules_are_imported_only_where_a_name_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Finder:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            asked.append(name)

    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    for text in ("mode=nosuch.module.f", "anything=nosuch.module", "table={a: Model}"):
        parse_partial(train, text)
    assert not [name for name in asked if name.startswith("nosuch")]
    with pytest.raises(TypeParsingError):
        parse_partial(train, "model=nosuch.module.f")
    assert "nosuch" in {name.partition(".")[0] for name in asked}


def test_a_module_that_fails_to_import_says_so(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ArgumentValueError, match="importing `broken_module` failed: No module named 'no_such_dependency'"):
        parse_partial(train, "model=broken_module.Model")
