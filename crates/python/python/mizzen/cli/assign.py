"""Applies overrides to a configuration, one after the other, as Python would.

```text
model.layers[0].width *= 2
└ descend ────┘ └ place  └ compute(current, operand) → check → store
```

``=`` puts a new value there; the other operators compute ``current operator operand`` with Python's own operators and never change
the value that is there, so that no two arguments can come to share one. What a step leads into may be a ``Config``, a dictionary, a
list, a dataclass or another object with attributes. A step into an argument that has no value yet makes its default, or a
``Config`` of the class that its annotation asks for.
"""

from __future__ import annotations

import copy
import inspect
import operator as operators
import types
import typing
from collections.abc import Callable
from typing import Any

from mizzen.cli.arguments import Assignment, Path, Positional, render_path
from mizzen.cli.errors import ArgumentValueError, OperationError, UndefinedVariableError, suggestion
from mizzen.cli.factories import is_buildable_type, value_type
from mizzen.cli.objects import default_for, unknown_argument
from mizzen.cli.signature import MISSING, Parameter, annotations_of_class, describe, signature_of
from mizzen.cli.values import Scope, Value, convert, members_of, simplify
from mizzen.errors import ConfigError

__all__ = [
    "Positions",
    "apply",
    "assign_into",
    "complete",
    "is_buildable",
    "missing_arguments",
    "not_given_here",
    "place_of",
    "target_of",
    "value_at",
]

_OPERATORS: dict[str, Callable[[Any, Any], object]] = {
    "+=": operators.add,
    "-=": operators.sub,
    "*=": operators.mul,
    "/=": operators.truediv,
    "|=": operators.or_,
    "&=": operators.and_,
}


def is_buildable(value: object) -> bool:
    """Whether a value is a ``Config`` or ``Partial``."""
    return is_buildable_type(type(value))


def target_of(config: Any) -> Callable[..., object]:
    """What a configuration configures, imported if need be."""
    target = config.__target__
    return typing.cast("Callable[..., object]", target.resolve() if hasattr(target, "resolve") else target)


class _Place:
    """Where a value is: what holds it, by which step, under which annotation."""

    __slots__ = ("annotation", "holder", "parameter", "path", "scope", "step")

    def __init__(
        self, holder: Any, step: str | int, annotation: object, scope: Scope, path: Path, parameter: Parameter | None = None
    ) -> None:
        self.holder = holder
        self.step = step
        self.annotation = annotation
        self.scope = scope
        self.path = path
        self.parameter = parameter

    def current(self) -> object:
        """The value that is there, or its default; ``MISSING`` if there is neither."""
        if is_buildable(self.holder):
            arguments = self.holder.__arguments__
            if self.step in arguments:
                return arguments[self.step]
            if self.parameter is None or self.parameter.variadic:
                return MISSING
            try:
                default = self.holder[self.step]  # not by attribute: an argument may have the name of a method
            except KeyError:
                return MISSING
            return default if self.step in arguments else _own(default)
        if isinstance(self.holder, dict):
            return self.holder.get(self.step, MISSING)
        if isinstance(self.holder, (list, tuple)):
            return self.holder[typing.cast("int", self.step)]
        return getattr(self.holder, str(self.step), MISSING)

    def store(self, value: object) -> None:
        """Puts a value there."""
        if isinstance(self.holder, (dict, list)):
            typing.cast("Any", self.holder)[self.step] = value
            return
        try:
            if is_buildable(self.holder):
                self.holder[self.step] = value
            else:
                setattr(self.holder, str(self.step), value)
        except ConfigError as error:
            raise ArgumentValueError(f"`{self.scope.text}`: {error}", self.scope.text, path=f".{self.scope.path}") from error
        except (AttributeError, TypeError, ValueError) as error:
            reason = f"can't be set on a {type(self.holder).__name__}: {error}"
            raise ArgumentValueError(f"`{self.scope.text}`: `{self.step}` {reason}", self.scope.text) from error


def _own(default: object) -> object:
    """A copy of a default that others might change: signatures keep one object for all calls."""
    return copy.deepcopy(default) if isinstance(default, (list, dict, set, bytearray)) or is_buildable(default) else default


def apply(config: Any, token: Assignment, scope: Scope) -> None:
    """Applies one override to a configuration, in place.

    Args:
        config: the ``Config`` or ``Partial``.
        token: the override.
        scope: the names that are visible.

    Raises:
        ArgumentError: there is no such argument, or the value does not fit.
    """
    _assign(place_of(config, token, scope), token)


