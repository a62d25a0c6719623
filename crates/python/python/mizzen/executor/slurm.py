"""Clusters under Slurm."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from mizzen.errors import ConfigError
from mizzen.executor.base import Executor
from mizzen.executor.macros import ExecutorMacros
from mizzen.packager import Packager
from mizzen.tunnel import LocalTunnel, Tunnel, tunnel_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

    from mizzen.devspace import DevSpace

__all__ = ["SlurmExecutor", "SlurmJobDetails"]

#: The names of files that job details have.
_FILES = ("stdout", "stderr", "srun_stdout", "srun_stderr")


@dataclass(kw_only=True)
class SlurmJobDetails:
    """Names of a job and of its output files.

    A subclass may override the properties that name files; patterns of Slurm's, such as ``%j``, hold in them.

    Attributes:
        job_name: the job's name for Slurm.
        folder: the folder of the output files; the job's own if ``None``.
        ray_log_prefix: what the logs of Ray clusters begin with.
        files: names of files by property, for those that are to be others than usual.
    """

    job_name: str | None = None
    folder: str | None = None
    ray_log_prefix: str = "ray-"
    files: dict[str, str] = field(default_factory=dict)

    @property
    def stdout(self) -> Path:
        """What the batch script says."""
        return self._file("stdout", "sbatch_{name}_%j.out")

    @property
    def stderr(self) -> Path:
        """What it says on standard error, where that has a file of its own."""
        return self._file("stderr", "sbatch_{name}_%j.err")

    @property
    def srun_stdout(self) -> Path:
        """What ``srun`` says. The ranks' own output is in their logs."""
        return self._file("srun_stdout", "log-{name}_%j_${{SLURM_RESTART_COUNT:-0}}.out")

    @property
    def srun_stderr(self) -> Path:
        """What it says on standard error, where that has a file of its own."""
        return self._file("srun_stderr", "log-{name}_%j_${{SLURM_RESTART_COUNT:-0}}.err")

    @property
    def ls_term(self) -> str:
        """What finds the files of srun's words."""
        return f"{self.folder or '.'}/log*"

    def _file(self, which: str, usual: str) -> Path:
        from pathlib import Path

        name = self.files.get(which) or usual.format(name=self.job_name or "%x")
        return Path(self.folder or ".") / name

    def to_settings(self) -> dict[str, Any]:
        """The details as an experiment document has them."""
        settings: dict[str, Any] = {"job_name": self.job_name, "folder": self.folder}
        for name in _FILES:
            own = getattr(type(self), name) is not getattr(SlurmJobDetails, name)
            # Without a folder of its own the name is relative: it is in the job's folder then.
            settings[name] = str(getattr(self, name)) if own else self.files.get(name)
        settings["ray_log_prefix"] = None if self.ray_log_prefix == "ray-" else self.ray_log_prefix
        return settings

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> SlurmJobDetails:
        """The details of an experiment document."""
        given = {name: value for name, value in settings.items() if value is not None}
        files = {name: given.pop(name) for name in _FILES if name in given}
        return cls(files=files, **given)


