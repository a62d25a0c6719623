"""Paths into a configuration: ``model.layers[0]['key'].size``.

A path is a chain of ``.name``, ``[number]`` and ``['text']``; a leading dot may be left out.
"""

from __future__ import annotations

import re
from typing import Any

from mizzen.config.buildable import Buildable
from mizzen.config.signature import MISSING
from mizzen.errors import ConfigError, SetValueError

__all__ = ["format_path", "get_value", "parse_path", "set_value"]

_PIECE = re.compile(r"""\.?(?P<name>[^\W\d]\w*)|\[\s*(?P<index>-?\d+)\s*\]|\[\s*(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")\s*\]""")


class Name(str):
    """A step by attribute, as against the text key of a dict."""

    __slots__ = ()


def parse_path(path: str) -> list[Name | int | str]:
    """The steps of a path: `Name` for ``.name``, int for ``[0]``, str for ``['key']``.

    Raises:
        SetValueError: it is no path; the message says at which character.
    """
    from ast import literal_eval

    steps: list[Name | int | str] = []
    position = 0
    while position < len(path):
        match = _PIECE.match(path, position)
        if match is None or (position > 0 and match["name"] is not None and path[position] != "."):
            raise SetValueError(
                f"`{path}` is no path: character {position + 1} is {path[position]!r}\nhint: write it as in `model.layers[0]['key'].size`",
                path=path,
            )
        if match["name"] is not None:
            steps.append(Name(match["name"]))
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(literal_eval(match["text"]))
        position = match.end()
    if not steps:
        raise SetValueError("an empty path leads nowhere", path=path)
    return steps


def format_path(steps: list[Name | int | str]) -> str:
    """The path of steps, with its leading dot."""
    return "".join(f".{step}" if isinstance(step, Name) else f"[{step!r}]" for step in steps)


def get_value(config: Any, path: str) -> Any:
    """What stands at a path.

    Args:
        config: a Config, Partial, dict, list, or any object with attributes.
        path: such as ``"model.layers[0]"``.

    Raises:
        SetValueError: nothing stands there.
    """
    return _walk(config, parse_path(path))


def _walk(value: Any, steps: list[Name | int | str]) -> Any:
    for number, step in enumerate(steps):
        value = _step(value, step, steps[: number + 1])
    return value


def _step(value: Any, step: Name | int | str, so_far: list[Name | int | str]) -> Any:
    try:
        if isinstance(step, Name):
            if isinstance(value, dict):
                # In files and on command lines a dict's keys are written like attributes.
                return value[str(step)]
            if isinstance(value, Buildable):
                return vars(value)[step] if step in vars(value) else _argument(value, step)
            return getattr(value, step)
        return value[step]
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise SetValueError(f"nothing stands at `{format_path(so_far).lstrip('.')}`: {_reason(error, value)}", path=format_path(so_far)) from None


def _argument(config: Buildable[Any], name: str) -> Any:
    """An argument, even one whose name is that of a method."""
    from mizzen.config.buildable import _default, _no_value

    value = _default(config, name)
    if value is MISSING:
        raise AttributeError(_no_value(config, name))
    return value


def _reason(error: Exception, value: Any) -> str:
    if isinstance(error, KeyError):
        from difflib import get_close_matches

        near = get_close_matches(str(error.args[0]), [key for key in value if isinstance(key, str)] if isinstance(value, dict) else [], n=1)
        return f"there is no key {error.args[0]!r}" + (f"\nhint: did you mean {near[0]!r}?" if near else "")
    return str(error)


def set_value(cfg: Any, key: str, value: Any) -> None:
    """Sets what stands at a path, in place.

    Args:
        cfg: a Config, Partial, dict or list.
        key: the path, such as ``"model.layers[0]['key']"``.
        value: the new value; checked where a Config takes it.

    Raises:
        SetValueError: the path leads nowhere, or to something that can't be set.
        ConfigTypeError: the value has the wrong type.
    """
    steps = parse_path(key)
    holder = _walk(cfg, steps[:-1])
    last = steps[-1]
    try:
        if isinstance(holder, tuple):
            raise TypeError("a tuple can't be changed; set the whole of it")
        if isinstance(last, Name):
            if isinstance(holder, dict):
                holder[str(last)] = value
            else:
                setattr(holder, last, value)
        else:
            holder[last] = value
    except ConfigError as error:
        # The same kind of error, told from where the caller stands.
        prefix = format_path(steps[:-1])
        if isinstance(error, TypeError):
            error.path = prefix + error.path
            raise
        raise SetValueError(f"`{key}` can't be set: {error}", path=prefix + error.path) from None
    except (AttributeError, KeyError, IndexError, TypeError) as error:
        raise SetValueError(f"`{key}` can't be set: {error}", path=format_path(steps)) from None
