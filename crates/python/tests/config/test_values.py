"""The value format: what is written comes back, and what can't be written says so with its path."""

from __future__ import annotations

import datetime
import decimal
import enum
import functools
import json
import math
import os
import pathlib
import subprocess
import sys
import time
import types
import uuid
import zoneinfo
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import mizzen as run
from mizzen.config import Config, Deferred, Partial, Script, Target, build, decode, dumps, encode, loads
from mizzen.errors import ConfigError, SerializationError


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


class Size(int, enum.Enum):
    SMALL = 1


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


class Point(NamedTuple):
    x: Any
    y: Any


@dataclass
class Data:
    a: Any = 1
    b: Any = field(default_factory=list)
    derived: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.derived = ("derived", self.a)


@dataclass(frozen=True)
class Frozen:
    __slots__ = ("a",)
    a: int


class Plain:
    def method(self) -> None: ...

    @classmethod
    def make(cls) -> Plain:
        return cls()


class Subclass(Plain): ...


def function(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


CONSTANT = type("Nameless", (), {"__module__": __name__})()

# Text without lone surrogates: those are no Unicode, and refused.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
offsets = st.builds(datetime.timezone, st.integers(-1439, 1439).map(lambda minutes: datetime.timedelta(minutes=minutes)))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**63) - 2, max_value=-(2**63) + 2),
    st.floats(),
    st.complex_numbers(),
    texts,
    st.binary(max_size=8),
    st.binary(max_size=8).map(bytearray),
    st.sampled_from([*Colour, *Size, *Access, Access.READ | Access.WRITE]),
    st.lists(texts.filter(lambda text: "\0" not in text), max_size=3).map(lambda parts: pathlib.Path(*parts)),
    st.sampled_from([pathlib.PurePosixPath("a/b"), pathlib.PureWindowsPath("c:/d"), pathlib.Path("/")]),
    st.datetimes(timezones=st.none() | offsets | st.just(zoneinfo.ZoneInfo("Europe/Berlin"))),
    st.dates(),
    st.times(timezones=st.none() | offsets),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
    st.builds(range, st.integers(-99, 99), st.integers(-99, 99), st.integers(1, 5)),
    st.builds(slice, st.none() | st.integers(), st.none() | st.integers(), st.none() | st.integers()),
    st.sampled_from([Plain, Plain.make, Subclass.make, function, Data, int, dict, math.sqrt, os.path.join, json, CONSTANT]),
    st.builds(Frozen, st.integers()),
    st.builds(Script, path=st.just("a.py"), args=st.lists(texts, max_size=2), env=st.dictionaries(texts, texts, max_size=2)),
)
hashable = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts, st.binary(max_size=4), st.sampled_from(list(Colour)))
names = st.from_regex(r"[a-z]{1,5}", fullmatch=True)


def extended(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(texts | st.sampled_from(["_target_", "_type_", "_a_", "__", "_"]), inner, max_size=3),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Data, inner, inner),
        st.builds(lambda args, kwargs: Config(function, *args, bind_args=False, **kwargs), st.lists(inner, max_size=2), st.dictionaries(names, inner, max_size=3)),
        st.builds(lambda kwargs: Partial(function, bind_args=False, **kwargs), st.dictionaries(names, inner, max_size=3)),
        st.builds(lambda mapping: Config(mapping, bind_args=False), st.dictionaries(texts, inner, max_size=3)),
    )


values = st.recursive(scalars, extended, max_leaves=8)


