"""Whether a value fits an annotation: definite mismatches only.

```text
annotation ── checker() ──→ a function of (value, path), compiled once a parameter ──→ None | Mismatch
```

What can't be decided passes: unknown annotations, forward references that don't resolve, type variables, protocols that can't be
tested. So do: an int for a float, what has `__index__` or `__float__` (numpy's scalars) for numbers, text for a path, a list for
a tuple and back, a Config whose target returns what is wanted, and anything that is not imported yet.
To teach it one more form, add a case to `_compile`.
"""

from __future__ import annotations

import collections.abc
import os
import types
import typing
from typing import Any, Callable, NamedTuple, Optional, Union

from mizzen.errors import ConfigTypeError

__all__ = ["Mismatch", "annotation_text", "check", "checker", "describe"]


class Mismatch(NamedTuple):
    """A value of another type than its place wants: where, what was wanted, what was there."""

    path: str
    expected: Any
    value: Any


Checker = Callable[[Any, str], Optional[Mismatch]]

_MISSING = object()
_UNION_TYPES = (Union, types.UnionType)
_STRIPPED = {getattr(typing, name) for name in ("Final", "ClassVar", "Required", "NotRequired", "ReadOnly") if hasattr(typing, name)}
_SEQUENCES: frozenset[Any] = frozenset({list, tuple, collections.abc.Sequence, collections.abc.MutableSequence})
_SETS: frozenset[Any] = frozenset({set, frozenset, collections.abc.Set, collections.abc.MutableSet})
_MAPPINGS: frozenset[Any] = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})
_ITERABLES: frozenset[Any] = frozenset({collections.abc.Iterable, collections.abc.Collection})


def check(value: Any, annotation: Any, path: str = "") -> None:
    """Raises if a value definitely does not fit an annotation.

    Args:
        value: any value, Configs and unresolved targets included.
        annotation: a resolved annotation; text and what is unknown accepts anything.
        path: where the value stands, for the message.

    Raises:
        ConfigTypeError: with the path of the part that is wrong.
    """
    test = checker(annotation)
    if test is not None:
        mismatch = test(value, path)
        if mismatch is not None:
            raise ConfigTypeError(describe(mismatch), path=mismatch.path)


def describe(mismatch: Mismatch, owner: str = "") -> str:
    """The message for a mismatch."""
    where = f"`{mismatch.path.lstrip('.')}`" if mismatch.path else "the value"
    of = f" of `{owner}`" if owner else ""
    value = mismatch.value
    kind = type(value).__qualname__
    shown = "`None`" if value is None else f"{_brief(value)} ({kind})"
    hint = _hint(value, mismatch.expected)
    return f"{where}{of} is to be `{annotation_text(mismatch.expected)}`, but is {shown}" + (f"\nhint: {hint}" if hint else "")


def _hint(value: Any, expected: Any) -> str:
    if isinstance(value, str) and expected in (int, float, bool, complex):
        return f"write it without quotes, or as {expected.__name__}(…)"
    if isinstance(value, float) and expected is int and value.is_integer():
        return f"write {int(value)}"
    if isinstance(value, os.PathLike) and expected is str:
        return "write str(…) around it"
    if isinstance(value, dict) and hasattr(expected, "__dataclass_fields__"):
        return f"`run.from_dict(value, {expected.__qualname__})` makes one of a dict"
    return ""


def annotation_text(annotation: Any) -> str:
    """An annotation as one writes it, without the names of modules: ``list[int] | None``."""
    if annotation is None or annotation is type(None):
        return "None"
    if annotation is Any:
        return "Any"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin in _UNION_TYPES:
        return " | ".join(annotation_text(argument) for argument in arguments)
    if origin is typing.Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin is typing.Annotated:
        return annotation_text(arguments[0])
    if origin is collections.abc.Callable and arguments:
        taken, returned = arguments
        shown = ", ".join(map(annotation_text, taken)) if isinstance(taken, list) else ""
        return f"Callable[{f'[{shown}]' if isinstance(taken, list) else '...'}, {annotation_text(returned)}]"
    if origin is not None:
        name = getattr(origin, "__qualname__", None) or str(origin).replace("typing.", "")
        return f"{name}[{', '.join(map(annotation_text, arguments))}]" if arguments else name
    if isinstance(annotation, type):
        return annotation.__qualname__.replace("<locals>.", "")
    return str(annotation).replace("typing.", "")


