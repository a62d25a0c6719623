"""Names and calls in values: ``model=small``, ``model=Model(hidden=64)``, ``loss=pkg.losses.huber``.

These mean something only where an annotation asks for an object. A name is looked up, in this order, among

1. the factories registered for this argument of this function,
2. the factories registered for the wanted type,
3. what is visible where the entry point is defined: classes of the wanted type, functions annotated to return it, its instances,
4. the wanted type itself, its subclasses that are loaded, and its neighbours in its module (``torch.bfloat16``),
5. if the name has dots: what can be imported under it, if it is one of these.

A function that is neither registered nor annotated to return the wanted type is never called.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mizzen.cli.errors import ArgumentValueError, UndefinedVariableError, suggestion
from mizzen.cli.factories import Factory, factories_for, is_buildable_type, made_by, makes, value_type
from mizzen.cli.signature import MISSING, Signature, describe, signature_of
from mizzen.cli.values import Mismatch, Scope, Tree, Value, convert, members_of
from mizzen.errors import ConfigError

__all__ = ["call", "call_factory", "default_for", "named_factory", "read_callable", "read_class", "read_object", "type_arguments"]

_NOTHING = object()
_UNCLOSED = re.compile(r"[A-Za-z_][\w.]*\(")


def read_object(value: Value, kind: type, annotation: object, scope: Scope) -> object:
    """The object that a name, a call or a dictionary of arguments stands for: a ``Config``, ``Partial`` or a constant.

    Args:
        value: what was written.
        kind: the class that is asked for, or ``Config`` or ``Partial``.
        annotation: the whole annotation.
        scope: where it is to go.
    """
    partial = is_buildable_type(kind) and kind.__name__ == "Partial"
    wanted = value_type(annotation)
    if is_buildable_type(kind) and (is_buildable_type(wanted) or wanted is Any or wanted is object):
        wanted = None
    try:
        tree = value.tree
    except ConfigError as error:
        raise Mismatch(str(error)) from None
    if tree[0] == "dict" and isinstance(wanted, type):
        arguments: list[tuple[str | None, Tree]] = []
        for key, item in tree[1]:
            if key[0] not in ("text", "name"):
                raise Mismatch(f"`{value.written()}` has a key that is no argument's name")
            arguments.append((str(key[1]), item))
        return call(wanted, arguments, scope, partial=partial)
    if tree[0] == "call" and tree[1] == "dict" and isinstance(wanted, type):
        return call(wanted, list(tree[2]), scope, partial=partial)
    if tree[0] not in ("name", "call"):
        if tree[0] == "text" and not tree[2] and _UNCLOSED.match(str(tree[1])):
            raise Mismatch(f"`{value.written()}` is no call: its brackets don't match")
        raise Mismatch(f"`{value.written()}` is none{_offers(wanted, scope)}")
    name, given = (str(tree[1]), None) if tree[0] == "name" else (str(tree[1]), list(tree[2]))
    found = _find(name, wanted, scope)
    if isinstance(found, Factory):
        return call_factory(found.function, given or [], scope, name=name, partial=partial)
    if found is _NOTHING and isinstance(wanted, type) and _is_executor(wanted):
        from mizzen.cli.executors import executor_by_name

        return executor_by_name(name, given or [], scope)
    if found is _NOTHING:
        raise Mismatch(f"`{name}` is none{_offers(wanted, scope, name)}")
    if isinstance(found, type) and wanted is not type:
        return call(found, given or [], scope, partial=partial)
    if isinstance(found, types.FunctionType) or (callable(found) and made_by(found) is not None and not _is_a(found, wanted)):
        if partial or (wanted is None and not is_buildable_type(made_by(found))):
            return call(found, given or [], scope, partial=partial)
        return call_factory(found, given or [], scope, name=name, partial=partial)
    if given is not None:
        raise Mismatch(f"`{name}` is a value and can't be called")
    return _fresh(found)


def _fresh(value: Any) -> object:
    """A copy of what overrides may reach into, so that they change nobody else's; constants stay what they are."""
    import copy

    copied = is_buildable_type(type(value)) or isinstance(value, (list, dict)) or hasattr(value, "__dataclass_fields__")
    return typing.cast("object", copy.deepcopy(value)) if copied and not isinstance(value, type) else value


