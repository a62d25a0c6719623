"""What can go wrong, as exceptions.

Every message says what happened, where, and what to do. All of them are :class:`MizzenError`; those that replace a built-in
exception of the same meaning inherit from it as well, so that ``except ValueError`` and the like go on to work.
"""

from __future__ import annotations

__all__ = [
    "ArgumentError",
    "ConfigError",
    "ConfigTypeError",
    "ExperimentError",
    "InstallationError",
    "JobFailed",
    "MizzenError",
    "NotFoundError",
    "RefusedError",
    "ResultError",
    "SerializationError",
    "SetValueError",
    "StoreError",
    "UnreachableError",
]


class MizzenError(Exception):
    """Anything that Mizzen raises."""


class ConfigError(MizzenError, ValueError):
    """A configuration is wrong.

    Attributes:
        path: where, such as ``.optimizer.schedule[2]``; empty where the message says it all.
    """

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(message)
        self.path = path


class ConfigTypeError(ConfigError, TypeError):
    """A value has another type than its place wants."""


class SetValueError(ConfigError):
    """A path leads nowhere, or to a place that can't be set."""


class SerializationError(ConfigError):
    """A value can't be written into a document, or a document can't be read."""


class ArgumentError(ConfigError):
    """An argument on a command line is wrong.

    Attributes:
        argument: the argument as it was typed.
    """

    def __init__(self, message: str, *, argument: str = "", path: str = "") -> None:
        super().__init__(message, path=path)
        self.argument = argument


class NotFoundError(MizzenError, LookupError):
    """There is no experiment, job or executor of that name."""


class StoreError(MizzenError):
    """The database of experiments can't be read or written."""


class InstallationError(MizzenError):
    """A part of Mizzen is missing: its executable, or its extension module."""


class ExperimentError(MizzenError, RuntimeError):
    """An experiment can't do what was asked of it in the state that it is in."""


class UnreachableError(MizzenError, ConnectionError):
    """The place where jobs run could not be reached. Says nothing about the jobs."""


class RefusedError(MizzenError):
    """The place where jobs run refused a job."""


class ResultError(MizzenError):
    """A job has no result that could be had: it has not ended, returned something that can't be written down, or was no
    Python callable."""


class JobFailed(MizzenError, RuntimeError):
    """A job failed for good, or was cancelled.

    Attributes:
        experiment_id: the experiment.
        title: its title.
        job: the job's name.
        state: ``"FAILED"``, ``"CANCELLED"`` or ``"UNKNOWN"``.
        cause: ``"app-failure"``, ``"out-of-memory"``, ``"hung"``, ``"timeout"``, ``"preempted"``, ``"node-failure"``, ``"launch-failure"``,
            ``"upstream-failed"``, ``"cancelled"``, ``"lost"`` or ``None``.
        attempt: the attempt that failed, counted from 1; ``None`` if none was made.
        rank: the rank that failed first, of a launcher's own processes the one that did; ``None`` if no rank did.
        host: the machine that it ran on, where ranks ran on several.
        kind: what kind of failure it was, such as ``"exception"``, ``"gpu-out-of-memory"``, ``"segmentation-fault"`` or ``"disk-full"``;
            ``None`` if it was not recognised.
        reason: the reason in one line, such as ``"CUDA out of memory"``; ``None`` if it is not known.
        hint: what may be done about it.
        exit_code: its exit status, 128 + number for a signal; ``None`` if there is none.
        lines: the last lines of its log.
        remote_traceback: the traceback in the job, if it was a Python callable that raised.
        failed: the names of all jobs that failed.
    """

    def __init__(
        self,
        message: str,
        *,
        experiment_id: str,
        title: str,
        job: str,
        state: str,
        cause: str | None = None,
        attempt: int | None = None,
        rank: int | None = None,
        host: str | None = None,
        kind: str | None = None,
        reason: str | None = None,
        hint: str | None = None,
        exit_code: int | None = None,
        lines: tuple[str, ...] = (),
        remote_traceback: str | None = None,
        failed: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.experiment_id = experiment_id
        self.title = title
        self.job = job
        self.state = state
        self.cause = cause
        self.attempt = attempt
        self.rank = rank
        self.host = host
        self.kind = kind
        self.reason = reason
        self.hint = hint
        self.exit_code = exit_code
        self.lines = lines
        self.remote_traceback = remote_traceback
        self.failed = failed or (job,)

    def __reduce__(self) -> tuple[object, ...]:
        # Keyword-only arguments don't survive pickling by themselves, and worker processes pickle what they raise.
        return (_unpickle, (self.args[0], dict(self.__dict__)))


def _unpickle(message: str, fields: dict[str, object]) -> JobFailed:
    failed = JobFailed.__new__(JobFailed)
    Exception.__init__(failed, message)
    failed.__dict__.update(fields)
    return failed
