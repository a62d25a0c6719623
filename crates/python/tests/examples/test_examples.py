"""Every example in `examples/python` runs, and does what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[4] / "examples" / "python"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "MIZZEN_HOME": str(tmp_path / "home"), "NO_COLOR": "1", "COLUMNS": "120"}


def example(environment: dict[str, str], name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        cwd=Path(environment["MIZZEN_HOME"]).parent,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_all_examples_are_tested() -> None:
    names = {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".ipynb")}
    assert names == {"hello.py", "iris_sweep.py", "train_cli.py", "tour.ipynb"}


def test_hello(environment: dict[str, str]) -> None:
    done = example(environment, "hello.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "multiplying 3.0 by 4.5" in lines
    assert "the area is 13.5" in lines
    assert "ValueError: a width of -1?" in lines
    assert lines[-1] == "it failed: app-failure with exit status 1"


def test_iris_sweep(environment: dict[str, str]) -> None:
    done = example(environment, "iris_sweep.py")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "prepared {'train': 90, 'validation': 60, 'species': 3, 'features': 4}"
    assert [line.split()[1] for line in lines[1:5]] == ["0.001", "0.1", "1", "100"]
    assert lines[5] == "best: lr 1"


EPOCH = "epoch 1/{epochs}: {layers} layers, {weights} weights, {activation}, lr {lr}"


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["optimizer.lr=0.5", "epochs=3"], EPOCH.format(epochs=3, layers=1, weights=0, activation="relu", lr=0.5)),
        (
            ["model=big", "model.layers=[64, 64]", "optimizer=adam(lr=1e-3)", "epochs*=2"],
            EPOCH.format(epochs=4, layers=2, weights=4096, activation="gelu", lr=0.001),
        ),
        (["executor=local", "epochs=1"], EPOCH.format(epochs=1, layers=1, weights=0, activation="relu", lr=0.1)),
    ],
)
def test_train_cli(environment: dict[str, str], arguments: list[str], first: str) -> None:
    done = example(environment, "train_cli.py", "--yes", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == first


def test_train_cli_through_a_file(environment: dict[str, str]) -> None:
    folder = Path(environment["MIZZEN_HOME"]).parent
    done = example(environment, "train_cli.py", "epochs=1", "optimizer=adam", "note=it's $5", "--to-yaml", "train.yaml")
    assert done.returncode == 0, done.stderr
    assert not done.stdout
    assert (folder / "train.yaml").is_file()
    done = example(environment, "train_cli.py", "--yes", "--yaml", "train.yaml", "epochs+=1")
    assert done.stdout.splitlines() == [
        EPOCH.format(epochs=2, layers=1, weights=0, activation="relu", lr=0.001),
        EPOCH.format(epochs=2, layers=1, weights=0, activation="relu", lr=0.001).replace("1/2", "2/2"),
        "note: it's $5",
    ], done.stderr


def test_train_cli_explains_itself(environment: dict[str, str]) -> None:
    done = example(environment, "train_cli.py", "--help")
    assert done.returncode == 0
    assert "Trains a network that is not there." in done.stdout
    done = example(environment, "train_cli.py", "--yes", "epocs=3")
    assert done.returncode == 2
    assert "epocs" in done.stderr and "epochs" in done.stderr


def test_the_notebook_runs(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    # A kernel of this Python, whatever else is installed.
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    kernel = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
    }
    (spec / "kernel.json").write_text(json.dumps(kernel))
    for name, value in {**environment, "JUPYTER_PATH": str(tmp_path / "jupyter"), "IPYTHONDIR": str(tmp_path / "ipython")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook: Any = nbformat.read(EXAMPLES / "tour.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code"), "it is kept without outputs"
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()

    def output(part: str) -> str:
        cell = next(cell for cell in notebook.cells if part in cell.source)
        return "".join(one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in cell.outputs)

    assert "float" in output('"fast"')
    assert "momentum: 0.5" in output("to_yaml")
    assert "{'lr': 0.3, 'weight': " in output("result.value")
    assert output("except run.JobFailed").splitlines()[-4:-1] == ["wild", "app-failure", "1"]
    assert output("except run.JobFailed").splitlines()[-1].endswith("the learning rate of 30 is too large")
    assert "hello from first" in output("experiment.run()")
    assert output("[experiment.result(name)").count("'lr'") == 3
    assert output("for job in experiment").splitlines()[0] == "first SUCCEEDED [0]"
    assert "step 2: weight" in output('experiment.logs("lr-0.2")')
    assert output("from_title").endswith("True SUCCEEDED True\n")
