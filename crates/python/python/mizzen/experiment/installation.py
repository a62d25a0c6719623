"""The library for the surroundings of the moment: the home, the ``mizzen`` executable, the environment.

Everything is read when it is asked for and nothing is kept: a changed ``MIZZEN_HOME`` holds from the next call on, and a
forked child has nothing of its parent's.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from mizzen.errors import ExperimentError, InstallationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mizzen._core import Core

__all__ = ["executors_surround", "find_program", "home_folder", "open_core", "working_folder"]


def home_folder(base_dir: str | os.PathLike[str] | None = None) -> str:
    """Mizzen's home.

    Args:
        base_dir: the home itself; otherwise ``MIZZEN_HOME`` names it, otherwise it is ``~/.mizzen``.

    Returns:
        Its absolute path. It need not exist.
    """
    named = os.fspath(base_dir) if base_dir is not None else os.environ.get("MIZZEN_HOME", "")
    folder = os.path.expanduser(named or os.path.join("~", ".mizzen"))
    if not os.path.isabs(folder):
        folder = os.path.join(working_folder(), folder)
    return os.path.normpath(folder)


def working_folder() -> str:
    """The working directory.

    Raises:
        ExperimentError: it is gone.
    """
    try:
        return os.getcwd()
    except OSError as error:
        raise ExperimentError(
            f"the working directory can't be read: {error.strerror}\nhint: change to a folder that is there"
        ) from None


def find_program() -> str:
    """The ``mizzen`` executable, which runs supervisors.

    It is looked for where this interpreter's scripts are, in the user's scheme, beside the package (``bin/`` of ``pip
    install --target``) and on ``PATH``; ``MIZZEN_PROGRAM`` names another one.

    Raises:
        InstallationError: it is in none of these places.
    """
    named = os.environ.get("MIZZEN_PROGRAM")
    if named:
        if not _is_executable(named):
            raise InstallationError(f"MIZZEN_PROGRAM names {named}, which is no executable file\nhint: unset it, or correct it")
        return os.path.abspath(named)
    looked = []
    for folder in _script_folders():
        program = os.path.join(folder, "mizzen")
        if _is_executable(program):
            return os.path.abspath(program)
        looked.append(folder)
    from shutil import which

    found = which("mizzen")
    if found is None:
        raise InstallationError(
            f"the `mizzen` executable is neither in {', '.join(looked)} nor on PATH\n"
            "hint: it comes with the package: install that again with pip, or name the executable in MIZZEN_PROGRAM"
        )
    return os.path.abspath(found)


def _script_folders() -> Iterator[str]:
    import sysconfig

    import mizzen

    yield sysconfig.get_path("scripts")
    try:
        yield sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))
    except KeyError:
        pass  # There are interpreters without a user scheme.
    package = os.path.dirname(os.path.abspath(mizzen.__file__))
    yield os.path.join(os.path.dirname(package), "bin")


def _is_executable(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def open_core(home: str | None = None, *, drives: bool = False, workdir: str | None = None) -> Core:
    """The library, told the surroundings of this moment.

    Args:
        home: Mizzen's home, absolute; the environment's if ``None``.
        drives: whether supervisors may be started, for which the ``mizzen`` executable must be there.
        workdir: the folder that relative paths start from; the working directory if ``None``.

    Raises:
        InstallationError: the extension module or, with ``drives``, the executable is missing.
    """
    try:
        from mizzen._core import Core
    except ImportError as error:
        raise InstallationError(
            f"mizzen's extension module can't be loaded: {error}\nhint: install the package again: `pip install --force-reinstall mizzen`"
        ) from error
    return Core(
        home if home is not None else home_folder(),
        find_program() if drives else "/nonexistent/mizzen",
        workdir if workdir is not None else working_folder(),
        _environment(),
        [sys.executable or "python3", *sys.argv],
    )


def executors_surround(home: str, base: str) -> bool:
    """Whether the user's ``executors.toml`` or the project's ``mizzen.toml`` may have executors of their own.

    Args:
        home: Mizzen's home.
        base: the folder that the experiment is launched from; the project's file stands there or above, up to its repository's root.
    """
    files = [os.path.join(home, "executors.toml")]
    folder = base
    while True:
        files.append(os.path.join(folder, "mizzen.toml"))
        parent = os.path.dirname(folder)
        if os.path.exists(files[-1]) or os.path.exists(os.path.join(folder, ".git")) or parent == folder:
            break
        folder = parent
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                if "executors" in file.read():
                    return True
        except OSError:
            continue  # The library says what is wrong with a file that is there and can't be read.
    return False


def _environment() -> dict[str, str]:
    """The variables whose names and values are text. Others do not reach jobs, as for the command line."""
    environment = dict(os.environ)
    try:
        "".join(environment.values()).encode()
        "".join(environment).encode()
    except UnicodeEncodeError:
        environment = {name: value for name, value in environment.items() if _is_text(name) and _is_text(value)}
    return environment


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
