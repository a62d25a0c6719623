"""Type checks: what definitely does not fit is refused, with the path; everything else passes."""

from __future__ import annotations

import collections.abc
import enum
import typing
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Callable, Literal, NamedTuple, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pytest

from mizzen.config import Config, Partial, Target
from mizzen.config.check import annotation_text, check
from mizzen.config.signature import resolved_hints, signature_of
from mizzen.errors import ConfigTypeError

T = TypeVar("T")
Number = NewType("Number", int)


class Colour(enum.Enum):
    RED = 1


class Mode(str, enum.Enum):
    FAST = "fast"


class Base: ...


class Derived(Base): ...


class Speaks(Protocol):
    def speak(self) -> None: ...


class Table(TypedDict):
    a: int


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Data:
    a: int = 1


class FakeScalar:
    def __float__(self) -> float:
        return 1.0

    def __index__(self) -> int:
        return 1


def returns_int() -> int:
    return 1


def returns_anything():  # type: ignore[no-untyped-def]
    return 1


def returns_base() -> Base:
    return Derived()


def returns_optional() -> Base | None:
    return None


FITS: list[tuple[Any, Any]] = [
    (1, int),
    (True, int),
    (1, float),
    (1, complex),
    (FakeScalar(), int),
    (FakeScalar(), float),
    (Decimal(1), float),
    (Fraction(1), float),
    (None, Optional[int]),
    (None, None),
    (1, int | None),
    ("a", Union[int, str]),
    ("a", Literal["a", 1]),
    (1, Literal["a", 1]),
    (Colour.RED, Literal[Colour.RED]),
    (Colour.RED, Colour),
    ("fast", Mode),
    ("a/b", Path),
    (PurePosixPath("a"), PurePosixPath),
    ([1], list[int]),
    ((1,), list[int]),
    ([1, "a"], tuple[int, str]),
    ([1, 2, 3], tuple[int, ...]),
    ((), tuple[()]),
    ([1], tuple),
    ([1], collections.abc.Sequence[int]),
    ("text", collections.abc.Sequence[str]),
    ({1}, set[int]),
    ({1}, collections.abc.Iterable[int]),
    (range(3), collections.abc.Iterable[int]),
    ({"a": [1]}, dict[str, list[int]]),
    ({"a": 1}, collections.abc.Mapping[str, int]),
    ({"a": 1}, typing.Dict[str, int]),
    ([1], typing.List),
    ({"a": "x"}, Table),
    (len, Callable[..., int]),
    (Partial(len), Callable[..., int]),
    (Partial(len), collections.abc.Callable),
    (partial(len), partial),
    (Partial(len), partial),
    (Derived, type[Base]),
    (Target("a.B"), type[Base]),
    (Base, type),
    (1, T),
    (1, Any),
    (1, object),
    (1, "Unknown"),
    (1, Annotated[int, "note"]),
    (1, Number),
    (Base(), Speaks),
    (Point(1, 2), Point),
    ((1, 2), Point),
    (Derived(), Base),
    (bytearray(b"a"), bytes),
    (Config(Data), Data),
    (Config(Derived), Base),
    (Config(returns_int), int),
    (Config(returns_int), float),
    (Config(returns_anything), str),
    (Config(returns_base), Derived),
    (Config(returns_optional), Base),
    (Config("nowhere.thing"), int),
    ([Config(returns_int)], list[int]),
    (Config(dict, a=1), dict[str, int]),
    (Config(Data), Config),
    (Config(Data), Config[Data]),
    (Partial(Data), Partial),
    (1, typing.Final[int]),
]