def place_of(config: Any, token: Assignment, scope: Scope) -> _Place:
    """The place that an override names. What it leads through is made if it is not there."""
    place = _first(config, token, scope)
    for index in range(1, len(token.path)):
        place = _inside(place, token.path[index], token.path[: index + 1])
    return place


def value_at(config: Any, path: Path, argument: str) -> object:
    """The value at a path, with nothing made or changed.

    Raises:
        UndefinedVariableError: there is none.
    """
    place = _first(copy.deepcopy(config), Assignment(argument, path, "=", ""), Scope())
    for index in range(1, len(path)):
        place = _inside(place, path[index], path[: index + 1])
    value = place.current()
    if value is MISSING:
        raise UndefinedVariableError(f"`{render_path(path)}` has no value yet", argument)
    return value


def assign_into(holder: Any, path: Path, token: Assignment, scope: Scope) -> None:
    """Applies an override to an object that is no argument, such as an executor: ``path`` leads from the object on."""
    prefix = token.path[: len(token.path) - len(path)]
    place = _step(holder, path[0], (*prefix, path[0]), None, scope)
    for index in range(1, len(path)):
        place = _inside(place, path[index], (*prefix, *path[: index + 1]))
    _assign(place, token)


def _first(config: Any, token: Assignment, scope: Scope) -> _Place:
    name = token.path[0]
    inner = Scope(None, "", "", token.text, scope.namespace, scope.transform)
    return _step(config, name, token.path[:1], None, inner)


def _step(holder: Any, step: str | int, path: Path, annotation: object, scope: Scope) -> _Place:
    """The place that one step leads to."""
    shown = render_path(path)
    if is_buildable(holder):
        function = target_of(holder)
        if function is dict:
            return _Place(holder, step, Any, scope.of(function, str(step), shown), path, _ANY)
        signature = signature_of(function)
        parameter = signature.find(step) if isinstance(step, str) else None
        if parameter is None:
            raise unknown_argument(str(step), signature, scope.at(shown))
        return _Place(holder, step, parameter.annotation, scope.of(function, str(step), shown), path, parameter)
    arguments = typing.get_args(simplify(value_type(annotation))) if annotation is not None else ()
    here = scope.at(shown)
    if isinstance(holder, dict):
        key, item = arguments if len(arguments) == 2 else (Any, Any)
        if isinstance(step, str) and simplify(key) not in (str, Any):
            step = typing.cast("str", convert(step, key, here))
        elif isinstance(step, int) and simplify(key) is str:
            shown = token_path(path)
            raise UndefinedVariableError(f"the keys of `{shown}` are text\nhint: `{shown}.{step}`", scope.text)
        kind = next((member for member in members_of(annotation) if hasattr(member, "__required_keys__")), None)
        if kind is not None:
            typed = annotations_of_class(typing.cast("type", kind))
            if step not in typed:
                raise UndefinedVariableError(
                    f"`{token_path(path)}` has no key `{step}`{suggestion(str(step), typed)}", scope.text
                )
            item = typed[str(step)]
        return _Place(holder, step, item, here, path)
    if isinstance(holder, (list, tuple)):
        if not isinstance(step, int):
            raise UndefinedVariableError(
                f"`{token_path(path)}` is a {type(holder).__name__}, whose elements are chosen by number"
                f"\nhint: `{token_path(path)}[0].{step}`",
                scope.text,
            )
        if not -len(holder) <= step < len(holder):
            hint = f"\nhint: `{token_path(path)}+=[…]` adds one" if isinstance(holder, list) else ""
            raise UndefinedVariableError(f"`{token_path(path)}` has {len(holder)} elements, and no `[{step}]`{hint}", scope.text)
        if isinstance(holder, tuple) and arguments and arguments[-1] is not Ellipsis and len(arguments) > step:
            return _Place(holder, step, arguments[step], here, path)
        return _Place(holder, step, arguments[0] if arguments else Any, here, path)
    if isinstance(holder, (str, int, float, bool, bytes, set, frozenset)) or holder is None or isinstance(step, int):
        raise UndefinedVariableError(f"`{token_path(path)}` is {holder!r}, and has no `{step}`", scope.text)
    fields = annotations_of_class(type(holder))
    if step not in fields and not hasattr(holder, step):
        names = (
            fields or {name: None for name in vars(holder) if not name.startswith("_")} if hasattr(holder, "__dict__") else fields
        )
        raise UndefinedVariableError(
            f"`{token_path(path)}` is a `{type(holder).__name__}`, which has no `{step}`{suggestion(step, names, otherwise='it has')}",
            scope.text,
        )
    return _Place(holder, step, fields.get(step, MISSING), here, path)


