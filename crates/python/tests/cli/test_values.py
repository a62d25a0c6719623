"""Text and an annotation to a value."""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import enum
import math
import pickle
import typing
import uuid
from pathlib import Path, PurePosixPath
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mizzen.cli import (
    CLIException,
    LiteralParseError,
    ListParseError,
    ParseError,
    TypeParsingError,
    parse_value,
    register_parser,
    type_parser,
)
from mizzen.errors import ArgumentError


class Color(enum.Enum):
    RED = 1
    GREEN = "green"
    BLUE = (0, 0, 255)


class Mode(enum.Flag):
    READ = 1
    WRITE = 2


class Level(enum.IntEnum):
    LOW = 10
    HIGH = 20


class Point(typing.NamedTuple):
    x: int
    y: float = 0.5


class Options(typing.TypedDict, total=False):
    depth: int
    names: list[str]


Width = typing.NewType("Width", int)
Number = typing.TypeVar("Number", bound=float)
Either = typing.TypeVar("Either", int, str)


@pytest.mark.parametrize(
    ("text", "annotation", "value"),
    [
        ("5", int, 5),
        ("-5", int, -5),
        ("1_000", int, 1000),
        ("0x10", int, 16),
        ("007", int, 7),
        ("1e-3", float, 0.001),
        ("3", float, 3.0),
        ("inf", float, math.inf),
        ("-inf", float, -math.inf),
        (".5", float, 0.5),
        ("yes", bool, True),
        ("1", bool, True),
        ("ON", bool, True),
        ("off", bool, False),
        ("0", bool, False),
        ("False", bool, False),
        ("", str, ""),
        ("a b", str, "a b"),
        (" padded ", str, " padded "),
        ("'quoted'", str, "quoted"),
        ('"it\'s"', str, "it's"),
        ("'open", str, "'open"),
        ("[1, 2", str, "[1, 2"),
        ("f(x)", str, "f(x)"),
        ("none", str, "none"),
        ("PartialRun", str, "PartialRun"),
        ("ConfigFile", str, "ConfigFile"),
        ("price ${x}", str, "price ${x}"),
        ("a=b", str, "a=b"),
        ("1+2j", complex, 1 + 2j),
        ("2", complex, 2 + 0j),
        ("text", bytes, b"text"),
        (r"b'\x00\xff'", bytes, b"\x00\xff"),
        ("1.10", decimal.Decimal, decimal.Decimal("1.10")),
        ("12345678123456781234567812345678", uuid.UUID, uuid.UUID("12345678123456781234567812345678")),
        ("a/b.txt", Path, Path("a/b.txt")),
        ("a/b", PurePosixPath, PurePosixPath("a/b")),
        ("2030-01-31", datetime.date, datetime.date(2030, 1, 31)),
        ("2030-01-31T12:30:00", datetime.datetime, datetime.datetime(2030, 1, 31, 12, 30)),
        ("2030-01-31 12:30:00", datetime.datetime, datetime.datetime(2030, 1, 31, 12, 30)),
        ("2030-01-31T12:30:00Z", datetime.datetime, datetime.datetime(2030, 1, 31, 12, 30, tzinfo=datetime.timezone.utc)),
        ("12:30:05", datetime.time, datetime.time(12, 30, 5)),
        ("90s", datetime.timedelta, datetime.timedelta(seconds=90)),
        ("1h30m", datetime.timedelta, datetime.timedelta(minutes=90)),
        ("1:30:00", datetime.timedelta, datetime.timedelta(minutes=90)),
        ("2 days, 1:00:00", datetime.timedelta, datetime.timedelta(days=2, hours=1)),
        ("-1.5h", datetime.timedelta, datetime.timedelta(hours=-1.5)),
        ("250ms", datetime.timedelta, datetime.timedelta(milliseconds=250)),
        ("none", None, None),
        ("none", Optional[int], None),
        ("null", int | None, None),
        ("3", int | None, 3),
        ("'none'", Optional[str], "none"),
        ("5", Union[str, int], 5),
        ("5", int | str, 5),
        ("'5'", int | str, "5"),
        ("x", int | str, "x"),
        ("1.5", int | float, 1.5),
        ("1", bool | int, 1),
        ("true", int | bool, True),
        ("true", str | bool, True),
        ("yes", str | bool, "yes"),
        ("[a, b]", str | list[str], ["a", "b"]),
        ("auto", int | Literal["auto"], "auto"),
        ("none", Optional[Literal["none", "all"]], "none"),
        ("1", Literal["1", 1], 1),
        ("'1'", Literal["1", 1], "1"),
        ("true", Literal["true", True], True),
        ("2.5", Literal[1, 2.5], 2.5),
        ("none", Literal["a", None], None),
        ("RED", Literal[Color.RED, "RED "], Color.RED),
        ("b'x'", Literal[b"x"], b"x"),
        ("RED", Color, Color.RED),
        ("Color.RED", Color, Color.RED),
        ("1", Color, Color.RED),
        ("green", Color, Color.GREEN),
        ("(0, 0, 255)", Color, Color.BLUE),
        ("blue", Color, Color.BLUE),
        ("READ|WRITE", Mode, Mode.READ | Mode.WRITE),
        ("HIGH", Level, Level.HIGH),
        ("10", Level, Level.LOW),
        ("[1, 2]", list[int], [1, 2]),
        ("(1, 2)", list[int], [1, 2]),
        ("[]", list[int], []),
        ("[1, a, true]", list, [1, "a", True]),
        ("[[1], [2, 3]]", list[list[int]], [[1], [2, 3]]),
        ("['a,b', \"c]\"]", list[str], ["a,b", "c]"]),
        ("[1, 2]", collections.abc.Sequence[float], [1.0, 2.0]),
        ("[1]", typing.Iterable[int], [1]),
        ("(1, a)", tuple[int, str], (1, "a")),
        ("[1, a]", tuple[int, str], (1, "a")),
        ("(1, 2, 3)", tuple[int, ...], (1, 2, 3)),
        ("()", tuple[int, ...], ()),
        ("()", tuple[()], ()),
        ("(1, x)", tuple, (1, "x")),
        ("{1, 2}", set[int], {1, 2}),
        ("[1, 1]", set[int], {1}),
        ("{}", set[int], set()),
        ("set()", set[int], set()),
        ("{1}", frozenset[int], frozenset({1})),
        ("{a}", collections.abc.Set[str], {"a"}),
        ("{a: 1, 'b c': 2}", dict[str, int], {"a": 1, "b c": 2}),
        ("{1: x}", dict[int, str], {1: "x"}),
        ("dict(a=1)", dict[str, int], {"a": 1}),
        ("{}", dict, {}),
        ("{a: [1, {b: none}]}", dict, {"a": [1, {"b": None}]}),
        ("{a: 1}", collections.abc.Mapping[str, float], {"a": 1.0}),
        ("{depth: 3}", Options, {"depth": 3}),
        ("dict(names=[a])", Options, {"names": ["a"]}),
        ("(1, 2)", Point, Point(1, 2.0)),
        ("Point(x=1)", Point, Point(1)),
        ("{x: 1, y: 3}", Point, Point(1, 3.0)),
        ("7", Width, 7),
        ("7", typing.Annotated[int, "a note"], 7),
        ("7", Number, 7.0),
        ("x", Either, "x"),
        ("7", typing.Final[int], 7),
        ("5", Any, 5),
        ("1e3", Any, 1000.0),
        ("True", Any, True),
        ("null", Any, None),
        ("'5'", Any, "5"),
        ("os.getcwd", Any, "os.getcwd"),
        ("os.getcwd()", Any, "os.getcwd()"),
        ("[broken", Any, "[broken"),
        ("1j", Any, 1j),
        ("{1: (2, [3])}", Any, {1: (2, [3])}),
        ("x", "Unresolved", "x"),
        ("[1]", "Unresolved", "[1]"),
        ("x", typing.ForwardRef("Unresolved"), "x"),
        ("int", type[int], int),
        ("str", type, str),
        ("math.sqrt", collections.abc.Callable[[float], float], math.sqrt),
    ],
)
def test_values_are_typed_by_their_annotation(text: str, annotation: Any, value: object) -> None:
    found = parse_value(text, annotation)
    assert found == value
    assert type(found) is type(value)


