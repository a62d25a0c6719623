"""How the user's code reaches a job.

A packager says which files belong to the code; reading, keeping and sending them is the library's. Its fields are NeMo-Run's
(:class:`WorkingTreePackager` and the limits are ours), and so are the answers of :meth:`Packager.package`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar

from mizzen.config import ConfigurableMixin
from mizzen.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["GitArchivePackager", "HybridPackager", "Packager", "PassthroughPackager", "PatternPackager", "WorkingTreePackager"]


@dataclass(kw_only=True)
class Packager(ConfigurableMixin):
    """The place's own way: on this machine jobs run in your working tree, elsewhere it is sent along as it stands.

    Attributes:
        debug: launchers that have a debug mode switch it on.
        symlink_from_remote_dir: a folder that is already at the place where jobs run and is linked to as their code; nothing
            is sent then. ``None``: none.
    """

    #: The kind's name in experiment documents; empty for the place's own.
    kind: ClassVar[str] = ""

    debug: bool = False
    symlink_from_remote_dir: str | None = None

    def package(self, path: str | os.PathLike[str], job_dir: str | os.PathLike[str], name: str) -> str:
        """Makes an archive of the code. Experiments don't need it: they keep and send what the packager selects by themselves.

        For this packager there is nothing to make. An archive that is there already is replaced.

        Args:
            path: the working tree, or a folder within it.
            job_dir: the folder where the archive is written.
            name: the archive's name without its ending.

        Returns:
            The archive's path, ``<job_dir>/<name>.tar.gz``; ``""`` for none.

        Raises:
            ConfigError: the code can't be packed.
            StoreError: the archive can't be written.
        """
        return ""

    def setup(self) -> None:
        """NeMo-Run's. Nothing is to be done at a place: the code is there before the job starts."""

    def to_settings(self) -> dict[str, Any] | None:
        """The packager as an experiment document has it; ``None``: the place's own.

        Raises:
            ConfigError: a subclass packs in a way of its own, which experiments can't do.
        """
        self._refuse_own_ways()
        if self.symlink_from_remote_dir is not None:
            return {"debug": self.debug, "symlink_from_remote_dir": _plain(self.symlink_from_remote_dir)}
        return {"debug": True} if self.debug else None

    @staticmethod
    def from_settings(settings: str | dict[str, Any]) -> Packager:
        """The packager of an experiment document.

        Args:
            settings: its kind, or a table with ``kind`` and its settings; a table without ``kind`` is a :class:`Packager` or a
                :class:`WorkingTreePackager`, as its settings are.

        Raises:
            ConfigError: there is no such kind, or no such setting.
        """
        given: dict[str, Any] = {"kind": settings} if isinstance(settings, str) else dict(settings)
        kind = given.pop("kind", None)
        given = {name: value for name, value in given.items() if value is not None}
        found: type[Packager] | None
        if kind is None:
            found = Packager if set(given) <= {one.name for one in fields(Packager)} else WorkingTreePackager
        else:
            found = _KINDS.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise ConfigError(
                f"there is no kind of packager `{kind}`{_similar(str(kind), _KINDS)}; there are: {', '.join(_KINDS)}",
                path=".packager",
            )
        known = [one.name for one in fields(found)]
        for name in given:
            if name not in known:
                raise ConfigError(
                    f"a {found.kind} packager has no setting `{name}`{_similar(name, known)}", path=f".packager.{name}"
                )
        try:
            return found(**given)
        except TypeError as error:
            raise ConfigError(f"these are not the settings of a {found.kind} packager: {error}", path=".packager") from None

    def _refuse_own_ways(self) -> None:
        known = next(base for base in type(self).__mro__ if base in _OURS)
        for name in ("package", "setup"):
            if getattr(type(self), name) is not getattr(known, name):
                raise ConfigError(
                    f"{type(self).__qualname__} has a `{name}` of its own, which experiments don't call\n"
                    "hint: let it write into a folder, and name that in `PatternPackager(include_pattern=…, relative_path=…)`",
                    path=".packager",
                )


@dataclass(kw_only=True)
class PassthroughPackager(Packager):
    """Nothing is sent: jobs run in what is there."""

    kind: ClassVar[str] = "none"

    def to_settings(self) -> dict[str, Any]:
        return {"kind": self.kind, "debug": self.debug, **(super().to_settings() or {})}


