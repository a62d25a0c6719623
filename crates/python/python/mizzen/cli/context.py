"""What a command line says about the run itself: flags, executor, plugins; and the running."""

from __future__ import annotations

import copy
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from mizzen.cli.arguments import Assignment, Positional, render_path
from mizzen.cli.errors import ArgumentValueError, UndefinedVariableError, suggestion
from mizzen.cli.signature import Signature, namespace_of, signature_of
from mizzen.cli.values import Scope, Value, convert

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen.cli.entrypoints import Entrypoint
    from mizzen.executor import Executor
    from mizzen.plugin import Plugin

__all__ = ["RunContext", "context_parameter"]

_TEXTS = ("name", "factory", "yaml", "to_yaml", "to_toml", "to_json", "workspace")
_SWITCHES = ("direct", "dryrun", "detach", "skip_confirmation", "tail_logs", "repl", "verbose", "interpolate")


class RunContext:
    """How something is run, as the flags, ``executor=`` and ``plugins=`` of a command line say.

    Entry points of type ``"experiment"`` get it as their parameter ``ctx`` (or whichever is annotated ``RunContext``), add tasks to an
    experiment with ``ctx.executor`` and ``ctx.plugins``, and hand it to :meth:`launch`.

    Attributes:
        name: the name of the job or experiment; empty: that of the function.
        direct: run in this process, without an executor.
        dryrun: show what would be run.
        factory: the factory that the configuration begins with; empty for none.
        repl: open an interpreter instead of running.
        detach: return once the jobs are on their way.
        skip_confirmation: don't ask.
        tail_logs: show the output of jobs as it comes.
        yaml: a file with arguments; empty for none.
        to_yaml, to_toml, to_json: where to write the configuration instead of running; empty for nowhere.
        executor: the executor; ``None`` if none was named.
        plugins: the plugins.
        verbose: say more.
        interpolate: replace ``${…}`` in values.
        workspace: a Python file that is executed first; empty for none.
    """

    def __init__(
        self,
        name: str = "",
        direct: bool = False,
        dryrun: bool = False,
        factory: str | None = None,
        load: str | None = None,
        repl: bool = False,
        detach: bool = False,
        skip_confirmation: bool = False,
        tail_logs: bool | None = None,
        yaml: str | None = None,
        to_yaml: str | None = None,
        to_toml: str | None = None,
        to_json: str | None = None,
        executor: Executor | None = None,
        plugins: list[Plugin] | None = None,
        verbose: bool = False,
        interpolate: bool = False,
        workspace: str | None = None,
    ) -> None:
        if load is not None:
            raise ArgumentValueError("nothing can be loaded by `load`\nhint: `yaml` takes a configuration from a file")
        self.name = name
        self.direct = direct
        self.dryrun = dryrun
        self.factory = factory
        self.load = None
        self.repl = repl
        self.detach = detach
        self.skip_confirmation = skip_confirmation
        self.tail_logs = bool(tail_logs)
        self._tail_logs_given = tail_logs is not None
        self.yaml = yaml
        self.to_yaml = to_yaml
        self.to_toml = to_toml
        self.to_json = to_json
        self.executor: Any = executor
        self.plugins: list[Any] = list(plugins or [])
        self.verbose = verbose
        self.interpolate = interpolate
        self.workspace = workspace

    # How a command line becomes a configuration.

    def configure(self, entry: Entrypoint, tokens: Sequence[Assignment | Positional]) -> Any:
        """The configuration of an entry point's function; what is said about the run is kept here.

        Args:
            entry: the entry point.
            tokens: overrides and positional values, in the user's order.

        Returns:
            a ``Partial``.

        Raises:
            ArgumentError: something is wrong with them.
        """
        from mizzen.cli import parsing

        signature = signature_of(entry.fn)
        namespace = namespace_of(entry.fn)
        skip = context_parameter(entry, signature)
        self._begin(entry)
        document = self._read_yaml(entry, signature, namespace)
        given = [token for token in tokens if not self._take(token, entry, signature, namespace)]
        config = self._base(entry, namespace)
        if document is not None:
            from mizzen.cli.files import apply_document

            apply_document(config, document, Scope(namespace=namespace, text=f"--yaml {self.yaml}"))
        transform = None
        if self.interpolate:
            from mizzen.cli.files import interpolate

            def transform(text: str, argument: str) -> str:
                return interpolate(text, config, argument)

        parsing.configure(config, given, namespace, skip=skip, transform=transform)
        return config

    def _begin(self, entry: Entrypoint) -> None:
        if entry.type == "task" and not self._tail_logs_given:
            self.tail_logs = True
        self.skip_confirmation = self.skip_confirmation or entry.skip_confirmation
        if self.executor is None and entry.default_executor is not None and entry.enable_executor:
            default = entry.default_executor
            self.executor = self.parse_executor(default, entry) if isinstance(default, str) else copy.deepcopy(default)
        if not self.plugins and entry.default_plugins is not None:
            given = entry.default_plugins
            plugins = list(given) if isinstance(given, (list, tuple)) else [given]
            self.plugins = [copy.deepcopy(plugin) for plugin in plugins]

    def _base(self, entry: Entrypoint, namespace: Mapping[str, object]) -> Any:
        """What the overrides are applied to: what a factory gives, or the bare function."""
        from mizzen.cli.assign import is_buildable
        from mizzen.cli.factories import factories_for
        from mizzen.cli.objects import call_factory, named_factory
        from mizzen.config import Partial

        scope = Scope(entry.fn, "", "--factory", f"--factory {self.factory}", namespace)
        made: Any = None
        if self.factory and self.factory.startswith("@"):
            return self._from_file(self.factory, entry, namespace)
        if self.factory:
            made = named_factory(self.factory, entry.fn, scope)
        elif isinstance(entry.default_factory, str):
            made = named_factory(entry.default_factory, entry.fn, scope)
        elif entry.default_factory is not None:
            made = call_factory(entry.default_factory, [], scope, now=True)
        else:
            default = next((item for item in factories_for(None, entry.fn) if item.default), None)
            if default is not None:
                made = call_factory(default.function, [], scope, name=default.name, now=True)
        if made is None:
            return Partial(entry.fn)
        if not is_buildable(made):
            raise ArgumentValueError(
                f"a factory of `{entry.name}` gives a `Partial` of it, not {type(made).__name__}", scope.text
            )
        return Partial(made.clone() if hasattr(made, "clone") else made)

    def _from_file(self, text: str, entry: Entrypoint, namespace: Mapping[str, object]) -> Any:
        from mizzen.cli.files import apply_document, load
        from mizzen.config import Partial

        config: Any = Partial(entry.fn)
        node = load(text[1:], f"--factory {text}")
        apply_document(config, _arguments(node, text[1:], entry), Scope(namespace=namespace, text=f"--factory {text}"))
        return config

    def _read_yaml(self, entry: Entrypoint, signature: Signature, namespace: Mapping[str, object]) -> dict[str, object] | None:
        if not self.yaml:
            return None
        from mizzen.cli.files import load

        transform = None
        if self.interpolate:
            from mizzen.cli.files import interpolate
            from mizzen.config import Partial

            argument = f"--yaml {self.yaml}"

            def transform(text: str) -> str:
                return interpolate(text, Partial(entry.fn), argument)

        node = load(self.yaml, f"--yaml {self.yaml}", transform)
        document = _arguments(node, self.yaml, entry)
        if "run" in document and "run" not in signature.parameters:
            block = document.pop("run")
            if not isinstance(block, dict):
                raise ArgumentValueError(f"`run` in {self.yaml} is a table, such as `run: {{executor: gpu}}`")
            for key, value in block.items():
                written = value if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else _as_text(value)
                token = Assignment(f"run.{key}={written}", ("run", *str(key).split(".")), "=", written)
                self._take(token, entry, signature, namespace)
        if "_factory_" in document:
            factory = document.pop("_factory_")
            self.factory = self.factory or str(factory)
        return document

    def _take(
        self, token: Assignment | Positional, entry: Entrypoint, signature: Signature, namespace: Mapping[str, object]
    ) -> bool:
        """Keeps what a token says about the run; whether it did. A parameter of the function's own has precedence."""
        if isinstance(token, Positional):
            return False
        first, rest = token.path[0], token.path[1:]
        if first == "run" and rest and "run" not in signature.parameters:
            field, rest = rest[0], rest[1:]
        elif first in ("executor", "plugins") and entry.enable_executor and first not in signature.parameters:
            field = first
        else:
            return False
        if field == "executor":
            if not entry.enable_executor:
                raise ArgumentValueError(f"`{entry.name}` runs without an executor", token.text)
            self._take_executor(token, rest, entry, namespace)
        elif field == "plugins":
            self._take_plugins(token, rest, entry, namespace)
        else:
            self._take_field(token, str(field), rest)
        return True

    def _take_field(self, token: Assignment, field: str, rest: tuple[str | int, ...]) -> None:
        if field not in (*_TEXTS, *_SWITCHES) or rest or token.operator != "=":
            hint = suggestion(
                field, [f"run.{name}" for name in ("executor", "plugins", *_TEXTS, *_SWITCHES)], otherwise="there are"
            )
            nearest = suggestion(field, ("executor", "plugins", *_TEXTS, *_SWITCHES)) if "did you mean" not in hint else hint
            shown = render_path(token.path)
            raise UndefinedVariableError(f"there is no `{shown}`{nearest if 'did you mean' in nearest else hint}", token.text)
        annotation: object = bool if field in _SWITCHES else str
        value = convert(token.value, annotation, Scope(None, field, f"run.{field}", token.text))
        setattr(self, field, value)
        if field == "tail_logs":
            self._tail_logs_given = True

    def _take_executor(
        self, token: Assignment, rest: tuple[str | int, ...], entry: Entrypoint, namespace: Mapping[str, object]
    ) -> None:
        if not rest:
            if token.operator != "=":
                raise ArgumentValueError(
                    f"`{token.text}`: an executor is set by `=`, its settings by `executor.NAME{token.operator}…`", token.text
                )
            self.executor = self.parse_executor(token.value, entry, token.text, namespace)
            return
        if self.executor is None:
            raise ArgumentValueError(
                f"`{token.text}`: no executor was named yet\nhint: put `executor=NAME` before it", token.text
            )
        from mizzen.cli.assign import assign_into

        assign_into(self.executor, rest, token, Scope(None, "", "executor", token.text, namespace))

    def parse_executor(
        self, value: str, entry: Entrypoint, argument: str = "", namespace: Mapping[str, object] | None = None
    ) -> Any:
        """The executor that ``NAME`` or ``NAME(nodes=2)`` stands for.

        It is looked for among the registered factories of executors, the executors and functions annotated to return one that are
        visible where the entry point is defined, the classes of executors, ``executors.toml`` and ``executors.py`` in Mizzen's home,
        and the kinds of executors (``local``).

        Raises:
            ArgumentError: there is none of that name, or its arguments are wrong.
        """
        from mizzen.cli.executors import executor_of

        names = namespace_of(entry.fn) if namespace is None else namespace
        return executor_of(value, Scope(entry.fn, "executor", "executor", argument or f"executor={value}", names))

    def _take_plugins(
        self, token: Assignment, rest: tuple[str | int, ...], entry: Entrypoint, namespace: Mapping[str, object]
    ) -> None:
        from mizzen.cli.assign import assign_into
        from mizzen.cli.objects import collection_from_factory
        from mizzen.plugin import Plugin

        scope = Scope(entry.fn, "plugins", "plugins", token.text, namespace)
        if not rest:
            value = Value(token.value)
            made: Any = None
            if value.tree[0] in ("name", "call"):
                made = collection_from_factory(value, list[Plugin], scope)
            if made is None:
                made = convert(value, list[Plugin] if value.tree[0] == "list" else Plugin, scope)
            plugins = list(made) if isinstance(made, (list, tuple)) else [made]
            if token.operator == "=":
                self.plugins = plugins
            elif token.operator == "+=":
                self.plugins = [*self.plugins, *plugins]
            else:
                raise ArgumentValueError(f"`{token.text}`: plugins are set by `=` and added by `+=`", token.text)
            return
        if isinstance(rest[0], str):
            if len(self.plugins) != 1:
                raise ArgumentValueError(
                    f"`{token.text}`: there are {len(self.plugins)} plugins\nhint: say which: `plugins[0].{rest[0]}{token.operator}…`",
                    token.text,
                )
            rest = (0, *rest)
        assign_into(self.plugins, rest, token, scope)

    # What is done with the configuration.

    def build_run(self) -> tuple[Any, list[Any]]:
        """The executor and the plugins, built if they were configurations."""
        from mizzen.config import build

        executor = build(self.executor) if self.executor is not None else None
        return executor, [build(plugin) for plugin in self.plugins]

    def launch(self, experiment: Any, sequential: bool = False) -> Any:
        """Runs an experiment as the command line says: shows it (``--dryrun``), detaches, tails its logs, runs it directly.

        Args:
            experiment: the ``Experiment``, with its tasks added.
            sequential: one task after the other.

        Raises:
            JobFailed: a job failed.
        """
        if self.dryrun:
            return experiment.dryrun()
        return experiment.run(sequential=sequential, detach=self.detach, tail_logs=self.tail_logs, direct=self.direct)

    def execute(self, entry: Entrypoint, config: Any) -> object:
        """Runs the function: as one job, or here with this context if it is an experiment."""
        return self.execute_experiment(entry, config) if entry.type == "experiment" else self.execute_task(entry, config)

    def execute_task(self, entry: Entrypoint, config: Any) -> object:
        """Runs a task as ``run.run`` does; returns what that returns.

        Raises:
            JobFailed: the job failed.
        """
        from mizzen.experiment import run

        executor, plugins = self.build_run()
        return run(
            config,
            executor=executor,
            plugins=plugins or None,
            name=self.name,
            dryrun=self.dryrun,
            direct=self.direct or not entry.enable_executor,
            detach=self.detach,
            tail_logs=self.tail_logs,
        )

    def execute_experiment(self, entry: Entrypoint, config: Any) -> object:
        """Calls the function with this context. Arguments annotated ``Config[…]`` or ``Partial[…]`` are handed over as they are, all
        others are built."""
        from mizzen.config import build

        signature = signature_of(entry.fn)
        self.executor, self.plugins = self.build_run()
        skip = context_parameter(entry, signature)
        arguments: dict[str, Any] = {
            name: value if _wants_configuration(signature, name) else build(value) for name, value in config.__arguments__.items()
        }
        if skip:
            arguments[skip[0]] = self
        positional = [build(value) for value in config.__positional__]
        return entry.fn(*positional, **arguments)


