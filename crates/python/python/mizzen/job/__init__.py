"""Running a Python callable as a job: what travels with it (:mod:`source`, :mod:`runner`), and what comes back (:mod:`results`)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen.job.results import ExceptionInfo as ExceptionInfo, Result as Result, read_result as read_result
    from mizzen.job.source import Captured as Captured, capture as capture

__all__ = ["Captured", "ExceptionInfo", "Result", "capture", "read_result", "run_in_process"]

_HOMES = {
    "Captured": "mizzen.job.source",
    "capture": "mizzen.job.source",
    "ExceptionInfo": "mizzen.job.results",
    "Result": "mizzen.job.results",
    "read_result": "mizzen.job.results",
}


def run_in_process(partial: object) -> object:
    """Builds and calls a ``Partial`` (or ``Config``, or a function) in this process, and returns what it returns.

    Nothing is written down, so that objects which can't travel work as well; a coroutine is waited for, as in a job.

    Args:
        partial: a ``Partial`` or a callable is called; a ``Config`` as a job is what it builds.

    Raises:
        whatever building or calling raises.
    """
    from mizzen.config import Config, build
    from mizzen.job.runner import call

    built = build(partial)
    return built if isinstance(partial, Config) else call(built)


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'mizzen.job' has no attribute '{name}'")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
