"""Runs one Python callable as a job. This file travels with the job and stands alone.

::

    configs/<job>.json ─ Main ──→ the names of the launching script, without running it
                       ─ Builder → the callable and its arguments ─ call ─→ value ─ encode ─→ result.json
                                                                      └──→ exception ─ describe ──┘

The machine that it runs on needs Python 3.8 or newer and the user's own code; Mizzen is not there. So: the standard library only,
and of it only what a job needs, when it needs it, since every job waits for these imports. It runs what the document names and
nothing else. Inside the package, the same file builds values for jobs that run in the launching process, and reads results.

Usage: ``python runner.py DOCUMENT``. Environment: ``MIZZEN_JOB_DIR`` and ``MIZZEN_ATTEMPT`` say where the result goes (without them
none is written), ``RANK``, ``SLURM_PROCID`` or ``LOCAL_RANK`` which process of the job this is. Exit status: 1 after an exception,
otherwise what the callable asked for.
"""

from __future__ import annotations  # a SyntaxError here means: this Python is older than 3.8, which a job needs at least

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType, TracebackType
    from typing import Any, Callable, Dict, List, Optional, Set, Tuple

if sys.version_info < (3, 8):
    sys.exit("mizzen: a job needs Python 3.8 or newer, and {} is {}.{}".format(sys.executable, *sys.version_info))

VERSION = 1
"""The version of documents and results that this file reads and writes."""

RESULT_LIMIT = 16 * 1024 * 1024
"""The longest result that is written, in bytes."""

TRACEBACK_LIMIT = 256 * 1024
"""The longest traceback that is written, in characters; what is left out is left out of its middle."""


class RunnerError(Exception):
    """The job's document can't be carried out here."""


class Unwritable(Exception):
    """A value has no place in a result. Its text says which one and why."""


# --- values ------------------------------------------------------------------------------------------------------------------

_SCALARS = frozenset((str, int, float, bool, type(None)))


