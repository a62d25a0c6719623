"""The value format's forms for types of the standard library.

Types are known by name: whoever has a `Decimal` has imported `decimal`, and nobody else pays for it.
To add one: a function in `_ENCODERS` under its module and name, and one in `DECODERS` under its `_type_`.
"""

from __future__ import annotations

import math
from typing import Any, Callable

__all__ = ["DECODERS", "Unsupported", "checked_text", "encode_library"]


class Unsupported(Exception):
    """Carries what is wrong up to `encode` or `decode`, while each container adds where it stands."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.pieces: list[str] = []


def checked_text(value: str) -> str:
    """The text, if it is valid Unicode."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unsupported(
            f"the text {value!r} is not valid Unicode\nhint: names of files that are no UTF-8 can't travel; rename the file"
        ) from None
    return value


def encode_library(value: Any, kind: type[Any]) -> dict[str, Any] | None:
    """The document of a value of the standard library; None if it is of none that is known."""
    # Some Pythons keep `pathlib`'s classes in `pathlib._local`.
    encoder = _ENCODERS.get(f"{kind.__module__.partition('.')[0]}.{kind.__qualname__}")
    return encoder(value) if encoder is not None else None


def _base64(value: bytes | bytearray) -> str:
    from binascii import b2a_base64

    return b2a_base64(value, newline=False).decode()


def _from_base64(value: Any) -> bytes:
    from base64 import b64decode

    return b64decode(value, validate=True)


def _part(value: float) -> Any:
    return value if math.isfinite(value) else str(value)


def _encode_moment(value: Any) -> dict[str, Any]:
    document = {"_type_": type(value).__name__, "value": value.isoformat()}
    zone = value.tzinfo
    key = getattr(zone, "key", None)
    if isinstance(key, str):
        # An offset alone forgets when summer time begins.
        document["zone"] = key
    elif zone is not None and value.utcoffset() is None:
        raise Unsupported(f"its time zone {zone!r} gives no offset")
    if value.fold:
        document["fold"] = 1
    return document


def _encode_path(value: Any) -> dict[str, Any]:
    return {"_type_": "path", "value": checked_text(str(value))}


def _encode_pure_path(value: Any) -> dict[str, Any]:
    return {**_encode_path(value), "class": type(value).__name__}


def _tagged(name: str, convert: Callable[[Any], Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: {"_type_": name, "value": convert(value)}


_ENCODERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "builtins.bytes": _tagged("bytes", _base64),
    "builtins.bytearray": _tagged("bytearray", _base64),
    "builtins.complex": _tagged("complex", lambda value: [_part(value.real), _part(value.imag)]),
    "pathlib.PosixPath": _encode_path,
    "pathlib.WindowsPath": _encode_path,
    "pathlib.PurePosixPath": _encode_pure_path,
    "pathlib.PureWindowsPath": _encode_pure_path,
    "datetime.datetime": _encode_moment,
    "datetime.time": _encode_moment,
    "datetime.date": _tagged("date", lambda value: value.isoformat()),
    "datetime.timedelta": _tagged("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    "decimal.Decimal": _tagged("decimal", str),
    "uuid.UUID": _tagged("uuid", str),
}


def _decode_moment(name: str) -> Callable[[Any, dict[str, Any]], Any]:
    def decode_moment(value: Any, document: dict[str, Any]) -> Any:
        import datetime

        moment = getattr(datetime, name).fromisoformat(value)
        if document.get("zone") is not None:
            import zoneinfo

            moment = moment.replace(tzinfo=zoneinfo.ZoneInfo(document["zone"]))
        return moment.replace(fold=1) if document.get("fold") else moment

    return decode_moment


def _decode_date(value: Any, _: dict[str, Any]) -> Any:
    import datetime

    return datetime.date.fromisoformat(value)


def _decode_timedelta(value: Any, _: dict[str, Any]) -> Any:
    import datetime

    return datetime.timedelta(*value)


def _decode_decimal(value: Any, _: dict[str, Any]) -> Any:
    import decimal

    return decimal.Decimal(value)


def _decode_uuid(value: Any, _: dict[str, Any]) -> Any:
    import uuid

    return uuid.UUID(value)


def _decode_path(value: Any, document: dict[str, Any]) -> Any:
    import pathlib

    name = document.get("class", "Path")
    if name not in ("Path", "PurePath", "PurePosixPath", "PureWindowsPath"):
        raise ValueError(f"there is no class {name!r} of paths")
    return getattr(pathlib, name)(value)


DECODERS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "bytes": lambda value, _: _from_base64(value),
    "bytearray": lambda value, _: bytearray(_from_base64(value)),
    "complex": lambda value, _: complex(float(value[0]), float(value[1])),
    "float": lambda value, _: float(value),
    "int": lambda value, _: int(value),
    "path": _decode_path,
    "datetime": _decode_moment("datetime"),
    "time": _decode_moment("time"),
    "date": _decode_date,
    "timedelta": _decode_timedelta,
    "decimal": _decode_decimal,
    "uuid": _decode_uuid,
}
