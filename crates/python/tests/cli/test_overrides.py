"""Overrides on configurations, as Python would do them."""

from __future__ import annotations

import collections
import datetime
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional, TypedDict

import pytest

import mizzen as run
from mizzen.cli import (
    ArgumentValueError,
    CLIException,
    OperationError,
    TypeParsingError,
    UndefinedVariableError,
    parse_cli_args,
    parse_config,
    parse_partial,
)
from mizzen.errors import ArgumentError


@dataclass
class Optimizer:
    lr: float = 0.001
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass
class Model:
    hidden: int = 32
    layers: list[int] = field(default_factory=lambda: [1, 2])
    optimizer: Optional[Optimizer] = None
    tags: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Frozen:
    size: int = 1


class Limits(TypedDict):
    low: int
    high: int


def train(
    model: Model,
    steps: int = 10,
    lr: float = 0.1,
    tag: str = "x",
    names: list[str] = ["a"],
    runtime: int = 1,
    limits: dict[str, float] = {"low": 0.5},
    out: Path = Path("runs"),
    seen: set[int] = {1, 2},
    pair: tuple[int, ...] = (1, 2),
    wait: datetime.timedelta = datetime.timedelta(seconds=10),
    debug: bool = False,
    models: Optional[list[Model]] = None,
    fixed: Frozen = Frozen(),
) -> None: ...


def loose(flag=False, name="x", number=1, anything=None): ...  # type: ignore[no-untyped-def]


def arguments(*args: str, fn: Any = train) -> dict[str, Any]:
    return dict(parse_partial(fn, *args).__arguments__)


def built(*args: str) -> dict[str, Any]:
    partial = parse_partial(train, *args)
    return {name: run.build(value) for name, value in partial.__arguments__.items()}


def test_the_users_order_is_kept() -> None:
    assert arguments("steps=1", "steps*=10", "steps=2")["steps"] == 2
    assert arguments("steps=1", "steps+=2", "steps+=3")["steps"] == 6
    assert built("model.hidden=5", "model=Model(hidden=7)")["model"].hidden == 7
    assert built("model=Model(hidden=7)", "model.hidden+=1")["model"].hidden == 8


def test_dollars_are_dollars() -> None:
    assert arguments("tag=price ${x} ${oc.env:HOME}")["tag"] == "price ${x} ${oc.env:HOME}"


def test_a_parameter_may_begin_with_run() -> None:
    assert arguments("runtime=3")["runtime"] == 3


def test_an_empty_text_is_a_value() -> None:
    assert arguments("tag=")["tag"] == ""


def test_defaults_are_changed_without_changing_the_function() -> None:
    assert arguments("names+=[b]")["names"] == ["a", "b"]
    assert arguments("names[0]=c")["names"] == ["c"]
    assert arguments("limits.high=2", "limits.low*=2")["limits"] == {"low": 1.0, "high": 2.0}
    assert arguments("seen|={3}", "seen-={1}")["seen"] == {2, 3}
    assert train.__defaults__ is not None
    assert train.__defaults__[3:4] == (["a"],)
    assert train.__defaults__[5] == {"low": 0.5}
    assert train.__defaults__[7] == {1, 2}


def test_no_two_arguments_share_a_value() -> None:
    def two(one: list[int], other: list[int]) -> None: ...

    assert arguments("one=[1]", "other=[1]", "one+=[2]", fn=two) == {"one": [1, 2], "other": [1]}
    first, second = parse_partial(train, "names+=[b]"), parse_partial(train, "names+=[c]")
    assert first.names == ["a", "b"] and second.names == ["a", "c"]


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("lr/=4", "lr", 0.025),
        ("lr*=2", "lr", 0.2),
        ("lr-=1", "lr", -0.9),
        ("lr+=1", "lr", 1.1),
        ("steps-=3", "steps", 7),
        ("steps|=5", "steps", 15),
        ("steps&=6", "steps", 2),
        ("tag+=yz", "tag", "xyz"),
        ("tag*=3", "tag", "xxx"),
        ("names*=2", "names", ["a", "a"]),
        ("pair+=(3,)", "pair", (1, 2, 3)),
        ("seen&={2, 3}", "seen", {2}),
        ("limits|={low: 2, other: 1}", "limits", {"low": 2.0, "other": 1.0}),
        ("out/=a/b", "out", Path("runs/a/b")),
        ("wait+=1m", "wait", datetime.timedelta(seconds=70)),
        ("wait*=1.5", "wait", datetime.timedelta(seconds=15)),
        ("debug|=true", "debug", True),
    ],
)
def test_operators_are_pythons(text: str, name: str, value: object) -> None:
    found = arguments(text)[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps/=2", "`steps/=2` makes 5.0 (float) of `steps`, which is to be int\nhint: `steps=5`"),
        ("steps*=1.5", "makes 15.0 (float) of `steps`"),
        ("steps/=0", "division by zero"),
        ("tag-=x", "`tag` is 'x' (str): unsupported operand"),
        ("names+=b", "hint: names=[b]"),
        ("names|=[b]", "unsupported operand"),
        ("model+=1", "has no value yet that `+=` could change"),
        ("fixed+=1", "is a configuration, which has no `+=`\nhint: name one of its arguments: `fixed.NAME+=1`"),
    ],
)
def test_operators_that_dont_fit(text: str, message: str) -> None:
    with pytest.raises(CLIException) as raised:
        parse_partial(train, text)
    assert message in str(raised.value)
    assert raised.value.arg == text