def test_nan_is_a_float() -> None:
    assert math.isnan(typing.cast("float", parse_value("nan", float)))


@pytest.mark.parametrize(
    ("text", "annotation", "words"),
    [
        ("x", int, "`x` is no number"),
        ("1.5", int, "`1.5` is a float"),
        ("1e6", int, "hint: write it as 1_000_000"),
        ("", int, "there is no value"),
        ("maybe", bool, "neither true"),
        ("2030-13-01", datetime.date, "is no date, such as 2030-01-31"),
        ("90", datetime.timedelta, "hint: say the unit: 90s"),
        ("x", decimal.Decimal, "no decimal number"),
        ("x", uuid.UUID, "no UUID"),
        ("x", int | None, "`x` is no number"),
        ("none", int, "`none` is no number"),
        ("YELLOW", Color, "there is `RED`, `GREEN`, `BLUE`"),
        ("GREN", Color, "did you mean `GREEN`?"),
        ("fats", Literal["fast", "slow"], "did you mean `fast`?"),
        ("3", Literal["1", 1], "there is `1`"),
        ("5", list[int], "hint: value=[5]"),
        ("[1, x]", list[int], "at [1], `x` is no number"),
        ("[[1], [x]]", list[list[int]], "at [1][0], `x` is no number"),
        ("{a: x}", dict[str, int], "at [a], `x` is no number"),
        ("[1, 2", list[int], "`]` is missing"),
        ("(1, 2, 3)", tuple[int, int], "has 3 elements"),
        ("{[1]}", set[Any], "can't be an element of a set"),
        ("[1]", dict[str, int], "not a dictionary"),
        ("{dept: 1}", Options, "did you mean `depth`?"),
        ("[f(x)]", list[str], "hint: quote it: 'f(x)'"),
        ("[f(x)]", Any, "is a call, and nothing says what of"),
        ("lambda x: x", collections.abc.Callable[..., Any], "no name of a function"),
        ("json.no_such", collections.abc.Callable[..., Any], "no function that can be found"),
        ("nosuchmodule.f", collections.abc.Callable[..., Any], "no function that can be found"),
        ("Nothing", type[Color], "no such class"),
        ("int", type[Color], "no such class"),
    ],
)
def test_errors_say_what_was_expected_and_what_to_do(text: str, annotation: Any, words: str) -> None:
    with pytest.raises(TypeParsingError) as raised:
        parse_value(text, annotation)
    assert words in str(raised.value)
    assert "`value`: expected " in str(raised.value)


