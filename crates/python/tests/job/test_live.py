"""Functions that come from no file: notebook cells, ``python -c``, standard input, and the prompt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest
from .conftest import environment, launched

SCRIPT = '''
import mizzen as run
from launching import launch
import math, functools
from os.path import basename
SCALE = 3

def double(function):
    @functools.wraps(function)
    def wrapper(x):
        return 2 * function(x)
    return wrapper

@double
def scaled(x, *, by=SCALE, more=(1, 2)):
    return x * by + sum(more)

def train(x, offset=1):
    table = {name: scaled(x) for name in ["a"]}
    return [table, math.floor(offset), basename("a/b")]

launch(run.Partial(train, 5))
'''


@pytest.mark.parametrize("how", ["command", "file", "dashless", "pipe"])
def test_commands_and_standard_input(piped, how):
    job = piped(SCRIPT, how)
    assert job.value == [{"a": 36}, 1, "b"], job.err


@pytest.mark.parametrize("how", ["command", "file"])
def test_classes_and_tracebacks_where_there_is_text(piped, how):
    job = piped(
        """
        import mizzen as run
        from launching import launch
        class Net:
            def go(self):
                raise ValueError("no")  # this line
        def train():
            Net().go()
        launch(run.Partial(train))
        """,
        how,
    )
    assert job.exception.message == "no"
    assert "# this line" in job.exception.traceback


def test_piped_classes_have_no_text(piped):
    job = piped(
        """
        import mizzen as run
        from launching import attempt
        class Net:
            pass
        def train():
            return Net()
        attempt(run.Partial(train))
        """,
        "pipe",
    )
    assert "global `Net` used by function `train` can't travel with the job: this class was defined where Python keeps no text" in job.error
    assert "hint: put `Net` in a file" in job.error


def test_marshalled_code_under_another_python(piped, node_python):
    job = piped(SCRIPT, "pipe", python=node_python)
    version = subprocess.run([node_python, "-c", "import sys; print(*sys.version_info[:2], sep='.')"], capture_output=True, text=True)
    if version.stdout.strip() == "{}.{}".format(*sys.version_info):
        assert job.value == [{"a": 36}, 1, "b"], job.err
    else:
        assert job.status == 1
        assert "only runs under Python {}.{}, and this is Python ".format(*sys.version_info) in job.exception.message
        assert "hint: put `" in job.exception.message


def test_the_plain_prompt(tmp_path):
    # -i makes standard input a prompt even without a terminal.
    done = subprocess.run(
        [sys.executable, "-i", "-q"],
        input=textwrap.dedent(
            """\
            import mizzen as run
            from launching import launch
            BASE = 40
            def add(x):
                return x + BASE

            def train(x):
                return add(x)

            launch(run.Partial(train, 2))
            """
        ),
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert launched(done).value == 42, done.stderr


def test_the_prompt_after_a_script(tmp_path):
    (tmp_path / "script.py").write_text("BASE = 40\nclass Net:\n    x = 1\ndef train(x):\n    return 'old'\n")
    done = subprocess.run(
        [sys.executable, "-i", "-q", "script.py"],
        input="import mizzen as run\nfrom launching import launch\n"
        "def train(x):\n    return x + BASE + Net.x\n\nlaunch(run.Partial(train, 1))\n",
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
    )
    assert launched(done).value == 42, done.stderr


CELLS = [
    "import mizzen as run\nfrom launching import launch, attempt\nimport math\nfrom random import random as chance",
    "from dataclasses import dataclass\nfrom enum import Enum\nimport logging, re, functools\nfrom collections import namedtuple",
    "class Mode(Enum):\n    FAST = 1\n\n@dataclass\nclass Settings:\n    rate: float = 0.5\n    mode: Mode = Mode.FAST\n",
    "logger = logging.getLogger('mine')\npattern = re.compile('a+')\nPair = namedtuple('Pair', 'left right')\nSIZES = {'a': (1, 2)}",
    "def helper():\n    return 'old'",
    "def helper(x=SIZES['a'][0], mode=Mode.FAST):\n    logger.info('hello')\n    assert mode is Mode.FAST\n    return math.floor(x)",
    "helper.extra = 5",
    "@functools.lru_cache()\ndef cached(x):\n    return x + 1",
    "def train(settings, n):\n"
    "    assert 0 <= chance() < 1\n"
    "    pair = Pair(1, 2)\n"
    "    return [settings.rate, helper(), helper.extra, cached(n), pair.right, bool(pattern.match('aa'))]",
    "launch(run.Partial(train, run.Config(Settings, rate=0.25), n=1))",
]


def run_kernel(cells, folder):
    """Runs cells in a real Jupyter kernel; returns what they printed."""
    manager_module = pytest.importorskip("jupyter_client.manager", reason="jupyter_client is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    manager, client = manager_module.start_new_kernel(kernel_name="python3", cwd=str(folder), env=environment(folder))
    printed = []
    try:
        for cell in cells:
            told = []
            reply = client.execute_interactive(cell, timeout=60, output_hook=told.append)
            for message in told:
                content = message["content"]
                printed.append(content.get("text", "") or "\n".join(content.get("traceback", ())))
            assert reply["content"]["status"] == "ok", [text for text in printed if text][-1]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return "".join(printed)


def test_a_notebook(tmp_path):
    printed = run_kernel(CELLS, tmp_path)
    job = launched(subprocess.CompletedProcess([], 0, printed, ""))
    assert job.value == [0.25, 1, 5, 2, 2, True], job.err


def test_a_notebooks_tracebacks_and_cells_that_ran_again(tmp_path):
    old, new = "class Net:\n    name = 'old'", "class Net:\n    name = 'new'"
    cells = [
        CELLS[0],
        old,
        new,
        "def train():\n    raise ValueError(Net.name)  # in the cell",
        "launch(run.Partial(train))",
        old,
        "launch(run.Partial(train))",
    ]
    lines = [json.loads(line[9:]) for line in run_kernel(cells, tmp_path).splitlines() if line.startswith("LAUNCHED ")]
    exceptions = [line["result"]["exception"] for line in lines]
    assert [exception["message"] for exception in exceptions] == ["new", "old"]
    assert "# in the cell" in exceptions[0]["traceback"]


def test_a_notebooks_objects_that_cannot_travel(tmp_path):
    cells = [CELLS[0], "class Net:\n    pass\nmodel = Net()", "def train():\n    return model", "attempt(run.Partial(train))"]
    job = launched(subprocess.CompletedProcess([], 0, run_kernel(cells, tmp_path), ""))
    assert job.error.startswith("global `model` used by function `train` can't travel with the job: ")
    assert "Net" in job.error


def test_an_ipython_prompt(tmp_path):
    pytest.importorskip("IPython", reason="IPython is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "--simple-prompt", "--colors=NoColor"],
        input="\n".join(
            ["import mizzen as run", "from launching import launch", "K = 4", "def train(x): return x * K", "", "launch(run.Partial(train, 3))", ""]
        ),
        cwd=tmp_path,
        env={**environment(tmp_path), "IPYTHONDIR": os.fspath(tmp_path / "ipython")},
        capture_output=True,
        text=True,
    )
    out = done.stdout.replace("LAUNCHED", "\nLAUNCHED")
    assert launched(subprocess.CompletedProcess([], 0, out, done.stderr)).value == 12


def test_a_notebook_with_magics_awaiting_and_decorators_of_its_own(tmp_path):
    cells = [
        CELLS[0],
        "%matplotlib --list\n!true\nimport asyncio, functools, threading\nfrom typing import Dict, TypeVar\nfrom os import *",
        "lock = threading.Lock()\nT = TypeVar('T')\nTable = Dict[str, int]\nawait asyncio.sleep(0)\nREADY = await asyncio.sleep(0, 3)",
        "def noted(function):\n    def inner(*args):\n        with lock:\n            return ['noted', function(*args)]\n    return inner",
        "class Base:\n    def go(self): return READY\nclass Net(Base):\n    name = path.basename('a/b')",
        "@noted\ndef step(x: T) -> Table:\n    return Net().go() + x",
        "async def train(n: 'T') -> 'Table':\n    await asyncio.sleep(0)\n    return [step(n), Net.name, nested()]",
        "def nested():\n    def inner():\n        return train.__name__\n    return inner()",
        "launch(run.Partial(train, 2))",
    ]
    cells[1] = cells[1].replace("%matplotlib --list\n", "")
    job = launched(subprocess.CompletedProcess([], 0, run_kernel(cells, tmp_path), ""))
    assert job.value == [["noted", 5], "b", "train"], job.err
