"""From a command line to flags, overrides and positional values, in the order in which the user wrote them.

```text
argv ── split() ──→ CommandLine(options, tokens)
                       tokens: Assignment(path, operator, value) | Positional(value)
```

The grammar of ``path operator value`` is the Rust core's (`mizzen._core.parse_override`), the same as of ``--set`` on the command
line of ``mizzen`` itself. Nothing is typed, looked up or executed here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from mizzen.cli.errors import ArgumentParsingError, nearest
from mizzen.errors import ArgumentError

__all__ = ["FLAGS", "Assignment", "CommandLine", "Flag", "Positional", "parse_token", "render_path", "split"]

Path = tuple[str | int, ...]


class Assignment(NamedTuple):
    """``path operator value``, such as ``model.lr*=10``."""

    text: str
    path: Path
    operator: str
    value: str


class Positional(NamedTuple):
    """A value without a name."""

    text: str
    value: str


class Flag(NamedTuple):
    """One flag: what it is called, what it takes, what it says in the help."""

    option: str
    names: tuple[str, ...]
    metavar: str
    help: str
    value: bool | None = True


# A flag with a metavar takes a value, all others set their option to `value`.
FLAGS: tuple[Flag, ...] = (
    Flag("name", ("--name", "-n"), "NAME", "name of the job or experiment"),
    Flag("factory", ("--factory", "-f"), "NAME", "begin with what this factory gives: NAME, NAME(arg=value), @FILE[:section]"),
    Flag("yaml", ("--yaml",), "FILE", "take arguments from FILE[:section] (.yaml, .toml or .json)"),
    Flag("dryrun", ("--dryrun",), "", "show what would be run, and run nothing"),
    Flag("direct", ("--direct",), "", "run in this process, without an executor"),
    Flag("direct", ("--no-direct",), "", "", False),
    Flag("detach", ("--detach", "-d"), "", "return at once; the jobs go on"),
    Flag("tail_logs", ("--tail-logs",), "", "show the jobs' output as it comes (--no-tail-logs: don't)"),
    Flag("tail_logs", ("--no-tail-logs",), "", "", False),
    Flag("skip_confirmation", ("--yes", "-y", "--no-confirm"), "", "don't ask before running"),
    Flag("repl", ("--repl", "-r"), "", "open an interpreter on the configured task instead of running it"),
    Flag("to_yaml", ("--to-yaml",), "PATH", "write the configuration to PATH[:section] and run nothing; - is standard output"),
    Flag("to_toml", ("--to-toml",), "PATH", "the same as TOML"),
    Flag("to_json", ("--to-json",), "PATH", "the same as JSON"),
    Flag("interpolate", ("--interpolate",), "", "replace ${env:NAME} and ${argument.path} in values; otherwise `$` is a dollar"),
    Flag("workspace", ("--workspace",), "FILE", "execute FILE first, for the factories in it; no file is ever executed unasked"),
    Flag("verbose", ("--verbose", "-v"), "", "say more, and show whole tracebacks"),
    Flag("help", ("--help", "-h"), "", "show this help"),
)

_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}

# What can only be meant as `path operator value`. The rest of the grammar, and all error messages about it, are the core's.
_STEP = r"""(?:\.\s*(?:[\w-]+|"[^"]*"|'[^']*')|\[[^\]]*\])"""
_OVERRIDE = re.compile(rf"\s*[A-Za-z_][\w-]*{_STEP}*\s*[-+*/|&]?=")
_NUMBER = re.compile(r"-[\d.]|-inf|-nan")


class CommandLine(NamedTuple):
    """What a command line says.

    ``options`` maps the option of each flag that was given to its value (``str`` or ``bool``); ``tokens`` are in the user's order.
    """

    options: dict[str, object]
    tokens: list[Assignment | Positional]


def split(argv: Sequence[str]) -> CommandLine:
    """Tells flags from overrides and positional values.

    Everything behind ``--`` is an override or a positional value. Flags may stand anywhere before it, as ``--flag VALUE`` or
    ``--flag=VALUE``; single letters as ``-n VALUE`` or, for those without a value, together (``-yv``).

    Raises:
        ArgumentParsingError: an unknown flag, a flag without its value, an override that is not well-formed.
    """
    options: dict[str, object] = {}
    tokens: list[Assignment | Positional] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            tokens.extend(parse_token(rest) for rest in words)
            break
        if not word.startswith("-") or word == "-" or _NUMBER.match(word):
            tokens.append(parse_token(word))
            continue
        name, equals, given = word.partition("=")
        if name not in _BY_NAME and not equals and re.fullmatch(r"-[a-z]{2,}", word):
            letters = [_BY_NAME.get(f"-{letter}") for letter in word[1:]]
            if all(flag is not None and not flag.metavar for flag in letters):
                options.update({flag.option: flag.value for flag in letters if flag is not None})
                continue
        flag = _BY_NAME.get(name)
        if flag is None:
            raise _unknown_flag(word, name)
        if not flag.metavar:
            if equals:
                raise ArgumentParsingError(f"`{name}` takes no value", word)
            options[flag.option] = flag.value
            continue
        if not equals:
            following = next(words, None)
            if following is None:
                raise ArgumentParsingError(f"`{name}` wants a value: {name} {flag.metavar}", word)
            given = following
        options[flag.option] = given
    return CommandLine(options, tokens)


def _unknown_flag(word: str, name: str) -> ArgumentParsingError:
    if name in ("--load", "-l"):
        return ArgumentParsingError(f"there is no flag `{name}`\nhint: `--yaml FILE` loads a configuration", word)
    bare = name.lstrip("-").replace("-", "_")
    near = nearest(bare, [known.removeprefix("--") for known in _BY_NAME if known.startswith("--")], likeness=0.75)
    if near is not None:
        hint = f"\nhint: did you mean `--{near}`?"
    elif bare.isidentifier():
        hint = f"\nhint: arguments of the function are written without dashes: `{bare}=VALUE`"
    else:
        hint = "\nhint: `--help` shows all flags"
    return ArgumentParsingError(f"there is no flag `{name}`{hint}", word, {"flag": name})


def parse_token(text: str) -> Assignment | Positional:
    """Reads one word: an override, or a positional value.

    Raises:
        ArgumentParsingError: it begins like an override and isn't one.
    """
    if not _OVERRIDE.match(text):
        return Positional(text, text)
    from mizzen import _core

    try:
        path, operator, value = _core.parse_override(text)
    except ArgumentError as error:
        raise ArgumentParsingError(str(error), text) from None
    return Assignment(text, tuple(path), operator, value)


def render_path(path: Sequence[str | int]) -> str:
    """A path as one would write it: ``model.layers[2]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not step.replace("-", "_").isidentifier():
            text += f"[{step!r}]"
        else:
            text += f".{step}" if text else step
    return text
