"""Showing configurations: as Python code, as HTML in notebooks, as graphviz pictures, and help for callables.

```text
Buildable ── source() ──→ Config(train, lr=3)
          ── html() ────→ nested <details>
          ── visualize() → Graph (dot text) ── dot, if installed ──→ SVG, PNG, PDF
```
"""

from __future__ import annotations

import os
import sys
from html import escape
from typing import Any, TextIO

from mizzen.config.buildable import Buildable, iterate
from mizzen.config.check import annotation_text
from mizzen.config.signature import MISSING, Parameter, SignatureInfo, signature_of
from mizzen.config.target import Target, display_name
from mizzen.errors import ConfigError, InstallationError

__all__ = ["Graph", "help", "html", "source", "visualize"]

_WIDTH = 100


def source(value: Any, indent: int = 0) -> str:
    """The Python code that makes a configuration, on one line if it fits into 100 columns."""
    return _source(value, indent, set())


def _source(value: Any, indent: int, inside: set[int]) -> str:
    if not isinstance(value, (Buildable, list, tuple, dict)):
        if isinstance(value, type) or hasattr(value, "__qualname__"):
            return display_name(value)
        try:
            return repr(value)
        except Exception:
            return f"<{type(value).__qualname__}>"
    if id(value) in inside:
        return "..."
    inside = inside | {id(value)}
    deeper = indent + 4
    opening, closing = "(", ")"
    if isinstance(value, Buildable):
        shown = getattr(value, "__shown__", None)
        if shown is not None:
            return str(shown())
        opening = f"{type(value).__name__}("
        parts = [display_name(value.__target__)]
        parts += [_source(item, deeper, inside) for item in value.__positional__]
        if all(isinstance(name, str) and name.isidentifier() for name in value.__dict__):
            parts += [f"{name}={_source(item, deeper, inside)}" for name, item in value.__dict__.items()]
        else:
            parts.append("**" + _source(dict(value.__dict__), deeper, inside))
    elif type(value) is dict:
        opening, closing = "{", "}"
        parts = [f"{_source(key, deeper, inside)}: {_source(item, deeper, inside)}" for key, item in value.items()]
    elif type(value) in (list, tuple):
        parts = [_source(item, deeper, inside) for item in value]
        if isinstance(value, list):
            opening, closing = "[", "]"
        elif len(parts) == 1:
            return f"({parts[0]},)"
    else:
        return repr(value)
    line = opening + ", ".join(parts) + closing
    if len(line) + indent <= _WIDTH and "\n" not in line:
        return line
    margin = "\n" + " " * deeper
    return opening + margin + ("," + margin).join(parts) + ",\n" + " " * indent + closing


def html(value: Any) -> str:
    """A configuration as nested, foldable HTML, for notebooks."""
    return f'<div style="font-family: monospace; line-height: 1.5">{_html(value, "", set())}</div>'


