"""What turns a task's command into the command that starts its ranks, and the profiler that may wrap each of them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from mizzen.config import ConfigurableMixin
from mizzen.errors import ConfigError

if TYPE_CHECKING:
    from mizzen.config import Script

__all__ = ["LAUNCHERS", "Launcher", "launcher_named"]


def _trace() -> list[str]:
    return ["nvtx", "cuda"]


def _extra_args() -> list[str]:
    return [
        "--force-overwrite=true",
        "--capture-range=cudaProfilerApi",
        "--capture-range-end=stop",
        "--cuda-graph-trace=node",
        "--cuda-event-trace=false",
    ]


@dataclass(kw_only=True)
class Launcher(ConfigurableMixin):
    """Starts the command itself, once for each rank.

    Attributes:
        nsys_profile: wrap every rank in NVIDIA's profiler.
        nsys_folder: the profiles' folder inside the job's folder.
        nsys_filename: a profile's file name; ``%p`` is the process's id.
        nsys_trace: what is traced.
        nsys_extra_args: further arguments for ``nsys profile``.
        nsys_gpu_metrics: sample the GPUs' metrics too.
    """

    kind = "none"

    nsys_profile: bool = False
    nsys_folder: str = "nsys_profile"
    nsys_filename: str = "profile_%p"
    nsys_trace: list[str] = field(default_factory=_trace)
    nsys_extra_args: list[str] = field(default_factory=_extra_args)
    nsys_gpu_metrics: bool = False

    def get_nsys_prefix(self, profile_dir: str) -> list[str] | None:
        """The words before a rank's command that profile it, without the program's name.

        Args:
            profile_dir: the folder that :attr:`nsys_folder` is made in.

        Returns:
            The words, or ``None`` when no profile is wanted.
        """
        if not self.nsys_profile:
            return None
        words = ["profile", "-s", "none", "-t", ",".join(self.nsys_trace)]
        words += ["-o", f"{profile_dir}/{self.nsys_folder}/{self.nsys_filename}"]
        words += self.nsys_extra_args
        if self.nsys_gpu_metrics:
            words.append("--gpu-metrics-device=all")
        return words

    def transform(self, cmd: list[str]) -> Script | None:
        """A script that replaces the whole command.

        Args:
            cmd: the command.

        Returns:
            The script, or ``None`` when the command stays.
        """
        return None

    def to_settings(self) -> dict[str, Any]:
        """The launcher as an experiment document has it."""
        settings: dict[str, Any] = {"kind": self.kind}
        for one in fields(self):
            settings[one.name] = getattr(self, one.name)
        return settings


#: Every launcher by its name.
LAUNCHERS: dict[str, type[Launcher]] = {Launcher.kind: Launcher}


def launcher_named(value: Launcher | str | dict[str, Any] | None) -> Launcher:
    """The launcher that a value stands for.

    Args:
        value: a launcher, a launcher's name, a document's table with ``kind`` and settings, or ``None`` for no launcher.

    Returns:
        The launcher.

    Raises:
        ConfigError: no launcher has the name, or the settings are not that launcher's.
    """
    if isinstance(value, Launcher):
        return value
    settings: dict[str, Any] = {}
    if isinstance(value, dict):
        settings = dict(value)
        value = settings.pop("kind", Launcher.kind)
    name = Launcher.kind if value is None else value
    known = LAUNCHERS.get(name) if isinstance(name, str) else None
    if known is None:
        raise ConfigError(f"there is no launcher `{name}`; there are: {', '.join(LAUNCHERS)}", path=".launcher")
    try:
        return known(**settings)
    except TypeError as error:
        raise ConfigError(f"the settings are not the launcher `{name}`'s: {error}", path=".launcher") from None
