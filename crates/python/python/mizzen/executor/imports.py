"""Executors by name, from the user's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mizzen.errors import ConfigError, ConfigTypeError, NotFoundError
from mizzen.executor.base import Executor, executor_from, similar

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["import_executor"]


def import_executor(name: str, file_path: str | None = None, call: bool = True, **kwargs: Any) -> Executor:
    """An executor by its name.

    Without ``file_path`` it is looked for in ``executors.toml`` in Mizzen's home, which is data, then in ``executors.py``
    beside it, which is run. Nothing but this function ever runs that file, and only when it is asked for a name that
    ``executors.toml`` does not have.

    Args:
        name: the executor's name: a table under ``executors`` in a document, a variable or a function in a Python file.
        file_path: the file: ``.py``, or ``.toml``, ``.yaml``, ``.json``.
        call: call what a Python file has under that name, if it can be called, with ``kwargs``. With ``False`` it is handed
            back as it is.
        kwargs: arguments for the function; for an executor that is no function, settings to be changed in a copy of it.

    Returns:
        The executor; with ``call=False`` whatever the Python file has under that name.

    Raises:
        NotFoundError: there is no such file, or no such name in it; the message lists those that there are.
        ConfigError: a document is wrong, or has no setting of the name of an argument.
        ConfigTypeError: what was called did not return an executor.
    """
    import os

    if not call and kwargs:
        raise ConfigError(f"`{next(iter(kwargs))}` can't be handed over with call=False: nothing is called")
    if file_path is not None:
        path = os.path.abspath(os.path.expanduser(os.fspath(file_path)))
        if path.endswith(".py"):
            return _from_python(name, path, call, kwargs)
        return _changed(_from_document(name, path), kwargs)
    from mizzen.experiment.installation import home_folder

    home = home_folder()
    document, python = os.path.join(home, "executors.toml"), os.path.join(home, "executors.py")
    missing: NotFoundError | None = None
    if os.path.exists(document):
        try:
            return _changed(_from_document(name, document), kwargs)
        except NotFoundError as error:
            missing = error
    if os.path.exists(python):
        try:
            return _from_python(name, python, call, kwargs)
        except NotFoundError as error:
            raise error if missing is None else NotFoundError(f"{missing}\n{error}") from None
    if missing is not None:
        raise missing
    raise NotFoundError(
        f"there is no executor `{name}`: neither {document} nor {python} is there\n"
        "hint: write one of them, or name another file with `file_path`"
    )


def _from_document(name: str, path: str) -> Executor:
    import json

    from mizzen.experiment.installation import open_core

    found = json.loads(open_core().import_executor(name, path, []))
    return executor_from(found["kind"], found["settings"])


def _from_python(name: str, path: str, call: bool, arguments: dict[str, Any]) -> Executor:
    module = _run(path)
    found = vars(module).get(name)
    if found is None:
        known = sorted(word for word, value in vars(module).items() if _may_be_executor(word, value, module))
        listed = ", ".join(known) if known else "none"
        raise NotFoundError(f"there is no executor `{name}` in {path}{similar(name, known)}; there are: {listed}")
    if not call:
        return cast("Executor", found)
    if not callable(found):
        executor = _built(found)
        if not isinstance(executor, Executor):
            raise ConfigTypeError(f"`{name}` in {path} is no executor but {type(found).__qualname__}")
        return _changed(executor, arguments)
    executor = _built(found(**arguments))
    if not isinstance(executor, Executor):
        raise ConfigTypeError(f"`{name}` in {path} did not return an executor but {type(executor).__qualname__}")
    return executor


def _run(path: str) -> ModuleType:
    """Runs a Python file as a module that nobody else can import."""
    import sys
    from types import ModuleType

    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise NotFoundError(f"can't read {path}: {error.strerror}") from None
    module = ModuleType("mizzen_executors")
    module.__file__ = path
    before = sys.modules.get(module.__name__)
    # Dataclasses look their own module up while they are made.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, path, "exec"), module.__dict__)
    finally:
        if before is None:
            del sys.modules[module.__name__]
        else:
            sys.modules[module.__name__] = before
    return module


def _may_be_executor(word: str, value: object, module: ModuleType) -> bool:
    from types import FunctionType

    if word.startswith("_"):
        return False
    if isinstance(value, FunctionType):
        return value.__module__ == module.__name__
    return isinstance(value, Executor) or _is_config(value)


def _is_config(value: object) -> bool:
    from mizzen.config import Buildable

    return isinstance(value, Buildable)


def _built(value: object) -> object:
    """A Config of an executor counts as the executor."""
    if not _is_config(value):
        return value
    from mizzen.config import build

    return cast("object", build(value))


def _changed(executor: Executor, settings: dict[str, Any]) -> Executor:
    """A copy of an executor with other settings."""
    from dataclasses import fields

    if not settings:
        return executor
    known = [one.name for one in fields(executor) if one.init]
    changed = executor.clone()
    for name, value in settings.items():
        if name not in known:
            raise ConfigError(
                f"{type(executor).__qualname__} has no setting `{name}`{similar(name, known)}; there are: {', '.join(known)}",
                path=f".{name}",
            )
        setattr(changed, name, value)
    return changed
