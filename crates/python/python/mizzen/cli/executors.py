"""Executors by name: ``executor=gpu``, ``executor=gpu(nodes=2)``.

```text
name ──→ registered factories ──→ visible functions, executors, classes ──→ executors.toml, executors.py ──→ kinds (`local`)
         └ objects.py ──────────────────────────────────────────────┘       └ here ───────────────────────────────────────┘
```

The user's files are read, and ``executors.py`` is run, only when nothing before them has the name.
"""

from __future__ import annotations

import importlib
from typing import Any

from mizzen.cli.errors import ArgumentValueError, UndefinedVariableError, suggestion
from mizzen.cli.factories import factories_for
from mizzen.cli.written import Mismatch, Scope, Tree, Value
from mizzen.errors import ConfigError, NotFoundError

__all__ = ["executor_by_name", "executor_of"]


def executor_of(text: str, scope: Scope) -> Any:
    """The executor that ``NAME`` or ``NAME(nodes=2)`` stands for: an ``Executor``, or a ``Config`` of one.

    Args:
        text: what stands behind ``executor=``.
        scope: the entry point and the names that are visible there.

    Raises:
        ArgumentError: there is none of that name, or its arguments are wrong.
    """
    from mizzen.cli import objects
    from mizzen.executor import Executor

    value = Value(text)
    tree = value.tree
    try:
        if tree[0] in ("name", "call"):
            return objects.read_object(value, Executor, Executor, scope)
        if tree[0] == "text" and tree[1]:  # a name such as `gpu-large`
            return executor_by_name(str(tree[1]), [], scope)
    except Mismatch as error:
        raise UndefinedVariableError(f"`{scope.text}`: {error.reason}", scope.text) from error.__cause__
    raise ArgumentValueError(f"`{scope.text}`: an executor is named: `executor=NAME` or `executor=NAME(nodes=2)`", scope.text)


def executor_by_name(name: str, given: list[tuple[str | None, Tree]], scope: Scope) -> Any:
    """The executor of a name that is neither registered nor visible.

    Args:
        name: it.
        given: what stands in its brackets.
        scope: where it is to go.

    Raises:
        Mismatch: there is none; the reason names the nearest.
        ArgumentError: its arguments are wrong.
    """
    import mizzen
    from mizzen.cli import objects
    from mizzen.executor import Executor, import_executor

    kind = getattr(mizzen, name, None) if name in mizzen.__all__ else None
    if isinstance(kind, type) and issubclass(kind, Executor):
        return objects.call(kind, given, scope)
    try:
        found: Any = import_executor(name) if not given else import_executor(name, call=False)
        if given:
            function = found if callable(found) and not isinstance(found, Executor) else type(found)
            _, typed = objects.type_arguments(function, given, scope)
            settings: dict[str, Any] = typed
            found = import_executor(name, **settings)
        return found
    except NotFoundError as error:
        kinds = _kinds()
        if name in kinds:
            return objects.call(kinds[name], given, scope)
        message, _, theirs = str(error).partition("\nhint: ")
        ours = suggestion(name, [*(item.name for item in factories_for(Executor, scope.function, scope.argument)), *kinds])
        hint = f"\nhint: {theirs}" if theirs and "did you mean" not in ours else ours
        raise Mismatch(f"{message}{hint}") from error
    except ConfigError as error:
        raise ArgumentValueError(f"`{scope.text}`: {error}", scope.text) from error


def _kinds() -> dict[str, Any]:
    from mizzen.executor import base

    return {name: getattr(importlib.import_module(module), cls) for name, (module, cls) in base.KINDS.items()}
