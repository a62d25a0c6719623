"""Configuring what is not imported: `lazy_imports` and `LazyEntrypoint`.

```text
with lazy_imports(): import torch ──→ Standin("torch") ── .nn.Linear ──→ Standin("torch.nn.Linear") ── (3, 4) ──→ Config(Target, 3, 4)
```

While a `with lazy_imports():` block runs, `builtins.__import__` is a function that looks at who imports: only import statements of
the module that opened the block, in the thread that opened it, get stand-ins; all others are passed on unchanged. When the last
block ends the original function stands there again. `sys.modules` is never touched.
"""

from __future__ import annotations

import builtins
import sys
import threading
from types import TracebackType
from typing import Any, Callable

from mizzen.config.buildable import Buildable, Config, Partial
from mizzen.config.paths import get_value, set_value
from mizzen.config.target import Target
from mizzen.errors import ConfigError, SetValueError

__all__ = ["LazyEntrypoint", "Standin", "lazy_imports"]


class Standin(Target):
    """A module, or something in one, that was not imported.

    Attributes give further stand-ins. Calling it gives a Config, as calling a class gives an object.
    """

    __slots__ = ()

    def __init__(self, path: str) -> None:
        super().__init__(path, deferred=True)

    def __getattr__(self, name: str) -> Standin:
        if name.startswith("__") or name.startswith(("_repr_", "_ipython_")):
            raise AttributeError(f"`{self.path}` was imported lazily, so its `{name}` is not known")
        return Standin(f"{self.path}.{name}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"`{self.path}` was imported lazily, so its `{name}` can't be set")

    def __call__(self, *args: Any, **kwargs: Any) -> Config[Any]:
        return Config(Target(self.path, deferred=True), *args, **kwargs)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        raise ConfigError(f"`{self.path}` was imported lazily, so no class can be derived from it\nhint: import it outside of lazy_imports()")

    def __repr__(self) -> str:
        return f"<{self.path}, not imported>"


Import = Callable[..., Any]


class _Block:
    """One open `with` block: whose imports it takes."""

    __slots__ = ("fallback", "names", "thread")

    def __init__(self, names: dict[str, Any], fallback: bool) -> None:
        self.names = names
        self.fallback = fallback
        self.thread = threading.get_ident()


class _Hook:
    """Stands for `builtins.__import__` while a block is open."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.blocks: list[_Block] = []
        # What stands below ours, and ours.
        self.original: Import | None = None
        self.installed: Import | None = None

    def open(self, block: _Block) -> None:
        with self.lock:
            self.blocks = [*self.blocks, block]
            # Ours may have been covered, or taken away: then it is put on top of what is there.
            if builtins.__import__ is not self.installed:
                original = self.original = builtins.__import__

                def lazy_import(
                    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
                ) -> Any:
                    blocks = self.blocks
                    if blocks and globals is not None:
                        thread = threading.get_ident()
                        for open_block in reversed(blocks):
                            if open_block.thread == thread and open_block.names is globals:
                                return _stand_in(original, open_block, name, globals, locals, fromlist, level)
                    return original(name, globals, locals, fromlist, level)

                self.installed = lazy_import
                builtins.__import__ = lazy_import

    def close(self, block: _Block) -> None:
        with self.lock:
            self.blocks = [other for other in self.blocks if other is not block]
            # Somebody else may have put a function of their own over ours: then ours stays below it, and passes everything on.
            if not self.blocks and builtins.__import__ is self.installed and self.original is not None:
                builtins.__import__ = self.original
                self.installed = self.original = None


_hook = _Hook()


def _stand_in(original: Import, block: _Block, name: str, globals: Any, locals: Any, fromlist: Any, level: int) -> Any:
    if level > 0:
        package = (globals.get("__package__") or globals.get("__name__", "").rpartition(".")[0]).split(".")
        if len(package) < level or not package[0]:
            return original(name, globals, locals, fromlist, level)
        name = ".".join(package[: len(package) - level + 1] + ([name] if name else []))
    elif name.partition(".")[0] in sys.stdlib_module_names or name.partition(".")[0] in ("mizzen", "nemo_run"):
        return original(name, globals, locals, fromlist, level)
    if fromlist and "*" in fromlist:
        raise ConfigError(f"`from {name} import *` can't be lazy\nhint: name what you import")
    if block.fallback:
        try:
            return original(name, globals, locals, fromlist)
        except ImportError:
            pass
    return Standin(name if fromlist else name.partition(".")[0])


class lazy_imports:  # noqa: N801 - used like a function
    """Within ``with lazy_imports():``, imports give stand-ins and load nothing.

    Stand-ins can be configured (``Config(torch.nn.Linear, 3)``), called (which gives a Config), and written into documents; what
    they name is imported where the configuration is built. The standard library and Mizzen are imported as always. Only import
    statements of the module that opens the block, in its thread, are lazy.

    Args:
        fallback_to_lazy: whether to import as always, and to use stand-ins only for what can't be imported.
    """

    def __init__(self, fallback_to_lazy: bool = False) -> None:
        self.fallback_to_lazy = fallback_to_lazy
        self._blocks: list[_Block] = []

    def __enter__(self) -> None:
        block = _Block(sys._getframe(1).f_globals, self.fallback_to_lazy)
        self._blocks.append(block)
        _hook.open(block)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        _hook.close(self._blocks.pop())


_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": lambda _, value: value,
    "+=": lambda old, value: old + value,
    "-=": lambda old, value: old - value,
    "*=": lambda old, value: old * value,
    "/=": lambda old, value: old / value,
    "|=": lambda old, value: old | value,
    "&=": lambda old, value: old & value,
}


class LazyEntrypoint(Buildable[Any]):
    """An entry point whose changes are kept until it is resolved: nothing is imported before.

    >>> task = LazyEntrypoint("package.recipes.pretrain")
    >>> task.model.size = 3
    >>> task.trainer.max_steps *= 2
    >>> task.resolve()
    Partial(pretrain, …)
    """

    __slots__ = ("__changes__", "__factory__", "__overwrites__", "__yaml__")

    __changes__: list[tuple[str, str, Any]]
    __factory__: Any
    __overwrites__: list[str]
    __yaml__: str | None

    def __init__(
        self,
        target: Callable[..., Any] | Target | str,
        factory: Callable[..., Any] | Target | str | None = None,
        yaml: str | None = None,
        overwrites: list[str] | None = None,
    ) -> None:
        """Names the entry point.

        Args:
            target: a function, or its import path.
            factory: a function without required arguments, or its import path, that returns the Partial to start from.
            yaml: a file, with section if need be (``file.yaml:section``), to start from; ``.json`` and ``.toml`` work too.
            overwrites: changes as on a command line, such as ``"model.size=3"``; applied in their order, before later ones.
        """
        super().__init__(target if not isinstance(target, str) else Target(target, deferred=True), bind_args=False)
        _set(self, "__factory__", factory)
        _set(self, "__yaml__", yaml)
        _set(self, "__overwrites__", list(overwrites or ()))
        _set(self, "__changes__", [])

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)
        return _Recorder(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (isinstance(value, _Recorder) and _leads_to(value, self, name)):
            self.__changes__.append((name, "=", value))

    def resolve(self, ctx: Any = None) -> Partial[Any]:
        """The Partial with all changes made, in their order. Imports the entry point.

        Args:
            ctx: the context of a command line, handed to its parser of `overwrites`; not needed otherwise.

        Raises:
            ConfigError: a change can't be made; `path` says which.
        """
        task = self._start()
        if self.__overwrites__:
            from mizzen.cli import parse_cli_args

            given = parse_cli_args(task, list(self.__overwrites__), output_type=Partial)
            task = given if isinstance(given, Partial) else Partial(given)
        for path, operator, value in self.__changes__:
            _make_holders(task, path)
            set_value(task, path, value if operator == "=" else _OPERATORS[operator](get_value(task, path), value))
        return task

    def _start(self) -> Partial[Any]:
        if self.__factory__ is not None and self.__yaml__ is not None:
            raise ConfigError("a LazyEntrypoint starts from a factory or from a file, not from both")
        if self.__yaml__ is not None:
            from mizzen.config.documents import load

            loaded = load(self.__yaml__)
            if isinstance(loaded, dict):
                return Partial(_awake(self.__target__), **loaded)
            if not isinstance(loaded, Buildable):
                raise ConfigError(f"`{self.__yaml__}` holds no configuration, but {type(loaded).__qualname__}")
            return Partial(loaded)
        if self.__factory__ is not None:
            factory = Target(self.__factory__) if isinstance(self.__factory__, str) else self.__factory__
            made = (factory.resolve() if isinstance(factory, Target) else factory)()
            if not isinstance(made, Buildable):
                raise ConfigError(f"the factory of a LazyEntrypoint returned {made!r}, which is no configuration")
            return Partial(made)
        return Partial(_awake(self.__target__))

    def __resolved__(self) -> Partial[Any]:
        return self.resolve()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LazyEntrypoint):
            return NotImplemented
        return _state(self) == _state(other)

    __hash__ = None

    def __shown__(self) -> str:
        path = self.__target__.path if isinstance(self.__target__, Target) else self.__target__.__qualname__
        changes = "".join(f", {name} {operator} {value!r}" for name, operator, value in self.__changes__)
        return f"LazyEntrypoint({path!r}{changes})"

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyEntrypoint:
        from copy import deepcopy

        copied = LazyEntrypoint(self.__target__, self.__factory__, self.__yaml__, self.__overwrites__)
        copied.__changes__.extend(deepcopy(self.__changes__, memo))
        return copied

    def __copy__(self) -> LazyEntrypoint:
        copied = LazyEntrypoint(self.__target__, self.__factory__, self.__yaml__, self.__overwrites__)
        copied.__changes__.extend(self.__changes__)
        return copied

    def clone(self) -> LazyEntrypoint:
        """A copy, whose changes are its own."""
        return self.__deepcopy__({})

    def __reduce__(self) -> tuple[Any, ...]:
        return (LazyEntrypoint, _state(self)[:4], _state(self)[4])

    def __setstate__(self, state: Any) -> None:
        self.__changes__.extend(state)


_set = object.__setattr__


def _state(entrypoint: LazyEntrypoint) -> tuple[Any, ...]:
    return (entrypoint.__target__, entrypoint.__factory__, entrypoint.__yaml__, entrypoint.__overwrites__, entrypoint.__changes__)


def _awake(target: Any) -> Any:
    return Target(target.path).resolve() if isinstance(target, Target) else target


def _make_holders(task: Any, path: str) -> None:
    """Gives `model` a Config where `model.size` is to be set and only the annotation says what a model is."""
    from mizzen.config.paths import Name, format_path, parse_path
    from mizzen.config.signature import MISSING

    steps = parse_path(path)
    holder = task
    for number, step in enumerate(steps[:-1]):
        if isinstance(holder, Buildable) and isinstance(step, Name):
            info = holder.__signature_info__()
            parameter = info.parameters.get(step) if info is not None else None
            unset = step not in vars(holder) and parameter is not None and (parameter.default is MISSING or parameter.default is None)
            if unset and parameter is not None and parameter.factory is None:
                from mizzen.config.hints import get_underlying_types

                kinds = [kind for kind in get_underlying_types(parameter.annotation) if isinstance(kind, type) and kind is not type(None)]
                if len(kinds) == 1 and kinds[0].__module__ != "builtins":
                    setattr(holder, step, Config(kinds[0]))
        try:
            holder = get_value(holder, format_path([step]))
        except SetValueError:
            return


class _Recorder:
    """A path below a LazyEntrypoint: what is done to it is noted there."""

    __slots__ = ("__entry__", "__path__")

    __entry__: LazyEntrypoint
    __path__: str

    def __init__(self, entry: LazyEntrypoint, path: str) -> None:
        _set(self, "__entry__", entry)
        _set(self, "__path__", path)

    def __getattr__(self, name: str) -> _Recorder:
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)
        return _Recorder(self.__entry__, f"{self.__path__}.{name}")

    def __getitem__(self, key: int | str) -> _Recorder:
        return _Recorder(self.__entry__, f"{self.__path__}[{key!r}]")

    def __setattr__(self, name: str, value: Any) -> None:
        self._note(f"{self.__path__}.{name}", value)

    def __setitem__(self, key: int | str, value: Any) -> None:
        self._note(f"{self.__path__}[{key!r}]", value)

    def _note(self, path: str, value: Any) -> None:
        # `a.b *= 2` notes the product by itself, and then assigns the recorder.
        if not (isinstance(value, _Recorder) and _leads_to(value, self.__entry__, path)):
            self.__entry__.__changes__.append((path, "=", value))

    def _operate(self, operator: str, value: Any) -> _Recorder:
        self.__entry__.__changes__.append((self.__path__, operator, value))
        return self

    def __iadd__(self, value: Any) -> _Recorder:
        return self._operate("+=", value)

    def __isub__(self, value: Any) -> _Recorder:
        return self._operate("-=", value)

    def __imul__(self, value: Any) -> _Recorder:
        return self._operate("*=", value)

    def __itruediv__(self, value: Any) -> _Recorder:
        return self._operate("/=", value)

    def __ior__(self, value: Any) -> _Recorder:
        return self._operate("|=", value)

    def __iand__(self, value: Any) -> _Recorder:
        return self._operate("&=", value)

    def __repr__(self) -> str:
        return f"<`{self.__path__}`, not resolved>"


def _leads_to(recorder: _Recorder, entry: LazyEntrypoint, path: str) -> bool:
    return recorder.__entry__ is entry and recorder.__path__ == path
