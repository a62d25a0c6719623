"""Building: calling what is configured, innermost first; and walking a tree of configurations."""

from __future__ import annotations

from typing import Any, Callable, Iterator, TypeVar, overload

from mizzen.config.buildable import _SCALARS, Buildable, Config, Partial, _check_named, _check_position, is_fiddle
from mizzen.config.signature import SignatureInfo, signature_of
from mizzen.config.target import Target
from mizzen.errors import ConfigError

__all__ = ["build", "iterate", "targets", "validate"]

T = TypeVar("T")


def iterate(value: Any, path: str = "") -> Iterator[tuple[str, Buildable[Any]]]:
    """Every Buildable of a tree with its path, each once, outer ones first; through lists, tuples, sets, dicts and dataclass objects."""
    yield from _iterate(value, path, set())


def _iterate(value: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Buildable[Any]]]:
    if type(value) in _SCALARS:
        return
    if isinstance(value, Buildable):
        if id(value) in seen:
            return
        seen.add(id(value))
        yield path, value
        for index, item in enumerate(value.__positional__):
            yield from _iterate(item, f"{path}[{index}]", seen)
        for name, item in list(value.__dict__.items()):
            yield from _iterate(item, f"{path}.{name}", seen)
    elif isinstance(value, (list, tuple, set, frozenset, dict)):
        # Containers that hold themselves would have no end.
        if id(value) in seen:
            return
        seen.add(id(value))
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _iterate(item, f"{path}[{key!r}]", seen)
    elif hasattr(type(value), "__dataclass_fields__"):
        if id(value) in seen:
            return
        seen.add(id(value))
        for name in type(value).__dataclass_fields__:
            yield from _iterate(getattr(value, name, None), f"{path}.{name}", seen)


def targets(value: Any) -> list[Any]:
    """What a tree of configurations calls: each function, class or `Target` once, outer ones first."""
    found: list[Any] = []
    for _, part in iterate(value):
        if not any(part.__target__ is known for known in found):
            found.append(part.__target__)
    return found


def validate(value: Any, *, complete: bool = False, resolve: bool = False) -> None:
    """Checks a whole tree again: what stands in lists and dicts may have been changed since it was set.

    Args:
        value: a Config, Partial, or container of them.
        complete: whether arguments without a default must be set as well (a Partial may lack some).
        resolve: whether targets that are not imported yet are imported, to be checked too.

    Raises:
        ConfigError: there is no such argument, or one is missing.
        ConfigTypeError: a value has the wrong type. `path` says where, from the root.
    """
    for path, part in iterate(value):
        if isinstance(part.__target__, Target) and not resolve:
            continue
        info = part.__signature_info__()
        if info is None or info.open:
            continue
        try:
            for index, item in enumerate(part.__positional__):
                _check_position(info, index, item)
            for name, item in vars(part).items():
                _check_named(info, name, item)
        except ConfigError as error:
            error.path = path + error.path
            if path:
                error.args = (f"at `{path.lstrip('.')}`: {error.args[0]}", *error.args[1:])
            raise
        if complete and not isinstance(part, Partial):
            _require(info, path, vars(part), len(part.__positional__))


def _require(info: SignatureInfo, path: str, named: Any, positional: int) -> None:
    missing = [
        name
        for index, name in enumerate(info.parameters)
        if name not in named and info.parameters[name].required and not (name in info.positional and index < positional)
    ]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        raise ConfigError(f"`{info.name}`{f' at `{path.lstrip(chr(46))}`' if path else ''} needs {names}", path=f"{path}.{missing[0]}")


@overload
def build(value: Config[T]) -> T: ...
@overload
def build(value: Partial[T]) -> Callable[..., T]: ...
@overload
def build(value: Any) -> Any: ...
def build(value: Any) -> Any:
    """Calls what is configured, innermost first.

    Args:
        value: a Config (its target is called), a Partial (a `functools.partial` is made), or a list, tuple, set or dict, whose
            parts are built; anything else is returned as it is. An object that stands in several places is built once.

    Raises:
        ConfigError: an argument without a default was not set, a target can't be found, a Config holds itself.
        Exception: what a target raises, with a note of where (Python >= 3.11).
    """
    return _Builder().build(value, "")


