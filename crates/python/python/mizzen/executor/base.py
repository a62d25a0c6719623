"""The executor that all others extend."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from mizzen.config import ConfigurableMixin
from mizzen.errors import ConfigError
from mizzen.launcher import Launcher, is_of_the_users, launcher_named
from mizzen.packager import Packager

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from typing_extensions import Self

    from mizzen.devspace import DevSpace
    from mizzen.executor.macros import ExecutorMacros

__all__ = ["KINDS", "Executor", "LogSupportedExecutor", "executor_from"]

#: The module and the class of every kind that experiment documents know.
KINDS: dict[str, tuple[str, str]] = {
    "local": ("mizzen.executor.local", "LocalExecutor"),
    "slurm": ("mizzen.executor.slurm", "SlurmExecutor"),
    "docker": ("mizzen.executor.docker", "DockerExecutor"),
}

#: What says which job an executor is for. It is no setting: two executors that differ in it alone are the same place.
_ASSIGNED = frozenset({"experiment_id", "job_dir", "experiment_dir"})


@dataclass(kw_only=True)
class Executor(ConfigurableMixin):
    """Where and how a job runs: a value that serialises, compares and clones; it holds no connection.

    Attributes:
        packager: how code reaches the job.
        launcher: a launcher, its name, or ``None`` for none.
        env_vars: variables for every job, under the task's own.
        retries: how often a failed job is tried again.
        experiment_id: the experiment that it was assigned to.
        job_dir: the job's folder, once assigned.
        experiment_dir: the experiment's folder, once assigned.
    """

    #: The kind's name in experiment documents; empty for executors that only Python knows.
    kind: ClassVar[str] = ""
    #: The members of a group may have executors of their own.
    mixed_groups: ClassVar[bool] = False

    packager: Packager = field(default_factory=Packager)
    launcher: Launcher | str | None = None
    env_vars: dict[str, str] = field(default_factory=dict)
    retries: int = 0
    experiment_id: str | None = None
    job_dir: str = ""
    experiment_dir: str = field(init=False, default="")

    def info(self) -> str:
        """One line for people."""
        kind = self.kind or type(self).__qualname__
        return f"{kind} executor: {self.nnodes()} node(s) with {self.nproc_per_node()} process(es) each"

    def clone(self) -> Self:
        """An executor like this one, which shares nothing with it."""
        from copy import deepcopy

        return deepcopy(self)

    def get_launcher(self) -> Launcher:
        """The launcher as an object.

        Raises:
            ConfigError: no launcher has the name.
        """
        return launcher_named(self.launcher)

    def assign(self, exp_id: str, exp_dir: str, task_id: str, task_dir: str) -> None:
        """Tells the executor which experiment and which job it is for.

        Args:
            exp_id: the experiment's id.
            exp_dir: the experiment's folder.
            task_id: the job's id.
            task_dir: the job's folder, relative to ``exp_dir``.
        """
        self.experiment_id = exp_id
        self.experiment_dir = exp_dir
        self.job_dir = f"{exp_dir.rstrip('/')}/{task_dir}"

    def nnodes(self) -> int:
        """How many nodes.

        Raises:
            NotImplementedError: the kind of executor does not say.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no `nnodes(self)`")

    def nproc_per_node(self) -> int:
        """How many processes a node.

        Raises:
            NotImplementedError: the kind of executor does not say.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no `nproc_per_node(self)`")

    def macro_values(self) -> ExecutorMacros | None:
        """What stands for the macros here; ``None``: they are left as they are."""
        return None

    def get_launcher_prefix(self) -> list[str] | None:
        """The words before every rank's command, without the program; ``None`` when nothing goes before it.

        Raises:
            ConfigError: as :meth:`get_launcher`.
        """
        return self.get_launcher().get_nsys_prefix(self.job_dir)

    def get_nsys_entrypoint(self) -> str:
        """The profiler's program."""
        return "nsys"

    def supports_launcher_transform(self) -> bool:
        """Launchers may replace the whole command by a script here."""
        return False

    def package_configs(self, *cfgs: tuple[str, str]) -> list[str]:
        """Writes named texts into the job's folder, under ``configs/``, readable by their owner alone.

        Args:
            cfgs: pairs of a file's name, which may hold ``/``, and its text.

        Returns:
            The files' paths as the job sees them.

        Raises:
            OSError: a file can't be written.
        """
        import os

        paths = []
        for name, text in cfgs:
            path = os.path.join(self.job_dir, "configs", name)
            _private_folder(os.path.dirname(path))
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(text)
            paths.append(path)
        return paths

    def member(self, number: int) -> Executor:
        """The executor of a group's member, where this one stands for the whole group.

        Args:
            number: the member's place in the group.
        """
        return self

    def create_job_dir(self) -> None:
        """Makes the job's folder, for its owner alone.

        Raises:
            OSError: as :func:`os.makedirs`.
        """
        _private_folder(self.job_dir)

    def cleanup(self, handle: str) -> None:
        """Removes what a job left at its place, beside its folder. Nothing by default.

        Args:
            handle: what names the job there.
        """

    def launch_devspace(self, space: DevSpace) -> str:
        """Starts a devspace and waits until it can be used.

        Args:
            space: it; its executor is this one.

        Returns:
            Its name, which is the host for ssh.

        Raises:
            ExperimentError: its job ended, or the place can't be reached.
        """
        from mizzen.experiment.sessions import launch_devspace

        return launch_devspace(space)

    def to_settings(self) -> dict[str, Any]:
        """The settings as an experiment document has them: every one of them, the unset ones as ``None``.

        Raises:
            ConfigError: experiment documents know no such kind of executor.
        """
        if self.kind not in KINDS:
            raise ConfigError(
                f"{type(self).__qualname__} is no kind of executor that jobs can run on; there are: {', '.join(KINDS)}\n"
                "hint: extend one of these kinds' classes instead of Executor itself",
                path=".executor",
            )
        return {name: self._setting(name) for name in self._setting_names()}

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """The executor with the settings of an experiment document.

        Raises:
            ConfigError: there is no such setting.
        """
        known = tuple(cls._setting_names())
        given = dict(settings)
        for name in given:
            if name not in known:
                raise ConfigError(f"a {cls.kind} executor has no setting `{name}`{similar(name, known)}", path=f".executor.{name}")
        if isinstance(given.get("packager"), (str, dict)):
            given["packager"] = Packager.from_settings(given["packager"])
        if isinstance(given.get("launcher"), dict):
            given["launcher"] = launcher_named(given["launcher"])
        return cls(**{name: value for name, value in given.items() if value is not None})

    @classmethod
    def _setting_names(cls) -> Iterator[str]:
        """The fields that an experiment document has. A subclass' own fields are not among them."""
        known: type[Executor] = next(base for base in cls.__mro__ if base.__dict__.get("kind") == cls.kind)
        return (one.name for one in fields(known) if one.name not in _ASSIGNED)

    def _setting(self, name: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, (Packager, Launcher)):
            return value.to_settings()
        if name == "launcher" and isinstance(value, str) and is_of_the_users(value):
            return launcher_named(value).to_settings()
        return value


