"""The Slurm executor: every setting of the Rust one, NeMo-Run's surface, groups in documents."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import mizzen as run
import pytest
from mizzen.executor import executor_from
from mizzen.packager import Packager


def a_slurm_executor() -> run.SlurmExecutor:
    return run.SlurmExecutor(
        account="physics",
        partition="gpu",
        nodes=2,
        ntasks_per_node=8,
        gpus_per_node=8,
        mem="0",
        exclusive=True,
        container_image="nvcr.io#nvidia/pytorch:25.01-py3",
        container_mounts=["/$nemo_run/out:/out"],
        srun_args=["--mpi=pmix"],
        additional_parameters={"cpu_freq": "high", "spread-job": True},
        job_details=run.SlurmJobDetails(job_name="n", folder="/f", files={"stdout": "o.txt"}),
        tunnel=run.SSHTunnel(host="cluster", job_dir="/scratch/me"),
        env_vars={"A": "1"},
        retries=2,
    )


def test_it_has_every_setting_of_its_kind() -> None:
    from mizzen import _core

    properties = json.loads(_core.executor_kinds())["slurm"]["properties"]
    written = run.SlurmExecutor().to_settings()
    assert set(written) == set(properties)
    for name, schema in properties.items():
        if name == "tunnel":
            assert written[name] == {"kind": "local"}
            continue
        # Without a packager it is the place's own.
        default = None if name == "packager" else schema.get("default")
        assert written[name] == default, name


def test_settings_go_and_come_back() -> None:
    executor = a_slurm_executor()
    settings = json.loads(json.dumps(executor.to_settings()))
    assert executor_from("slurm", settings) == executor
    assert executor.clone() == executor


def test_nemo_runs_surface() -> None:
    executor = run.SlurmExecutor(account="a", wait_time_for_group_job=-1)
    assert (executor.time, executor.nodes, executor.ntasks_per_node, executor.open_mode) == ("00:10:00", 1, 1, "append")
    assert executor.wait_time_for_group_job == 0
    assert executor.nnodes() == 1
    assert executor.nproc_per_node() == 1
    assert run.SlurmExecutor(gpus_per_node=8).nproc_per_node() == 8
    assert run.SlurmExecutor(gpus_per_node="h100:4", ntasks_per_node=2).nproc_per_node() == 2
    assert run.SlurmExecutor(gpus_per_task=2, ntasks_per_node=4).nproc_per_node() == 2
    assert run.SlurmExecutor(torchrun_nproc_per_node=3, gpus_per_node=8).nproc_per_node() == 3
    assert run.SlurmExecutor(ntasks=5, nodes=2).nproc_per_node() == 3
    macros = executor.macro_values()
    assert macros is not None
    assert macros.substitute("$$${head_node_ip_var} ${num_nodes_var}") == "$head_node_ip SLURM_NNODES"


def test_job_details_may_be_overridden() -> None:
    class Mine(run.SlurmJobDetails):
        @property
        def stdout(self) -> Path:
            return Path(self.folder or ".") / "mine_%j.out"

    assert run.SlurmJobDetails(job_name="n", folder="/f").stdout == Path("/f/sbatch_n_%j.out")
    assert str(run.SlurmJobDetails(job_name="n", folder="/f").srun_stdout) == "/f/log-n_%j_${SLURM_RESTART_COUNT:-0}.out"
    assert run.SlurmJobDetails(folder="/f").ls_term == "/f/log*"
    assert Mine().to_settings()["stdout"] == "mine_%j.out"
    assert Mine(folder="/f").to_settings()["stdout"] == "/f/mine_%j.out"
    assert Mine().to_settings()["srun_stdout"] is None


def test_merging_as_nemo_run_does() -> None:
    one = run.SlurmExecutor(account="a")
    assert run.SlurmExecutor.merge([one], num_tasks=3) is one
    assert one.run_as_group
    assert one.resource_group == []
    many = [run.SlurmExecutor(account="a", nodes=number, env_vars={"N": str(number)}) for number in (1, 2)]
    merged = run.SlurmExecutor.merge(many, num_tasks=2)
    assert merged is many[0]
    assert [request.nodes for request in merged.resource_group] == [1, 2]
    assert [merged.member(number).nodes for number in range(2)] == [1, 2]
    assert merged.member(1).env_vars == {"N": "2"}
    heterogeneous = run.SlurmExecutor(heterogeneous=True, het_group_indices=[0, 1])
    assert [request.het_group_index for request in run.SlurmExecutor.merge([heterogeneous], 2).resource_group] == [0, 1]
    for executors, tasks in [
        (many, 3),
        ([run.SlurmExecutor(het_group_indices=[0, 1]), run.SlurmExecutor()], 2),
        ([run.SlurmExecutor(heterogeneous=True, het_group_indices=[1, 0])], 2),
    ]:
        with pytest.raises(run.ConfigError):
            run.SlurmExecutor.merge(executors, tasks)
    request = run.SlurmExecutor.ResourceRequest(packager=Packager(), nodes=1, ntasks_per_node=2)
    assert request.container_mounts == []


def test_the_alias_has_it() -> None:
    from mizzen.compat.names import MODULES

    for module in ("nemo_run", "nemo_run.core.execution", "nemo_run.core.execution.slurm"):
        assert MODULES[module]["SlurmExecutor"]
    names = {one.name for one in fields(run.SlurmExecutor)}
    assert {"account", "het_group_indices", "poll_estimated_start_time", "ray_template", "segment"} <= names
