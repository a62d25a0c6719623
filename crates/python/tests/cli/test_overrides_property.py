"""Any sequence of overrides gives what Python would give."""

from __future__ import annotations

import copy
import typing
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import mizzen as run
from mizzen.cli import CLIException, parse_partial


@dataclass
class Inner:
    n: int = 3
    xs: list[int] = field(default_factory=lambda: [1, 2])


@dataclass
class Outer:
    f: float = 0.5
    inner: Inner = field(default_factory=Inner)


def task(
    i: int = 4,
    f: float = 2.5,
    s: str = "ab",
    b: bool = True,
    xs: list[int] = [1, 2, 3],
    ys: list[int] = [1, 2, 3],
    t: tuple[int, ...] = (1, 2),
    d: dict[str, int] = {"a": 1, "b": 2},
    e: set[int] = {1, 2, 3},
    o: Outer = Outer(),
) -> None: ...


TYPES: dict[str, Any] = {
    "i": int,
    "f": float,
    "s": str,
    "b": bool,
    "xs": list,
    "ys": list,
    "t": tuple,
    "d": dict,
    "e": set,
    "xs[0]": int,
    "ys[1]": int,
    "d['a']": int,
    "d['c']": int,
    "o.f": float,
    "o.inner.n": int,
    "o.inner.xs": list,
    "o.inner.xs[0]": int,
}

numbers = st.integers(-5, 20)
floats = st.floats(-10, 10, allow_nan=False).map(lambda value: round(value, 3))
texts = st.text("abc _-.:/$", max_size=6)
lists = st.lists(numbers, max_size=4)
values: dict[Any, st.SearchStrategy[Any]] = {
    int: numbers,
    float: st.one_of(floats, numbers),
    str: texts,
    bool: st.booleans(),
    list: lists,
    tuple: lists.map(tuple),
    dict: st.dictionaries(st.sampled_from("abcd"), numbers, max_size=3),
    set: st.sets(numbers, max_size=4),
}
OPERATORS = ["=", "+=", "-=", "*=", "/=", "|=", "&="]


@st.composite
def assignments(draw: st.DrawFn) -> tuple[str, str, Any]:
    place = draw(st.sampled_from(sorted(TYPES)))
    operator = draw(st.sampled_from(OPERATORS))
    kind = TYPES[place]
    if operator != "=" and kind in (str, list, tuple) and operator == "*=":
        kind = int
    return place, operator, draw(values[kind] if operator == "=" else st.one_of(values[kind], values[TYPES[place]]))


def defaults() -> SimpleNamespace:
    signature = typing.cast("tuple[Any, ...]", task.__defaults__)
    names = task.__code__.co_varnames[: task.__code__.co_argcount]
    return SimpleNamespace(**{name: copy.deepcopy(value) for name, value in zip(names, signature)})


def fits(value: object, kind: type) -> bool:
    """Whether a value is what the annotation of its place asks for."""
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return type(value) is int
    return type(value) is kind


@settings(max_examples=400, deadline=None)
@given(st.lists(assignments(), max_size=6))
def test_overrides_give_what_python_gives(sequence: list[tuple[str, str, Any]]) -> None:
    expected = defaults()
    words: list[str] = []
    refused = False
    for place, operator, value in sequence:
        words.append(f"{place}{operator}{value!r}")
        if TYPES[place] is float and operator == "=":
            value = float(value)  # what is written for a float is one: `f=3` is 3.0
        try:
            exec(f"self.{place} {operator} value", {"self": expected, "value": value})
        except (TypeError, ZeroDivisionError, KeyError, IndexError):
            refused = True
            break
        if not fits(eval(f"self.{place}", {"self": expected}), TYPES[place]):
            refused = True
            break
    try:
        partial = parse_partial(task, *words)
    except CLIException as error:
        assert refused, (words, str(error))
        assert error.arg == words[-1]
        return
    assert not refused, words
    found = defaults()
    for name, given_value in partial.__arguments__.items():
        setattr(found, name, run.build(given_value))
    assert found == expected
    assert vars(defaults()) == {name: value for name, value in zip(task.__code__.co_varnames, task.__defaults__ or ())}


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.one_of(st.integers(), st.booleans(), st.none(), st.text(max_size=8)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.tuples(inner, inner), st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_what_python_writes_is_read_back(value: Any) -> None:
    def take(x: Any) -> None: ...

    assert parse_partial(take, f"x={value!r}").x == value
