"""Values from files: ``model=@model.yaml``, ``model=@all.toml:model``, ``--yaml all.yaml``, ``--factory @recipe.yaml``.

A file holds what ``--to-yaml`` and its like write (``_target_``, ``_partial_``, …), or plain values that are typed by the annotations
like those on the command line. Besides there may stand

- ``_factory_: small(hidden=64)``: begin with what the factory makes, and change what else is said here;
- an operator at the end of a key: ``hidden*=: 2``;
- at the root, a block ``run:`` with ``factory``, ``executor``, ``plugins``, ``name`` and the other flags.
"""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from mizzen.cli.arguments import Assignment
from mizzen.cli.errors import ArgumentValueError, UndefinedVariableError
from mizzen.cli.factories import is_buildable_type, value_type
from mizzen.cli.signature import MISSING, describe
from mizzen.cli.values import Scope, convert, members_of, simplify
from mizzen.errors import ConfigError

__all__ = ["apply_document", "interpolate", "is_file_value", "load", "read_file_value"]

_OPERATOR = re.compile(r"\s*(?P<operator>[-+*/|&]=)$")


def is_file_value(text: str) -> bool:
    """Whether a value says ``@FILE[:section]``, with one of the known endings."""
    if not text.startswith("@"):
        return False
    from mizzen.config.documents import split_section

    return split_section(text[1:])[0].lower().endswith((".yaml", ".yml", ".toml", ".json"))


def load(text: str, argument: str = "", transform: Callable[[str], str] | None = None) -> object:
    """The document in ``path[:section]``, as plain values.

    Args:
        text: the path, ending in ``.yaml``, ``.yml``, ``.toml`` or ``.json``, and a section such as ``model`` or ``tasks[0].model``.
        argument: for messages.
        transform: what to do with each text in it (interpolation).

    Raises:
        ArgumentValueError: the file can't be read, is not well-formed, or has no such section.
    """
    from mizzen.config.documents import read_tree

    try:
        document: object = read_tree(text)
    except ConfigError as error:
        raise ArgumentValueError(str(error), argument) from None
    return _transformed(document, transform) if transform is not None else document


def _transformed(node: object, transform: Callable[[str], str]) -> object:
    if isinstance(node, str):
        return transform(node)
    if isinstance(node, list):
        return [_transformed(item, transform) for item in node]
    if isinstance(node, dict):
        return {key: _transformed(item, transform) for key, item in node.items()}
    return node


def read_file_value(text: str, annotation: object, scope: Scope) -> object:
    """The value of ``@path[:section]`` as its annotation asks for; plain text where text or a path is asked for."""
    members = members_of(annotation)
    if all(member is str or member is types.NoneType or _is_path(member) for member in members) or isinstance(annotation, str):
        return convert(text, annotation, scope)
    return typed(load(text[1:], scope.text, scope.transform), annotation, scope)


def _is_path(member: object) -> bool:
    return isinstance(member, type) and any(base.__name__ == "PurePath" for base in member.__mro__)


def _special(node: object) -> bool:
    """Whether there is something in a document that only command lines know."""
    if isinstance(node, list):
        return any(_special(item) for item in node)
    if isinstance(node, dict):
        return any(key == "_factory_" or _OPERATOR.search(str(key)) or _special(item) for key, item in node.items())
    return False


def _marked(node: dict[str, object]) -> bool:
    return any(key in ("_target_", "_type_", "_ref_", "_id_") for key in node)


def typed(node: object, annotation: object, scope: Scope) -> object:
    """A part of a document as its annotation asks for."""
    if not _special(node):
        from mizzen.config.values import decode

        return _typed(decode(node), annotation, scope)
    return _typed(node, annotation, scope)


def _typed(node: object, annotation: object, scope: Scope) -> object:
    if isinstance(node, dict) and "_factory_" in node:
        made = convert(str(node["_factory_"]), annotation, scope)
        rest = {key: item for key, item in node.items() if key != "_factory_"}
        if rest:
            apply_document(made, rest, scope)
        return made
    if isinstance(node, dict) and _marked(node):
        return _typed_target(node, scope)
    simple = simplify(annotation)
    if simple is MISSING or simple is Any or simple is object or isinstance(simple, str):
        return node
    members = members_of(simple)
    if isinstance(node, str):
        if any(member is str or (isinstance(member, type) and issubclass(member, str)) for member in members):
            return node
        return convert(node, annotation, scope)
    if isinstance(node, dict):
        return _typed_dict(node, simple, members, scope)
    if isinstance(node, list):
        return _typed_list(node, members, annotation, scope)
    if isinstance(node, int) and not isinstance(node, bool) and float in members and int not in members:
        return float(node)
    if isinstance(node, (int, float)) and not _accepts(node, annotation):
        return convert(repr(node).lower() if isinstance(node, bool) else repr(node), annotation, scope)
    return node


def _accepts(value: object, annotation: object) -> bool:
    from mizzen.config.check import check

    try:
        check(value, annotation, "")
    except ConfigError:
        return False
    return True


def _typed_target(node: Mapping[str, object], scope: Scope) -> object:
    """A configuration in a document that also has factories or operators inside."""
    from mizzen.config import Config, Partial
    from mizzen.config.values import decode

    if "_target_" not in node or node.get("_call_") is False:
        return decode(dict(node))
    bare = {key: item for key, item in node.items() if key in ("_target_", "_partial_", "_args_", "_id_")}
    made: Any = decode(bare)
    if not isinstance(made, (Config, Partial)):
        return made
    apply_document(made, {key: item for key, item in node.items() if key not in bare}, scope)
    return made


