"""Where NeMo-Run's names are in Mizzen, module by module.

Sources of the names: the public names of NeMo-Run 0.11 and 0.12, and those without ``__all__`` that its documentation and the
code around it import. To add one: a word in :data:`MODULES`; ``mizzen.…:name`` where the name differs.
"""

from __future__ import annotations

from importlib import import_module

from mizzen.compat.missing import MISSING, placeholder

__all__ = ["ALL", "MODULES", "NEW_HOMES", "children", "look_up"]

#: NeMo-Run's version whose names these are, with Mizzen's own behind it: newer than any condition on 0.12 asks for.
VERSION = "0.12.0"

_CONFIG = "mizzen.config"
_EXECUTOR = "mizzen.executor"
_EXPERIMENT = "mizzen.experiment"
_CLI = "mizzen.cli"
_PACKAGER = "mizzen.packager"


def _of(module: str, *names: str) -> dict[str, str]:
    return {name: f"{module}:{name}" for name in names}


def _missing(*names: str) -> dict[str, str]:
    return {name: "" for name in names}


_API = _of(_CONFIG, "autoconvert", "default_autoconfig_buildable", "dryrun_fn")
_CONFIGURATION = _of(
    _CONFIG,
    "Config",
    "ConfigurableMixin",
    "OptionalDefaultConfig",
    "OptionalDefaultPartial",
    "Partial",
    "RUNDIR_NAME",
    "RUNDIR_SPECIAL_NAME",
    "SCRIPTS_DIR",
    "Script",
    "USE_WITH_RAY_CLUSTER_KEY",
    "from_dict",
    "get_nemorun_home",
    "get_type_namespace",
    "get_underlying_types",
    "set_nemorun_home",
    "set_value",
)
_LAZY = _of(_CONFIG, "LazyEntrypoint", "lazy_imports")
_CLI_NAMES = _of(
    _CLI,
    "RunContext",
    "create_cli",
    "entrypoint",
    "factory",
    "list_entrypoints",
    "list_factories",
    "main",
    "parse_cli_args",
    "parse_config",
    "parse_partial",
    "resolve_factory",
)
_PACKAGING = _of(_PACKAGER, "GitArchivePackager", "HybridPackager", "Packager", "PatternPackager")
_LAUNCHING = _of("mizzen.launcher", "FaultTolerance", "Launcher", "SlurmRay", "SlurmTemplate", "Torchrun")
_TUNNEL = _of("mizzen.tunnel", "LocalTunnel", "SSHTunnel")
_JOBS = _of(_EXPERIMENT, "Job", "JobGroup")

#: For each module of NeMo-Run's: its names, and where they are. Nothing behind a name: Mizzen may have it one day
#: (:mod:`mizzen.compat.missing` has the words).
MODULES: dict[str, dict[str, str]] = {
    "nemo_run": {
        **_of(_CONFIG, "Config", "ConfigurableMixin", "Partial", "Script", "autoconvert", "dryrun_fn", "help"),
        **_LAZY,
        **_of(_EXECUTOR, "DockerExecutor", "Executor", "ExecutorMacros", "LocalExecutor", "SlurmExecutor", "import_executor"),
        **_of(_EXPERIMENT, "Experiment", "run"),
        **_of("mizzen.plugin", "Plugin"),
        **_of("mizzen.devspace", "DevSpace"),
        **{name: where for name, where in _LAUNCHING.items() if name != "Launcher"},
        **_PACKAGING,
        **_TUNNEL,
        **_missing(
            "DGXCloudExecutor",
            "KubeflowExecutor",
            "LeptonExecutor",
            "SkypilotExecutor",
            "SkypilotJobsExecutor",
        ),
        "__package_name__": "mizzen.compat.names:PACKAGE_NAME",
        "__version__": "mizzen.compat.names:version",
    },
    "nemo_run.api": _API,
    "nemo_run.cli": _CLI_NAMES,
    "nemo_run.cli.api": {**_CLI_NAMES, **_of(_CLI, "CommandDefaults")},
    "nemo_run.cli.cli_parser": {
        **_of(
            f"{_CLI}.errors",
            "ArgumentParsingError",
            "ArgumentValueError",
            "CLIException",
            "CollectionParseError",
            "DictParseError",
            "ListParseError",
            "LiteralParseError",
            "OperationError",
            "ParseError",
            "TypeParsingError",
            "UndefinedVariableError",
            "UnknownTypeError",
        ),
        **_of(_CLI, "parse_cli_args", "parse_config", "parse_partial"),
    },
    "nemo_run.cli.config": _of(_CONFIG, "ConfigSerializer"),
    "nemo_run.cli.lazy": _LAZY,
    "nemo_run.config": _CONFIGURATION,
    "nemo_run.core": {},
    "nemo_run.core.execution": {
        **_of(_EXECUTOR, "LocalExecutor", "SlurmExecutor"),
        **_missing("DGXCloudExecutor", "KubeflowExecutor", "LeptonExecutor", "SkypilotExecutor"),
    },
    "nemo_run.core.execution.base": _of(
        _EXECUTOR, "Executor", "ExecutorMacros", "LogSupportedExecutor", "import_executor"
    ),
    "nemo_run.core.execution.dgxcloud": _missing("DGXCloudExecutor"),
    "nemo_run.core.execution.docker": _of(_EXECUTOR, "DockerExecutor"),
    "nemo_run.core.execution.kubeflow": _missing("KubeflowExecutor"),
    "nemo_run.core.execution.kuberay": _missing("KubeRayExecutor", "KubeRayWorkerGroup"),
    "nemo_run.core.execution.launcher": _LAUNCHING,
    "nemo_run.core.execution.lepton": _missing("LeptonExecutor"),
    "nemo_run.core.execution.local": _of(_EXECUTOR, "LocalExecutor"),
    "nemo_run.core.execution.skypilot": _missing("SkypilotExecutor"),
    "nemo_run.core.execution.skypilot_jobs": _missing("SkypilotJobsExecutor"),
    "nemo_run.core.execution.slurm": _of(_EXECUTOR, "SlurmExecutor", "SlurmJobDetails"),
    "nemo_run.core.packaging": _PACKAGING,
    "nemo_run.core.packaging.base": _of(_PACKAGER, "Packager"),
    "nemo_run.core.packaging.git": _of(_PACKAGER, "GitArchivePackager"),
    "nemo_run.core.packaging.hybrid": _of(_PACKAGER, "HybridPackager"),
    "nemo_run.core.packaging.pattern": _of(_PACKAGER, "PatternPackager"),
    "nemo_run.core.tunnel": _TUNNEL,
    "nemo_run.core.tunnel.client": {**_TUNNEL, **_of("mizzen.tunnel", "Tunnel"), **_missing("PackagingJob")},
    "nemo_run.devspace": _of("mizzen.devspace", "DevSpace"),
    "nemo_run.devspace.base": _of("mizzen.devspace", "DevSpace"),
    "nemo_run.exceptions": {
        "SetValueError": "mizzen.errors:SetValueError",
        "UnknownStatusError": "mizzen.errors:UnreachableError",
    },
    "nemo_run.help": _of(_CONFIG, "help"),
    "nemo_run.lazy": _LAZY,
    "nemo_run.package_info": {
        "__package_name__": "mizzen.compat.names:PACKAGE_NAME",
        "__version__": "mizzen.compat.names:version",
    },
    "nemo_run.run": {},
    "nemo_run.run.api": _of(_EXPERIMENT, "run"),
    "nemo_run.run.experiment": {**_of(_EXPERIMENT, "Experiment"), **_JOBS},
    "nemo_run.run.job": _JOBS,
    "nemo_run.run.plugin": {"ExperimentPlugin": "mizzen.plugin:Plugin"},
    "nemo_run.run.ray": {},
    "nemo_run.run.ray.cluster": _missing("RayCluster"),
    "nemo_run.run.ray.job": _missing("RayJob"),
}

