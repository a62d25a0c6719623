"""How soon a line that a job writes can be read by who follows its log."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

from .. import measure, ours, peers
from ..bench import Bench, on_path
from ..measure import Measured, Missing, NotMeasured
from ..report import Check, Section, Table

STAMPS = os.path.join(peers.DRIVERS, "stamps.py")
STAMP = re.compile(rb"stamp=(\d+)")
OURS = "mizzen logs -f"
LIMIT = "tail -F on a plain file"


def measured(bench: Bench) -> Section:
    lines, rounds = (100, 1) if bench.quick else (100, 3)
    followers = {LIMIT: _tail, OURS: _mizzen, "NeMo-Run, tail_logs": _nemo_run}
    values: Dict[str, List[float]] = {name: [] for name in followers}
    reasons: Dict[str, str] = {}
    for _ in range(rounds):
        for name, follow in followers.items():
            if name in reasons:
                continue
            folder = tempfile.mkdtemp(prefix="logs-", dir=bench.work)
            job = [sys.executable, STAMPS, os.path.join(folder, "go"), str(lines)]
            try:
                with follow(bench, folder, job) as reader:
                    values[name] += latencies(reader, job[2], lines)
            except NotMeasured as error:
                reasons[name] = str(error)
    rows = [
        Missing(name, reasons[name]) if name in reasons else Measured(name, "ms", values[name]) for name in followers
    ]
    rows.append(Missing("HyperQueue", "its wheel has no way to follow a log"))
    table = Table("from written to read", rows, beside=LIMIT, with_p95=True)
    return Section(
        "logs",
        "Logs: a line while following",
        [table],
        [Check("half of the lines within", table.median(OURS), "ms", at_most=100)],
        [
            f"{rounds} × {lines} lines, 10 to 60 ms apart, each carrying the monotonic clock at which it was written;"
            " the reader compares. Writing starts when the reader has seen a first line.",
        ],
    )


def latencies(reader: "subprocess.Popen[bytes]", go: str, count: int, patience: float = 60) -> List[float]:
    """Tells the job to begin once its first line has come through, and reads `count` stamps."""
    chunks: "queue.Queue[Tuple[int, bytes]]" = queue.Queue()
    threading.Thread(target=_read, args=(reader.stdout.fileno(), chunks), daemon=True).start()
    found: List[float] = []
    text = b""
    deadline = time.monotonic() + patience
    while len(found) < count:
        try:
            now, chunk = chunks.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise NotMeasured(f"{len(found)} of {count} lines were seen within {patience:g} s") from None
        if not chunk:
            raise NotMeasured(f"the log ended after {len(found)} of {count} lines")
        *whole, text = (text + chunk).split(b"\n")
        for line in whole:
            if b"ready" in line and not os.path.exists(go):
                with open(go, "w", encoding="utf-8"):
                    pass
            stamp = STAMP.search(line)
            if stamp:
                found.append((now - int(stamp[1])) / 1e6)
    return found


def _read(descriptor: int, chunks: "queue.Queue[Tuple[int, bytes]]") -> None:
    while True:
        chunk = os.read(descriptor, 1 << 16)
        chunks.put((time.monotonic_ns(), chunk))
        if not chunk:
            return


@contextlib.contextmanager
def reading(
    argv: Sequence[str], environment: Optional[Dict[str, str]] = None, errors: Optional[str] = None
) -> Iterator["subprocess.Popen[bytes]"]:
    with open(errors or os.devnull, "wb") as log:
        reader = subprocess.Popen(
            argv,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield reader
    except NotMeasured as error:
        words = open(errors, "rb").read() if errors else b""
        raise NotMeasured(f"{error}: {measure.last_line(words)}" if words else str(error)) from error
    finally:
        measure.end(reader)


@contextlib.contextmanager
def _tail(bench: Bench, folder: str, job: List[str]) -> Iterator["subprocess.Popen[bytes]"]:
    path = os.path.join(folder, "log")
    with open(path, "wb") as log:
        writer = subprocess.Popen(job, stdin=subprocess.DEVNULL, stdout=log, start_new_session=True)
    try:
        with reading([on_path("tail"), "-n", "+1", "-F", path]) as reader:
            yield reader
    finally:
        measure.end(writer)


@contextlib.contextmanager
def _mizzen(bench: Bench, folder: str, job: List[str]) -> Iterator["subprocess.Popen[bytes]"]:
    with ours.new_home(bench.mizzen(), bench.work) as home:
        home.write(f'title = "logs"\n\n[[tasks]]\nname = "writer"\nrun = {json.dumps(job)}\n')
        home.run("launch", home.file, "-d")
        follow = [home.mizzen, "logs", "latest", "writer", "-f"]
        try:
            with reading(follow, home.environment, os.path.join(folder, "errors")) as reader:
                yield reader
        finally:
            home.run("wait", "latest", timeout=120)


@contextlib.contextmanager
def _nemo_run(bench: Bench, folder: str, job: List[str]) -> Iterator["subprocess.Popen[bytes]"]:
    driver = peers.Driver(bench.environments, peers.NEMO_RUN, bench.work)
    with reading([*driver.command(), "follow", *job], errors=os.path.join(folder, "errors")) as reader:
        yield reader
