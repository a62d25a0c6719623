"""The value format: every supported Python value as a tree that JSON can write, and back.

```text
value ── encode() ──→ null, numbers, text, lists, objects ── decode() ──→ value
Config(pkg.train, lr=3)      {"_target_": "pkg.train", "lr": 3}
Partial(pkg.train)           {"_target_": "pkg.train", "_partial_": true}
torch.float32, a class       {"_target_": "torch.float32", "_call_": false}
(1, 2), Path("a"), b"…"      {"_type_": "tuple", "value": [1, 2]}, …
a Config used twice          {"_id_": "1", …} at the first place, {"_ref_": "1"} at the others
```

`decode` imports nothing: callables become `Target`s, and values whose class would have to be imported become `Deferred`, which
`build` makes. To add a type, write its forms into `library`, or, if it holds other values, into `_ENCODERS` and
`_Decoder.typed`; if its class is a user's, into `deferred.make_deferred`.
"""

from __future__ import annotations

import enum
import functools
import json
import math
from typing import Any, Callable

from mizzen.config.buildable import Buildable, Config, Partial, _is_named, _make, _unpack, is_fiddle, is_script
from mizzen.config.deferred import Deferred, make_deferred
from mizzen.config.library import DECODERS, Unsupported, checked_text, encode_library
from mizzen.config.target import Target, import_path
from mizzen.errors import ConfigError, SerializationError

__all__ = ["decode", "encode"]

_INTEGER_LIMIT = 1 << 63
_OWN_KEYS = frozenset({"_target_", "_partial_", "_call_", "_args_", "_id_", "_ref_", "_type_"})


def encode(value: Any) -> Any:
    """A value as a tree of null, booleans, numbers, text, lists and objects with text keys.

    Raises:
        SerializationError: a part of it can't be written; `path` says which.
    """
    try:
        return _Encoder().encode(value)
    except Unsupported as error:
        path = "".join(reversed(error.pieces))
        where = f"`{path.lstrip('.')}`" if path else "the value"
        raise SerializationError(f"{where} can't be written down: {error}", path=path) from None
    except RecursionError:
        raise SerializationError("the value is nested too deeply to be written down") from None