class Builder:
    """Turns the value format into Python objects, calling what it says is to be called.

    Args:
        root: the whole value, in which references are looked up.
        main: the module that stands for ``__main__``; by default the running one.
    """

    def __init__(self, root: object, main: Optional[object] = None) -> None:
        self._root = root
        self._main = main
        self._built: Dict[str, object] = {}
        self._building: Set[str] = set()

    def build(self, value: Any, path: str = "") -> Any:
        """Returns the object that ``value`` describes; ``path`` says where it stands, for errors."""
        kind = type(value)
        if kind in _SCALARS:
            return value
        if kind is list:
            return [item if type(item) in _SCALARS else self.build(item, f"{path}[{index}]") for index, item in enumerate(value)]
        if kind is not dict:
            raise RunnerError(f"a {kind.__name__} can't stand in a document, at {_shown(path)}")
        if "_target_" not in value and "_ref_" not in value and "_type_" not in value:
            return {
                key: item if type(item) in _SCALARS else self.build(item, _member(path, key)) for key, item in value.items()
            }
        if "_ref_" in value:
            return self._refer(value["_ref_"], path)
        identity = value.get("_id_")
        if identity is None:
            return self._make(value, path)
        if identity in self._built:
            return self._built[identity]
        if identity in self._building:
            raise RunnerError(f"{_shown(path)} contains itself")
        self._building.add(identity)
        self._built[identity] = made = self._make(value, path)
        self._building.discard(identity)
        return made

    def _refer(self, identity: str, path: str) -> Any:
        if identity in self._built:
            return self._built[identity]
        if identity in self._building:
            raise RunnerError(f"{_shown(path)} contains itself")
        # Documents edited by hand may refer to what comes later.
        places: List[Any] = [self._root]
        while places:
            place = places.pop()
            if isinstance(place, dict):
                if place.get("_id_") == identity:
                    return self.build(place, path)
                places.extend(place.values())
            elif isinstance(place, list):
                places.extend(place)
        raise RunnerError(f"{_shown(path)} refers to `{identity}`, which is nowhere in the document")

    def _make(self, value: Dict[str, Any], path: str) -> Any:
        return self._make_target(value, path) if "_target_" in value else self._make_typed(value, path)

    def _make_target(self, value: Dict[str, Any], path: str) -> Any:
        name = value["_target_"]
        target = self.resolve(name, path)
        if value.get("_call_") is False:
            return target
        positional: List[Any] = []
        named: Dict[str, Any] = {}
        for key, item in value.items():
            if key == "_args_":
                positional = self.build(item, path)
            elif key not in ("_target_", "_partial_", "_call_", "_id_"):
                named[key] = self.build(item, _member(path, key))
        try:
            if not callable(target):
                raise RunnerError(f"`{name}` can't be called")
            if value.get("_partial_"):
                return _partial(target, *positional, **named)
            return target(*positional, **named)
        except BaseException as error:
            # The job's own callable needs no note: the traceback says it all.
            if path:
                _note_place(error, f"while making {_shown(path)} with `{name}`")
            raise

    def _make_typed(self, value: Dict[str, Any], path: str) -> Any:
        kind, content = value["_type_"], value.get("value")
        decode = _DECODERS.get(kind)
        if decode is None:
            raise RunnerError(f"{_shown(path)} has the type `{kind}`, which this runner does not know")
        try:
            return decode(self, content, value, path)
        except (TypeError, ValueError, KeyError, ArithmeticError) as error:
            _note_place(error, f"while making {_shown(path)}, a {kind}")
            raise

    def resolve(self, name: str, path: str = "") -> Any:
        """Returns what the import path ``name`` leads to; ``path`` says what needs it."""
        parts = name.split(".")
        if parts[0] == "__main__":
            module: Any = self._main if self._main is not None else sys.modules["__main__"]
            return _walk(module, "__main__", parts[1:], name, path)
        if len(parts) == 1:
            import builtins

            if hasattr(builtins, name):
                return getattr(builtins, name)
            try:
                return __import__(name)
            except BaseException as error:
                add_note(error, _needed(name, path))
                raise
        missing: Optional[ImportError] = None
        # The longest module first: `pkg.train.train` is a function in a module even where `pkg` has a function `train` as well.
        for length in range(len(parts) - 1, 0, -1):
            module_name = ".".join(parts[:length])
            module = sys.modules.get(module_name)
            if module is None:
                try:
                    __import__(module_name)
                    module = sys.modules[module_name]
                except ModuleNotFoundError as error:
                    if error.name and (module_name + ".").startswith(error.name + "."):
                        missing = error
                        continue
                    add_note(error, _needed(name, path))
                    raise
                except BaseException as error:
                    add_note(error, _needed(name, path))
                    raise
            return _walk(module, module_name, parts[length:], name, path)
        assert missing is not None
        add_note(missing, _needed(name, path))
        raise missing

    def make_dataclass(self, made_of: Any, fields: Dict[str, Any], path: str) -> Any:
        """Returns an instance with these fields. Its own constructor runs where it can, since it may set more than fields."""
        declared = getattr(made_of, "__dataclass_fields__", None)
        if not isinstance(made_of, type) or declared is None:
            raise RunnerError(f"{_shown(path)} wants a dataclass, and `{made_of!r}` is none")
        try:
            instance = made_of(**{name: item for name, item in fields.items() if name in declared and declared[name].init})
        except TypeError:
            instance = object.__new__(made_of)
        for name, item in fields.items():
            object.__setattr__(instance, name, item)
        return instance


def _partial(target: Any, *positional: Any, **named: Any) -> Any:
    try:
        # The very same, without what else functools imports.
        from _functools import partial  # type: ignore[import-not-found]
    except ImportError:
        from functools import partial
    return partial(target, *positional, **named)


def _walk(found: Any, found_name: str, rest: List[str], name: str, path: str) -> Any:
    for index, part in enumerate(rest):
        try:
            found = getattr(found, part)
        except AttributeError:
            if index == len(rest) - 1 and isinstance(found, type(sys)) and found_name != "__main__":
                try:
                    __import__(name)
                    return sys.modules[name]
                except ModuleNotFoundError as error:
                    if error.name != name:
                        add_note(error, _needed(name, path))
                        raise
            where = "" if found_name != "__main__" else ", which stands for the launching script,"
            raise RunnerError(f"`{found_name}`{where} has no `{part}`, {_needed(name, path)}") from None
        found_name = f"{found_name}.{part}"
    return found


def _needed(name: str, path: str) -> str:
    return f"needed by `{name}`, " + (f"for the argument `{path}`" if path else "the job's callable")


def _member(path: str, key: str) -> str:
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]"


def _shown(path: str) -> str:
    return f"`{path}`" if path else "the whole value"


def _decode_number(number: Any) -> float:
    return float(number)


