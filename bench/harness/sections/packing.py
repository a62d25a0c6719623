"""Code on its way to a job: packed, sent to another machine, and what is left to do when little or nothing has changed."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shlex
import shutil
import subprocess
import tempfile
from typing import Dict, Iterator, List

from .. import measure
from ..bench import Bench, on_path
from ..measure import Contestant, Measured, NotMeasured, Row, take_turns
from ..report import Check, Section, Table
from ..sshd import Sshd

MIB = 2**20
CHANGED = "pkg1/mod1/file_41.py"
PIPELINE = "git ls-files, tar, zstd -1"
OURS = "mizzen"


def measured(bench: Bench) -> Section:
    count, size = (1_200, 13 * MIB) if bench.quick else (12_000, 130 * MIB)
    scene = Scene(bench, count, size)
    rounds = 3 if bench.quick else 15
    cold = Table(
        f"{count:,} files, {size // MIB} MiB, for the first time",
        take_turns(
            [
                Contestant(PIPELINE, lambda: scene.shell("git ls-files -z | tar --null -T - -cf - | zstd -q -1 >{new}")),
                Contestant(OURS, lambda: scene.pack(scene.new("home"))),
                Contestant("git archive, gzip (NeMo-Run)", lambda: scene.shell("git archive HEAD | gzip -c >{new}"), 5),
            ],
            rounds,
            "ms",
            warm_ups=1,
        ),
        beside=PIPELINE,
    )
    home = scene.new("home")
    # Twice: what was written in the last two seconds is read once more.
    scene.pack(home)
    scene.pack(home)
    again = Table(
        "again, with nothing changed",
        take_turns(
            [
                Contestant("git status", lambda: scene.shell("git status --porcelain")),
                Contestant(OURS, lambda: scene.pack(home)),
            ],
            2 * rounds,
            "ms",
            warm_ups=2,
        ),
        beside="git status",
    )
    sent, bytes_sent = sending(bench, scene, home, 1 if bench.quick else 5)
    memory = Table("memory at its highest", scene.memory(count, size))
    changed = bytes_sent.median(OURS)
    return Section(
        "packing",
        f"Packing and sending {count:,} files, {size // MIB} MiB",
        [cold, again, sent, bytes_sent, memory],
        [
            Check("packed for the first time", cold.ratio(OURS), f"× {PIPELINE}", at_most=1.1),
            Check("packed again, unchanged, listing included", again.median(OURS), "ms", at_most=60),
            Check(
                "one changed file of 1 MiB: sent beyond that file, of all",
                None if changed is None else 100 * (changed - MIB) / scene.whole,
                "%",
                at_most=1,
            ),
            Check("memory for four times the bytes", memory.ratio(LARGE, SMALL), "×", at_most=1.25),
        ],
        [
            "Ours is a program that lists and packs as `mizzen launch` does (`mizzen-bench-pack`), from its start to its end.",
            "The files are in the page cache; every round packs into a new home, or sends to a new folder.",
            "NeMo-Run's steps, by hand: git archive, gzip, then scp and tar there, all of it for each job.",
        ],
    )


def sending(bench: Bench, scene: "Scene", home: str, rounds: int) -> "tuple[Table, Table]":
    """Everything to a new place; then, where that is, one changed file of 1 MiB."""
    ours = "mizzen, packing included"
    try:
        login = tempfile.mkdtemp(prefix="mzs-")
        sshd = Sshd(login)
    except NotMeasured as error:
        missing: List[Row] = [measure.Missing(OURS, str(error))]
        return Table("sent", missing), Table("bytes sent", missing)
    try:
        ssh = shlex.join(sshd.ssh()[:-1])
        agent = shlex.quote(bench.programs.agent_path())

        def send(first: str, place: str, base: str = "") -> float:
            packed = scene.pack(first)
            stream = f"{scene.program} stream {first} {scene.tree} {base}"
            return packed + scene.shell(f"{stream} | {ssh} box {agent} bundle receive {place}")

        rsync = f"rsync -a --exclude .git -e {shlex.quote(ssh)}"
        everything = Contestant("rsync -a", lambda: scene.shell(f"{rsync} ./ box:{{new}}/"))
        archive = "git archive HEAD | gzip -c >{new}.gz && " + (
            f"{shlex.join(['scp', '-q', *sshd.ssh()[1:-1]])} {{new}}.gz box:{{new}}.there && "
            f"{ssh} box 'mkdir {{new}} && tar -xzf {{new}}.there -C {{new}}'"
        )
        first = take_turns(
            [
                everything,
                Contestant(ours, lambda: send(scene.new("home"), scene.new("place"))),
                Contestant("git archive, gzip, scp, tar (NeMo-Run)", lambda: scene.shell(archive), 3),
            ],
            rounds,
            "ms",
        )
        place = scene.new("place")
        scene.pack(home)
        base = scene.tree
        send(home, place)
        copy = scene.new("copy")
        scene.shell(f"{rsync} ./ box:{copy}/")
        seconds: Dict[str, List[float]] = {"rsync -a": [], ours: []}
        sizes: Dict[str, List[float]] = {"rsync -a": [], OURS: []}
        with scene.changes() as change:
            for _ in range(rounds):
                change()
                text = scene.output(f"{rsync} --stats ./ box:{copy}/")
                seconds["rsync -a"].append(scene.last)
                line = next(line for line in text.splitlines() if line.startswith("Total bytes sent"))
                sizes["rsync -a"].append(float(line.split(":")[1].strip().replace(",", "")))
                seconds[ours].append(send(home, place, base))
                stream = scene.new("stream")
                scene.shell(f"{scene.program} stream {home} {scene.tree} {base} >{stream}")
                sizes[OURS].append(os.path.getsize(stream))
                base = scene.tree
        rows = list(first) + [Measured(f"one file changed: {name}", "ms", values) for name, values in seconds.items()]
        scene.whole = scene.size_of_stream(home)
        moved: List[Row] = [Measured(name, "bytes", values) for name, values in sizes.items()]
        return Table("over ssh, until it is unpacked there", rows), Table("bytes sent after a change of 1 MiB", moved)
    except NotMeasured as error:
        missing = [measure.Missing(OURS, str(error))]
        return Table("sent", missing), Table("bytes sent", missing)
    finally:
        sshd.close()
        shutil.rmtree(login, ignore_errors=True)


SMALL, LARGE = "of all files", "of files four times as large"


class Scene:
    """A repository, and what is done with it. Nothing is removed before the run is over (see ours.new_home)."""

    def __init__(self, bench: Bench, count: int, size: int):
        self.program = bench.programs.path("mizzen-bench-pack")
        self.work = tempfile.mkdtemp(prefix="packing-", dir=bench.work)
        self.repository = os.path.join(self.work, "repository")
        self.tree = ""
        self.peak = 0
        self.last = 0.0
        self.whole = float(size)
        self._numbers = itertools.count(1)
        bench.say(f"making a repository of {count} files")
        make(self.repository, count, size)
        git = [on_path("git"), "-c", "user.name=bench", "-c", "user.email=bench@example.org"]
        for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
            measure.run([*git, *words], folder=self.repository)

    def new(self, what: str) -> str:
        return os.path.join(self.work, f"{what}-{next(self._numbers)}")

    def shell(self, text: str) -> float:
        """Milliseconds of a line for sh in the repository; `{new}` is a new path."""
        self.output(text)
        return self.last

    def output(self, text: str) -> str:
        text = text.replace("{new}", self.new("file"))
        finished = measure.run(["bash", "-c", f"set -o pipefail; {text}"], folder=self.repository)
        self.last = 1000 * finished.seconds
        return finished.output

    def pack(self, home: str, repository: str = "") -> float:
        finished = measure.run([self.program, "pack", home, repository or self.repository])
        answer = json.loads(finished.output)
        self.tree, self.peak = answer["tree"], answer["peak_memory"]
        self.last = 1000 * finished.seconds
        return self.last

    def size_of_stream(self, home: str) -> float:
        stream = self.new("stream")
        self.shell(f"{self.program} stream {home} {self.tree} >{stream}")
        return os.path.getsize(stream)

    def memory(self, count: int, size: int) -> List[Row]:
        """MiB of packing all for the first time, and of a repository with files four times as large."""
        large = os.path.join(self.work, "large")
        make(large, count, 4 * size)
        subprocess.run(["git", "init", "-q"], cwd=large, check=True)
        rows: List[Row] = []
        for name, repository in ((SMALL, self.repository), (LARGE, large)):
            values = []
            for _ in range(3):
                self.pack(self.new("home"), repository)
                values.append(self.peak / MIB)
            rows.append(Measured(name, "MiB", values))
        return rows

    @contextlib.contextmanager
    def changes(self) -> Iterator:
        """Gives a function that makes one file another MiB of noise."""
        path = os.path.join(self.repository, CHANGED)
        numbers = itertools.count(1)

        def change() -> None:
            with open(path, "wb") as file:
                file.write(random.Random(next(numbers)).randbytes(MIB))

        yield change


def make(folder: str, count: int, size: int) -> None:
    """Files of words, some of noise, of sizes as in repositories: many small ones, a few large."""
    source = random.Random(7)
    letters = "abcdefghijklmnopqrstuvwxyz_"
    words = ["".join(source.choices(letters, k=source.randint(2, 12))) for _ in range(4000)]
    sizes = [source.lognormvariate(8.3, 1.2) for _ in range(count)]
    scale = size / sum(sizes)
    # Cut from one long text each time elsewhere: as if written by hand, and quick to make.
    text = "\n".join(" " * (4 * source.randint(0, 3)) + " ".join(source.choices(words, k=8)) for _ in range(120_000)).encode()
    for number, share in enumerate(sizes):
        length = max(20, int(share * scale))
        below = os.path.join(folder, f"pkg{number % 40}", f"mod{number // 40 % 25}")
        os.makedirs(below, exist_ok=True)
        begin = source.randrange(len(text) // 2)
        content = source.randbytes(length) if number % 12 == 0 else (text[begin:] + text)[:length]
        with open(os.path.join(below, f"file_{number}.py"), "wb") as file:
            file.write(content)
