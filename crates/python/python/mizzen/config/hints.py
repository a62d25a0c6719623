"""Annotations: the ones that ask for a Config, and questions about any."""

from __future__ import annotations

import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Optional, TypeVar, Union

from mizzen.config.buildable import Config, Partial

__all__ = ["OptionalDefaultConfig", "OptionalDefaultPartial", "get_type_namespace", "get_underlying_types"]

T = TypeVar("T")

OptionalDefaultConfig = Annotated[Optional[T], Config[T]]
"""`OptionalDefaultConfig[Adam]`: an `Adam` or None; a Config of the function gets a `Config(Adam)` for it by itself."""
OptionalDefaultPartial = Annotated[Optional[T], Partial[T]]
"""`OptionalDefaultPartial[Adam]`: the same with `Partial(Adam)`."""


def get_type_namespace(typ: Any) -> str:
    """The name by which factories of a type are known: module and qualified name; for the launching script its file's name.

    Args:
        typ: a class, a callable, or a Config or Partial of one.
    """
    typ = getattr(typ, "__target__", typ)
    module = getattr(typ, "__module__", None) or "builtins"
    if module == "__main__":
        main = sys.modules.get("__main__")
        spec = getattr(main, "__spec__", None)
        file = getattr(main, "__file__", None)
        if spec is not None and spec.name not in (None, "__main__"):
            module = spec.name.removesuffix(".__main__")
        elif isinstance(file, str):
            module = Path(file).stem
    return f"{module}.{getattr(typ, '__qualname__', None) or getattr(typ, '__name__', str(typ))}"


def get_underlying_types(type_hint: Any) -> set[Any]:
    """The types that an annotation allows, without Union, Optional and Annotated; ``NoneType`` included.

    >>> sorted(t.__name__ for t in get_underlying_types(Optional[int]))
    ['NoneType', 'int']
    """
    if isinstance(type_hint, typing.TypeVar):
        return set(type_hint.__constraints__) or ({type_hint.__bound__} if type_hint.__bound__ is not None else {type_hint})
    origin = typing.get_origin(type_hint)
    if origin is Annotated:
        return get_underlying_types(typing.get_args(type_hint)[0])
    if origin is Union or origin is types.UnionType:
        return {found for argument in typing.get_args(type_hint) for found in get_underlying_types(argument)}
    return {type(None)} if type_hint is None else {type_hint}
