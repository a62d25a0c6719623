"""Configurations made with fiddle, as ours. Nothing of fiddle is imported: its objects say all that is needed."""

from __future__ import annotations

from typing import Any

from mizzen.config.buildable import Buildable, Config, Partial, _make, _unpack, is_fiddle
from mizzen.config.signature import signature_of
from mizzen.config.target import Target, display_name
from mizzen.errors import ConfigError

__all__ = ["from_fiddle"]


def from_fiddle(value: Any, memo: dict[int, Any]) -> Buildable[Any]:
    """Our Config or Partial of one of fiddle's.

    Args:
        value: a fiddle Buildable.
        memo: what was converted before, by id; what is shared stays shared.

    Raises:
        ConfigError: it is of another kind, or lacks an argument before others that stand by position.
    """
    found = memo.get(id(value))
    if found is not None:
        converted: Buildable[Any] = found[1]
        return converted
    names = {base.__name__ for base in type(value).__mro__}
    if "Partial" not in names and "Config" not in names:
        raise ConfigError(f"a `{type(value).__qualname__}` of fiddle has no counterpart here\nhint: write it as a Config or Partial")
    target, positional, named = _unpack(value.__fn_or_cls__)
    made = _make(Partial if "Partial" in names else Config, target, named, positional)
    memo[id(value)] = (value, made)
    arguments = {name: from_fiddle(item, memo) if is_fiddle(item) else _admit(item, memo) for name, item in value.__arguments__.items()}
    places = [name for name in arguments if isinstance(name, int)]
    if places:
        # Variadic arguments are kept by their places, those before them by name.
        order = () if isinstance(target, Target) else signature_of(target).positional
        for place in range(max(places) + 1):
            key = place if place in arguments or place >= len(order) else order[place]
            if key not in arguments:
                raise ConfigError(f"argument {place} of `{display_name(target)}` is not set, but later ones are")
            made.__positional__.append(arguments.pop(key))
    made.__dict__.update(arguments)
    return made


def _admit(value: Any, memo: dict[int, Any]) -> Any:
    """A container within fiddle's Buildables: what is shared across containers stays shared."""
    kind = type(value)
    if kind is list or kind is tuple:
        return kind(from_fiddle(item, memo) if is_fiddle(item) else _admit(item, memo) for item in value)
    if kind is dict:
        return {key: from_fiddle(item, memo) if is_fiddle(item) else _admit(item, memo) for key, item in value.items()}
    return value