FAILS: list[tuple[Any, Any, str, str]] = [
    ("a", int, "", "int"),
    (1.5, int, "", "int"),
    ("1", float, "", "float"),
    (None, int, "", "int"),
    (1, str, "", "str"),
    (1, bool, "", "bool"),
    (b"a", str, "", "str"),
    (Path("a"), str, "", "str"),
    (1, Path, "", "Path"),
    (1, None, "", "None"),
    ([1.5], Optional[int], "", "int | None"),
    ("b", Literal["a"], "", "Literal['a']"),
    (True, Literal[1], "", "Literal[1]"),
    ([1, "a"], list[int], "[1]", "int"),
    ([[1], ["a"]], list[list[int]], "[1][0]", "int"),
    ({"k": ["a"]}, dict[str, list[int]], "['k'][0]", "int"),
    ({1: 1}, dict[str, int], "", "str"),
    (["a"], Optional[list[int]], "[0]", "int"),
    ([1], tuple[int, int], "", "tuple[int, int]"),
    ([1, "a"], tuple[int, ...], "[1]", "int"),
    ([1], set[int], "", "set[int]"),
    ("ab", list[str], "", "list[str]"),
    (1, collections.abc.Sequence[int], "", "Sequence[int]"),
    (1, Callable[[int], str], "", "Callable[[int], str]"),
    (int, type[Base], "", "type[Base]"),
    (Base(), type[Base], "", "type[Base]"),
    (1, Colour, "", "Colour"),
    ("RED", Colour, "", "Colour"),
    ("slow", Mode, "", "Mode"),
    (Base(), Derived, "", "Derived"),
    ({"a": 1}, Data, "", "Data"),
    ("a", Number, "", "int"),
    (1, Table, "", "Table"),
    (Config(Data), int, "", "int"),
    (Config(returns_int), str, "", "str"),
    (Partial(Data), Data, "", "Data"),
    ([Config(Data)], list[int], "[0]", "int"),
]


@pytest.mark.parametrize(("value", "annotation"), FITS, ids=str)
def test_fits(value: Any, annotation: Any) -> None:
    check(value, annotation, "")


@pytest.mark.parametrize(("value", "annotation", "path", "expected"), FAILS, ids=str)
def test_does_not_fit(value: Any, annotation: Any, path: str, expected: str) -> None:
    with pytest.raises(ConfigTypeError) as caught:
        check(value, annotation, ".argument")
    assert caught.value.path == ".argument" + path
    assert f"is to be `{expected}`" in str(caught.value)


def test_hints_say_what_to_write() -> None:
    for value, annotation, hint in [("1", int, "without quotes"), (2.0, int, "write 2"), (Path("a"), str, "str("), ({}, Data, "from_dict")]:
        with pytest.raises(ConfigTypeError, match=f"hint: .*{hint.replace('(', '[(]')}"):
            check(value, annotation)


def test_annotations_that_do_not_resolve_say_nothing() -> None:
    def function(known: int, unknown: "Nowhere", mixed: "list[Nowhere]" = []) -> "Nowhere":  # type: ignore[name-defined] # noqa: F821
        ...

    assert resolved_hints(function)["known"] is int
    Config(function, 1, object(), mixed=3)
    with pytest.raises(ConfigTypeError):
        Config(function, "a")


def test_a_default_of_none_or_of_another_type_may_be_given() -> None:
    def function(a: int = None, b: int = "auto") -> None:  # type: ignore[assignment]
        ...

    Config(function, a=None, b="auto")


def test_variadic_arguments_are_checked() -> None:
    def function(*numbers: int, **names: str) -> None: ...

    Config(function, 1, 2, a="b")
    with pytest.raises(ConfigTypeError) as caught:
        Config(function, 1, "a")
    assert caught.value.path == "[1]"
    with pytest.raises(ConfigTypeError) as caught:
        Config(function, a=1)
    assert caught.value.path == ".a"


def test_wrapped_functions_have_the_signature_of_what_they_wrap() -> None:
    import functools

    def inner(a: int) -> str:
        return ""

    @functools.wraps(inner)
    def outer(*args: Any, **kwargs: Any) -> Any:
        return inner(*args, **kwargs)

    info = signature_of(outer)
    assert list(info.parameters) == ["a"] and info.returns is str


def test_callable_objects_and_builtins() -> None:
    class Calls:
        def __call__(self, a: "int") -> None: ...

    with pytest.raises(ConfigTypeError):
        Config(Calls(), a="x")
    assert signature_of(dict).open


def test_annotations_are_written_as_one_writes_them() -> None:
    written = {
        "list[int] | None": Optional[list[int]],
        "dict[str, Any]": dict[str, Any],
        "Callable[..., int]": Callable[..., int],
        "Literal['a', 1]": Literal["a", 1],
        "tuple[int, ...]": tuple[int, ...],
        "type[Base]": type[Base],
        "Path": Path,
    }
    assert {text: annotation_text(annotation) for text, annotation in written.items()} == {text: text for text in written}
