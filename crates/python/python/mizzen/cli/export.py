"""``--to-yaml``, ``--to-toml``, ``--to-json``: the configuration that a command line makes, as a file that ``--yaml`` reads."""

from __future__ import annotations

from typing import Any

__all__ = ["export", "requested"]


def requested(context: Any) -> list[tuple[str, str]]:
    """The exports that a context asks for: (format, ``path[:section]``)."""
    wanted = (("yaml", context.to_yaml), ("toml", context.to_toml), ("json", context.to_json))
    return [(format, path) for format, path in wanted if path]


def export(config: Any, format: str, path: str) -> str | None:
    """Writes a configuration.

    Args:
        config: it.
        format: ``"yaml"``, ``"toml"`` or ``"json"``, whatever the path's ending.
        path: ``path[:section]``; a section, such as ``model.optimizer``, writes that part alone; ``-`` is standard output.

    Returns:
        the path that was written; ``None`` for standard output.

    Raises:
        SerializationError: a part of it can't be written; the message says which.
        SetValueError: there is no such section.
        ArgumentValueError: the file can't be written.
    """
    from mizzen.cli.errors import ArgumentValueError
    from mizzen.config.documents import dump, dumps, split_section

    if path == "-" or path.startswith("-:"):
        import sys

        from mizzen.config.paths import get_value

        section = path[2:]
        sys.stdout.write(dumps(get_value(config, section) if section else config, format))
        return None
    file, section_or_none = split_section(path)
    if section_or_none is None and ":" in path:
        file, _, section_or_none = path.rpartition(":")
    try:
        dump(config, file, format, section_or_none)
    except OSError as error:
        raise ArgumentValueError(f"can't write {file}: {error.strerror}", f"--to-{format} {path}") from None
    return file