def checker(annotation: Any) -> Checker | None:
    """A function that tests values against an annotation; None if every value fits."""
    try:
        return _compile(annotation)
    except Exception:
        # An annotation that nobody can read says nothing definite.
        return None


def _compile(annotation: Any) -> Checker | None:
    if annotation is None or annotation is type(None):
        return _check_none
    if annotation is Any or annotation is object or isinstance(annotation, (str, typing.TypeVar, typing.ForwardRef)):
        return None
    origin = typing.get_origin(annotation)
    if origin is None:
        return _compile_plain(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated or origin in _STRIPPED:
        return _compile(arguments[0])
    if origin in _UNION_TYPES:
        return _compile_union(annotation, arguments)
    if origin is typing.Literal:
        return _compile_literal(annotation, arguments)
    if origin is type:
        return _compile_type(annotation, arguments)
    if origin is collections.abc.Callable:
        return _compile_callable(annotation)
    if origin is tuple:
        return _compile_tuple(annotation, arguments)
    if origin in _SEQUENCES or origin in _SETS or origin in _ITERABLES:
        return _compile_collection(annotation, origin, arguments)
    if origin in _MAPPINGS:
        return _compile_mapping(annotation, arguments)
    if hasattr(annotation, "__value__"):
        return _compile_alias(annotation)
    if isinstance(origin, type):
        return _compile_class(annotation, origin)
    return None


def _compile_plain(annotation: Any) -> Checker | None:
    supertype = getattr(annotation, "__supertype__", None)
    if supertype is not None:
        return _compile(supertype)
    if isinstance(annotation, type):
        if annotation is float or annotation is int or annotation is complex:
            return _compile_number(annotation)
        if annotation is list or annotation is tuple:
            return _compile_class(annotation, (list, tuple))
        if annotation is bytes:
            return _compile_class(annotation, (bytes, bytearray, memoryview))
        if typing.is_typeddict(annotation):
            return _compile_class(annotation, dict)
        if annotation is collections.abc.Callable:
            return _compile_callable(annotation)
        return _compile_class(annotation, annotation)
    if annotation is typing.Callable:
        return _compile_callable(annotation)
    if hasattr(annotation, "__value__"):
        return _compile_alias(annotation)
    unwrapped = getattr(annotation, "type", None)
    if type(annotation).__name__ == "InitVar" and unwrapped is not None:
        return _compile(unwrapped)
    # `typing.List` and the like, without arguments.
    origin = typing.get_origin(annotation)
    return _compile_class(annotation, origin) if isinstance(origin, type) else None


def _check_none(value: Any, path: str) -> Mismatch | None:
    return None if value is None or _excused(value, type(None)) else Mismatch(path, None, value)


def _compile_number(annotation: Any) -> Checker:
    accepted = {int: (int,), float: (float, int), complex: (complex, float, int)}[annotation]
    methods = {int: ("__index__",), float: ("__float__", "__index__"), complex: ("__complex__", "__float__", "__index__")}[annotation]

    def check_number(value: Any, path: str) -> Mismatch | None:
        if type(value) is annotation or isinstance(value, accepted):
            return None
        if any(hasattr(type(value), method) for method in methods) or _excused(value, annotation):
            return None
        return Mismatch(path, annotation, value)

    return check_number


def _compile_class(annotation: Any, accepted: Any) -> Checker:
    # Members of an enum of text or numbers are equal to these, and often given so.
    members: Any = getattr(accepted, "_value2member_map_", None) if isinstance(accepted, type) and issubclass(accepted, (str, int)) else None
    wants_path = isinstance(accepted, type) and issubclass(accepted, os.PathLike)

    def check_class(value: Any, path: str) -> Mismatch | None:
        try:
            if isinstance(value, accepted):
                return None
        except Exception:
            return None
        if wants_path and isinstance(value, str):
            return None
        if members and isinstance(value, (str, int)) and value in members:
            return None
        return None if _excused(value, accepted) else Mismatch(path, annotation, value)

    return check_class


def _compile_union(annotation: Any, arguments: tuple[Any, ...]) -> Checker | None:
    tests: list[Checker] = []
    for argument in arguments:
        test = checker(argument)
        if test is None:
            return None
        tests.append(test)
    nullable = any(test is _check_none for test in tests)
    tests = [test for test in tests if test is not _check_none] or tests

    def check_union(value: Any, path: str) -> Mismatch | None:
        if value is None and nullable:
            return None
        inner: list[Mismatch] = []
        for test in tests:
            mismatch = test(value, path)
            if mismatch is None:
                return None
            inner.append(mismatch)
        # A mismatch further inside says more than the whole union does.
        deeper = [mismatch for mismatch in inner if mismatch.path != path]
        return deeper[0] if len(deeper) == 1 else Mismatch(path, annotation, value)

    return check_union


def _compile_literal(annotation: Any, arguments: tuple[Any, ...]) -> Checker:
    def check_literal(value: Any, path: str) -> Mismatch | None:
        for argument in arguments:
            if value is argument or (type(value) is type(argument) and value == argument):
                return None
        return None if _excused(value, object) else Mismatch(path, annotation, value)

    return check_literal


def _compile_type(annotation: Any, arguments: tuple[Any, ...]) -> Checker:
    wanted = [argument for argument in arguments if isinstance(argument, type)]

    def check_type(value: Any, path: str) -> Mismatch | None:
        if isinstance(value, type):
            try:
                fits = not wanted or len(wanted) != len(arguments) or issubclass(value, tuple(wanted))
            except Exception:
                fits = True
            return None if fits else Mismatch(path, annotation, value)
        # `type[list[int]]` takes `list[int]`, which is no class.
        if typing.get_origin(value) is not None or _excused(value, type):
            return None
        return Mismatch(path, annotation, value)

    return check_type


def _compile_callable(annotation: Any) -> Checker:
    def check_callable(value: Any, path: str) -> Mismatch | None:
        return None if callable(value) or _excused(value, object) else Mismatch(path, annotation, value)

    return check_callable


def _compile_tuple(annotation: Any, arguments: tuple[Any, ...]) -> Checker:
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return _compile_collection(annotation, tuple, arguments[:1])
    if any("Unpack" in repr(argument) or repr(argument).startswith("*") for argument in arguments):
        return _compile_class(annotation, (list, tuple))
    tests = [checker(argument) for argument in arguments if argument != ()]

    def check_tuple(value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, (tuple, list)):
            return None if _excused(value, tuple) else Mismatch(path, annotation, value)
        if len(value) != len(tests):
            return Mismatch(path, annotation, value)
        for index, (test, item) in enumerate(zip(tests, value)):
            mismatch = test(item, f"{path}[{index}]") if test is not None else None
            if mismatch is not None:
                return mismatch
        return None

    return check_tuple


def _compile_collection(annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> Checker:
    test = checker(arguments[0]) if arguments else None
    plain = arguments[0] if arguments and arguments[0] in (int, float, str, bool, bytes) else None
    accepted: Any = (list, tuple) if origin in (list, tuple) else origin
    walked = (list, tuple, set, frozenset, collections.abc.Set) if origin in _SETS or origin in _ITERABLES else (list, tuple)

    def check_collection(value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, accepted):
            return None if _excused(value, accepted) else Mismatch(path, annotation, value)
        if isinstance(value, (str, bytes)) and accepted is not origin:
            return Mismatch(path, annotation, value)
        # Other iterables (generators, tensors) might be used up, or cost much, if they were looked into.
        if test is None or not isinstance(value, walked):
            return None
        for index, item in enumerate(value):
            if type(item) is not plain:
                mismatch = test(item, f"{path}[{index}]" if isinstance(value, (list, tuple)) else path)
                if mismatch is not None:
                    return mismatch
        return None

    return check_collection


def _compile_mapping(annotation: Any, arguments: tuple[Any, ...]) -> Checker:
    key_test = checker(arguments[0]) if arguments else None
    value_test = checker(arguments[1]) if len(arguments) > 1 else None

    def check_mapping(value: Any, path: str) -> Mismatch | None:
        if not isinstance(value, collections.abc.Mapping):
            return None if _excused(value, dict) else Mismatch(path, annotation, value)
        if not isinstance(value, dict):
            return None
        for key, item in value.items():
            if key_test is not None:
                mismatch = key_test(key, path)
                if mismatch is not None:
                    return mismatch
            if value_test is not None:
                mismatch = value_test(item, f"{path}[{key!r}]")
                if mismatch is not None:
                    return mismatch
        return None

    return check_mapping


def _compile_alias(annotation: Any) -> Checker:
    compiled: Any = _MISSING

    def check_alias(value: Any, path: str) -> Mismatch | None:
        nonlocal compiled
        if compiled is _MISSING:
            # Compiled when first used: `type Tree = list[Tree]` would never end otherwise.
            compiled = checker(annotation.__value__)
        test: Checker | None = compiled
        return test(value, path) if test is not None else None

    return check_alias


def _excused(value: Any, wanted: Any) -> bool:
    """Whether a value that is no instance of `wanted` may yet become one."""
    from mizzen.config.buildable import Buildable, Config, Partial
    from mizzen.config.target import Target

    if isinstance(value, Buildable):
        if isinstance(value, Partial):
            return wanted is object or wanted is type or (isinstance(wanted, type) and issubclass(_partial_type(), wanted))
        return not isinstance(value, Config) or _may_return(value, wanted)
    if isinstance(value, Target) or hasattr(type(value), "__build__"):
        return True
    if isinstance(wanted, type) and getattr(wanted, "_is_protocol", False):
        return not getattr(wanted, "_is_runtime_protocol", False)
    # A named tuple's fields may be given as a plain tuple; a mock stands for anything.
    if isinstance(wanted, type) and issubclass(wanted, tuple) and wanted is not tuple:
        return isinstance(value, (tuple, list))
    return type(value).__module__ == "unittest.mock"


def _partial_type() -> type:
    from functools import partial

    return partial


def _may_return(config: Any, wanted: Any) -> bool:
    from mizzen.config.signature import signature_of
    from mizzen.config.target import Target

    if isinstance(config.__target__, Target):
        return True
    returned = signature_of(config.__target__).returns
    exact = isinstance(config.__target__, type)
    return any(_class_fits(produced, wanted, exact) for produced in _classes(returned))


def _classes(annotation: Any) -> list[Any]:
    """The classes that an annotation allows; `Any` for what is unknown."""
    if annotation is None:
        return [type(None)]
    origin = typing.get_origin(annotation)
    if origin in _UNION_TYPES:
        return [found for argument in typing.get_args(annotation) for found in _classes(argument)]
    if origin is typing.Annotated:
        return _classes(typing.get_args(annotation)[0])
    if isinstance(origin, type):
        return [origin]
    return [annotation] if isinstance(annotation, type) else [Any]


def _class_fits(produced: Any, wanted: Any, exact: bool) -> bool:
    if produced is Any or wanted is object:
        return True
    candidates = wanted if isinstance(wanted, tuple) else (wanted,)
    for candidate in candidates:
        try:
            if issubclass(produced, candidate):
                return True
            # A function said to return the base may return the derived class.
            if not exact and issubclass(candidate, produced):
                return True
        except TypeError:
            return True
        if getattr(candidate, "_is_protocol", False) and not getattr(candidate, "_is_runtime_protocol", False):
            return True
        if candidate in (float, complex) and issubclass(produced, (int, float)):
            return True
        if issubclass(candidate, os.PathLike) and issubclass(produced, str):
            return True
    # What a configured object builds may itself be a Config, which the caller builds.
    return any("mizzen.config" in base.__module__ for base in getattr(produced, "__mro__", ()))


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= 60 else text[:57] + "..."
