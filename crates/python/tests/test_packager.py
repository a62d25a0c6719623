"""Packagers as values, and the archives that they make."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import tarfile
from copy import deepcopy
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

import mizzen as run
import pytest
from mizzen.config import build
from mizzen.executor import executor_from
from mizzen.packager import (
    GitArchivePackager,
    HybridPackager,
    Packager,
    PassthroughPackager,
    PatternPackager,
    WorkingTreePackager,
)

ALL: list[Packager] = [
    Packager(),
    Packager(debug=True),
    Packager(symlink_from_remote_dir="/shared/code", debug=True),
    PassthroughPackager(),
    PassthroughPackager(symlink_from_remote_dir="/shared/code"),
    WorkingTreePackager(),
    WorkingTreePackager(in_place=False, max_size="2GiB", max_file_size=5),
    GitArchivePackager(subpath="src", ref="v1", include_pattern=["a/*", "b"], include_pattern_relative_path=["a", "."]),
    PatternPackager(include_pattern="*.py", relative_path="."),
    HybridPackager(sub_packagers={"code": GitArchivePackager(), "rest": Packager()}, extract_at_root=True),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIZZEN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "home"


@pytest.fixture
def repository(tmp_path: Path, home: Path) -> Path:
    top = tmp_path / "repository"
    (top / "src").mkdir(parents=True)
    (top / "src" / "train.py").write_text("train")
    (top / "run.sh").write_text("run")
    (top / "run.sh").chmod(0o755)
    (top / "link").symlink_to("src/train.py")
    (top / ".gitignore").write_text("out\n")
    git(top, "init", "--quiet")
    git(top, "add", "-A")
    git(top, "commit", "--quiet", "-m", "a commit")
    return top


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, timeout=60)


def contents(archive: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            assert (member.uid, member.gid, member.mtime) == (0, 0, 946684800)
            file = tar.extractfile(member) if member.isfile() else None
            name = member.name + ("*" if member.isfile() and member.mode & 0o100 else "")
            found[name] = file.read().decode() if file else ("->", member.linkname)
    return found


@pytest.mark.parametrize("packager", ALL, ids=repr)
def test_packagers_are_values(packager: Packager) -> None:
    assert deepcopy(packager) == packager == pickle.loads(pickle.dumps(packager))
    assert build(packager.to_config()) == packager
    executor = run.LocalExecutor(packager=packager)
    settings = json.loads(json.dumps(executor.to_settings()))
    assert executor_from("local", settings) == executor
    assert executor.clone() == executor


def test_the_fields_are_nemo_runs() -> None:
    defaults = {
        kind: {
            one.name: one.default_factory()
            if one.default_factory is not MISSING
            else None
            if one.default is MISSING
            else one.default
            for one in fields(kind)
        }
        for kind in (Packager, GitArchivePackager, PatternPackager, HybridPackager)
    }
    base = {"debug": False, "symlink_from_remote_dir": None}
    limits = {"max_size": None, "max_file_size": None}
    assert defaults == {
        Packager: base,
        GitArchivePackager: {
            **base,
            **limits,
            "basepath": "",
            "subpath": "",
            "ref": "HEAD",
            "include_submodules": True,
            "include_pattern": "",
            "include_pattern_relative_path": "",
            "check_uncommitted_changes": False,
            "check_untracked_files": False,
        },
        PatternPackager: {**base, **limits, "include_pattern": None, "relative_path": None},
        HybridPackager: {**base, **limits, "sub_packagers": {}, "extract_at_root": False},
    }
    with pytest.raises(TypeError, match="include_pattern"):
        PatternPackager()  # type: ignore[call-arg]


def test_every_setting_of_the_library_has_a_field() -> None:
    from mizzen import _core

    kinds = json.loads(_core.executor_kinds())
    schema = kinds["local"]["$defs"]["Packager"]
    tables = [set(one["properties"]) for one in schema["anyOf"] if "properties" in one]
    kinds = [one["properties"]["kind"]["const"] for one in schema["anyOf"] if "properties" in one]
    known = {"none": PassthroughPackager, "working_tree": WorkingTreePackager, "git_archive": GitArchivePackager}
    known |= {"pattern": PatternPackager, "hybrid": HybridPackager}
    assert set(kinds) == set(known)
    for kind, names in zip(kinds, tables, strict=True):
        assert names | {"symlink_from_remote_dir"} == {one.name for one in fields(known[kind])} | {"kind"}, kind


def test_documents_are_read_as_they_are_written_by_hand() -> None:
    read = Packager.from_settings
    assert read("git_archive") == GitArchivePackager()
    assert read({}) == Packager()
    assert read({"debug": True, "symlink_from_remote_dir": None}) == Packager(debug=True)
    assert read({"max_size": "2GiB"}) == WorkingTreePackager(max_size="2GiB")
    nested = read({"kind": "hybrid", "sub_packagers": {"a": "git_archive", "b": {"kind": "none"}}})
    assert nested == HybridPackager(sub_packagers={"a": GitArchivePackager(), "b": PassthroughPackager()})
    assert executor_from("local", {"packager": "git_archive"}).packager == GitArchivePackager()
    for settings, words in [
        ("git-archive", "no kind of packager `git-archive`; did you mean `git_archive`"),
        ({"kind": ["a"]}, "no kind of packager"),
        ({"kind": "git_archive", "reff": "x"}, "no setting `reff`; did you mean `ref`"),
        ({"kind": "pattern"}, "not the settings of a pattern packager"),
    ]:
        with pytest.raises(run.ConfigError, match=words):
            read(settings)  # type: ignore[arg-type]


def test_paths_may_be_paths() -> None:
    packager = PatternPackager(include_pattern=[Path("/a/b")], relative_path=Path("/a"))  # type: ignore[list-item, arg-type]
    assert packager.to_settings() == {"kind": "pattern", "debug": False, "include_pattern": ["/a/b"], "relative_path": "/a"}


def test_a_way_of_ones_own_is_refused_where_it_would_be_ignored() -> None:
    @dataclass(kw_only=True)
    class Zipping(Packager):
        def package(self, path: Any, job_dir: Any, name: str) -> str:
            return "code.zip"

    @dataclass(kw_only=True)
    class Noted(GitArchivePackager):
        note: str = ""

    with pytest.raises(run.ConfigError, match="Zipping has a `package` of its own"):
        run.LocalExecutor(packager=Zipping()).to_settings()
    assert Noted(ref="v1", note="x").to_settings() == GitArchivePackager(ref="v1").to_settings()
    with pytest.raises(run.ConfigError, match="symlink_from_remote_dir"):
        GitArchivePackager(symlink_from_remote_dir="/x").to_settings()


def test_the_archive_of_a_working_tree(repository: Path, tmp_path: Path) -> None:
    (repository / "src" / "train.py").write_text("changed")
    (repository / "new.py").write_text("new")
    (repository / "out").mkdir()
    (repository / "out" / "large").write_text("large")
    (repository / "empty").mkdir()
    packager = WorkingTreePackager()
    archive = packager.package(repository / "src", str(tmp_path / "jobs" / "job"), "code")
    assert archive == str(tmp_path / "jobs" / "job" / "code.tar.gz")
    assert contents(archive) == {
        ".gitignore": "out\n",
        "empty": ("->", ""),
        "link": ("->", "src/train.py"),
        "new.py": "new",
        "run.sh*": "run",
        "src/train.py": "changed",
    }
    assert os.listdir(tmp_path / "jobs" / "job") == ["code.tar.gz"]
    # The same tree gives the same bytes, whatever the times; another one replaces it.
    before = Path(archive).read_bytes()
    os.utime(repository / "new.py", (1, 1))
    packager.package(repository, str(tmp_path / "jobs" / "job"), "code")
    assert Path(archive).read_bytes() == before
    (repository / "new.py").write_text("newer")
    packager.package(repository, str(tmp_path / "jobs" / "job"), "code")
    assert contents(archive)["new.py"] == "newer"


def test_the_archive_of_a_commit(repository: Path, tmp_path: Path) -> None:
    archive = GitArchivePackager(subpath="src").package(repository, str(tmp_path / "job"), "a")
    assert contents(archive) == {"train.py": "train"}
    (repository / "out").mkdir()
    (repository / "out" / "built.so").write_text("built")
    (repository / "src" / "train.py").write_text("changed")
    packager = GitArchivePackager(include_pattern="out/*.so")
    with pytest.warns(UserWarning, match=r"without 1 change \(src/train.py\)[\s\S]*hint: commit"):
        archive = packager.package(repository, str(tmp_path / "job"), "b")
    assert contents(archive)["src/train.py"] == "train"
    assert contents(archive)["out/built.so"] == "built"
    with pytest.raises(run.ConfigError, match="are not committed"):
        GitArchivePackager(check_uncommitted_changes=True).package(repository, str(tmp_path / "job"), "c")


def test_archives_of_patterns_and_of_several(repository: Path, tmp_path: Path) -> None:
    pattern = PatternPackager(include_pattern=str(repository / "src" / "*.py"), relative_path=str(repository))
    assert contents(pattern.package(repository, str(tmp_path / "job"), "a")) == {"src/train.py": "train"}
    hybrid = HybridPackager(sub_packagers={"git": GitArchivePackager(subpath="src"), "more": pattern})
    archive = hybrid.package(repository, str(tmp_path / "job"), "b")
    assert contents(archive) == {"git/train.py": "train", "more/src/train.py": "train"}
    assert Packager().package(repository, str(tmp_path / "job"), "c") == ""


def test_what_cant_be_packed_leaves_nothing(repository: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    with pytest.raises(run.ConfigError, match=r"files over 2 bytes: .*train.py \(5 bytes\).*max_file_size"):
        WorkingTreePackager(max_file_size=2).package(repository, str(job), "code")
    with pytest.raises(run.ConfigError, match=r"more than 8 bytes"):
        WorkingTreePackager(max_size=8).package(repository, str(job), "code")
    (repository / "out of it").symlink_to("/etc/passwd")
    with pytest.raises(run.ConfigError, match=r"out of it can't be packed: it is a link that leads out"):
        WorkingTreePackager().package(repository, str(job), "code")
    with pytest.raises(run.ConfigError, match="no git repository"):
        GitArchivePackager().package(tmp_path, str(job), "code")
    assert os.listdir(job) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        WorkingTreePackager().package(repository, str(tmp_path / "file" / "job"), "code")
