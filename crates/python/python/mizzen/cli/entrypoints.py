"""Entry points: functions of the user's that have a command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar, cast, overload

from mizzen.cli.errors import ArgumentValueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen.cli.context import RunContext

__all__ = ["CommandDefaults", "Entrypoint", "create_cli", "entrypoint", "list_entrypoints"]

_Function = TypeVar("_Function", bound=Callable[..., object])


class CommandDefaults(TypedDict, total=False):
    """What flags are without being given: the ``cmd_defaults`` of ``run.cli.main``."""

    name: str
    direct: bool
    dryrun: bool
    detach: bool
    skip_confirmation: bool
    tail_logs: bool
    repl: bool
    verbose: bool
    interpolate: bool


class Entrypoint:
    """A function with a command line.

    Attributes:
        fn: the function.
        name: what it is called by; by default the function's name, with ``-`` for ``_`` accepted too.
        namespace: what stands before the name, with dots; empty for none.
        help: a text for the help in place of the docstring.
        skip_confirmation: whether it never asks before running.
        enable_executor: whether it runs on an executor at all.
        default_factory: what ``--factory`` is when it is not given: a function or a factory's name.
        default_executor: what ``executor=`` is when it is not given: an executor, a ``Config`` of one, or a name.
        default_plugins: what ``plugins=`` is when it is not given.
        type: ``"task"``: the function is run as one job. ``"experiment"``: it is called here with a ``RunContext``, makes an
            experiment and hands it to ``ctx.launch``.
        run_ctx_cls: the class of the context.
    """

    def __init__(
        self,
        fn: Callable[..., object],
        *,
        name: str | None = None,
        namespace: str | None = None,
        help: str | None = None,
        skip_confirmation: bool = False,
        enable_executor: bool = True,
        default_factory: Callable[..., object] | str | None = None,
        default_executor: object = None,
        default_plugins: object = None,
        type: str = "task",
        run_ctx_cls: type[RunContext] | None = None,
    ) -> None:
        if type not in ("task", "experiment"):
            raise ArgumentValueError(f"an entry point's type is `task` or `experiment`, not `{type}`")
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", "entrypoint"))
        self.namespace = namespace or ""
        self.help = help
        self.skip_confirmation = skip_confirmation
        self.enable_executor = enable_executor
        self.default_factory = default_factory
        self.default_executor = default_executor
        self.default_plugins = default_plugins
        self.type = type
        self._run_ctx_cls = run_ctx_cls

    @property
    def path(self) -> str:
        """Namespace and name, with dots."""
        return f"{self.namespace}.{self.name}" if self.namespace else self.name

    @property
    def run_ctx_cls(self) -> type[RunContext]:
        """The class of the context."""
        if self._run_ctx_cls is None:
            from mizzen.cli.context import RunContext

            return RunContext
        return self._run_ctx_cls

    def parse_partial(self, *args: str) -> Any:
        """A ``Partial`` of the function with overrides, as the command line would make it."""
        from mizzen.cli.arguments import split

        line = split(args)
        options: dict[str, Any] = dict(line.options)
        context = self.run_ctx_cls(**options)
        return context.configure(self, line.tokens)

    def main(self, argv: Sequence[str] | None = None, cmd_defaults: CommandDefaults | None = None) -> None:
        """Runs the command line of the process, or another. See ``run.cli.main``."""
        from mizzen.cli.command import main

        main(self, cmd_defaults=cmd_defaults, argv=argv)

    def __call__(self, *args: object, **kwargs: object) -> object:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<entrypoint {self.path}>"


_entrypoints: dict[str, Entrypoint] = {}


@overload
def entrypoint(
    fn: _Function,
    *,
    name: str | None = None,
    namespace: str | None = None,
    help: str | None = None,
    skip_confirmation: bool = False,
    enable_executor: bool = True,
    default_factory: Callable[..., object] | str | None = None,
    default_executor: object = None,
    default_plugins: object = None,
    entrypoint_cls: type[Entrypoint] = Entrypoint,
    type: str = "task",
    run_ctx_cls: type[RunContext] | None = None,
) -> _Function: ...
@overload
def entrypoint(
    fn: None = None,
    *,
    name: str | None = None,
    namespace: str | None = None,
    help: str | None = None,
    skip_confirmation: bool = False,
    enable_executor: bool = True,
    default_factory: Callable[..., object] | str | None = None,
    default_executor: object = None,
    default_plugins: object = None,
    entrypoint_cls: type[Entrypoint] = Entrypoint,
    type: str = "task",
    run_ctx_cls: type[RunContext] | None = None,
) -> Callable[[_Function], _Function]: ...
def entrypoint(
    fn: _Function | None = None,
    *,
    name: str | None = None,
    namespace: str | None = None,
    help: str | None = None,
    skip_confirmation: bool = False,
    enable_executor: bool = True,
    default_factory: Callable[..., object] | str | None = None,
    default_executor: object = None,
    default_plugins: object = None,
    entrypoint_cls: type[Entrypoint] = Entrypoint,
    type: str = "task",
    run_ctx_cls: type[RunContext] | None = None,
) -> _Function | Callable[[_Function], _Function]:
    """Gives a function a command line: ``@run.cli.entrypoint`` or ``@run.cli.entrypoint(name=…)``.

    Args:
        fn: the function.
        entrypoint_cls: a subclass of :class:`Entrypoint`.

    The other arguments are the attributes of :class:`Entrypoint`.

    Returns:
        the function itself, with the entry point as its attribute ``cli_entrypoint``.
    """

    def register(function: _Function) -> _Function:
        made = entrypoint_cls(
            function,
            name=name,
            namespace=namespace,
            help=help,
            skip_confirmation=skip_confirmation,
            enable_executor=enable_executor,
            default_factory=default_factory,
            default_executor=default_executor,
            default_plugins=default_plugins,
            type=type,
            run_ctx_cls=run_ctx_cls,
        )
        cast("Any", function).cli_entrypoint = made
        _entrypoints[made.path] = made
        return function

    return register if fn is None else register(fn)


def entrypoint_of(function: Any) -> Entrypoint:
    """The entry point of a function; a plain one if it was not decorated."""
    if isinstance(function, Entrypoint):
        return function
    found = getattr(function, "cli_entrypoint", None)
    if isinstance(found, Entrypoint):
        return found
    if not callable(function):
        raise ArgumentValueError(f"{function!r} is no function")
    return Entrypoint(function)


def list_entrypoints(namespace: str | None = None) -> dict[str, Any]:
    """The registered entry points as a tree: name to :class:`Entrypoint`, namespace to such a tree.

    Args:
        namespace: list only what is under it, with dots.
    """
    tree: dict[str, Any] = {}
    for path, found in _entrypoints.items():
        if namespace:
            if not path.startswith(f"{namespace}."):
                continue
            path = path.removeprefix(f"{namespace}.")
        *groups, last = path.split(".") if found.namespace else [path]
        place = tree
        for group in groups:
            inner = place.setdefault(group, {})
            if not isinstance(inner, dict):  # an entry point of that name: both stay reachable
                inner = place[group] = {"": inner}
            place = inner
        place[last] = found
    return tree


def create_cli(load: bool = True) -> Callable[[Sequence[str] | None], int]:
    """A command line of all registered entry points: ``NAMESPACE… NAME [flags] [overrides]``.

    Args:
        load: also load those that installed packages offer, under the entry-point groups ``mizzen.cli`` and ``nemo_run.cli``. One
            that can't be loaded is said on standard error, and ends the command with status 2 if it is the one that is asked for.

    Returns:
        a function of the arguments (by default the process's) that runs the command and returns its exit status.
    """

    def command(argv: Sequence[str] | None = None) -> int:
        import sys

        from mizzen.cli.command import run_registered

        return run_registered(list(sys.argv[1:] if argv is None else argv), load=load)

    return command
