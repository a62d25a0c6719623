"""Captures what a job needs of the launching script, so that it runs where that script isn't.

::

    partial ─ encode ─→ root ─ `__main__.…` names ─→ Collector ─→ steps of the document's `main`, and texts
                                                       │
          the script's text (file, -c, stdin) ─────────┤ statements, cut out with all that they need
          live objects (notebook, prompt, closed blocks)┘ imports, plain values, text of cells, marshalled code

The launching script is never run again. What a job's functions need of its top level is: the imports, functions, classes and
assignments that they refer to, through any number of steps, in the order in which they stand. Names that are bound where a job
must not go (under ``if __name__ == "__main__"``, in a block that launches, or by a ``global`` declaration) travel as the values
which they have. Mizzen's own decorators and annotations are left off, since the job's machine has no Mizzen.
"""

from __future__ import annotations

import builtins
import os
import sys
from functools import lru_cache
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, Iterator

from mizzen.errors import SerializationError
from mizzen.job.text import Statement, Text, names_of_code

__all__ = ["Captured", "capture"]

# Values of these modules' types come into being by a definition, not by work, so that their assignment can be done again.
_DEFINED_BY = frozenset(
    ("builtins", "functools", "typing", "typing_extensions", "types", "re", "logging", "_thread", "threading", "contextvars")
    + ("enum", "abc", "collections", "operator", "string", "struct", "weakref", "contextlib", "itertools")
)
_SPAWNED = '''"""What worker processes import in place of the launching script; started itself, it is the job again."""

import importlib.util
import os
import sys

_specification = importlib.util.spec_from_file_location("_mizzen_runner", os.path.join(os.path.dirname(__file__), "mizzen_runner.py"))
_runner = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(_runner)
if __name__ == "__main__":
    sys.exit(_runner.main([os.environ["MIZZEN_DOCUMENT"]]))
_runner.spawned(globals())
'''


class Captured:
    """What travels with a job.

    Attributes:
        document: the job's document for the runner, JSON-able.
        files: texts that go beside ``mizzen_runner.py`` (the runner), by name; the same for all jobs of a script.
    """

    __slots__ = ("document", "files")

    def __init__(self, document: dict[str, object], files: dict[str, str]) -> None:
        self.document = document
        self.files = files


def capture(
    partial: object, *, local: bool, name: str = "", base: str | None = None, known: dict[tuple[str, ...], Any] | None = None
) -> Captured:
    """Writes down a ``Partial`` (or ``Config``, or a function) and all that it needs of the launching script.

    Args:
        partial: what the job is to call.
        local: whether the job runs on this machine, where the launching process's paths mean the same.
        name: the job's name.
        base: the folder whose copy, elsewhere, is the job's working directory; by default the current one.
        known: what other jobs of the same plan needed of the launching script; many jobs of one function cost one capture.

    Raises:
        SerializationError: something can't travel; the message names it and who uses it.
    """
    from mizzen.config.values import encode

    root = encode(partial)
    needed = sorted(set(main_names(root)))
    main: dict[str, object] | None = None
    files: dict[str, str] = {}
    base = os.path.abspath(base or os.getcwd())
    key = (base, *needed)
    if known is not None and key in known:
        main, files = known[key]
    elif needed:
        collector = Collector(sys.modules["__main__"])
        for needed_name in needed:
            collector.need(needed_name, "")
        main, files = collector.finish()
        file = main.get("file")
        if isinstance(file, str) and _is_inside(file, base):
            main["relative"] = os.path.relpath(file, base)
        if known is not None:
            known[key] = (main, files)
    document: dict[str, object] = {
        "mizzen": 1,
        "name": name,
        "root": root,
        "main": main,
        "path": search_path(local, base),
        "python": "{}.{}".format(*sys.version_info),
    }
    return Captured(document, files)


def main_names(value: Any) -> Iterator[str]:
    """Yields the names of ``__main__`` that an encoded value refers to."""
    if isinstance(value, dict):
        for key in ("_target_", "class"):
            path = value.get(key)
            if isinstance(path, str) and path.startswith("__main__.") and (key == "_target_" or "_type_" in value):
                yield path.split(".")[1]
        for item in value.values():
            yield from main_names(item)
    elif isinstance(value, list):
        for item in value:
            yield from main_names(item)


def search_path(local: bool, base: str) -> list[str]:
    """Returns the entries of ``sys.path`` that are not the interpreter's own, as a job should have them."""
    return list(_search_path(tuple(entry for entry in sys.path if isinstance(entry, str)), os.getcwd(), local, base))


