"""autoconvert: constructor calls become Configs, and everything else runs. And dry runs."""

from __future__ import annotations

import enum
import functools
import subprocess
import sys
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

import mizzen as run
from mizzen.config import Buildable, Config, Partial, Script, autoconvert, build, dryrun_fn
from mizzen.errors import ConfigError, ConfigTypeError


class Colour(enum.Enum):
    RED = 1


@dataclass
class Adam:
    lr: float = 0.1

    @classmethod
    def slow(cls, factor: int = 10) -> Adam:
        return cls(lr=0.1 / factor)


class Layer:
    def __init__(self, size: int, inner: Any = None, fn: Any = None) -> None:
        self.size, self.inner, self.fn = size, inner, fn

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layer) and (self.size, self.inner) == (other.size, other.inner)


@dataclass
class Model:
    layers: list[Any] = field(default_factory=list)
    optimizer: Any = None
    path: Any = None
    extra: dict[str, Any] = field(default_factory=dict)


def make_optimizer(lr: float) -> Adam:
    return Adam(lr * 2)


def is_big(size: int) -> bool:
    return size > 3


def activation(x: int) -> int:
    return x


OFFSET = 100


@autoconvert
def plain(size: int = 3) -> Model:
    """A model."""
    return Model(layers=[Layer(size)], optimizer=Adam(lr=0.5))


@autoconvert
def with_everything(size: int, *, deep: bool = True) -> Model:
    sizes = [size * factor for factor in range(1, 4)]
    layers = [Layer(n) for n in sizes if n > 0]
    for n in range(2):
        layers.append(Layer(n + OFFSET))
    if is_big(size) and len(layers) > 2:
        layers += [Layer(max(1, sum(sizes)))] * 2
    elif not deep:
        layers = []

    def helper(n: int) -> Any:
        return Layer(n, inner=Adam())

    optimizer = make_optimizer(lr=1.0) if deep else None
    model = Model(layers=layers, optimizer=optimizer, path=Path("a") / str(size), extra=dict(helper=helper(1), colour=Colour(1)))
    model.extra["text"] = f"{Fraction(1, 2)} {size!r:>3}"
    model.extra["inner"] = plain(size=9)
    return model


@autoconvert(partial=True)
def as_partial() -> Any:
    return make_optimizer(lr=3.0)


@autoconvert
def as_list() -> Any:
    return [Adam(1.0), Layer(2)]


@autoconvert
def explicit() -> Any:
    return run.Config(Layer, 5, fn=functools.partial(activation, x=3), inner=run.Config(Adam))


@autoconvert
def classmethods() -> Any:
    return Layer(1, inner=Adam.slow(factor=5))


@autoconvert
def asks_a_config() -> Any:
    answer = is_big(3)
    if answer:
        return Adam()
    return Layer(1)


@autoconvert
def returns_a_number() -> Any:
    return 3


@autoconvert
def returns_a_script() -> Any:
    return [Adam()] + [Adam(lr=2.0)]


@autoconvert
def attributes() -> Any:
    adam = Adam()
    adam.lr = 7.0
    return adam


def factory_in_a_function(value: float) -> Any:
    text = """
  not indented
"""

    @autoconvert
    def inner(lr: float = value) -> Any:
        """Closes over value."""
        return Model(optimizer=Adam(lr), extra={"value": value, "text": text})

    return inner


def test_constructor_calls_become_configs() -> None:
    assert plain() == Config(Model, layers=[Config(Layer, 3)], optimizer=Config(Adam, lr=0.5))
    assert type(plain().layers[0]) is Config
    assert plain(4).layers[0].size == 4
    assert build(plain(4)) == plain.wrapped(4)  # type: ignore[attr-defined]
    assert plain.__doc__ == "A model." and plain.__auto_config__  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="unexpected keyword"):
        plain(sise=3)  # type: ignore[call-arg]


