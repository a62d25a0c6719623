"""Factories: functions that make an argument's value, to be named on a command line.

A factory belongs to a type (``model=small`` where ``model: Model``) or to one argument of one function. Registering only takes a
note; types are resolved when somebody asks, so that decorating costs nothing at import and may name classes that come later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast, overload

from mizzen.cli.errors import ArgumentValueError, UndefinedVariableError, suggestion

__all__ = ["Factory", "factories_for", "factory", "list_factories", "resolve_factory"]

_Function = TypeVar("_Function", bound=Callable[..., object])


class Factory:
    """A registered factory.

    Attributes:
        function: what is called.
        name: what it is called by on the command line.
        target: the type or function that it belongs to; ``None``: its return type.
        argument: the argument of ``target`` that it belongs to; empty: the target itself.
        default: whether it gives the value where none is said.
        namespace: what it is listed under, in ``list_factories``; empty: its type.
    """

    __slots__ = ("_type", "argument", "default", "function", "name", "namespace", "target")

    def __init__(
        self, function: Callable[..., object], name: str, target: object, argument: str, default: bool, namespace: str
    ) -> None:
        self.function = function
        self.name = name
        self.target = target
        self.argument = argument
        self.default = default
        self.namespace = namespace
        self._type: object = None

    @property
    def type(self) -> object:
        """What it makes: its target if that is a type, else what its return annotation says."""
        if self._type is None:
            self._type = self.target if isinstance(self.target, type) and not self.argument else made_by(self.function)
        return self._type

    def __repr__(self) -> str:
        return f"<factory {self.name}>"


_factories: list[Factory] = []


@overload
def factory(
    fn: _Function,
    target: object = None,
    *,
    target_arg: str | None = None,
    is_target_default: bool = False,
    name: str | None = None,
    namespace: str | None = None,
) -> _Function: ...
@overload
def factory(
    fn: None = None,
    target: object = None,
    *,
    target_arg: str | None = None,
    is_target_default: bool = False,
    name: str | None = None,
    namespace: str | None = None,
) -> Callable[[_Function], _Function]: ...
def factory(
    fn: _Function | None = None,
    target: object = None,
    *,
    target_arg: str | None = None,
    is_target_default: bool = False,
    name: str | None = None,
    namespace: str | None = None,
) -> _Function | Callable[[_Function], _Function]:
    """Registers a function that makes values, to be named on the command line: ``model=small`` or ``model=small(hidden=64)``.

    Args:
        fn: the function. Its return annotation (``Model``, ``Config[Model]``, ``list[Plugin]``) says where it may be named, unless
            ``target`` does.
        target: the type whose values it makes, or the function whose argument (``target_arg``) or call (``--factory``) it makes.
        target_arg: the argument of ``target``.
        is_target_default: it also makes the value of a required argument of that type which is not given; with ``target_arg``, of that
            argument whenever it is not given.
        name: what it is called by; by default the function's name.
        namespace: what :func:`list_factories` lists it under as well.

    Returns:
        the function itself, unchanged.

    Raises:
        ArgumentValueError: it has neither a return annotation nor a target.
    """

    def register(function: _Function) -> _Function:
        if target is None:
            plain: Any = function
            while hasattr(plain, "__wrapped__"):
                plain = plain.__wrapped__
            annotations = getattr(plain, "__annotations__", {})
            if not isinstance(function, type) and "return" not in annotations:
                raise ArgumentValueError(
                    f"nothing says what the factory `{getattr(function, '__name__', function)}` makes"
                    "\nhint: give it a return annotation (`-> Model`), or a target: `factory(target=Model)`"
                )
        elif target_arg and not callable(target):
            raise ArgumentValueError(f"a target with arguments is a function or class, not {target!r}")
        called = name or str(getattr(function, "__name__", "factory"))
        made = Factory(function, called, target, target_arg or "", is_target_default, namespace or "")
        # A cell of a notebook that is run again replaces what it registered before.
        _factories[:] = [kept for kept in _factories if not _same_place(kept, made)]
        _factories.append(made)
        return function

    return register if fn is None else register(fn)


def _same_place(one: Factory, other: Factory) -> bool:
    return (one.name, one.argument, one.namespace) == (other.name, other.argument, other.namespace) and (
        one.target == other.target
        if one.target is not None or other.target is not None
        else _identity(one.function) == _identity(other.function)
    )


def _identity(function: object) -> tuple[object, object]:
    return (getattr(function, "__module__", None), getattr(function, "__qualname__", function))


def made_by(function: object) -> object:
    """The type of what a function makes by its annotation, without ``Config[…]``, ``Partial[…]``, ``Optional[…]``; ``None`` if unknown."""
    from mizzen.cli.signature import MISSING, signature_of

    if isinstance(function, type):
        return function
    returns = signature_of(cast("Callable[..., object]", function)).returns
    return None if returns is MISSING or isinstance(returns, str) else value_type(returns)


def value_type(annotation: object) -> object:
    """The annotation of the built value: ``Model`` of ``Config[Model]``, of ``Optional[Model]``, of ``Annotated[Model, …]``."""
    import types
    import typing

    from mizzen.cli.values import members_of

    members = [member for member in members_of(annotation) if member is not types.NoneType]
    if len(members) != 1:
        return annotation
    member = members[0]
    if is_buildable_type(typing.get_origin(member)):
        arguments = typing.get_args(member)
        return value_type(arguments[0]) if arguments else None
    return member


def is_buildable_type(kind: object) -> bool:
    """Whether a class is ``Config`` or ``Partial`` (ours or fiddle's), told without importing them."""
    if not isinstance(kind, type):
        return False
    return any(base.__name__ == "Buildable" and base.__module__.startswith(("mizzen.", "fiddle")) for base in kind.__mro__)


def same_function(one: object, other: object) -> bool:
    """Whether two objects are the same function, or wrap it."""

    def inner(function: Any) -> object:
        while hasattr(function, "__wrapped__"):
            function = function.__wrapped__
        return function

    return one is other or inner(one) is inner(other)


def factories_for(annotation: object, function: object = None, argument: str = "") -> Iterator[Factory]:
    """The factories that may be named for a value, most specific first.

    Args:
        annotation: the value's annotation; ``None`` for none.
        function: the callable whose argument it is, or whose call is to be made.
        argument: that argument; empty for the call itself.
    """
    if function is not None:
        for found in reversed(_factories):
            if found.argument == argument and found.target is not None and same_function(found.target, function):
                yield found
    if annotation is None:
        return
    wanted = value_type(annotation)
    for found in reversed(_factories):
        if not found.argument and (found.target is None or isinstance(found.target, type)) and makes(found.type, wanted):
            yield found


def makes(made: object, wanted: object) -> bool:
    """Whether what is made may stand where ``wanted`` is asked for."""
    import typing

    if made is None or wanted is None or wanted is typing.Any or wanted is object:
        return False
    if made == wanted:
        return True
    if typing.get_args(wanted) and typing.get_args(made):
        inner = zip(typing.get_args(made), typing.get_args(wanted))
        return typing.get_origin(made) is typing.get_origin(wanted) and all(makes(value_type(a), value_type(b)) for a, b in inner)
    made, wanted = typing.get_origin(made) or made, typing.get_origin(wanted) or wanted
    try:
        return isinstance(made, type) and isinstance(wanted, type) and issubclass(made, wanted)
    except TypeError:  # a protocol that can't be checked
        return False


def resolve_factory(target: object, name: str) -> Callable[..., object]:
    """The factory that ``name`` stands for where ``target`` is wanted.

    Args:
        target: a type, a function, or the name of a namespace.
        name: what the factory is registered as.

    Raises:
        UndefinedVariableError: there is none; the message names the nearest.
    """
    found = {item.name: item.function for item in reversed(_listed(target))}
    if name not in found:
        raise UndefinedVariableError(
            f"there is no factory `{name}` of `{getattr(target, '__name__', target)}`{suggestion(name, found)}", name
        )
    return found[name]


def list_factories(type_or_namespace: object = None) -> list[Callable[..., object]]:
    """The factories of a type, of a function's call, or of a namespace (a string); of everything if it is ``None``."""
    return [item.function for item in _listed(type_or_namespace)]


def _listed(target: object) -> list[Factory]:
    if target is None:
        return list(_factories)
    if isinstance(target, str):
        named = [item for item in _factories if item.namespace == target]
        return named or [item for item in _factories if type_name(item.type) == target or type_name(item.target) == target]
    return list(factories_for(target if isinstance(target, type) or not callable(target) else None, target))


def type_name(kind: object) -> str:
    """``module.Name``; for a class of the launching script the script's name stands for ``__main__``."""
    if kind is None or not hasattr(kind, "__qualname__"):
        return ""
    module = str(getattr(kind, "__module__", ""))
    if module == "__main__":
        path = str(getattr(sys.modules["__main__"], "__file__", None) or "__main__")
        module = path.replace("\\", "/").rpartition("/")[2].removesuffix(".py")
    return f"{module}.{kind.__qualname__}"
