"""Reads what a job's runner wrote: the value that its callable returned, or the exception that it raised.

Reading runs no code. Taking :attr:`Result.value` of a dataclass, an enum or a named tuple imports its class, and no constructor
of it is called; nothing else in a result can name code that would run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mizzen.errors import ResultError
from mizzen.job.runner import VERSION, Builder, RunnerError

__all__ = ["ExceptionInfo", "Result", "read_result"]


class ExceptionInfo:
    """An exception as text, as the job had it.

    Attributes:
        type: its class, such as ``"ValueError"`` or ``"torch.cuda.OutOfMemoryError"``.
        message: its text.
        traceback: all of its traceback, with the exceptions that led to it and its notes.
        notes: what was added to it (PEP 678); among them, which argument and import path it is about.
        module_missing: the module that could not be found, if that is what went wrong.
    """

    __slots__ = ("message", "module_missing", "notes", "traceback", "type")

    def __init__(
        self, type: str, message: str, traceback: str, notes: tuple[str, ...] = (), module_missing: str | None = None
    ) -> None:
        self.type = type
        self.message = message
        self.traceback = traceback
        self.notes = notes
        self.module_missing = module_missing

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self}>"


class Result:
    """What came of a job's callable.

    Attributes:
        ok: whether it returned.
        exception: what it raised, if it did.
        unavailable: why there is no value although it returned, if so.
        path: the file that this was read from.
    """

    __slots__ = ("_encoded", "exception", "ok", "path", "unavailable")

    def __init__(
        self,
        *,
        ok: bool,
        encoded: object = None,
        exception: ExceptionInfo | None = None,
        unavailable: str | None = None,
        path: str = "",
    ) -> None:
        self.ok = ok
        self.exception = exception
        self.unavailable = unavailable
        self.path = path
        self._encoded = encoded

    @property
    def value(self) -> Any:
        """What the callable returned, made anew each time.

        Raises:
            ResultError: it raised, it returned what can't be written down, or the class of a value isn't to be found here.
        """
        if self.exception is not None:
            raise ResultError(
                f"the job raised {self.exception}, so it has no result\nhint: its traceback is in `exception.traceback`"
            )
        if self.unavailable is not None:
            raise ResultError(
                f"{self.unavailable}\nhint: return numbers, text, lists and dicts, or the path of a file that the job saves"
            )
        try:
            return _Reader(self._encoded).build(self._encoded)
        except RunnerError as error:
            raise ResultError(f"the result in {self.path} can't be had here: {error}") from None
        except ImportError as error:
            notes = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
            raise ResultError(
                f"the result in {self.path} can't be had here: {error}{notes}\n"
                "hint: it is made of a class that this Python doesn't have; install it, or let the job return a dict"
            ) from error
        except (TypeError, ValueError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ResultError(f"the result in {self.path} is damaged: {type(error).__name__}: {error}") from error

    def __repr__(self) -> str:
        if self.exception is not None:
            return f"<Result: raised {self.exception}>"
        return f"<Result: {'unavailable' if self.unavailable is not None else 'returned'}>"


class _Reader(Builder):
    """Makes values without calling what they name."""

    def _make_target(self, value: dict[str, Any], path: str) -> Any:
        if value.get("_call_") is not False:
            raise RunnerError(f"`{path}` would have to call `{value['_target_']}`, and reading a result calls nothing")
        return self.resolve(value["_target_"], path)

    def make_dataclass(self, made_of: Any, fields: dict[str, Any], path: str) -> Any:
        if not isinstance(made_of, type) or not hasattr(made_of, "__dataclass_fields__"):
            raise RunnerError(f"`{path}` wants a dataclass, and `{made_of!r}` is none")
        instance: Any = object.__new__(made_of)
        for name, item in fields.items():
            object.__setattr__(instance, name, item)
        return instance


def read_result(path: str | Path) -> Result:
    """Reads a ``result.json``.

    Args:
        path: the file, in the folder of an attempt.

    Raises:
        ResultError: there is none, or it can't be read, or a newer Mizzen wrote it.
    """
    shown = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ResultError(
            f"there is no result at {shown}\nhint: the job was ended before its callable returned, or it is not a Python callable"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ResultError(f"the result at {shown} can't be read: {error}") from None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"the result at {shown} is damaged: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("mizzen"), int):
        raise ResultError(f"{shown} is no result")
    if document["mizzen"] > VERSION:
        raise ResultError(f"the result at {shown} was written by a newer Mizzen\nhint: read it with that one")
    if document.get("ok") is True:
        unavailable = document.get("unavailable")
        reason = None if unavailable is None else str(unavailable)
        return Result(ok=True, encoded=document.get("value"), unavailable=reason, path=shown)
    exception = document.get("exception")
    if not isinstance(exception, dict):
        raise ResultError(f"{shown} is no result")
    missing = exception.get("module_missing")
    info = ExceptionInfo(
        str(exception.get("type", "Exception")),
        str(exception.get("message", "")),
        str(exception.get("traceback", "")),
        tuple(map(str, exception.get("notes", ()))),
        None if missing is None else str(missing),
    )
    return Result(ok=False, exception=info, path=shown)