@dataclass(kw_only=True)
class _Archiving(Packager):
    """What the packagers that select files have in common.

    Attributes:
        max_size: the most bytes of all files together, as a number or such as ``"2GiB"``. ``None``: 1 GiB.
        max_file_size: the most bytes of one file. ``None``: 100 MiB.
    """

    max_size: int | str | None = None
    max_file_size: int | str | None = None

    def package(self, path: str | os.PathLike[str], job_dir: str | os.PathLike[str], name: str) -> str:
        import json
        import warnings

        from mizzen.experiment.installation import open_core

        os.makedirs(job_dir, exist_ok=True)
        archive = os.path.join(job_dir, f"{name}.tar.gz")
        settings = json.dumps(self._settings())
        for text, hint in open_core().package(settings, os.path.abspath(path), os.path.abspath(archive)):
            warnings.warn(text if hint is None else f"{text}\nhint: {hint}", stacklevel=2)
        return archive

    def to_settings(self) -> dict[str, Any]:
        self._refuse_own_ways()
        return self._settings()

    def _settings(self) -> dict[str, Any]:
        if self.symlink_from_remote_dir is not None:
            raise ConfigError(
                f"a {self.kind} packager sends code, and `symlink_from_remote_dir` names code that is there already\n"
                "hint: use `Packager(symlink_from_remote_dir=…)`",
                path=".packager.symlink_from_remote_dir",
            )
        # A subclass' own fields are no settings.
        known = next(base for base in type(self).__mro__ if base in _OURS)
        settings: dict[str, Any] = {"kind": self.kind}
        for one in fields(known):
            value = getattr(self, one.name)
            if value is not None:
                settings[one.name] = _plain(value)
        return settings


@dataclass(kw_only=True)
class WorkingTreePackager(_Archiving):
    """The working tree as it stands: what git tracks, changed or not, and what is new in it and not ignored.

    Without git it is all that ``.gitignore`` and ``.mizzenignore`` don't name. ``.mizzenignore`` (the same rules) keeps out of
    the code what git does track.

    Attributes:
        in_place: jobs run in the tree itself, where their place sees it. ``None``: on this machine, nowhere else.
    """

    kind: ClassVar[str] = "working_tree"

    in_place: bool | None = None


@dataclass(kw_only=True)
class GitArchivePackager(_Archiving):
    """What git has recorded at a commit. What is not committed is left out, and that is said.

    Attributes:
        basepath: the folder of the repository, if it is not the one that the experiment is launched from.
        subpath: only this folder of the repository; it becomes the top.
        ref: a commit, branch or tag.
        include_submodules: the submodules, at the commits that ``ref`` records.
        include_pattern: files beside those of git: a path with or without wildcards, or a list of them.
        include_pattern_relative_path: what the paths of these files are relative to: one for each pattern.
        check_uncommitted_changes: refuse if something is not committed.
        check_untracked_files: refuse if something is not tracked.
    """

    kind: ClassVar[str] = "git_archive"

    basepath: str = ""
    subpath: str = ""
    ref: str = "HEAD"
    include_submodules: bool = True
    include_pattern: str | list[str] = ""
    include_pattern_relative_path: str | list[str] = ""
    check_uncommitted_changes: bool = False
    check_untracked_files: bool = False


@dataclass(kw_only=True)
class PatternPackager(_Archiving):
    """What fits patterns.

    Attributes:
        include_pattern: a path with or without wildcards, or a list of them.
        relative_path: what the paths of these files are relative to: one for each pattern.
    """

    kind: ClassVar[str] = "pattern"

    include_pattern: str | list[str]
    relative_path: str | list[str]


@dataclass(kw_only=True)
class HybridPackager(_Archiving):
    """Several packagers, each in a folder of its own name.

    Attributes:
        sub_packagers: the packagers by folder.
        extract_at_root: all at the top, without folders. The same path with different contents is an error.
    """

    kind: ClassVar[str] = "hybrid"

    sub_packagers: dict[str, Packager] = field(default_factory=dict)
    extract_at_root: bool = False

    def __post_init__(self) -> None:
        self.sub_packagers = {
            name: Packager.from_settings(part) if isinstance(part, (str, dict)) else part
            for name, part in self.sub_packagers.items()
        }

    def _settings(self) -> dict[str, Any]:
        settings = super()._settings()
        settings["sub_packagers"] = {name: part.to_settings() or {} for name, part in self.sub_packagers.items()}
        return settings


#: Every packager by its kind.
_KINDS: dict[str, type[Packager]] = {
    one.kind: one for one in (WorkingTreePackager, GitArchivePackager, PatternPackager, HybridPackager, PassthroughPackager)
}
_OURS: tuple[type[Packager], ...] = (*_KINDS.values(), Packager)


def _plain(value: Any) -> Any:
    """Paths as text, alone and in lists."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _similar(name: str, known: Iterable[str]) -> str:
    from mizzen.executor.base import similar

    return similar(name, known)
