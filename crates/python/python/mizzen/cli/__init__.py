"""Command lines for the user's own functions.

.. code-block:: python

    @run.cli.entrypoint
    def train(model: Model, steps: int = 1000): ...

    if __name__ == "__main__":
        run.cli.main(train)

.. code-block:: console

    $ python train.py model=small model.hidden*=2 steps=10 executor=gpu --yes

``name=value`` sets an argument, typed by its annotation; ``+= -= *= /= |= &=`` change it; all in the order in which they are
written. ``mizzen run train.py:train …`` does the same for any function of any file. Nothing else is ever executed: no
workspace file unless ``--workspace FILE`` names it, no function because a text happens to have its name, and ``${…}`` is text
unless ``--interpolate`` says otherwise.

Exit status: 0 succeeded, 1 a job or the task failed, 2 the command line is wrong, 3 a place could not be reached, 4 it refused a
job, 130 interrupted.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen.cli.command import main as main
    from mizzen.cli.context import RunContext as RunContext
    from mizzen.cli.entrypoints import (
        CommandDefaults as CommandDefaults,
        Entrypoint as Entrypoint,
        create_cli as create_cli,
        entrypoint as entrypoint,
        list_entrypoints as list_entrypoints,
    )
    from mizzen.cli.errors import (
        ArgumentParsingError as ArgumentParsingError,
        ArgumentValueError as ArgumentValueError,
        CLIException as CLIException,
        CollectionParseError as CollectionParseError,
        DictParseError as DictParseError,
        ListParseError as ListParseError,
        LiteralParseError as LiteralParseError,
        OperationError as OperationError,
        ParseError as ParseError,
        TypeParsingError as TypeParsingError,
        UndefinedVariableError as UndefinedVariableError,
        UnknownTypeError as UnknownTypeError,
    )
    from mizzen.cli.factories import (
        factory as factory,
        list_factories as list_factories,
        resolve_factory as resolve_factory,
    )
    from mizzen.cli.parsing import (
        parse_cli_args as parse_cli_args,
        parse_config as parse_config,
        parse_factory as parse_factory,
        parse_partial as parse_partial,
        parse_value as parse_value,
    )
    from mizzen.cli.values import register_parser as register_parser, type_parser as type_parser
    from mizzen.cli.workspace import load_workspace as load_workspace

# The module of `main` is called `command`: a sub-module `main` would take the function's name away.
_HOMES = {
    "ArgumentParsingError": "errors",
    "ArgumentValueError": "errors",
    "CLIException": "errors",
    "CollectionParseError": "errors",
    "CommandDefaults": "entrypoints",
    "DictParseError": "errors",
    "Entrypoint": "entrypoints",
    "ListParseError": "errors",
    "LiteralParseError": "errors",
    "OperationError": "errors",
    "ParseError": "errors",
    "RunContext": "context",
    "TypeParsingError": "errors",
    "UndefinedVariableError": "errors",
    "UnknownTypeError": "errors",
    "create_cli": "entrypoints",
    "entrypoint": "entrypoints",
    "factory": "factories",
    "list_entrypoints": "entrypoints",
    "list_factories": "factories",
    "load_workspace": "workspace",
    "main": "command",
    "parse_cli_args": "parsing",
    "parse_config": "parsing",
    "parse_factory": "parsing",
    "parse_partial": "parsing",
    "parse_value": "parsing",
    "register_parser": "values",
    "resolve_factory": "factories",
    "type_parser": "values",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'mizzen.cli' has no attribute '{name}'")
    value: object = getattr(import_module(f"mizzen.cli.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
