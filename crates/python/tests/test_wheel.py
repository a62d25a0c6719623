"""What the wheel brings: the module, its types, and the executables themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from importlib import metadata
from pathlib import Path

import pytest

import mizzen

installed = pytest.mark.skipif("MIZZEN_PROGRAM" in os.environ, reason="MIZZEN_PROGRAM stands in for the wheel's executables")


def test_versions_are_one() -> None:
    from mizzen import _core

    assert mizzen.__version__ == _core.__version__


@installed
@pytest.mark.parametrize("name", ["mizzen", "mizzen-agent"])
def test_the_executables_are_no_python_wrappers(name: str) -> None:
    program = Path(sysconfig.get_path("scripts"), name)
    assert program.read_bytes()[:4] == b"\x7fELF"
    assert os.access(program, os.X_OK)


@installed
def test_the_executable_has_the_version_of_the_package() -> None:
    program = Path(sysconfig.get_path("scripts"), "mizzen")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["mizzen", mizzen.__version__] == ["mizzen", metadata.version("mizzen")]


@installed
def test_nothing_else_is_needed() -> None:
    needed = [line for line in metadata.requires("mizzen") or [] if "extra ==" not in line]
    assert needed == []
    files = {str(path) for path in metadata.files("mizzen") or []}
    assert "mizzen/py.typed" in files and "mizzen/_core.pyi" in files


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import mizzen; "
        "import json; print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    said = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    if said.returncode != 0:  # not installed, but on PYTHONPATH
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in json.loads(said.stdout) if not name.startswith("json")}
    assert {name for name in loaded if name.startswith("mizzen")} == {"mizzen"}
    assert loaded.isdisjoint({"inspect", "dataclasses", "typing", "asyncio", "subprocess", "logging"}), loaded


def test_every_name_is_there() -> None:
    for name in mizzen.__all__:
        assert getattr(mizzen, name) is not None
    assert set(mizzen.__all__) <= set(dir(mizzen))
    with pytest.raises(AttributeError, match="no_such_name"):
        mizzen.no_such_name