@dataclass(kw_only=True)
class SlurmExecutor(Executor):
    """Runs jobs on a cluster under Slurm, from this machine or by ssh.

    Names and defaults are NeMo-Run's; what is ``None`` is left to the cluster. Each is explained by ``mizzen executors slurm``.

    Attributes:
        account: the account that is charged.
        partition: the partition.
        time: Slurm's time limit, such as ``"01:00:00"`` or ``"2-12"``.
        nodes: nodes.
        ntasks: tasks over all nodes; ``nodes`` times ``ntasks_per_node`` if ``None``.
        ntasks_per_node: tasks a node.
        container_image: the image that commands run in; on the nodes themselves if ``None``.
        container_runtime: ``"pyxis"`` or ``"apptainer"``.
        setup_lines: shell text that runs in the batch script before anything is started.
        srun_args: further arguments of srun, one word each.
        additional_parameters: further flags of sbatch; they win.
        heterogeneous: the members of a group are components of a heterogeneous job, each with all of its own settings.
        tunnel: where sbatch runs: this machine, or another by ssh.
        resource_group: what the members of a group ask for, after :meth:`merge`.
        run_as_group: it was merged for a group.
    """

    @dataclass(kw_only=True)
    class ResourceRequest:
        """What one member of a group asks for, beside what the group's executor says for all."""

        packager: Packager
        nodes: int
        ntasks_per_node: int
        container_image: str | None = None
        gpus_per_node: int | str | None = None
        gpus_per_task: int | str | None = None
        container_mounts: list[str] = field(default_factory=list)
        container_env: list[str] | None = None
        env_vars: dict[str, str] = field(default_factory=dict)
        srun_args: list[str] | None = None
        job_details: SlurmJobDetails = field(default_factory=SlurmJobDetails)
        het_group_index: int | None = None

    kind: ClassVar[str] = "slurm"
    #: The members of a group may have executors of their own.
    mixed_groups: ClassVar[bool] = True

    HEAD_NODE_IP_VAR: ClassVar[str] = "head_node_ip"
    NPROC_PER_NODE_VAR: ClassVar[str] = "SLURM_NTASKS_PER_NODE"
    NUM_NODES_VAR: ClassVar[str] = "SLURM_NNODES"
    NODE_RANK_VAR: ClassVar[str] = "SLURM_NODEID"
    HET_GROUP_HOST_VAR: ClassVar[str] = "het_group_host"

    account: str | None = None
    partition: str | None = None
    job_name_prefix: str | None = None
    time: str = "00:10:00"
    nodes: int = 1
    ntasks: int | None = None
    ntasks_per_node: int = 1
    cpus_per_task: int | None = None
    cpus_per_gpu: int | None = None
    gpus: int | str | None = None
    gpus_per_node: int | str | None = None
    gpus_per_socket: int | str | None = None
    gpus_per_task: int | str | None = None
    qos: str | None = None
    mem: int | str | None = None
    mem_per_gpu: int | str | None = None
    mem_per_cpu: int | str | None = None
    comment: str | None = None
    constraint: str | None = None
    prefer: str | None = None
    exclude: str | None = None
    nodelist: str | None = None
    gres: str | None = None
    licenses: str | None = None
    reservation: str | None = None
    signal: str | None = None
    exclusive: bool | str | None = None
    segment: int | None = None
    network: str | None = None
    switches: int | str | None = None
    array: str | None = None
    open_mode: str = "append"
    requeue: bool | None = None
    nice: int | None = None
    hold: bool = False
    begin: str | None = None
    deadline: str | None = None
    wckey: str | None = None
    clusters: str | None = None
    mail_type: str | None = None
    mail_user: str | None = None
    chdir: str | None = None
    export: str | None = None
    additional_parameters: dict[str, Any] | None = None
    srun_args: list[str] | None = None
    container_image: str | None = None
    container_runtime: str = "pyxis"
    container_mounts: list[str] = field(default_factory=list)
    container_env: list[str] | None = None
    container_workdir: str | None = None
    setup_lines: str | None = None
    memory_measure: bool = False
    rendezvous_port: int | None = None
    heterogeneous: bool = False
    het_group_indices: list[int] | None = None
    wait_time_for_group_job: int = 0
    monitor_group_job: bool = True
    monitor_group_job_wait_time: int = 60
    torchrun_nproc_per_node: int | None = None
    job_details: SlurmJobDetails = field(default_factory=SlurmJobDetails)
    tunnel: Tunnel = field(default_factory=LocalTunnel)
    dependencies: list[str] = field(default_factory=list)
    dependency_type: str = "afterok"
    exclude_bad_nodes: bool = True
    arrays: bool = True
    poll_estimated_start_time: bool = True
    ray_template: str = "ray.sub.j2"
    timeout: str | None = None
    workdir: str | None = None

    resource_group: list[ResourceRequest] = field(init=False, default_factory=list, compare=False)
    run_as_group: bool = field(init=False, default=False, compare=False)

    def __post_init__(self) -> None:
        self.wait_time_for_group_job = max(self.wait_time_for_group_job, 0)

    @classmethod
    def merge(cls, executors: list[Self], num_tasks: int) -> Self:
        """One executor for a group's members.

        Args:
            executors: one for all members, or one for each.
            num_tasks: how many members there are.

        Returns:
            The first of them, with ``run_as_group``, and a ``resource_group`` if the members have different ones.

        Raises:
            ConfigError: there are too few or too many executors, or ``het_group_indices`` do not fit.
        """
        from copy import deepcopy

        if len(executors) not in (1, num_tasks):
            raise ConfigError(f"{len(executors)} executors for {num_tasks} tasks: give one for all, or one for each", path=".executor")
        main = executors[0]
        main.run_as_group = True
        main.resource_group = []
        if len(executors) == 1 and not main.heterogeneous:
            return main
        each = executors * num_tasks if len(executors) == 1 else executors
        indices = main.het_group_indices
        if indices is not None:
            if not main.heterogeneous:
                raise ConfigError("het_group_indices need heterogeneous=True", path=".executor.het_group_indices")
            if len(indices) != num_tasks or indices != sorted(indices):
                raise ConfigError(
                    f"het_group_indices must be {num_tasks} numbers, none of them less than the one before",
                    path=".executor.het_group_indices",
                )
        names = [one.name for one in fields(cls.ResourceRequest) if one.name != "het_group_index"]
        main.resource_group = [
            cls.ResourceRequest(
                **{name: deepcopy(getattr(executor, name)) for name in names},
                het_group_index=None if indices is None else indices[number],
            )
            for number, executor in enumerate(each)
        ]
        return main

    def member(self, number: int) -> Self:
        """The executor of a member of a group: this one, with what its request says."""
        from copy import deepcopy

        if number >= len(self.resource_group):
            return self
        request = self.resource_group[number]
        executor = self.clone()
        executor.resource_group, executor.run_as_group = [], False
        for one in fields(request):
            if one.name != "het_group_index":
                setattr(executor, one.name, deepcopy(getattr(request, one.name)))
        return executor

    def alloc(self, job_name: str = "interactive") -> None:
        """Gets the nodes and opens a shell where jobs are submitted, from which steps are started; comes back at its end.

        Args:
            job_name: what Slurm calls it, behind the executor's prefix.

        Raises:
            ExperimentError: it failed, or its last command did.
        """
        from mizzen.experiment.sessions import shell

        shell(self, alloc=True, name=self._prefixed(job_name))

    def srun(
        self,
        cmd: str,
        job_name: str = "interactive",
        flags: list[str] | None = None,
        env_vars: dict[str, str] | None = None,
        arg_dict: dict[str, Any] | None = None,
    ) -> None:
        """Runs a command as an interactive step; comes back at its end.

        Args:
            cmd: the command, as a shell would take it apart.
            job_name: what Slurm calls it, behind the executor's prefix.
            flags: further arguments of srun.
            env_vars: variables over the executor's.
            arg_dict: flags of srun by their names, over the executor's settings.

        Raises:
            ExperimentError: it failed.
        """
        import shlex

        from mizzen.experiment.sessions import shell

        settings: dict[str, Any] = {}
        if flags:
            settings["srun_args"] = [*(self.srun_args or []), *flags]
        if arg_dict:
            settings["additional_parameters"] = {**(self.additional_parameters or {}), **arg_dict}
        shell(self, shlex.split(cmd), name=self._prefixed(job_name), env_vars=env_vars, settings=settings)

    def bash(self, job_name: str = "interactive") -> None:
        """Opens a shell on a node; comes back at its end.

        Args:
            job_name: what Slurm calls it, behind the executor's prefix.

        Raises:
            ExperimentError: it failed, or its last command did.
        """
        from mizzen.experiment.sessions import shell

        shell(self, name=self._prefixed(job_name))

    def connect_devspace(self, space: DevSpace, path: str = "") -> None:
        """Opens an editor or a shell on a devspace, as :meth:`mizzen.devspace.DevSpace.connect` does."""
        space.connect(space.name, path)

    def _prefixed(self, job_name: str) -> str:
        return f"{self.job_name_prefix or ''}{job_name}"

    def nnodes(self) -> int:
        """How many nodes."""
        return self.nodes

    def nproc_per_node(self) -> int:
        """How many processes a launcher starts on a node: as many as it has GPUs where Slurm starts one task a node."""
        if self.torchrun_nproc_per_node:
            return self.torchrun_nproc_per_node
        by_gpus = _count(self.gpus_per_node) if self.ntasks_per_node == 1 else 0
        if by_gpus or _count(self.gpus_per_task):
            return by_gpus or _count(self.gpus_per_task)
        if self.ntasks is not None and self.ntasks_per_node == 1:
            return -(-self.ntasks // self.nodes)
        return self.ntasks_per_node

    def supports_launcher_transform(self) -> bool:
        """Scripts can take a command's place here."""
        return True

    def macro_values(self) -> ExecutorMacros | None:
        """The variables that jobs under Slurm find."""
        return ExecutorMacros(
            head_node_ip_var=self.HEAD_NODE_IP_VAR,
            nproc_per_node_var=self.NPROC_PER_NODE_VAR,
            num_nodes_var=self.NUM_NODES_VAR,
            node_rank_var=self.NODE_RANK_VAR,
            het_group_host_var=self.HET_GROUP_HOST_VAR,
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """The executor with the settings of an experiment document.

        Raises:
            ConfigError: there is no such setting.
        """
        given = dict(settings)
        if isinstance(given.get("job_details"), dict):
            given["job_details"] = SlurmJobDetails.from_settings(given["job_details"])
        if isinstance(given.get("tunnel"), dict):
            given["tunnel"] = tunnel_from(given["tunnel"])
        return super().from_settings(given)

    @classmethod
    def _setting_names(cls) -> Iterator[str]:
        return (name for name in super()._setting_names() if name not in ("resource_group", "run_as_group"))

    def _setting(self, name: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, (SlurmJobDetails, Tunnel)):
            return value.to_settings()
        return super()._setting(name)


def _count(gpus: int | str | None) -> int:
    """The number in ``8`` and ``"h100:8"``; 0 if there is none."""
    text = str(gpus or 0).rpartition(":")[2]
    return int(text) if text.isdigit() else 0
