"""What the store says of one experiment, not much older than now."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from mizzen.experiment.installation import home_folder, open_core, working_folder

if TYPE_CHECKING:
    from mizzen._core import Core

__all__ = ["View"]


class View:
    """The status document of an experiment, read again when it may have changed. No connection is kept.

    Attributes:
        home: Mizzen's home; ``None`` until it is settled, when the experiment is written down or loaded.
        workdir: the folder that relative paths start from; ``None`` for the working directory.
        by_name: the jobs' parts of the document that was read last.
    """

    def __init__(self, home: str | None) -> None:
        self.home = home
        self.workdir: str | None = None
        self.by_name: dict[str, dict[str, Any]] = {}
        self._status: dict[str, Any] | None = None
        self._until = 0.0

    @property
    def home_now(self) -> str:
        """The home; that of the environment as long as none is settled."""
        return self.home if self.home is not None else home_folder()

    @property
    def base(self) -> str:
        """The folder that relative paths start from."""
        return self.workdir if self.workdir is not None else working_folder()

    def core(self, drives: bool = False) -> Core:
        """The library for this experiment's home: see :func:`open_core`."""
        return open_core(self.home_now, drives=drives, workdir=self.workdir)

    def read(self, core: Core, id: str) -> dict[str, Any]:
        """The status document of now."""
        began = time.monotonic()
        status: dict[str, Any] = json.loads(core.status(id))
        now = time.monotonic()
        self._status = status
        self.by_name = {job["name"]: job for job in status["jobs"]}
        # As long as reading it took: asking job by job must not cost the more the more jobs there are.
        self._until = now + (now - began)
        return status

    def look(self, id: str) -> dict[str, Any]:
        """The status document, hardly older than now."""
        if self._status is not None and time.monotonic() < self._until:
            return self._status
        return self.read(self.core(), id)

    def expire(self) -> None:
        """Something has happened: the next look reads anew."""
        self._until = 0.0

    def clear(self) -> None:
        """It is another experiment from now on."""
        self.by_name, self._status, self._until = {}, None, 0.0