@pytest.mark.parametrize("size", [1, 5])
@pytest.mark.parametrize("deep", [True, False])
def test_control_flow_simply_runs(size: int, deep: bool) -> None:
    config = with_everything(size, deep=deep)
    assert isinstance(config, Config)
    if config.layers:
        assert all(isinstance(layer, Config) for layer in config.layers)
    assert config.path == Path(f"a/{size}")
    assert config.extra["colour"] is Colour.RED
    assert isinstance(config.extra["inner"], Config)
    assert config.extra["text"] == f"1/2 {size!r:>3}"
    if deep:
        assert config.optimizer == Config(make_optimizer, lr=1.0)
    # Built it is what the function itself returns, but for what it takes from another autoconverted function.
    built, called = build(config), with_everything.wrapped(size, deep=deep)  # type: ignore[attr-defined]
    called.extra["inner"] = build(called.extra["inner"])
    assert built == called


def test_partials_and_lists() -> None:
    assert as_partial() == Partial(make_optimizer, lr=3.0)
    assert as_list() == [Config(Adam, 1.0), Config(Layer, 2)]
    assert returns_a_script() == [Config(Adam), Config(Adam, lr=2.0)]


def test_configs_may_be_made_by_hand() -> None:
    config: Any = explicit()
    assert config.inner == Config(Adam) and config.fn == Partial(activation, x=3)
    assert classmethods().inner == Config(Adam.slow, factor=5)
    assert build(classmethods()) == Layer(1, Adam(0.02))
    assert attributes() == Config(Adam, lr=7.0)


def test_closures_and_texts_of_several_lines() -> None:
    inner = factory_in_a_function(4.0)
    assert inner().optimizer == Config(Adam, 4.0)
    assert inner().extra == {"value": 4.0, "text": "\n  not indented\n"}
    assert factory_in_a_function(5.0)().optimizer.lr == 5.0


def test_a_condition_on_what_is_not_called_yet_is_told() -> None:
    with pytest.raises(ConfigError, match="asks for the result of `is_big`"):
        asks_a_config()


def test_what_is_no_configuration_is_told() -> None:
    with pytest.raises(ConfigError, match="returned 3 .int., which is no configuration"):
        returns_a_number()
    with pytest.raises(ConfigError, match="generator"):

        @autoconvert
        def generator() -> Any:
            yield Adam()


def test_errors_keep_their_lines() -> None:
    @autoconvert
    def wrong() -> Any:
        size = 3
        return Layer(sise=size)  # this line

    with pytest.raises(ConfigError, match="did you mean `size`") as caught:
        wrong()
    lines = [entry.statement for entry in caught.traceback]
    assert any("# this line" in str(line) for line in lines)


def test_another_maker_of_configs_may_be_given() -> None:
    def maker(fn: Any, kind: type[Buildable[Any]], *args: Any, **kwargs: Any) -> Any:
        return kind(fn, *args, **kwargs)

    made: Any = autoconvert(make_optimizer, to_buildable_fn=maker)(lr=3.0)
    assert made == Config(make_optimizer, lr=3.0)
    assert autoconvert(plain)(5) == plain(5)


def test_functions_of_the_command_line_and_without_source() -> None:
    code = (
        "import mizzen as run\nfrom dataclasses import dataclass\n@dataclass\nclass D:\n    a: int = 1\nclass P:\n    pass\n"
        "@run.autoconvert\ndef f():\n    return D(a=3)\n@run.autoconvert\ndef g():\n    return P()\n"
        "print(f())\ntry:\n    print(g())\nexcept run.ConfigError as error:\n    print('source' in str(error))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["Config(D, a=3)", "Config(P)"]
    done = subprocess.run([sys.executable, "-"], input=code, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "Config(D, a=3)"
    assert done.stdout.split("\n")[1] in ("True", "Config(P)")


def test_a_dry_run_prints_the_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    task = Partial(make_optimizer, lr=3.0)
    dryrun_fn(task, executor=Config(Adam), build=True)
    assert capsys.readouterr().out == (
        "dry run of make_optimizer:\nargument  value\n--------  -----\nlr        3.0\n\nexecutor: Config(Adam)\n"
    )
    dryrun_fn(plain())
    assert "layers[0].size  3" in capsys.readouterr().out
    with pytest.raises(TypeError, match="needs a Config or Partial"):
        dryrun_fn(make_optimizer)
    with pytest.raises(ConfigTypeError):
        dryrun_fn(Script("a.sh"))