#: What ``from … import *`` takes, for the modules that say so in NeMo-Run.
ALL: dict[str, list[str]] = {
    name: sorted(MODULES[name])
    for name in (
        "nemo_run",
        "nemo_run.cli",
        "nemo_run.core.execution",
        "nemo_run.core.packaging",
        "nemo_run.core.packaging.base",
        "nemo_run.core.packaging.git",
        "nemo_run.core.packaging.pattern",
        "nemo_run.core.tunnel",
        "nemo_run.devspace",
    )
}
ALL["nemo_run"].append("cli")

#: Modules that Mizzen will not have under these names, and what does their work.
NEW_HOMES: dict[str, str] = {
    "nemo_run.__main__": "the command line is `mizzen`",
    "nemo_run.cli.devspace": "it has no devspaces yet",
    "nemo_run.cli.experiment": "the commands are `mizzen ls`, `status`, `logs` and `cancel`",
    "nemo_run.cli.workspace": "workspace files are not run",
    "nemo_run.core.frontend": "it leaves the console and logging alone",
    "nemo_run.core.runners": "jobs run `mizzen.job.runner`, which travels with them",
    "nemo_run.core.serialization": "documents are `Config.to_yaml()`, `to_json()` and `to_toml()`, read by `mizzen.config.loads`",
    "nemo_run.core.tunnel.rsync": "files are sent over the connection that is open, by `mizzen` itself",
    "nemo_run.core.tunnel.server": "it has no devspaces yet",
    "nemo_run.run.logs": "logs are `Experiment.logs` and `mizzen logs`",
    "nemo_run.run.task": "a task is run directly by `run.run(task, direct=True)`",
    "nemo_run.run.torchx_backend": "nothing of TorchX is used: executors are `mizzen.executor`",
}

PACKAGE_NAME = "nemo_run"


def children(module: str) -> list[str]:
    """The names of the modules directly below one.

    Args:
        module: a full name.

    Returns:
        Their last parts, sorted.
    """
    below = [name[len(module) + 1 :] for name in MODULES if name.startswith(f"{module}.")]
    return sorted({name for name in below if "." not in name})


def look_up(module: str, name: str) -> object:
    """The object behind a name of a module.

    Args:
        module: one of :data:`MODULES`.
        name: one of its names.

    Returns:
        Mizzen's object; for what Mizzen does not have yet, something that says so when it is used.
    """
    where = MODULES[module][name]
    if where == "mizzen.compat.names:version":
        from mizzen import __version__

        return f"{VERSION}+mizzen.{__version__}"
    if where:
        home, _, attribute = where.partition(":")
        value: object = getattr(import_module(home), attribute)
        return value
    # A later Mizzen may have it already, and this table be the older of the two.
    import mizzen

    found = getattr(mizzen, name, None) if name in mizzen.__all__ else None
    return found if found is not None else placeholder(module, name, MISSING[name])
