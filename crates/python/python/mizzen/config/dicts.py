"""Objects from plain dicts, by the annotations of dataclasses."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any, TypeVar, Union, overload

from mizzen.config.check import annotation_text, check, checker
from mizzen.config.signature import MISSING, SignatureInfo, signature_of
from mizzen.errors import ConfigError, ConfigTypeError

__all__ = ["from_dict"]

T = TypeVar("T")


@overload
def from_dict(raw_data: Any, cls: type[T]) -> T: ...
@overload
def from_dict(raw_data: Any, cls: Any) -> Any: ...
def from_dict(raw_data: Any, cls: Any) -> Any:
    """The object that nested dicts and lists describe.

    Args:
        raw_data: what a JSON or YAML file holds.
        cls: a dataclass, or an annotation such as ``list[Layer]`` or ``Model | None``. Fields that a dict leaves out keep their defaults.

    Raises:
        ConfigError: a key is no field of its class, or a field without a default is missing.
        ConfigTypeError: a value has the wrong type.
    """
    return _make(raw_data, cls, "")


def _make(raw: Any, annotation: Any, path: str) -> Any:
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return _make(raw, arguments[0], path)
    if origin is Union or origin is types.UnionType:
        return _make_union(raw, annotation, arguments, path)
    if hasattr(annotation, "__dataclass_fields__") and isinstance(annotation, type):
        return _make_dataclass(raw, annotation, path)
    if origin is not None and hasattr(origin, "__dataclass_fields__"):
        return _make_dataclass(raw, origin, path)
    if isinstance(raw, (list, tuple)):
        if origin is tuple or annotation is tuple:
            return _make_tuple(raw, annotation, arguments, path)
        if origin in (set, frozenset) or annotation in (set, frozenset):
            kind = origin or annotation
            return kind(_make(item, arguments[0] if arguments else Any, f"{path}[{index}]") for index, item in enumerate(raw))
        if isinstance(origin, type) and issubclass(list, origin):
            made = [_make(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(raw)]
            return made
    if isinstance(raw, dict) and isinstance(origin, type) and issubclass(dict, origin) and len(arguments) == 2:
        return {_make_key(key, arguments[0]): _make(item, arguments[1], f"{path}[{key!r}]") for key, item in raw.items()}
    if isinstance(raw, str) and isinstance(annotation, type):
        converted = _from_text(raw, annotation, path)
        if converted is not MISSING:
            return converted
    check(raw, annotation, path)
    return raw


def _from_text(raw: str, annotation: type[Any], path: str) -> Any:
    """Text for what files have no form of."""
    if issubclass(annotation, enum.Enum) and not isinstance(raw, annotation):
        if raw in annotation.__members__:
            return annotation[raw]
        names = ", ".join(f"`{name}`" for name in annotation.__members__)
        raise ConfigTypeError(f"`{path.lstrip('.')}` is to be one of {names}, but is {raw!r}", path=path)
    import pathlib

    return annotation(raw) if issubclass(annotation, pathlib.PurePath) else MISSING


def _make_key(key: Any, annotation: Any) -> Any:
    # The keys of JSON's objects are text.
    if annotation is int and isinstance(key, str):
        try:
            return int(key)
        except ValueError:
            return key
    return key


def _make_tuple(raw: Any, annotation: Any, arguments: tuple[Any, ...], path: str) -> Any:
    if not arguments:
        return tuple(raw)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_make(item, arguments[0], f"{path}[{index}]") for index, item in enumerate(raw))
    if len(raw) != len(arguments):
        raise ConfigTypeError(f"`{path.lstrip('.')}` is to be `{annotation_text(annotation)}`, but has {len(raw)} items", path=path)
    return tuple(_make(item, kind, f"{path}[{index}]") for index, (item, kind) in enumerate(zip(raw, arguments)))


def _make_union(raw: Any, annotation: Any, arguments: tuple[Any, ...], path: str) -> Any:
    if raw is None and type(None) in arguments:
        return None
    # What already fits stays as it is: `int | str` does not turn text into a number.
    for argument in arguments:
        if not isinstance(raw, (dict, list)):
            test = checker(argument)
            if test is not None and test(raw, path) is None:
                return raw
    errors: list[ConfigError] = []
    for argument in arguments:
        if argument is type(None):
            continue
        try:
            return _make(raw, argument, path)
        except ConfigError as error:
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    reasons = "; ".join(str(error).partition("\n")[0] for error in errors)
    raise ConfigTypeError(f"`{path.lstrip('.') or 'the value'}` fits no part of `{annotation_text(annotation)}`: {reasons}", path=path)


def _make_dataclass(raw: Any, kind: type[Any], path: str) -> Any:
    if isinstance(raw, kind):
        return raw
    if not isinstance(raw, dict):
        check(raw, kind, path)
        return raw
    info = signature_of(kind)
    values: dict[str, Any] = {}
    for key, item in raw.items():
        parameter = info.parameters.get(key) if isinstance(key, str) else None
        if parameter is None:
            raise ConfigError(_unknown(kind, key, info), path=f"{path}.{key}")
        values[key] = _make(item, parameter.annotation, f"{path}.{key}")
    missing = [name for name, parameter in info.parameters.items() if parameter.required and name not in values]
    if missing:
        where = f" at `{path.lstrip('.')}`" if path else ""
        raise ConfigError(f"`{kind.__qualname__}`{where} needs {', '.join(f'`{name}`' for name in missing)}", path=f"{path}.{missing[0]}")
    return kind(**values)


def _unknown(kind: type[Any], key: Any, info: SignatureInfo) -> str:
    from difflib import get_close_matches

    near = get_close_matches(str(key), list(info.parameters), n=1)
    fields = kind.__dataclass_fields__
    hint = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(f'`{name}`' for name in info.parameters)}"
    if key in fields and not fields[key].init:
        hint = f"`{key}` is worked out by the class itself"
    return f"`{kind.__qualname__}` has no field `{key}` to set\nhint: {hint}"