def _is_executor(wanted: type) -> bool:
    return any(base.__name__ == "Executor" and base.__module__.startswith("mizzen.executor") for base in wanted.__mro__)


def collection_from_factory(value: Value, annotation: object, scope: Scope) -> object:
    """The list, tuple or dictionary that a registered factory makes; ``None`` if the name is none's."""
    tree = value.tree
    for item in factories_for(annotation, scope.function, scope.argument):
        if item.name == tree[1]:
            return call_factory(item.function, list(tree[2]) if tree[0] == "call" else [], scope, name=item.name)
    return None


def _offers(wanted: object, scope: Scope, name: str = "") -> str:
    names = list(dict.fromkeys(_names(wanted, scope)))
    if name and not names:
        return "\nhint: register a factory with `@run.cli.factory`, or name it by its import path"
    return suggestion(name, names, otherwise="these can be named:")


def _names(wanted: object, scope: Scope) -> Iterator[str]:
    for item in factories_for(wanted, scope.function, scope.argument):
        yield item.name
    if isinstance(wanted, type) and wanted.__module__ != "builtins":
        yield wanted.__name__
        for cls in _subclasses(wanted):
            if not cls.__name__.startswith("_"):
                yield cls.__name__


def _subclasses(cls: type) -> Iterator[type]:
    for below in typing.cast("list[type]", type.__subclasses__(cls)):
        yield below
        yield from _subclasses(below)


def _find(name: str, wanted: object, scope: Scope) -> object:
    for item in factories_for(wanted, scope.function, scope.argument):
        if item.name == name:
            return item
    visible = _walk(scope.namespace, name)
    if visible is not _NOTHING and _fits(visible, wanted, dotted="." in name):
        return visible
    if isinstance(wanted, type) and wanted.__module__ != "builtins":
        if name in (wanted.__name__, f"{wanted.__module__}.{wanted.__qualname__}"):
            return wanted
        for cls in _subclasses(wanted):
            if name == cls.__name__:
                return cls
        neighbour = _walk(getattr(sys.modules.get(wanted.__module__), "__dict__", {}), name)
        if neighbour is not _NOTHING and (_is_a(neighbour, wanted) or (isinstance(neighbour, type) and makes(neighbour, wanted))):
            return neighbour
    if "." in name:
        imported = import_name(name, scope)
        if imported is not _NOTHING and _fits(imported, wanted, dotted=True):
            return imported
        if imported is not _NOTHING and callable(imported) and made_by(imported) is None:
            raise _not_called(name, wanted)
    elif visible is not _NOTHING and callable(visible) and not isinstance(visible, type) and made_by(visible) is None:
        raise _not_called(name, wanted)
    return _NOTHING


def _not_called(name: str, wanted: object) -> Mismatch:
    return Mismatch(
        f"nothing says what `{name}` makes, so it is not called"
        f"\nhint: annotate what it returns (`-> {describe(wanted)}`), or register it with `@run.cli.factory`"
    )


def _fits(found: object, wanted: object, *, dotted: bool) -> bool:
    if wanted is None:  # a bare `Config` or `Partial`: of anything that is called by its whole name, or visible
        return callable(found)
    if isinstance(found, type):
        return makes(found, wanted) or _is_a(found, wanted) or (dotted and _is_protocol(wanted))
    if _is_a(found, wanted):
        return True
    return callable(found) and makes(made_by(found), wanted)


def _is_protocol(wanted: object) -> bool:
    return bool(getattr(wanted, "_is_protocol", False))


def _is_a(found: object, wanted: object) -> bool:
    if not isinstance(wanted, type):
        return False
    if is_buildable_type(type(found)):
        return makes(typing.cast("Any", found).__target__ if hasattr(found, "__target__") else None, wanted)
    try:
        return isinstance(found, wanted)
    except TypeError:
        return False


def _walk(namespace: Mapping[str, object], name: str) -> object:
    """What a dotted name leads to by attributes, without importing anything."""
    first, *rest = name.split(".")
    found: object = namespace.get(first, _NOTHING)
    for step in rest:
        if not isinstance(found, (types.ModuleType, type)):
            return _NOTHING  # attributes of other objects may be computed
        found = getattr(found, step, _NOTHING)
    return found


