"""How the user's code reaches a job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mizzen.config import ConfigurableMixin

__all__ = ["Packager"]


@dataclass(kw_only=True)
class Packager(ConfigurableMixin):
    """Passes the working tree through: the job runs in it as it is, and nothing is copied.

    Attributes:
        debug: launchers that have a debug mode switch it on.
        symlink_from_remote_dir: a folder that is already at the place where jobs run and is linked to as the code.
            ``None``: none. Only places behind a tunnel can do this; on this machine it is refused when planned.
    """

    debug: bool = False
    symlink_from_remote_dir: str | None = None

    def package(self, path: str, job_dir: str, name: str) -> str:
        """Makes the archive of a working tree. Here there is nothing to make.

        Args:
            path: the working tree.
            job_dir: the job's folder, where an archive would be written.
            name: the archive's name without its ending.

        Returns:
            The archive's path; ``""`` for none.
        """
        return ""

    def setup(self) -> None:
        """Runs at the job's place before the job does. Nothing by default."""

    def to_settings(self) -> dict[str, Any]:
        """The packager as an experiment document has it."""
        settings: dict[str, Any] = {"debug": self.debug}
        if self.symlink_from_remote_dir is not None:
            settings["symlink_from_remote_dir"] = self.symlink_from_remote_dir
        return settings

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Packager:
        """The packager of an experiment document."""
        return Packager(**settings)
