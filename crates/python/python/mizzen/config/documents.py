"""Configurations as JSON, YAML and TOML: text, and files with sections.

```text
value ── encode() ──→ tree ── JSON, or mizzen._core.write_document ──→ text ──→ file
file[:section] ──→ text ── JSON, or mizzen._core.read_document ──→ tree ── decode() ──→ value
```
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from mizzen.config.paths import Name, format_path, get_value, parse_path
from mizzen.config.values import decode, encode
from mizzen.errors import ConfigError, InstallationError, SerializationError

__all__ = ["ConfigSerializer", "dump", "dumps", "load", "loads", "read_tree", "split_section"]

_FORMATS = {".json": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml"}
_WITH_SECTION = re.compile(r"(?P<file>.*\.(?:json|ya?ml|toml))(?::(?P<section>[^/\\]+))?", re.IGNORECASE | re.DOTALL)


def dumps(value: Any, format: str = "json") -> str:
    """A value as text.

    Args:
        value: anything that `encode` takes.
        format: ``"json"``, ``"yaml"`` or ``"toml"``.

    Raises:
        SerializationError: a part of the value can't be written; `path` says which.
        InstallationError: YAML or TOML is asked for, and Mizzen's extension module is missing.
    """
    return _write(encode(value), format)


def loads(text: str, format: str = "json", *, name: str = "<text>", section: str | None = None) -> Any:
    """The value that a text describes. Imports nothing: callables become targets.

    Args:
        text: a document.
        format: ``"json"``, ``"yaml"`` or ``"toml"``.
        name: what the text is called in messages, such as its file's name.
        section: the path of the part that is wanted.

    Raises:
        SerializationError: the text is not well formed, describes no value, or has no such section.
    """
    return _decode(_read(text, format, name), name, section)


def dump(value: Any, path: str | os.PathLike[str], format: str | None = None, section: str | None = None) -> None:
    """Writes a value, or a part of it, into a file.

    Args:
        value: anything that `encode` takes.
        path: the file; ``file.yaml:model.optimizer`` writes that part of the value alone.
        format: by default what the file's ending says.
        section: the part, if it is not in the path.
    """
    file, in_path = split_section(path)
    section = section or in_path
    text = dumps(value if section is None else get_value(value, section), format or format_of(file))
    with open(file, "w", encoding="utf-8", newline="\n") as handle:
        handle.write(text)


def load(path: str | os.PathLike[str], format: str | None = None, section: str | None = None) -> Any:
    """The value that a file, or a section of it, describes. Imports nothing.

    Args:
        path: ``file.yaml`` or ``file.yaml:section``, where a section is a path such as ``model.optimizer``.
        format: by default what the file's ending says.
        section: the part, if it is not in the path.

    Raises:
        SerializationError: the file can't be read, is not well formed, or has no such section.
    """
    file, in_path = split_section(path)
    return _decode(_read_file(file, format), file, section or in_path)


def read_tree(path: str | os.PathLike[str], format: str | None = None) -> Any:
    """The tree of a file, not decoded: what overrides are applied to, with keys such as ``_factory_`` or ``lr*=`` left in.

    Args:
        path: ``file.yaml`` or ``file.yaml:section``.
        format: by default what the file's ending says.
    """
    file, section = split_section(path)
    tree = _read_file(file, format)
    return tree if section is None else _tree_section(tree, section, file)


def split_section(path: str | os.PathLike[str]) -> tuple[str, str | None]:
    """``file.yaml:a.b`` as (``file.yaml``, ``a.b``); the section is None if there is none."""
    text = os.fspath(path)
    match = _WITH_SECTION.fullmatch(text)
    return (match["file"], match["section"]) if match is not None else (text, None)


def format_of(file: str) -> str:
    """The format that a file's ending says.

    Raises:
        SerializationError: it says none.
    """
    format = _FORMATS.get(os.path.splitext(file)[1].lower())
    if format is None:
        raise SerializationError(f"`{file}` is to end in .yaml, .yml, .json or .toml")
    return format


def _core() -> Any:
    try:
        from importlib import import_module

        return import_module("mizzen._core")
    except ImportError as error:
        raise InstallationError(
            f"YAML and TOML need Mizzen's extension module, which can't be loaded: {error}\n"
            "hint: install mizzen with pip, or use JSON"
        ) from None


def _write(tree: Any, format: str) -> str:
    if format == "json":
        return json.dumps(tree, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _check_format(format)
    if format == "toml":
        tree = _without_null(tree)
    if tree is None or (format == "toml" and not isinstance(tree, dict)):
        # A TOML document is a table, whatever it holds; an empty YAML document is read as an empty table.
        tree = {"_type_": "value", "value": tree}
    text: str = _core().write_document(json.dumps(tree), format)
    return text


def _without_null(tree: Any) -> Any:
    if tree is None:
        return {"_type_": "none"}
    if isinstance(tree, dict):
        return {key: _without_null(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [_without_null(item) for item in tree]
    return tree


def _check_format(format: str) -> None:
    if format not in ("json", "yaml", "toml"):
        raise SerializationError(f"there is no format {format!r}\nhint: \"json\", \"yaml\" or \"toml\"")


def _read_file(file: str, format: str | None) -> Any:
    format = format or format_of(file)
    try:
        with open(file, encoding="utf-8-sig") as handle:
            text = handle.read()
    except OSError as error:
        raise SerializationError(f"`{file}` can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise SerializationError(f"`{file}` is no UTF-8 text: byte {error.start + 1}") from None
    return _read(text, format, file)


def _read(text: str, format: str, name: str) -> Any:
    if format == "json":
        try:
            return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys)
        except json.JSONDecodeError as error:
            raise SerializationError(f"{name}:{error.lineno}:{error.colno}: {error.msg[:1].lower()}{error.msg[1:]}") from None
        except SerializationError as error:
            raise SerializationError(f"{name}: {error}") from None
    _check_format(format)
    try:
        return _core().read_document(text, format, name)
    except SerializationError:
        raise
    except ConfigError as error:
        raise SerializationError(str(error), path=error.path) from None


def _no_constant(text: str) -> Any:
    raise SerializationError(f"`{text}` is no JSON\nhint: write {{\"_type_\": \"float\", \"value\": \"{text.lower().replace('infinity', 'inf')}\"}}")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise SerializationError(f"the key {twice!r} stands twice in one object")
    return found


def _decode(tree: Any, name: str, section: str | None) -> Any:
    try:
        if section is None:
            return decode(tree)
        if not _holds_reference(part := _tree_section(tree, section, name)):
            return decode(part)
        # What the part refers to may stand outside of it.
        return get_value(decode(tree), section)
    except SerializationError as error:
        message = str(error)
        raise SerializationError(message if message.startswith(name) else f"{name}: {message}", path=error.path) from None


def _holds_reference(tree: Any) -> bool:
    if isinstance(tree, dict):
        return "_ref_" in tree or any(map(_holds_reference, tree.values()))
    return isinstance(tree, list) and any(map(_holds_reference, tree))


def _tree_section(tree: Any, section: str, name: str) -> Any:
    steps = parse_path(section)
    for number, step in enumerate(steps):
        try:
            if isinstance(tree, dict) and "_type_" in tree and "value" in tree and str(step) not in ("_type_", "value"):
                tree = tree["value"]
            tree = tree[str(step) if isinstance(step, Name) else step]
        except (KeyError, IndexError, TypeError):
            keys = list(tree) if isinstance(tree, dict) else []
            from difflib import get_close_matches

            near = get_close_matches(str(step), keys, n=1)
            so_far = format_path(steps[: number + 1]).lstrip(".")
            raise SerializationError(
                f"`{name}` has no section `{so_far}`" + (f"\nhint: did you mean `{near[0]}`?" if near else ""), path=format_path(steps)
            ) from None
    return tree


class ConfigSerializer:
    """The functions of this module under the names of NeMo-Run's class."""

    def serialize_json(self, cfg: Any) -> str:
        """See `dumps`."""
        return dumps(cfg, "json")

    def serialize_yaml(self, cfg: Any) -> str:
        """See `dumps`."""
        return dumps(cfg, "yaml")

    def serialize_toml(self, cfg: Any) -> str:
        """See `dumps`."""
        return dumps(cfg, "toml")

    def deserialize_json(self, serialized: str) -> Any:
        """See `loads`."""
        return loads(serialized, "json")

    def deserialize_yaml(self, serialized: str) -> Any:
        """See `loads`."""
        return loads(serialized, "yaml")

    def deserialize_toml(self, serialized: str) -> Any:
        """See `loads`."""
        return loads(serialized, "toml")

    def dump_json(self, cfg: Any, path: str | os.PathLike[str]) -> None:
        """See `dump`."""
        dump(cfg, path, "json")

    def dump_yaml(self, cfg: Any, path: str | os.PathLike[str]) -> None:
        """See `dump`."""
        dump(cfg, path, "yaml")

    def dump_toml(self, cfg: Any, path: str | os.PathLike[str]) -> None:
        """See `dump`."""
        dump(cfg, path, "toml")

    def load_json(self, path: str | os.PathLike[str]) -> Any:
        """See `load`."""
        return load(path, "json")

    def load_yaml(self, path: str | os.PathLike[str]) -> Any:
        """See `load`."""
        return load(path, "yaml")

    def load_toml(self, path: str | os.PathLike[str]) -> Any:
        """See `load`."""
        return load(path, "toml")

    def dump(self, cfg: Any, path: str | os.PathLike[str]) -> None:
        """See `dump`."""
        dump(cfg, path)

    def load(self, path: str | os.PathLike[str]) -> Any:
        """See `load`."""
        return load(path)

    def load_dict(self, path: str | os.PathLike[str]) -> Any:
        """The file's tree, not decoded: see `read_tree`."""
        return read_tree(path)

    def dump_dict(self, cfg: Any, path: str | os.PathLike[str], format: str | None = None, section: str | None = None) -> None:
        """See `dump`; takes a Config or a plain dict."""
        dump(cfg, path, format, section)
