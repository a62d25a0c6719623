"""Functions that a launching script defines, run as jobs, with all that they need of it."""

from __future__ import annotations

import subprocess
import sys

from .conftest import environment, launched

HEAD = """\
import mizzen as run
from launching import launch, attempt
"""


def test_a_function_with_all_that_it_needs(script, node_python):
    job = script(
        HEAD
        + '''
import math, json
from os.path import join as joined
from helper import *
from dataclasses import dataclass, field
from enum import Enum
from typing import Optional
import functools

print("top level")          # must not happen in the job
SCALE: float = 2.5
TABLE = {}
TABLE["a"] = 1
TABLE.update(b=2)
names = []
for letter in "xyz":
    names.append(letter)

try:
    import no_such_module as toml
except ImportError:
    import json as toml

class Color(Enum):
    RED = 1
    BLUE = 2

def double(function):
    @functools.wraps(function)
    def wrapper(*args):
        return 2 * function(*args)
    return wrapper

@dataclass
class Point:
    x: float
    y: "Optional[float]" = None
    tags: list = field(default_factory=list)

    def norm(self):
        return math.hypot(self.x, self.y or 0)

class Child(Point):
    kind = Color.BLUE

@double
def norm(point, default=SCALE):
    return point.norm() * default

def train(point, color=Color.RED):
    def inner():
        return joined("a", "b")
    return [norm(point), inner(), helped(3), TABLE, names, toml.__name__, color, [Child(1.0).kind for _ in range(1)][0].name]

if __name__ == "__main__":
    unused = launch(run.Partial(train, run.Config(Point, x=3.0, y=4.0)))
''',
        python=node_python,
        files={"helper.py": "def helped(x):\n    return x * 10\n"},
    )
    assert job.status == 0, job.err
    assert job.out == ""
    assert job.value == [
        25.0,
        "a/b",
        30,
        {"a": 1, "b": 2},
        ["x", "y", "z"],
        "json",
        {"_type_": "enum", "class": "__main__.Color", "value": "RED"},
        "BLUE",
    ]


def test_a_script_without_a_main_block_is_not_run_again(script):
    job = script(
        HEAD
        + """
import sys, logging
logging.basicConfig(level="DEBUG")

def train(x):
    return [x, sys.argv[1:], logging.getLogger().level]

def main():
    launch(run.Partial(train, 3))

for _ in range(2):
    main()
sys.exit(main())
""",
        "--flag",
    )
    assert job.count == 3
    assert job.value == [3, ["--flag"], 10]


def test_arguments_parsed_at_the_top_level_are_parsed_again(script):
    job = script(
        HEAD
        + """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
args = parser.parse_args()

def train():
    return args.lr

launch(run.Partial(train))
""",
        "--lr=0.5",
    )
    assert job.value == 0.5


def test_what_the_main_block_sets_travels_as_a_value(script):
    job = script(
        HEAD
        + """
import argparse
LR = 0.1
def train():
    return [LR, epochs, args.seed, helper(), again]

counter = None
def count():
    global counter
    counter = 7

if __name__ == "__main__":
    import os.path
    import json as dumper
    LR = 0.2
    epochs = 3
    args = argparse.Namespace(seed=1)
    def helper():
        return [dumper.dumps({}), os.path.basename("a/b"), counter]
    count()
    for again in range(2):
        launch(run.Partial(train))
"""
    )
    assert job.value == [0.2, 3, 1, ["{}", "b", 7], 1]


def test_a_global_that_cannot_travel_is_named_with_its_user(script):
    job = script(
        HEAD
        + """
class Net:
    pass

def step():
    return model

def train():
    return step()

if __name__ == "__main__":
    model = Net()
    attempt(run.Partial(train))
"""
    )
    assert "global `model` used by function `step` can't travel with the job" in job.error
    assert "`__main__.Net`" in job.error
    assert "hint: make `model` inside the function, or hand it over as an argument" in job.error
    assert job.path == "model"