class _Encoder:
    """One encoding: it knows which Buildables it met, and which containers it is inside of."""

    __slots__ = ("count", "inside", "kept", "written")

    def __init__(self) -> None:
        self.written: dict[int, dict[str, Any]] = {}
        self.kept: list[Any] = []
        self.inside: set[int] = set()
        self.count = 0

    def encode(self, value: Any) -> Any:
        kind = type(value)
        if kind is str:
            return value if value.isascii() else checked_text(value)
        if kind is int:
            return value if -_INTEGER_LIMIT <= value < _INTEGER_LIMIT else _big_integer(value)
        if kind is float:
            return value if math.isfinite(value) else {"_type_": "float", "value": str(value)}
        if value is None or kind is bool:
            return value
        if kind is Config or kind is Partial:
            return self.encode_buildable(value)
        encoder = _ENCODERS.get(kind)
        if encoder is not None:
            return encoder(self, value)
        known = encode_library(value, kind)
        return known if known is not None else self.other(value, kind)

    def enter(self, value: Any) -> None:
        if id(value) in self.inside:
            raise Unsupported(f"it is a {type(value).__qualname__} that holds itself")
        self.inside.add(id(value))

    def items(self, values: Any) -> list[Any]:
        encoded = []
        encode = self.encode
        index = 0
        try:
            for item in values:
                encoded.append(encode(item))
                index += 1
        except Unsupported as error:
            error.pieces.append(f"[{index}]")
            raise
        return encoded

    def encode_list(self, value: list[Any]) -> list[Any]:
        self.enter(value)
        encoded = self.items(value)
        self.inside.discard(id(value))
        return encoded

    def encode_tuple(self, value: tuple[Any, ...]) -> dict[str, Any]:
        return {"_type_": "tuple", "value": self.items(value)}

    def encode_set(self, value: set[Any] | frozenset[Any]) -> dict[str, Any]:
        encoded = self.items(value)
        # Sets have no order, documents do: equal sets are to give equal documents.
        encoded.sort(key=lambda item: json.dumps(item, sort_keys=True))
        return {"_type_": type(value).__name__, "value": encoded}

    def encode_dict(self, value: dict[Any, Any]) -> dict[str, Any]:
        self.enter(value)
        key: Any = None
        try:
            if all(type(key) is str and not _reserved(key) for key in value):
                plain = {}
                for key, item in value.items():
                    plain[key if key.isascii() else checked_text(key)] = self.encode(item)
                self.inside.discard(id(value))
                return plain
            pairs = []
            for key, item in value.items():
                pairs.append([self.encode(key), self.encode(item)])
        except Unsupported as error:
            error.pieces.append(f"[{key!r}]")
            raise
        self.inside.discard(id(value))
        return {"_type_": "dict", "value": pairs}

    def encode_buildable(self, value: Buildable[Any]) -> dict[str, Any]:
        key = id(value)
        document = self.written.get(key)
        if document is not None:
            if key in self.inside:
                raise Unsupported(f"it is a {type(value).__name__} that holds itself")
            if "_id_" not in document:
                self.count += 1
                document["_id_"] = str(self.count)
            return {"_ref_": document["_id_"]}
        document = {}
        self.written[key] = document
        self.inside.add(key)
        target = value.__target__
        try:
            document["_target_"] = target.path if type(target) is Target else import_path(target)
        except SerializationError as error:
            raise Unsupported(str(error)) from None
        if isinstance(value, Partial):
            document["_partial_"] = True
        encode = self.encode
        place = ""
        try:
            named = value.__dict__
            positional = value.__positional__
            if named and target is dict and any(not isinstance(name, str) or _reserved(name) for name in named):
                # A dict may have keys that mean something in a document.
                positional, named = [*positional, dict(named)], {}
            if positional:
                arguments = document["_args_"] = []
                for index, item in enumerate(positional):
                    place = f"[{index}]"
                    arguments.append(encode(item))
            for name, item in named.items():
                place = f".{name}"
                if name[:1] == "_" and _reserved(name):
                    raise Unsupported("a name with an underscore at both ends has a meaning of its own in documents")
                document[name] = encode(item)
        except Unsupported as error:
            error.pieces.append(place)
            raise
        self.inside.discard(key)
        return document

    def fields(self, value: dict[str, Any]) -> dict[str, Any]:
        encoded = {}
        name = ""
        try:
            for name, item in value.items():
                encoded[name] = self.encode(item)
        except Unsupported as error:
            error.pieces.append(f".{name}")
            raise
        return encoded

    def encode_script(self, value: Any) -> dict[str, Any]:
        return {"_type_": "script", "value": self.fields(vars(value))}

    def encode_slice(self, value: slice) -> dict[str, Any]:
        return {"_type_": "slice", "value": self.items([value.start, value.stop, value.step])}

    def encode_deferred(self, value: Deferred) -> dict[str, Any]:
        inner: Any = value.value
        if value.kind == "dataclass":
            inner = self.fields(inner)
        elif value.kind == "namedtuple":
            inner = self.items(inner)
        return {"_type_": value.kind, "class": value.target.path, "value": inner}

    def other(self, value: Any, kind: type[Any]) -> Any:
        if isinstance(value, Buildable):
            resolver = getattr(kind, "__resolved__", None)
            resolved: Any = resolver(value) if resolver is not None else value
            self.kept.append(resolved)
            return self.encode_buildable(resolved)
        if isinstance(value, Target):
            return {"_target_": value.path, "_call_": False}
        if isinstance(value, enum.Enum):
            return _encode_enum(value, kind)
        if isinstance(value, functools.partial):
            target, positional, named = _unpack(value)
            made = _make(Partial, target, named, positional)
            # Kept, as ids tell what was met before.
            self.kept.append(made)
            return self.encode_buildable(made)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return {"_type_": "namedtuple", "class": _class_path(kind), "value": self.items(value)}
        if hasattr(kind, "__dataclass_fields__"):
            return self.encode_script(value) if is_script(kind) else self.encode_dataclass(value, kind)
        if is_fiddle(value):
            from mizzen.config.fiddle import from_fiddle

            try:
                converted = from_fiddle(value, {})
            except ConfigError as error:
                raise Unsupported(str(error)) from None
            self.kept.append(converted)
            return self.encode_buildable(converted)
        # Subclasses of plain values (numpy's float64, str enums of old) are written as what they are.
        for base in (str, int, float):
            if isinstance(value, base):
                return self.encode(base.__call__(value) if base is not str else str.__str__(value))
        item = getattr(value, "item", None)
        if type(value).__module__ == "numpy" and callable(item) and getattr(value, "ndim", None) == 0:
            return self.encode(item())
        return _by_import_path(value, kind)

    def encode_dataclass(self, value: Any, kind: type[Any]) -> dict[str, Any]:
        self.enter(value)
        fields = {
            name: getattr(value, name)
            for name, field in kind.__dataclass_fields__.items()
            if field._field_type.name == "_FIELD" and hasattr(value, name)
        }
        document = {"_type_": "dataclass", "class": _class_path(kind), "value": self.fields(fields)}
        self.inside.discard(id(value))
        return document


