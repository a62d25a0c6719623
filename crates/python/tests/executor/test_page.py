"""The page that Mizzen was started from: every name on it, with its type and its default."""

from __future__ import annotations

import inspect
import typing
from dataclasses import MISSING, fields

import pytest

import mizzen
from mizzen.config import ConfigurableMixin
from mizzen.executor import Executor, ExecutorMacros, LogSupportedExecutor, import_executor
from mizzen.launcher import Launcher
from mizzen.packager import Packager


def test_the_names_of_the_module() -> None:
    for name in ("Executor", "ExecutorMacros", "LogSupportedExecutor", "import_executor"):
        assert getattr(mizzen, name) is not None
    assert issubclass(Executor, ConfigurableMixin)
    assert issubclass(ExecutorMacros, ConfigurableMixin)
    assert typing.Protocol in LogSupportedExecutor.__mro__


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("assign", ["exp_id", "exp_dir", "task_id", "task_dir"]),
        ("cleanup", ["handle"]),
        ("clone", []),
        ("create_job_dir", []),
        ("get_launcher", []),
        ("get_launcher_prefix", []),
        ("get_nsys_entrypoint", []),
        ("info", []),
        ("macro_values", []),
        ("nnodes", []),
        ("nproc_per_node", []),
        ("package_configs", ["cfgs"]),
        ("supports_launcher_transform", []),
    ],
)
def test_the_methods_of_an_executor(name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(Executor, name)).parameters) == ["self", *parameters]


def test_the_attributes_of_an_executor() -> None:
    defaults = {one.name: one.default_factory() if one.default_factory is not MISSING else one.default for one in fields(Executor)}
    assert defaults == {
        "packager": Packager(),
        "launcher": None,
        "env_vars": {},
        "retries": 0,
        "experiment_id": None,
        "job_dir": "",
        "experiment_dir": "",
    }
    assert all(one.kw_only for one in fields(Executor) if one.init)
    assert [one.name for one in fields(Executor) if not one.init] == ["experiment_dir"]
    hints = typing.get_type_hints(Executor)
    assert hints["packager"] is Packager
    assert hints["launcher"] == Launcher | str | None
    assert hints["env_vars"] == dict[str, str]
    assert hints["retries"] is int
    assert hints["experiment_id"] == str | None
    assert hints["job_dir"] is hints["experiment_dir"] is str


def test_the_macros() -> None:
    assert ExecutorMacros.HEAD_NODE_IP_VAR == "${head_node_ip_var}"
    assert ExecutorMacros.NPROC_PER_NODE_VAR == "${nproc_per_node_var}"
    assert ExecutorMacros.NUM_NODES_VAR == "${num_nodes_var}"
    assert ExecutorMacros.NODE_RANK_VAR == "${node_rank_var}"
    assert ExecutorMacros.FT_LAUNCHER_CFG_PATH_VAR == "${ft_launcher_cfg_path_var}"
    names = [one.name for one in fields(ExecutorMacros)]
    assert names[:5] == ["head_node_ip_var", "nproc_per_node_var", "num_nodes_var", "node_rank_var", "het_group_host_var"]
    assert {one.name: one.default for one in fields(ExecutorMacros) if one.default is not MISSING} == {
        "ft_launcher_cfg_path_var": "FAULT_TOL_CFG_PATH"
    }
    assert isinstance(inspect.getattr_static(ExecutorMacros, "group_host"), staticmethod)
    assert list(inspect.signature(ExecutorMacros.substitute).parameters) == ["self", "arg"]
    assert list(inspect.signature(ExecutorMacros.apply).parameters) == ["self", "role"]


def test_logs_of_a_place() -> None:
    assert list(inspect.signature(LogSupportedExecutor.logs).parameters) == ["app_id", "fallback_path"]

    class Place:
        @classmethod
        def logs(cls, app_id: str, fallback_path: str | None) -> None:
            pass

    assert isinstance(Place(), LogSupportedExecutor)
    assert not isinstance(Executor(), LogSupportedExecutor)


def test_importing_executors() -> None:
    parameters = inspect.signature(import_executor).parameters
    assert list(parameters) == ["name", "file_path", "call", "kwargs"]
    assert parameters["file_path"].default is None
    assert parameters["call"].default is True
    assert parameters["kwargs"].kind is inspect.Parameter.VAR_KEYWORD
