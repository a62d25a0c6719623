"""Text and an annotation to a value.

```text
text ── _core.parse_value ──→ tree ── read(annotation) ──→ value
                                        │ one word          scalars.py
                                        │ list, dict, …     here
                                        └ name, call(…)     objects.py: only where a class or a callable is asked for
```

Nothing in a value is ever executed because it looks like code: for ``str`` the text is the value, for numbers a number, and so on. A
name or a call means something only where the annotation asks for an object (a class that is none of the usual value types, a
``Config``, a ``Callable``, a ``type[…]``), and then only something of that type.
"""

from __future__ import annotations

import collections
import collections.abc
import enum
import types
import typing
from collections.abc import Callable
from typing import Any

from mizzen.cli import scalars
from mizzen.cli.errors import (
    CollectionParseError,
    DictParseError,
    ListParseError,
    LiteralParseError,
    suggestion,
)
from mizzen.cli.signature import MISSING, annotations_of_class, describe
from mizzen.cli.written import Mismatch, Scope, Tree, Value, written
from mizzen.errors import ArgumentError

__all__ = ["Mismatch", "Scope", "Tree", "Value", "convert", "members_of", "read", "register_parser", "simplify", "type_parser"]

_Function = typing.TypeVar("_Function", bound=Callable[[str], object])


def convert(value: str | Value, annotation: object, scope: Scope) -> object:
    """Reads a value as its annotation asks for.

    Args:
        value: the text behind the operator.
        annotation: the resolved annotation; a string or ``ForwardRef`` if it can't be resolved: the value is then the raw text.
        scope: where it is to go.

    Raises:
        ArgumentError: it can't be read so; the message names the argument and what is wrong.
    """
    given = value if isinstance(value, Value) else Value(value)
    try:
        return read(given, annotation, scope)
    except Mismatch as error:
        where = f"`{scope.path}`: " if scope.path else ""
        context: dict[str, object] = {"expected": describe(annotation), "value": given.written(), "argument": scope.path}
        message = f"{where}expected {describe(annotation)}, but {error.reason}"
        failure = error.kind(given.written(), annotation, message, scope.text, context)
        failure.path = f".{scope.path}" if scope.path else ""
        raise failure from None


_parsers: dict[object, Callable[[str], object]] = {}


@typing.overload
def register_parser(annotation: object) -> Callable[[_Function], _Function]: ...
@typing.overload
def register_parser(annotation: object, function: _Function) -> _Function: ...
def register_parser(annotation: object, function: _Function | None = None) -> _Function | Callable[[_Function], _Function]:
    """Says how values of a type are read: ``register_parser(Shape, read_shape)``, or as a decorator ``@register_parser(Shape)``.

    Args:
        annotation: the type, as it stands in annotations.
        function: takes the text (without one pair of quotes), returns the value; ``ValueError`` says why it can't be read.
    """
    if function is None:

        def register(decorated: _Function) -> _Function:
            _parsers[annotation] = decorated
            return decorated

        return register
    _parsers[annotation] = function
    return function


class _TypeParser:
    """NeMo-Run's place for the same: ``type_parser.register_parser(Shape)``."""

    register_parser = staticmethod(register_parser)

    @staticmethod
    def parse(value: str, annotation: object) -> object:
        """The value of a text."""
        return convert(value, annotation, Scope(path="value", text=value))


type_parser = _TypeParser()


def simplify(annotation: object) -> object:
    """An annotation without what says nothing about its values: ``Annotated``, ``NewType``, ``Final``, bound type variables."""
    while True:
        if annotation in _parsers if _hashable(annotation) else False:
            return annotation
        origin = typing.get_origin(annotation)
        if origin is typing.Annotated:
            annotation = typing.get_args(annotation)[0]
        elif origin in (typing.Final, typing.ClassVar) or _special(origin) in ("Required", "NotRequired", "ReadOnly"):
            annotation = typing.get_args(annotation)[0]
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing.TypeVar):
            if annotation.__constraints__:
                annotation = typing.Union[annotation.__constraints__]
            else:
                annotation = annotation.__bound__ if annotation.__bound__ is not None else Any
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = typing.cast("Any", annotation).__value__
        elif type(origin).__name__ == "TypeAliasType":
            annotation = typing.cast("Any", origin).__value__
        elif isinstance(annotation, typing.ForwardRef):
            return annotation.__forward_arg__
        elif annotation is typing.Final or annotation is typing.ClassVar or _special(annotation) in ("LiteralString", "AnyStr"):
            return str if _special(annotation) == "LiteralString" else Any
        else:
            return annotation