def _html(value: Any, name: str, seen: set[int]) -> str:
    label = f"<b>{escape(name)}</b> = " if name else ""
    children: list[tuple[str, Any]]
    if isinstance(value, Buildable):
        summary = f"{type(value).__name__}(<i>{escape(display_name(value.__target__))}</i>)"
        children = [(f"[{index}]", item) for index, item in enumerate(value.__positional__)]
        children += list(value.__dict__.items())
    elif isinstance(value, (list, tuple)) and _has_parts(value):
        summary = f"{type(value).__name__} of {len(value)}"
        children = [(f"[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, dict) and _has_parts(value):
        summary = f"dict of {len(value)}"
        children = [(repr(key), item) for key, item in value.items()]
    else:
        return f"<div>{label}{escape(source(value))}</div>"
    if id(value) in seen:
        return f"<div>{label}{summary} (shown above)</div>"
    seen.add(id(value))
    if not children:
        return f"<div>{label}{summary}</div>"
    inner = "".join(_html(item, key, seen) for key, item in children)
    return f'<details open><summary>{label}{summary}</summary><div style="margin-left: 1.5em">{inner}</div></details>'


class Graph:
    """A picture, as text in graphviz's language.

    Attributes:
        source: the text, which any graphviz tool reads.
    """

    def __init__(self, source: str) -> None:
        self.source = source

    def pipe(self, format: str = "svg") -> bytes:
        """The picture in a format of graphviz.

        Raises:
            InstallationError: `dot` is not on PATH.
            ConfigError: `dot` failed; what it wrote is in the message.
        """
        import shutil
        import subprocess

        program = shutil.which("dot")
        if program is None:
            raise InstallationError(
                "graphviz's program `dot` draws pictures, and is not on PATH\n"
                "hint: install graphviz with the system's package manager, or print the configuration; `.source` is the picture's text"
            )
        done = subprocess.run([program, f"-T{format}"], input=self.source.encode(), capture_output=True, check=False)
        if done.returncode != 0:
            raise ConfigError(f"`dot -T{format}` failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the picture; the file's ending is the format. An existing folder gets a `config.png`.

        Raises:
            InstallationError: `dot` is not on PATH, and the file is not to be the text itself (``.dot``, ``.gv``).
        """
        path = os.fspath(path)
        if os.path.isdir(path):
            path = os.path.join(path, "config.png")
        format = os.path.splitext(path)[1].lstrip(".").lower()
        if not format:
            raise ConfigError(f"`{path}` has no ending that says in which format to write\nhint: `{path}.png`, or .svg, .pdf, .dot")
        data = self.source.encode() if format in ("dot", "gv") else self.pipe(format)
        with open(path, "wb") as file:
            file.write(data)

    render = save

    def _repr_svg_(self) -> str | None:
        try:
            return self.pipe("svg").decode()
        except (InstallationError, ConfigError, OSError):
            # A notebook shows the other forms then.
            return None

    def __repr__(self) -> str:
        return self.source


def visualize(value: Any, *, marks: dict[str, str] | None = None, **options: Any) -> Graph:
    """A picture of a configuration's tree.

    Args:
        value: a Config, Partial, or container of them.
        marks: colours of arguments by path, as a difference has them.
        options: graphviz attributes of the graph.
    """
    attributes = {"rankdir": "LR", **{key: str(option) for key, option in options.items()}}
    lines = ["digraph config {"]
    lines += [f"  {key}={_quoted(option)};" for key, option in attributes.items()]
    lines.append('  node [shape=plain, fontname="monospace", fontsize=10];')
    names: dict[int, str] = {}
    _draw(value, "", names, lines, marks or {})
    lines.append("}")
    return Graph("\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _draw(value: Any, path: str, names: dict[int, str], lines: list[str], marks: dict[str, str]) -> str:
    if id(value) in names:
        return names[id(value)]
    node = names[id(value)] = f"n{len(names)}"
    items: list[tuple[str, str, Any]]
    if isinstance(value, Buildable):
        title = f"{type(value).__name__}: {display_name(value.__target__)}"
        items = [(f"[{index}]", f"{path}[{index}]", item) for index, item in enumerate(value.__positional__)]
        items += [(name, f"{path}.{name}", item) for name, item in value.__dict__.items()]
    elif isinstance(value, dict):
        title, items = "dict", [(repr(key), f"{path}[{key!r}]", item) for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        title, items = type(value).__name__, [(f"[{index}]", f"{path}[{index}]", item) for index, item in enumerate(value)]
    else:
        title, items = source(value), []
    rows = [f'<tr><td colspan="2" bgcolor="#dde6f0"><b>{escape(title)}</b></td></tr>']
    edges = []
    for index, (name, place, item) in enumerate(items):
        colour = f' bgcolor="{marks[place]}"' if place in marks else ""
        if _has_parts(item):
            rows.append(f'<tr><td align="left"{colour}>{escape(name)}</td><td port="p{index}"{colour}>…</td></tr>')
            edges.append((f"p{index}", place, item))
        else:
            text = source(item)
            text = text if len(text) <= 80 else text[:77] + "..."
            rows.append(f'<tr><td align="left"{colour}>{escape(name)}</td><td align="left"{colour}>{escape(text)}</td></tr>')
    table = "".join(rows)
    lines.append(f'  {node} [label=<<table border="0" cellborder="1" cellspacing="0">{table}</table>>];')
    for port, place, item in edges:
        lines.append(f"  {node}:{port} -> {_draw(item, place, names, lines, marks)};")
    return node


def _has_parts(value: Any) -> bool:
    """Whether a value deserves a place of its own: Buildables do, containers only if they hold some."""
    return any(True for _ in iterate(value))


def help(entity: Any, with_docs: bool = True, file: TextIO | None = None) -> None:
    """Prints what a callable takes: its arguments with types and defaults, then its docstring.

    Args:
        entity: a function or class, or a Config or Partial (its set arguments are shown as well).
        with_docs: whether the docstring is printed.
        file: where to; standard output by default.
    """
    print(help_text(entity, with_docs=with_docs), file=file or sys.stdout)


def help_text(entity: Any, *, with_docs: bool = True) -> str:
    """What `help` prints."""
    config = entity if isinstance(entity, Buildable) else None
    target = config.__target__ if config is not None else entity
    if isinstance(target, Target):
        target = target.resolve()
    info = signature_of(target)
    returned = "" if isinstance(target, type) or info.returns is Any else f" -> {annotation_text(info.returns)}"
    lines = [f"{getattr(target, '__module__', None) or 'builtins'}.{info.name}{returned}"]
    rows = _help_rows(info, config)
    if rows:
        lines += ["", *table(("argument", "type", "default") + (("set to",) if config is not None else ()), rows)]
    elif info.open:
        lines += ["", "its arguments are not known"]
    import inspect

    docs = inspect.getdoc(target) if with_docs else None
    if docs:
        lines += ["", docs]
    return "\n".join(lines)


def _help_rows(info: SignatureInfo, config: Buildable[Any] | None) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, parameter in info.parameters.items():
        rows.append((name, annotation_text(parameter.annotation), _default_text(parameter), *_set_text(config, name, info)))
    for prefix, extra in (("*", info.var_positional), ("**", info.var_keyword)):
        if extra is not None:
            rows.append((prefix + extra.name, annotation_text(extra.annotation), "", *(("",) if config is not None else ())))
    return rows


def _default_text(parameter: Parameter) -> str:
    if parameter.factory is not None:
        return f"{display_name(parameter.factory)}()"
    return "(required)" if parameter.default is MISSING else source(parameter.default)


def _set_text(config: Buildable[Any] | None, name: str, info: SignatureInfo) -> tuple[str, ...]:
    if config is None:
        return ()
    if name in config.__dict__:
        return (source(config.__dict__[name]),)
    index = info.positional.index(name) if name in info.positional else len(config.__positional__)
    return (source(config.__positional__[index]) if index < len(config.__positional__) else "",)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    """Lines of a plain-text table; a cell of several lines takes several lines."""
    cells = [[cell.split("\n") for cell in row] for row in (header, *rows)]
    widths = [max(len(line) for row in cells for line in row[column]) for column in range(len(header))]
    lines = []
    for number, row in enumerate(cells):
        for height in range(max(len(cell) for cell in row)):
            words = [cell[height] if height < len(cell) else "" for cell in row]
            lines.append("  ".join(word.ljust(width) for word, width in zip(words, widths)).rstrip())
        if number == 0:
            lines.append("  ".join("-" * width for width in widths))
    return lines


def arguments_table(config: Buildable[Any]) -> list[str]:
    """A configuration's arguments, nested ones by path, as a plain-text table."""
    rows: list[tuple[str, ...]] = []
    _argument_rows(config, "", rows, set())
    return table(("argument", "value"), rows) if rows else ["(no arguments are set)"]


def _argument_rows(value: Any, path: str, rows: list[tuple[str, ...]], seen: set[int]) -> None:
    if isinstance(value, Buildable):
        shown = f"{type(value).__name__}({display_name(value.__target__)})"
        if path:
            rows.append((path.lstrip("."), shown))
        if id(value) in seen:
            return
        seen.add(id(value))
        for index, item in enumerate(value.__positional__):
            _argument_rows(item, f"{path}[{index}]", rows, seen)
        for name, item in value.__dict__.items():
            _argument_rows(item, f"{path}.{name}", rows, seen)
    elif isinstance(value, (list, tuple, dict)) and _has_parts(value):
        if id(value) in seen:
            return
        seen.add(id(value))
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            _argument_rows(item, f"{path}[{key!r}]", rows, seen)
    else:
        rows.append((path.lstrip("."), source(value)))


