"""Runs a command line: reads it, asks, runs, and says by the exit status how it went."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mizzen.cli.entrypoints import CommandDefaults, Entrypoint, entrypoint_of, list_entrypoints

__all__ = ["Recording", "main", "run_command", "run_registered"]

SUCCEEDED, FAILED, USAGE, UNREACHABLE, REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class Recording:
    """While a file is loaded for ``mizzen run FILE.py:function``, its own ``run.cli.main`` calls say what they would have run.

    Attributes:
        entries: those entry points, in order.
    """

    active: Recording | None = None

    def __init__(self) -> None:
        self.entries: list[Entrypoint] = []

    def __enter__(self) -> Recording:
        Recording.active = self
        return self

    def __exit__(self, *_: object) -> None:
        Recording.active = None


def main(
    fn: Any,
    default_factory: Callable[..., object] | str | None = None,
    default_executor: object = None,
    default_plugins: object = None,
    cmd_defaults: CommandDefaults | None = None,
    argv: Sequence[str] | None = None,
) -> None:
    """The command line of a function: ``if __name__ == "__main__": run.cli.main(train)``.

    Args:
        fn: the function; it need not be decorated by ``run.cli.entrypoint``.
        default_factory: what ``--factory`` is when it is not given, in place of the entry point's.
        default_executor: what ``executor=`` is when it is not given, in place of the entry point's.
        default_plugins: what ``plugins=`` is when it is not given, in place of the entry point's.
        cmd_defaults: what flags are when they are not given.
        argv: the words of the command line; by default the process's.

    Returns:
        if it succeeded: what stands behind it in the script goes on.

    Raises:
        SystemExit: it did not: 1 a job or the task failed, 2 the command line is wrong, 3 a place could not be reached, 4 it refused
            a job, 130 interrupted. A ``SystemExit`` of the task's own keeps its status.
    """
    try:
        entry = entrypoint_of(fn)
    except ValueError as error:
        _say_error(error)
        raise SystemExit(USAGE) from None
    if default_factory is not None or default_executor is not None or default_plugins is not None:
        entry = _changed(entry, default_factory, default_executor, default_plugins)
    if Recording.active is not None:
        Recording.active.entries.append(entry)
        return
    program = os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else entry.name
    status = run_command(entry, list(sys.argv[1:] if argv is None else argv), cmd_defaults, program)
    if status != SUCCEEDED:
        raise SystemExit(status)


def _changed(entry: Entrypoint, factory: Any, executor: object, plugins: object) -> Entrypoint:
    import copy

    changed = copy.copy(entry)
    if factory is not None:
        changed.default_factory = factory
    if executor is not None:
        changed.default_executor = executor
    if plugins is not None:
        changed.default_plugins = plugins
    return changed


def run_command(
    entry: Entrypoint, argv: Sequence[str], defaults: CommandDefaults | None = None, program: str | None = None
) -> int:
    """Runs the command line of an entry point.

    Args:
        entry: it.
        argv: the words behind the program's name.
        defaults: what flags are when they are not given.
        program: what the help calls the command.

    Returns:
        the exit status.
    """
    from mizzen.cli.arguments import split
    from mizzen.errors import MizzenError

    verbose = "--verbose" in argv or "-v" in argv
    try:
        line = split(argv)
        options: dict[str, Any] = {**(defaults or {}), **line.options}
        workspace = options.get("workspace")
        if workspace:
            from mizzen.cli.workspace import load_workspace

            load_workspace(str(workspace))
        if options.pop("help", False):
            from mizzen.cli.help import help_text

            _print(help_text(entry, program or entry.name))
            return SUCCEEDED
        context = entry.run_ctx_cls(**options)
        config = context.configure(entry, line.tokens)
        verbose = context.verbose
        if _export(context, config):
            return SUCCEEDED
        _require(entry, config)
    except MizzenError as error:
        _say_error(error, verbose)
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    if context.repl:
        _interact(entry, context, config)
        return SUCCEEDED
    if not _confirmed(entry, context, config):
        return INTERRUPTED
    return _run(entry, context, config)


def _print(text: str) -> None:
    """Writes to standard output, of which ``| head`` may want no more."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain once more when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _export(context: Any, config: Any) -> bool:
    from mizzen.cli.export import export, requested

    wanted = requested(context)
    for format, path in wanted:
        written = export(config, format, path)
        if written is not None:
            print(f"mizzen: wrote {written}", file=sys.stderr)
    return bool(wanted)


