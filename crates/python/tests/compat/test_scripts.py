"""Unmodified scripts in the style of NeMo-Run's documentation, on Mizzen.

What they must print was seen with NeMo-Run 0.11.1. `MIZZEN_NEMO_RUN_PYTHON`, the Python of an environment with the real one,
makes these tests run there as well, so that it can be seen again.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"
REAL = os.environ.get("MIZZEN_NEMO_RUN_PYTHON", "")
LAUNCHERS = ["mizzen", "nemo_run"] if REAL else ["mizzen"]


@pytest.fixture(params=LAUNCHERS)
def launcher(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def run(launcher: str, home: Path, script: str, *arguments: str, **variables: str) -> tuple[int, list[str]]:
    """Runs a script with a home of its own: with the alias, with the real one, or as it is.

    Returns:
        Its exit status, and the lines that it and its jobs printed, without the jobs' names before them and without colours.
    """
    commands = {"mizzen": [sys.executable, "-m", "mizzen.compat"], "nemo_run": [REAL], "": [sys.executable]}
    environment = {
        **os.environ,
        "MIZZEN_HOME": str(home / "mizzen"),
        "NEMORUN_HOME": str(home / "nemo"),
        "NO_VCS_VERSION": "1",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        # NeMo-Run starts `python`, whichever that is.
        "PATH": os.pathsep.join([str(Path(REAL or sys.executable).parent), os.environ["PATH"]]),
    }
    if launcher == "nemo_run":
        environment.pop("PYTHONPATH", None)
    environment |= variables
    done = subprocess.run(
        [*commands[launcher], str(SCRIPTS / script), *arguments],
        cwd=home,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).splitlines()
    return done.returncode, [re.sub(r"^\s*[\w=.-]+(/\d+ | +│ )", "", line).rstrip() for line in lines]


def test_scripts_in_an_experiment(launcher: str, tmp_path: Path) -> None:
    status, lines = run(launcher, tmp_path, "hello_scripts.py", str(SCRIPTS / "greet.sh"))
    assert status == 0, lines
    assert "STATES [('inline', 'SUCCEEDED'), ('module', 'SUCCEEDED'), ('path', 'SUCCEEDED')]" in lines
    assert {"Hello world 1!", "two lines", "a b|$HOME|it's me"} <= set(lines), lines


def test_configurations_and_partials(launcher: str, tmp_path: Path) -> None:
    status, lines = run(launcher, tmp_path, "hello_partial.py")
    assert status == 0, lines
    assert {
        "CONFIG 16 0.4 0.7 17",
        "TYPES True True False",
        "NAMESPACE LocalExecutor",
        "RESULT hidden=16 lr=0.4 betas=[0.9, 0.99] steps=3 note=None",
        "RESULT hidden=17 lr=0.7 betas=[0.9, 0.99] steps=3 note=cloned",
        "RESULT hidden=4 lr=0.5 betas=[0.9, 0.99] steps=2 note=None",
    } <= set(lines), lines


def test_an_experiment_with_everything(launcher: str, tmp_path: Path) -> None:
    status, lines = run(launcher, tmp_path, "hello_experiment.py")
    assert status == 0, lines
    assert "IDS first second ['first', 'pair', 'second']" in lines
    assert "AGAIN hello-experiment ['first', 'pair', 'second']" in lines
    assert "CATALOG 1" in lines
    if launcher == "mizzen":
        # NeMo-Run's threads that show logs lose those of jobs that end at once.
        assert {"first fast x", "member 0", "member 1", "second []"} <= set(lines), lines


MODEL = "Model(hidden=1024, activation='gelu')"


@pytest.mark.parametrize(
    ("arguments", "result"),
    [
        ("model=big optimizer=adam", f"{MODEL} Optimizer(lr=0.001) epochs=1 layers=None verbose=False"),
        (
            "model=big optimizer=adam model.hidden=7 layers=[1,2] epochs=3 verbose=true",
            "Model(hidden=7, activation='gelu') Optimizer(lr=0.001) epochs=3 layers=[1, 2] verbose=True",
        ),
        (
            "model=big(hidden=3) optimizer=adam(lr=0.5)",
            "Model(hidden=3, activation='gelu') Optimizer(lr=0.5) epochs=1 layers=None verbose=False",
        ),
        (
            "model=big optimizer=adam epochs=1 epochs+=2 epochs*=3",
            f"{MODEL} Optimizer(lr=0.001) epochs=9 layers=None verbose=False",
        ),
    ],
)
def test_an_entry_point(launcher: str, tmp_path: Path, arguments: str, result: str) -> None:
    status, lines = run(launcher, tmp_path, "hello_cli.py", "--yes", *arguments.split())
    assert status == 0, lines
    assert f"RESULT {result}" in lines


@pytest.mark.parametrize(
    ("arguments", "word"),
    [("model=big optimizer=adam epochs=x", "epochs"), ("model=big optimizer=adam epochz=3", "epochz"), ("optimizer=adam", "model")],
)
def test_a_wrong_argument(launcher: str, tmp_path: Path, arguments: str, word: str) -> None:
    status, lines = run(launcher, tmp_path, "hello_cli.py", "--yes", *arguments.split())
    # The difference that is meant: NeMo-Run's exit status is 0.
    assert status == (0 if launcher == "nemo_run" else 2), lines
    assert any(word in line for line in lines), lines
    assert not any(line.startswith("RESULT") for line in lines), lines


def test_help_lists_the_arguments(launcher: str, tmp_path: Path) -> None:
    status, lines = run(launcher, tmp_path, "hello_cli.py", "--help")
    assert status == 0
    text = "\n".join(lines)
    for word in ("model", "optimizer", "epochs", "layers", "verbose", "Trains a model that prints itself."):
        assert word in text, text


def test_a_failed_job(launcher: str, tmp_path: Path) -> None:
    script = tmp_path / "fails.py"
    script.write_text(
        "import nemo_run as run\n"
        "if __name__ == '__main__':\n"
        "    run.run(run.Script(inline='echo so; exit 3'), executor=run.LocalExecutor(), name='fails')\n"
        "    print('went on')\n"
    )
    status, lines = run(launcher, tmp_path, str(script))
    # The difference that is meant: NeMo-Run says nothing to the program that waits.
    assert ("went on" in lines, status) == ((True, 0) if launcher == "nemo_run" else (False, 1)), lines


def test_a_module_of_the_users_that_imports_it(launcher: str, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        "import nemo_run as run\n"
        "from nemo_run.config import Config\n"
        "def train(lr: float) -> None:\n"
        "    print('RESULT', lr, Config is run.Config)\n"
    )
    body = (
        "import nemo_run as run\n"
        "from models import train\n"
        "if __name__ == '__main__':\n"
        "    run.run(run.Partial(train, lr=0.5), executor=run.LocalExecutor(), name='train')\n"
    )
    (tmp_path / "launch.py").write_text(body)
    # NeMo-Run's jobs find the modules beside the script by PYTHONPATH only; Mizzen's as the script does.
    path = {"PYTHONPATH": str(tmp_path)} if launcher == "nemo_run" else {}
    status, lines = run(launcher, tmp_path, str(tmp_path / "launch.py"), **path)
    assert status == 0, lines
    assert "RESULT 0.5 True" in lines
    if launcher == "mizzen":
        (tmp_path / "launch.py").write_text("import mizzen.compat\nmizzen.compat.install()\n" + body)
        status, lines = run("", tmp_path, str(tmp_path / "launch.py"))
        assert status == 0, lines
        assert "RESULT 0.5 True" in lines