def test_errors_carry_what_programs_ask_for() -> None:
    with pytest.raises(ListParseError) as raised:
        parse_value("5", list[int])
    error = raised.value
    assert isinstance(error, (ParseError, CLIException, ArgumentError, ValueError))
    assert (error.value, error.expected_type, error.arg, error.argument) == ("5", list[int], "5", "5")
    assert error.context["expected"] == "list[int]"
    assert "list[int]" in error.user_friendly_message()
    assert error.path == ".value"
    with pytest.raises(LiteralParseError):
        parse_value("c", Literal["a", "b"])


class Shape:
    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes


def test_parsers_can_be_registered_for_any_annotation() -> None:
    def read(text: str) -> Shape:
        return Shape(*(int(size) for size in text.split("x")))

    assert register_parser(Shape, read) is read
    found = typing.cast("list[Shape]", parse_value("[2x3, 4]", list[Shape]))
    assert [shape.sizes for shape in found] == [(2, 3), (4,)]
    assert typing.cast("Shape", parse_value("1x2", Shape | None)).sizes == (1, 2)
    with pytest.raises(TypeParsingError, match="`2xb` can't be read: invalid literal"):
        parse_value("2xb", Shape)

    @type_parser.register_parser(Width)
    def read_width(text: str) -> Width:
        return Width(int(text.removesuffix("px")))

    assert parse_value("12px", Width) == 12


def test_text_never_names_code() -> None:
    calls: list[str] = []
    namespace = {"evil": lambda: calls.append("called")}
    for annotation in (str, Any, Optional[str], list[str], dict[str, str], "Unresolved"):
        for text in ("evil", "evil()", "[evil]", "{evil: evil}"):
            try:
                parse_value(text, annotation, namespace)
            except ArgumentError:
                pass
    assert calls == []


def test_errors_survive_pickling() -> None:
    with pytest.raises(ListParseError) as raised:
        parse_value("5", list[int])
    again = pickle.loads(pickle.dumps(raised.value))
    assert type(again) is ListParseError
    assert (str(again), again.arg, again.reason, again.value) == (str(raised.value), "5", raised.value.reason, "5")


ANNOTATIONS: list[Any] = [
    int, float, bool, str, bytes, complex, Any, None, list[int], tuple[int, str], tuple[int, ...], set[int], dict[str, int],
    Optional[int], int | str, Literal["a", 1, True], Color, Mode, Path, datetime.datetime, datetime.timedelta, decimal.Decimal,
    uuid.UUID, Options, Point, Shape, type[int], collections.abc.Callable[..., Any], list[Optional[Color]], "Unresolved", Width,
]  # fmt: skip
PIECES = [
    "[",
    "]",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "=",
    "'",
    '"',
    "\\",
    " ",
    "a",
    "f(",
    "1",
    "-",
    ".",
    "e5",
    "none",
    "x=",
    "Color.RED",
    "${",
    "@",
]


@settings(max_examples=500, deadline=None)
@given(st.one_of(st.text(max_size=12), st.lists(st.sampled_from(PIECES), max_size=8).map("".join)), st.sampled_from(ANNOTATIONS))
def test_any_text_gives_a_value_or_an_argument_error(text: str, annotation: Any) -> None:
    try:
        parse_value(text, annotation)
    except ArgumentError as error:
        assert str(error)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_text_stays_what_it_is(text: str) -> None:
    quoted = text[:1] in ("'", '"')
    found = parse_value(text, str)
    assert found == text or quoted or text.lstrip()[:1] in ("'", '"')