def form(value: Any) -> str:
    """A value as text in which equal values, and only those, are equal: types included, NaN too, and order where there is one."""
    if isinstance(value, (Config, Partial)):
        named = [f"{name}={form(item)}" for name, item in sorted(vars(value).items())]
        target = value.__target__.resolve() if isinstance(value.__target__, Target) else value.__target__
        return f"{type(value).__name__}({[target]}, {list(map(form, value.__positional__))}, {named})"
    if isinstance(value, Target):
        return form(value.resolve())
    if isinstance(value, Deferred):
        return form(value.__build__(lambda inner: inner))
    if isinstance(value, (set, frozenset)):
        return f"{type(value).__name__}{sorted(map(form, value))}"
    if isinstance(value, dict):
        return f"dict{sorted((form(key), form(item)) for key, item in value.items())}"
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__}{list(map(form, value))}"
    if isinstance(value, (Data, Frozen)):
        return f"{type(value).__name__}{[form(getattr(value, name)) for name in type(value).__dataclass_fields__]}"
    if isinstance(value, functools.partial):
        return f"partial({value.func}, {list(map(form, value.args))}, {sorted((key, form(item)) for key, item in value.keywords.items())})"
    if isinstance(value, slice):
        return f"slice{[value.start, value.stop, value.step]}"
    if isinstance(value, datetime.datetime):
        return f"datetime({value.isoformat()}, {value.fold}, {getattr(value.tzinfo, 'key', None)})"
    return f"{type(value).__name__}({value!r})"


