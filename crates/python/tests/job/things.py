"""What the documents of these tests name."""

import datetime
import enum
import sys
from collections import namedtuple
from dataclasses import dataclass, field
from typing import Any, List


class Color(enum.Enum):
    RED = 1
    BLUE = 2


class Access(enum.Flag):
    READ = 1
    WRITE = 2


@dataclass
class Point:
    x: Any = 0
    y: List[Any] = field(default_factory=list)


@dataclass
class Derived:
    x: int
    twice: int = field(init=False, default=0)

    def __post_init__(self):
        self.twice = 2 * self.x
        self.note = "made by __post_init__"


Pair = namedtuple("Pair", "left right")


class Encoder:
    made = 0

    def __init__(self, width=1, inner=None):
        if width < 0:
            raise ValueError(f"width is {width}")
        Encoder.made += 1
        self.width = width
        self.inner = inner

    class Nested:
        @staticmethod
        def make(value):
            return ("nested", value)


def give(*args, **kwargs):
    """Returns what it gets."""
    if args and kwargs:
        return [list(args), kwargs]
    if kwargs:
        return kwargs
    return args[0] if len(args) == 1 else list(args)


def widths(first, second, maker=None):
    made = [first.inner is second.inner, first.width, Encoder.made]
    if maker is not None:
        made.append(maker() is not maker())
        made.append(maker().inner is maker().inner)
    return made


def describe_types(**values):
    return {name: f"{type(value).__name__} {value!r}" for name, value in values.items()}


def same(value):
    return value


def fail(message="no", kind="ValueError"):
    if kind == "SystemExit":
        print("leaving")
        sys.exit(message)
    if kind == "notes":
        error = ValueError(message)
        error.__notes__ = ["note one"]
        raise error
    if kind == "odd":
        class Odd(Exception):
            def __str__(self):
                raise RuntimeError("no text")

            def __reduce__(self):
                raise RuntimeError("no pickle")

        raise Odd(lambda: 1)
    if kind == "KeyboardInterrupt":
        raise KeyboardInterrupt
    if kind == "recursion":
        return fail(message, kind)
    raise {"ValueError": ValueError, "KeyError": KeyError}[kind](message)


async def later(x):
    import asyncio

    await asyncio.sleep(0)
    return x


def big(size):
    return "x" * size


def odd(kind):
    if kind == "object":
        return {"net": [object()]}
    if kind == "cycle":
        value = []
        value.append(value)
        return value
    if kind == "deep":
        value = []
        for _ in range(100000):
            value = [value]
        return value
    if kind == "local":
        @dataclass
        class Local:
            x: int

        return Local(1)
    if kind == "lambda":
        return lambda: 1
    if kind == "array":
        return Array()
    if kind == "scalar":
        return Scalar()
    if kind == "broken":
        return Broken()
    if kind == "fine":
        return [Color.RED, Point(1, [float("nan")]), Pair(1, 2), {1: 2, "_type_": 3}, b"\0", 2 + 3j, {3, 1}, give, datetime.timedelta(1), 2**70]
    return None


class Array:
    shape = (3,)

    def tolist(self):
        return [1, 2, 3]


class Scalar:
    shape = ()

    def item(self):
        return 0.5


class Broken:
    @property
    def shape(self):
        raise RuntimeError("broken")


Broken.__module__ = "elsewhere"
