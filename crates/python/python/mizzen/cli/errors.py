"""What can be wrong with a command line, under the names that NeMo-Run has for it.

All are :class:`mizzen.errors.ArgumentError`. The message says which argument, what is wrong with it, and, on a line of its own,
what to do.
"""

from __future__ import annotations

from collections.abc import Iterable

from mizzen.errors import ArgumentError

__all__ = [
    "ArgumentParsingError",
    "ArgumentValueError",
    "CLIException",
    "CollectionParseError",
    "DictParseError",
    "ListParseError",
    "LiteralParseError",
    "OperationError",
    "ParseError",
    "TypeParsingError",
    "UndefinedVariableError",
    "UnknownTypeError",
    "nearest",
]


class CLIException(ArgumentError):
    """An argument on a command line is wrong.

    Attributes:
        message: what is wrong, with its hint.
        arg: the argument as it was typed (also ``argument``).
        context: facts that a program may want, such as ``{"expected": "int"}``.
        path: which value, such as ``.model.layers[2]``.
    """

    def __init__(self, message: str, arg: str = "", context: dict[str, object] | None = None, *, path: str = "") -> None:
        super().__init__(message, argument=arg, path=path)
        self.message = message
        self.arg = arg
        self.context: dict[str, object] = dict(context or {})

    def __reduce__(self) -> tuple[object, ...]:
        # Worker processes pickle what they raise; subclasses take other arguments than the message.
        return (_unpickle, (type(self), self.args, dict(self.__dict__)))

    def user_friendly_message(self) -> str:
        """The message with the argument that it is about."""
        if self.arg and self.arg not in self.message:
            return f"in `{self.arg}`: {self.message}"
        return self.message


def _unpickle(kind: type[CLIException], arguments: tuple[object, ...], fields: dict[str, object]) -> CLIException:
    error = kind.__new__(kind)
    Exception.__init__(error, *arguments)
    error.__dict__.update(fields)
    return error


class ArgumentParsingError(CLIException):
    """An argument has not the form ``name=value``."""


class UndefinedVariableError(CLIException):
    """There is no parameter, factory or entry point of that name."""


class ArgumentValueError(CLIException):
    """A value does not fit where it is to go."""


class OperationError(CLIException):
    """An operator (``+=`` …) can't be applied to the value that is there."""


class TypeParsingError(CLIException):
    """A value can't be read as the type that its annotation asks for."""


class ParseError(TypeParsingError):
    """A value can't be read as a type.

    Attributes:
        value: the text.
        expected_type: the annotation.
        reason: why not.
    """

    def __init__(
        self, value: object, expected_type: object, reason: str, arg: str = "", context: dict[str, object] | None = None
    ) -> None:
        super().__init__(reason, arg, context)
        self.value = value
        self.expected_type = expected_type
        self.reason = reason


class LiteralParseError(ParseError):
    """A value is none of a ``Literal``'s or an ``Enum``'s."""


class CollectionParseError(ParseError):
    """A value is no collection of the kind that is asked for."""


class ListParseError(CollectionParseError):
    """A value is no list."""


class DictParseError(CollectionParseError):
    """A value is no dictionary."""


class UnknownTypeError(ParseError):
    """No value of this type can be written on a command line."""


def nearest(word: str, candidates: Iterable[str], likeness: float = 0.6) -> str | None:
    """The candidate that ``word`` was probably meant to be; ``None`` if none is as like as that (1 is the same)."""
    import difflib  # only errors need it

    names = sorted(set(candidates))
    folded = {name.lower().replace("-", "_"): name for name in names}
    wanted = word.lower().replace("-", "_")
    found = difflib.get_close_matches(wanted, folded, n=1, cutoff=likeness)
    if not found and len(wanted) >= 3:
        found = [name for name in folded if name.startswith(wanted)][:1]
    return folded[found[0]] if found else None


def suggestion(word: str, candidates: Iterable[str], *, otherwise: str = "there is") -> str:
    """A hint on its own line: the nearest candidate, else all of them; empty if there are none."""
    names = list(dict.fromkeys(candidates))
    if not names:
        return ""
    found = nearest(word, names)
    if found is not None:
        return f"\nhint: did you mean `{found}`?"
    listed = ", ".join(f"`{name}`" for name in names[:20])
    more = f", … ({len(names)} in all)" if len(names) > 20 else ""
    return f"\nhint: {otherwise} {listed}{more}"