def _decode_bytes(builder: Builder, content: Any, value: Any, path: str) -> bytes:
    from binascii import a2b_base64

    return a2b_base64(content)


def _decode_path(builder: Builder, content: Any, value: Any, path: str) -> Any:
    import pathlib

    name = value.get("class") or "Path"
    if name not in ("Path", "PurePath", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath"):
        raise RunnerError(f"{_shown(path)} wants `{name}`, which is no class of pathlib")
    return getattr(pathlib, name)(content)


def _decode_enum(builder: Builder, content: Any, value: Any, path: str) -> Any:
    made_of = builder.resolve(value["class"], path)
    members = getattr(made_of, "__members__", None)
    if not isinstance(made_of, type) or members is None:
        raise RunnerError(f"{_shown(path)} wants an enum, and `{value['class']}` is none")
    if not isinstance(content, str):
        return made_of(content)  # flags that are set together have no name
    made: Any = None
    # Python 3.11 and newer name flags that are set together "READ|WRITE".
    for name in content.split("|"):
        if name not in members:
            raise RunnerError(f"{_shown(path)}: `{value['class']}` has no member `{name}`")
        made = members[name] if made is None else made | members[name]
    return made


def _decode_dataclass(builder: Builder, content: Any, value: Any, path: str) -> Any:
    made_of = builder.resolve(value["class"], path)
    fields = {name: builder.build(item, _member(path, name)) for name, item in content.items()}
    return builder.make_dataclass(made_of, fields, path)


def _decode_namedtuple(builder: Builder, content: Any, value: Any, path: str) -> Any:
    made_of = builder.resolve(value["class"], path)
    names = getattr(made_of, "_fields", None)
    if not isinstance(made_of, type) or not issubclass(made_of, tuple) or names is None:
        raise RunnerError(f"{_shown(path)} wants a named tuple, and `{value['class']}` is none")
    if len(names) != len(content):
        raise RunnerError(f"{_shown(path)}: `{value['class']}` has {len(names)} fields, and {len(content)} values came")
    return tuple.__new__(made_of, builder.build(content, path))


def _decode_time(builder: Builder, content: Any, value: Any, path: str) -> Any:
    import datetime

    kind = value["_type_"]
    if kind == "timedelta":
        return datetime.timedelta(*content)
    moment = getattr(datetime, kind).fromisoformat(content)
    if value.get("zone") is not None:
        if sys.version_info < (3, 9):
            raise RunnerError(f"{_shown(path)} is in the time zone {value['zone']}, which only Python 3.9 and newer know by name")
        from zoneinfo import ZoneInfo

        moment = moment.replace(tzinfo=ZoneInfo(value["zone"]))
    return moment.replace(fold=1) if value.get("fold") else moment


def _decode_decimal(builder: Builder, content: Any, value: Any, path: str) -> Any:
    from decimal import Decimal

    return Decimal(content)


def _decode_uuid(builder: Builder, content: Any, value: Any, path: str) -> Any:
    from uuid import UUID

    return UUID(content)


def _decode_dict(builder: Builder, content: Any, value: Any, path: str) -> Any:
    made = {}
    for key, item in content:
        key = builder.build(key, f"{path}.keys()")
        made[key] = builder.build(item, f"{path}[{key!r}]")
    return made


def _decode_script(builder: Builder, content: Any, value: Any, path: str) -> Any:
    raise RunnerError(f"{_shown(path)} is a Script, which is a job of its own and no value")


_DECODERS: Dict[str, Callable[[Builder, Any, Any, str], Any]] = {
    "none": lambda builder, content, value, path: None,
    "tuple": lambda builder, content, value, path: tuple(builder.build(content, path)),
    "set": lambda builder, content, value, path: set(builder.build(content, path)),
    "frozenset": lambda builder, content, value, path: frozenset(builder.build(content, path)),
    "bytes": _decode_bytes,
    "bytearray": lambda builder, content, value, path: bytearray(_decode_bytes(builder, content, value, path)),
    "complex": lambda builder, content, value, path: complex(_decode_number(content[0]), _decode_number(content[1])),
    "float": lambda builder, content, value, path: float(content),
    "int": lambda builder, content, value, path: int(content),
    "path": _decode_path,
    "enum": _decode_enum,
    "dataclass": _decode_dataclass,
    "namedtuple": _decode_namedtuple,
    "datetime": _decode_time,
    "date": _decode_time,
    "time": _decode_time,
    "timedelta": _decode_time,
    "decimal": _decode_decimal,
    "uuid": _decode_uuid,
    "range": lambda builder, content, value, path: range(*content),
    "slice": lambda builder, content, value, path: slice(*builder.build(content, path)),
    "dict": _decode_dict,
    "script": _decode_script,
}


# --- results -----------------------------------------------------------------------------------------------------------------


def encode(value: Any, path: str = "", inside: Tuple[int, ...] = ()) -> Any:
    """Returns ``value`` in the value format; raises :class:`Unwritable` with the path of what has no place there.

    Subclasses of dict, list, str, int and float become what they are subclasses of; scalars of numpy, torch and the like become
    Python's.
    """
    kind = type(value)
    if value is None or kind is str or kind is bool:
        return value
    if kind is int:
        return value if -(2**63) <= value < 2**63 else {"_type_": "int", "value": str(value)}
    if kind is float:
        return value if _is_finite(value) else {"_type_": "float", "value": repr(value)}
    if _is_enum(kind):
        name = value.name
        known = name if name in kind.__members__ else encode(value.value, path)
        return {"_type_": "enum", "class": _class_path(kind, path), "value": known}
    if isinstance(value, (list, tuple, dict, set, frozenset)) or hasattr(kind, "__dataclass_fields__"):
        if id(value) in inside:
            raise Unwritable(f"{_returned(path)} contains itself")
        return _encode_container(value, kind, path, (*inside, id(value)))
    if isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return encode(int(value), path)
    if isinstance(value, float):
        return encode(float(value), path)
    if kind is complex:
        return {"_type_": "complex", "value": [_number(value.real), _number(value.imag)]}
    if kind is bytes or kind is bytearray:
        from binascii import b2a_base64

        return {"_type_": kind.__name__, "value": b2a_base64(value, newline=False).decode("ascii")}
    if kind is range:
        return {"_type_": "range", "value": [value.start, value.stop, value.step]}
    if kind is slice:
        return {"_type_": "slice", "value": [encode(part, path) for part in (value.start, value.stop, value.step)]}
    return _encode_object(value, kind, path)


def _encode_container(value: Any, kind: Any, path: str, inside: Tuple[int, ...]) -> Any:
    if isinstance(value, list):
        return [encode(item, f"{path}[{index}]", inside) for index, item in enumerate(value)]
    if isinstance(value, dict):
        if all(type(key) is str and not is_special(key) for key in value):
            return {key: encode(item, _member(path, key), inside) for key, item in value.items()}
        pairs = [
            [encode(key, f"{path}.keys()", inside), encode(item, f"{path}[{key!r}]", inside)] for key, item in value.items()
        ]
        return {"_type_": "dict", "value": pairs}
    if isinstance(value, tuple):
        items = [encode(item, f"{path}[{index}]", inside) for index, item in enumerate(value)]
        if hasattr(kind, "_fields"):
            return {"_type_": "namedtuple", "class": _class_path(kind, path), "value": items}
        return {"_type_": "tuple", "value": items}
    if isinstance(value, (set, frozenset)):
        items = sorted((encode(item, f"{path}{{…}}", inside) for item in value), key=to_json)
        return {"_type_": "frozenset" if isinstance(value, frozenset) else "set", "value": items}
    if isinstance(value, type):
        return _encode_object(value, kind, path)
    fields = {}
    for field in sys.modules["dataclasses"].fields(value):
        if hasattr(value, field.name):
            fields[field.name] = encode(getattr(value, field.name), _member(path, field.name), inside)
    return {"_type_": "dataclass", "class": _class_path(kind, path), "value": fields}


def _encode_object(value: Any, kind: Any, path: str) -> Any:
    module, name = kind.__module__, kind.__name__
    if module == "datetime" and name in ("datetime", "date", "time"):
        encoded = {"_type_": name, "value": value.isoformat()}
        zone = getattr(getattr(value, "tzinfo", None), "key", None)
        if isinstance(zone, str):
            encoded["zone"] = zone
        if getattr(value, "fold", 0):
            encoded["fold"] = 1
        return encoded
    if module == "datetime" and name == "timedelta":
        return {"_type_": name, "value": [value.days, value.seconds, value.microseconds]}
    if module == "decimal" and name == "Decimal":
        return {"_type_": "decimal", "value": str(value)}
    if module == "uuid" and name == "UUID":
        return {"_type_": "uuid", "value": str(value)}
    pathlib = sys.modules.get("pathlib")
    if pathlib is not None and isinstance(value, pathlib.PurePath):
        encoded = {"_type_": "path", "value": str(value)}
        if not isinstance(value, pathlib.Path):
            encoded["class"] = "PureWindowsPath" if isinstance(value, pathlib.PureWindowsPath) else "PurePosixPath"
        return encoded
    if isinstance(value, type) or (hasattr(value, "__qualname__") and hasattr(value, "__module__") and callable(value)):
        return {"_target_": _class_path(value, path), "_call_": False}
    if module == "torch" and name == "dtype":
        return {"_target_": str(value), "_call_": False}
    # A loss is most often a scalar of an array library, and its number is what was meant.
    if getattr(value, "shape", None) == () and callable(getattr(value, "item", None)):
        item = value.item()
        if type(item) in (bool, int, float, complex, str):
            return encode(item, path)
    hint = ""
    if callable(getattr(value, "tolist", None)):
        hint = "; return `.tolist()` of it, or save it to a file and return the path"
    raise Unwritable(f"{_returned(path)} is a {module}.{kind.__qualname__}, which can't be written down as JSON{hint}")


def is_special(key: str) -> bool:
    """Says whether the value format has its own use for keys like this one, such as ``_target_``."""
    inner = key[1:-1]
    return len(key) > 2 and key[0] == "_" == key[-1] and inner.isascii() and inner.isalpha() and inner.islower()


def _is_finite(number: float) -> bool:
    return number - number == 0.0


def _number(number: float) -> Any:
    return number if _is_finite(number) else repr(number)


def _is_enum(kind: type) -> bool:
    enum = sys.modules.get("enum")
    return enum is not None and isinstance(kind, enum.EnumMeta)


def _returned(path: str) -> str:
    return f"`{path}` of what the job returned" if path else "what the job returned"


def _class_path(kind: Any, path: str) -> str:
    module, name = kind.__module__, kind.__qualname__
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not kind:
        raise Unwritable(f"{_returned(path)} is made of `{module}.{name}`, which can't be found by that name")
    return f"{module}.{name}"


class _JsonOptions:
    strict = True
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int


def from_json(text: str) -> Any:
    """Reads JSON. Python's own module for it takes as long to import as Python to start; the C code below it does not."""
    try:
        from _json import make_scanner

        value, end = make_scanner(_JsonOptions)(text, 0)  # type: ignore[arg-type]
        if not text[end:].strip():
            return value
    except Exception:  # another implementation, or text that is wrong, of which json tells more
        pass
    import json

    return json.loads(text)


def to_json(value: Any) -> str:
    """Writes JSON, in ASCII."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        write = make_encoder(None, None, encode_basestring_ascii, None, ": ", ", ", False, False, True)  # type: ignore[arg-type]
        return "".join(write(value, 0))
    except Exception:
        import json

        return json.dumps(value)


def write_atomically(path: str, text: str) -> None:
    """Writes a file of the user's own (0600) that others see whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


# --- exceptions --------------------------------------------------------------------------------------------------------------


def add_note(error: BaseException, note: str) -> None:
    """PEP 678's ``add_note``, which Python has from 3.11 on."""
    try:
        notes = error.__dict__.setdefault("__notes__", [])
        if note not in notes:
            notes.append(note)
    except (AttributeError, TypeError):  # an exception that takes no attributes can do without the note
        pass


def _note_place(error: BaseException, note: str) -> None:
    # The innermost place is the culprit; the ones around it say nothing more.
    if not any(str(other).startswith("while making ") for other in getattr(error, "__notes__", None) or ()):
        add_note(error, note)


def describe(error: BaseException) -> Dict[str, Any]:
    """Returns an exception as text: nothing of it needs pickling, and no frame of this file is in its traceback."""
    import traceback

    for file, script in _texts.items():
        _remember_text(file, script)
    _trim(error)
    notes = getattr(error, "__notes__", None)
    notes = [str(note) for note in notes] if isinstance(notes, (list, tuple)) else []
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as second:  # an exception whose text can't be had must not hide that the job failed
        text = f"{type(error).__qualname__}: <its traceback can't be shown: {type(second).__qualname__}>\n"
    if sys.version_info < (3, 11):
        text += "".join(note + "\n" for note in notes)
    if len(text) > TRACEBACK_LIMIT:
        half = TRACEBACK_LIMIT // 2
        text = f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"
    try:
        message = str(error)
    except Exception:
        message = "<its message can't be shown>"
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    described = {"type": name, "message": message, "traceback": text, "notes": notes}
    if isinstance(error, ModuleNotFoundError) and error.name:
        described["module_missing"] = error.name
    return described


_texts: Dict[str, str] = {}
"""What the launching script's files said at the launch."""


def _remember_text(file: str, text: str) -> None:
    import linecache

    # Without a time of modification an entry is never checked against a file, which may be another by now.
    linecache.cache[file] = (len(text), None, text.splitlines(True), file)


def _trim(error: Optional[BaseException]) -> None:
    own = describe.__code__.co_filename
    seen = set()
    pending = [error]
    while pending:
        error = pending.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        frames: Optional[TracebackType] = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename == own:
            frames = frames.tb_next
        error.__traceback__ = frames
        pending += [error.__cause__, error.__context__]


# --- the launching script ----------------------------------------------------------------------------------------------------


class Loader:
    """Gives the launching script's text to tracebacks and to ``inspect``, where its file isn't."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get_source(self, name: str) -> str:
        return self._text


class Main:
    """Makes the names that a job needs of its launching script, without running that script.

    ``main`` of a document has ``file``, ``relative``, ``package`` and ``argv``, for ``__file__``, ``__package__`` and ``sys.argv``,
    and ``steps``, which are done in their order. Each says in ``for`` what it is there for, and has one of:

    - ``import``: ``[module, attribute or null]``, to be had as ``name``;
    - ``value``: a plain value, as it was when the job was launched, to be had as ``name``;
    - ``run``: pieces of text, ``{"file", "text": neighbour or null, "future": […], "pieces": [[line, text, for]…]}``;
    - ``code``: a function without text, as marshalled code, with ``magic`` for the Python that can run it, to be had as ``name``.
    """

    def __init__(self, main: Dict[str, Any], folder: str, version: str) -> None:
        self._main = main
        self._folder = folder
        self._version = version

    def make(self, module: ModuleType) -> None:
        """Fills ``module``, which is to stand for ``__main__``."""
        names = module.__dict__
        file = self._main.get("file")
        if file is not None:
            relative = self._main.get("relative")
            if relative is not None and not os.path.exists(file) and os.path.exists(relative):
                file = os.path.abspath(relative)
            names["__file__"] = file
        names["__package__"] = self._main.get("package")
        names["__builtins__"] = __builtins__
        steps = self._main.get("steps", ())
        self._find_texts([step["run"] for step in steps if "run" in step], module)
        for step in steps:
            try:
                if "import" in step:
                    names[step["name"]] = self._import(*step["import"])
                elif "value" in step:
                    names[step["name"]] = Builder(step["value"], module).build(step["value"])
                elif "run" in step:
                    self._run(step["run"], names)
                elif "code" in step:
                    names[step["name"]] = self._function(module, step["name"], step["code"])
            except BaseException as error:
                if step.get("for"):
                    add_note(error, f"in the global `{step['name']}` of the launching script, {step['for']}")
                if self._version != _version():
                    add_note(error, f"the job was launched by Python {self._version} and runs under Python {_version()}")
                raise

    def _find_texts(self, parts: List[Dict[str, Any]], module: ModuleType) -> None:
        shown = {part["file"]: part["text"] for part in parts if part.get("text") is not None}
        for file, name in shown.items():
            try:
                with open(os.path.join(self._folder, name), encoding="utf-8", newline="") as opened:
                    text = opened.read()
            except OSError as error:
                print(f"mizzen: warning: tracebacks will lack the lines of {file}: {error}", file=sys.stderr)
                continue
            _texts[file] = text
            if module.__loader__ is None:
                module.__loader__ = Loader(text)  # type: ignore[assignment]
            # Where one file is all, the loader serves; linecache need not be imported.
            if len(shown) == 1 and os.path.isabs(file) and _same_text(file, text):
                continue
            _remember_text(file, text)

    def _import(self, module_name: str, attribute: Optional[str]) -> Any:
        __import__(module_name)
        found = sys.modules[module_name]
        return found if attribute is None else getattr(found, attribute)

    def _run(self, part: Dict[str, Any], names: Dict[str, Any]) -> None:
        flags = 0
        if part.get("future"):
            import __future__

            for feature in part["future"]:
                flags |= getattr(__future__, feature).compiler_flag
        source, line = [], 1
        for start, text, _ in part["pieces"]:
            source.append("\n" * (start - line))
            source.append(text)
            line = start + text.count("\n")
        code = compile("".join(source), part["file"], "exec", flags, True)
        try:
            exec(code, names)
        except BaseException as error:
            needed = _whom(error, part)
            if needed:
                add_note(error, f"in the launching script, {needed}")
            raise

    def _function(self, module: ModuleType, name: str, function: Dict[str, Any]) -> Any:
        from binascii import a2b_base64
        from importlib.util import MAGIC_NUMBER
        from marshal import loads
        from types import CellType, FunctionType

        if function["magic"] != MAGIC_NUMBER.hex():
            raise RunnerError(
                f"`{name}` was defined where Python keeps no text (on standard input, or at its prompt), so that its code only "
                f"runs under Python {self._version}, and this is Python {_version()}\n"
                f"hint: put `{name}` in a file, or run the job with Python {self._version}"
            )
        build = Builder(None, module).build
        cells = tuple(
            CellType(self._function(module, cell["name"], cell["code"]) if "code" in cell else build(cell["value"]))
            for cell in function.get("closure", ())
        )
        code: CodeType = loads(a2b_base64(function["text"]))
        made = FunctionType(code, module.__dict__, function["name"], None, cells)
        if function.get("defaults"):
            made.__defaults__ = tuple(build(function["defaults"]))
        if function.get("kwdefaults"):
            made.__kwdefaults__ = build(function["kwdefaults"])
        made.__qualname__ = function["qualname"]
        return made


def _whom(error: BaseException, part: Dict[str, Any]) -> str:
    frames = error.__traceback__
    while frames is not None:
        if frames.tb_frame.f_code.co_filename == part["file"]:
            for start, text, needed in part["pieces"]:
                if start <= frames.tb_lineno <= start + text.count("\n"):
                    return str(needed)
        frames = frames.tb_next
    return ""


def _same_text(file: str, text: str) -> bool:
    try:
        with open(file, encoding="utf-8", newline="") as opened:
            return opened.read() == text
    except (OSError, ValueError):
        # Where there is no file, linecache asks the loader.
        return not os.path.exists(file)


def _version() -> str:
    return "{}.{}".format(*sys.version_info)


# --- running -----------------------------------------------------------------------------------------------------------------


def call(built: Any) -> Any:
    """Calls what a document's root was built to, and waits for it if it is a coroutine."""
    value = built()
    if type(value).__name__ == "coroutine" and hasattr(value, "send"):
        import asyncio

        value = asyncio.run(value)
    return value


def read_document(file: str) -> Dict[str, Any]:
    """Reads a job's document."""
    try:
        with open(file, encoding="utf-8") as opened:
            document = from_json(opened.read())
    except OSError as error:
        raise RunnerError(f"the job's document can't be read: {error}") from None
    except ValueError as error:
        raise RunnerError(f"the job's document {file} is not JSON: {error}") from None
    version = document.get("mizzen") if isinstance(document, dict) else None
    if version != VERSION or "root" not in document:
        raise RunnerError(f"{file} is no job document of version {VERSION}, which this runner reads (it has `mizzen: {version}`)")
    return dict(document)


def extend_path(entries: List[str]) -> None:
    """Puts the launching process's own places of modules in front, those that exist here."""
    folder = os.path.dirname(os.path.abspath(__file__))
    # Python put this file's folder first, where its neighbours would be found before the user's modules.
    if sys.path and sys.path[0] in (folder, os.path.dirname(__file__)):
        del sys.path[0]
    places = [os.path.abspath(entry) for entry in entries]
    sys.path[:0] = [place for place in dict.fromkeys(places) if place not in sys.path and os.path.exists(place)]


def make_main(document: Dict[str, Any]) -> ModuleType:
    """Returns the module that stands for the launching script, as ``__main__``."""
    main = document.get("main")
    if main is None:
        return sys.modules["__main__"]
    folder = os.path.dirname(os.path.abspath(__file__))
    module = type(sys)("__main__")
    sys.modules["__main__"] = module
    if main.get("argv"):
        sys.argv[:] = main["argv"]
    spawned = os.path.join(folder, "mizzen_spawned.py")
    if os.path.exists(spawned):
        # Worker processes of multiprocessing import the main module anew by its name, and launchers such as Lightning's start
        # `python -m` with it. Under this name they find the document again, and not the launching script, which would launch.
        from importlib.machinery import ModuleSpec

        module.__spec__ = ModuleSpec("mizzen_spawned", None, origin=spawned)
        sys.path.append(folder)
        found = os.environ.get("PYTHONPATH")
        if folder not in (found or "").split(os.pathsep):
            os.environ["PYTHONPATH"] = found + os.pathsep + folder if found else folder
    Main(main, folder, document.get("python", "")).make(module)
    return module


def spawned(names: Dict[str, Any]) -> None:
    """Fills the main module of a worker process that multiprocessing started from a job; ``names`` is its namespace."""
    document = read_document(os.environ["MIZZEN_DOCUMENT"])
    module = type(sys)("__mp_main__")
    Main(document["main"], os.path.dirname(os.path.abspath(__file__)), document.get("python", "")).make(module)
    names.update(module.__dict__)


def result_file() -> Tuple[Optional[str], int]:
    """Returns where this process's result goes (``None``: nowhere), and its rank."""
    try:
        rank = int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or os.environ.get("LOCAL_RANK") or 0)
    except ValueError:
        rank = 0
    folder, attempt = os.environ.get("MIZZEN_JOB_DIR"), os.environ.get("MIZZEN_ATTEMPT")
    if not folder or not attempt:
        return None, rank
    return os.path.join(folder, "attempts", attempt, f"result-{rank}.json" if rank else "result.json"), rank