def _require(entry: Entrypoint, config: Any) -> None:
    """Every argument that must be given is.

    Raises:
        ArgumentValueError: one is not.
    """
    from mizzen.cli.assign import missing_arguments
    from mizzen.cli.context import context_parameter
    from mizzen.cli.errors import ArgumentValueError
    from mizzen.cli.factories import factories_for
    from mizzen.cli.signature import MISSING, describe, signature_of

    missing = missing_arguments(config, skip=context_parameter(entry, signature_of(entry.fn)))
    if not missing:
        return
    shown = [f"`{path}`" if item.annotation is MISSING else f"`{path}` ({describe(item.annotation)})" for path, item in missing]
    path, first = missing[0]
    names = [found.name for found in factories_for(first.annotation, entry.fn, path)]
    values = f", such as `{path}={names[0]}`" if names else ""
    raise ArgumentValueError(
        f"`{entry.name}` needs {', '.join(shown)}\nhint: give {'it' if len(missing) == 1 else 'them'} as `{path}=VALUE`{values}; "
        "`--help` shows all arguments",
        context={"missing": [path for path, _ in missing]},
        path=f".{path}",
    )


def _confirmed(entry: Entrypoint, context: Any, config: Any) -> bool:
    """Asks on a terminal; anywhere else, and in every rank of a distributed launch, running is what was asked for."""
    if context.skip_confirmation or context.dryrun or _world_size() > 1:
        return True
    if not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print(_summary(entry, context, config), file=sys.stderr)
    print("run it? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline().strip().lower()
    except KeyboardInterrupt:
        answer = ""
        print(file=sys.stderr)
    if answer in ("y", "yes"):
        return True
    print("mizzen: not run\nhint: `--yes` does not ask", file=sys.stderr)
    return False


def _world_size() -> int:
    try:
        return int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        return 1


def _summary(entry: Entrypoint, context: Any, config: Any) -> str:
    lines = [entry.path]
    width = max((len(name) for name in config.__arguments__), default=0)
    lines += [f"  {name:<{width}}  {value!r}" for name, value in config.__arguments__.items()]
    if config.__positional__:
        lines.append(f"  {config.__positional__!r}")
    if context.executor is not None and not context.direct:
        lines.append(f"executor {context.executor!r}")
    if context.plugins:
        lines.append(f"plugins {context.plugins!r}")
    return "\n".join(lines)


def _interact(entry: Entrypoint, context: Any, config: Any) -> None:
    import code

    import mizzen

    names: dict[str, Any] = {"run": mizzen, "task": config, "ctx": context, "entrypoint": entry}
    banner = f"`task` is {entry.path} as configured, `ctx` how it is run; ctx.execute(entrypoint, task) runs it. Ctrl-D leaves."
    if sys.stdin is not None and sys.stdin.isatty():
        from importlib import import_module

        try:
            ipython: Any = import_module("IPython")
        except ImportError:
            pass
        else:
            print(banner)
            ipython.start_ipython(argv=["--no-banner"], user_ns=names)
            return
        try:
            import readline  # noqa: F401  # gives the interpreter its history and line editing
        except ImportError:
            pass
    code.interact(banner, local=names, exitmsg="")


def _run(entry: Entrypoint, context: Any, config: Any) -> int:
    from mizzen.errors import (
        ConfigError,
        InstallationError,
        JobFailed,
        MizzenError,
        NotFoundError,
        RefusedError,
        UnreachableError,
    )

    try:
        result = context.execute(entry, config)
    except KeyboardInterrupt:
        print("mizzen: interrupted", file=sys.stderr)
        return INTERRUPTED
    except JobFailed as error:
        # Who watched the job has shown its last lines already.
        shown = [line for line in str(error).split("\n") if context.verbose or not line.startswith("    ")]
        print("error: " + "\n".join(shown), file=sys.stderr)
        return FAILED
    except UnreachableError as error:
        _say_error(error, context.verbose)
        return UNREACHABLE
    except RefusedError as error:
        _say_error(error, context.verbose)
        return REFUSED
    except MizzenError as error:
        # Before anything runs, Mizzen's own objections are about what it was asked to do; raised from within the user's function
        # they are that function's failure, and its traceback says where.
        if _is_users(error, entry):
            _say_traceback(error, context.verbose)
            return FAILED
        _say_error(error, context.verbose)
        return USAGE if isinstance(error, (ConfigError, InstallationError, NotFoundError)) else FAILED
    except Exception as error:
        _say_traceback(error, context.verbose)
        return FAILED
    return _status_of(result)


def _status_of(result: object) -> int:
    """The exit status that a run's result says: only one that tells of a failure does."""
    succeeded = getattr(result, "succeeded", None)
    if callable(succeeded):
        succeeded = None
    return FAILED if succeeded is False else SUCCEEDED


def _is_users(error: BaseException, entry: Entrypoint) -> bool:
    """Whether an exception passed through the user's own function."""
    code = getattr(entry.fn, "__code__", None)
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code is code:
            return True
        trace = trace.tb_next
    return False


def _say_error(error: BaseException, verbose: bool = False) -> None:
    friendly = getattr(error, "user_friendly_message", None)
    message = friendly() if callable(friendly) else str(error)
    print(f"error: {message}", file=sys.stderr)
    if verbose:
        import traceback

        traceback.print_exception(type(error), error, error.__traceback__)


def _say_traceback(error: BaseException, verbose: bool) -> None:
    """The traceback of the user's code; ``--verbose`` shows Mizzen's frames as well."""
    import traceback

    trace = error.__traceback__
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
    while not verbose and trace is not None and trace.tb_frame.f_code.co_filename.startswith(folder):
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace or error.__traceback__)


