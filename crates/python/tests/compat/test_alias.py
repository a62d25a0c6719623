"""The alias itself: which names there are, what they are, and how it is asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import mizzen
import mizzen.compat
import pytest
from mizzen.compat import AliasError, UnsupportedError
from mizzen.compat.missing import MISSING
from mizzen.compat.names import MODULES, NEW_HOMES


@pytest.fixture
def alias() -> Iterator[None]:
    mizzen.compat.install()
    yield
    mizzen.compat.uninstall()


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "NEMORUN_HOME"}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**environment, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def with_path() -> str:
    return os.pathsep.join([mizzen.compat.path(), os.environ.get("PYTHONPATH", "")])


NAMES = [(module, name) for module in MODULES for name in MODULES[module]]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{module}.{name}" for module, name in NAMES])
@pytest.mark.usefixtures("alias")
def test_every_name_is_there(module: str, name: str) -> None:
    value = getattr(import_module(module), name)
    where = MODULES[module][name]
    if not where:
        assert isinstance(value, type)
    elif not where.startswith("mizzen.compat"):
        home, _, attribute = where.partition(":")
        assert value is getattr(import_module(home), attribute)


@pytest.mark.usefixtures("alias")
def test_the_names_are_mizzens_own() -> None:
    import nemo_run

    shared = set(nemo_run.__all__) & set(mizzen.__all__) - {"cli", "__version__", "__package_name__"}
    assert {"Config", "Partial", "Experiment", "LocalExecutor", "Plugin", "run"} <= shared
    for name in shared:
        assert getattr(nemo_run, name) is getattr(mizzen, name), name
    assert nemo_run.__package_name__ == "nemo_run"
    assert nemo_run.__version__ == f"0.12.0+mizzen.{mizzen.__version__}"
    assert {"Config", "cli", "core", "run"} <= set(dir(nemo_run))


def test_what_nemo_run_exports_is_there() -> None:
    # `nemo_run.__all__` of 0.12.0.
    names = """autoconvert cli dryrun_fn lazy_imports LazyEntrypoint Config ConfigurableMixin DevSpace DockerExecutor
    DGXCloudExecutor Executor import_executor ExecutorMacros Experiment FaultTolerance HybridPackager GitArchivePackager
    PatternPackager help LeptonExecutor LocalExecutor LocalTunnel Packager Partial Plugin KubeflowExecutor run Script
    SkypilotExecutor SkypilotJobsExecutor SlurmExecutor SSHTunnel Torchrun SlurmRay SlurmTemplate __version__ __package_name__"""
    done = python("-c", f"import nemo_run\nfor name in {names.split()!r}: getattr(nemo_run, name)", PYTHONPATH=with_path())
    assert done.returncode == 0, done.stderr
    done = python("-c", f"from nemo_run import *\nfor name in {names.split()!r}: eval(name)", PYTHONPATH=with_path())
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("alias")
def test_run_is_a_function_whatever_was_imported_before() -> None:
    import nemo_run
    import nemo_run.run.experiment
    from nemo_run.run.job import Job

    assert nemo_run.run is mizzen.run
    assert Job is mizzen.Job
    import nemo_run.help

    assert nemo_run.help is mizzen.help


def test_modules_can_be_reached_without_importing_them() -> None:
    code = "import nemo_run as run; print(run.core.execution.local.LocalExecutor is run.LocalExecutor, run.cli.api.__name__)"
    done = python("-c", code, PYTHONPATH=with_path())
    assert done.stdout == "True nemo_run.cli.api\n", done.stderr


@pytest.mark.parametrize("name", sorted(set(MISSING) - set(mizzen.__all__)))
@pytest.mark.usefixtures("alias")
def test_what_is_missing_says_so_when_it_is_used(name: str) -> None:
    module = next(module for module in MODULES if name in MODULES[module])
    missing = getattr(import_module(module), name)
    assert missing.__name__ == name

    class Mine(missing):  # type: ignore[misc, valid-type]
        pass

    assert not isinstance(mizzen, missing)
    for cls in (missing, Mine):
        with pytest.raises(UnsupportedError, match=f"Mizzen has no `{name}` yet\nhint: .+"):
            cls("anything", account="ml")


@pytest.mark.parametrize("name", sorted(NEW_HOMES))
@pytest.mark.usefixtures("alias")
def test_a_module_that_is_missing_names_what_to_use(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="`|it |documents|logs|the |jobs|nothing|workspace|a task") as raised:
        import_module(name)
    assert raised.value.name == name
    assert "Mizzen's alias here, and " in str(raised.value)


@pytest.mark.usefixtures("alias")
def test_unknown_names_are_missing_as_any_are() -> None:
    import nemo_run

    assert not hasattr(nemo_run, "no_such_name")
    with pytest.raises(AttributeError, match="module 'nemo_run' has no attribute 'no_such_name'"):
        nemo_run.no_such_name  # noqa: B018
    with pytest.raises(ImportError, match="no_such_name"):
        from nemo_run import no_such_name  # noqa: F401
    with pytest.raises(ModuleNotFoundError, match="nemo_run.no_such_module"):
        import_module("nemo_run.no_such_module")
    with pytest.raises(ModuleNotFoundError, match="nemo_run.config.deeper"):
        import_module("nemo_run.config.deeper")


def test_installing_twice_and_taking_back() -> None:
    before = list(sys.meta_path), list(sys.path), os.environ.get("PYTHONPATH")
    mizzen.compat.install()
    mizzen.compat.install()
    import nemo_run

    assert nemo_run.Config is mizzen.Config
    assert os.environ["PYTHONPATH"].split(os.pathsep).count(mizzen.compat.path()) == 1
    mizzen.compat.uninstall()
    assert "nemo_run" not in sys.modules
    assert (list(sys.meta_path), list(sys.path), os.environ.get("PYTHONPATH")) == before
    mizzen.compat.uninstall()


def test_the_real_one_is_not_mixed_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import ModuleType

    real = ModuleType("nemo_run")
    real.__file__ = "/opt/lib/nemo_run/__init__.py"
    monkeypatch.setitem(sys.modules, "nemo_run", real)
    with pytest.raises(AliasError, match="imported already, from ./opt/lib/nemo_run/__init__.py"):
        mizzen.compat.install()
    assert sys.modules["nemo_run"] is real
    assert mizzen.compat.path() not in os.environ.get("PYTHONPATH", "")


def test_it_comes_before_an_installed_one(tmp_path: Path) -> None:
    (tmp_path / "nemo_run.py").write_text("real = True\n")
    here = os.pathsep.join([with_path(), str(tmp_path)])
    done = python("-c", "import nemo_run; print(nemo_run.__version__)", PYTHONPATH=here)
    assert "+mizzen." in done.stdout, done.stderr
    done = python("-c", "import mizzen.compat.nemo_run as run; print(run.__version__)", PYTHONPATH=here)
    assert "+mizzen." in done.stdout, done.stderr


def test_the_three_ways() -> None:
    ways = [
        "from mizzen.compat import nemo_run as run",
        "import mizzen.compat.nemo_run as run",
        "import mizzen.compat; mizzen.compat.install(); import nemo_run as run",
    ]
    for way in ways:
        done = python("-c", f"{way}\nimport nemo_run\nprint(run is nemo_run, run.Packager.__module__)")
        assert done.stdout == "True mizzen.packager\n", done.stderr
    done = python("-c", "import nemo_run as run; print(run.Packager.__module__)", PYTHONPATH=with_path())
    assert done.stdout == "mizzen.packager\n", done.stderr
    done = python("-m", "mizzen.compat", "-c", "import nemo_run as run; print(run.Packager.__module__)")
    assert done.stdout == "mizzen.packager\n", done.stderr


def test_importing_it_loads_nothing() -> None:
    code = "import sys, nemo_run, nemo_run.config, nemo_run.run; print(sorted(m for m in sys.modules if m.startswith('mizzen')))"
    done = python("-c", code, PYTHONPATH=with_path())
    assert done.stdout == (
        "['mizzen', 'mizzen.compat', 'mizzen.compat.finder', 'mizzen.compat.missing', 'mizzen.compat.names', 'mizzen.errors']\n"
    ), done.stderr


def test_a_script_is_started_as_python_would(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import nemo_run, os, subprocess, sys\n"
        "print(__name__, os.path.basename(__file__), sys.argv[1:], sys.flags.utf8_mode, os.path.basename(sys.path[0]))\n"
        "child = 'import nemo_run; print(\"child\", nemo_run.__package_name__)'\n"
        "sys.stdout.flush(); subprocess.run([sys.executable, '-c', child])\n"
        "sys.exit(7)\n"
    )
    done = python("-X", "utf8", "-m", "mizzen.compat", str(script), "--help", "a b", "$HOME")
    assert done.stdout == f"__main__ script.py ['--help', 'a b', '$HOME'] 1 {tmp_path.name}\nchild nemo_run\n", done.stderr
    assert done.returncode == 7
    done = python("-X", "utf8", "-um", "mizzen.compat", "-c", "import sys; print(sys.orig_argv[1:])", "x")
    assert done.stdout == "['-X', 'utf8', '-u', '-c', 'import sys; print(sys.orig_argv[1:])', 'x']\n", done.stderr
    done = python("-m", "mizzen.compat", "-m", "script", "x", PYTHONPATH=os.pathsep.join([str(tmp_path), with_path()]))
    assert done.stdout.startswith("__main__ script.py ['x'] 0"), done.stderr
    assert done.returncode == 7


def test_a_mistake_in_a_script_is_shown_as_python_shows_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import nemo_run\nraise ValueError('oh')\n")
    done = python("-m", "mizzen.compat", str(script))
    plain = python(str(script), PYTHONPATH=with_path())
    assert (done.returncode, done.stderr) == (1, plain.stderr)
    assert "compat" not in done.stderr


def test_the_command_line_of_the_alias() -> None:
    done = python("-m", "mizzen.compat", "--path")
    assert done.stdout == mizzen.compat.path() + "\n"
    assert (Path(mizzen.compat.path()) / "nemo_run" / "__init__.py").is_file()
    assert python("-m", "mizzen.compat").returncode == 2
    done = python("-m", "mizzen.compat", "--help")
    assert (done.returncode, done.stdout.split(" ")[0]) == (0, "usage:")


def test_a_python_that_has_no_mizzen_is_told(tmp_path: Path) -> None:
    # `-S` leaves site-packages out; where Mizzen comes from PYTHONPATH itself, nothing can be left out.
    if os.environ.get("PYTHONPATH"):
        pytest.skip("Mizzen is on PYTHONPATH")
    done = python("-S", "-c", "import nemo_run", PYTHONPATH=mizzen.compat.path())
    assert done.returncode == 1
    assert "ImportError: `nemo_run` is Mizzen's alias here" in done.stderr
    assert "hint: install mizzen for this Python" in done.stderr