def _reserved(name: str) -> bool:
    return (
        len(name) > 2
        and name[0] == "_"
        and name[-1] == "_"
        and name.isascii()
        and name[1:-1].isalpha()
        and name.islower()
    )


def _big_integer(value: int) -> dict[str, Any]:
    try:
        return {"_type_": "int", "value": str(value)}
    except ValueError:
        raise Unsupported(f"it is an int of {value.bit_length()} bits, more than Python writes in decimal") from None


def _encode_enum(value: enum.Enum, kind: type[enum.Enum]) -> dict[str, Any]:
    name = value.name
    # A combination of flags has no name of its own; its number stands for it.
    known = name if isinstance(name, str) and name in kind.__members__ else value.value
    return {"_type_": "enum", "class": _class_path(kind), "value": known}


def _class_path(kind: type[Any]) -> str:
    try:
        return import_path(kind)
    except SerializationError as error:
        raise Unsupported(f"its class, {error}") from None


def _by_import_path(value: Any, kind: type[Any]) -> dict[str, Any]:
    try:
        return {"_target_": import_path(value), "_call_": False}
    except SerializationError as error:
        if callable(value) and hasattr(value, "__qualname__"):
            raise Unsupported(str(error)) from None
        raise Unsupported(
            f"it is a `{kind.__module__}.{kind.__qualname__}` object\n"
            f"hint: wrap it in run.Config({kind.__qualname__}, …), or give it a name at the top level of a module"
        ) from None


_ENCODERS: dict[type[Any], Callable[[_Encoder, Any], Any]] = {
    list: _Encoder.encode_list,
    tuple: _Encoder.encode_tuple,
    set: _Encoder.encode_set,
    frozenset: _Encoder.encode_set,
    dict: _Encoder.encode_dict,
    slice: _Encoder.encode_slice,
    Deferred: _Encoder.encode_deferred,
    range: lambda encoder, value: {"_type_": "range", "value": encoder.items([value.start, value.stop, value.step])},
}


def decode(document: Any, *, resolve: bool = False) -> Any:
    """The value that a document describes.

    Args:
        document: what `encode` returned, or what a YAML, TOML or JSON file of that form holds.
        resolve: whether classes of values may be imported, so that enums, dataclasses, and what is named by import path are the
            very objects; Configs stay Configs either way. Without it no code but ours runs.

    Raises:
        SerializationError: the document is wrong; `path` says where.
        ConfigError: with `resolve`, something is not there to be imported.
    """
    try:
        return _Decoder(document, resolve).decode(document)
    except Unsupported as error:
        path = "".join(reversed(error.pieces))
        where = f"`{path.lstrip('.')}`" if path else "the document"
        raise SerializationError(f"{where} can't be read: {error}", path=path) from None
    except RecursionError:
        raise SerializationError("the document is nested too deeply to be read") from None


