"""Names of jobs and titles of experiments: the rules of the Rust side, told before anything is planned."""

from __future__ import annotations

import os
import re
from typing import Any

from mizzen.errors import ConfigError

__all__ = ["check_id", "check_name", "clean_name", "name_of", "new_id"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_ID = re.compile(r"[a-z0-9]{1,40}")
_LONGEST = 100
#: No vowels but two, so that no words appear by chance, and no letters that look alike.
_ALPHABET = "0123456789bcdfghjkmnpqrstvwxyzae"


def new_id() -> str:
    """A new experiment's id: ten random letters and digits."""
    return "".join(_ALPHABET[byte % 32] for byte in os.urandom(10))


def check_id(text: str) -> str:
    """An id that a user chose.

    Raises:
        ConfigError: it is none.
    """
    if not isinstance(text, str) or _ID.fullmatch(text) is None:
        raise ConfigError(f"`{text}` is no experiment's id: 1 to 40 lower-case letters and digits", path=".id")
    return text


def check_name(text: str, what: str) -> str:
    """A name that a user gave.

    Args:
        text: the name.
        what: what it names: ``"title"`` or ``"name"``.

    Raises:
        ConfigError: it can't be one; the message proposes another.
    """
    if not isinstance(text, str):
        raise ConfigError(f"a {what} is a text, not {text!r}", path=f".{what}")
    if _NAME.fullmatch(text) is None or len(text) > _LONGEST:
        why = f"{len(text)} characters, and {_LONGEST} are allowed" if len(text) > _LONGEST else "other characters"
        raise ConfigError(
            f"`{text}` can't be a {what}: it has {why}; letters, digits, `_`, `.`, `+` and `-` are allowed, `.`, `+` and `-` not "
            f"as the first\nhint: `{clean_name(text)}` can",
            path=f".{what}",
        )
    if what == "title" and text == "latest":
        raise ConfigError("`latest` can't be a title: it always means the newest experiment", path=".title")
    return text


def clean_name(text: str) -> str:
    """A name made of a text."""
    name = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text)[:_LONGEST].lstrip(".+-")
    return name.rstrip("-.+") or "job"


def name_of(task: Any) -> str:
    """What a task is called if nobody says."""
    from mizzen.config import Script

    if isinstance(task, Script):
        return clean_name(task.get_name())
    target = task.__target__
    name = getattr(target, "__name__", None) or str(getattr(target, "path", target)).rpartition(".")[2]
    return clean_name(name.strip("<>"))