def record(file: Optional[str], result: Dict[str, Any]) -> None:
    """Writes a result file; a job does not fail because that fails."""
    if file is None:
        return
    try:
        text = to_json({"mizzen": VERSION, **result})
        if len(text) > RESULT_LIMIT:
            size, most = len(text) / 2**20, RESULT_LIMIT // 2**20
            raise Unwritable(f"what the job returned takes {size:.1f} MiB as JSON, and {most} MiB is the most")
    except (Unwritable, RecursionError) as error:
        result = {"ok": True, "unavailable": str(error)}
        text = to_json({"mizzen": VERSION, **result})
    if "unavailable" in result:
        print(f"mizzen: warning: this job has no result: {result['unavailable']}", file=sys.stderr)
    try:
        os.makedirs(os.path.dirname(file), 0o700, exist_ok=True)
        write_atomically(file, text)
    except OSError as error:
        print(f"mizzen: warning: the job's result can't be written: {error}", file=sys.stderr)


def result_of(value: Any) -> Dict[str, Any]:
    """Returns the result that says what a job returned, or why that can't be said."""
    try:
        encoded = encode(value)
    except RecursionError:
        return {"ok": True, "unavailable": "what the job returned is nested too deeply"}
    except Unwritable as error:
        return {"ok": True, "unavailable": str(error)}
    except Exception as error:  # properties and __getattr__ of what was returned are the user's code
        return {"ok": True, "unavailable": f"what the job returned can't be looked at: {type(error).__name__}: {error}"}
    return {"ok": True, "value": encoded}