def _typed_dict(node: dict[str, object], annotation: object, members: list[object], scope: Scope) -> object:
    for member in members:
        origin = typing.get_origin(member) or member
        arguments = typing.get_args(member)
        if isinstance(origin, type) and hasattr(origin, "__required_keys__"):
            return node
        if isinstance(origin, type) and (issubclass(origin, dict) or origin.__module__ == "collections.abc"):
            key, item = arguments if len(arguments) == 2 else (Any, Any)
            return {
                (name if simplify(key) in (str, Any) or not isinstance(name, str) else convert(name, key, scope)): typed_inner(
                    value, item, scope.at(f"{scope.path}[{name!r}]")
                )
                for name, value in node.items()
            }
    kinds = [value_type(member) for member in members if member is not types.NoneType]
    kinds = [typing.get_origin(kind) or kind for kind in kinds]
    objects = [kind for kind in kinds if isinstance(kind, type) and kind.__module__ != "builtins" and not is_buildable_type(kind)]
    if len(objects) != 1:
        raise ArgumentValueError(f"`{scope.path}`: expected {describe(annotation)}, but the file has a table there", scope.text)
    from mizzen.config import Config, Partial

    forms = [typing.get_origin(member) or member for member in members]
    partial = any(is_buildable_type(form) and getattr(form, "__name__", "") == "Partial" for form in forms)
    made = Partial(objects[0]) if partial else Config(objects[0])
    apply_document(made, node, scope)
    return made


def typed_inner(node: object, annotation: object, scope: Scope) -> object:
    """A part of what was decoded already."""
    return _typed(node, annotation, scope)


def _typed_list(node: list[object], members: list[object], annotation: object, scope: Scope) -> object:
    for member in members:
        origin = typing.get_origin(member) or member
        arguments = typing.get_args(member)
        if not isinstance(origin, type) or origin is str:
            continue
        if origin is tuple:
            variadic = len(arguments) == 2 and arguments[1] is Ellipsis
            kinds = [arguments[0]] * len(node) if variadic else list(arguments) or [Any] * len(node)
            if len(kinds) == len(node):
                return tuple(
                    _typed(item, kind, scope.at(f"{scope.path}[{i}]")) for i, (item, kind) in enumerate(zip(node, kinds))
                )
        elif issubclass(origin, (list, set, frozenset)) or origin.__module__ == "collections.abc":
            kind = arguments[0] if arguments else Any
            items = [_typed(item, kind, scope.at(f"{scope.path}[{i}]")) for i, item in enumerate(node)]
            return (
                items
                if not issubclass(origin, (set, frozenset)) and "Set" not in origin.__name__
                else (frozenset(items) if origin is frozenset else set(items))
            )
    raise ArgumentValueError(f"`{scope.path}`: expected {describe(annotation)}, but the file has a list there", scope.text)


def apply_document(config: Any, node: Mapping[str, object], scope: Scope) -> None:
    """Sets what a document says on a configuration, in the document's order.

    Args:
        config: the configuration, changed in place.
        node: argument (with an operator behind it, if wanted) to value.
        scope: the names that are visible.
    """
    from mizzen.cli import assign

    for key, item in node.items():
        found = _OPERATOR.search(str(key))
        name = str(key)[: found.start()] if found else str(key)
        shown = scope.text or f"{key}: {json.dumps(item, default=str)}"
        if found:
            text = item if isinstance(item, str) else json.dumps(item)
            assign.apply(config, Assignment(shown, (name,), found["operator"], text), scope)
            continue
        place = assign.place_of(config, Assignment(shown, (name,), "=", ""), scope)
        current = place.current() if isinstance(item, dict) and "_factory_" not in item and not _marked(item) else None
        if assign.is_buildable(current) and assign.target_of(current) is not dict:
            # A table changes what is there; it does not take away what it does not name.
            place.store(current)
            apply_document(config.__arguments__[name], typing.cast("dict[str, object]", item), scope)
            continue
        place.store(typed(item, place.annotation, place.scope))


_REFERENCE = re.compile(r"\$\$|\$\{([^{}]*)\}")


def interpolate(text: str, config: Any, argument: str) -> str:
    """Replaces ``${env:NAME}``, ``${env:NAME,default}`` and ``${argument.path}`` in a value; ``$$`` is a dollar.

    Only what ``--interpolate`` asks for comes here; without it a dollar is a dollar.

    Args:
        text: the value's text.
        config: the configuration whose arguments may be named, with the overrides so far.
        argument: for messages.

    Raises:
        UndefinedVariableError: there is no such variable or argument.
    """

    def replace(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        name = found[1].strip()
        for prefix in ("env:", "oc.env:"):
            if name.startswith(prefix):
                import os

                variable, comma, default = name.removeprefix(prefix).partition(",")
                setting = os.environ.get(variable.strip())
                if setting is None and not comma:
                    raise UndefinedVariableError(
                        f"the environment has no `{variable.strip()}`\nhint: `${{env:{variable.strip()},DEFAULT}}` gives a default",
                        argument,
                    )
                return default.strip() if setting is None else setting
        from mizzen import _core
        from mizzen.cli import assign

        try:
            path, _, _ = _core.parse_override(f"{name}=")
        except ConfigError as error:
            raise UndefinedVariableError(f"`{found[0]}` names nothing: {error}\nhint: `$$` writes a dollar", argument) from None
        value = assign.value_at(config, tuple(path), argument)
        return value if isinstance(value, str) else repr(value)

    return _REFERENCE.sub(replace, text)
