"""What turns a task's command into what is started on each node, and the profiler that may wrap it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from mizzen.config import ConfigurableMixin
from mizzen.errors import ConfigError

if TYPE_CHECKING:
    from mizzen.config import Script

__all__ = [
    "LAUNCHERS",
    "CommandLauncher",
    "FaultTolerance",
    "Launcher",
    "Ranks",
    "SlurmRay",
    "SlurmTemplate",
    "Torchrun",
    "is_of_the_users",
    "launcher_named",
]


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
    """Starts the command itself, once for each process.

    A launcher of your own extends this class, or one of the others, and has a :meth:`transform`; what it extends starts what
    that returns. Fields that it adds are its own.

    Attributes:
        nsys_profile: wrap what is started in NVIDIA's profiler.
        nsys_folder: the profiles' folder inside the job's folder.
        nsys_filename: a profile's file name; ``%p`` is the process's id, ``%q{NAME}`` a variable. Of several processes it gets the
            rank too, unless it names a variable.
        nsys_trace: what is traced.
        nsys_extra_args: further arguments for ``nsys profile``.
        nsys_gpu_metrics: sample the GPUs' metrics too, by the first process of each node.
        nsys_gpu_metrics_nodes: the nodes on which they are sampled, from 0; ``None``: those in the variable
            ``GPU_METRICS_NODES``, else all.
    """

    #: The launcher's name in experiment documents.
    kind: ClassVar[str] = "none"

    nsys_profile: bool = False
    nsys_folder: str = "nsys_profile"
    nsys_filename: str = "profile_%p"
    nsys_trace: list[str] = field(default_factory=_trace)
    nsys_extra_args: list[str] = field(default_factory=_extra_args)
    nsys_gpu_metrics: bool = False
    nsys_gpu_metrics_nodes: list[int] | None = None

    def get_nsys_prefix(self, profile_dir: str) -> list[str] | None:
        """The words before a command that profile it, without the program's name.

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
        """A script that takes the command's place. It is asked for when the job is written down, on this machine.

        Args:
            cmd: the command's words, as a document has them: ``${job_dir}`` and the like are not filled in yet.

        Returns:
            The script, or ``None`` when the command stays.
        """
        return None

    def to_settings(self) -> dict[str, Any]:
        """The launcher as an experiment document has it. Of settings that are not given, nothing is written."""
        # What a subclass of the user's adds is its own.
        known: type[Launcher] = next(base for base in type(self).__mro__ if base in _OURS)
        settings: dict[str, Any] = {"kind": known.kind}
        for one in fields(known):
            value = getattr(self, one.name)
            if value is not None:
                settings[one.name] = value
        return settings


@dataclass(kw_only=True)
class Torchrun(Launcher):
    """PyTorch's launcher, one on each node.

    Attributes:
        rdzv_backend: how the nodes find each other.
        rdzv_port: the port on the first node at which several nodes meet; ``None``: one that is free.
        rdzv_id: what names the meeting; ``None``: the attempt's submission key.
        rdzv_conf: further settings of the meeting, such as ``"timeout=900"``.
        max_restarts: how often all processes are started again after a failure, inside the attempt.
        log_dir: the folder for a log of each process beside the job's.
        local_addr: this node's address for the others, where it is not its name's.
    """

    kind = "torchrun"

    rdzv_backend: str = "c10d"
    rdzv_port: int | None = None
    rdzv_id: int | str | None = None
    rdzv_conf: str | None = None
    max_restarts: int | None = None
    log_dir: str | None = None
    local_addr: str | None = None


@dataclass(kw_only=True)
class FaultTolerance(Launcher):
    """NVIDIA's ``ft_launcher``: torchrun with heartbeats, one on each node.

    Attempts of a job come after failures, preemptions and lost nodes, as its retries say, and never after a success.

    Attributes:
        cfg_path: a YAML file with the launcher's parameters, as the job sees it.
        finished_flag_file: the file by which the program says that all work is done; ``None``: one in the job's folder.
        job_results_file: the file with a line for each attempt; ``None``: one in the job's folder.
        rdzv_backend: how the nodes find each other.
        rdzv_port: the port on the first node at which several nodes meet; ``None``: one that is free.
        rdzv_id: what names the meeting; ``None``: the attempt's submission key.
        workload_check_interval: seconds between two checks of the processes.
        initial_rank_heartbeat_timeout: seconds to a process's first heartbeat.
        rank_heartbeat_timeout: seconds between two heartbeats.
        rank_termination_signal: the signal that ends a process without heartbeats.
        log_level: how much the launcher says.
        max_restarts: how often all processes are started again after a failure, inside the attempt.
    """

    kind = "ft"

    cfg_path: str | None = None
    finished_flag_file: str | None = None
    job_results_file: str | None = None
    rdzv_backend: str = "c10d"
    rdzv_port: int | None = None
    rdzv_id: int | str | None = None
    workload_check_interval: float | None = None
    initial_rank_heartbeat_timeout: float | None = None
    rank_heartbeat_timeout: float | None = None
    rank_termination_signal: str | None = None
    log_level: str | None = None
    max_restarts: int | None = None