def main(arguments: List[str]) -> int:
    """Runs the job of the document that ``arguments`` names; returns the exit status."""
    if len(arguments) != 1:
        print("usage: runner.py DOCUMENT", file=sys.stderr)
        return 2
    file, rank = result_file()
    if file is not None:
        try:
            os.unlink(file)  # a job that its scheduler started again must not leave an earlier result
        except OSError:
            pass
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)  # who follows the log wants lines as they come
    document_file = os.path.abspath(arguments[0])
    os.environ["MIZZEN_DOCUMENT"] = document_file
    try:
        document = read_document(document_file)
        extend_path(document.get("path", []))
        root = document["root"]
        if not isinstance(root, dict) or "_target_" not in root:
            raise RunnerError("the job's document names nothing that could be called")
        built = Builder(root, make_main(document)).build(root)
        # A Config as a job is what it builds: it has been called by now.
        value = call(built) if root.get("_partial_") or root.get("_call_") is False else built
    except SystemExit as error:
        if error.code is None or error.code == 0:
            if not rank:
                record(file, {"ok": True, "value": None})
        else:
            record(file, {"ok": False, "exception": describe(error)})
        raise
    except BaseException as error:
        described = describe(error)
        sys.stderr.write(described["traceback"])
        record(file, {"ok": False, "exception": described})
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    if not rank:
        record(file, result_of(value))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