def _special(annotation: object) -> str:
    return getattr(annotation, "_name", None) or "" if type(annotation).__module__ in ("typing", "typing_extensions") else ""


def _hashable(annotation: object) -> bool:
    try:
        hash(annotation)
    except TypeError:
        return False
    return True


def members_of(annotation: object) -> list[object]:
    """The members of a union, nested ones too; of anything else a list of itself."""
    annotation = simplify(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [member for item in typing.get_args(annotation) for member in members_of(item)]
    return [types.NoneType if annotation is None else annotation]


_LISTS = (
    list,
    collections.abc.Sequence,
    collections.abc.MutableSequence,
    collections.abc.Iterable,
    collections.abc.Collection,
    collections.abc.Container,
    collections.abc.Reversible,
)
_SETS = (set, frozenset, collections.abc.Set, collections.abc.MutableSet)
_DICTS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)
_WRITTEN = {
    "list": "a list",
    "tuple": "a tuple",
    "set": "a set",
    "dict": "a dictionary",
    "call": "a call",
    "name": "a name",
    "number": "a number",
    "text": "text",
}


def read(value: Value, annotation: object, scope: Scope) -> object:
    """As :func:`convert`, but raises :class:`Mismatch` where another member of a union may do."""
    annotation = simplify(annotation)
    if _parsers and _hashable(annotation) and annotation in _parsers:
        return _read_custom(value, _parsers[annotation])
    if annotation is MISSING or annotation is Any or annotation is object:
        return _read_any(value)
    if isinstance(annotation, str):
        return _read_text(value)
    if annotation is None or annotation is types.NoneType:
        _read_none(value)
        return None
    if annotation is str:
        return _read_text(value)
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return _read_union(value, annotation, scope)
    if origin is typing.Literal:
        return _read_literal(value, annotation, scope)
    kind = origin if origin is not None else annotation
    arguments = typing.get_args(annotation)
    if (kind in _LISTS or kind in _DICTS or kind is tuple) and value.tree_kind() in ("name", "call"):
        from mizzen.cli import objects

        made = objects.collection_from_factory(value, annotation, scope)
        if made is not None:
            return made
    if kind in _LISTS or kind is collections.deque:
        items = _read_list(value, arguments[0] if arguments else Any, scope)
        return collections.deque(items) if kind is collections.deque else items
    if kind is tuple:
        return _read_tuple(value, annotation, arguments, scope)
    if kind in _SETS:
        items = _read_items(value, ("set", "list", "tuple"), "a set, such as {1, 2}", arguments[0] if arguments else Any, scope)
        return frozenset(items) if kind is frozenset else set(items)
    if kind in _DICTS or kind in (collections.OrderedDict, collections.defaultdict, collections.Counter):
        key, item = (arguments[0] if arguments else Any, int) if kind is collections.Counter else (arguments or (Any, Any))
        found = _read_dict(value, key, item, scope)
        if kind is collections.defaultdict:
            return collections.defaultdict(item if isinstance(item, type) else None, found)
        return kind(found) if kind in (collections.OrderedDict, collections.Counter) else found
    if kind is type:
        from mizzen.cli import objects

        return objects.read_class(value, arguments[0] if arguments else Any, scope)
    if kind is collections.abc.Callable:
        from mizzen.cli import objects

        return objects.read_callable(value, scope)
    if isinstance(kind, type):
        return _read_class(value, kind, annotation, scope)
    raise Mismatch(f"values of {describe(annotation)} can't be written on a command line")


def _read_class(value: Value, kind: type, annotation: object, scope: Scope) -> object:
    reader = scalars.reader_of(kind)
    if reader is not None:
        return _read_scalar(value, kind, reader)
    if issubclass(kind, enum.Enum):
        return _read_enum(value, kind)
    if _is_typed_dict(kind):
        return _read_typed_dict(value, kind, scope)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _read_named_tuple(value, kind, scope)
    if issubclass(kind, str):
        return kind(_read_text(value))
    from mizzen.cli import objects

    return objects.read_object(value, kind, annotation, scope)


def _read_custom(value: Value, parser: Callable[[str], object]) -> object:
    word = value.word()
    try:
        return parser(word[0] if word is not None else value.written())
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Mismatch(f"`{value.written()}` can't be read: {error}") from error