_ANY = Parameter("", Any, MISSING, inspect.Parameter.VAR_KEYWORD)


def token_path(path: Path) -> str:
    """What the last step of a path is a part of."""
    return render_path(path[:-1])


def _inside(place: _Place, step: str | int, path: Path) -> _Place:
    """The place one step further, whose holder is made if it is not there yet."""
    current = place.current()
    if current is MISSING or current is None:
        current = _begin(place, MISSING if current is MISSING else None)
        place.store(current)
    elif is_buildable(place.holder) and place.step not in place.holder.__arguments__:
        place.store(copy.deepcopy(current))  # a copy of the default becomes the argument, and is changed from here on
    if is_buildable(place.holder) and place.step in place.holder.__arguments__:
        current = place.holder.__arguments__[place.step]  # what is stored may be another object than what was handed in
    return _step(current, step, path, place.annotation, place.scope)


def _begin(place: _Place, current: object) -> object:
    """What an argument without a value begins with, when an override reaches into it."""
    made = default_for(place.annotation, place.scope, any_type=True)
    if made is not MISSING:
        return made
    wanted = value_type(place.annotation)
    kinds = [typing.get_origin(member) or member for member in members_of(wanted) if member is not types.NoneType]
    plain = [kind for kind in kinds if isinstance(kind, type)]
    if any(issubclass(kind, dict) for kind in plain):
        return {}
    from mizzen.cli.scalars import reader_of

    objects = [kind for kind in plain if reader_of(kind) is None and _can_be_configured(kind)]
    if len(objects) == 1:
        from mizzen.config import Config

        return Config(objects[0])
    shown = render_path(place.path)
    if current is None:
        raise UndefinedVariableError(
            f"`{shown}` is None, so `{place.scope.text}` has nothing to set\nhint: give `{shown}=` first", place.scope.text
        )
    raise UndefinedVariableError(
        f"`{shown}` has no value yet, so `{place.scope.text}` has nothing to set\nhint: give `{shown}=` first", place.scope.text
    )


def _can_be_configured(kind: type) -> bool:
    """Whether a class is one whose objects are made of arguments: no `Any`, no collection, no enum, nothing abstract."""
    if kind.__module__ in ("builtins", "typing", "typing_extensions", "inspect", "collections", "collections.abc"):
        return False
    if hasattr(kind, "__members__") or getattr(kind, "_is_protocol", False):
        return False
    return not getattr(kind, "__abstractmethods__", None)


def _assign(place: _Place, token: Assignment) -> None:
    if isinstance(place.holder, tuple):
        raise OperationError(
            f"`{token_path(place.path)}` is a tuple, whose elements can't be set\nhint: give it as a whole: `{token_path(place.path)}=(…)`",
            token.text,
        )
    if token.operator == "=":
        from mizzen.cli.files import is_file_value, read_file_value

        if is_file_value(token.value):
            value = read_file_value(token.value, place.annotation, place.scope)
        else:
            value = _typed(token.value, place)
        place.store(value)
        return
    current = place.current()
    shown = render_path(place.path)
    if current is MISSING:
        raise OperationError(
            f"`{shown}` has no value yet that `{token.operator}` could change\nhint: `{shown}={token.value}` sets it", token.text
        )
    operand = _operand(current, token, place)
    try:
        if token.operator == "+=" and isinstance(current, list):
            result: object = [*current, *typing.cast("list[object]", operand)]
        else:
            result = _OPERATORS[token.operator](current, operand)
    except (TypeError, ZeroDivisionError, OverflowError, ValueError) as error:
        raise OperationError(
            f"`{token.text}`: `{shown}` is {current!r} ({type(current).__name__}): {error}", token.text
        ) from None
    _check(result, current, place, token)
    if result is current:
        result = copy.copy(result)
    place.store(result)


