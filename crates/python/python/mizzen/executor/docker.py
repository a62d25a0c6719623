"""Containers of Docker, Podman or nerdctl."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from mizzen.executor.base import Executor
from mizzen.executor.macros import ExecutorMacros
from mizzen.tunnel import LocalTunnel, Tunnel, tunnel_from

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["DockerExecutor"]


@dataclass(kw_only=True)
class DockerExecutor(Executor):
    """Runs jobs in containers of one engine, on this machine or on another by ssh.

    Names are NeMo-Run's; what is ``None`` is left to the engine. Each is explained by ``mizzen executors docker``. Containers go on
    without this process, and are removed when their jobs have ended.

    Attributes:
        container_image: the image that jobs run in.
        ntasks_per_node: processes a node.
        nodes: containers of a job, one for each node.
        num_gpus: GPUs for each job on each node; -1 for all.
        gpus: which GPUs there are for jobs.
        ulimits: limits of processes, each ``"name:soft"`` or ``"name:soft:hard"``.
        healthcheck: ``test``, ``interval``, ``timeout``, ``retries``, ``start_period``, as Docker's Python library has them.
        network: the network; it is made if it isn't there. A group has one of its own if ``None``.
        volumes: ``source:there[:options]``; a source that begins with ``/$nemo_run`` is in the job's folder.
        additional_kwargs: further arguments by their names in Docker's Python library.
        user: who the processes are; who launches if ``None``, ``"image"`` for the image's own.
        memory: the most memory, in bytes or such as ``"16GiB"``.
        cpus: the most processors.
        pull: ``"missing"``, ``"always"`` or ``"never"``.
        entrypoint: ``"replace"`` or ``"keep"`` the image's.
        engine: ``"docker"``, ``"podman"`` or ``"nerdctl"``, or a path of one.
        context: the engine's context, or Podman's connection.
        tunnel: where the engine is: this machine, or another by ssh.
        slots: jobs that run at once.
        keep_containers: containers stay when their jobs have ended.
    """

    kind: ClassVar[str] = "docker"
    #: The members of a group may have executors of their own.
    mixed_groups: ClassVar[bool] = True

    container_image: str | None = None
    ntasks_per_node: int = 1
    nodes: int = 1
    runtime: str | None = None
    num_gpus: int | None = None
    gpus: list[str] | None = None
    share_gpus: bool = False
    shm_size: str | None = None
    ulimits: list[str] = field(default_factory=list)
    ipc_mode: str | None = None
    healthcheck: dict[str, Any] | None = None
    privileged: bool = False
    network: str | None = None
    volumes: list[str] = field(default_factory=list)
    ports: list[str] = field(default_factory=list)
    additional_kwargs: dict[str, Any] = field(default_factory=dict)
    engine_args: list[str] = field(default_factory=list)
    user: str | None = None
    memory: int | str | None = None
    cpus: float | None = None
    pull: str = "missing"
    platform: str | None = None
    entrypoint: str = "replace"
    engine: str = "docker"
    context: str | None = None
    tunnel: Tunnel = field(default_factory=LocalTunnel)
    slots: int | None = None
    keep_containers: bool = False
    rendezvous_port: int | None = None
    timeout: str | None = None
    workdir: str | None = None

    def nnodes(self) -> int:
        """How many nodes: containers of a job."""
        return self.nodes

    def nproc_per_node(self) -> int:
        """How many processes a node."""
        return self.ntasks_per_node

    def macro_values(self) -> ExecutorMacros | None:
        """The variables whose values jobs get."""
        return ExecutorMacros(
            head_node_ip_var="MIZZEN_HEAD_NODE_IP",
            nproc_per_node_var="MIZZEN_NPROC_PER_NODE",
            num_nodes_var="MIZZEN_NUM_NODES",
            node_rank_var="MIZZEN_NODE_RANK",
            het_group_host_var="MIZZEN_GROUP_HOST",
        )

    @classmethod
    def from_settings(cls, settings: dict[str, Any]) -> Self:
        """The executor with the settings of an experiment document.

        Raises:
            ConfigError: there is no such setting.
        """
        given = dict(settings)
        if isinstance(given.get("tunnel"), dict):
            given["tunnel"] = tunnel_from(given["tunnel"])
        return super().from_settings(given)

    def _setting(self, name: str) -> Any:
        value = getattr(self, name)
        if isinstance(value, Tunnel):
            return value.to_settings()
        return super()._setting(name)