@runtime_checkable
class LogSupportedExecutor(Protocol):
    """Executors whose logs can be read after the job's folder is gone."""

    @classmethod
    def logs(cls, app_id: str, fallback_path: str | None) -> None:
        """Shows the lines of a job: from its place, else from the file that stands in for it.

        Args:
            app_id: what names the job at its place.
            fallback_path: the file; ``None`` for none.
        """
        ...


def executor_from(kind: str, settings: dict[str, Any]) -> Executor:
    """The executor that an experiment document means.

    Args:
        kind: its kind.
        settings: the kind's settings; what is left out has its default.

    Raises:
        ConfigError: there is no such kind, or no such setting.
    """
    from importlib import import_module

    if kind not in KINDS:
        raise ConfigError(f"there is no kind of executor `{kind}`{similar(kind, KINDS)}; there are: {', '.join(KINDS)}")
    module, name = KINDS[kind]
    found: type[Executor] = getattr(import_module(module), name)
    return found.from_settings(settings)


def similar(name: str, known: Iterable[str]) -> str:
    """``; did you mean `…`?``, or nothing."""
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean `{close[0]}`?" if close else ""


def _private_folder(path: str) -> None:
    import os

    # The mode of makedirs holds for the last folder only.
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        _private_folder(parent)
    os.makedirs(path, mode=0o700, exist_ok=True)
