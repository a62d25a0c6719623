"""Documents run by the runner, under each Python that a node may have; no launching script, no Mizzen there."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import mizzen.job.runner
from mizzen.errors import ResultError
from mizzen.job.results import read_result

HERE = Path(__file__).parent


def execute(root, folder, python=None, environment=None, document=None, **more):
    """Runs a document as a node does; returns the finished process and where its results are."""
    (folder / "files").mkdir(exist_ok=True)
    shutil.copy(mizzen.job.runner.__file__, folder / "files" / "runner.py")
    for module in ("things.py",):
        (folder / "code").mkdir(exist_ok=True)
        shutil.copy(HERE / module, folder / "code" / module)
    file = folder / "job.json"
    written = {"mizzen": 1, "name": "job", "root": root, "main": None, "path": [str(folder / "code")], "python": "3.11", **more}
    file.write_text(json.dumps(written) if document is None else document)
    done = subprocess.run(
        [python or sys.executable, str(folder / "files" / "runner.py"), str(file)],
        env={"PATH": os.environ["PATH"], "MIZZEN_JOB_DIR": str(folder), "MIZZEN_ATTEMPT": "2", **(environment or {})},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return done, folder / "attempts" / "2"


def partial(name, *args, **kwargs):
    return {"_target_": name, "_partial_": True, **({"_args_": list(args)} if args else {}), **kwargs}


def test_every_kind_of_value(tmp_path, node_python):
    tagged = {
        "tuple": ["tuple", [1, {"_type_": "tuple", "value": []}]],
        "set": ["set", [1, 2]],
        "frozen": ["frozenset", ["a"]],
        "bytes_": ["bytes", "AAEC"],
        "array": ["bytearray", "AAEC"],
        "complex_": ["complex", [1.5, "-inf"]],
        "nan": ["float", "nan"],
        "big": ["int", "1180591620717411303424"],
        "when": ["datetime", "2024-02-03T04:05:06.000007+02:00"],
        "day": ["date", "2024-02-03"],
        "hour": ["time", "04:05:06"],
        "delta": ["timedelta", [1, 2, 3]],
        "decimal": ["decimal", "1.10"],
        "uuid": ["uuid", "12345678-1234-5678-1234-567812345678"],
        "range_": ["range", [1, 10, 2]],
        "slice_": ["slice", [None, 3, None]],
        "dict_": ["dict", [[1, "one"], [{"_type_": "tuple", "value": [1]}, None]]],
        "none": ["none", None],
        "path": ["path", "a/b"],
    }
    values = {name: {"_type_": kind, "value": value} for name, (kind, value) in tagged.items()}
    values["pure"] = {"_type_": "path", "value": "a\\b", "class": "PureWindowsPath"}
    values["color"] = {"_type_": "enum", "class": "things.Color", "value": "BLUE"}
    values["access"] = {"_type_": "enum", "class": "things.Access", "value": 3}
    values["point"] = {"_type_": "dataclass", "class": "things.Point", "value": {"x": {"_type_": "float", "value": "inf"}, "y": [1]}}
    values["derived"] = {"_type_": "dataclass", "class": "things.Derived", "value": {"x": 2, "twice": 7}}
    values["pair"] = {"_type_": "namedtuple", "class": "things.Pair", "value": [1, 2]}
    values["function"] = {"_target_": "things.Encoder.Nested.make", "_call_": False}
    values["made"] = {"_target_": "things.Encoder.Nested.make", "value": [None, True, 1.5, "text"]}
    done, results = execute(partial("things.describe_types", **values), tmp_path, node_python)
    assert done.returncode == 0, done.stderr
    value = read_result(results / "result.json").value
    assert value.pop("function").startswith("function <function Encoder.Nested.make")
    assert value.pop("color") in ("Color <Color.BLUE: 2>",)
    assert "READ" in value.pop("access")
    assert value == {
        "tuple": "tuple (1, ())",
        "set": "set {1, 2}",
        "frozen": "frozenset frozenset({'a'})",
        "bytes_": "bytes b'\\x00\\x01\\x02'",
        "array": "bytearray bytearray(b'\\x00\\x01\\x02')",
        "complex_": "complex (1.5-infj)",
        "nan": "float nan",
        "big": "int 1180591620717411303424",
        "when": "datetime datetime.datetime(2024, 2, 3, 4, 5, 6, 7, tzinfo=datetime.timezone(datetime.timedelta(seconds=7200)))",
        "day": "date datetime.date(2024, 2, 3)",
        "hour": "time datetime.time(4, 5, 6)",
        "delta": "timedelta datetime.timedelta(days=1, seconds=2, microseconds=3)",
        "decimal": "Decimal Decimal('1.10')",
        "uuid": "UUID UUID('12345678-1234-5678-1234-567812345678')",
        "range_": "range range(1, 10, 2)",
        "slice_": "slice slice(None, 3, None)",
        "dict_": "dict {1: 'one', (1,): None}",
        "none": "NoneType None",
        "path": "PosixPath PosixPath('a/b')",
        "pure": "PureWindowsPath PureWindowsPath('a/b')",
        "point": "Point Point(x=inf, y=[1])",
        "derived": "Derived Derived(x=2, twice=7)",
        "pair": "Pair Pair(left=1, right=2)",
        "made": "tuple ('nested', [None, True, 1.5, 'text'])",
    }


def test_shared_configs_are_one_object_and_partials_build_theirs_once(tmp_path, node_python):
    inner = {"_target_": "things.Encoder", "_id_": "1", "width": 7}
    root = partial(
        "things.widths",
        first={"_target_": "things.Encoder", "inner": inner, "width": 5},
        second={"_target_": "things.Encoder", "inner": {"_ref_": "1"}},
        maker={"_target_": "things.Encoder", "_partial_": True, "inner": {"_target_": "things.Encoder"}},
    )
    done, results = execute(root, tmp_path, node_python)
    assert read_result(results / "result.json").value == [True, 5, 4, True, True], done.stderr


def test_references_forwards_and_to_themselves(tmp_path):
    forward = partial("things.give", a={"_ref_": "1"}, b={"_target_": "things.Point", "_id_": "1", "x": 1})
    done, results = execute(forward, tmp_path)
    assert done.returncode == 0, done.stderr
    itself = partial("things.give", {"_target_": "things.Point", "_id_": "1", "x": [{"_ref_": "1"}]})
    done, results = execute(itself, tmp_path)
    assert "`[0].x[0]` contains itself" in read_result(results / "result.json").exception.message
    done, results = execute(partial("things.give", {"_ref_": "9"}), tmp_path)
    assert "`[0]` refers to `9`, which is nowhere" in read_result(results / "result.json").exception.message


def test_results_come_back_as_what_they_were(tmp_path, node_python, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import things

    done, results = execute(partial("things.odd", "fine"), tmp_path, node_python)
    assert done.returncode == 0 and done.stderr == ""
    value = read_result(results / "result.json").value
    assert math.isnan(value[1].y[0])
    value[1].y.clear()
    expected = things.odd("fine")
    expected[1].y.clear()
    assert value == expected
    assert stat.S_IMODE((results / "result.json").stat().st_mode) == 0o600
    assert [file.name for file in results.iterdir()] == ["result.json"]


def test_coroutines_and_configs_as_jobs(tmp_path, node_python):
    done, results = execute(partial("things.later", 3), tmp_path, node_python)
    assert read_result(results / "result.json").value == 3, done.stderr
    done, results = execute({"_target_": "things.give", "_args_": [4]}, tmp_path, node_python)
    assert read_result(results / "result.json").value == 4, done.stderr


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("object", "`.net[0]` of what the job returned is a builtins.object, which can't be written down as JSON"),
        ("cycle", "`[0]` of what the job returned contains itself"),
        ("deep", "nested too deeply"),
        ("local", "`things.odd.<locals>.Local`, which can't be found by that name"),
        ("lambda", "`things.odd.<locals>.<lambda>`, which can't be found by that name"),
        ("array", "return `.tolist()` of it, or save it to a file"),
        ("broken", "what the job returned can't be looked at: RuntimeError: broken"),
    ],
)
def test_what_can_not_be_written_down_is_no_failure(tmp_path, kind, reason):
    done, results = execute(partial("things.odd", kind), tmp_path)
    assert done.returncode == 0
    assert "mizzen: warning: this job has no result: " in done.stderr
    result = read_result(results / "result.json")
    assert result.ok and reason in result.unavailable
    with pytest.raises(ResultError, match="hint: return numbers, text, lists and dicts"):
        result.value  # noqa: B018


def test_scalars_of_array_libraries_are_numbers(tmp_path):
    _, results = execute(partial("things.odd", "scalar"), tmp_path)
    assert read_result(results / "result.json").value == 0.5


def test_results_that_are_too_large(tmp_path):
    done, results = execute(partial("things.big", 2**24), tmp_path)
    assert done.returncode == 0
    assert "takes 16.0 MiB as JSON, and 16 MiB is the most" in read_result(results / "result.json").unavailable
    done, results = execute(partial("things.big", 2**24 - 100), tmp_path)
    assert len(read_result(results / "result.json").value) == 2**24 - 100


@pytest.mark.parametrize(
    ("target", "needed", "missing"),
    [
        ("no_such_package.Net", "needed by `no_such_package.Net`, for the argument `.model.inner[1]`", "no_such_package"),
        ("things.NoNet", "`things` has no `NoNet`, needed by `things.NoNet`, for the argument `.model.inner[1]`", None),
        ("broken_module.Net", "needed by `broken_module.Net`, for the argument `.model.inner[1]`", "dependency_of_it"),
    ],
)
def test_an_import_that_fails_names_the_argument(tmp_path, target, needed, missing, node_python):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "broken_module.py").write_text("import dependency_of_it")
    model = {"_target_": "things.Encoder", "inner": [1, {"_target_": target}]}
    done, results = execute(partial("things.give", model=model), tmp_path, node_python)
    assert done.returncode == 1
    exception = read_result(results / "result.json").exception
    assert exception.module_missing == missing
    assert needed in exception.traceback
    assert needed in done.stderr
    assert "runner.py" not in exception.traceback


def test_an_argument_that_can_not_be_made(tmp_path, node_python):
    model = {"_target_": "things.Encoder", "inner": {"_target_": "things.Encoder", "width": -1}}
    _, results = execute(partial("things.give", model=model), tmp_path, node_python)
    exception = read_result(results / "result.json").exception
    assert (exception.type, exception.message) == ("ValueError", "width is -1")
    assert exception.notes == ("while making `.model.inner` with `things.Encoder`",)
    assert exception.traceback.endswith("ValueError: width is -1\nwhile making `.model.inner` with `things.Encoder`\n")
    bad = {"a": {"_type_": "decimal", "value": "x"}}
    _, results = execute(partial("things.give", **bad), tmp_path, node_python)
    assert read_result(results / "result.json").exception.notes == ("while making `.a`, a decimal",)


def test_exceptions(tmp_path, node_python):
    done, results = execute(partial("things.fail", "message"), tmp_path, node_python)
    assert done.returncode == 1
    exception = read_result(results / "result.json").exception
    assert str(exception) == "ValueError: message"
    assert exception.traceback.startswith("Traceback (most recent call last):\n  File ")
    assert done.stderr == exception.traceback
    _, results = execute(partial("things.fail", kind="notes"), tmp_path, node_python)
    exception = read_result(results / "result.json").exception
    assert exception.notes == ("note one",) and exception.traceback.endswith("ValueError: no\nnote one\n")
    _, results = execute(partial("things.fail", kind="odd"), tmp_path, node_python)
    exception = read_result(results / "result.json").exception
    assert (exception.type, exception.message) == ("things.fail.<locals>.Odd", "<its message can't be shown>")
    done, results = execute(partial("things.fail", kind="recursion"), tmp_path, node_python)
    assert read_result(results / "result.json").exception.type == "RecursionError"
    done, results = execute(partial("things.fail", kind="KeyboardInterrupt"), tmp_path, node_python)
    assert done.returncode == 130


@pytest.mark.parametrize(("code", "status", "ok"), [(0, 0, True), (None, 0, True), (3, 3, False), ("words", 1, False)])
def test_system_exit_keeps_its_code(tmp_path, code, status, ok):
    done, results = execute(partial("things.fail", code, kind="SystemExit"), tmp_path)
    assert (done.returncode, done.stdout) == (status, "leaving\n")
    assert read_result(results / "result.json").ok is ok


def test_ranks(tmp_path):
    _, results = execute(partial("things.give", 1), tmp_path, environment={"RANK": "1"})
    assert not results.exists()
    execute(partial("things.fail"), tmp_path, environment={"SLURM_PROCID": "2"})
    execute(partial("things.give", 1), tmp_path, environment={"RANK": "0", "SLURM_PROCID": "3"})
    assert sorted(file.name for file in results.iterdir()) == ["result-2.json", "result.json"]


def test_an_earlier_result_does_not_stay(tmp_path):
    _, results = execute(partial("things.give", 1), tmp_path)
    assert read_result(results / "result.json").value == 1
    execute(partial("os._exit", 0), tmp_path)
    with pytest.raises(ResultError, match="there is no result at"):
        read_result(results / "result.json")


def test_a_result_that_can_not_be_written_is_no_failure(tmp_path):
    (tmp_path / "attempts").write_text("a file where a folder should be")
    done, _ = execute(partial("things.give", 1), tmp_path)
    assert done.returncode == 0
    assert "mizzen: warning: the job's result can't be written: " in done.stderr
    done, _ = execute(partial("things.give", 1), tmp_path, environment={"MIZZEN_JOB_DIR": ""})
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no job document of version 1"),
        ('{"mizzen": 2, "root": {}}', "is no job document of version 1, which this runner reads (it has `mizzen: 2`)"),
        ('{"mizzen": 1, "root": 3}', "names nothing that could be called"),
        ('{"mizzen": 1, "root": {"_target_": "things"}}', "`things` can't be called"),
        ('{"mizzen": 1, "root": {"_type_": "new", "value": 3, "_target_": "builtins.print", "a": {"_type_": "new"}}}', "has the type `new`"),
        ('{"mizzen": 1, "root": {"_target_": "__main__.gone"}}', "`__main__`, which stands for the launching script, has no `gone`"),
    ],
)
def test_documents_that_are_wrong(tmp_path, document, message):
    done, results = execute(None, tmp_path, environment={"PYTHONPATH": str(HERE)}, document=document)
    assert done.returncode == 1
    assert message in read_result(results / "result.json").exception.message
    assert message in done.stderr


def test_a_document_that_is_missing(tmp_path):
    runner = mizzen.job.runner.__file__
    done = subprocess.run([sys.executable, runner, str(tmp_path / "none.json")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the job's document can't be read: [Errno 2] No such file or directory" in done.stderr
    assert subprocess.run([sys.executable, runner], capture_output=True).returncode == 2


def test_the_runners_folder_hides_no_module(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "runner.py").write_text("def go():\n    return 'the user\\'s own'")
    done, results = execute(partial("runner.go"), tmp_path)
    assert read_result(results / "result.json").value == "the user's own", done.stderr


def test_what_a_trivial_job_imports(tmp_path):
    done, results = execute(partial("builtins.sorted", {"_target_": "sys.modules.keys"}), tmp_path)
    loaded = set(read_result(results / "result.json").value)
    command = [sys.executable, "-c", "import sys; print(*sys.modules)"]
    bare = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True)
    new = loaded - set(bare.stdout.split())
    assert new <= {"__future__", "_functools", "_json", "__main__"}


def test_reading_calls_nothing(tmp_path):
    def read(value):
        file = tmp_path / "result.json"
        file.write_text(json.dumps({"mizzen": 1, "ok": True, "value": value}))
        return read_result(file)

    marker = tmp_path / "called"
    with pytest.raises(ResultError, match="reading a result calls nothing"):
        read({"a": {"_target_": "os.mkdir", "_args_": [str(marker)]}}).value  # noqa: B018
    for kind in ("dataclass", "namedtuple", "enum"):
        content = {"dataclass": {"path": str(marker)}, "namedtuple": [str(marker)], "enum": str(marker)}[kind]
        with pytest.raises(ResultError, match="wants a"):
            read({"_type_": kind, "class": "os.mkdir", "value": content}).value  # noqa: B018
    assert not marker.exists()
    with pytest.raises(ResultError, match="a class that this Python doesn't have"):
        read({"_type_": "dataclass", "class": "no_such_package.Point", "value": {}}).value  # noqa: B018
    with pytest.raises(ResultError, match="damaged"):
        read({"_type_": "decimal", "value": "x"}).value  # noqa: B018


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is damaged"), ("[]", "is no result"), ('{"mizzen": 2, "ok": true}', "a newer Mizzen"), ('{"mizzen": 1, "ok": false}', "is no result")],
)
def test_results_that_are_wrong(tmp_path, text, message):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ResultError, match=message):
        read_result(tmp_path / "result.json")
