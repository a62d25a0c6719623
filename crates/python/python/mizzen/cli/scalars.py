"""Text to values that consist of one word: numbers, truth values, dates, paths.

Each reader takes the text (without one pair of quotes) and returns the value, or raises ``ValueError`` with the reason, in words
that continue "expected int: …". Modules such as ``datetime`` are already loaded when a reader runs: its annotation has loaded them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

__all__ = ["FALSE", "NONE", "TRUE", "literal", "python_number", "reader_of"]

TRUE = frozenset({"true", "yes", "on", "1"})
FALSE = frozenset({"false", "no", "off", "0"})
NONE = frozenset({"none", "null", "None", "Null", "NULL"})

_INT = re.compile(r"[+-]?(0|[1-9](_?\d)*|0[xX](_?[\da-fA-F])+|0[oO](_?[0-7])+|0[bB](_?[01])+|0(_?0)*)")
_FLOAT = re.compile(r"[+-]?((\d(_?\d)*)?\.\d(_?\d)*|\d(_?\d)*\.?)([eE][+-]?\d(_?\d)*)?")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|us|weeks?|w|days?|d|hours?|h|minutes?|min|m|seconds?|s)\s*,?\s*")
_CLOCK = re.compile(r"(-)?(?:(\d+)\s*(?:days?,\s*|-))?(\d+):(\d{1,2})(?::(\d{1,2}(?:\.\d{1,6})?))?")


def python_number(text: str) -> int | float | complex | None:
    """The number that Python's grammar reads here; ``None`` if it reads none. ``inf`` and ``nan`` count as numbers."""
    text = text.strip()
    if _INT.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text) or text.lstrip("+-") in ("inf", "nan"):
        return float(text)
    return None


def literal(text: str) -> object:
    """What unquoted text means where nothing is known about its type: a number, ``true``, ``false``, ``none``, else itself."""
    number = python_number(text)
    if number is not None:
        return number
    if text.endswith(("j", "J")) and text[:1] in "+-.0123456789":
        try:
            return complex(text)
        except ValueError:
            return text
    if text in ("true", "True"):
        return True
    if text in ("false", "False"):
        return False
    return None if text in NONE else text


def read_int(text: str) -> int:
    stripped = text.strip()
    if _INT.fullmatch(stripped):
        return int(stripped, 0)
    try:
        return int(stripped)  # leading zeros, and digits of other scripts
    except ValueError:
        pass
    number = python_number(stripped)
    if isinstance(number, float):
        if number.is_integer():
            raise ValueError(f"`{text}` is a float\nhint: write it as {int(number):_}")
        raise ValueError(f"`{text}` is a float")
    raise ValueError(f"`{text}` is no number")


def read_float(text: str) -> float:
    number = python_number(text)
    if isinstance(number, (int, float)):
        return float(number)
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"`{text}` is no number") from None


def read_bool(text: str) -> bool:
    folded = text.strip().lower()
    if folded in TRUE:
        return True
    if folded in FALSE:
        return False
    raise ValueError(f"`{text}` is neither true (yes, on, 1) nor false (no, off, 0)")


def read_complex(text: str) -> complex:
    try:
        return complex(text.replace(" ", "").removeprefix("(").removesuffix(")"))
    except ValueError:
        raise ValueError(f"`{text}` is no complex number, such as 1+2j") from None


def read_bytes(text: str) -> bytes:
    if re.match(r"""[bB]['"]""", text):
        import ast

        try:
            value = ast.literal_eval(text)
        except (SyntaxError, ValueError):
            raise ValueError(f"`{text}` is no literal of bytes, such as b'\\x00\\xff'") from None
        if isinstance(value, bytes):
            return value
    return text.encode()


def read_path(text: str) -> object:
    from pathlib import Path

    return Path(text)


def _instants(name: str) -> Callable[[str], object]:
    def read(text: str) -> object:
        import datetime

        kind = getattr(datetime, name)
        plain = text.strip()
        if name != "date" and plain.endswith(("Z", "z")):  # Python 3.10 does not know it
            plain = f"{plain[:-1]}+00:00"
        try:
            return kind.fromisoformat(plain)
        except ValueError:
            example = {"datetime": "2030-01-31T12:30:00", "date": "2030-01-31", "time": "12:30:00"}[name]
            raise ValueError(f"`{text}` is no {name}, such as {example}") from None

    return read


def read_timedelta(text: str) -> object:
    from datetime import timedelta

    plain = text.strip()
    clock = _CLOCK.fullmatch(plain)
    if clock:
        minus, days, hours, minutes, seconds = clock.groups()
        value = timedelta(days=int(days or 0), hours=int(hours), minutes=int(minutes), seconds=float(seconds or 0))
        return -value if minus else value
    minus, plain = plain.startswith("-"), plain.removeprefix("-").strip()
    matches = list(_DURATION.finditer(plain))
    if matches and "".join(match.group(0) for match in matches) == plain:
        names = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
        total = timedelta()
        for match in matches:
            unit = {"ms": "milliseconds", "us": "microseconds"}.get(match[2]) or names[match[2][0]]
            total += timedelta(**{unit: float(match[1])})
        return -total if minus else total
    hint = f"\nhint: say the unit: {plain}s, {plain}m, {plain}h" if python_number(plain) is not None else ""
    raise ValueError(f"`{text}` is no duration, such as 90s, 1h30m or 1:30:00{hint}")


def read_decimal(text: str) -> object:
    from decimal import Decimal, InvalidOperation

    try:
        return Decimal(text.strip())
    except InvalidOperation:
        raise ValueError(f"`{text}` is no decimal number") from None


def read_fraction(text: str) -> object:
    from fractions import Fraction

    try:
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"`{text}` is no fraction, such as 2/3") from None


def read_uuid(text: str) -> object:
    from uuid import UUID

    try:
        return UUID(text.strip())
    except ValueError:
        raise ValueError(f"`{text}` is no UUID") from None


_READERS: dict[object, Callable[[str], object]] = {
    int: read_int,
    float: read_float,
    bool: read_bool,
    complex: read_complex,
    bytes: read_bytes,
    bytearray: lambda text: bytearray(read_bytes(text)),
}
_BY_NAME: dict[tuple[str, str], Callable[[str], object]] = {
    ("datetime", "datetime"): _instants("datetime"),
    ("datetime", "date"): _instants("date"),
    ("datetime", "time"): _instants("time"),
    ("datetime", "timedelta"): read_timedelta,
    ("decimal", "Decimal"): read_decimal,
    ("fractions", "Fraction"): read_fraction,
    ("uuid", "UUID"): read_uuid,
}


def reader_of(annotation: object) -> Callable[[str], object] | None:
    """The reader of a type; ``None`` if values of the type aren't single words."""
    found = _READERS.get(annotation) if isinstance(annotation, type) else None
    if found is not None:
        return found
    if not isinstance(annotation, type):
        return None
    if annotation.__module__.startswith("pathlib"):
        kind: Callable[[str], object] = annotation
        return lambda text: kind(text)
    os = sys.modules.get("os")
    if os is not None and annotation is os.PathLike:
        return read_path
    return _BY_NAME.get((annotation.__module__, annotation.__name__))
