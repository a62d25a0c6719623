"""The parameters of a callable with their annotations, resolved one by one.

``typing.get_type_hints`` resolves all or nothing: one name that exists only for type checkers would cost the types of all other
parameters. Here an annotation that can't be resolved stays a string, which the command line reads as raw text.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping

__all__ = ["Parameter", "Signature", "annotations_of_class", "describe", "namespace_of", "signature_of", "unwrap_callable"]

MISSING: typing.Final = inspect.Parameter.empty


class Parameter:
    """One parameter.

    Attributes:
        name: its name.
        annotation: the resolved annotation; a string if it can't be resolved; ``MISSING`` if there is none.
        default: the default; ``MISSING`` if there is none.
        kind: ``inspect.Parameter.kind``.
    """

    __slots__ = ("annotation", "default", "kind", "name")

    def __init__(self, name: str, annotation: object, default: object, kind: inspect._ParameterKind) -> None:
        self.name = name
        self.annotation = annotation
        self.default = default
        self.kind = kind

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is MISSING and not self.variadic

    @property
    def variadic(self) -> bool:
        """Whether it is ``*args`` or ``**kwargs``."""
        return self.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

    @property
    def positional(self) -> bool:
        """Whether a value without a name can go to it."""
        return self.kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """The parameters of a callable, by name, in order.

    Attributes:
        function: the callable.
        parameters: those that have a name of their own.
        var_positional: ``*args``, if there is one.
        var_keyword: ``**kwargs``, if there is one.
        returns: the resolved return annotation; for a class the class itself.
    """

    __slots__ = ("function", "parameters", "returns", "var_keyword", "var_positional")

    def __init__(self, function: Callable[..., object], parameters: list[Parameter], returns: object) -> None:
        self.function = function
        self.parameters = {item.name: item for item in parameters if not item.variadic}
        self.returns = returns
        self.var_positional = next((item for item in parameters if item.kind is inspect.Parameter.VAR_POSITIONAL), None)
        self.var_keyword = next((item for item in parameters if item.kind is inspect.Parameter.VAR_KEYWORD), None)

    def find(self, name: str) -> Parameter | None:
        """The parameter that ``name=value`` goes to: one of that name, else ``**kwargs``."""
        return self.parameters.get(name, self.var_keyword)


def unwrap_callable(function: object) -> object:
    """The callable itself, without ``functools.partial`` around it."""
    while hasattr(function, "func") and hasattr(function, "keywords"):
        function = function.func
    return function


def namespace_of(function: object) -> Mapping[str, object]:
    """The names that are visible where ``function`` is defined: its module's globals."""
    plain = inspect.unwrap(typing.cast("Callable[..., object]", unwrap_callable(function))) if callable(function) else function
    found = getattr(plain, "__globals__", None)
    if found is None:
        module = sys.modules.get(getattr(plain, "__module__", None) or "")
        found = getattr(module, "__dict__", {})
    return typing.cast("Mapping[str, object]", found)