@settings(deadline=None)
@given(values)
@example({"_target_": "a.b"})
@example(complex(math.nan, -math.inf))
@example(-0.0)
@example(10**400)
@example(datetime.datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")))
def test_any_value_comes_back_from_json(value: Any) -> None:
    back = loads(dumps(value, "json"), "json")
    assert form(back) == form(value)
    assert encode(back) == encode(value)


@settings(deadline=None)
@given(values, st.sampled_from(["yaml", "toml"]))
def test_any_value_comes_back_from_yaml_and_toml(value: Any, format: str) -> None:
    pytest.importorskip("mizzen._core", reason="the extension module is not built")
    assert form(loads(dumps(value, format), format)) == form(value)


@settings(deadline=None)
@given(values)
def test_resolving_gives_the_values_themselves(value: Any) -> None:
    assert form(decode(encode(value), resolve=True)) == form(value)
    assert not isinstance(decode(encode(Colour.RED), resolve=True), Deferred)


@settings(deadline=None)
@given(values)
def test_the_runner_of_jobs_makes_what_build_makes(value: Any) -> None:
    runner = pytest.importorskip("mizzen.job.runner")
    document = json.loads(dumps(value, "json"))
    # A Script is a job, and nothing that a runner could make.
    assume('"script"' not in json.dumps(document))
    assert form(runner.Builder(document).build(document)) == form(build(value))


def test_the_forms_are_those_that_are_documented() -> None:
    shared = Config(function, a=1)
    here = __name__
    forms: list[tuple[Any, Any]] = [
        (Config(function, 1, a=2), {"_target_": f"{here}.function", "_args_": [1], "a": 2}),
        (Partial(function), {"_target_": f"{here}.function", "_partial_": True}),
        (Plain, {"_target_": f"{here}.Plain", "_call_": False}),
        (Subclass.make, {"_target_": f"{here}.Subclass.make", "_call_": False}),
        ([shared, shared], [{"_target_": f"{here}.function", "a": 1, "_id_": "1"}, {"_ref_": "1"}]),
        ((1,), {"_type_": "tuple", "value": [1]}),
        ({2, 10}, {"_type_": "set", "value": [10, 2]}),
        (b"\xff", {"_type_": "bytes", "value": "/w=="}),
        (complex(1, math.inf), {"_type_": "complex", "value": [1.0, "inf"]}),
        (math.nan, {"_type_": "float", "value": "nan"}),
        (2**63, {"_type_": "int", "value": "9223372036854775808"}),
        (pathlib.Path("a"), {"_type_": "path", "value": "a"}),
        (pathlib.PurePosixPath("a"), {"_type_": "path", "value": "a", "class": "PurePosixPath"}),
        (Colour.RED, {"_type_": "enum", "class": f"{here}.Colour", "value": "RED"}),
        (Access.READ | Access.WRITE, {"_type_": "enum", "class": f"{here}.Access", "value": 3}),
        (Frozen(1), {"_type_": "dataclass", "class": f"{here}.Frozen", "value": {"a": 1}}),
        (Point(1, 2), {"_type_": "namedtuple", "class": f"{here}.Point", "value": [1, 2]}),
        (datetime.timedelta(1, 2, 3), {"_type_": "timedelta", "value": [1, 2, 3]}),
        (decimal.Decimal("1.50"), {"_type_": "decimal", "value": "1.50"}),
        (uuid.UUID(int=1), {"_type_": "uuid", "value": "00000000-0000-0000-0000-000000000001"}),
        (range(3), {"_type_": "range", "value": [0, 3, 1]}),
        ({1: 2}, {"_type_": "dict", "value": [[1, 2]]}),
        ({"_type_": 2}, {"_type_": "dict", "value": [["_type_", 2]]}),
    ]
    assert [encode(value) for value, _ in forms] == [document for _, document in forms]


def test_a_shared_config_comes_back_as_one_object() -> None:
    shared = Config(function)
    back = decode(encode(Config(function, a=shared, b=[shared])))
    assert back.a is back.b[0]
    document = encode(Config(function, a=shared, b=shared))
    swapped = {"_target_": document["_target_"], "a": document["b"], "b": document["a"]}
    back = decode(swapped)
    assert back.a is back.b


def test_what_cannot_be_written_is_told_with_its_path() -> None:
    def nested() -> None: ...

    circle: list[Any] = []
    circle.append(circle)
    loop = Config(function)
    loop.a = loop
    cases: list[tuple[Any, str, str]] = [
        (Config(function, a=[1, {"k": object()}]), ".a[1]['k']", "wrap it in run.Config"),
        (Config(function, 1, object()), "[1]", "`builtins.object` object"),
        (Config(function, a=Config(function, b=lambda: 1)), ".a.b", "a lambda has no import path"),
        (Config(function, a=nested), ".a", "defined inside a function"),
        (Partial(nested), "", "top level of a module"),
        ([Plain().method], "[0]", "method of one Plain object"),
        (Config(function, a=circle), ".a[0]", "holds itself"),
        (loop, ".a", "holds itself"),
        ({"k": "\ud800"}, "['k']", "not valid Unicode"),
        (Data(a=Data(b=[object()])), ".a.b[0]", "object"),
        (Config(function, a=iter(())), ".a", "iterator"),
        ({object(): 1}, "", "object"),
        (Config(function, _x_=1), "._x_", "underscore"),
        (2 ** 20000, "", "20001 bits"),
    ]
    for value, path, message in cases:
        with pytest.raises(SerializationError) as caught:
            encode(value)
        assert message in str(caught.value)
        if path:
            assert caught.value.path == path, (value, caught.value.path)
            assert f"`{path.lstrip('.')}`" in str(caught.value)


def test_a_function_that_was_redefined_is_not_mistaken_for_the_new_one() -> None:
    module = types.ModuleType("mizzen_test_redefined")
    sys.modules[module.__name__] = module
    try:
        exec("def f(): return 1", module.__dict__)
        old = Config(module.f)
        exec("def f(): return 2", module.__dict__)
        with pytest.raises(SerializationError, match="another object by now"):
            encode(old)
    finally:
        del sys.modules[module.__name__]


def test_constants_such_as_torch_dtypes_are_found_by_name() -> None:
    module = types.ModuleType("mizzen_test_torch")
    sys.modules[module.__name__] = module
    code = "class dtype:\n    def __init__(self, name): self.name = name\n    def __repr__(self): return f'mizzen_test_torch.{self.name}'\n"
    try:
        exec(code + "half = float16 = dtype('float16')\nbfloat16 = dtype('bfloat16')", module.__dict__)
        assert encode(module.half) == {"_target_": "mizzen_test_torch.float16", "_call_": False}
        back = decode(encode(Config(function, dtype=module.bfloat16)))
        assert build(back)[1]["dtype"] is module.bfloat16
        assert back.dtype == module.bfloat16
    finally:
        del sys.modules[module.__name__]


def test_decoding_imports_nothing() -> None:
    documents = [
        {"_target_": "nowhere.at_all.train", "a": {"_target_": "nowhere.Thing", "_call_": False}},
        {"_type_": "enum", "class": "nowhere.Colour", "value": "RED"},
        {"_type_": "dataclass", "class": "nowhere.Data", "value": {"a": 1}},
    ]
    for document in documents:
        back = decode(document)
        assert encode(back) == document
        assert repr(back)
        with pytest.raises(ConfigError, match="there is no module `nowhere`"):
            build(back)


def test_deferred_values_are_checked_when_built() -> None:
    with pytest.raises(ConfigError, match="has no member 'PINK'"):
        build(decode({"_type_": "enum", "class": f"{__name__}.Colour", "value": "PINK"}))
    with pytest.raises(ConfigError, match="has no field `z`"):
        build(decode({"_type_": "dataclass", "class": f"{__name__}.Data", "value": {"z": 1}}))
    assert build(decode(encode(Data(a=3)))) == Data(a=3)
    assert decode(encode(Colour.RED)) == Colour.RED
    assert decode(encode(Data(3))) == Data(3) != decode(encode(Data(4)))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"_type_": "tupel", "value": []}, "did you mean 'tuple'"),
        ({"a": [{"_type_": "uuid", "value": "x"}]}, "`['a'][0]` can't be read: it is no uuid"),
        ({"_target_": 3}, "no import path"),
        ({"_target_": "a b"}, "no import path"),
        ({"_target_": "a.b", "_args_": 3}, "`_args_` is to be a list"),
        ({"_target_": "a.b", "_call_": False, "c": 1}, "takes no arguments"),
        ({"_ref_": "7"}, "refers to nothing"),
        ({"_target_": "a.b", "_id_": "1", "c": {"_ref_": "1"}}, "inside what it refers to"),
        ({"_partial_": True}, "stands without `_target_`"),
        ({"_target_": "a.b", "c": {"_type_": "script", "value": {"inline": "a", "path": "b"}}}, "`c` can't be read"),
        ({"_type_": "bytes", "value": "not base64!"}, "it is no bytes"),
        ({"_type_": "enum", "value": "RED"}, "it is no enum"),
    ],
)
def test_documents_that_are_wrong_say_where(document: Any, message: str) -> None:
    with pytest.raises(SerializationError) as caught:
        decode(document)
    assert message in str(caught.value)