def test_mizzens_decorators_and_annotations_stay_behind(script, node_python):
    job = script(
        HEAD
        + """
from typing import Optional
from mizzen import Config

def entrypoint(**options):
    return lambda function: function
run.entrypoint = entrypoint

@run.entrypoint(
    name="train",
)
def train(
    x: int,
    recipe: Optional[run.Config[int]] = None,
    other: Config = None,
) -> "run.Partial":
    value: run.Config = x + 1
    return value

def wrap(x: int) -> run.Partial[
        int]:
    return train(x)

launch(run.Partial(wrap, 3))
""",
        python=node_python,
    )
    assert job.value == 4, job.err


def test_statements_on_one_line_and_in_blocks(script):
    job = script(
        HEAD
        + '''
print("no"); A = 1; print("no"); B = 2
C = """
  two
lines"""; print("no")
if run:
    if True:
        def deep():
            return "deep"
    def shallow():
        text = """
unindented"""
        return deep() + text
    launch
elif launch:
    pass
with open(__file__) as file:
    def inside():
        return [A, B, C, shallow()]
    launch(run.Partial(inside))
'''
    )
    assert job.value == [1, 2, "\n  two\nlines", "deep\nunindented"], job.err
    assert job.out == ""


def test_tracebacks_show_the_scripts_lines(script, node_python):
    job = script(
        HEAD
        + """
import inspect
def fail(x):
    note = "ünïcode"; raise ValueError(f"bad {x}")  # here

def train(x):
    assert "# here" in inspect.getsource(fail)
    try:
        {}["key"]
    except KeyError:
        fail(x)

launch(run.Partial(train, x=3))
""",
        python=node_python,
    )
    assert job.status == 1
    assert job.exception.type == "ValueError"
    assert job.exception.message == "bad 3"
    traceback = job.exception.traceback
    assert 'script.py", line 6, in fail' in traceback
    assert "# here" in traceback
    assert "KeyError: 'key'" in traceback
    assert "runner.py" not in traceback
    assert traceback.endswith("ValueError: bad 3\n")
    assert job.err.endswith(traceback)


def test_an_edited_script_runs_as_it_was_started(script):
    job = script(
        HEAD
        + """
BASE = 1
def train(x):
    return x + BASE

text = open(__file__).read()
open(__file__, "w").write("# a new line\\n" + text.replace("x + BASE", "x - BASE"))
launch(run.Partial(train, 1))
"""
    )
    assert job.value == 2, job.err


def test_a_file_that_changes_after_the_launch_does_not_change_tracebacks(script):
    job = script(
        HEAD
        + """
def train():
    open(script, "w").write("something else\\n" * 30)
    raise ValueError("the real line")

script = __file__
launch(run.Partial(train))
"""
    )
    assert 'raise ValueError("the real line")' in job.exception.traceback


def test_future_features_and_new_syntax(script):
    job = script(
        """\
from __future__ import annotations
import mizzen as run
from launching import launch
from typing import TYPE_CHECKING, ClassVar
from dataclasses import dataclass
if TYPE_CHECKING:
    from nowhere import Nothing

@dataclass
class Settings:
    count: ClassVar[int] = 1
    x: int = 2

def train(x: Nothing = None) -> Nothing:
    match Settings():
        case Settings(x=found):
            return [found, list(Settings.__dataclass_fields__) if False else len(__import__("dataclasses").fields(Settings))]

launch(run.Partial(train))
"""
    )
    assert job.value == [2, 1], job.err


def test_worker_processes_find_the_scripts_functions(script, node_python):
    job = script(
        HEAD
        + """
import multiprocessing
def square(x):
    return x * FACTOR * x
FACTOR = 2
def train():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.map(square, [1, 2, 3])

if __name__ == "__main__":
    launch(run.Partial(train))
""",
        python=node_python,
    )
    assert job.value == [2, 8, 18], job.err


