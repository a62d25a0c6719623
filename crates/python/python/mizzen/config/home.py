"""Where Mizzen keeps what it keeps, and names that jobs find in their folders."""

from __future__ import annotations

import os

__all__ = [
    "RUNDIR_NAME",
    "RUNDIR_SPECIAL_NAME",
    "SCRIPTS_DIR",
    "USE_WITH_RAY_CLUSTER_KEY",
    "get_mizzen_home",
    "get_nemorun_home",
    "set_mizzen_home",
    "set_nemorun_home",
]

RUNDIR_NAME = "nemo_run"
"""The folder of a job inside its container."""
RUNDIR_SPECIAL_NAME = "/$nemo_run"
"""As the source of a mount: the job's own folder."""
SCRIPTS_DIR = "scripts"
"""The sub-folder of inline scripts in a job's folder."""
USE_WITH_RAY_CLUSTER_KEY = "use_with_ray_cluster"
"""In a Script's metadata: whether it is to run on the Ray cluster of its job."""


def get_mizzen_home() -> str:
    """The folder of experiments and settings: ``$MIZZEN_HOME``, or ``~/.mizzen``. Read anew at each call."""
    return os.environ.get("MIZZEN_HOME") or os.path.expanduser("~/.mizzen")


def set_mizzen_home(path: str | os.PathLike[str]) -> None:
    """Sets the folder for this process and those that it starts, by setting ``$MIZZEN_HOME``.

    Args:
        path: a folder; it is made when something is stored. ``~`` is the user's home.
    """
    os.environ["MIZZEN_HOME"] = os.path.abspath(os.path.expanduser(os.fspath(path)))


# The names that NeMo-Run's users know.
get_nemorun_home = get_mizzen_home
set_nemorun_home = set_mizzen_home
