"""Scripts: a file, a module or a text that an interpreter runs."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from mizzen.config.mixin import ConfigurableMixin
from mizzen.errors import ConfigError, ConfigTypeError

__all__ = ["Script"]

# Where a job finds its own folder inside a container, as jobs written for NeMo-Run expect it.
_RUN_FOLDER = "/nemo_run"


@dataclass
class Script(ConfigurableMixin):
    """A command for a job, instead of a Python callable.

    Attributes:
        path: a script file, or with ``m`` a module. Relative to the job's code.
        inline: the script's text, instead of a path.
        args: arguments for the script; only with a path.
        env: environment variables of this job alone.
        entrypoint: the interpreter, with its own arguments if need be (``"python"``, ``"bash"``, ``"bash -e"``);
            ``""`` runs the path as a program.
        m: whether ``path`` is a Python module, run as ``python -m``.
        metadata: anything you want to keep with the job.

    Raises:
        ConfigError: no or two of path and inline; args with inline; ``m`` without a Python entrypoint; a whole command as a path.
        ConfigTypeError: a field of the wrong type.

    >>> Script("train.py", entrypoint="python", args=["--lr", "0.1"]).get_name()
    'train.py'
    """

    path: str = ""
    inline: str = ""
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    entrypoint: str = "bash"
    m: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.path, os.PathLike):
            self.path = os.fspath(self.path)
        for name in ("path", "inline", "entrypoint"):
            value = getattr(self, name)
            if not isinstance(value, str):
                raise ConfigTypeError(f"`{name}` of a Script is to be text, but is {value!r} ({type(value).__qualname__})", path=f".{name}")
        if isinstance(self.args, (str, bytes)) or not all(isinstance(item, (str, int, float, os.PathLike)) for item in self.args):
            raise ConfigTypeError("`args` of a Script is to be a list of text\nhint: write [\"--lr\", \"0.1\"]", path=".args")
        self.args = [os.fspath(item) if isinstance(item, os.PathLike) else str(item) for item in self.args]
        for key, value in self.env.items():
            if not isinstance(key, str) or not isinstance(value, (str, int, float)) or isinstance(value, bool):
                raise ConfigTypeError(f"`env[{key!r}]` of a Script is to be text, but is {value!r}", path=f".env[{key!r}]")
        self.env = {key: str(value) for key, value in self.env.items()}
        if not self.path and not self.inline:
            raise ConfigError("a Script needs `path` or `inline`")
        if self.path and self.inline:
            raise ConfigError("a Script has either `path` or `inline`, not both")
        if self.inline and self.args:
            raise ConfigError("`args` of a Script go with `path`\nhint: write them into the inline text", path=".args")
        if self.inline and self.m:
            raise ConfigError("`m` of a Script goes with `path`, the name of a module", path=".m")
        if self.m and "python" not in self.entrypoint:
            raise ConfigError("`m` of a Script needs a Python entrypoint\nhint: add entrypoint=\"python\"", path=".m")
        if self.path:
            self._check_path()

    def _check_path(self) -> None:
        if "\n" in self.path:
            raise ConfigError("`path` of a Script has several lines\nhint: a script's text goes into `inline`", path=".path")
        # A file may have blanks in its name, so only what can't be meant as one is refused.
        if " " not in self.path or os.path.exists(self.path):
            return
        words = self.path.split()
        looks_like_command = not os.path.splitext(words[0])[1] or len(words) > 1 and words[1].startswith("-")
        if self.m or looks_like_command or any(word.startswith("-") for word in words[1:]):
            import shlex

            try:
                parts = shlex.split(self.path)
            except ValueError:
                parts = words
            hint = f"write run.Script(inline={self.path!r})"
            if len(parts) > 1 and os.path.splitext(parts[1])[1]:
                hint = f"write run.Script({parts[1]!r}, args={parts[2:]!r}, entrypoint={parts[0]!r}), or inline={self.path!r}"
            raise ConfigError(f"`path` of a Script is a file, not a whole command: {self.path!r}\nhint: {hint}", path=".path")

    def get_name(self) -> str:
        """A name for the job: the file's, or the first characters of the text."""
        if self.inline:
            return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in self.inline.strip()[:10])
        return os.path.basename(self.path.rstrip("/"))

    def to_command(
        self,
        with_entrypoint: bool = False,
        filename: str | None = None,
        is_local: bool = False,
        substitute_rundir_path: str | None = None,
    ) -> list[str]:
        """The command line, as NeMo-Run's method of this name gives it.

        Args:
            with_entrypoint: whether the interpreter comes first.
            filename: a file to write an inline script into; its folder is made if need be.
            is_local: whether the job sees that file under the same name.
            substitute_rundir_path: replaces the container's folder of the run (``/nemo_run``) in an inline script.

        Returns:
            words, not quoted for a shell.
        """
        if self.inline:
            text = self.inline
            if substitute_rundir_path is not None:
                text = text.replace(_RUN_FOLDER, substitute_rundir_path)
            if filename is None:
                command = ["-c", text]
            else:
                os.makedirs(os.path.dirname(os.path.abspath(filename)), exist_ok=True)
                with open(filename, "w", encoding="utf-8", newline="\n") as file:
                    file.write("#!/usr/bin/env bash\n" + text)
                os.chmod(filename, os.stat(filename).st_mode | 0o755)
                command = [filename if is_local else f"{_RUN_FOLDER}/scripts/{os.path.basename(filename)}"]
        else:
            command = ["-m", self.path, *self.args] if self.m else [self.path, *self.args]
        if not with_entrypoint:
            return command
        import shlex

        return [*shlex.split(self.entrypoint), *command]