def _read_text(value: Value) -> str:
    word = value.word()
    if word is None:
        raise Mismatch(f"`{value.written()}` is {_WRITTEN[value.tree[0]]}\nhint: quote it: '{value.written()}'")
    # The text of a whole argument is kept to the last space; what stands inside a list is what the grammar makes of it.
    return value.text if value.text is not None and not word[1] else word[0]


def _read_none(value: Value) -> None:
    if value.unquoted() not in scalars.NONE:
        raise Mismatch(f"`{value.written()}` is not none")


def _read_scalar(value: Value, kind: type, reader: Callable[[str], object]) -> object:
    word = value.word()
    if word is None:
        raise Mismatch(f"`{value.written()}` is {_WRITTEN[value.tree[0]]}")
    if not word[0] and kind is not bytes and kind is not bytearray:
        raise Mismatch("there is no value")
    try:
        return reader(word[0])
    except (ValueError, OverflowError) as error:
        raise Mismatch(str(error)) from None


def _read_any(value: Value) -> object:
    word = value.word()
    try:
        tree = value.tree
    except ArgumentError:
        return value.text
    kind = tree[0]
    if kind == "list":
        return [_read_any(Value(None, item)) for item in tree[1]]
    if kind == "tuple":
        return tuple(_read_any(Value(None, item)) for item in tree[1])
    if kind == "set":
        return {_hashed(_read_any(Value(None, item))) for item in tree[1]}
    if kind == "dict":
        return {_hashed(_read_any(Value(None, key))): _read_any(Value(None, item)) for key, item in tree[1]}
    if kind == "call" and value.text is None:
        raise Mismatch(f"`{value.written()}` is a call, and nothing says what of\nhint: quote it if it is text")
    if word is None or word[1]:
        return value.text if word is None else word[0]
    found = scalars.literal(word[0])
    return value.text if found is word[0] and value.text is not None else found


def _hashed(item: object) -> object:
    try:
        hash(item)
    except TypeError:
        raise Mismatch(f"{item!r} can't be an element of a set or the key of a dictionary", CollectionParseError) from None
    return item


def _read_union(value: Value, annotation: object, scope: Scope) -> object:
    members = members_of(annotation)
    for member in members:
        if typing.get_origin(member) is typing.Literal:
            try:
                return read(value, member, scope)
            except Mismatch:
                continue
    if types.NoneType in members and value.unquoted() in scalars.NONE:
        return None
    first = [member for member in members if _is_written_as(value, member)]
    reasons: list[str] = []
    for member in [*first, *(member for member in members if member is not types.NoneType and member not in first)]:
        try:
            return read(value, member, scope)
        except Mismatch as error:
            reasons.append(error.reason)
    if len(set(reasons)) == 1:
        raise Mismatch(reasons[0])
    hints = [reason for reason in reasons if "\nhint: did you mean" in reason] or [
        reason for reason in reasons if "\nhint: " in reason
    ]
    raise Mismatch(hints[0] if hints else f"`{value.written()}` is none of them")


def _is_written_as(value: Value, member: object) -> bool:
    """Whether a value is written as Python writes values of just this type: ``5`` as an int, ``[1]`` as a list."""
    origin = typing.get_origin(member) or member
    word = value.word()
    if word is not None and word[1]:
        return member is str
    if word is not None:
        if word[0] in ("True", "False", "true", "false"):
            return member is bool
        number = scalars.python_number(word[0])
        if number is not None:
            return member is type(number)
    try:
        kind = value.tree[0]
    except ArgumentError:
        return False
    if kind == "call":
        return origin is not str and scalars.reader_of(origin) is None
    return {
        "list": origin in _LISTS or origin is collections.deque,
        "tuple": origin is tuple,
        "set": origin in _SETS,
        "dict": origin in _DICTS or (isinstance(origin, type) and _is_typed_dict(origin)),
    }.get(kind, False)


