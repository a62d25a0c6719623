"""How the user's code reaches a job."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from mizzen.config import ConfigurableMixin
from mizzen.errors import ConfigError

__all__ = ["GitArchivePackager", "HybridPackager", "Packager", "PatternPackager", "WorkingTreePackager"]


@dataclass(kw_only=True)
class Packager(ConfigurableMixin):
    """The place's own way: on this machine jobs run in your working tree, elsewhere it is sent along as it stands.

    Attributes:
        debug: launchers that have a debug mode switch it on.
        symlink_from_remote_dir: a folder that is already at the place where jobs run and is linked to as their code; nothing
            is sent then. ``None``: none.
    """

    #: The kind's name in experiment documents.
    kind: ClassVar[str] = "none"

    debug: bool = False
    symlink_from_remote_dir: str | None = None

    def package(self, path: str | Path, job_dir: str, name: str) -> str:
        """Makes the archive of a working tree. For this packager there is nothing to make.

        Args:
            path: the working tree, or a folder within it.
            job_dir: the folder where the archive is written.
            name: the archive's name without its ending.

        Returns:
            The archive's path, ``<job_dir>/<name>.tar.gz``; ``""`` for none.

        Raises:
            ConfigError: the code can't be packed.
        """
        return ""

    def setup(self) -> None:
        """Runs at the job's place before the job does. Nothing by default."""

    def to_settings(self) -> dict[str, Any] | None:
        """The packager as an experiment document has it; ``None``: as the place has it."""
        if self.symlink_from_remote_dir is not None:
            return {"kind": "none", "debug": self.debug, "symlink_from_remote_dir": self.symlink_from_remote_dir}
        return {"kind": "working_tree", "debug": True} if self.debug else None

    @staticmethod
    def from_settings(settings: str | dict[str, Any]) -> Packager:
        """The packager of an experiment document.

        Args:
            settings: its kind, or a table with ``kind`` and its settings; a table without is a :class:`Packager`.

        Raises:
            ConfigError: there is no such kind, or no such setting.
        """
        given: dict[str, Any] = {"kind": settings} if isinstance(settings, str) else dict(settings)
        kind = given.pop("kind", "none")
        found = _KINDS.get(kind)
        if found is None:
            raise ConfigError(f"there is no kind of packager `{kind}`; there are: {', '.join(_KINDS)}")
        known = {one.name for one in fields(found) if one.init}
        for key in given:
            if key not in known:
                raise ConfigError(f"a {kind} packager has no setting `{key}`; there are: {', '.join(sorted(known))}")
        return found(**given)


@dataclass(kw_only=True)
class _Archiving(Packager):
    """What the packagers that select files have in common.

    Attributes:
        max_size: the most bytes of all files together, as a number or such as ``"2GiB"``. ``None``: 1 GiB.
        max_file_size: the most bytes of one file. ``None``: 100 MiB.
    """

    max_size: int | str | None = None
    max_file_size: int | str | None = None

    def package(self, path: str | Path, job_dir: str, name: str) -> str:
        from mizzen.experiment.installation import open_core

        archive = Path(job_dir, f"{name}.tar.gz")
        if not archive.exists():
            archive.parent.mkdir(parents=True, exist_ok=True)
            open_core().package(_json(self.to_settings()), str(Path(path).absolute()), str(archive.absolute()))
        return str(archive)

    def to_settings(self) -> dict[str, Any]:
        if self.symlink_from_remote_dir is not None:
            raise ConfigError(
                f"a {self.kind} packager sends code, and `symlink_from_remote_dir` names code that is there already: "
                "use `Packager(symlink_from_remote_dir=…)`"
            )
        settings: dict[str, Any] = {"kind": self.kind}
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name != "symlink_from_remote_dir" and value is not None:
                settings[one.name] = value
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
            name: Packager.from_settings(part) if isinstance(part, (str, dict)) else part for name, part in self.sub_packagers.items()
        }

    def to_settings(self) -> dict[str, Any]:
        settings = super().to_settings()
        settings["sub_packagers"] = {
            name: part.to_settings() or {"kind": "working_tree"} for name, part in self.sub_packagers.items()
        }
        return settings


_KINDS: dict[str, type[Packager]] = {
    "none": Packager,
    "working_tree": WorkingTreePackager,
    "git_archive": GitArchivePackager,
    "pattern": PatternPackager,
    "hybrid": HybridPackager,
}


def _json(settings: dict[str, Any]) -> str:
    import json

    return json.dumps(settings)