def test_documents_of_nemo_run_are_read() -> None:
    document = {
        "_target_": f"{__name__}.function",
        "_partial_": True,
        "model": {"_target_": f"{__name__}.Data", "a": 3},
        "dtype": {"_target_": f"{__name__}.Colour", "_call_": False},
        "other": {"_target_": f"{__name__}.Plain", "_call_": True},
    }
    made = decode(document)
    assert isinstance(made, Partial)
    kwargs = build(made)()[1]
    assert kwargs["model"] == Data(3) and kwargs["dtype"] is Colour and isinstance(kwargs["other"], Plain)


def test_the_launching_script_and_command_line_are_named_main() -> None:
    code = "import mizzen as run\nfrom mizzen.config import encode\ndef f(): pass\nprint(encode(run.Partial(f))['_target_'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "__main__.f"


def test_encoding_is_quick() -> None:
    partials = [Partial(function, a=number, b=float(number), c="text") for number in range(10_000)]
    start = time.process_time()
    back = decode(encode(partials))
    assert time.process_time() - start < 0.6
    assert len(back) == 10_000


def test_the_package_is_imported_without_anything_else() -> None:
    code = "import sys, mizzen.config; print(sorted(name for name in sys.modules if name.startswith('mizzen')), 'inspect' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['mizzen', 'mizzen.config'] False"


def test_names_of_the_package() -> None:
    import mizzen.config

    for name in mizzen.config.__all__:
        assert getattr(mizzen.config, name) is not None
    assert run.Config is Config
    with pytest.raises(AttributeError):
        mizzen.config.nothing