def _typed(text: str, place: _Place) -> object:
    """The value of ``=``. Without an annotation the default's type says what words mean: ``debug=off`` where it is a bool."""
    annotation = place.annotation
    if annotation is MISSING and place.parameter is not None:
        default = place.parameter.default
        if isinstance(default, bool):
            annotation = typing.Union[bool, Any]
        elif isinstance(default, str):
            annotation = str
    return convert(text, annotation, place.scope)


_NUMBERS = typing.Union[int, float, complex]


def _operand(current: object, token: Assignment, place: _Place) -> object:
    """The right side of an operator, typed by the value that is there and by what Python's operator takes beside it."""
    kind = type(current)
    scope = place.scope
    operator = token.operator
    if is_buildable(current):
        raise OperationError(
            f"`{token.text}`: `{scope.path}` is a configuration, which has no `{operator}`"
            f"\nhint: name one of its arguments: `{scope.path}.NAME{operator}{token.value}`",
            token.text,
        )
    wanted: object = Any
    if isinstance(current, (int, float, complex)):
        # `5 *= [1]` would be a list in Python; the check of the result says so.
        wanted = Any if operator in ("+=", "-=", "*=", "/=") else int
        if isinstance(current, bool) and operator in ("|=", "&="):
            wanted = bool
    elif isinstance(current, (str, bytes)):
        wanted = int if operator == "*=" else kind
    elif isinstance(current, (list, tuple)):
        wanted = int if operator == "*=" else _same_kind(place.annotation, kind)
    elif isinstance(current, (set, frozenset)):
        wanted = _same_kind(place.annotation, kind)
    elif isinstance(current, dict):
        wanted = _same_kind(place.annotation, kind)
    elif kind.__module__ == "collections":
        wanted = int if operator == "*=" else _same_kind(place.annotation, kind)
    elif kind.__module__ == "datetime":
        import datetime

        wanted = _NUMBERS if isinstance(current, datetime.timedelta) and operator in ("*=", "/=") else datetime.timedelta
    elif kind.__module__ in ("decimal", "fractions", "_decimal", "_pydecimal"):
        wanted = kind
    elif kind.__module__.startswith("pathlib"):
        wanted = str
    elif any(base.__name__ == "Flag" for base in kind.__mro__):
        wanted = kind
    if wanted is Any and isinstance(current, (int, float, complex)):
        # A number is a number here, whatever the annotation: `steps*=1.5` fails because of what comes out, not of the 1.5.
        return convert(token.value, _NUMBERS, scope)
    return convert(Value(token.value), wanted, scope)


def _same_kind(annotation: object, kind: type) -> object:
    """The part of an annotation that a value of this type belongs to: ``list[int]`` of ``list[int] | None`` for a list."""
    for member in members_of(value_type(annotation)):
        origin = typing.get_origin(member) or member
        if isinstance(origin, type) and (origin is kind or (origin is not object and issubclass(kind, origin))):
            if kind is tuple and typing.get_args(member) and typing.get_args(member)[-1] is not Ellipsis:
                return tuple
            return member
    return kind


def _check(result: object, current: object, place: _Place, token: Assignment) -> None:
    """Says in the user's terms that what an operator gave does not fit: ``steps/=2`` makes a float of an int."""
    from mizzen.config.check import check

    annotation = place.annotation
    if annotation is MISSING or isinstance(annotation, str):
        return
    try:
        check(result, annotation, f".{render_path(place.path)}")
    except ConfigError as error:
        shown = render_path(place.path)
        hint = ""
        if isinstance(result, float) and result.is_integer():
            hint = f"\nhint: `{shown}={int(result)}`"
        raise OperationError(
            f"`{token.text}` makes {result!r} ({type(result).__name__}) of `{shown}`, which is to be {describe(annotation)}{hint}",
            token.text,
            {"value": result, "expected": describe(annotation)},
            path=error.path,
        ) from None


