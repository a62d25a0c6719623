"""What users hand in: tasks, executors, plugins, log levels, in any of their forms."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import TYPE_CHECKING, Any

from mizzen.config import Buildable, Partial, Script, build
from mizzen.errors import ConfigError, ConfigTypeError
from mizzen.executor.base import Executor

if TYPE_CHECKING:
    from mizzen.plugin import Plugin

__all__ = ["INFO", "as_executor", "as_plugin", "as_task", "level_of", "ranks_of"]

#: The level up to which the attached client talks.
INFO = 20
_LEVELS = {"DEBUG": 10, "INFO": INFO, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


def level_of(given: str | int) -> int:
    """The number of a log level.

    Raises:
        ConfigError: there is no such level.
    """
    if isinstance(given, int) and not isinstance(given, bool):
        return given
    level = _LEVELS.get(given.upper()) if isinstance(given, str) else None
    if level is None:
        raise ConfigError(f"there is no log level {given!r}; there are: {', '.join(_LEVELS)}", path=".log_level")
    return level


def ranks_of(executor: Executor) -> int:
    """How many processes a job has on an executor; 1 where the executor does not say."""
    try:
        return executor.nnodes() * executor.nproc_per_node()
    except NotImplementedError:
        return 1


def as_executor(given: Any) -> Executor:
    """An executor, built if it is a Config.

    Raises:
        ConfigTypeError: it is none.
    """
    value = build(given) if isinstance(given, Buildable) else given
    if not isinstance(value, Executor):
        raise ConfigTypeError(f"{given!r} is no executor\nhint: such as `mizzen.LocalExecutor()`", path=".executor")
    return value


def as_plugin(given: Any) -> Plugin:
    """A plugin, built if it is a Config.

    Raises:
        ConfigTypeError: it is none.
    """
    from mizzen.plugin import Plugin

    value = build(given) if isinstance(given, Buildable) else given
    if not isinstance(value, Plugin) and not (callable(getattr(value, "setup", None)) and callable(getattr(value, "assign", None))):
        raise ConfigTypeError(f"{given!r} is no plugin\nhint: a plugin extends `mizzen.Plugin`", path=".plugins")
    return value  # type: ignore[no-any-return]


def as_task(given: Any) -> Any:
    """A copy of a task, or what makes a task of a callable.

    Raises:
        ConfigTypeError: it is none.
    """
    if type(given) is Script:
        # What deepcopy would do, in a fifth of the time.
        script = copy(given)
        script.args, script.env = list(given.args), dict(given.env)
        script.metadata = deepcopy(given.metadata) if given.metadata else {}
        return script
    if isinstance(given, (Script, Buildable)):
        return deepcopy(given)
    if any(kind.__module__.partition(".")[0] == "fiddle" for kind in type(given).__mro__) or callable(given):
        return Partial(given)
    raise ConfigTypeError(
        f"{given!r} is no task\nhint: a task is a `mizzen.Partial`, a `mizzen.Script` or a function without arguments", path=".task"
    )
