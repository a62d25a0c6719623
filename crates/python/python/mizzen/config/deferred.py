"""Values read from a document whose class is not imported yet."""

from __future__ import annotations

import json
from typing import Any, Callable

from mizzen.config.target import Target
from mizzen.errors import ConfigError, SerializationError

__all__ = ["Deferred", "make_deferred"]


class Deferred:
    """A value read from a document whose class is not imported yet: an enum's member, a dataclass object, a named tuple.

    Equal to any value that is written in the same way. `build` makes the value.

    Attributes:
        kind: ``"enum"``, ``"dataclass"`` or ``"namedtuple"``.
        target: the class.
        value: the member's name, the fields by name, or the items.
    """

    __slots__ = ("kind", "target", "value")

    def __init__(self, kind: str, target: Target, value: Any) -> None:
        self.kind = kind
        self.target = target
        self.value = value

    def __build__(self, recurse: Callable[[Any], Any]) -> Any:
        return make_deferred(self, recurse)

    def __eq__(self, other: object) -> bool:
        from mizzen.config.values import encode

        try:
            return bool(encode(self) == encode(other))
        except SerializationError:
            return False

    def __hash__(self) -> int:
        from mizzen.config.values import encode

        # Members of enums are keys, and in sets.
        return hash((self.kind, self.target.path, json.dumps(encode(self), sort_keys=True)))

    def __repr__(self) -> str:
        name = self.target.path.rpartition(".")[2]
        if self.kind == "enum":
            return f"{name}.{self.value}" if isinstance(self.value, str) else f"{name}({self.value})"
        if self.kind == "dataclass":
            return f"{name}({', '.join(f'{field}={value!r}' for field, value in self.value.items())})"
        return f"{name}({', '.join(map(repr, self.value))})"


def make_deferred(deferred: Deferred, recurse: Callable[[Any], Any]) -> Any:
    """The value itself: imports its class."""
    kind = deferred.target.resolve()
    if deferred.kind == "enum":
        try:
            return kind[deferred.value] if isinstance(deferred.value, str) else kind(deferred.value)
        except (KeyError, ValueError):
            raise ConfigError(f"`{deferred.target.path}` has no member {deferred.value!r}", path=deferred.target.path) from None
    if deferred.kind == "namedtuple":
        return kind._make(recurse(item) for item in deferred.value)
    values = {name: recurse(item) for name, item in deferred.value.items()}
    fields = getattr(kind, "__dataclass_fields__", None)
    if fields is None:
        raise ConfigError(f"`{deferred.target.path}` is no dataclass", path=deferred.target.path)
    unknown = values.keys() - fields.keys()
    if unknown:
        raise ConfigError(f"`{deferred.target.path}` has no field `{min(unknown)}`", path=f".{min(unknown)}")
    by_init = {name for name, field in fields.items() if field.init}
    if kind.__dataclass_params__.init and by_init <= values.keys():
        # Called, so that what `__post_init__` makes is there; the fields are then set to what was written all the same.
        made = kind(**{name: values[name] for name in by_init})
    else:
        made = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    return made