def test_paths_lead_into_configurations_lists_and_dictionaries() -> None:
    values = built(
        "model.optimizer.lr=1e-2",
        "model.layers[1]=7",
        "model.tags.a=1",
        'model.tags["b c"]=2',
        "models=[Model(hidden=1), {hidden: 2}]",
        "models[1].layers+=[3]",
    )
    assert values["model"] == Model(layers=[1, 7], optimizer=Optimizer(lr=0.01), tags={"a": 1, "b c": 2})
    assert values["models"] == [Model(hidden=1), Model(hidden=2, layers=[1, 2, 3])]


def test_a_part_of_a_dataclass_default_can_be_set() -> None:
    assert built("fixed.size=3")["fixed"] == Frozen(3)
    assert Frozen() == train.__defaults__[-1]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("stepps=3", UndefinedVariableError, "`train` has no argument `stepps`\nhint: did you mean `steps`?"),
        ("model.hiden=3", UndefinedVariableError, "`Model` has no argument `hiden`\nhint: did you mean `hidden`?"),
        ("model.optimizer.lrr=3", UndefinedVariableError, "did you mean `lr`?"),
        ("zzz=3", UndefinedVariableError, "it has `model`, `steps`"),
        ("steps.a=3", UndefinedVariableError, "`steps` is 10, and has no `a`"),
        ("names[3]=x", UndefinedVariableError, "`names` has 1 elements, and no `[3]`\nhint: `names+=[…]` adds one"),
        ("names.x=1", UndefinedVariableError, "hint: `names[0].x`"),
        ("pair[0]=5", OperationError, "`pair` is a tuple, whose elements can't be set\nhint: give it as a whole: `pair=(…)`"),
        ("steps=ten", TypeParsingError, "`steps`: expected int, but `ten` is no number"),
        ("model.layers[0]=x", TypeParsingError, "`model.layers[0]`: expected int"),
        ("model=Model(hidden=x)", TypeParsingError, "`model.hidden`: expected int"),
        ("model=Model(hiden=1)", UndefinedVariableError, "did you mean `hidden`?"),
        ("model=Model(1, hidden=2)", ArgumentValueError, "`model.hidden` is given twice"),
        ("model=Model(1, [], none, {}, 5)", ArgumentValueError, "takes 4 positional arguments"),
        ("model=Model(hidden=1", TypeParsingError, "its brackets don't match"),
        ("model=5", TypeParsingError, "these can be named: "),
        ("limits.low=x", TypeParsingError, "expected float"),
        ("models[0].hidden=1", UndefinedVariableError, "`models` is None"),
    ],
)
def test_errors_name_the_argument_and_the_nearest(text: str, kind: type[CLIException], message: str) -> None:
    with pytest.raises(kind) as raised:
        parse_partial(train, text)
    assert message in str(raised.value)
    assert raised.value.arg == text
    assert isinstance(raised.value, ArgumentError)


def test_positional_values_go_to_parameters_in_order() -> None:
    def place(a: int, b: str = "", *rest: float, c: bool = False) -> None: ...

    assert arguments("5", "x", fn=place) == {"a": 5, "b": "x"}
    assert arguments("5", "c=yes", fn=place) == {"a": 5, "c": True}
    partial = parse_partial(place, "5", "x", "1", "2.5")
    assert run.build(partial).args == (5, "x", 1.0, 2.5)
    with pytest.raises(ArgumentValueError, match="belongs to `a`, which has one already"):
        parse_partial(place, "a=1", "5")
    with pytest.raises(ArgumentValueError, match="takes 2 positional arguments"):
        parse_partial(lambda x, y: None, "1", "2", "3")
    assert arguments("Model(hidden=3)", "20")["model"].hidden == 3


def test_extra_keyword_arguments_are_taken_where_the_function_takes_them() -> None:
    def open_ended(a: int = 1, **others: int) -> None: ...

    assert arguments("a=2", "b=3", fn=open_ended) == {"a": 2, "b": 3}
    with pytest.raises(TypeParsingError, match="`b`: expected int"):
        parse_partial(open_ended, "b=x")


def test_without_annotations_the_default_says_what_words_mean() -> None:
    found = arguments("flag=off", "name=007", "number=2.5", "anything=[1, x]", fn=loose)
    assert found == {"flag": False, "name": "007", "number": 2.5, "anything": [1, "x"]}


