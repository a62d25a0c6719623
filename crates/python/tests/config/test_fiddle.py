"""fiddle's Buildables are taken wherever ours are, without importing fiddle: with stand-ins of its classes, and the real ones if there."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest

from mizzen.config import Config, Partial, build, decode, dryrun_fn, encode
from mizzen.errors import ConfigError


@dataclass
class Adam:
    lr: float = 0.1


def train(first: Any, *rest: Any, adam: Any = None, make: Any = None) -> Any:
    return first, rest, adam, make


class Fake:
    """Looks like one of fiddle's classes."""

    def __init__(self, fn: Any, **arguments: Any) -> None:
        self.__fn_or_cls__ = fn
        self.__arguments__: dict[Any, Any] = arguments


Fake.__name__ = "Buildable"
Fake.__module__ = "fiddle._src.config"
FakeConfig = type("Config", (Fake,), {"__module__": "fiddle._src.config"})
FakePartial = type("Partial", (Fake,), {"__module__": "fiddle._src.config"})
FakeFactory = type("ArgFactory", (Fake,), {"__module__": "fiddle._src.config"})


def test_stand_ins_are_converted_wherever_they_are_handed_in() -> None:
    adam = FakeConfig(Adam, lr=3.0)
    config = Config(train, adam, adam=adam, make=[FakePartial(Adam)])
    assert isinstance(config.first, Config) and isinstance(config.make[0], Partial)
    config.adam = FakeConfig(Adam, lr=4.0)
    assert config.adam == Config(Adam, lr=4.0)
    assert build(adam) == Adam(3.0)
    assert build([adam])[0] == Adam(3.0)
    assert decode(encode({"a": adam})) == {"a": Config(Adam, lr=3.0)}
    positional = FakeConfig(train, adam=adam)
    positional.__arguments__.update({0: 1, 1: 2})
    assert build(Config(positional)) == (1, (2,), Adam(3.0), None)
    with pytest.raises(ConfigError, match="`ArgFactory` of fiddle has no counterpart"):
        Config(train, FakeFactory(Adam))


def test_sharing_is_kept() -> None:
    adam = FakeConfig(Adam)
    built = build(FakeConfig(train, first=adam, adam=adam))
    assert built[0] is built[2]


@pytest.mark.skipif(importlib.util.find_spec("fiddle") is None, reason="fiddle is not installed")
@pytest.mark.filterwarnings("ignore")
def test_the_real_fiddle() -> None:
    import fiddle  # type: ignore[import-untyped, import-not-found, unused-ignore]

    shared = fiddle.Config(Adam, lr=2.0)
    theirs = fiddle.Partial(train, shared, 7, adam=shared, make=[fiddle.Partial(Adam, lr=1.0)])
    ours = Partial(theirs)
    assert ours[0] is ours.adam
    first, rest, adam, make = build(ours)()
    assert (first, rest, adam, make[0]()) == (Adam(2.0), (7,), Adam(2.0), Adam(1.0))
    assert first is adam
    assert build(decode(encode(theirs)))()[1] == (7,)
    # Handed in as it is, too: its objects build themselves, but in another way.
    assert build(theirs)()[0] == Adam(2.0) == build([shared])[0]
    dryrun_fn(theirs)


def test_fiddle_is_not_imported() -> None:
    code = "import sys, mizzen as run; run.build(run.Config(dict, a=object())); print('fiddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
