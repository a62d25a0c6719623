"""Workspace files: Python files with factories and executors of the user's own.

They are executed only when somebody asks for it, by ``--workspace FILE`` or :func:`load_workspace`. None is looked for: a file that
lies in a folder, or above it, is never executed because a command ran there.
"""

from __future__ import annotations

import sys
from types import ModuleType

from mizzen.cli.errors import ArgumentValueError

__all__ = ["load_workspace"]


def load_workspace(path: str) -> ModuleType:
    """Executes a Python file, so that the factories and entry points in it are registered.

    Args:
        path: the file.

    Returns:
        the module that it makes, also in ``sys.modules`` under ``mizzen_workspace_<name>``.

    Raises:
        ArgumentValueError: there is no such file. What the file raises itself is not caught.
    """
    import os
    from importlib.util import module_from_spec, spec_from_file_location

    absolute = os.path.abspath(path)
    if not os.path.isfile(absolute):
        raise ArgumentValueError(f"there is no file {path}", path)
    stem = os.path.splitext(os.path.basename(absolute))[0]
    name = "mizzen_workspace_" + "".join(letter if letter.isalnum() else "_" for letter in stem)
    spec = spec_from_file_location(name, absolute)
    if spec is None or spec.loader is None:
        raise ArgumentValueError(f"{path} is no Python file", path)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