@dataclass(kw_only=True)
class SlurmTemplate(Launcher):
    """A script of your own in place of the command, once for each process.

    In the template (Jinja) ``{{ command }}`` is the command, quoted for a shell, and ``{{ argv }}`` the list of its words. Every
    value is one word of a shell; ``{{ name|safe }}`` is the text as it is.

    Attributes:
        template_path: the file with the template; it is read when the experiment is launched.
        template_inline: the template itself.
        template_vars: further values for the template.

    Raises:
        ConfigError: none or both of path and inline.
    """

    kind = "slurm_template"

    template_path: str | None = None
    template_inline: str | None = None
    template_vars: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.template_path is None) == (self.template_inline is None):
            raise ConfigError("a SlurmTemplate needs one of `template_path` and `template_inline`", path=".launcher")

    def to_settings(self) -> dict[str, Any]:
        """As :meth:`Launcher.to_settings`; the path is made absolute, since it is read from wherever the document is."""
        import os

        settings = super().to_settings()
        if self.template_path is not None:
            settings["template_path"] = os.path.abspath(self.template_path)
        return settings


@dataclass(kw_only=True)
class SlurmRay(Launcher):
    """A Ray cluster over the job's nodes, with the command as its driver: it ends when the driver ends, with its status.

    If a port is taken on a node, the next free one is used; 0 leaves it to Ray.

    Attributes:
        gcs_server_port: the port of Ray's control service on the first node.
        dashboard_port: the dashboard's port on the first node.
        object_manager_port: the port of each node's object manager.
        node_manager_port: the port of each node's manager.
        dashboard_agent_port: the port of each node's dashboard agent.
        dashboard_agent_grpc_port: the gRPC port of each node's dashboard agent.
        metrics_port: the port of each node's metrics.
        display_nvidia_smi_output: show what nvidia-smi says of each node first.
        head_setup: lines of shell that the first node runs before Ray starts there.
        head_init_wait_time: seconds that the head may take to start; nothing waits longer than it takes.
        worker_init_wait_time: seconds that the workers may take to join it.
        env_vars: variables for Ray and the driver.
    """

    kind = "slurm_ray"

    gcs_server_port: int = 6379
    dashboard_port: int = 8265
    object_manager_port: int = 8076
    node_manager_port: int = 8077
    dashboard_agent_port: int = 52365
    dashboard_agent_grpc_port: int = 52366
    metrics_port: int = 9002
    display_nvidia_smi_output: bool = False
    head_setup: str | None = None
    head_init_wait_time: int = 120
    worker_init_wait_time: int = 300
    env_vars: dict[str, str] | None = None


@dataclass(kw_only=True)
class Ranks(Launcher):
    """Processes that Mizzen's agents start, join to one world, and end together: no Python in between.

    Times are seconds, or texts such as ``"30m"``.

    Attributes:
        max_restarts: how often all processes are started again after a failure, inside the attempt.
        hang_timeout: how long all processes may be silent, without output and heartbeats; ``None``: as long as they like.
        bind: the processors of each process: ``"none"``, ``"cores"`` or ``"numa"``.
        gpus_per_rank: how many of the node's GPUs each process sees; ``None``: all of them.
        stop_grace: how long the others may take to end when a process has failed, before they are killed.
        join_timeout: how long nodes wait for each other.
        port: the port on the first node at which the processes meet; ``None``: one that is free.
        omp_num_threads: threads of OpenMP for each process; ``None``: the processors that a process has.
    """

    kind = "ranks"

    max_restarts: int = 0
    hang_timeout: float | str | None = None
    bind: str = "none"
    gpus_per_rank: int | None = None
    stop_grace: float | str = 0.8
    join_timeout: float | str = 300.0
    port: int | None = None
    omp_num_threads: int | None = None


@dataclass(kw_only=True)
class CommandLauncher(Launcher):
    """Words of your own before the command, for launchers that Mizzen does not know.

    Attributes:
        command: the words. Macros can be used.
        once_per_node: start it once on each node instead of once for each process.
        needs: programs that must be there; ``None``: the first word.
    """

    kind = "command"

    command: list[str] = field(default_factory=list)
    once_per_node: bool = False
    needs: list[str] | None = None


#: The launchers that experiment documents know.
_OURS: tuple[type[Launcher], ...] = (Launcher, Torchrun, FaultTolerance, SlurmTemplate, SlurmRay, Ranks, CommandLauncher)

#: Every launcher by its name. One of your own can be put here too: then its name stands for it.
LAUNCHERS: dict[str, type[Launcher]] = {one.kind: one for one in _OURS}


def is_of_the_users(name: str) -> bool:
    """Whether the name stands for a class that somebody has put into :data:`LAUNCHERS`: experiment documents don't know it.

    Args:
        name: the name.
    """
    return name in LAUNCHERS and LAUNCHERS[name] not in _OURS


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