class _Builder:
    __slots__ = ("kept", "memo", "under_way")

    def __init__(self) -> None:
        self.memo: dict[int, Any] = {}
        self.kept: list[Any] = []
        self.under_way: set[int] = set()

    def build(self, value: Any, path: str) -> Any:
        kind = type(value)
        if kind in _SCALARS:
            return value
        key = id(value)
        if key in self.memo:
            return self.memo[key]
        buildable = isinstance(value, Buildable)
        if not buildable and not isinstance(value, (list, tuple, dict, set, frozenset)):
            # Before `__build__`, which fiddle's objects have as well, in another form.
            if is_fiddle(value):
                from mizzen.config.fiddle import from_fiddle

                made = self.build(from_fiddle(value, {}), path)
            elif hasattr(kind, "__build__"):
                made = value.__build__(lambda inner: self.build(inner, path))
            elif hasattr(kind, "__dataclass_fields__") and any(True for _ in iterate(value)):
                made = self.dataclass(value, kind, path)
            else:
                return value
        else:
            if key in self.under_way:
                raise ConfigError(f"`{path.lstrip('.') or 'the configuration'}` holds itself, so it can't be built", path=path)
            self.under_way.add(key)
            try:
                made = self.call(value, path) if buildable else self.container(value, kind, path)
            finally:
                self.under_way.discard(key)
        self.memo[key] = made
        # An object that goes away would leave its id to another one.
        self.kept.append(value)
        return made

    def container(self, value: Any, kind: type[Any], path: str) -> Any:
        if isinstance(value, dict):
            built = {self.build(key, path): self.build(item, f"{path}[{key!r}]") for key, item in value.items()}
            return built if kind is dict else _refilled(value, built)
        items = [self.build(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if kind is list:
            return items
        if kind in (tuple, set, frozenset):
            return kind(items)
        if all(new is old for new, old in zip(items, value)):
            return value
        if hasattr(kind, "_make"):
            return kind._make(items)
        return _refilled(value, items) if isinstance(value, (list, set)) else kind(items)

    def dataclass(self, value: Any, kind: type[Any], path: str) -> Any:
        """An equal object with what it holds built: the configuration's own object stays as it is."""
        made = object.__new__(kind)
        self.memo[id(value)] = made
        getattr(made, "__dict__", {}).update(getattr(value, "__dict__", {}))
        for name, field in kind.__dataclass_fields__.items():
            if field._field_type.name == "_FIELD" and hasattr(value, name):
                object.__setattr__(made, name, self.build(getattr(value, name), f"{path}.{name}"))
        return made

    def call(self, config: Buildable[Any], path: str) -> Any:
        resolver = getattr(type(config), "__resolved__", None)
        if resolver is not None:
            return self.build(resolver(config), path)
        target = config.__target__
        if isinstance(target, Target):
            try:
                target = target.resolve()
            except ConfigError as error:
                error.path = error.path if path == "" else path
                raise
        positional = [self.build(item, f"{path}[{index}]") for index, item in enumerate(config.__positional__)]
        named = {name: self.build(item, f"{path}.{name}") for name, item in config.__dict__.items()}
        info = signature_of(target)
        for name in info.built_defaults:
            # Python would hand over the configuration itself.
            parameter = info.parameters[name]
            if parameter.positional_only:
                if info.positional.index(name) == len(positional):
                    positional.append(self.build(parameter.default, f"{path}.{name}"))
            elif name not in named and name not in info.positional[: len(positional)]:
                named[name] = self.build(parameter.default, f"{path}.{name}")
        if isinstance(config, Partial):
            from functools import partial

            return partial(target, *positional, **named)
        _require(info, path, named, len(positional))
        try:
            return target(*positional, **named)
        except Exception as error:
            if path and hasattr(error, "add_note") and not any("while building" in note for note in getattr(error, "__notes__", ())):
                error.add_note(f"while building `{path.lstrip('.')}`: {info.name}")
            raise


def _refilled(value: Any, items: Any) -> Any:
    from copy import copy

    filled = copy(value)
    filled.clear()
    filled.extend(items) if isinstance(filled, list) else filled.update(items)
    return filled