class _Decoder:
    """One decoding: it knows which shared Buildables it made."""

    __slots__ = ("document", "made", "resolve", "shared", "targets", "under_way")

    def __init__(self, document: Any, resolve: bool) -> None:
        self.document = document
        self.resolve = resolve
        self.made: dict[str, Any] = {}
        self.shared: dict[str, dict[str, Any]] | None = None
        self.targets: dict[str, Target] = {}
        self.under_way: set[str] = set()

    def decode(self, document: Any) -> Any:
        kind = type(document)
        if kind is dict:
            if "_target_" in document:
                return self.target(document)
            if "_type_" in document:
                return self.typed(document)
            if "_ref_" in document:
                return self.reference(document)
            return self.object(document)
        if kind is list:
            return self.items(document)
        if document is None or kind in (str, int, float, bool):
            return document
        raise Unsupported(f"a document holds no {kind.__qualname__}")

    def items(self, documents: list[Any]) -> list[Any]:
        index = 0
        items = []
        try:
            for document in documents:
                items.append(self.decode(document))
                index += 1
        except Unsupported as error:
            error.pieces.append(f"[{index}]")
            raise
        return items

    def object(self, document: dict[str, Any]) -> dict[str, Any]:
        key = ""
        found = {}
        try:
            for key, item in document.items():
                if not isinstance(key, str):
                    raise Unsupported(f"the key {key!r} is no text")
                if key in _OWN_KEYS:
                    raise Unsupported(f"`{key}` stands without `_target_`")
                found[key] = self.decode(item)
        except Unsupported as error:
            error.pieces.append(f"[{key!r}]")
            raise
        return found

    def target(self, document: dict[str, Any]) -> Any:
        path = document["_target_"]
        target = self.targets.get(path) if isinstance(path, str) else None
        if target is None:
            target = self.targets[path] = _target(path)
        call = document.get("_call_", True)
        if call is False:
            if len(document) > 2:
                raise Unsupported("what is not called (`_call_: false`) takes no arguments")
            return target.resolve() if self.resolve else target
        identity = document.get("_id_")
        if identity is not None and identity in self.made:
            return self.made[identity]
        config = _make(Partial if document.get("_partial_") is True else Config, target, {}, [])
        if identity is not None:
            self.made[str(identity)] = config
            self.under_way.add(str(identity))
        named = config.__dict__
        name = ""
        try:
            for name, item in document.items():
                if name[:1] == "_" and name in _OWN_KEYS:
                    if name == "_args_":
                        if not isinstance(item, list):
                            raise Unsupported("`_args_` is to be a list")
                        config.__positional__.extend(self.items(item))
                    elif name in ("_type_", "_ref_"):
                        raise Unsupported(f"`{name}` can't stand beside `_target_`")
                    continue
                named[name] = self.decode(item)
        except Unsupported as error:
            if name != "_args_":
                error.pieces.append(f".{name}")
            raise
        self.under_way.discard(str(identity))
        if target.path == "builtins.dict" and len(config.__positional__) == 1 and _is_named(config.__positional__[0]):
            # Written in that way for keys that have a meaning in documents.
            named.update(config.__positional__.pop())
        return config

    def reference(self, document: dict[str, Any]) -> Any:
        identity = document["_ref_"]
        if identity in self.under_way:
            raise Unsupported(f"`_ref_` {identity!r} stands inside what it refers to")
        if identity not in self.made:
            # Writers of TOML may put tables after other values, and so a reference before what it refers to.
            if self.shared is None:
                self.shared = {}
                _collect_shared(self.document, self.shared)
            if identity not in self.shared:
                raise Unsupported(f"`_ref_` {identity!r} refers to nothing\nhint: one `_target_` is to carry `_id_` {identity!r}")
            self.target(self.shared[identity])
        return self.made[identity]

    def typed(self, document: dict[str, Any]) -> Any:
        name = document["_type_"]
        value = document.get("value")
        try:
            if name == "none":
                return None
            if name == "value":
                return self.decode(value)
            if name in ("tuple", "set", "frozenset", "slice", "range"):
                items = self.items(value) if isinstance(value, list) else None
                if items is None:
                    raise ValueError("its value is no list")
                made = {"tuple": tuple, "set": set, "frozenset": frozenset}.get(name)
                if made is not None:
                    return made(items)
                return slice(*items) if name == "slice" else range(*items)
            if name == "dict" and isinstance(value, list):
                return {self.decode(key): self.decode(item) for key, item in value}
            if name == "script":
                from mizzen.config.script import Script

                return Script(**self.object(value if isinstance(value, dict) else {}))
            if name in ("enum", "dataclass", "namedtuple"):
                return self.deferred(name, document["class"], value)
            decoder = DECODERS.get(name) if isinstance(name, str) else None
            if decoder is not None:
                return decoder(value, document)
        except (ValueError, TypeError, ArithmeticError, KeyError, AttributeError) as error:
            if isinstance(error, ConfigError):
                if self.resolve and not isinstance(error, SerializationError):
                    raise
                raise Unsupported(str(error)) from None
            raise Unsupported(f"it is no {name}: {error}") from None
        near = _nearest(str(name), [*DECODERS, "tuple", "set", "frozenset", "slice", "range", "dict", "script", "enum", "dataclass", "namedtuple"])
        raise Unsupported(f"there is no `_type_` {name!r}" + (f"\nhint: did you mean {near!r}?" if near else ""))

    def deferred(self, kind: str, path: Any, value: Any) -> Any:
        if kind == "dataclass":
            if not isinstance(value, dict):
                raise ValueError("its value is no object of fields")
            value = {name: self.decode(item) for name, item in value.items()}
        elif kind == "namedtuple":
            value = self.items(value)
        made = Deferred(kind, _target(path), value)
        return make_deferred(made, lambda inner: inner) if self.resolve else made


def _target(path: Any) -> Target:
    if not isinstance(path, str):
        raise Unsupported(f"{path!r} is no import path")
    try:
        return Target(path)
    except ConfigError as error:
        raise Unsupported(str(error)) from None


def _nearest(word: str, words: list[str]) -> str | None:
    from difflib import get_close_matches

    near = get_close_matches(word, words, n=1)
    return near[0] if near else None


def _collect_shared(document: Any, shared: dict[str, dict[str, Any]]) -> None:
    if isinstance(document, dict):
        if isinstance(document.get("_id_"), str):
            shared[document["_id_"]] = document
        for item in document.values():
            _collect_shared(item, shared)
    elif isinstance(document, list):
        for item in document:
            _collect_shared(item, shared)