class Positions:
    """Gives values without a name to the parameters in their order, as a call would.

    Args:
        config: the ``Config`` or ``Partial``.
        skip: parameters that get theirs otherwise (an experiment's context).
    """

    def __init__(self, config: Any, skip: tuple[str, ...] = ()) -> None:
        self.config = config
        self.signature = signature_of(target_of(config))
        self.places = [item for item in self.signature.parameters.values() if item.positional and item.name not in skip]
        self.count = 0
        self.before = set(config.__arguments__)

    def give(self, token: Positional, scope: Scope) -> None:
        """Gives the next one.

        Raises:
            ArgumentValueError: there are more values than parameters, or the parameter was named before.
        """
        function = self.signature.function
        index, self.count = self.count, self.count + 1
        if index < len(self.places):
            parameter = self.places[index]
            if parameter.name in self.config.__arguments__ and parameter.name not in self.before:
                raise ArgumentValueError(
                    f"`{token.text}`: the value without a name belongs to `{parameter.name}`, which has one already", token.text
                )
            inner = Scope(function, parameter.name, parameter.name, token.text, scope.namespace, scope.transform)
            _assign(
                _Place(self.config, parameter.name, parameter.annotation, inner, (parameter.name,), parameter),
                _named(token, parameter),
            )
        elif self.signature.var_positional is not None:
            parameter = self.signature.var_positional
            shown = f"{parameter.name}[{index - len(self.places)}]"
            inner = Scope(function, parameter.name, shown, token.text, scope.namespace)
            value = convert(token.value, parameter.annotation, inner)
            self._move_by_position()
            self.config.__positional__.append(value)
        else:
            called = getattr(function, "__name__", str(function))
            names = ", ".join(f"`{item}`" for item in self.signature.parameters)
            hint = f"\nhint: overrides are written `name=value`; `{called}` has {names}" if names else ""
            raise ArgumentValueError(
                f"`{token.text}`: `{called}` takes {len(self.places)} positional argument{'' if len(self.places) == 1 else 's'}{hint}",
                token.text,
            )

    def _move_by_position(self) -> None:
        """What stands before ``*args`` in a call must be there by position as well."""
        given = self.config.__arguments__
        if self.config.__positional__:
            return
        for parameter in self.places:
            if parameter.name in given:
                self.config.__positional__.append(given.pop(parameter.name))


def not_given_here(token: Assignment, config: Any) -> UndefinedVariableError:
    """The error for an argument that is not the user's to give."""
    return UndefinedVariableError(f"`{token.path[0]}` is given by Mizzen itself, not on the command line", token.text)


def _named(token: Positional, parameter: Parameter) -> Assignment:
    return Assignment(token.text, (parameter.name,), "=", token.value)


def complete(config: Any, scope: Scope, *, skip: tuple[str, ...] = ()) -> None:
    """Fills in what was not given and can't be left to the call: defaults from factories, and configurations in the signature.

    Args:
        config: the ``Config`` or ``Partial``; nested ones are completed as well.
        scope: the names that are visible.
        skip: arguments that are given otherwise.
    """
    function = target_of(config)
    if function is dict:
        return
    for name, parameter in signature_of(function).parameters.items():
        if name in skip:
            continue
        if name not in config.__arguments__:
            inner = Scope(function, name, name, "", scope.namespace)
            made = default_for(parameter.annotation, inner, any_type=parameter.required)
            if made is MISSING and _holds_buildable(parameter.default):
                made = copy.deepcopy(parameter.default)
            if made is not MISSING:
                _Place(config, name, parameter.annotation, inner, (name,), parameter).store(made)
        value = config.__arguments__.get(name)
        if is_buildable(value):
            complete(value, scope)


def _holds_buildable(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_buildable(item) for item in value)
    if isinstance(value, dict):
        return any(_holds_buildable(item) for item in value.values())
    return is_buildable(value)


def missing_arguments(config: Any, *, skip: tuple[str, ...] = ()) -> list[tuple[str, Parameter]]:
    """The arguments that must be given and are not, also of the configurations inside, by their path."""
    found: list[tuple[str, Parameter]] = []
    _collect_missing(config, "", skip, found)
    return found


def _collect_missing(value: Any, path: str, skip: tuple[str, ...], found: list[tuple[str, Parameter]]) -> None:
    if isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _collect_missing(item, f"{path}[{index}]", (), found)
    elif isinstance(value, dict):
        for key, item in value.items():
            _collect_missing(item, f"{path}[{key!r}]", (), found)
    elif is_buildable(value):
        function = target_of(value)
        given = value.__arguments__
        if function is not dict and (path == "" or type(value).__name__ != "Partial"):
            parameters = signature_of(function).parameters
            taken = [name for name, item in parameters.items() if item.positional][: len(value.__positional__)]
            for name, parameter in parameters.items():
                if parameter.required and name not in given and name not in skip and name not in taken:
                    found.append((f"{path}.{name}".lstrip("."), parameter))
        for name, item in given.items():
            _collect_missing(item, f"{path}.{name}".lstrip("."), (), found)