def resolve(annotation: object, namespace: Mapping[str, object], local: Mapping[str, object] | None = None) -> object:
    """The annotation with its names looked up; the string that it was if one of them is not there."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if not isinstance(annotation, str):
        return _resolve_inside(annotation, namespace, local) if _has_forward(annotation) else annotation
    try:
        # What an annotation's author wrote, not what the command line says: evaluated as Python itself would do it.
        value = eval(annotation, dict(namespace), dict(local or {}))
    except Exception:
        return annotation
    return resolve(value, namespace, local) if value != annotation else value


def _has_forward(annotation: object) -> bool:
    """Whether a name is still to be looked up inside, as in ``Optional["Model"]``."""
    if typing.get_origin(annotation) is typing.Literal:
        return False
    return any(isinstance(item, (str, typing.ForwardRef)) or _has_forward(item) for item in typing.get_args(annotation))


class _Holder:
    """Carries an annotation to `typing.get_type_hints`."""

    def __init__(self, annotation: object) -> None:
        self.__annotations__ = {"value": annotation}


def _with_references(annotation: typing.Any) -> object:
    """``list["Model"]`` as ``list[ForwardRef("Model")]``: Python 3.10 looks up only these."""
    arguments = typing.get_args(annotation)
    if not arguments or typing.get_origin(annotation) in (typing.Literal, typing.Annotated):
        return annotation
    made = tuple(typing.ForwardRef(item) if isinstance(item, str) else _with_references(item) for item in arguments)
    if made == arguments:
        return annotation
    if isinstance(annotation, types.GenericAlias):
        return types.GenericAlias(typing.get_origin(annotation), made)
    return annotation.copy_with(made) if hasattr(annotation, "copy_with") else annotation


def _resolve_inside(annotation: object, namespace: Mapping[str, object], local: Mapping[str, object] | None) -> object:
    try:
        hints = typing.get_type_hints(
            _Holder(_with_references(annotation)), dict(namespace), dict(local or {}), include_extras=True
        )
    except Exception:
        return annotation  # the part that can't be resolved is read as raw text
    return hints["value"]


_signatures: dict[int, tuple[object, Signature]] = {}


def signature_of(function: Callable[..., object]) -> Signature:
    """The parameters of a function, class or other callable. Callables that don't tell accept any argument."""
    kept = _signatures.get(id(function))
    if kept is not None and kept[0] is function:
        return kept[1]
    found = _signature_of(function)
    _signatures[id(function)] = (function, found)
    return found


def _signature_of(function: Callable[..., object]) -> Signature:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        anything = [
            Parameter("args", MISSING, MISSING, inspect.Parameter.VAR_POSITIONAL),
            Parameter("kwargs", MISSING, MISSING, inspect.Parameter.VAR_KEYWORD),
        ]
        return Signature(function, anything, function if isinstance(function, type) else MISSING)
    namespace = namespace_of(function)
    fields: Mapping[str, object] = {}
    if isinstance(function, type):
        constructor = function.__dict__.get("__init__") or function.__dict__.get("__new__")
        if constructor is None or not hasattr(constructor, "__globals__") or _generated(function):
            # A dataclass's fields may come from a base class in another module, where their names mean something else.
            fields = annotations_of_class(function)
        else:
            namespace = namespace_of(constructor)
    parameters = []
    for item in signature.parameters.values():
        annotation = fields.get(item.name, item.annotation)
        parameters.append(Parameter(item.name, resolve(annotation, namespace), item.default, item.kind))
    returns = function if isinstance(function, type) else resolve(signature.return_annotation, namespace)
    return Signature(function, parameters, returns)


def _generated(cls: type) -> bool:
    return hasattr(cls, "__dataclass_fields__") or hasattr(cls, "_fields")


def annotations_of_class(cls: type) -> dict[str, object]:
    """The annotations in the bodies of a class and its bases, resolved; names of ``InitVar`` included."""
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        namespace = getattr(sys.modules.get(base.__module__), "__dict__", {})
        try:
            own = inspect.get_annotations(base)
        except Exception:
            # Python 3.14 evaluates annotations when they are asked for; a name that is missing must not end the command.
            continue
        for name, annotation in own.items():
            resolved = resolve(annotation, namespace, vars(base))
            kind = getattr(resolved, "type", None)
            found[name] = resolve(kind, namespace) if type(resolved).__name__ == "InitVar" else resolved
    return found


def describe(annotation: object) -> str:
    """An annotation as one would write it: ``list[int]``, ``int | None``."""
    if annotation is MISSING:
        return "any value"
    if isinstance(annotation, str):
        return annotation
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is Ellipsis:
        return "..."
    if annotation is typing.Any:
        return "Any"
    if isinstance(annotation, (list, tuple)):
        return f"[{', '.join(describe(item) for item in annotation)}]"
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is typing.Annotated:
        return describe(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        return " | ".join(describe(item) for item in arguments)
    if origin is typing.Literal:
        return " | ".join(repr(getattr(item, "name", item)) for item in arguments)
    if origin is not None and arguments:
        return f"{describe(origin)}[{', '.join(describe(item) for item in arguments)}]"
    if isinstance(annotation, typing.TypeVar):
        return annotation.__name__
    name = getattr(annotation, "__name__", None) or getattr(annotation, "_name", None)
    return str(name) if name else str(annotation).replace("typing.", "")
