"""Cutting statements out of texts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from mizzen.job.text import Text

LIBRARY = Path(os.__file__).parent
NESTED = """
if __name__ == "__main__":
 try:
  if a:
   pass
  elif b:
{body}
  else:
   def other(): pass
  def after(): pass
 except E as error:
  def handler(): pass
 finally:
    def last(): pass
"""


def assemble(pieces):
    """What the runner makes of pieces."""
    source, line = "", 1
    for start, text, _ in pieces:
        source += "\n" * (start - line) + text
        line = start + text.count("\n")
    return source


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", ["typing", "dataclasses", "fileinput", "site", "mailbox", "enum", "ctypes/__init__"])
def test_any_choice_of_statements_compiles_and_keeps_its_lines(name, nested):
    source = (LIBRARY / f"{name}.py").read_text(encoding="utf-8")
    if nested:
        source = NESTED.format(body="".join(f"      {line}\n" for line in source.split("\n")))
    text = Text(name, source)
    choices = [[statement] for statement in text.statements[::5]] + [text.statements, text.statements[1::2]]
    for chosen in choices:
        cut = assemble(text.cut(dict.fromkeys(chosen, "")))
        compile(cut, name, "exec")
        lines, original = cut.split("\n"), source.split("\n")
        for statement in chosen:
            assert lines[statement.node.lineno - 1].lstrip()[:4] == original[statement.node.lineno - 1].lstrip()[:4] or not nested


@settings(deadline=None, max_examples=200)
@given(
    strategies.lists(
        strategies.tuples(
            strategies.sampled_from(["{n} = {v}", "{n} = '''\n{v}\n'''", "def {n}(): return {v}", "{n} = ({v},\n {v})", "'ä'; {n} = {v}; 1"]),
            strategies.booleans(),
            strategies.booleans(),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_what_is_cut_out_means_the_same(parts):
    source = ""
    for index, (form, joined, _) in enumerate(parts):
        line = form.format(n=f"name_{index}", v=index)
        join = joined and source and not line.startswith("def") and not source.rpartition("\n")[2].startswith("def")
        source += ("; " if join else "\n" if source else "") + line
    text = Text("text.py", source)
    wanted = {f"name_{index}" for index, part in enumerate(parts) if part[2]}
    chosen = {statement: "" for statement in text.statements if statement.makes & wanted}
    whole, cut = {}, {}
    exec(source, whole)
    exec(compile(assemble(text.cut(chosen)), "text.py", "exec"), cut)
    assert {name for name in cut if name.startswith("name_")} == wanted
    for name in wanted:
        if callable(cut[name]):
            assert cut[name].__code__.co_firstlineno == whole[name].__code__.co_firstlineno
            assert list(cut[name].__code__.co_positions()) == list(whole[name].__code__.co_positions()) if hasattr(
                cut[name].__code__, "co_positions"
            ) else True
        else:
            assert cut[name] == whole[name]


def needs(source, name):
    text = Text("text.py", source)
    now, later = text.makers[name][-1].needs()
    return sorted(now), sorted(later)


@pytest.mark.parametrize(
    ("source", "now", "later"),
    [
        ("def f(a=D, *, b: A = E) -> R:\n    c = 1\n    return [x + c + g(c) for x in a]", ["A", "D", "E", "R"], ["g"]),
        ("@deco(arg)\ndef f(): return h.i.j", ["arg", "deco"], ["h"]),
        ("class f(Base, metaclass=Meta):\n    x: T = v\n    y = [w for _ in z]\n    def m(self): return q", ["Base", "Meta", "T", "v", "w", "z"], ["q"]),
        ("f = [inner(x) for x in xs]", ["inner", "xs"], []),
        ("f = lambda a=d: body", ["d"], ["body"]),
        ("def f():\n    def g():\n        global h\n        return h + k\n    return g", [], ["h", "k"]),
        ("def f(x: 'Late | other.T', y: 'not python(') -> None: pass", ["Late", "other"], []),
        ("async def f():\n    async with a as b, c: yield await d(b)", [], ["a", "c", "d"]),
    ],
)
def test_what_a_statement_looks_up(source, now, later):
    ignored = {"__name__", "__annotations__"}  # what the compiler itself looks up
    found_now, found_later = needs(source, "f")
    assert [name for name in found_now if name not in ignored] == now
    assert [name for name in found_later if name not in ignored] == later


def test_what_binds_names():
    text = Text(
        "text.py",
        "import a.b, c as d\nfrom e import f as g\nfor h, (i, *j) in []: k = 1\nwith l as m: n = (o := 1)\n"
        "try: pass\nexcept E as p: q: int = 1\nmatch 1:\n  case {'x': r, **s} | [t, *u] as v: w = [x for x in []]\ndel y\nz += 1\nA.b = 1",
    )
    assert set(text.makers) == set("adghijkmnopqrstuvwz")


@pytest.mark.parametrize(
    ("line", "repeated"),
    [
        ("X.append(1)", True),
        ("X.a.b['c'] = 1", True),
        ("X[0] += 1", True),
        ("logging.basicConfig()", True),
        ("torch.manual_seed(1)", True),
        ("torch.backends.tf32 = True", True),
        ("subprocess.run(['rm'])", False),
        ("shutil.rmtree('x')", False),
        ("exp.run()", True),
        ("run.run(X)", False),
        ("X.task = run.Partial(X)", False),
        ("other.append(X)", False),
    ],
)
def test_what_is_repeated(line, repeated):
    text = Text("text.py", "import mizzen as run, logging, torch, subprocess, shutil\nX = exp = []\n" + line)
    statement = [statement for statement in text.statements if statement.start == 3]
    names = {"X", "exp", "logging", "torch", "subprocess", "shutil", "run"}
    assert bool(statement and text.repeats(statement[0], names)) is repeated


@pytest.mark.parametrize(
    ("source", "launches"),
    [
        ("r = run.run(f)", True),
        ("def go(): run.run(f)\ngo()", True),
        ("def go():\n  with Experiment() as e: e.run()\ndef other(): return go()\nx = [other() for _ in y]", True),
        ("def go(): go(); run.run(f)\nkept = go", True),
        ("x = run.Partial(f)", False),
        ("def f(): run.run(f)\ndef g(): f()", False),
        ("x = len", False),
    ],
)
def test_what_launches(source, launches):
    text = Text("text.py", "import mizzen as run\nfrom nemo_run import Experiment\n" + source)
    assert (text.tree.body[-1] not in [statement.node for statement in text.statements]) is launches


def test_pieces_are_plain_json():
    text = Text("text.py", "a = 'ü'\nb = 1")
    assert json.loads(json.dumps(text.cut({text.statements[0]: "x"}))) == [[1, "a = 'ü'", "x"]]
