"""Mizzen: configure, launch, watch and record machine-learning experiments.

``import mizzen as run`` loads nothing but this table; each name brings its module when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen import cli as cli
    from mizzen.config import (
        Config as Config,
        ConfigurableMixin as ConfigurableMixin,
        LazyEntrypoint as LazyEntrypoint,
        OptionalDefaultConfig as OptionalDefaultConfig,
        OptionalDefaultPartial as OptionalDefaultPartial,
        Partial as Partial,
        Script as Script,
        autoconvert as autoconvert,
        build as build,
        dryrun_fn as dryrun_fn,
        from_dict as from_dict,
        help as help,
        lazy_imports as lazy_imports,
        set_value as set_value,
    )
    from mizzen.devspace import DevSpace as DevSpace
    from mizzen.errors import (
        ArgumentError as ArgumentError,
        ConfigError as ConfigError,
        ConfigTypeError as ConfigTypeError,
        ExperimentError as ExperimentError,
        InstallationError as InstallationError,
        JobFailed as JobFailed,
        MizzenError as MizzenError,
        NotFoundError as NotFoundError,
        RefusedError as RefusedError,
        ResultError as ResultError,
        SerializationError as SerializationError,
        SetValueError as SetValueError,
        StoreError as StoreError,
        UnreachableError as UnreachableError,
    )
    from mizzen.executor import (
        DockerExecutor as DockerExecutor,
        Executor as Executor,
        ExecutorMacros as ExecutorMacros,
        LocalExecutor as LocalExecutor,
        LogSupportedExecutor as LogSupportedExecutor,
        Role as Role,
        SlurmExecutor as SlurmExecutor,
        SlurmJobDetails as SlurmJobDetails,
        import_executor as import_executor,
    )
    from mizzen.experiment import (
        Experiment as Experiment,
        Job as Job,
        JobGroup as JobGroup,
        RunResult as RunResult,
        run as run,
        run_async as run_async,
    )
    from mizzen.launcher import (
        CommandLauncher as CommandLauncher,
        FaultTolerance as FaultTolerance,
        Launcher as Launcher,
        Ranks as Ranks,
        SlurmRay as SlurmRay,
        SlurmTemplate as SlurmTemplate,
        Torchrun as Torchrun,
    )
    from mizzen.packager import (
        GitArchivePackager as GitArchivePackager,
        HybridPackager as HybridPackager,
        Packager as Packager,
        PassthroughPackager as PassthroughPackager,
        PatternPackager as PatternPackager,
        WorkingTreePackager as WorkingTreePackager,
    )
    from mizzen.plugin import Plugin as Plugin
    from mizzen.tunnel import LocalTunnel as LocalTunnel, SSHTunnel as SSHTunnel

__package_name__ = "mizzen"
__version__ = "0.1.0"

_MODULES = {
    "mizzen.config": (
        "Config",
        "ConfigurableMixin",
        "LazyEntrypoint",
        "OptionalDefaultConfig",
        "OptionalDefaultPartial",
        "Partial",
        "Script",
        "autoconvert",
        "build",
        "dryrun_fn",
        "from_dict",
        "help",
        "lazy_imports",
        "set_value",
    ),
    "mizzen.devspace": ("DevSpace",),
    "mizzen.errors": (
        "ArgumentError",
        "ConfigError",
        "ConfigTypeError",
        "ExperimentError",
        "InstallationError",
        "JobFailed",
        "MizzenError",
        "NotFoundError",
        "RefusedError",
        "ResultError",
        "SerializationError",
        "SetValueError",
        "StoreError",
        "UnreachableError",
    ),
    "mizzen.executor": (
        "DockerExecutor",
        "Executor",
        "ExecutorMacros",
        "LocalExecutor",
        "LogSupportedExecutor",
        "Role",
        "SlurmExecutor",
        "SlurmJobDetails",
        "import_executor",
    ),
    "mizzen.experiment": ("Experiment", "Job", "JobGroup", "RunResult", "run", "run_async"),
    "mizzen.launcher": ("CommandLauncher", "FaultTolerance", "Launcher", "Ranks", "SlurmRay", "SlurmTemplate", "Torchrun"),
    "mizzen.packager": ("GitArchivePackager", "HybridPackager", "Packager", "PassthroughPackager", "PatternPackager", "WorkingTreePackager"),
    "mizzen.plugin": ("Plugin",),
    "mizzen.tunnel": ("LocalTunnel", "SSHTunnel"),
}
_SUBMODULES = ("cli", "config", "devspace", "errors", "executor", "experiment", "job", "launcher", "packager", "plugin", "tunnel")
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_HOMES, "cli", "__version__", "__package_name__"]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name in _HOMES:
        value: object = getattr(import_module(_HOMES[name]), name)
    elif name in _SUBMODULES:
        value = import_module(f"mizzen.{name}")
    else:
        raise AttributeError(f"module 'mizzen' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