def run_registered(argv: Sequence[str], *, load: bool) -> int:
    """Runs ``NAMESPACE… NAME [flags] [overrides]`` of the registered entry points; returns the exit status."""
    from mizzen.cli.errors import suggestion

    problems = _load_offered() if load else []
    tree: dict[str, Any] = list_entrypoints()
    words = list(argv)
    taken: list[str] = []
    found: Any = tree
    while isinstance(found, dict) and words and not words[0].startswith("-"):
        word = words[0]
        inner = found.get(word, found.get(word.replace("-", "_")))
        if inner is None:
            print(
                f"error: there is no command `{' '.join([*taken, word])}`{suggestion(word, found, otherwise='there are')}",
                file=sys.stderr,
            )
            for problem in problems:
                print(f"note: {problem}", file=sys.stderr)
            return USAGE
        found = inner
        taken.append(words.pop(0))
    if isinstance(found, dict) and isinstance(found.get(""), Entrypoint):
        found = found[""]
    if isinstance(found, Entrypoint):
        return run_command(found, words, None, " ".join(taken))
    from mizzen.cli.help import list_text

    asked = bool(words) and words[0] in ("--help", "-h")
    stream = sys.stdout if asked else sys.stderr
    print(f"usage: {' '.join([*taken, 'COMMAND'])} [flags] [argument=value …]\n\ncommands\n{list_text(found)}", file=stream)
    for problem in problems:
        print(f"note: {problem}", file=sys.stderr)
    return SUCCEEDED if asked else USAGE


def _load_offered() -> list[str]:
    """Loads the modules that installed packages offer as entry points; returns what went wrong."""
    from importlib.metadata import entry_points

    problems: list[str] = []
    for group in ("mizzen.cli", "nemo_run.cli"):
        for offered in entry_points(group=group):
            try:
                offered.load()
            except Exception as error:
                problems.append(f"`{offered.name}` ({offered.value}) can't be loaded: {type(error).__name__}: {error}")
    return problems
