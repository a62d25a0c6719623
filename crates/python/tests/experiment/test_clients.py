"""Clients that are interrupted, killed, forked, or many at once."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

import mizzen as run
from mizzen.experiment import Job

#: Attends a job, and says how it was left.
ATTENDED = """
import sys
import mizzen as run
import tasks_of_test
experiment = run.Experiment("attended")
experiment.add({task}, name="job")
try:
    experiment.run(tail_logs=True{options})
except KeyboardInterrupt:
    print("interrupted with", experiment.state, experiment["job"].cause, flush=True)
    sys.exit(5)
print("not interrupted")
"""
STUBBORN = "run.Script(inline=\"trap '' INT TERM; echo holding; while :; do sleep 0.05; done\")"


class Terminal:
    """A process that has a terminal of its own."""

    def __init__(self, code: str, environment: dict[str, str]) -> None:
        master, slave = pty.openpty()
        # The session's leader gets the terminal by opening it: a Ctrl-C typed there reaches its whole process group.
        starter = f"import os, sys; os.close(os.open(os.ttyname(0), os.O_RDWR)); os.execv({sys.executable!r}, [{sys.executable!r}, '-c', sys.argv[1]])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", starter, code], env=environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self.master = master
        self.text = ""

    def read_until(self, text: str, times: int = 1) -> None:
        while self.text.count(text) < times:
            data = os.read(self.master, 65536)
            self.text += data.decode().replace("\r\n", "\n")

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def end(self) -> tuple[int, str]:
        try:
            while data := os.read(self.master, 65536):
                self.text += data.decode().replace("\r\n", "\n")
        except OSError:
            pass  # Linux answers so when nobody has the terminal open any longer.
        return self.process.wait(60), self.text


@contextmanager
def terminal(environment: dict[str, str], task: str, options: str = "") -> Iterator[Terminal]:
    opened = Terminal(ATTENDED.format(task=task, options=options), environment)
    try:
        yield opened
    finally:
        opened.process.kill()
        opened.process.wait()
        os.close(opened.master)


def the_job() -> Job:
    job = run.Experiment.from_title("attended")["job"]
    assert isinstance(job, Job)
    return job


def test_a_ctrl_c_ends_the_jobs_on_this_machine(home: Path, environment: dict[str, str]) -> None:
    with terminal(environment, "run.Partial(tasks_of_test.hold)") as opened:
        opened.read_until("holding")
        opened.type(b"\x03")
        status, text = opened.end()
    assert "mizzen: interrupted: ending 1 job; once more kills it at once" in text
    assert "interrupted with CANCELLED cancelled" in text
    assert status == 5
    assert [attempt.state for attempt in the_job()] == ["CANCELLED"]
    # The job saw what a shell's child would see.
    assert "KeyboardInterrupt" in text


def test_a_second_ctrl_c_kills(home: Path, environment: dict[str, str]) -> None:
    with terminal(environment, STUBBORN) as opened:
        opened.read_until("holding")
        opened.type(b"\x03")
        opened.read_until("interrupted: ending 1 job")
        opened.type(b"\x03")
        status, text = opened.end()
    assert "mizzen: interrupted again: killing the jobs at once" in text
    assert "interrupted with CANCELLED cancelled" in text
    assert status == 5


def test_a_ctrl_c_may_detach(home: Path, environment: dict[str, str]) -> None:
    with terminal(environment, STUBBORN, ", on_interrupt='detach'") as opened:
        opened.read_until("holding")
        opened.type(b"\x03")
        status, text = opened.end()
    job = the_job()
    experiment = run.Experiment.from_title("attended")
    assert f"mizzen: interrupted; 1 job of {experiment.id} goes on\nhint: `mizzen status {experiment.id}` shows it" in text
    assert "interrupted with RUNNING None" in text
    assert (status, job.state) == (5, "RUNNING")


def test_a_ctrl_c_ends_only_the_waiting(home: Path, environment: dict[str, str]) -> None:
    code = (
        "import mizzen as run, tasks_of_test, sys\n"
        "experiment = run.Experiment('attended', log_level='ERROR')\n"
        "experiment.add(run.Partial(tasks_of_test.hold), name='job')\n"
        "experiment.run(detach=True)\n"
        "try:\n    print('waiting', flush=True)\n    experiment.wait()\n"
        "except KeyboardInterrupt:\n    print('left', experiment.state in ('SUBMITTED', 'RUNNING', 'PENDING', 'UNSUBMITTED'))\n"
    )
    opened = Terminal(code, environment)
    opened.read_until("waiting")
    opened.type(b"\x03")
    status, text = opened.end()
    os.close(opened.master)
    assert status == 0
    assert text.endswith("left True\n")


def test_an_unknown_answer_to_a_ctrl_c(home: Path) -> None:
    experiment = run.Experiment("x")
    experiment.add(run.Script(inline="true"))
    with pytest.raises(run.ConfigError, match="`kill` is nothing that a Ctrl-C can do; there are: `cancel`, `detach`"):
        experiment.run(on_interrupt="kill")
    assert not home.exists()


def test_a_killed_client_harms_nothing(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    code = ATTENDED.format(task=f"run.Partial(tasks_of_test.meet, {str(mine)!r}, {str(other)!r})", options="")
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "RUNNING" in line:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    other.touch()
    experiment = run.Experiment.from_title("attended")
    experiment.wait(60)
    assert experiment.result("job") == str(mine)
    assert len(the_job().attempts) == 1


def test_a_detached_client_may_end(home: Path, environment: dict[str, str]) -> None:
    code = (
        "import mizzen as run, tasks_of_test\n"
        "with run.Experiment('gone') as experiment:\n"
        "    experiment.add(run.Partial(tasks_of_test.add, 20))\n"
        "    experiment.run(detach=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert "(gone) was started" in done.stderr
    experiment = run.Experiment.from_title("gone")
    experiment.wait(60)
    assert experiment.result("add") == 22


def test_threads(home: Path, tasks: ModuleType) -> None:
    results: dict[int, object] = {}

    def one(number: int) -> None:
        experiment = run.Experiment(f"thread-{number}", log_level="ERROR")
        experiment.add(run.Partial(tasks.add, number), name="add")
        experiment.run()
        results[number] = experiment.result("add")

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {0: 2, 1: 3, 2: 4, 3: 5}


def test_one_experiment_in_several_threads(home: Path, tasks: ModuleType, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    experiment = run.Experiment("shared", log_level="ERROR")
    experiment.add(run.Partial(tasks.meet, str(mine), str(other)), name="meet")
    experiment.run(detach=True)
    seen: list[object] = []

    def one() -> None:
        experiment.wait(60)
        seen.append(experiment.result("meet"))

    waiting = [threading.Thread(target=one) for _ in range(3)]
    for thread in waiting:
        thread.start()
    assert experiment["meet"].state != "SUCCEEDED"
    other.touch()
    for thread in waiting:
        thread.join(60)
    assert seen == [str(mine)] * 3


def test_both_sides_of_a_fork(home: Path, environment: dict[str, str]) -> None:
    code = (
        "import os, sys, mizzen as run, tasks_of_test\n"
        "def one(title):\n"
        "    experiment = run.Experiment(title, log_level='ERROR')\n"
        "    experiment.add(run.Partial(tasks_of_test.add, 1))\n"
        "    experiment.run()\n"
        "    return experiment\n"
        "before = one('before')\n"
        "child = os.fork()\n"
        "mine = one('child' if child == 0 else 'parent')\n"
        "os.write(1, f\"{before.state} {before.result('add')} {mine.title} {mine.result('add')}\\n\".encode())\n"
        "if child:\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == ["SUCCEEDED 3 child 3", "SUCCEEDED 3 parent 3"]


def test_a_fork_while_it_is_watched(home: Path, environment: dict[str, str], tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    code = (
        "import os, sys, mizzen as run, tasks_of_test\n"
        "from mizzen.experiment.watching import Client\n"
        "experiment = run.Experiment('watched', log_level='ERROR')\n"
        f"experiment.add(run.Partial(tasks_of_test.meet, {str(mine)!r}, {str(other)!r}))\n"
        "experiment.run(detach=True)\n"
        "client = experiment._waiter()\n"
        "client.step(0.0)\n"
        "child = os.fork()\n"
        f"open({str(other)!r}, 'w').close()\n"
        "client.attend()\n"
        "os.write(1, f'{experiment.state}\\n'.encode())\n"
        "if child:\n"
        "    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "SUCCEEDED\nSUCCEEDED\n")
