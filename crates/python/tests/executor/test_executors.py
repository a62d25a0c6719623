"""Executors, launchers and packagers as values."""

from __future__ import annotations

import json
import pickle
from copy import deepcopy
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mizzen.config import Config, build
from mizzen.errors import ConfigError
from mizzen.executor import Executor, ExecutorMacros, LocalExecutor, Role, executor_from
from mizzen.launcher import Launcher
from mizzen.packager import Packager


def a_local_executor() -> LocalExecutor:
    return LocalExecutor(
        ntasks_per_node=2,
        gpus=1,
        devices=["0", "1"],
        timeout="2h",
        env_vars={"A": "1"},
        retries=2,
        launcher=Launcher(nsys_profile=True),
        packager=Packager(debug=True),
    )


def test_the_local_executor_has_every_setting_of_its_kind() -> None:
    from mizzen import _core

    properties = json.loads(_core.executor_kinds())["local"]["properties"]
    settings = {one.name for one in fields(LocalExecutor)} - {"experiment_id", "job_dir", "experiment_dir"}
    assert settings == set(properties)
    written = LocalExecutor().to_settings()
    # What is left out is the place's own.
    assert written.pop("packager") is None
    for name in written:
        assert written[name] == properties[name].get("default"), name


def test_every_kind_has_a_class() -> None:
    from mizzen import _core
    from mizzen.executor.base import KINDS

    assert set(KINDS) == set(json.loads(_core.executor_kinds()))
    for kind in KINDS:
        assert executor_from(kind, {}).kind == kind


def test_the_launcher_has_every_setting_of_the_rust_one() -> None:
    settings = Launcher().to_settings()
    assert settings == {
        "kind": "none",
        "nsys_profile": False,
        "nsys_folder": "nsys_profile",
        "nsys_filename": "profile_%p",
        "nsys_trace": ["nvtx", "cuda"],
        "nsys_extra_args": [
            "--force-overwrite=true",
            "--capture-range=cudaProfilerApi",
            "--capture-range-end=stop",
            "--cuda-graph-trace=node",
            "--cuda-event-trace=false",
        ],
        "nsys_gpu_metrics": False,
    }


def test_executors_are_values() -> None:
    executor = a_local_executor()
    assert executor == a_local_executor()
    assert executor != LocalExecutor()
    assert build(executor.to_config()) == executor
    assert isinstance(executor.to_config(), Config)
    assert pickle.loads(pickle.dumps(executor)) == deepcopy(executor) == executor
    clone = executor.clone()
    clone.env_vars["B"] = "2"
    clone.packager.debug = False
    assert executor == a_local_executor()


def test_a_clone_keeps_what_the_constructor_does_not_take() -> None:
    executor = LocalExecutor()
    executor.assign("abc", "/experiments/x/abc", "train", "train")
    clone = executor.clone()
    assert (clone.experiment_id, clone.experiment_dir, clone.job_dir) == ("abc", "/experiments/x/abc", "/experiments/x/abc/train")


def test_settings_go_and_come_back() -> None:
    executor = a_local_executor()
    settings = json.loads(json.dumps(executor.to_settings()))
    assert executor_from("local", settings) == executor
    executor.assign("abc", "/e", "j", "j")
    assert executor.to_settings() == settings


def test_a_subclass_is_of_its_kind() -> None:
    from dataclasses import dataclass

    @dataclass(kw_only=True)
    class Mine(LocalExecutor):
        ntasks_per_node: int = 4
        note: str = ""

    assert Mine().to_settings()["ntasks_per_node"] == 4
    assert "note" not in Mine().to_settings()


def test_what_an_executor_says_about_itself() -> None:
    executor = LocalExecutor(nodes=2, ntasks_per_node=4)
    assert (executor.nnodes(), executor.nproc_per_node()) == (2, 4)
    assert executor.info() == "local executor: 2 node(s) with 4 process(es) each"
    assert executor.get_nsys_entrypoint() == "nsys"
    assert not executor.supports_launcher_transform()
    assert executor.get_launcher() == Launcher()
    assert executor.get_launcher_prefix() is None
    executor.cleanup("local://x")


def test_the_profilers_words() -> None:
    executor = LocalExecutor(launcher=Launcher(nsys_profile=True, nsys_gpu_metrics=True), job_dir="/job")
    assert executor.get_launcher_prefix() == (
        "profile -s none -t nvtx,cuda -o /job/nsys_profile/profile_%p --force-overwrite=true --capture-range=cudaProfilerApi "
        "--capture-range-end=stop --cuda-graph-trace=node --cuda-event-trace=false --gpu-metrics-device=all"
    ).split(" ")
    assert Launcher().transform(["a"]) is None


