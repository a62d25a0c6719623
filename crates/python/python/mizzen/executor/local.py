"""This machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mizzen.executor.base import Executor
from mizzen.executor.macros import ExecutorMacros

__all__ = ["LocalExecutor"]


@dataclass(kw_only=True)
class LocalExecutor(Executor):
    """Runs jobs as processes of this machine.

    Attributes:
        ntasks_per_node: processes a node.
        nodes: nodes; on one machine they differ by their processes' ``NODE_RANK`` only.
        slots: jobs that run at once; the number of processors if ``None``.
        gpus: GPUs for each job. No other job of Mizzen's on this machine gets the same ones.
        devices: the GPUs that there are, as ``CUDA_VISIBLE_DEVICES`` names them; found by themselves if ``None``.
        share_gpus: every job may use every GPU.
        timeout: how long one attempt may run, such as ``"2h"``; ``None`` for no limit.
        workdir: the working directory of the jobs; the one that they are launched from if ``None``.
    """

    kind: ClassVar[str] = "local"

    ntasks_per_node: int = 1
    nodes: int = 1
    slots: int | None = None
    gpus: int = 0
    devices: list[str] | None = None
    share_gpus: bool = False
    timeout: str | None = None
    workdir: str | None = None

    def nnodes(self) -> int:
        """How many nodes."""
        return self.nodes

    def nproc_per_node(self) -> int:
        """How many processes a node."""
        return self.ntasks_per_node

    def macro_values(self) -> ExecutorMacros | None:
        """The variables that jobs on this machine find."""
        return ExecutorMacros(
            head_node_ip_var="MIZZEN_HEAD_NODE_IP",
            nproc_per_node_var="MIZZEN_NPROC_PER_NODE",
            num_nodes_var="MIZZEN_NUM_NODES",
            node_rank_var="MIZZEN_NODE_RANK",
            het_group_host_var="MIZZEN_GROUP_HOST",
        )
