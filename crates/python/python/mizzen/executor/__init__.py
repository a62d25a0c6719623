"""Where and how jobs run.

.. code-block:: text

    Executor ── to_settings ──▶ {kind, settings} ── experiment document ──▶ the Rust executor of that kind
             ◀─ executor_from ─

An executor is a plain value: it compares, clones and serialises, and holds no connection. Adding a kind that the Rust side
has: a dataclass with the same fields in a file of its own here, and one line in ``base.KINDS``; a test compares the fields.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen.executor.base import Executor as Executor
    from mizzen.executor.base import LogSupportedExecutor as LogSupportedExecutor
    from mizzen.executor.base import executor_from as executor_from
    from mizzen.executor.docker import DockerExecutor as DockerExecutor
    from mizzen.executor.imports import import_executor as import_executor
    from mizzen.executor.local import LocalExecutor as LocalExecutor
    from mizzen.executor.macros import ExecutorMacros as ExecutorMacros
    from mizzen.executor.role import Mount as Mount
    from mizzen.executor.role import Resource as Resource
    from mizzen.executor.role import Role as Role
    from mizzen.executor.slurm import SlurmExecutor as SlurmExecutor
    from mizzen.executor.slurm import SlurmJobDetails as SlurmJobDetails

_HOMES = {
    "DockerExecutor": "docker",
    "Executor": "base",
    "ExecutorMacros": "macros",
    "LocalExecutor": "local",
    "LogSupportedExecutor": "base",
    "Mount": "role",
    "Resource": "role",
    "Role": "role",
    "SlurmExecutor": "slurm",
    "SlurmJobDetails": "slurm",
    "executor_from": "base",
    "import_executor": "imports",
}

__all__ = [
    "DockerExecutor",
    "Executor",
    "ExecutorMacros",
    "LocalExecutor",
    "LogSupportedExecutor",
    "Mount",
    "Resource",
    "Role",
    "SlurmExecutor",
    "SlurmJobDetails",
    "executor_from",
    "import_executor",
]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'mizzen.executor' has no attribute '{name}'")
    value: object = getattr(import_module(f"mizzen.executor.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