def _as_text(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_as_text(item) for item in value)}]"
    return str(value)


def _arguments(node: object, where: str, entry: Entrypoint) -> dict[str, object]:
    """The arguments in a document, which may be a written configuration of the function or a plain table."""
    if not isinstance(node, dict):
        raise ArgumentValueError(f"{where} holds no table of arguments", where)
    document: dict[str, object] = dict(node)
    target = document.pop("_target_", None)
    document.pop("_partial_", None)
    if target is not None:
        wanted = str(getattr(entry.fn, "__qualname__", entry.name))
        if target != wanted and not str(target).endswith(f".{wanted}"):
            raise ArgumentValueError(
                f"{where} configures `{target}`, not `{wanted}`\nhint: `@FILE:section` takes a part of a file", where
            )
    if "_ref_" in str(document):
        # One object in several places: only a decoder that sees all of them keeps it one.
        from mizzen.config.values import decode

        decoded: Any = decode({"_target_": f"builtins.{entry.name}", **document})
        return dict(decoded.__arguments__)
    return document


def context_parameter(entry: Entrypoint, signature: Signature) -> tuple[str, ...]:
    """The name of the parameter that gets the context; empty for tasks, and if there is none."""
    if entry.type != "experiment":
        return ()
    for name, parameter in signature.parameters.items():
        annotation = parameter.annotation
        if isinstance(annotation, str) and annotation.rpartition(".")[2].strip("'\" ") == "RunContext":
            return (name,)
        for member in [annotation, *typing.get_args(annotation)]:
            if isinstance(member, type) and issubclass(member, RunContext):
                return (name,)
    return ("ctx",) if "ctx" in signature.parameters else ()


def _wants_configuration(signature: Signature, name: str) -> bool:
    from mizzen.cli.factories import is_buildable_type

    def inside(annotation: object) -> bool:
        if is_buildable_type(annotation) or is_buildable_type(typing.get_origin(annotation)):
            return True
        return any(inside(item) for item in typing.get_args(annotation))

    parameter = signature.find(name)
    return parameter is not None and inside(parameter.annotation)
