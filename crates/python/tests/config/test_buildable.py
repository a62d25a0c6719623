"""Config and Partial: binding, reading, setting, comparing, copying, building."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
import threading
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mizzen as run
from mizzen.config import Buildable, Config, OptionalDefaultConfig, OptionalDefaultPartial, Partial, Target, build, targets, validate
from mizzen.errors import ConfigError, ConfigTypeError


@dataclass
class Adam:
    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)


@dataclass
class Model:
    size: int
    optimizer: Adam = field(default_factory=Adam)
    layers: list[int] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=lambda: {"a": "b"})


class Plain:
    def __init__(self, a: int, b: str = "b") -> None:
        self.a, self.b = a, b

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Plain) and vars(self) == vars(other)

    @classmethod
    def doubled(cls, a: int) -> Plain:
        return cls(2 * a)


def everything(first: Any, second: Any = 2, /, third: Any = 3, *rest: Any, named: Any = 5, **more: Any) -> Any:
    return (first, second, third, rest, named, more)


def train(model: Model, lr: float = 0.5, layers: list[int] = [1], *, out: Path | None = None) -> Any:
    return (model, lr, layers, out)


def with_optional(adam: OptionalDefaultConfig[Adam] = None, other: OptionalDefaultPartial[Adam] = None) -> Any:
    return (adam, other)


def with_config_default(model: Any = Config(Model, size=3), /, adam: Any = Config(Adam, lr=2.0)) -> Any:
    return model, adam


def fails() -> None:
    raise ValueError("no luck")


def methods(clone: int = 1, diff: int = 2, walk: int = 3) -> tuple[int, int, int]:
    return clone, diff, walk


class Point(NamedTuple):
    x: Any
    y: Any


def test_a_config_calls_and_a_partial_waits() -> None:
    assert build(Config(train, Model(3), lr=1.0)) == train(Model(3), lr=1.0)
    partial = build(Partial(train, lr=1.0))
    assert isinstance(partial, functools.partial)
    assert partial(Model(3)) == train(Model(3), lr=1.0)


def test_a_partial_builds_its_nested_configs_once() -> None:
    made = build(Partial(train, model=Config(Model, size=3)))
    assert made()[0] is made()[0]


def test_attributes_are_arguments() -> None:
    config = Config(Model, size=3)
    config.size = 4
    assert config.size == 4
    assert build(config).size == 4
    del config.size
    with pytest.raises(AttributeError, match="`size` of `Model` was not set, and has no default"):
        config.size
    assert vars(config) == {}


def test_reading_gives_defaults_and_what_can_change_is_kept() -> None:
    config = Config(train, Model(1))
    assert config.lr == 0.5
    assert "lr" not in config
    config.layers.append(7)
    assert config.layers == [1, 7]
    assert build(config)[2] == [1, 7]
    assert Config(train, Model(1)).layers == [1]


def test_a_default_dataclass_becomes_a_config_when_read() -> None:
    config = Config(Model, size=1)
    config.optimizer.lr = 3.0
    assert isinstance(config.optimizer, Config)
    assert build(config) == Model(1, Adam(3.0))
    config.tags["c"] = "d"
    assert build(config).tags == {"a": "b", "c": "d"}


def test_dataclass_values_become_configs_unless_told_not_to() -> None:
    adam = Adam()
    config = Config(dict, one=adam, two=[adam])
    assert isinstance(config.one, Config)
    assert config.one is config.two[0]
    assert Config(dict, one=adam, bind_args=False).one is adam


def test_unknown_arguments_are_told_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="`Model` has no argument `sise`\nhint: did you mean `size`?") as caught:
        Config(Model, sise=3)
    assert caught.value.path == ".sise"
    with pytest.raises(ConfigError, match="has no argument `zzz`"):
        Config(Model).zzz = 3
    with pytest.raises(AttributeError, match="has no argument `zzz`"):
        Config(Model).zzz
    with pytest.raises(ConfigError, match="at most 4 positional"):
        Config(Model, 1, 2, 3, 4, 5)
    with pytest.raises(ConfigError, match="twice"):
        Config(everything, 1, 2, 3, 4, third=3)


def test_types_are_checked_when_made_and_when_set() -> None:
    with pytest.raises(ConfigTypeError, match="`lr` of `train` is to be `float`, but is 'fast'") as caught:
        Config(train, lr="fast")
    assert caught.value.path == ".lr"
    assert isinstance(caught.value, TypeError) and isinstance(caught.value, ValueError)
    config = Config(Adam)
    with pytest.raises(ConfigTypeError) as caught:
        config.betas = (0.1, "x")
    assert caught.value.path == ".betas[1]"
    with pytest.raises(ConfigTypeError, match="`model` of `train`"):
        Config(train, model=Config(Adam))
    with pytest.raises(ConfigTypeError):
        Config(train, Adam())


def test_what_is_missing_is_told_when_built() -> None:
    with pytest.raises(ConfigError, match="`train` needs `model`"):
        build(Config(train))
    with pytest.raises(ConfigError, match="`Model` at `model` needs `size`") as caught:
        build(Config(train, Config(Model)))
    assert caught.value.path == ".model.size"


def test_an_exception_says_where_it_was_raised() -> None:
    with pytest.raises(ValueError, match="no luck") as caught:
        build(Config(dict, a=[Config(fails)]))
    notes = getattr(caught.value, "__notes__", ["while building `a[0]`: fails"])
    assert notes == ["while building `a[0]`: fails"]


@given(
    st.lists(st.integers(), min_size=1, max_size=6),
    st.dictionaries(st.sampled_from(["named", "x", "y"]), st.integers()),
)
def test_building_equals_calling(positional: list[int], named: dict[str, int]) -> None:
    assert build(Config(everything, *positional, **named)) == everything(*positional, **named)
    assert build(Partial(everything, *positional, **named))() == everything(*positional, **named)


@given(st.data())
def test_building_equals_calling_whatever_is_nested(data: st.DataObject) -> None:
    def nested(value: tuple[str, Any]) -> tuple[Any, Any]:
        """A value, and the configuration of it."""
        form, inner = value
        if form == "leaf":
            return inner, inner
        pairs = [nested(item) for item in inner]
        values, configs = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        if form == "call":
            return everything(1, *values, deep=values), Config(everything, 1, *configs, deep=configs)
        if form == "dict":
            return dict(enumerate(values)), dict(enumerate(configs))
        return {"list": list, "tuple": tuple}[form](values), {"list": list, "tuple": tuple}[form](configs)

    leaves = st.tuples(st.just("leaf"), st.integers() | st.text() | st.floats(allow_nan=False))
    trees = st.recursive(leaves, lambda inner: st.tuples(st.sampled_from(["call", "dict", "list", "tuple"]), st.lists(inner, max_size=3)))
    value, config = nested(data.draw(trees))
    assert build(config) == value


def test_positional_only_arguments_have_names_too() -> None:
    config = Config(everything, 1)
    config.second = 7
    assert config.second == 7
    assert build(config) == everything(1, 7)
    config.third = 8
    config[0] = 0
    assert build(config) == everything(0, 7, 8)
    with pytest.raises(ConfigError, match="by position only, after `first`"):
        Config(everything, second=3)
    with pytest.raises(IndexError):
        config[5] = 1
    assert build(Config(everything, 1, 2, 3, 4)) == everything(1, 2, 3, 4)


def test_shared_configs_are_built_once() -> None:
    adam = Config(Adam)
    built = build(Config(dict, a=adam, b=[adam, {"c": adam}]))
    assert built["a"] is built["b"][0] is built["b"][1]["c"]
    copied = Config(dict, a=adam, b=adam).clone()
    assert copied.a is copied.b is not adam


def test_a_config_that_holds_itself_is_an_error() -> None:
    config = Config(dict)
    config.inner = [config]
    with pytest.raises(ConfigError, match=r"`inner\[0\]` holds itself"):
        build(config)
    assert "..." in repr(config)


def test_dict_configs() -> None:
    assert build(Config({"a": Config(Adam)})) == {"a": Adam()}
    assert build(Config({})) == {}
    config = Config(dict[str, int], a=1)
    config["not an identifier"] = 2
    assert build(config) == {"a": 1, "not an identifier": 2}
    assert config["a"] == config.a == 1
    with pytest.raises(KeyError):
        config["b"]
    assert build(Config({1: 2})) == {1: 2}


def test_containers_of_other_kinds_keep_their_kind() -> None:
    from collections import OrderedDict, defaultdict

    given: Any = {"point": Point(Config(Adam), 2), "ordered": OrderedDict(a=Config(Adam)), "default": defaultdict(list, a=[1])}
    built = build(given)
    assert built["point"] == Point(Adam(), 2) and type(built["point"]) is Point
    assert type(built["ordered"]) is OrderedDict and built["ordered"]["a"] == Adam()
    assert type(built["default"]) is defaultdict and built["default"]["b"] == []
    assert given["default"] == {"a": [1]}


def test_arguments_may_have_the_names_of_methods() -> None:
    config = Config(methods, clone=5)
    config.diff = 6
    assert (config.clone, config.diff) == (5, 6)
    assert build(config) == (5, 6, 3)
    assert build(Buildable.clone(config)) == (5, 6, 3)
    assert copy.deepcopy(config) == config


def test_automatic_configs_of_annotated_arguments() -> None:
    adam, other = build(Config(with_optional))
    assert adam == Adam() and other() == Adam()
    assert build(Config(with_optional, adam=None, other=None)) == (None, None)
    assert build(Config(with_optional, bind_args=False)) == (None, None)
    config = Config(with_optional)
    config.adam.lr = 7.0
    assert build(config)[0].lr == 7.0


def test_a_default_that_is_a_config_is_built_too() -> None:
    config = Config(with_config_default)
    assert build(config) == (Model(3), Adam(2.0))
    assert build(Config(with_config_default, Model(1), bind_args=False)) == (Model(1), Adam(2.0))
    assert build(Partial(with_config_default))()[1] == Adam(2.0)
    config.adam.lr = 7.0
    assert build(config)[1] == Adam(7.0)
    assert Config(with_config_default).adam.lr == 2.0
    assert config.to_dict()["adam"]["lr"] == 7.0


def test_a_tree_can_be_validated_again() -> None:
    config = Config(dict, a=[Partial(train, layers=[1])])
    validate(config)
    config.a[0].layers.append("x")
    with pytest.raises(ConfigTypeError, match=r"^at `a\[0\]`: `layers\[1\]` of `train`") as caught:
        validate(config)
    assert caught.value.path == ".a[0].layers[1]"
    vars(config.a[0])["nothing"] = config.a[0].layers.pop()
    with pytest.raises(ConfigError, match="no argument `nothing`"):
        validate(config)
    validate([Config(train)])
    with pytest.raises(ConfigError, match="needs `model`"):
        validate([Config(train)], complete=True)
    validate(Config("nowhere.train"))
    with pytest.raises(ConfigError, match="no module"):
        validate(Config("nowhere.train"), resolve=True)


def test_the_targets_of_a_tree() -> None:
    assert targets([Config(train, Config(Model, size=1)), Config(Model)]) == [train, Model]


def test_what_a_dataclass_object_holds_is_built() -> None:
    config = Config(dict)
    config.model = Model(3, optimizer=Config(Adam, lr=2.0))  # type: ignore[arg-type]
    built = build(config)["model"]
    assert built == Model(3, Adam(2.0)) and built is not config.model
    assert isinstance(config.model.optimizer, Config)
    assert build(config.broadcast(lr=4.0))["model"].optimizer == Adam(4.0)
    plain = Model(3)
    assert build([plain])[0] is plain


def test_targets_of_many_kinds() -> None:
    assert build(Config(Plain.doubled, 3)) == Plain(6)
    assert build(Config("fractions.Fraction", 1, 2)) == 0.5
    assert build(Config(functools.partial(train, lr=0.25), Model(1)))[1] == 0.25
    assert build(Config(Target("builtins.dict"), a=1)) == {"a": 1}
    assert build(Config(int, "3")) == 3
    assert build(Partial(Config(train, Model(1), lr=0.25)))()[1] == 0.25
    with pytest.raises(ConfigError, match="can't be called"):
        Config(3)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="`fractions` has no `Fractoin`\nhint: did you mean `fractions.Fraction`"):
        build(Config("fractions.Fractoin"))
    with pytest.raises(ConfigError, match="there is no module `nowhere`"):
        build(Config("nowhere.train"))


def test_a_target_by_name_is_resolved_when_an_argument_is_set() -> None:
    config = Config("fractions.Fraction")
    with pytest.raises(ConfigError, match="did you mean `numerator`"):
        config.numeratr = 3
    deferred = Config(Target("nowhere.train", deferred=True), 1, lr=3)
    deferred.anything = 4
    assert deferred.to_dict() == {"_target_": "nowhere.train", "_args_": [1], "lr": 3, "anything": 4}


def test_equality_looks_through_defaults_and_kinds() -> None:
    assert Config(Adam) == Config(Adam, lr=0.1)
    assert Config(Adam) != Config(Adam, lr=0.2)
    assert Config(Adam) != Partial(Adam)
    assert Config(Adam) != 3
    assert Config("fractions.Fraction") == Config(__import__("fractions").Fraction)
    read = Config(Model, size=1)
    read.layers
    assert read == Config(Model, size=1)
    with pytest.raises(TypeError, match="unhashable"):
        hash(read)


def test_copies_are_independent() -> None:
    config = Config(train, Model(1), layers=[1])
    for made in (config.clone(), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert made == config and type(made) is Config
        made.layers.append(2)
        made.model.size = 9
        assert config.layers == [1] and config.model.size == 1
    shallow = copy.copy(config)
    shallow.lr = 7.0
    assert config.lr == 0.5 and shallow.layers is config.layers


def test_walk_and_broadcast_go_through_containers() -> None:
    config = Config(dict, one=Config(Adam), many=[Config(Adam, lr=1.0), {"x": (Config(Model, size=1, optimizer=Config(Adam)),)}])
    assert config.broadcast(lr=5.0) is config
    assert [config.one.lr, config.many[0].lr, config.many[1]["x"][0].optimizer.lr] == [5.0] * 3
    assert config.walk(lr=lambda part: part.lr * 2) is config
    assert config.many[0].lr == 10.0
    with pytest.raises(ConfigTypeError):
        config.broadcast(lr="fast")


def test_repr_is_the_code_that_makes_it() -> None:
    config = Config(train, Config(Model, size=3), lr=0.25, out=Path("a"))
    assert repr(config) == "Config(train, model=Config(Model, size=3), lr=0.25, out=PosixPath('a'))"
    names = {"Config": Config, "train": train, "Model": Model, "PosixPath": Path}
    assert eval(repr(config), names) == config
    wide = Config(dict, **{f"argument{number}": "x" * 20 for number in range(9)})
    assert eval(repr(wide), names) == wide and "\n" in repr(wide)


def test_subscripts_are_for_annotations() -> None:
    def annotated(config: Config[Model], partial: Optional[Partial[Callable[..., int]]] = None) -> None: ...

    assert Config[Model](Model, size=3) == Config(Model, size=3)
    Config(annotated, Config(Model, size=1), Partial(train))


def test_a_config_is_no_sequence() -> None:
    with pytest.raises(TypeError, match="can't be iterated over"):
        list(Config(Adam))


def test_dir_lists_arguments() -> None:
    assert {"lr", "betas", "clone"} <= set(dir(Config(Adam)))


def test_signatures_are_forgotten_with_their_callables() -> None:
    def made_here(a: int = 1) -> int:
        return a

    Config(made_here, a=2)
    reference = weakref.ref(made_here)
    del made_here
    gc.collect()
    assert reference() is None


def test_threads_may_make_configs_at_once() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for number in range(200):
                assert build(Config(Adam, lr=float(number))).lr == number
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_mixin_gives_a_dataclass_its_config() -> None:
    @dataclass
    class Settings(run.ConfigurableMixin):
        a: int = 1
        inner: Adam = field(default_factory=Adam)
        derived: int = field(init=False, default=0)

        def __post_init__(self) -> None:
            self.derived = self.a + 1

    config = Settings(a=4).to_config()
    assert isinstance(config.inner, Config)
    assert build(config) == Settings(a=4) and build(config).derived == 5
    assert [str(change) for change in Settings(a=4).diff(Settings())] == ["~ a: 1 → 4"]

    class Other(run.ConfigurableMixin):
        pass

    with pytest.raises(ConfigError, match="define `to_config`"):
        Other().to_config()


def test_making_a_config_is_quick() -> None:
    names = [f"argument{number}" for number in range(20)]
    namespace: dict[str, Any] = {}
    exec(f"def wide({', '.join(f'{name}: int = 0' for name in names)}): pass", namespace)
    given = dict.fromkeys(names, 1)
    Config(namespace["wide"], **given)
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(50):
            Config(namespace["wide"], **given)
        best = min(best, (time.perf_counter() - start) / 50)
    assert best < 100e-6