def test_launchers_by_name() -> None:
    assert LocalExecutor(launcher="none").get_launcher() == Launcher()
    with pytest.raises(ConfigError, match=r"no launcher `torchrum`; there are: none, torchrun, ft"):
        LocalExecutor(launcher="torchrum").get_launcher()


def test_an_executor_without_a_place() -> None:
    with pytest.raises(NotImplementedError, match="nnodes"):
        Executor().nnodes()
    with pytest.raises(NotImplementedError, match="nproc_per_node"):
        Executor().nproc_per_node()
    assert Executor().macro_values() is None
    with pytest.raises(ConfigError, match="no kind of executor that jobs can run on; there are: local"):
        Executor().to_settings()


def test_unknown_settings_are_named() -> None:
    with pytest.raises(ConfigError, match="no setting `slot`; did you mean `slots`"):
        executor_from("local", {"slot": 1})
    with pytest.raises(ConfigError, match="no kind of executor `locl`; did you mean `local`"):
        executor_from("locl", {})


def test_files_of_a_job(tmp_path: Path) -> None:
    executor = LocalExecutor()
    executor.assign("abc", str(tmp_path / "e"), "j", "j")
    executor.create_job_dir()
    executor.create_job_dir()
    assert Path(executor.job_dir).stat().st_mode & 0o777 == 0o700
    paths = executor.package_configs(("a.yaml", "x: 1\n"), ("deep/b.txt", "ü"))
    assert paths == [f"{executor.job_dir}/configs/a.yaml", f"{executor.job_dir}/configs/deep/b.txt"]
    assert [Path(path).read_text(encoding="utf-8") for path in paths] == ["x: 1\n", "ü"]
    assert Path(paths[1]).stat().st_mode & 0o777 == 0o600
    assert Packager().package("/tree", executor.job_dir, "code") == ""


def test_macros() -> None:
    macros = ExecutorMacros("head", "nproc", "nodes", "rank", "host")
    assert macros.substitute(f"$${ExecutorMacros.HEAD_NODE_IP_VAR}:29500") == "$head:29500"
    assert macros.substitute("$num_nodes_var ${node_rank_var} $HOME $$ ${unknown} $") == "nodes rank $HOME $ ${unknown} $"
    assert macros.substitute(ExecutorMacros.FT_LAUNCHER_CFG_PATH_VAR) == "FAULT_TOL_CFG_PATH"
    assert macros.substitute(ExecutorMacros.group_host(2)) == "$host_2"
    assert LocalExecutor().macro_values() == ExecutorMacros(
        "MIZZEN_HEAD_NODE_IP", "MIZZEN_NPROC_PER_NODE", "MIZZEN_NUM_NODES", "MIZZEN_NODE_RANK", "MIZZEN_GROUP_HOST"
    )


def test_macros_are_applied_to_a_copy() -> None:
    macros = ExecutorMacros("head", "nproc", "nodes", "rank", "host")
    role = Role(name="r", entrypoint="${num_nodes_var}", args=["${num_nodes_var}"], env={"A": "$${node_rank_var}"})
    applied = macros.apply(role)
    assert (applied.entrypoint, applied.args, applied.env) == ("${num_nodes_var}", ["nodes"], {"A": "${node_rank_var}"})
    assert role.args == ["${num_nodes_var}"]


@dataclass
class TorchxRole:
    """As ``torchx.specs.Role``, where TorchX is not installed."""

    name: str
    image: str
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)


def torchx_role() -> Any:
    """TorchX's role itself if it is there: nothing of ours needs it."""
    try:
        return import_module("torchx.specs").Role
    except ImportError:
        return TorchxRole


def test_macros_are_applied_to_torchx_roles() -> None:
    macros = ExecutorMacros("head", "nproc", "nodes", "rank", "host")
    kind = torchx_role()
    role = kind(name="r", image="", args=["--nodes=${num_nodes_var}"], env={"A": "$$${node_rank_var}"})
    applied = macros.apply(role)
    assert type(applied) is kind
    assert (applied.args, applied.env) == (["--nodes=nodes"], {"A": "$rank"})
    assert role.args == ["--nodes=${num_nodes_var}"]


@given(st.text(alphabet="$ab{}_ "))
def test_text_without_macros_is_only_freed_of_doubled_dollars(text: str) -> None:
    macros = ExecutorMacros("head", "nproc", "nodes", "rank", "host")
    assert macros.substitute(text.replace("$", "$$")) == text