def test_values_made_of_the_scripts_classes(script):
    job = script(
        HEAD
        + """
from dataclasses import dataclass
from enum import Enum
from collections import namedtuple
import pickle
class Mode(Enum):
    FAST = 1
Pair = namedtuple("Pair", "left right")
@dataclass(frozen=True)
class Settings:
    mode: Mode
    pair: Pair
def train(settings):
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    return again
launch(run.Partial(train, run.Config(Settings, Mode.FAST, Pair(1, (2,)))))
"""
    )
    assert job.value["class"] == "__main__.Settings", job.err
    assert job.value["value"]["pair"] == {
        "_type_": "namedtuple",
        "class": "__main__.Pair",
        "value": [1, {"_type_": "tuple", "value": [2]}],
    }


def test_modules_beside_the_script_and_relative_to_a_copy(script):
    job = script(
        HEAD
        + """
import os, json
from beside import name
def train():
    return [name(), os.path.basename(__file__)]
launch(run.Partial(train), local=False)
""",
        files={"beside.py": "def name():\n    return __name__\n"},
    )
    assert job.value == ["beside", "script.py"]


def test_methods_and_nested_names_as_targets(script):
    job = script(
        HEAD
        + """
class Trainer:
    rate = 3
    @classmethod
    def train(cls, x):
        return cls.rate * x
launch(run.Partial(Trainer.train, 2))
"""
    )
    assert job.value == 6, job.err


def test_an_import_that_fails_on_the_node_is_told_with_who_needs_it(script):
    job = script(
        HEAD
        + """
import sys
sys.modules["only_here"] = type(sys)("only_here")
sys.modules["only_here"].go = lambda: 1
import only_here
def train():
    return only_here.go()
launch(run.Partial(train))
"""
    )
    assert job.status == 1
    assert job.exception.type == "ModuleNotFoundError"
    assert job.exception.module_missing == "only_here"
    assert "in the launching script, used by function `train`" in job.exception.notes