def import_name(name: str, scope: Scope) -> object:
    """What can be imported as ``package.module.Name``."""
    steps = name.split(".")
    for end in range(len(steps) - 1, 0, -1):
        module_name = ".".join(steps[:end])
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
                continue
            raise ArgumentValueError(f"`{scope.path}`: importing `{module_name}` failed: {error}", scope.text) from error
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise ArgumentValueError(f"`{scope.path}`: importing `{module_name}` failed: {reason}", scope.text) from error
        return _walk(vars(module), ".".join(steps[end:]))
    return _NOTHING


def type_arguments(
    function: Callable[..., object], given: list[tuple[str | None, Tree]], scope: Scope
) -> tuple[list[object], dict[str, object]]:
    """The arguments in a call's brackets, each typed by the callable's own annotations."""
    signature = signature_of(function)
    places = [item for item in signature.parameters.values() if item.positional]
    positional: list[object] = []
    named: dict[str, object] = {}
    called = getattr(function, "__name__", str(function))
    for index, (name, tree) in enumerate(given):
        if name is None:
            parameter = places[index] if index < len(places) else signature.var_positional
            if parameter is None:
                raise ArgumentValueError(
                    f"`{scope.path}`: `{called}` takes {len(places)} positional arguments, and more are given", scope.text
                )
            inner = scope.of(function, parameter.name, f"{scope.path}.{parameter.name}")
            positional.append(convert(Value(None, tree), parameter.annotation, inner))
            continue
        found = signature.find(name)
        if found is None:
            raise unknown_argument(name, signature, scope)
        inner = scope.of(function, name, f"{scope.path}.{name}")
        if name in named or name in [item.name for item in places[: len(positional)]]:
            raise ArgumentValueError(f"`{inner.path}` is given twice", scope.text)
        named[name] = convert(Value(None, tree), found.annotation, inner)
    # Arguments with a name are kept by it where they can be: overrides that come later find them there.
    kept = next(
        (index for index, item in enumerate(places[: len(positional)]) if item.kind.name != "POSITIONAL_ONLY"), len(positional)
    )
    if len(positional) <= len(places):
        named = {**{item.name: value for item, value in zip(places[kept:], positional[kept:])}, **named}
        positional = positional[:kept]
    return positional, named


def unknown_argument(name: str, signature: Signature, scope: Scope) -> UndefinedVariableError:
    """The error for an argument that a callable has not."""
    called = getattr(signature.function, "__name__", str(signature.function))
    hint = suggestion(name, signature.parameters, otherwise="it has")
    return UndefinedVariableError(f"`{called}` has no argument `{name}`{hint}", scope.text, {"argument": name})


def call(function: Callable[..., object], given: list[tuple[str | None, Tree]], scope: Scope, *, partial: bool = False) -> object:
    """A ``Config`` (or ``Partial``) of a call. Nothing is called: that happens in the job."""
    from mizzen.config import Config, Partial

    positional, named = type_arguments(function, given, scope)
    kind: Any = Partial if partial else Config
    try:
        return typing.cast("object", kind(function, *positional, **named))
    except (ConfigError, TypeError) as error:
        raise ArgumentValueError(f"`{scope.path}`: {error}", scope.text) from error


def call_factory(
    function: Callable[..., object],
    given: list[tuple[str | None, Tree]],
    scope: Scope,
    *,
    name: str = "",
    partial: bool = False,
    now: bool = False,
) -> object:
    """What a factory makes.

    A factory that gives configurations (its annotation says ``Config``, it is an ``autoconvert`` function, or it makes a dataclass)
    is called here, so that overrides can reach into what it gives. Any other is left to the job, which calls it with these
    arguments: what it makes, say a model on a GPU, is of no use in the launching process. With ``now`` it is called in any case.
    """
    if not now and not _gives_configuration(function):
        return call(function, given, scope, partial=partial)
    from mizzen.config import Config, Partial

    positional, named = type_arguments(function, given, scope)
    called = name or getattr(function, "__name__", str(function))
    try:
        made = typing.cast("Any", _fresh(function(*positional, **named)))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ArgumentValueError(f"`{scope.path}`: the factory `{called}` failed: {reason}", scope.text) from error
    if made is None:
        raise ArgumentValueError(f"`{scope.path}`: the factory `{called}` gave nothing", scope.text)
    if partial and isinstance(made, Config) and not isinstance(made, Partial):
        target: Any = made.__target__
        return Partial(target, **made.__arguments__)
    return made


