"""The finder that answers ``import nemo_run…``, and the modules that it makes.

A module's names come from :mod:`mizzen.compat.names` and are looked up when they are first used, so that importing the alias
costs nothing. Pitfall: ``nemo_run.run`` is a function and a package at once, as in NeMo-Run; the import system sets a package as
its parent's attribute, and a name of the table must survive that (:meth:`AliasModule.__setattr__`).
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

from mizzen.compat import AliasError, path
from mizzen.compat.names import ALL, MODULES, NEW_HOMES, children, look_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["AliasModule", "Finder", "in_front_of", "install", "take_over", "uninstall"]

ROOT = "nemo_run"


class AliasModule(ModuleType):
    """A module of NeMo-Run's whose names are Mizzen's objects."""

    def __getattr__(self, name: str) -> object:
        module = self.__name__
        if name.startswith("__") and name not in MODULES[module]:
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        if name in MODULES[module]:
            value = look_up(module, name)
            ModuleType.__setattr__(self, name, value)
            return value
        if f"{module}.{name}" in MODULES:
            # NeMo-Run imports all of its modules at once; whoever has one of them has all.
            return import_module(f"{module}.{name}")
        raise AttributeError(
            f"module '{module}' has no attribute '{name}' ('{ROOT}' is Mizzen's alias here: docs/migrating-from-nemo-run.md)"
        )

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, AliasModule) and name in MODULES[self.__name__]:
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *MODULES[self.__name__], *children(self.__name__)})


class Finder:
    """Finds ``nemo_run`` and what is below it."""

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of NeMo-Run's modules; ``None`` for all others.

        Raises:
            ModuleNotFoundError: NeMo-Run has such a module, and Mizzen does not: with what to use.
        """
        if fullname != ROOT and not fullname.startswith(f"{ROOT}."):
            return None
        if fullname in MODULES:
            # The abstract class that typeshed asks for would have to be imported, for nothing.
            loader: Any = cls
            return ModuleSpec(fullname, loader, origin="mizzen.compat", is_package=bool(children(fullname)))
        advice = NEW_HOMES.get(fullname)
        if advice is None and fullname.rpartition(".")[0] in MODULES:
            advice = "the alias has no such module"
        if advice is None:
            return None
        raise ModuleNotFoundError(
            f"No module named '{fullname}': '{ROOT}' is Mizzen's alias here, and {advice}", name=fullname
        )

    @classmethod
    def create_module(cls, spec: ModuleSpec) -> AliasModule:
        """An empty module; its names come when they are used."""
        return AliasModule(spec.name, f"`{spec.name}` on Mizzen: an alias (`mizzen.compat`).")

    @classmethod
    def exec_module(cls, module: ModuleType) -> None:
        """Gives the module the names that ``from … import *`` takes."""
        if module.__name__ in ALL:
            module.__dict__["__all__"] = list(ALL[module.__name__])


def install() -> None:
    """Puts the finder in front. See :func:`mizzen.compat.install`."""
    there = sys.modules.get(ROOT)
    if there is not None and not isinstance(there, AliasModule):
        raise AliasError(
            f"`nemo_run` is imported already, from {getattr(there, '__file__', None) or there!r}: its objects and Mizzen's can't "
            "be mixed\nhint: call `mizzen.compat.install()` before the first import of nemo_run, or run the script with "
            "`python -m mizzen.compat`"
        )
    _put_in_front()
    # The processes that this one starts, jobs on this machine among them, get its environment.
    os.environ["PYTHONPATH"] = in_front_of(os.environ.get("PYTHONPATH", ""))


def in_front_of(search_path: str) -> str:
    """A value of ``PYTHONPATH`` with the alias's folder at its beginning."""
    others = [folder for folder in search_path.split(os.pathsep) if folder and folder != path()]
    return os.pathsep.join([path(), *others])


def _put_in_front() -> None:
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)


def take_over() -> None:
    """Puts the alias in the place of the module that is just being imported from the folder on ``PYTHONPATH``."""
    _put_in_front()
    del sys.modules[ROOT]
    import_module(ROOT)


def uninstall() -> None:
    """Takes the finder, the modules and the folder on ``PYTHONPATH`` away."""
    if Finder in sys.meta_path:
        sys.meta_path.remove(Finder)
    for name in [name for name, module in sys.modules.items() if isinstance(module, AliasModule)]:
        del sys.modules[name]
    others = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder and folder != path()]
    if others:
        os.environ["PYTHONPATH"] = os.pathsep.join(others)
    else:
        os.environ.pop("PYTHONPATH", None)
