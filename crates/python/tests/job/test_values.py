"""Values on their way to a job and back."""

from __future__ import annotations

import datetime
import decimal
import json
import math
import pathlib
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

import mizzen as run
from mizzen.config.values import encode as encode_argument
from mizzen.job import run_in_process
from mizzen.job.results import _Reader
from mizzen.job.runner import Builder, Unwritable, encode, is_special

sys.path.insert(0, str(Path(__file__).parent))
import things  # noqa: E402

numbers = strategies.integers() | strategies.floats() | strategies.booleans() | strategies.none()
moments = strategies.datetimes() | strategies.datetimes(timezones=strategies.just(datetime.timezone.utc)) | strategies.dates()
hashable = (
    numbers
    | strategies.text()
    | strategies.binary()
    | strategies.complex_numbers()
    | moments
    | strategies.timedeltas()
    | strategies.times()
    | strategies.decimals(allow_nan=False)
    | strategies.uuids()
    | strategies.sampled_from([things.Color.RED, things.Access.READ, things.Access.READ | things.Access.WRITE, things.give, things.Point, int])
    | strategies.sampled_from([pathlib.Path("a/b"), pathlib.PurePosixPath("/"), pathlib.PureWindowsPath("c:\\x"), range(3, 9, 2)])
)
values = strategies.recursive(
    hashable | strategies.binary().map(bytearray) | strategies.just(slice(1, None, 2)),
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.lists(inner, max_size=4).map(tuple)
        | strategies.dictionaries(strategies.text() | strategies.sampled_from(["_type_", "_target_", "__"]), inner, max_size=4)
        | strategies.dictionaries(hashable, inner, max_size=3)
        | strategies.sets(hashable, max_size=3)
        | strategies.frozensets(hashable, max_size=3)
        | strategies.builds(things.Point, inner, strategies.lists(inner, max_size=2))
        | strategies.builds(things.Pair, inner, inner)
    ),
    max_leaves=12,
)


def same(left, right):
    """Equality by type as well, where NaN equals itself and 0.0 differs from -0.0."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same([*left.keys()], [*right.keys()]) and same([*left.values()], [*right.values()])
    if isinstance(left, (set, frozenset)):
        return sorted(map(repr, left)) == sorted(map(repr, right))
    if isinstance(left, things.Point):
        return same(left.x, right.x) and same(left.y, right.y)
    return left == right


@settings(deadline=None, max_examples=300)
@given(values)
def test_what_a_job_returns_comes_back_as_it_was(value):
    encoded = json.loads(json.dumps(encode(value)))
    assert same(_Reader(encoded).build(encoded), value)


@settings(deadline=None, max_examples=300)
@given(values)
def test_arguments_arrive_as_they_were(value):
    try:
        encoded = json.loads(json.dumps(encode_argument(run.Partial(things.same, value))))
    except run.SerializationError as error:
        assert "valid Unicode" in str(error)
        return
    assert same(Builder(encoded).build(encoded)(), value)


def test_subclasses_become_what_they_are_subclasses_of():
    from collections import OrderedDict

    class Text(str):
        pass

    class Number(float):
        pass

    assert encode([Text("a"), Number(1), OrderedDict(a=1), type("List", (list,), {})([1])]) == ["a", 1.0, {"a": 1}, [1]]


def test_special_keys():
    assert [key for key in ("_type_", "_x_", "__", "_", "_a_b_", "_A_", "_é_", "_a1_", "type") if is_special(key)] == ["_type_", "_x_"]


def test_what_has_no_place():
    with pytest.raises(Unwritable, match=r"`\.a\['b c'\]\[0\]` of what the job returned is a builtins.object"):
        encode({"a": {"b c": (object(),)}})
    assert math.isinf(_Reader(None).build(encode(math.inf)))
    assert _Reader(None).build(encode(uuid.UUID(int=3))) == uuid.UUID(int=3)
    assert _Reader(None).build(encode(decimal.Decimal("NaN"))).is_nan()


def test_running_in_process():
    seen = []
    thing = object()

    def local(value, more=None):
        seen.append((value, more))
        return value

    assert run_in_process(run.Partial(local, thing, more=run.Config(things.Point, x=1))) is thing
    assert seen == [(thing, things.Point(1))]
    assert run_in_process(run.Partial(things.later, 3)) == 3
    assert run_in_process(run.Config(things.Point, x=2)) == things.Point(2)