def _gives_configuration(function: Callable[..., object]) -> bool:
    if hasattr(function, "__auto_config__"):
        return True
    returns = signature_of(function).returns
    if returns is MISSING or isinstance(returns, str):
        return True
    for member in members_of(returns):
        kind = typing.get_origin(member) or member
        if is_buildable_type(kind) or hasattr(kind, "__dataclass_fields__"):
            return True
        if isinstance(kind, type) and (kind.__module__ == "builtins" or kind.__module__.partition(".")[0] == "mizzen"):
            return True
    return False


def default_for(annotation: object, scope: Scope, *, any_type: bool) -> object:
    """What a default factory makes for an argument that is not given; ``MISSING`` if there is none.

    Args:
        annotation: the argument's.
        scope: where it is.
        any_type: whether defaults of the type count, or only those of this very argument.
    """
    for item in factories_for(annotation if any_type else None, scope.function, scope.argument):
        if item.default:
            return call_factory(item.function, [], scope, name=item.name)
    return MISSING


def named_factory(text: str, function: Callable[..., object], scope: Scope) -> object:
    """What ``--factory NAME`` or ``--factory NAME(arg=value)`` of a function's own factories makes."""
    value = Value(text)
    tree = value.tree
    candidates = list(factories_for(None, function))
    if tree[0] in ("name", "call"):
        for item in candidates:
            if item.name == tree[1]:
                return call_factory(item.function, list(tree[2]) if tree[0] == "call" else [], scope, name=item.name, now=True)
        if tree[0] in ("name", "call") and "." in tree[1]:
            found = import_name(str(tree[1]), scope)
            returns = signature_of(found).returns if callable(found) else None
            if callable(found) and (
                hasattr(found, "__auto_config__")
                or any(is_buildable_type(typing.get_origin(member) or member) for member in members_of(returns))
            ):
                return call_factory(found, list(tree[2]) if tree[0] == "call" else [], scope, name=str(tree[1]), now=True)
    called = getattr(function, "__name__", str(function))
    hint = suggestion(text.partition("(")[0], [item.name for item in candidates]) or (
        f"\nhint: register one with `@run.cli.factory(target={called})`"
    )
    raise UndefinedVariableError(f"`{called}` has no factory `{text}`{hint}", scope.text)


def read_class(value: Value, wanted: object, scope: Scope) -> object:
    """The class of a name, where ``type[X]`` is asked for: ``X`` or one of its subclasses."""
    tree = value.tree
    wanted = value_type(wanted)
    if tree[0] != "name":
        raise Mismatch(f"`{value.written()}` is no name of a class")
    name = str(tree[1])
    candidates: list[object] = [_walk(scope.namespace, name)]
    if isinstance(wanted, type):
        candidates += [cls for cls in (wanted, *_subclasses(wanted)) if cls.__name__ == name]
    candidates.append(_walk(vars(importlib.import_module("builtins")), name))
    if "." in name:
        candidates.append(import_name(name, scope))
    for found in candidates:
        if isinstance(found, type) and (wanted is Any or wanted is object or makes(found, wanted)):
            return found
    names = _names(wanted, scope) if isinstance(wanted, type) else []
    raise Mismatch(f"`{name}` is no such class{suggestion(name, names, otherwise='there are')}")


def read_callable(value: Value, scope: Scope) -> object:
    """The function of a name or an import path, where a ``Callable`` is asked for; with arguments, a ``Partial`` of it.

    It is not called here.
    """
    tree = value.tree
    if tree[0] not in ("name", "call"):
        raise Mismatch(f"`{value.written()}` is no name of a function")
    name = str(tree[1])
    for item in factories_for(None, scope.function, scope.argument):
        if item.name == name and scope.argument:
            return call_factory(item.function, list(tree[2]) if tree[0] == "call" else [], scope, name=name)
    found = _walk(scope.namespace, name)
    if found is _NOTHING and "." in name:
        found = import_name(name, scope)
    if not callable(found):
        functions = [key for key, item in scope.namespace.items() if isinstance(item, types.FunctionType)]
        hint = suggestion(name, functions) if "." not in name else ""
        if "did you mean" not in hint:
            hint = "\nhint: name it by its import path: `package.module.function`"
        raise Mismatch(f"`{name}` is no function that can be found{hint}")
    return call(found, list(tree[2]), scope, partial=True) if tree[0] == "call" else found
