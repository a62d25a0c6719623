"""Devspaces: a node to work on, reached by ``ssh``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mizzen.config import ConfigurableMixin
from mizzen.errors import ConfigError

if TYPE_CHECKING:
    from mizzen.executor import Executor

__all__ = ["DevSpace"]


@dataclass
class DevSpace(ConfigurableMixin):
    """A job that runs an ssh server of your own, and the entry in ``~/.ssh/config`` that leads to it.

    ``mizzen devspace`` on a command line lists and ends them.

    Attributes:
        name: its name, which is the host for ssh.
        executor: where it runs.
        cmd: the executor's method that launches it.
        use_packager: NeMo-Run's; there is nothing to pack.
        env_vars: variables for its sessions, over the executor's.
        add_workspace_to_pythonpath: sessions find modules in the job's working folder.
    """

    name: str
    executor: Executor
    cmd: str = "launch_devspace"
    use_packager: bool = False
    env_vars: dict[str, str] | None = field(default=None)
    add_workspace_to_pythonpath: bool = True

    def launch(self) -> Any:
        """Starts it, or goes on with one that is starting, and waits until it can be used.

        Returns:
            What the executor's method returns: the name, which is the host for ssh.

        Raises:
            ConfigError: the executor has no such method, or ``use_packager`` is set.
            ExperimentError: its job ended.
            UnreachableError: the place, or the node, can't be reached.
        """
        if self.use_packager:
            raise ConfigError(
                "nothing can be packed for a devspace\nhint: leave `use_packager` out, and work in a folder that the node sees",
                path=".use_packager",
            )
        return self.execute_cmd()

    def execute_cmd(self) -> Any:
        """Calls the executor's method :attr:`cmd` with this devspace.

        Raises:
            ConfigError: there is no such method.
        """
        method = getattr(self.executor, self.cmd, None)
        if not callable(method):
            raise ConfigError(f"{type(self.executor).__qualname__} has no method `{self.cmd}`", path=".cmd")
        return method(self)

    @classmethod
    def connect(cls, host: str, path: str = "") -> None:
        """Opens the editor whose remote mode is there (VS Code, Cursor) on a devspace, or else a shell by ``ssh``.

        Args:
            host: the devspace's name.
            path: the folder to open there.

        Raises:
            ExperimentError: there is no such devspace, or what was started failed.
        """
        import shutil

        from mizzen.experiment.sessions import call

        editor = shutil.which("code") or shutil.which("cursor")
        if editor and path:
            call([editor, "--remote", f"ssh-remote+{host}", path])
        else:
            call(["mizzen", "devspace", "ssh", host])
