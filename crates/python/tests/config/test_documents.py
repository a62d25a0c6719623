"""Documents: text, files, sections, and what is wrong with them. And paths and dicts."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzen.config import (
    Config,
    ConfigSerializer,
    Partial,
    build,
    dump,
    dumps,
    from_dict,
    get_value,
    load,
    loads,
    set_value,
)
from mizzen.config.documents import read_tree, split_section
from mizzen.config.paths import Name, format_path, parse_path
from mizzen.errors import ConfigError, ConfigTypeError, InstallationError, SerializationError, SetValueError


class Colour(enum.Enum):
    RED = 1


@dataclass
class Layer:
    size: int
    name: str = "layer"


@dataclass
class Model:
    layers: list[Layer] = field(default_factory=list)
    best: Optional[Layer] = None
    by_name: dict[str, Layer] = field(default_factory=dict)
    pair: tuple[int, str] = (1, "a")
    choice: Union[int, Layer, str] = 3
    colour: Colour = Colour.RED
    path: Path = Path("a")
    mode: Literal["a", "b"] = "a"
    numbers: dict[int, float] = field(default_factory=dict)
    made: int = field(default=0, init=False)


def train(model: Any = None, lr: float = 0.1, other: Any = None) -> Any:
    return model, lr, other


def core_formats() -> list[str]:
    try:
        import mizzen._core  # noqa: F401
    except ImportError:
        return ["json"]
    return ["json", "yaml", "toml"]


@pytest.fixture(params=core_formats())
def format(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def example() -> Partial[Any]:
    layer = Config(Layer, size=3)
    return Partial(train, model=Config(Model, best=layer, layers=[layer]), lr=1e-5, other=None)


def test_a_config_comes_back_from_a_file(tmp_path: Path, format: str) -> None:
    file = tmp_path / f"config.{format}"
    dump(example(), file)
    back = load(file)
    assert back == example() and type(back) is Partial
    assert back.model.best is back.model.layers[0]
    assert build(back)() == build(example())()


def test_sections_are_parts(tmp_path: Path, format: str) -> None:
    file = str(tmp_path / f"config.{format}")
    dump(example(), f"{file}:model.best")
    assert load(file) == Config(Layer, size=3)
    dump(example(), file)
    assert load(f"{file}:model.best") == Config(Layer, size=3)
    assert load(f"{file}:model.layers[0]") == Config(Layer, size=3)
    assert load(file, section="lr") == 1e-5
    assert read_tree(f"{file}:model.best")["size"] == 3
    with pytest.raises(SerializationError, match="has no section `modle`\nhint: did you mean `model`"):
        load(f"{file}:modle.best")


def test_a_reference_out_of_a_section_is_followed() -> None:
    text = json.dumps({"a": {"_target_": "builtins.dict", "_id_": "1", "x": 1}, "b": {"c": {"_ref_": "1"}}})
    assert loads(text, section="b.c") == Config(dict, x=1)


def test_splitting_sections() -> None:
    assert split_section("a.yaml") == ("a.yaml", None)
    assert split_section("a.yaml:b.c") == ("a.yaml", "b.c")
    assert split_section("dir.yaml/a.toml:b") == ("dir.yaml/a.toml", "b")
    assert split_section("a:b/c.json") == ("a:b/c.json", None)
    assert split_section(Path("a.yml")) == ("a.yml", None)


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SerializationError, match="can't be read: No such file"):
        load(tmp_path / "missing.json")
    with pytest.raises(SerializationError, match="is to end in"):
        load(tmp_path / "missing.txt")
    (tmp_path / "bad.json").write_text('{"a": 1,}')
    with pytest.raises(SerializationError, match=r"bad.json:1:\d: "):
        load(tmp_path / "bad.json")
    (tmp_path / "bytes.json").write_bytes(b'"\xff"')
    with pytest.raises(SerializationError, match="no UTF-8 text"):
        load(tmp_path / "bytes.json")
    with pytest.raises(SerializationError, match="stands twice"):
        loads('{"a": 1, "a": 2}')
    with pytest.raises(SerializationError, match="`NaN` is no JSON"):
        loads("NaN")
    with pytest.raises(SerializationError, match="there is no format 'xml'"):
        dumps(1, "xml")
    (tmp_path / "wrong.json").write_text('{"_target_": "a.b", "c": {"_type_": "uuid", "value": 3}}')
    with pytest.raises(SerializationError, match=r"wrong.json: `c` can't be read") as caught:
        load(tmp_path / "wrong.json")
    assert caught.value.path == ".c"


def test_yaml_of_nemo_run_is_read() -> None:
    if "yaml" not in core_formats():
        pytest.skip("the extension module is not built")
    text = f"_target_: {__name__}.train\n_partial_: true\nmodel:\n  _target_: {__name__}.Layer\n  size: 3\nlr: 1.0e-3\n"
    assert loads(text, "yaml") == Partial(train, model=Config(Layer, size=3), lr=1e-3)


def test_without_the_extension_json_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "mizzen._core", None)
    assert loads(dumps(example())) == example()
    with pytest.raises(InstallationError, match="hint: install mizzen with pip"):
        dumps(example(), "yaml")


def test_the_serializer_has_the_names_of_nemo_run(tmp_path: Path) -> None:
    serializer = ConfigSerializer()
    assert serializer.deserialize_json(serializer.serialize_json(example())) == example()
    serializer.dump(example(), tmp_path / "a.json")
    assert serializer.load(tmp_path / "a.json") == example()
    serializer.dump_dict({"a": {"b": 1}}, f"{tmp_path}/b.json", section="a")
    assert serializer.load_dict(f"{tmp_path}/b.json") == {"b": 1}
    assert example().to_json() == serializer.serialize_json(example())


steps = st.lists(st.integers() | st.text(max_size=5) | st.from_regex(r"[a-z_]\w{0,4}", fullmatch=True).map(Name), min_size=1, max_size=5)


@given(steps)
def test_paths_are_read_as_they_are_written(steps: list[Any]) -> None:
    parsed = parse_path(format_path(steps))
    assert parsed == steps and [type(step) for step in parsed] == [type(step) for step in steps]


@pytest.mark.parametrize("path", ["", "a..b", "a[", "a[b]", "[0]a", "a b", "1a", "a.[0", "a['b]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(SetValueError):
        parse_path(path)


def test_setting_by_path() -> None:
    config = Config(train, model=Config(Model, layers=[Config(Layer, size=1)], by_name={"k": Config(Layer, size=2)}))
    set_value(config, "model.layers[0].size", 7)
    set_value(config, "model.by_name['k'].size", 8)
    set_value(config, ".model.by_name.k.name", "here")
    set_value(config, "model.layers[-1].name", "last")
    assert get_value(config, "model.layers[0]") == Config(Layer, size=7, name="last")
    assert get_value(config, "model.by_name") == {"k": Config(Layer, size=8, name="here")}
    assert get_value(config, "lr") == 0.1
    for path, message in [
        ("modle.layers", "did you mean `model`"),
        ("model.layers[5].size", "nothing stands at `model.layers[5]`"),
        ("model.by_name['x'].size", "there is no key 'x'"),
        ("model.sise", "has no argument `sise`"),
        ("model.pair[0]", "a tuple can't be changed"),
        ("lr.x", "`lr.x` can't be set"),
    ]:
        with pytest.raises(SetValueError) as caught:
            set_value(config, path, 1)
        assert message in str(caught.value)
    with pytest.raises(ConfigTypeError) as caught_type:
        set_value(config, "model.layers[0].size", "x")
    assert caught_type.value.path == ".model.layers[0].size"


def test_objects_from_dicts_keep_defaults() -> None:
    made = from_dict(
        {
            "layers": [{"size": 1}, {"size": 2, "name": "b"}],
            "best": {"size": 3},
            "by_name": {"x": {"size": 4}},
            "pair": [2, "b"],
            "choice": {"size": 5},
            "colour": "RED",
            "path": "b/c",
            "numbers": {"1": 0.5},
        },
        Model,
    )
    assert made == Model(
        [Layer(1), Layer(2, "b")], Layer(3), {"x": Layer(4)}, (2, "b"), Layer(5), Colour.RED, Path("b/c"), "a", {1: 0.5}
    )
    assert from_dict({}, Model) == Model()
    assert from_dict({"best": None}, Model).best is None
    assert from_dict([{"size": 1}], list[Layer]) == [Layer(1)]
    assert from_dict(None, Optional[Layer]) is None
    assert from_dict({"choice": "text"}, Model).choice == "text"


@pytest.mark.parametrize(
    ("raw", "path", "message"),
    [
        ({"layers": [{"size": 1}, {"sise": 2}]}, ".layers[1].sise", "did you mean `size`"),
        ({"best": {}}, ".best.size", "`Layer` at `best` needs `size`"),
        ({"layers": [{"size": "x"}]}, ".layers[0].size", "is to be `int`"),
        ({"colour": "PINK"}, ".colour", "one of `RED`"),
        ({"pair": [1]}, ".pair", "has 1 items"),
        ({"mode": "c"}, ".mode", "Literal"),
        ({"made": 3}, ".made", "worked out by the class"),
        ({"choice": []}, ".choice", "fits no part"),
        ([], "", "is to be `Model`"),
    ],
)
def test_dicts_that_do_not_fit_say_where(raw: Any, path: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_dict(raw, Model)
    assert caught.value.path == path
    assert message in str(caught.value)