def test_a_module_run_with_m_and_relative_imports(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "beside.py").write_text("value = 5\n")
    (package / "launch.py").write_text(
        "import mizzen as run\nfrom launching import launch\nfrom .beside import value\nfrom . import beside\n"
        "def train():\n    return [value, beside.__name__]\n"
        "if __name__ == '__main__':\n    launch(run.Partial(train))\n"
    )
    command = [sys.executable, "-m", "package.launch"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert launched(done).value == [5, "package.beside"], done.stderr


def test_launching_from_a_thread_and_from_a_coroutine(script):
    job = script(
        HEAD
        + """
import asyncio, threading
BASE = []
BASE.append(1)
def train():
    return BASE

async def main():
    launch(run.Partial(train))

asyncio.run(main())
thread = threading.Thread(target=lambda: launch(run.Partial(train)))
thread.start()
thread.join()
BASE.append(2)
"""
    )
    assert job.count == 2
    assert job.value == [1]


def test_objects_that_the_main_block_only_uses(script):
    job = script(
        HEAD
        + """
class Console:
    def __init__(self):
        self.lines = []
    def print(self, text):
        self.lines.append(text)

console = Console()
TABLE = {}

def train():
    console.print("train")
    return [console.lines, TABLE]

if __name__ == "__main__":
    console.print("main")
    TABLE.update(a=1)
    launch(run.Partial(train))
"""
    )
    assert job.value == [["train"], {"a": 1}], job.err


def test_an_object_that_the_main_block_changes_can_not_travel(script):
    job = script(
        HEAD
        + """
class Net:
    pass
net = Net()
def train():
    return net.width
if __name__ == "__main__":
    net.width = 3
    attempt(run.Partial(train))
"""
    )
    assert "global `net` used by function `train` can't travel with the job: it is changed at line " in job.error
    assert "where a job does not go, and its value can't travel: " in job.error


def test_objects_of_the_script_as_arguments(script):
    job = script(
        HEAD
        + """
from functools import partial
class Scale:
    def __init__(self, by):
        self.by = by
    def __call__(self, x):
        return self.by * x
scale = Scale(3)
def shift(x, by):
    return x + by
def train(functions):
    return [function(2) for function in functions]
launch(run.Partial(train, [scale, partial(shift, by=1), run.Partial(shift, by=2)]))
"""
    )
    assert job.value == [6, 3, 4], job.err


def test_recursion_aliases_and_names_that_are_not_there(script):
    job = script(
        HEAD
        + """
def even(n):
    return True if n == 0 else odd(n - 1)
def odd(n):
    return False if n == 0 else even(n - 1)
alias = even
def train():
    try:
        return missing
    except NameError:
        return [alias(4), len("abc")]
launch(run.Partial(train))
missing = 1
"""
    )
    assert job.value == [True, 3], job.err


def test_two_jobs_share_the_scripts_text(script, tmp_path):
    job = script(
        HEAD
        + """
from mizzen.job.source import capture
def first(): return 1
def second(): return first()
one, two = (capture(run.Partial(function), local=True) for function in (first, second))
assert one.files == two.files and len(one.files) == 2, one.files
assert len(one.document["main"]["steps"][0]["run"]["pieces"]) == 1
assert capture(run.Partial(len, "abc"), local=True).document["main"] is None
launch(run.Partial(second))
"""
    )
    assert job.value == 1


def test_a_launcher_that_starts_the_main_module_again(script, node_python):
    # As Lightning's does for the other processes of a machine.
    job = script(
        HEAD
        + """
import __main__, os, subprocess, sys
def train():
    rank = int(os.environ.get("LOCAL_RANK", 0))
    print("rank", rank, flush=True)
    if rank == 0:
        command = [sys.executable, "-m", __main__.__spec__.name, *sys.argv[1:]]
        subprocess.run(command, env={**os.environ, "LOCAL_RANK": "1"}, check=True)
    return rank
launch(run.Partial(train))
""",
        "--option",
        python=node_python,
    )
    assert (job.value, job.out) == (0, "rank 0\nrank 1\n"), job.err


def test_syntax_that_the_node_does_not_know(script, node_python):
    job = script(
        HEAD
        + """
def train():
    match 1:
        case 1: return "matched"
launch(run.Partial(train))
""",
        python=node_python,
    )
    if job.status:
        assert job.exception.type == "SyntaxError"
        assert "the job was launched by Python {}.{} and runs under Python 3.".format(*sys.version_info) in job.exception.notes[0]
        assert 'script.py", line 5' in job.exception.traceback
    else:
        assert job.value == "matched"


def test_the_scripts_text_is_there_without_its_file(script, node_python):
    job = script(
        HEAD
        + """
import inspect, os
class Net:
    def go(self):
        return 1  # of the class
def train():
    os.unlink(__file__)
    raise ValueError(inspect.getsource(train) + inspect.getsource(Net.go))  # here
launch(run.Partial(train))
""",
        python=node_python,
    )
    assert "# of the class" in job.exception.message
    assert job.exception.message.startswith("def train():")
    assert "# here" in job.exception.traceback


def test_an_import_that_brings_mizzen_and_more_is_parted(script):
    head = """\
        import math, mizzen as run, json, mizzen.config
        import sys, mizzen
        from launching import launch

        def plain(x) -> "run.Partial":
            return math.floor(json.loads(str(x))), "mizzen" in sys.modules

        def using_it(x):
            return json.loads(str(x)), mizzen.__name__
        """
    job = script(head + "\n        launch(run.Partial(plain, 3.5))\n")
    assert job.value == {"_type_": "tuple", "value": [3, False]}, job.err
    job = script(head + "\n        launch(run.Partial(using_it, 3.5))\n")
    assert job.value == {"_type_": "tuple", "value": [3.5, "mizzen"]}, job.err