@lru_cache(maxsize=8)
def _search_path(found: tuple[str, ...], folder: str, local: bool, base: str) -> tuple[str, ...]:
    own = os.path.realpath(os.path.dirname(os.__file__))
    entries: list[str] = []
    for entry in found:
        path = os.path.normpath(os.path.join(folder, entry))
        parts = path.split(os.sep)
        if "site-packages" in parts or "dist-packages" in parts or not os.path.exists(path):
            continue
        if _is_inside(os.path.realpath(path), own):
            continue
        if not local and _is_inside(path, base):
            # The copy goes first; the same folder may be there under its own name as well, on a shared file system.
            entries.append(os.path.relpath(path, base))
        entries.append(path)
    return tuple(dict.fromkeys(entries))


def _is_inside(path: str, base: str) -> bool:
    return path == base or path.startswith(base.rstrip(os.sep) + os.sep)


class Collector:
    """Gathers what a set of names of ``__main__`` needs, and writes it as steps for the runner.

    Args:
        module: the module that the names are of.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._globals = module.__dict__
        self._known: set[str] = set()
        self._chosen: dict[Statement, str] = {}
        self._before: list[dict[str, object]] = []
        self._after: list[dict[str, object]] = []
        self._texts: dict[str, Text | None] = {}
        self._travelling: dict[str, Text] = {}
        self._live_chosen: set[Statement] = set()
        self._script = script_text(module)
        if self._script is not None:
            self._texts[self._script.file] = self._script

    def finish(self) -> tuple[dict[str, object], dict[str, str]]:
        """Returns the document's ``main``, and the files that it refers to."""
        steps = list(self._before)
        script = self._script
        if script is not None and self._chosen:
            steps.append(self._run_step(script, self._chosen))
        steps += self._after
        files = {"mizzen_spawned.py": _SPAWNED}
        for text in self._travelling.values():
            files[_file_name(text)] = text.text
        file = script_file(self._module)
        main: dict[str, object] = {
            "file": os.path.abspath(file) if file is not None else None,
            "package": getattr(self._module, "__package__", None),
            "argv": list(sys.argv),
            "steps": steps,
        }
        return main, files

    def need(self, name: str, user: str) -> None:
        """Makes sure that the job has the global ``name``, which ``user`` refers to."""
        if name in self._known:
            return
        self._known.add(name)
        if name not in self._globals:
            if not user:
                raise SerializationError(f"`__main__.{name}` is not there (any more), so that no job can call it", path=name)
            return  # a built-in, something not made yet, or a mistake that is the job's to report
        if name.startswith("__") and name.endswith("__"):
            return
        if self._script is None or not self._need_static(self._script, name, user):
            self._need_live(name, user)

    # -- by text --

    def _need_static(self, script: Text, name: str, user: str) -> bool:
        makers = script.makers.get(name, [])
        if not makers:
            makers = [statement for module, statement in script.stars if hasattr(self._module_of(module), name)]
        code = _code_of(self._globals[name])
        if makers and code is not None and code.co_filename == self._shown_file(script):
            if not _is_current(script, code):
                return False
        elif makers and code is not None and (code.co_filename == "<stdin>" or _is_cell(code.co_filename)):
            return False  # defined anew at the prompt of `python -i`
        closed = script.closed.get(name)
        if closed is not None and self._override(name, user, bool(makers), *closed):
            return True
        if not makers:
            return False
        for statement in makers:
            self._choose(script, statement, user)
        self._repeat(script)
        return True

    def _choose(self, script: Text, statement: Statement, user: str) -> None:
        if statement in self._chosen:
            return
        self._chosen[statement] = f"used by {user}" if user else ""
        for names in statement.needs():
            for name in sorted(names):
                self.need(name, statement.title)

    def _repeat(self, script: Text) -> None:
        for statement in script.statements:
            if statement not in self._chosen and script.repeats(statement, self._known & script.makers.keys()):
                self._choose(script, statement, " and ".join(f"`{name}`" for name in sorted(statement.changes)))

    def _override(self, name: str, user: str, made: bool, line: int, certain: bool) -> bool:
        """Sends a value that was set where the job doesn't go. Says whether that settles the name."""
        value = self._globals[name]
        if isinstance(value, ModuleType):
            return False
        if isinstance(value, (type, FunctionType)) and made:
            return False
        try:
            encoded = self._encode(name, value)
        except SerializationError as error:
            if not made:
                return False
            if certain:
                raise self._untransportable(
                    name, user, f"it is changed at line {line}, where a job does not go, and its value can't travel: {error}", error
                ) from None
            return False
        if made and self._script is not None:
            # What it is made from may be needed all the same, by a statement that reads it before it changes.
            for statement in self._script.makers.get(name, []):
                self._choose(self._script, statement, user)
        self._value_step(name, user, encoded, late=made)
        return True

    def _shown_file(self, text: Text) -> str:
        return "<string>" if text.file == "<python -c>" else text.file

    def _module_of(self, name: str) -> object:
        level = len(name) - len(name.lstrip("."))
        if not level:
            return sys.modules.get(name)
        package = str(getattr(self._module, "__package__", None) or "").split(".")
        return sys.modules.get(".".join([*package[: len(package) - level + 1], name[level:]]).strip("."))

    # -- by live objects --

    def _need_live(self, name: str, user: str) -> None:
        value = self._globals[name]
        if isinstance(value, ModuleType):
            if value is not self._module:
                self._before.append({"import": [value.__name__, None], "name": name, "for": _for(user)})
            return
        imported = self._imported_as(name, value)
        if imported is not None:
            self._before.append({"import": list(imported), "name": name, "for": _for(user)})
            return
        if not (isinstance(value, (type, FunctionType)) and value.__module__ == "__main__"):
            try:
                encoded = self._encode(name, value)
            except SerializationError as error:
                if not self._need_text(name, value):
                    raise self._untransportable(name, user, str(error), error) from None
                return
            self._value_step(name, user, encoded, late=self._script is not None)
            return
        if self._need_text(name, value):
            return
        if isinstance(value, FunctionType):
            self._marshal(name, value, user)
            return
        raise self._untransportable(
            name, user, "this class was defined where Python keeps no text (on standard input, or at its prompt)", None
        )

    def _imported_as(self, name: str, value: object) -> tuple[str, str] | None:
        """Where ``from module import name`` gets a value that can't say so itself."""
        import ast

        for text in self._cells():
            for statement in text.makers.get(name, []):
                node = statement.node
                if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    for alias in node.names:
                        if (alias.asname or alias.name) == name:
                            if getattr(sys.modules.get(node.module), alias.name, None) is value:
                                return node.module, alias.name
        return None

    def _value_step(self, name: str, user: str, encoded: object, *, late: bool) -> None:
        mine = sorted(set(main_names(encoded)))
        for needed in mine:
            self.need(needed, f"global `{name}`")
        step = {"value": encoded, "name": name, "for": _for(user)}
        # In a notebook all steps are in the order of their needs; the cut-out script is one step, and its names come with it.
        (self._after if late and (mine or name in (self._script.makers if self._script else ())) else self._before).append(step)

    def _encode(self, name: str, value: object) -> object:
        """The value format for a global; a few more kinds than for arguments, since they are common there."""
        from mizzen.config.values import encode

        kind = type(value)
        place = f"{kind.__module__}.{kind.__qualname__}"
        if place in ("argparse.Namespace", "types.SimpleNamespace"):
            return {"_target_": place, **{key: encode(item) for key, item in vars(value).items()}}
        if place == "logging.Logger":
            return {"_target_": "logging.getLogger", "_args_": [getattr(value, "name", "")]}
        if place == "re.Pattern":
            return {"_target_": "re.compile", "_args_": [encode(getattr(value, "pattern", "")), getattr(value, "flags", 0)]}
        if any(parent.__name__ == "Buildable" and parent.__module__.startswith("mizzen") for parent in kind.__mro__):
            raise SerializationError(f"it is a run.{kind.__name__}, and the job's machine has no Mizzen")
        encoded = encode(value)
        if isinstance(encoded, dict) and encoded.get("_target_") == f"__main__.{name}":
            raise SerializationError(f"it is a `{place}` object")  # which is found here by its own name alone
        return encoded

    def _need_text(self, name: str, value: object) -> bool:
        """Finds the statement that made a live object, in its cell or file. Says whether there is one."""
        import ast

        found: tuple[Text, Statement] | None = None
        code = _code_of(value)
        if code is not None:
            text = self._text(code.co_filename)
            statement = text.around(code.co_firstlineno) if text is not None and _is_current(text, code) else None
            if text is not None and statement is not None and name in statement.makes:
                found = text, statement
        if found is None:
            for text in self._cells():
                makers = text.makers.get(name)
                if makers:
                    found = text, makers[-1]
                    break
        if found is None:
            return False
        text, statement = found
        if not isinstance(statement.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if type(value).__module__ not in _DEFINED_BY:
                return False
        if text is self._script:
            self._choose(text, statement, "")
            return True
        if statement in self._live_chosen:
            return True
        self._live_chosen.add(statement)
        now, later = statement.needs()
        for needed in sorted(now):
            self.need(needed, statement.title)
        # What the prompt adds to a script stands on it.
        steps = self._before if self._script is None else self._after
        steps.append(self._run_step(text, {statement: statement.title}))
        for needed in sorted(later):
            self.need(needed, statement.title)
        for cell in reversed(list(self._cells())):
            for change in cell.statements:
                if change not in self._live_chosen and cell.repeats(change, {name}):
                    self._live_chosen.add(change)
                    for needed in sorted(change.needs()[0] | change.needs()[1]):
                        self.need(needed, change.title)
                    steps.append(self._run_step(cell, {change: change.title}))
        return True

    def _cells(self) -> Iterator[Text]:
        """The cells of a notebook, or the inputs of a prompt, that Python has the text of: the latest first."""
        for file in cell_files():
            text = self._text(file)
            if text is not None:
                yield text

    def _text(self, file: str) -> Text | None:
        if file not in self._texts:
            import linecache

            # `-c` and `exec` share the name <string> with the code that dataclasses make.
            lines = [] if file == "<string>" else linecache.getlines(file, self._globals)
            self._texts[file] = _parse(file, "".join(lines), None) if lines else None
        return self._texts[file]

    def _run_step(self, text: Text, chosen: dict[Statement, str]) -> dict[str, object]:
        self._travelling[text.file] = text
        return {
            "run": {"file": text.file, "text": _file_name(text), "future": text.future, "pieces": text.cut(chosen)},
            "name": "",
            "for": "",
        }

    def _marshal(self, name: str, function: FunctionType, user: str) -> None:
        self._before.append({"code": self._marshalled(name, function, user), "name": name, "for": _for(user)})

    def _marshalled(self, name: str, function: FunctionType, user: str) -> dict[str, object]:
        import marshal
        from base64 import b64encode
        from importlib.util import MAGIC_NUMBER

        now, later = names_of_code(function.__code__)
        for needed in sorted(now | later):
            self.need(needed, f"function `{name}`")
        cells: list[dict[str, object]] = []
        for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            try:
                content = cell.cell_contents
            except ValueError:
                raise self._untransportable(name, user, f"its variable `{variable}` has no value yet", None) from None
            if isinstance(content, FunctionType) and content.__module__ == "__main__":
                if content is function:
                    raise self._untransportable(name, user, "it is a nested function that calls itself", None)
                cells.append({"name": variable, "code": self._marshalled(variable, content, f"function `{name}`")})
            else:
                cells.append({"name": variable, "value": self._part(name, user, f"its variable `{variable}`", content)})
        code: dict[str, object] = {
            "magic": MAGIC_NUMBER.hex(),
            "text": b64encode(marshal.dumps(function.__code__)).decode("ascii"),
            "name": function.__name__,
            "qualname": function.__qualname__,
            "closure": cells,
        }
        if function.__defaults__:
            code["defaults"] = self._part(name, user, "a default", list(function.__defaults__))
        if function.__kwdefaults__:
            code["kwdefaults"] = self._part(name, user, "a default", dict(function.__kwdefaults__))
        return code

    def _part(self, name: str, user: str, what: str, value: object) -> object:
        try:
            encoded = self._encode("", value)
        except SerializationError as error:
            raise self._untransportable(name, user, f"{what} can't: {error}", error) from None
        for needed in sorted(set(main_names(encoded))):
            self.need(needed, f"function `{name}`")
        return encoded

    def _untransportable(self, name: str, user: str, reason: str, cause: SerializationError | None) -> SerializationError:
        used = f" used by {user}" if user else ""
        below = cause.path if cause is not None else ""
        reason = reason.partition("\nhint: ")[0]
        value = self._globals.get(name)
        if isinstance(value, (type, FunctionType)):
            hint = f"put `{name}` in a file: a script, or a module that the job can import"
        else:
            hint = f"make `{name}` inside the function, or hand it over as an argument"
        return SerializationError(f"global `{name}`{used} can't travel with the job: {reason}\nhint: {hint}", path=f"{name}{below}")


def script_file(module: ModuleType) -> str | None:
    """Returns the launching script's file; standard input is none, although Python calls it ``<stdin>``."""
    file = getattr(module, "__file__", None)
    if file is None and sys.flags.inspect and sys.argv and os.path.isfile(sys.argv[0]):
        file = os.path.abspath(sys.argv[0])  # `python -i script.py` forgets the file once its script has ended
    return file if isinstance(file, str) and not file.startswith("<") else None


def script_text(module: ModuleType) -> Text | None:
    """Returns the launching script's text, if it has one: a file, ``python -c``, or standard input that can be read again."""
    file = script_file(module)
    if file is not None:
        text = _file_text(module, file)
        return _parse(file, text, running_line(module, file)) if text is not None else None
    if sys.argv[:1] == ["-c"]:
        text = _command_text(sys.orig_argv[1:])
        return _parse("<python -c>", text, running_line(module, "<string>")) if text is not None else None
    if sys.argv[:1] == ["-"] or sys.argv[:1] == [""]:
        text = _stdin_text()
        return _parse("<stdin>", text, running_line(module, "<stdin>")) if text is not None else None
    return None


def running_line(module: ModuleType, file: str) -> int | None:
    """Returns the line of ``file`` that ``module`` is executing at its level, in this thread or the main one."""
    import threading

    starts: list[FrameType | None] = [sys._getframe()]
    if threading.current_thread() is not threading.main_thread():
        starts.append(sys._current_frames().get(threading.main_thread().ident or 0))
    for frame in starts:
        while frame is not None:
            code = frame.f_code
            if frame.f_globals is module.__dict__ and code.co_name == "<module>" and code.co_filename == file:
                return frame.f_lineno
            frame = frame.f_back
    return None


def _file_text(module: ModuleType, file: str) -> str | None:
    import tokenize

    try:
        with tokenize.open(file) as opened:
            return opened.read()
    except (OSError, SyntaxError, UnicodeDecodeError):
        pass
    try:  # inside a job, the runner has it; in a zip file, the importer
        text = getattr(module, "__loader__", None).get_source("__main__")  # type: ignore[union-attr]
    except (AttributeError, ImportError, OSError):
        return None
    return text if isinstance(text, str) else None


def _command_text(arguments: list[str]) -> str | None:
    """Finds the text of ``python -c`` among the interpreter's arguments; options may be joined, as in ``-uc``."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-") or word == "--":
            return None
        if word.startswith("--"):
            if word == "--check-hash-based-pycs":
                next(words, None)
            continue
        for index, letter in enumerate(word[1:], 2):
            if letter == "c":
                return word[index:] or next(words, None)
            if letter in "WX":
                if not word[index:]:
                    next(words, None)
                break
    return None


def _stdin_text() -> str | None:
    import stat

    try:
        status = os.fstat(0)
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        return os.pread(0, size, 0).decode() if size else None
    except (OSError, UnicodeDecodeError):
        return None


def _parse(file: str, text: str, running: int | None) -> Text | None:
    try:
        return None if "\0" in text else _parsed(file, text, running)
    except SyntaxError:  # edited since it was started; the live objects are still as they were
        return None


@lru_cache(maxsize=64)
def _parsed(file: str, text: str, running: int | None) -> Text:
    # An experiment captures one job after the other, from the same few texts.
    return Text(file, text, running)


def cell_files() -> list[str]:
    """Returns the names under which ``linecache`` has cells and inputs, the latest first."""
    import linecache

    files = [file for file in linecache.cache if _is_cell(file)]
    shell = getattr(builtins, "get_ipython", lambda: None)()
    history = getattr(getattr(shell, "history_manager", None), "input_hist_parsed", None)
    if history is not None:
        # Cells that are run again keep their place in linecache, so the order is the history's.
        texts = {"".join(linecache.getlines(file)).rstrip("\n"): file for file in files}
        run = [texts.get(cell.rstrip("\n")) for cell in history]
        ordered = [file for file in files if file not in run] + [file for file in run if file is not None]
        files = list(dict.fromkeys(reversed(ordered)))
    else:
        files.reverse()
    return files


def _is_cell(file: str) -> bool:
    return file.startswith(("<ipython-input-", "<python-input-", "<stdin>-")) or (
        f"{os.sep}ipykernel_" in file and not os.path.exists(file)
    )


def _code_of(value: object) -> CodeType | None:
    """The code that says where a function or class was written, through decorators that tell what they wrap."""
    for _ in range(100):
        wrapped = getattr(value, "__wrapped__", None)
        if wrapped is None:
            break
        value = wrapped
    if isinstance(value, FunctionType):
        return value.__code__ if value.__module__ == "__main__" else None
    return None


def _is_current(text: Text, code: CodeType) -> bool:
    """Says whether the text still says what was compiled: files are edited while scripts run."""
    compiled = text.compiled_at(code.co_firstlineno, code.co_name)
    return compiled is not None and compiled.co_code == code.co_code and compiled.co_names == code.co_names


def _file_name(text: Text) -> str:
    from hashlib import sha256

    return f"main-{sha256(text.text.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}.py"


def _for(user: str) -> str:
    return f"used by {user}" if user else ""
