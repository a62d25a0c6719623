"""Callables and constants by import path: finding the path of an object, and the object of a path.

A :class:`Target` names something that need not be imported yet. What is read from a document holds targets, so that reading one
runs no code; they are resolved when somebody builds the configuration, asks for a signature, or sets an argument.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from mizzen.errors import ConfigError, SerializationError

__all__ = ["Target", "display_name", "find_import_path", "import_path", "resolve_path"]


class Target:
    """Something by its import path: module, then qualified name, with dots.

    Args:
        path: such as ``"package.module.Class.method"`` or ``"__main__.train"``.
        deferred: whether only building may import it: arguments set on a Config of a deferred target are not checked.

    Raises:
        ConfigError: the path is no dotted name.
    """

    __slots__ = ("__weakref__", "deferred", "path")

    path: str
    deferred: bool

    def __init__(self, path: str, *, deferred: bool = False) -> None:
        if not isinstance(path, str) or not path or not all(part.isidentifier() for part in path.split(".")):
            raise ConfigError(f"{path!r} is no import path\nhint: write module and name with dots, such as `package.module.function`")
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "deferred", deferred)

    def resolve(self) -> Any:
        """Imports and returns what the path names.

        Raises:
            ConfigError: there is no such module or name; an import that fails raises what it raises.
        """
        return resolve_path(self.path)

    def __build__(self, recurse: Any) -> Any:
        return resolve_path(self.path)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Target):
            return self.path == other.path
        return find_import_path(other) == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"Target({self.path!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore_target, (type(self), self.path, self.deferred))


def _restore_target(kind: type[Target], path: str, deferred: bool) -> Target:
    target = kind.__new__(kind)
    object.__setattr__(target, "path", path)
    object.__setattr__(target, "deferred", deferred)
    return target


def resolve_path(path: str) -> Any:
    """The object that an import path names, imported if need be.

    Raises:
        ConfigError: there is no such module, or it has no such name.
    """
    module_name, _, rest = path.rpartition(".")
    module = sys.modules.get(module_name)
    if module is not None and rest in module.__dict__:
        return module.__dict__[rest]
    from importlib import import_module

    parts = path.split(".")
    # The longest prefix that is a module wins: a package may have a function of the same name as one of its sub-modules.
    for length in range(len(parts) - 1, 0, -1):
        prefix = ".".join(parts[:length])
        try:
            found: Any = import_module(prefix)
        except ModuleNotFoundError as error:
            if error.name is None or not (prefix + ".").startswith(error.name + "."):
                raise
            continue
        for index, part in enumerate(parts[length:], start=length):
            try:
                found = getattr(found, part)
            except AttributeError:
                if index == len(parts) - 1 and isinstance(found, ModuleType):
                    try:
                        return import_module(path)
                    except ModuleNotFoundError as error:
                        if error.name != path:
                            raise
                raise ConfigError(_no_such_name(".".join(parts[:index]), part, found), path=path) from None
        return found
    if len(parts) == 1:
        try:
            return import_module(path)
        except ModuleNotFoundError as error:
            if error.name != path:
                raise
    raise ConfigError(
        f"there is no module `{parts[0]}`, which `{path}` names\nhint: is it installed here, and its folder on PYTHONPATH?", path=path
    )


def _no_such_name(holder: str, name: str, found: Any) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, dir(found), n=1)
    return f"`{holder}` has no `{name}`" + (f"\nhint: did you mean `{holder}.{near[0]}`?" if near else "")


def find_import_path(value: object) -> str | None:
    """The import path of an object, or None if it can't be found by one."""
    try:
        return import_path(value)
    except SerializationError:
        return None


def import_path(value: Any) -> str:
    """The import path under which another interpreter finds this very object: a function, class, classmethod, module, or constant.

    Raises:
        SerializationError: it has none: a lambda, a nested function, a method of an instance, a nameless object.
    """
    if isinstance(value, Target):
        return value.path
    if isinstance(value, ModuleType):
        return value.__name__
    qualname = getattr(value, "__qualname__", None)
    if not isinstance(qualname, str):
        constant = _constant_path(value)
        if constant is None:
            raise SerializationError(f"{_brief(value)} can't be found by an import path")
        return constant
    owner = getattr(value, "__self__", None)
    if owner is not None and not isinstance(owner, ModuleType):
        if isinstance(owner, type):
            return f"{import_path(owner)}.{value.__name__}"
        constant = _constant_path(value)
        if constant is not None:
            return constant
        raise SerializationError(
            f"`{qualname}` is a method of one {type(owner).__qualname__} object, which has no name\n"
            "hint: use a function of a module, or a classmethod"
        )
    if "<" in qualname:
        what = "a lambda" if qualname.endswith("<lambda>") else f"`{qualname.rpartition('.')[2]}`, defined inside a function,"
        raise SerializationError(f"{what} has no import path\nhint: define it with `def` or `class` at the top level of a module")
    module_name = getattr(value, "__module__", None)
    found: Any = sys.modules.get(module_name) if isinstance(module_name, str) else None
    if found is not None:
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if found is value:
            return f"{module_name}.{qualname}"
    constant = _constant_path(value)
    if constant is not None:
        return constant
    if found is not None:
        raise SerializationError(
            f"`{module_name}.{qualname}` is another object by now than this one of the same name\n"
            "hint: it was redefined or wrapped after the configuration was made; make the configuration again"
        )
    raise SerializationError(f"`{qualname}` can't be found in module `{module_name}`\nhint: define it at the top level of a module")


def _constant_path(value: Any) -> str | None:
    """The path of an object that is the value of a name in the module of its type, such as ``torch.float32``."""
    kind = type(value)
    module_name = getattr(value, "__module__", None) or kind.__module__
    if not isinstance(module_name, str) or module_name == "builtins":
        return None
    text = _written(value)
    candidates = [module_name, module_name.partition(".")[0]]
    for candidate in dict.fromkeys(candidates):
        module = sys.modules.get(candidate)
        if module is None:
            continue
        prefix, _, name = text.rpartition(".")
        if prefix == candidate and module.__dict__.get(name) is value:
            return text
        for name, item in list(module.__dict__.items()):
            # Only names that belong to the module's own face; `_` in a notebook is whatever was shown last.
            if item is value and name.isidentifier() and not name.startswith("_"):
                return f"{candidate}.{name}"
    return None


def _written(value: Any) -> str:
    try:
        return str(value) if type(value).__name__ == "dtype" else ""
    except Exception:
        return ""


def display_name(target: Any) -> str:
    """A short name for messages: ``train``, ``Adam.tuned``."""
    if isinstance(target, Target):
        return target.path
    name = getattr(target, "__qualname__", None) or getattr(target, "__name__", None)
    return name.replace("<locals>.", "") if isinstance(name, str) else _brief(target)


def _brief(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text if len(text) <= 60 else text[:57] + "..."