def _read_literal(value: Value, annotation: object, scope: Scope) -> object:
    choices = _literal_choices(annotation)
    word = value.word()
    if word is not None:
        text, quoted = word
        # 1 is the number before it is the text "1"; quoted, it can only be the text.
        for choice in [] if quoted else [choice for choice in choices if not isinstance(choice, (str, bytes))]:
            if isinstance(choice, enum.Enum):
                if text in (choice.name, f"{type(choice).__name__}.{choice.name}"):
                    return choice
            elif choice is None:
                if text in scalars.NONE:
                    return None
            elif isinstance(choice, bool):
                if text.lower() in ("true", "false") and (text.lower() == "true") is choice:
                    return choice
            elif scalars.python_number(text) == choice:
                return choice
        for choice in choices:
            if isinstance(choice, str) and not isinstance(choice, enum.Enum) and choice == text:
                return choice
            if isinstance(choice, bytes) and choice == scalars.read_bytes(text):
                return choice
        for choice in choices:  # `yes` for True, `Color`'s value: only when nothing says it exactly
            if isinstance(choice, bool) and not quoted and text.lower() in (scalars.TRUE if choice else scalars.FALSE):
                return choice
            if isinstance(choice, enum.Enum) and text == str(choice.value):
                return choice
    shown = [str(getattr(choice, "name", choice)) if isinstance(choice, enum.Enum) else str(choice) for choice in choices]
    raise Mismatch(f"`{value.written()}` is none of them{suggestion(value.written(), shown)}", LiteralParseError)


def _literal_choices(annotation: object) -> list[object]:
    found: list[object] = []
    for item in typing.get_args(annotation):
        found.extend(_literal_choices(item) if typing.get_origin(item) is typing.Literal else [item])
    return found


def _read_enum(value: Value, kind: type[enum.Enum]) -> object:
    word = value.word()
    names = list(kind.__members__)
    if word is not None:
        text = word[0].strip().removeprefix(f"{kind.__name__}.")
        if text in kind.__members__:
            return kind.__members__[text]
        for member in kind:
            if isinstance(member.value, str) and member.value == text:
                return member
        if issubclass(kind, enum.Flag) and "|" in text:
            combined: Any = kind(0)
            for part in text.split("|"):
                combined |= typing.cast("Any", _read_enum(Value(part.strip()), kind))
            return typing.cast("object", combined)
        parsed = _read_any(value)
        for member in kind:
            if type(member.value) is type(parsed) and member.value == parsed:
                return member
        for name in names:
            if name.lower() == text.lower():
                return kind.__members__[name]
    raise Mismatch(f"`{value.written()}` is none of its members{suggestion(value.written(), names)}", LiteralParseError)


def _read_items(value: Value, kinds: tuple[str, ...], wanted: str, annotation: object, scope: Scope) -> list[object]:
    tree = _tree_of(value)
    if tree[0] == "call" and tree[1] in ("list", "tuple", "set", "frozenset") and len(tree[2]) <= 1:
        # `set()` is the only way to write the empty set in Python.
        if not tree[2]:
            return []
        if tree[2][0][0] is None:
            tree = tree[2][0][1]
    if tree[0] == "dict" and not tree[1] and "set" in kinds[:1]:
        return []
    if tree[0] not in kinds:
        hint = ""
        if tree[0] in ("text", "number", "name"):
            text = value.written()
            brackets = {"list": "[]", "tuple": "()", "set": "{}"}[kinds[0]]
            hint = f"\nhint: {scope.path}={brackets[0]}{text}{',' if kinds[0] == 'tuple' else ''}{brackets[1]}"
        raise Mismatch(
            f"`{value.written()}` is not {wanted}{hint}", ListParseError if kinds[0] == "list" else CollectionParseError
        )
    return [
        typing.cast("Any", _hashed if kinds[0] == "set" else _same)(_element(item, annotation, scope, f"[{index}]"))
        for index, item in enumerate(tree[1])
    ]


def _same(item: object) -> object:
    return item


def _tree_of(value: Value) -> Tree:
    try:
        return value.tree
    except ArgumentError as error:
        raise Mismatch(str(error), CollectionParseError) from None


def _element(tree: Tree, annotation: object, scope: Scope, step: str) -> object:
    """An element of a collection. Its own mismatch is the whole value's, with the element's place in the message."""
    inner = Value(None, tree)
    try:
        return read(inner, annotation, scope.at(f"{scope.path}{step}"))
    except Mismatch as error:
        if error.reason.startswith("at "):
            raise Mismatch(f"at {step}{error.reason[3:]}", error.kind) from None
        raise Mismatch(f"at {step}, {error.reason}", error.kind) from None


def _read_list(value: Value, annotation: object, scope: Scope) -> list[object]:
    return _read_items(value, ("list", "tuple"), "a list, such as [1, 2]", annotation, scope)


