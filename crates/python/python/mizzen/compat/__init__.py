"""The opt-in alias ``nemo_run``: unmodified ``import nemo_run as run`` runs on Mizzen.

Three ways to opt in, the same in what follows:

- ``python -m mizzen.compat script.py ARG…`` starts a script (or ``-m MODULE``, ``-c CODE``) with the alias;
- ``PYTHONPATH=$(python -m mizzen.compat --path)`` gives it to everything that is started with that environment;
- ``mizzen.compat.install()`` gives it to the running process, as in a notebook; ``from mizzen.compat import nemo_run as run``
  does that and hands the module over.

.. code-block:: text

    import nemo_run.core.execution.base ──▶ finder ──▶ names: {"ExecutorMacros": "mizzen.executor", …} ──▶ Mizzen's objects

Nothing is installed for good, and nothing happens unless asked for. The names are Mizzen's own objects:
``nemo_run.Config is mizzen.Config``. What NeMo-Run has and Mizzen does not have yet can be imported, since many scripts import
every executor and use one; using it raises :class:`UnsupportedError` with what to use instead. Names and modules that are
neither are missing as any others are.
"""

from __future__ import annotations

from mizzen.errors import MizzenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    nemo_run: ModuleType

__all__ = ["AliasError", "UnsupportedError", "install", "nemo_run", "path", "uninstall"]


class AliasError(MizzenError, ImportError):
    """The alias can't be installed: the real ``nemo_run`` is in use already."""


class UnsupportedError(MizzenError, NotImplementedError):
    """NeMo-Run has it, and Mizzen does not have it yet. The message says what to use instead."""


def install() -> None:
    """Makes ``import nemo_run`` mean Mizzen in this process, and, by way of ``PYTHONPATH``, in the processes and jobs that it starts.

    Calling it twice does no harm. A ``nemo_run`` that is installed but not imported stays where it is, unused.

    Raises:
        AliasError: the real ``nemo_run`` is imported already; its objects and Mizzen's can't be mixed.
    """
    from mizzen.compat import finder

    finder.install()


def uninstall() -> None:
    """Takes the alias back: what was imported stays usable, new imports of ``nemo_run`` find what is installed."""
    from mizzen.compat import finder

    finder.uninstall()


def path() -> str:
    """The folder that gives the alias to whoever has it on ``PYTHONPATH``.

    Returns:
        An absolute path.
    """
    from pathlib import Path

    return str(Path(__file__).resolve().parent / "path")


def __getattr__(name: str) -> object:
    if name == "nemo_run":
        from importlib import import_module

        install()
        return import_module("nemo_run")
    raise AttributeError(f"module 'mizzen.compat' has no attribute '{name}'")