def test_typed_dictionaries_know_their_keys() -> None:
    def bounded(limits: Limits) -> None: ...

    assert arguments("limits={low: 1, high: 2}", "limits.low=3", fn=bounded) == {"limits": {"low": 3, "high": 2}}
    with pytest.raises(UndefinedVariableError, match="did you mean `high`"):
        parse_partial(bounded, "limits={low: 1, high: 2}", "limits.hig=3")
    with pytest.raises(TypeParsingError, match="lacks `high`"):
        parse_partial(bounded, "limits={low: 1}")


def test_keys_of_dictionaries_are_typed() -> None:
    def keyed(table: dict[int, str] = {}) -> None: ...

    assert arguments("table[3]=x", "table.4=y", fn=keyed) == {"table": {3: "x", 4: "y"}}


def test_configurations_given_in_are_not_changed() -> None:
    before = run.Config(Model, hidden=1)
    after = parse_cli_args(before, ["hidden=2", "layers+=[3]"])
    assert isinstance(after, run.Config) and not isinstance(after, run.Partial)
    assert (before.hidden, after.hidden, after.layers) == (1, 2, [1, 2, 3])
    assert before.layers == [1, 2]
    assert isinstance(parse_cli_args(before, [], run.Partial), run.Partial)
    assert run.build(parse_config(Model, "5")) == Model(5)


def test_arguments_may_have_the_names_of_methods() -> None:
    def odd(clone: int = 1, walk: str = "", diff: float = 0.0) -> None: ...

    assert arguments("clone=2", "walk=x", "clone+=1", fn=odd) == {"clone": 3, "walk": "x"}


def test_values_may_be_objects_with_attributes() -> None:
    class Holder:
        def __init__(self) -> None:
            self.size = 1

    def take(holder: Holder) -> None: ...

    partial = run.Partial(take, holder=Holder())
    changed = parse_cli_args(partial, ["holder.size=3"])
    assert changed.holder.size == 3 and partial.holder.size == 1
    with pytest.raises(UndefinedVariableError, match="is a `Holder`, which has no `sise`\nhint: did you mean `size`"):
        parse_cli_args(partial, ["holder.sise=3"])


def nested(model: "Optional[Later]" = None, models: list["Later"] = [], other: Optional["NotThere"] = None) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@dataclass
class Later:
    size: int = 1


def test_names_in_annotations_are_looked_up_when_they_are_needed() -> None:
    made = arguments("model.size=3", "models=[Later(size=4)]", "other=[1]", fn=nested)
    assert run.build(made["model"]) == Later(3) and run.build(made["models"]) == [Later(4)]
    assert made["other"] == "[1]"


def test_lazy_entry_points_are_resolved() -> None:
    assert parse_cli_args(run.LazyEntrypoint(train), ["steps=3"]).steps == 3


@run.autoconvert
def converted(hidden: int = 4) -> Model:
    return Model(hidden=hidden, optimizer=Optimizer(lr=2.0))


run.cli.factory(converted)


def test_autoconverted_factories_give_configurations() -> None:
    made = arguments("model=converted(hidden=5)", "model.optimizer.lr/=4")["model"]
    assert isinstance(made, run.Config) and run.build(made) == Model(5, optimizer=Optimizer(0.5))


class Plain:
    def __init__(self) -> None:
        self.size = 1


def with_objects(
    plain: Plain = Plain(),
    queue: collections.deque[int] = collections.deque([1]),
    counts: collections.defaultdict[str, int] = collections.defaultdict(int),
    anything: Any = None,
    table: dict[str, Any] = {},
) -> None: ...


SHARED = [1, 2]


@run.cli.factory
def sharing() -> run.Config[Model]:
    return run.Config(Model, layers=SHARED)


def test_nothing_outside_is_changed() -> None:
    before = with_objects.__defaults__
    assert before is not None
    made = arguments("plain.size=3", "queue+=[2]", "counts={a: 1}", "counts.b=2", "table.a=1", fn=with_objects)
    assert made["plain"].size == 3 and before[0].size == 1
    assert made["queue"] == collections.deque([1, 2]) and before[1] == collections.deque([1])
    assert made["counts"] == {"a": 1, "b": 2} and type(made["counts"]) is collections.defaultdict and before[2] == {}
    assert before[4] == {}
    assert arguments("model=sharing", "model.layers[0]=9")["model"].layers == [9, 2]
    assert SHARED == [1, 2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("anything.x=1", "`anything` is None, so `anything.x=1` has nothing to set\nhint: give `anything=` first"),
        ("table.a.b=1", "`table.a` has no value yet"),
        ("table[0]=1", "the keys of `table` are text\nhint: `table.0`"),
    ],
)
def test_where_nothing_says_what_to_begin_with(text: str, message: str) -> None:
    with pytest.raises(UndefinedVariableError) as raised:
        parse_partial(with_objects, text)
    assert message in str(raised.value)
