"""The Docker executor: every setting of the Rust one, NeMo-Run's surface, jobs on a real engine where one is there."""

from __future__ import annotations

import json

import mizzen as run
from mizzen.executor import executor_from


def a_docker_executor() -> run.DockerExecutor:
    return run.DockerExecutor(
        container_image="python:3.12-slim",
        ntasks_per_node=2,
        runtime="nvidia",
        num_gpus=-1,
        shm_size="16g",
        ulimits=["memlock:-1:-1"],
        ipc_mode="host",
        healthcheck={"test": ["CMD", "true"], "interval": 1_000_000_000},
        privileged=True,
        network="nemo_run",
        volumes=["/$nemo_run/out:/out"],
        additional_kwargs={"cap_add": ["SYS_PTRACE"]},
        memory="16GiB",
        cpus=1.5,
        engine="podman",
        tunnel=run.SSHTunnel(host="box", job_dir="/home/me/jobs"),
        env_vars={"A": "1"},
        retries=2,
    )


def test_it_has_every_setting_of_its_kind() -> None:
    from mizzen import _core

    properties = json.loads(_core.executor_kinds())["docker"]["properties"]
    written = run.DockerExecutor().to_settings()
    assert set(written) == set(properties)
    for name, schema in properties.items():
        if name == "tunnel":
            assert written[name] == {"kind": "local"}
            continue
        # Without a packager it is the place's own.
        default = None if name == "packager" else schema.get("default")
        assert written[name] == default, name


def test_settings_go_and_come_back() -> None:
    executor = a_docker_executor()
    settings = json.loads(json.dumps(executor.to_settings()))
    assert executor_from("docker", settings) == executor
    assert executor.clone() == executor


def test_nemo_runs_surface() -> None:
    executor = run.DockerExecutor(container_image="i", nodes=2, ntasks_per_node=4)
    assert (executor.nnodes(), executor.nproc_per_node()) == (2, 4)
    assert run.DockerExecutor().nnodes() == 1
    macros = executor.macro_values()
    assert macros is not None
    assert macros.node_rank_var == "MIZZEN_NODE_RANK"
