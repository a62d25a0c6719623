"""What a callable takes: its parameters, defaults and annotations, worked out once for each callable."""

from __future__ import annotations

import functools
import sys
import typing
import weakref
from copy import deepcopy
from typing import Any, Callable

from mizzen.config.check import Checker, checker
from mizzen.config.target import display_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect

__all__ = ["MISSING", "Parameter", "SignatureInfo", "resolved_hints", "signature_of"]


class _Missing:
    """Stands for `there is none` where None is a value."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __bool__(self) -> bool:
        return False


MISSING: Any = _Missing()


class Parameter:
    """One parameter of a callable.

    Attributes:
        name: its name.
        positional_only: whether it can't be given by name.
        keyword_only: whether it can only be given by name.
        default: its default, or MISSING.
        factory: makes the default (a dataclass field's ``default_factory``), or None.
        annotation: its resolved annotation; ``typing.Any`` if there is none or it does not resolve.
        checker: tests a value; None if every value fits.
    """

    __slots__ = ("annotation", "checker", "default", "factory", "keyword_only", "name", "positional_only")

    def __init__(self, name: str, *, positional_only: bool, keyword_only: bool, default: Any, factory: Any, annotation: Any) -> None:
        self.name = name
        self.positional_only = positional_only
        self.keyword_only = keyword_only
        self.default = default
        self.factory = factory
        self.annotation = annotation
        self.checker: Checker | None = checker(annotation)

    @property
    def required(self) -> bool:
        """Whether a call must give it."""
        return self.default is MISSING and self.factory is None


class SignatureInfo:
    """What a callable takes and returns.

    Attributes:
        name: the callable's name, for messages.
        parameters: the parameters that have a name of their own, in order.
        positional: the names of those that can be given by position, in order.
        var_positional: ``*args``, or None.
        var_keyword: ``**kwargs``, or None.
        open: whether nothing is known, so that everything is taken.
        automatic: parameters that get a configuration if they are not given, with what makes it: those whose annotation asks for
            one (`OptionalDefaultConfig`), and those whose default is one.
        built_defaults: parameters whose default is a configuration, which a call by itself would not build.
        returns: the resolved return annotation; the class itself for a class.
    """

    __slots__ = ("automatic", "built_defaults", "name", "open", "parameters", "positional", "returns", "var_keyword", "var_positional")

    def __init__(self, target: Any) -> None:
        self.name = display_name(target)
        self.parameters: dict[str, Parameter] = {}
        self.var_positional: Parameter | None = None
        self.var_keyword: Parameter | None = None
        self.returns: Any = target if isinstance(target, type) else Any
        self.open = False
        self.automatic: tuple[tuple[str, Callable[[], Any]], ...] = ()
        self.built_defaults: tuple[str, ...] = ()
        # Only needed once there is something to configure; it brings many modules.
        import inspect

        try:
            signature = inspect.signature(target)
        except (TypeError, ValueError):
            self.open = True
            self.positional: tuple[str, ...] = ()
            return
        hints = _hints(target, signature)
        if not isinstance(target, type):
            self.returns = hints.get("return", Any)
        fields = getattr(target, "__dataclass_fields__", {}) if isinstance(target, type) else {}
        for name, parameter in signature.parameters.items():
            default = MISSING if parameter.default is parameter.empty else parameter.default
            factory = None
            field = fields.get(name)
            if field is not None and type(default).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
                default, factory = MISSING, field.default_factory
            made = Parameter(
                name,
                positional_only=parameter.kind is parameter.POSITIONAL_ONLY,
                keyword_only=parameter.kind is parameter.KEYWORD_ONLY,
                default=default,
                factory=factory,
                annotation=hints.get(name, Any),
            )
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.var_positional = made
            elif parameter.kind is parameter.VAR_KEYWORD:
                self.var_keyword = made
            else:
                self.parameters[name] = made
        self.positional = tuple(name for name, parameter in self.parameters.items() if not parameter.keyword_only)
        self.automatic = tuple(
            (name, make)
            for name, parameter in self.parameters.items()
            if not parameter.positional_only and (make := _automatic(parameter)) is not None
        )
        self.built_defaults = tuple(name for name, parameter in self.parameters.items() if _is_buildable(parameter.default))


def _is_buildable(value: Any) -> bool:
    from mizzen.config.buildable import Buildable

    return isinstance(value, Buildable)


def _automatic(parameter: Parameter) -> Callable[[], Any] | None:
    if _is_buildable(parameter.default):
        clone: Callable[[], Any] = functools.partial(deepcopy, parameter.default)
        return clone
    annotation = parameter.annotation
    if typing.get_origin(annotation) is not typing.Annotated:
        return None
    from mizzen.config.buildable import Config, Partial

    # `Annotated[Optional[T], Config[T]]` asks for a Config of T.
    wanted, *notes = typing.get_args(annotation)
    for note in notes:
        kind = typing.get_origin(note) or note
        if kind is Config or kind is Partial:
            candidates = [wanted] if isinstance(wanted, type) else [part for part in typing.get_args(wanted) if part is not type(None)]
            if len(candidates) == 1 and callable(candidates[0]):
                return functools.partial(kind, candidates[0])
    return None


_cache: dict[int, tuple[weakref.ref[Any], SignatureInfo]] = {}


def _forget(key: int, _: object, pop: Any = _cache.pop) -> None:
    # `pop` is held here, as the module's names are gone when the interpreter ends.
    pop(key, None)


def signature_of(target: Any) -> SignatureInfo:
    """What a callable takes. Kept for as long as the callable lives."""
    key = id(target)
    entry = _cache.get(key)
    if entry is not None and entry[0]() is target:
        return entry[1]
    info = SignatureInfo(target)
    try:
        # By identity: a metaclass may define equality. An entry goes with its callable, before the id can be used again.
        _cache[key] = (weakref.ref(target, functools.partial(_forget, key)), info)
    except TypeError:
        pass
    return info


def resolved_hints(target: Any) -> dict[str, Any]:
    """The resolved annotations of a callable's parameters, by name, `*args` and `**kwargs` and ``"return"`` included."""
    info = signature_of(target)
    hints = {name: parameter.annotation for name, parameter in info.parameters.items()}
    for extra in (info.var_positional, info.var_keyword):
        if extra is not None:
            hints[extra.name] = extra.annotation
    hints["return"] = info.returns
    return hints


class _Holder:
    """Carries annotations to `typing.get_type_hints`."""

    def __init__(self, annotations: dict[str, Any]) -> None:
        self.__annotations__ = annotations


def _hints(target: Any, signature: inspect.Signature) -> dict[str, Any]:
    import inspect

    raw = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    raw["return"] = signature.return_annotation
    raw = {name: annotation for name, annotation in raw.items() if annotation is not inspect.Signature.empty}
    if not any(_unresolved(annotation) for annotation in raw.values()):
        return raw
    function = target
    local: dict[str, Any] = {}
    resolved: dict[str, Any] = {}
    if isinstance(target, type):
        local[target.__name__] = target
        # Fields of a dataclass may come from classes of other modules, whose names only those modules know.
        if hasattr(target, "__dataclass_fields__"):
            for base in reversed(target.__mro__):
                own = {name: raw[name] for name in inspect.get_annotations(base) if name in raw}
                module = sys.modules.get(base.__module__)
                resolved.update(_evaluate(own, dict(vars(module)) if module else {}, {base.__name__: base, **dict(vars(base))}))
        function = getattr(target, "__init__" if "__init__" in _defined(target) else "__new__")
    elif not hasattr(target, "__code__") and not hasattr(target, "__func__"):
        function = getattr(type(target), "__call__", target)
    function = inspect.unwrap(getattr(function, "__func__", function))
    for parameter in (*getattr(target, "__type_params__", ()), *getattr(function, "__type_params__", ())):
        local[parameter.__name__] = parameter
    missing = {name: annotation for name, annotation in raw.items() if name not in resolved}
    resolved.update(_evaluate(missing, getattr(function, "__globals__", {}), local))
    return resolved


def _unresolved(annotation: Any) -> bool:
    return not isinstance(annotation, type) or bool(getattr(annotation, "__args__", None))


def _defined(target: type) -> set[str]:
    return {name for base in target.__mro__[:-1] for name in vars(base)}


def _evaluate(annotations: dict[str, Any], names: dict[str, Any], local: dict[str, Any]) -> dict[str, Any]:
    if not annotations:
        return {}
    try:
        return typing.get_type_hints(_Holder(annotations), names, local, include_extras=True)
    except Exception:
        if len(annotations) == 1:
            # A name that only a type checker sees: nothing definite can be said of its values.
            return {name: Any for name in annotations}
        return {name: value for name, annotation in annotations.items() for name, value in _evaluate({name: annotation}, names, local).items()}
