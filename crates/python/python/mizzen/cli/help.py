"""The help of an entry point, made from its signature, annotations and docstring."""

from __future__ import annotations

import os
import re
import typing
from typing import Any

from mizzen.cli.arguments import FLAGS
from mizzen.cli.context import context_parameter
from mizzen.cli.entrypoints import Entrypoint
from mizzen.cli.factories import factories_for, value_type
from mizzen.cli.signature import MISSING, Parameter, describe, signature_of

__all__ = ["docstring_parts", "help_text", "list_text"]

_SECTION = re.compile(r"(Args|Arguments|Parameters|Keyword Args|Keyword Arguments|Attributes|Other Parameters)\s*:?\s*$")
_OTHER = re.compile(r"(Returns?|Raises?|Yields?|Examples?|Notes?|References|See Also|Warnings?|Todo)\s*:?\s*$")
_ENTRY = re.compile(r"\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_NUMPY = re.compile(r"\*{0,2}(\w+(?:\s*,\s*\w+)*)\s*(?::.*)?$")
_SPHINX = re.compile(r":(?:param|parameter|arg|argument|keyword)\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")


def docstring_parts(text: str | None) -> tuple[str, dict[str, str]]:
    """A docstring's description and what it says about each argument: in Google's, NumPy's or Sphinx's style."""
    if not text:
        return "", {}
    lines = _dedented(text)
    description: list[str] = []
    arguments: dict[str, list[str]] = {}
    state, base, column, current = "text", 0, 0, ""
    for index, line in enumerate(lines):
        stripped = line.strip()
        indent = len(line) - len(line.lstrip())
        following = lines[index + 1].strip() if index + 1 < len(lines) else ""
        underlined = bool(following) and set(following) <= {"-"} and len(following) >= 3
        sphinx = _SPHINX.match(stripped)
        if stripped and set(stripped) <= {"-"} and len(stripped) >= 3 and state != "text":
            continue
        if _SECTION.match(stripped) and (stripped.endswith(":") or underlined):
            state, base, current = ("numpy" if underlined else "google"), indent, ""
        elif (_OTHER.match(stripped) and (stripped.endswith(":") or underlined)) or re.match(
            r":(returns?|rtype|raises?)\b", stripped
        ):
            state = "other"
        elif sphinx:
            state, base, current = "sphinx", indent, sphinx[1]
            arguments[current] = [sphinx[2]]
        elif state == "text":
            description.append(line)
        elif state == "google":
            found = _ENTRY.match(stripped)
            if stripped and indent <= base:
                state = "text"
                description.append(line)
            elif found and (not current or indent <= column):
                current, column = found[1], indent
                arguments[current] = [found[2]]
            elif current and stripped:
                arguments[current].append(stripped)
        elif state == "numpy":
            found = _NUMPY.match(stripped)
            if stripped and indent <= base and found:
                current = found[1].split(",")[0].strip()
                arguments[current] = []
            elif current and stripped:
                arguments[current].append(stripped)
        elif state == "sphinx" and current and stripped:
            arguments[current].append(stripped)
    return "\n".join(description).strip(), {name: " ".join(parts).strip() for name, parts in arguments.items()}


def _dedented(text: str) -> list[str]:
    lines = text.expandtabs().split("\n")
    margin = min((len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()), default=0)
    return [lines[0].strip(), *(line[margin:].rstrip() for line in lines[1:])]


def help_text(entry: Entrypoint, program: str, width: int | None = None) -> str:
    """The help.

    Args:
        entry: the entry point.
        program: how the command is called, such as ``python train.py``.
        width: columns; by default the terminal's, at most 110.
    """
    columns = width or _width()
    signature = signature_of(entry.fn)
    description, notes = docstring_parts(entry.help if entry.help is not None else getattr(entry.fn, "__doc__", None))
    if entry.help is not None:
        notes = {**docstring_parts(getattr(entry.fn, "__doc__", None))[1], **notes}
    hidden = context_parameter(entry, signature)
    parameters = [item for name, item in signature.parameters.items() if name not in hidden]
    required = " ".join(f"{item.name}=…" for item in parameters if item.required)
    lines = [f"usage: {program} [flags]{f' {required}' if required else ''} [argument=value …]", ""]
    if description:
        lines += [*_paragraphs(description, columns), ""]
    rows: list[tuple[str, list[str]]] = []
    for item in parameters:
        rows.append((_argument(item), _about(item, notes.get(item.name, ""), entry)))
    if signature.var_positional is not None:
        kind = signature.var_positional
        rows.append((f"*{kind.name}: {describe(kind.annotation)}", [notes.get(kind.name, "values without a name")]))
    if signature.var_keyword is not None:
        kind = signature.var_keyword
        rows.append((f"**{kind.name}: {describe(kind.annotation)}", [notes.get(kind.name, "any other name=value")]))
    if rows:
        lines += ["arguments", *_table(rows, columns), ""]
    about = "name=value sets an argument, a.b[0].c=value a part of one; += -= *= /= |= &= change it, in the order given."
    about += " name=@FILE[:section] takes it from a file."
    lines += [*(f"  {line}" for line in _wrapped(about, columns - 2)), ""]
    own = [(item.name, [_first_line(item.function)]) for item in factories_for(None, entry.fn)]
    if own:
        lines += ["factories of this command (--factory NAME)", *_table(own, columns), ""]
    if entry.enable_executor:
        place = [
            ("executor=NAME", ["where it runs: NAME, NAME(nodes=2); executor.SETTING=value changes a setting"]),
            ("plugins=NAME", ["plugins: NAME, NAME(a=1), [NAME, NAME]; plugins[0].SETTING=value changes a setting"]),
        ]
        lines += [
            "executor",
            *_table([row for row in place if row[0].partition("=")[0] not in signature.parameters], columns),
            "",
        ]
    flags = [(f"{', '.join(flag.names)}{f' {flag.metavar}' if flag.metavar else ''}", [flag.help]) for flag in FLAGS if flag.help]
    lines += ["flags", *_table(flags, columns)]
    return "\n".join(lines) + "\n"


def _argument(item: Parameter) -> str:
    kind = describe(item.annotation) if item.annotation is not MISSING else ""
    text = f"{item.name}: {kind}" if kind else item.name
    return text if item.required else f"{text} = {_default(item.default)}"


def _default(value: Any) -> str:
    if type(value).__name__ == "_HAS_DEFAULT_FACTORY_CLASS":
        return "…"
    if hasattr(value, "__target__"):
        return f"{getattr(value.__target__, '__name__', 'Config')}(…)"
    if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
        return str(value.__qualname__)
    if hasattr(value, "name") and hasattr(type(value), "__members__"):
        return f"{type(value).__name__}.{value.name}"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"


def _about(item: Parameter, note: str, entry: Entrypoint) -> list[str]:
    about = [note] if note else []
    if item.required:
        made = [found for found in factories_for(item.annotation, entry.fn, item.name) if found.default]
        about.append(f"by default {made[0].name}()" if made else "required")
    names = list(
        dict.fromkeys(_call(found.function, found.name) for found in factories_for(item.annotation, entry.fn, item.name))
    )
    if names:
        about.append(f"factories: {', '.join(names)}")
    wanted = value_type(item.annotation)
    if isinstance(wanted, type) and hasattr(wanted, "__dataclass_fields__") and not names:
        about.append(f"{wanted.__name__}({', '.join(wanted.__dataclass_fields__)})")
    elif isinstance(wanted, type) and hasattr(wanted, "__members__"):
        about.append(f"one of: {', '.join(wanted.__members__)}")
    return about


def _call(function: Any, name: str) -> str:
    parameters = signature_of(function).parameters
    return f"{name}({', '.join(parameters)})" if parameters else name


def _first_line(function: object) -> str:
    return (getattr(function, "__doc__", None) or "").strip().partition("\n")[0]


def _width() -> int:
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns
    except (OSError, ValueError):
        columns = 100
    return max(40, min(columns, 110))


def _paragraphs(text: str, columns: int) -> list[str]:
    lines: list[str] = []
    for line in text.split("\n"):
        # Indented lines are examples, whose line breaks mean something.
        lines += [line] if line.startswith(" ") else _wrapped(line, columns)
    return lines


def _wrapped(text: str, columns: int) -> list[str]:
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > columns:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def _table(rows: list[tuple[str, list[str]]], columns: int) -> list[str]:
    left = min(max((len(name) for name, _ in rows), default=0), max(24, columns // 3))
    lines: list[str] = []
    for name, about in rows:
        right = [line for text in about if text for line in _wrapped(text, max(20, columns - left - 4))]
        if len(name) > left:
            lines.append(f"  {name}")
        elif right:
            lines.append(f"  {name:<{left}}  {right.pop(0)}")
        else:
            lines.append(f"  {name}")
        lines += [f"  {'':<{left}}  {line}" for line in right]
    return lines


def list_text(tree: dict[str, Any], indent: str = "  ") -> str:
    """The entry points of a tree, one a line, for a command line that has several."""
    lines = []
    for name, found in sorted(tree.items()):
        if isinstance(found, dict):
            lines += [f"{indent}{name}", list_text(found, f"{indent}  ")]
        else:
            text = typing.cast("Entrypoint", found)
            lines.append(f"{indent}{name:<20}  {text.help or _first_line(text.fn)}".rstrip())
    return "\n".join(lines)