def _read_tuple(value: Value, annotation: object, arguments: tuple[object, ...], scope: Scope) -> object:
    kinds, wanted = ("tuple", "list"), "a tuple, such as (1, 2)"
    if not arguments and typing.get_origin(annotation) is None:
        return tuple(_read_items(value, kinds, wanted, Any, scope))
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(_read_items(value, kinds, wanted, arguments[0], scope))
    if arguments == ((),):  # tuple[()] before Python 3.11
        arguments = ()
    tree = _tree_of(value)
    if tree[0] not in kinds:
        return tuple(_read_items(value, kinds, wanted, Any, scope))
    if len(tree[1]) != len(arguments):
        raise Mismatch(f"`{value.written()}` has {len(tree[1])} elements", CollectionParseError)
    pairs = zip(tree[1], arguments)
    return tuple(_element(item, argument, scope, f"[{index}]") for index, (item, argument) in enumerate(pairs))


def _read_dict(value: Value, key: object, item: object, scope: Scope) -> dict[object, object]:
    tree = _tree_of(value)
    if tree[0] == "call" and tree[1] == "dict" and all(name is not None for name, _ in tree[2]):
        return {name: _element(element, item, scope, f"[{name!r}]") for name, element in tree[2]}
    if tree[0] != "dict":
        raise Mismatch(f"`{value.written()}` is not a dictionary, such as {{a: 1}}", DictParseError)
    found: dict[object, object] = {}
    for name, element in tree[1]:
        step = f"[{written(name)}]"
        found[_hashed(_element(name, key, scope, step))] = _element(element, item, scope, step)
    return found


def _fields_given(value: Value, kind: type) -> list[tuple[str | None, Tree]] | None:
    """The fields in ``{a: 1}``, ``dict(a=1)`` or ``Kind(a=1)``; ``None`` if it is written otherwise."""
    tree = _tree_of(value)
    if tree[0] == "call" and tree[1].rpartition(".")[2] in ("dict", kind.__name__):
        return list(tree[2])
    if tree[0] == "dict" and all(key[0] in ("text", "name") for key, _ in tree[1]):
        return [(str(key[1]), item) for key, item in tree[1]]
    return None


def _is_typed_dict(kind: type) -> bool:
    return issubclass(kind, dict) and hasattr(kind, "__total__") and hasattr(kind, "__required_keys__")


def _read_typed_dict(value: Value, kind: type, scope: Scope) -> dict[str, object]:
    given = _fields_given(value, kind)
    if given is None or any(name is None for name, _ in given):
        raise Mismatch(f"`{value.written()}` is not a dictionary, such as {{a: 1}}", DictParseError)
    fields = annotations_of_class(kind)
    found: dict[str, object] = {}
    for name, item in given:
        assert name is not None
        if name not in fields:
            raise Mismatch(f"it has no key `{name}`{suggestion(name, fields)}", DictParseError)
        found[name] = _element(item, fields[name], scope, f"[{name!r}]")
    missing = sorted(set(typing.cast("Any", kind).__required_keys__) - set(found))
    if missing:
        raise Mismatch(f"`{value.written()}` lacks {', '.join(f'`{name}`' for name in missing)}", DictParseError)
    return found


def _read_named_tuple(value: Value, kind: type, scope: Scope) -> object:
    fields = annotations_of_class(kind)
    names: tuple[str, ...] = typing.cast("Any", kind)._fields
    given = _fields_given(value, kind)
    tree = _tree_of(value)
    if given is None:
        if tree[0] not in ("tuple", "list"):
            raise Mismatch(f"`{value.written()}` is not a tuple of {', '.join(names)}", CollectionParseError)
        given = [(None, item) for item in tree[1]]
    found: dict[str, object] = {}
    for index, (name, item) in enumerate(given):
        if name is None:
            if index >= len(names):
                raise Mismatch(f"`{value.written()}` has more elements than {', '.join(names)}", CollectionParseError)
            name = names[index]
        if name not in names:
            raise Mismatch(f"it has no field `{name}`{suggestion(name, names)}", CollectionParseError)
        found[name] = _element(item, fields.get(name, Any), scope, f".{name}")
    try:
        return kind(**found)
    except TypeError as error:
        raise Mismatch(f"`{value.written()}` does not fit: {error}", CollectionParseError) from None
