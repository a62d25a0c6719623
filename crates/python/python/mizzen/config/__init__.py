"""Configurations: `Config`, `Partial` and `Script`, their documents, and what helps to write and read them.

Each name brings its module when it is first used, as in `mizzen` itself.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mizzen.config.buildable import (
        Buildable as Buildable,
        Config as Config,
        Partial as Partial,
    )
    from mizzen.config.building import (
        build as build,
        iterate as iterate,
        targets as targets,
        validate as validate,
    )
    from mizzen.config.converting import (
        autoconvert as autoconvert,
        default_autoconfig_buildable as default_autoconfig_buildable,
        dryrun_fn as dryrun_fn,
    )
    from mizzen.config.dicts import from_dict as from_dict
    from mizzen.config.diff import (
        Difference as Difference,
        difference as difference,
    )
    from mizzen.config.display import (
        Graph as Graph,
        help as help,
    )
    from mizzen.config.documents import (
        ConfigSerializer as ConfigSerializer,
        dump as dump,
        dumps as dumps,
        load as load,
        loads as loads,
    )
    from mizzen.config.home import (
        RUNDIR_NAME as RUNDIR_NAME,
        RUNDIR_SPECIAL_NAME as RUNDIR_SPECIAL_NAME,
        SCRIPTS_DIR as SCRIPTS_DIR,
        USE_WITH_RAY_CLUSTER_KEY as USE_WITH_RAY_CLUSTER_KEY,
        get_mizzen_home as get_mizzen_home,
        get_nemorun_home as get_nemorun_home,
        set_mizzen_home as set_mizzen_home,
        set_nemorun_home as set_nemorun_home,
    )
    from mizzen.config.hints import (
        OptionalDefaultConfig as OptionalDefaultConfig,
        OptionalDefaultPartial as OptionalDefaultPartial,
        get_type_namespace as get_type_namespace,
        get_underlying_types as get_underlying_types,
    )
    from mizzen.config.lazy import (
        LazyEntrypoint as LazyEntrypoint,
        lazy_imports as lazy_imports,
    )
    from mizzen.config.mixin import ConfigurableMixin as ConfigurableMixin
    from mizzen.config.paths import (
        get_value as get_value,
        set_value as set_value,
    )
    from mizzen.config.script import Script as Script
    from mizzen.config.signature import signature_of as signature_of
    from mizzen.config.target import (
        Target as Target,
        import_path as import_path,
    )
    from mizzen.config.deferred import Deferred as Deferred
    from mizzen.config.values import (
        decode as decode,
        encode as encode,
    )

_MODULES = {
    "mizzen.config.buildable": ("Buildable", "Config", "Partial"),
    "mizzen.config.building": ("build", "iterate", "targets", "validate"),
    "mizzen.config.converting": ("autoconvert", "default_autoconfig_buildable", "dryrun_fn"),
    "mizzen.config.dicts": ("from_dict",),
    "mizzen.config.diff": ("Difference", "difference"),
    "mizzen.config.display": ("Graph", "help"),
    "mizzen.config.documents": ("ConfigSerializer", "dump", "dumps", "load", "loads"),
    "mizzen.config.home": (
        "RUNDIR_NAME",
        "RUNDIR_SPECIAL_NAME",
        "SCRIPTS_DIR",
        "USE_WITH_RAY_CLUSTER_KEY",
        "get_mizzen_home",
        "get_nemorun_home",
        "set_mizzen_home",
        "set_nemorun_home",
    ),
    "mizzen.config.hints": ("OptionalDefaultConfig", "OptionalDefaultPartial", "get_type_namespace", "get_underlying_types"),
    "mizzen.config.lazy": ("LazyEntrypoint", "lazy_imports"),
    "mizzen.config.mixin": ("ConfigurableMixin",),
    "mizzen.config.paths": ("get_value", "set_value"),
    "mizzen.config.script": ("Script",),
    "mizzen.config.signature": ("signature_of",),
    "mizzen.config.target": ("Target", "import_path"),
    "mizzen.config.deferred": ("Deferred",),
    "mizzen.config.values": ("decode", "encode"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'mizzen.config' has no attribute '{name}'")
    value: object = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
