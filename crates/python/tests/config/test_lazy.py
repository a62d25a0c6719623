"""lazy_imports and LazyEntrypoint: configuring what is not imported."""

from __future__ import annotations

import builtins
import copy
import pickle
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import mizzen as run
from mizzen.config import Config, LazyEntrypoint, Partial, build, decode, dump, encode
from mizzen.errors import ConfigError, SetValueError


@dataclass
class Model:
    size: int = 1
    name: str = "m"


def train(model: Model, lr: float = 1.0, tags: list[str] = ["a"], count: int = 2) -> Any:
    return model, lr, tags, count


def recipe() -> Partial[Any]:
    return Partial(train, model=Config(Model, size=5))


def test_imports_within_give_standins_and_load_nothing() -> None:
    original = builtins.__import__
    with run.lazy_imports():
        import nowhere_at_all.models
        import nowhere_at_all.models as models
        from nowhere_at_all.recipes import pretrain
        import json

        import mizzen
    assert builtins.__import__ is original
    assert "nowhere_at_all" not in sys.modules
    assert json is sys.modules["json"] and mizzen is run
    config = Config(pretrain, model=models.Llama(hidden=3), act=nowhere_at_all.models.gelu)
    config.anything = 3
    assert encode(config) == {
        "_target_": "nowhere_at_all.recipes.pretrain",
        "model": {"_target_": "nowhere_at_all.models.Llama", "hidden": 3},
        "act": {"_target_": "nowhere_at_all.models.gelu", "_call_": False},
        "anything": 3,
    }
    assert decode(encode(config)) == config
    for made in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert made == config
    with pytest.raises(ConfigError, match="there is no module `nowhere_at_all`"):
        build(config)


def test_standins_of_what_is_there_are_built() -> None:
    source = "import mizzen as run\nwith run.lazy_imports():\n    import colorsys_user as c\n    from yaml_like.loader import load\n"
    names: dict[str, Any] = {"__name__": "somewhere"}
    exec(source, names)
    assert repr(names["c"].thing) == "<colorsys_user.thing, not imported>"
    assert names["load"] == names["load"]
    with pytest.raises(AttributeError):
        names["c"].x = 1


def test_only_the_module_and_thread_of_the_block_are_lazy() -> None:
    results: dict[str, Any] = {}

    def elsewhere() -> None:
        try:
            import nowhere_in_a_thread  # noqa: F401
        except ImportError as error:
            results["thread"] = error

    other = {"__name__": "another_module"}
    with run.lazy_imports():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        with pytest.raises(ImportError):
            exec("import nowhere_in_another_module", other)
    assert isinstance(results["thread"], ImportError)


def test_blocks_may_nest_and_fail() -> None:
    original = builtins.__import__
    block = run.lazy_imports()
    with pytest.raises(RuntimeError), block, block, run.lazy_imports():
        raise RuntimeError
    assert builtins.__import__ is original
    with pytest.raises(ImportError):
        import nowhere_at_all_again  # noqa: F401


def test_threads_open_and_close_blocks_at_once() -> None:
    original = builtins.__import__
    failures: list[Any] = []

    def work(number: int) -> None:
        names: dict[str, Any] = {"__name__": f"module{number}", "run": run}
        code = compile("with run.lazy_imports():\n    import nowhere_lazy\n", "<test>", "exec")
        for _ in range(100):
            exec(code, names)
            if type(names["nowhere_lazy"]).__name__ != "Standin":
                failures.append(names)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == [] and builtins.__import__ is original


def test_somebody_elses_import_function_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__
    with run.lazy_imports():
        ours = builtins.__import__

        def theirs(*args: Any, **kwargs: Any) -> Any:
            return ours(*args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", theirs)
    assert builtins.__import__ is theirs
    import fractions

    assert fractions
    with pytest.raises(ImportError):
        import nowhere_at_all_once_more  # noqa: F401
    monkeypatch.undo()
    builtins.__import__ = original
    with run.lazy_imports():
        import nowhere_later
    assert repr(nowhere_later) == "<nowhere_later, not imported>"
    assert builtins.__import__ is original


def test_falling_back_only_for_what_is_not_there() -> None:
    with run.lazy_imports(fallback_to_lazy=True):
        import hypothesis
        import nowhere_to_be_found as nowhere
    assert hypothesis is sys.modules["hypothesis"]
    assert repr(nowhere) == "<nowhere_to_be_found, not imported>"


def test_relative_and_star_imports() -> None:
    names: dict[str, Any] = {"__name__": "pkg.sub.mod", "__package__": "pkg.sub", "run": run}
    exec("with run.lazy_imports():\n    from .near import a\n    from ..far import b\n    from . import c\n", names)
    assert [names[name].path for name in "abc"] == ["pkg.sub.near.a", "pkg.far.b", "pkg.sub.c"]
    with pytest.raises(ConfigError, match="can't be lazy"):
        exec("with run.lazy_imports():\n    from nowhere import *\n", names)
    with pytest.raises(ConfigError, match="no class can be derived"):
        exec("class C(a): pass", names)


def test_an_entrypoint_keeps_changes_until_it_is_resolved() -> None:
    task = LazyEntrypoint(f"{__name__}.train")
    task.model.size = 3
    task.model.size *= 4
    task.lr += 1
    task.tags += ["b"]
    task.count |= 5
    assert task.resolve() == Partial(train, model=Config(Model, size=12), lr=2.0, tags=["a", "b"], count=7)
    assert "LazyEntrypoint(" in repr(task)
    for made in (task.clone(), copy.copy(task), pickle.loads(pickle.dumps(task))):
        assert made == task and made.resolve() == task.resolve()
        made.lr = 5.0
        assert made != task
    assert train(Model()).__class__ is tuple and train(Model())[2] == ["a"]


def test_an_entrypoint_is_written_and_built_as_what_it_stands_for() -> None:
    task = LazyEntrypoint(train)
    task.model.size = 3
    assert decode(encode(task)) == task.resolve()
    assert build(task)()[0] == Model(3)


def test_an_entrypoint_starts_from_a_factory_or_a_file(tmp_path: Path) -> None:
    assert LazyEntrypoint(train, factory=recipe).resolve() == recipe()
    task = LazyEntrypoint(train, factory=f"{__name__}.recipe")
    task.model.name = "n"
    assert task.resolve().model == Config(Model, size=5, name="n")
    file = tmp_path / "a.json"
    dump(recipe(), file)
    assert LazyEntrypoint(train, yaml=str(file)).resolve() == recipe()
    dump({"model": Config(Model, size=6)}, file)
    assert LazyEntrypoint(train, yaml=str(file)).resolve().model.size == 6
    with pytest.raises(ConfigError, match="not from both"):
        LazyEntrypoint(train, recipe, str(file)).resolve()
    with pytest.raises(ConfigError, match="is no configuration"):
        LazyEntrypoint(train, factory=Model).resolve()


def test_changes_that_cannot_be_made_are_told_when_resolved() -> None:
    task = LazyEntrypoint(train)
    task.model.sise = 3
    with pytest.raises(SetValueError, match="did you mean `size`"):
        task.resolve()
    with pytest.raises(ConfigError, match="there is no module `nowhere`"):
        LazyEntrypoint("nowhere.train").resolve()
