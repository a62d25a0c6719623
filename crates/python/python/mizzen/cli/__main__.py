"""``python -m mizzen.cli FILE.py:function [flags] [argument=value …]``, which ``mizzen run FILE.py:function …`` executes.

The function may be decorated by ``run.cli.entrypoint`` or not. ``module.path:function`` imports a module instead; ``FILE.py`` alone is
enough where it has one entry point; without a colon and an ending, the words name an entry point of an installed package.

Unlike ``python FILE.py``, which runs the function in its own process, this makes a recorded job of it, on this machine unless an
executor is named; ``--direct`` runs it in this process.

A file runs as ``__main__``, as if by ``python FILE.py``, with the words behind it as ``sys.argv``, except for the blocks
``if __name__ == "__main__":``, which are left out; and a ``run.cli.main(…)`` outside of them runs nothing here, but its defaults
hold.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType
from typing import Any

from mizzen.cli.command import USAGE, Recording, _say_traceback, run_command, run_registered
from mizzen.cli.entrypoints import Entrypoint, entrypoint_of, list_entrypoints

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("--help", "-h"):
        print("usage: mizzen run FILE.py:FUNCTION [flags] [argument=value …]", file=sys.stdout if words else sys.stderr)
        return 0 if words else USAGE
    target, rest = words[0], words[1:]
    path, colon, name = target.rpartition(":")
    if not colon or os.path.isfile(target):
        path, name = target, ""
    is_file = path.endswith(".py") or os.path.isfile(path)
    if not is_file and not colon:
        return run_registered(words, load=True)
    try:
        with Recording() as recording:
            module = _load_file(path, rest) if is_file else _import(path)
    except FileNotFoundError:
        return _wrong(f"there is no file {path}")
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            return _wrong(
                f"there is no module `{path}`\nhint: a file is written FILE.py:function; modules are looked for on PYTHONPATH"
            )
        _say_traceback(_without_own_frames(error), False)
        return 1
    except SystemExit:
        raise
    except KeyboardInterrupt:
        return 130
    except BaseException as error:
        _say_traceback(_without_own_frames(error), False)
        return 1
    found = _choose(module, name, recording, path)
    if isinstance(found, int):
        return found
    if found.type == "task" and found.enable_executor and found.default_executor is None:
        # `mizzen run` records what it runs: without an executor's name that is a job on this machine.
        from copy import copy

        from mizzen.executor import LocalExecutor

        found = copy(found)
        found.default_executor = LocalExecutor()
    return run_command(found, rest, None, f"mizzen run {target}")


def _wrong(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return USAGE


def _without_own_frames(error: BaseException) -> BaseException:
    trace = error.__traceback__
    own = (__file__, "<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")
    while trace is not None and trace.tb_frame.f_code.co_filename in own:
        trace = trace.tb_next
    return error.with_traceback(trace) if trace is not None else error


def _import(name: str) -> ModuleType:
    from importlib import import_module

    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    return import_module(name)


def _load_file(path: str, rest: list[str]) -> ModuleType:
    """Executes a file as ``__main__`` without its main blocks."""
    import ast

    with open(path, "rb") as file:
        source = file.read()
    absolute = os.path.abspath(path)
    tree = ast.parse(source, absolute)
    tree.body = [kept for statement in tree.body for kept in _without_main_block(statement)]
    module = ModuleType("__main__")
    module.__file__ = absolute
    vars(module).update(__builtins__=__builtins__, __cached__=None, __spec__=None, __package__=None)
    sys.modules["__main__"] = module
    sys.argv = [path, *rest]
    folder = os.path.dirname(absolute)
    # `python -m` puts the working directory in front, `python FILE` the file's folder.
    if sys.path and sys.path[0] in ("", os.getcwd()):
        sys.path[0] = folder
    else:
        sys.path.insert(0, folder)
    exec(compile(tree, absolute, "exec"), vars(module))
    return module


def _without_main_block(statement: Any) -> list[Any]:
    """What is left of a statement: of ``if __name__ == "__main__":`` its ``else``."""
    import ast

    if not isinstance(statement, ast.If) or not isinstance(statement.test, ast.Compare):
        return [statement]
    sides = [statement.test.left, *statement.test.comparators]
    names = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
    texts = any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)
    if len(sides) == 2 and names and texts and isinstance(statement.test.ops[0], ast.Eq):
        return list(statement.orelse)
    return [statement]


def _choose(module: ModuleType, name: str, recording: Recording, path: str) -> Entrypoint | int:
    """The entry point of a name; an exit status if there is none."""
    own = [item for item in _flat(list_entrypoints()) if getattr(item.fn, "__module__", None) == module.__name__]
    if not name:
        candidates = recording.entries or own
        if len({item.path for item in candidates}) == 1:
            return candidates[-1]
        names = ", ".join(f"`{path}:{item.name}`" for item in candidates)
        return _wrong(f"which function of {path}?\nhint: {f'it has {names}' if names else f'{path}:FUNCTION names it'}")
    found: Any = module
    for step in name.split("."):
        found = getattr(found, step, None)
    for entry in recording.entries:
        if entry.fn is found or entry.name == name:
            return entry
    if callable(found):
        return entrypoint_of(found)
    for entry in own:
        if name in (entry.name, entry.path):
            return entry
    from mizzen.cli.errors import suggestion

    functions = [
        key for key, item in vars(module).items() if callable(item) and getattr(item, "__module__", None) == module.__name__
    ]
    hint = suggestion(name, [*functions, *(item.name for item in own)], otherwise="it has")
    return _wrong(f"{path} has no function `{name}`{hint}")


def _flat(tree: dict[str, Any]) -> list[Entrypoint]:
    found: list[Entrypoint] = []
    for item in tree.values():
        found += _flat(item) if isinstance(item, dict) else [item]
    return found


if __name__ == "__main__":
    sys.exit(main())
