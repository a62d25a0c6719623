"""`python -m mizzen.cli FILE.py:function`, which `mizzen run FILE.py:function` executes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[..., Path]
Python = Callable[..., "subprocess.CompletedProcess[str]"]

SCRIPT = """
    import sys
    import mizzen as run

    def plain(x: int = 1, *rest: str):
        print("plain", x, rest, sys.argv[1:])

    @run.cli.entrypoint(name="nightly", default_executor=None)
    def train(x: int = 1):
        print("train", x, __name__, train.__module__)

    @run.cli.entrypoint(namespace="group")
    def other():
        print("other")

    class Holder:
        @staticmethod
        def inner(y: float):
            print("inner", y)

    def broken():
        raise ValueError("broken")

    if __name__ == "__main__":
        print("main block")
    else:
        print("imported", file=sys.stderr)

    if "__main__" == __name__:
        print("main block")
"""


@pytest.mark.parametrize(
    ("words", "out"),
    [
        (["script.py:plain", "5", "a"], "plain 5 ('a',) ['5', 'a']\n"),
        (["script.py:train", "x=2"], "train 2 __main__ __main__\n"),
        (["script.py:nightly", "x*=3"], "train 3 __main__ __main__\n"),
        (["script.py:group.other"], "other\n"),
        (["script.py:Holder.inner", "y=2"], "inner 2.0\n"),
        (["./script.py:plain"], "plain 1 () []\n"),
    ],
)
def test_functions_of_a_file(script: Write, python: Python, words: list[str], out: str) -> None:
    script(SCRIPT)
    done = python("-m", "mizzen.cli", *words)
    assert (done.returncode, done.stdout) == (0, out)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["script.py:plan"], 2, "error: script.py has no function `plan`\nhint: did you mean `plain`?"),
        (["script.py:plain", "y=1"], 2, "`plain` has no argument `y`"),
        (["script.py"], 2, "which function of script.py?\nhint: it has `script.py:nightly`, `script.py:other`"),
        (["none.py:f"], 2, "error: there is no file none.py"),
        (["no.such.module:f"], 2, "error: there is no module `no.such.module`"),
        (["script.py:broken"], 1, "ValueError: broken"),
        (["syntax.py:f"], 1, "SyntaxError"),
        (["raises.py:f"], 1, "ZeroDivisionError"),
        (["needs.py:f"], 1, "No module named 'no_such_dependency'"),
        ([], 2, "usage: mizzen run FILE.py:FUNCTION"),
        (["script.py:sys"], 2, "script.py has no function `sys`"),
    ],
)
def test_errors(script: Write, python: Python, words: list[str], status: int, said: str) -> None:
    script(SCRIPT)
    script("def f(:", "syntax.py")
    script("1 / 0", "raises.py")
    script("import no_such_dependency", "needs.py")
    done = python("-m", "mizzen.cli", *words)
    assert done.returncode == status
    assert said in done.stderr
    assert "mizzen/cli" not in done.stderr


def test_functions_of_a_module(script: Write, python: Python) -> None:
    script(SCRIPT, "package.py")
    done = python("-m", "mizzen.cli", "package:train", "x=4", "--direct")
    assert (done.returncode, done.stdout, done.stderr) == (0, "train 4 package package\n", "imported\n")


def test_neighbours_of_the_file_can_be_imported(script: Write, python: Python, tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    script("VALUE = 3", "inner/neighbour.py")
    script("from neighbour import VALUE\ndef show():\n    print(VALUE)\n", "inner/file.py")
    assert python("-m", "mizzen.cli", "inner/file.py:show").stdout == "3\n"


def test_a_main_call_outside_of_a_block_runs_nothing_and_its_defaults_hold(script: Write, python: Python) -> None:
    script(
        """
        import mizzen as run

        def train(x: int = 1):
            print("train", x)

        def recipe() -> run.Partial:
            return run.Partial(train, x=40)

        run.cli.main(train, default_factory=recipe)
        """
    )
    for target in ("script.py:train", "script.py"):
        done = python("-m", "mizzen.cli", target, "x+=2", "--direct")
        assert (done.returncode, done.stdout, done.stderr) == (0, "train 42\n", "")


def test_help_and_exports(script: Write, python: Python) -> None:
    script(SCRIPT)
    done = python("-m", "mizzen.cli", "script.py:train", "--help")
    assert done.returncode == 0 and done.stdout.startswith("usage: mizzen run script.py:train [flags] [argument=value …]")
    done = python("-m", "mizzen.cli", "script.py:train", "x=5", "--to-yaml", "-")
    assert done.stdout == "_target_: __main__.train\n_partial_: true\nx: 5\n"


def test_as_the_executable_starts_it(script: Write, python: Python) -> None:
    script(SCRIPT)
    program = "import sys\nfrom mizzen.cli.__main__ import main\nsys.exit(main())"
    done = python("-c", program, "script.py:train", "x=2", "executor=LocalExecutor")
    assert done.returncode == 0, done.stderr
    assert "train 2" in done.stdout
    assert python("-c", program, "script.py:broken").returncode == 1


def test_a_function_of_a_file_runs_as_a_job(script: Write, python: Python) -> None:
    script(SCRIPT)
    done = python("-m", "mizzen.cli", "script.py:train", "x=2", "executor=LocalExecutor")
    assert done.returncode == 0, done.stderr
    assert "train 2" in done.stdout
    assert python("-m", "mizzen.cli", "script.py:broken", "executor=LocalExecutor").returncode == 1
