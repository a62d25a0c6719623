"""Slurm from a laptop: submission, what the controller is asked, logs, the end of a step."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from subprocess import DEVNULL
from typing import Dict, Iterator, List

from .. import measure, ours, peers
from ..bench import Bench
from ..cluster import Cluster, laptop, until
from ..measure import Contestant, Measured, Missing, NotMeasured, take_turns
from ..report import Check, Section, Table
from . import logs

LOOP = "a loop of sbatch on the login node"
SINGLE = "mizzen over ssh, single jobs"
ARRAY = "mizzen over ssh, an array"
COLD_SINGLE = "the same, login and all"
COLD_ARRAY = "an array, login and all"
OURS = "mizzen logs -f over ssh"
SSH_TAIL = "ssh box tail -F"
TRUE = "true over a warm channel"
SSH_TRUE = "ssh box true, by a master"
LOOKS = 20  # seconds of watching


def measured(bench: Bench) -> Section:
    jobs = 20 if bench.quick else 200
    try:
        cluster = Cluster(bench.programs.repository, bench.work)
    except NotMeasured as error:
        return Section("slurm", "Slurm from a laptop", [], [Check("a cluster", None, "", at_least=1)], [str(error)])
    try:
        trips = _round_trips(bench, cluster)
        submitted = _submitted(bench, cluster, jobs)
        asked = _asked(bench, cluster, [1, 100] if bench.quick else [1, 100, 1_000])
        lines = _lines(bench, cluster)
        ended = _ended(bench, cluster)
    finally:
        cluster.close()
    single, array = submitted.ratio(SINGLE), submitted.ratio(ARRAY)
    return Section(
        "slurm",
        "Slurm from a laptop: a real controller, a real sshd, both here",
        [submitted, trips, asked, lines, ended],
        [
            Check(f"{jobs} single jobs beside the loop", single, "×", at_most=1.2),
            Check(f"{jobs} jobs as an array: faster than the loop", array and 1 / array, "×", at_least=10),
            *[
                Check(f"status queries a look, {row.name}", row.median, "", at_most=1)
                for row in asked.rows
                if isinstance(row, Measured)
            ],
            Check("half of the round trips on a warm channel within", trips.median(TRUE), "ms", at_most=5),
            Check("half of the lines within", lines.median(OURS), "ms", at_most=300),
            Check("a failing rank of 4 nodes ends the others within", ended.median("mizzen"), "ms", at_most=1000),
        ],
        [
            "Submission: from the start of `mizzen launch -d` until every job has its number from Slurm: in a home that is"
            " logged in and has run a job there, and (login and all) in a new one. All jobs are held, so that none runs"
            " meanwhile. The account's login files are left out for everybody. NeMo-Run: imported already, from `Experiment.run` to its return, its login among it.",
            "Round trips: `true` by `mizzen-bench-channel` over one channel, and by a process of ssh for each over a master.",
            f"Queries: REQUEST_JOB_INFO… by `sdiag` in {LOOKS} s, over the looks in that time (`queue.json`).",
            "Lines: as in the section `logs`; the job runs on a node, and its lines are read here.",
            "The end of a step: from the end of the failing rank to the end of the last one, by their records.",
        ],
    )


def _sweep(count: int, command: List[str]) -> str:
    values = ", ".join(map(str, range(count)))
    more = f"sweep = {{ number = [{values}] }}\n" if count > 1 else ""
    return f'title = "sweep"\n\n[[tasks]]\nname = "job"\nrun = {json.dumps(command)}\nexecutor = "cluster"\n{more}'


def _jobs(home: ours.Home) -> List[Dict]:
    return json.loads(home.run("status", "latest", "--json").output)["jobs"]


def _all_have_numbers(home: ours.Home, count: int) -> None:
    """Of the newest experiment. Asked of the store itself: a process for each look would take what is measured its processors."""
    path = os.path.join(home.folder, "home", "mizzen.db")
    query = "SELECT COUNT(*) FROM attempts WHERE handle IS NOT NULL AND experiment = (SELECT MAX(number) FROM experiments)"

    def all_of_them() -> bool:
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as store:
            return store.execute(query).fetchone()[0] == count

    until(all_of_them, f"{count} jobs are submitted", 300, 0.005)
    handles = sum(1 for job in _jobs(home) if job["handle"])
    if handles != count:
        raise NotMeasured(f"`mizzen status` knows the numbers of {handles} of {count} jobs")


def _round_trips(bench: Bench, cluster: Cluster) -> Table:
    bench.say("slurm: round trips")
    count = 20 if bench.quick else 500
    rows: List[measure.Row] = []
    with ours.new_home(bench.mizzen(), bench.work) as home:
        place = [home.folder, os.path.join(cluster.login, "ssh_config"), "box", cluster.jobs]
        channel = [bench.programs.path("mizzen-bench-channel"), *place, bench.programs.agent_path(), str(count)]
        try:
            answer = json.loads(measure.run(channel, home.environment, home.folder).output)
            rows.append(Measured(TRUE, "ms", [microseconds / 1000 for microseconds in answer]))
        except NotMeasured as error:
            rows.append(Missing(TRUE, str(error)))
    rows.append(_ssh_true(cluster, max(count // 10, 5)))
    return Table("there and back", rows, beside=SSH_TRUE, with_p99=True)


def _ssh_true(cluster: Cluster, count: int) -> measure.Row:
    socket = ["-S", os.path.join(cluster.login, "master")]
    plain, host = cluster.ssh()[:-1], cluster.ssh()[-1]
    # The master stays behind: it must hold no pipe that somebody reads to its end.
    subprocess.run([*plain, *socket, "-fNM", host], stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, check=True)
    try:
        times = [measure.run([*plain, *socket, host, "true"]).seconds * 1000 for _ in range(count)]
        return Measured(SSH_TRUE, "ms", times)
    finally:
        measure.run([*plain, *socket, "-O", "exit", host])


def _submitted(bench: Bench, cluster: Cluster, count: int) -> Table:
    script = os.path.join(cluster.login, "job.sh")
    with open(script, "w", encoding="utf-8") as file:
        file.write("#!/bin/sh\n#SBATCH --hold\n#SBATCH --output=/dev/null\ntrue\n")

    def loop() -> float:
        bench.say("slurm: sbatch")
        text = f"for number in $(seq {count}); do sbatch --parsable {script} || exit; done"
        seconds = measure.run(["sh", "-c", text], cluster.environment, cluster.login).seconds
        _check(cluster, count)
        return seconds

    def mizzen(settings: str, warm: bool) -> float:
        bench.say(f"slurm: mizzen {settings!r}{', warm' if warm else ''}")
        with laptop(bench, cluster, f"hold = true\n{settings}") as home:
            if warm:
                home.write(_sweep(1, ["true"]))
                home.run("launch", home.file, "-d")
                _all_have_numbers(home, 1)
                home.run("cancel", "latest")
            home.write(_sweep(count, ["true"]))
            start = time.perf_counter()
            home.run("launch", home.file, "-d")
            _all_have_numbers(home, count)
            seconds = time.perf_counter() - start
            _check(cluster, count, cancel=False)
        cluster.empty()
        return seconds

    def nemo_run() -> float:
        bench.say("slurm: NeMo-Run")
        with bench.environments.driver(peers.NEMO_RUN, bench.work) as driver:
            tunnel = {
                "host": "127.0.0.1",
                "user": "root",
                "port": cluster.port,
                "identity": os.path.join(cluster.login, "key"),
                "job_dir": os.path.join(cluster.login, "nemo-run"),
            }
            answer = driver.ask(timeout=600, op="slurm", count=count, tunnel=tunnel, path=cluster.known_ssh())
            seconds = answer["seconds"]
        _check(cluster, count)
        return seconds

    contestants = [
        Contestant(LOOP, loop),
        Contestant(SINGLE, lambda: mizzen("arrays = false", True)),
        Contestant(COLD_SINGLE, lambda: mizzen("arrays = false", False)),
        Contestant(ARRAY, lambda: mizzen("", True)),
        Contestant(COLD_ARRAY, lambda: mizzen("", False)),
        Contestant("NeMo-Run over ssh", nemo_run, rounds=1),
    ]
    rounds = 1 if bench.quick else 3
    return Table(f"{count} jobs into the queue", take_turns(contestants, rounds, "s"), beside=LOOP)


def _check(cluster: Cluster, count: int, cancel: bool = True) -> None:
    queued = cluster.queued()
    if cancel:
        cluster.empty()
    if queued != count:
        raise NotMeasured(f"{queued} of {count} jobs are in the queue")


def _asked(bench: Bench, cluster: Cluster, sizes: List[int]) -> Table:
    rows: List[measure.Row] = []
    for count in sizes:
        name = f"{count:,} job{'s' if count > 1 else ''}"
        bench.say(f"slurm: queries for {name}")
        try:
            with laptop(bench, cluster, "hold = true") as home:
                home.write(_sweep(count, ["true"]))
                home.run("launch", home.file, "-d")
                _all_have_numbers(home, count)
                rows.append(Measured(name, "queries a look", [_queries(cluster, home)]))
            cluster.empty()
        except NotMeasured as error:
            rows.append(Missing(name, str(error)))
    return Table("status queries a look", rows)


def _queries(cluster: Cluster, home: ours.Home) -> float:
    pattern = os.path.join(home.folder, "home", "places", "*", "queue.json")
    until(lambda: glob.glob(pattern), "somebody has looked")
    (place,) = glob.glob(pattern)
    looks = {_asked_at(place)}
    cluster.run("sdiag", "--reset")
    deadline = time.monotonic() + LOOKS
    before = len(looks)
    while time.monotonic() < deadline:
        looks.add(_asked_at(place))
        time.sleep(0.05)
    asked = sum(count for name, count in cluster.requests().items() if name.startswith("REQUEST_JOB_INFO"))
    if len(looks) == before:
        raise NotMeasured(f"nobody looked for {LOOKS} s")
    return asked / (len(looks) - before)


def _asked_at(path: str) -> int:
    with open(path, encoding="utf-8") as file:
        return json.load(file)["asked"]


def _lines(bench: Bench, cluster: Cluster) -> Table:
    count, rounds = (100, 1) if bench.quick else (100, 3)
    values: Dict[str, List[float]] = {SSH_TAIL: [], OURS: []}
    reasons: Dict[str, str] = {}
    for _ in range(rounds):
        for name, follow in ((SSH_TAIL, _ssh_tail), (OURS, _mizzen_logs)):
            if name in reasons:
                continue
            bench.say(f"slurm: {name}")
            folder = tempfile.mkdtemp(prefix="logs-", dir=bench.work)
            job = [sys.executable, logs.STAMPS, os.path.join(folder, "go"), str(count)]
            try:
                with follow(bench, cluster, folder, job) as reader:
                    values[name] += logs.latencies(reader, job[2], count)
            except NotMeasured as error:
                reasons[name] = str(error)
    rows: List[measure.Row] = [
        Missing(name, reasons[name]) if name in reasons else Measured(name, "ms", values[name]) for name in values
    ]
    return Table("a line, from written to read", rows, beside=SSH_TAIL, with_p95=True)


@contextlib.contextmanager
def _ssh_tail(bench: Bench, cluster: Cluster, folder: str, job: List[str]) -> Iterator:
    path = os.path.join(folder, "log")
    with open(path, "wb"):
        pass
    submit = ["sbatch", "--parsable", f"--output={path}", "--wrap", " ".join(job)]
    number = cluster.run(*submit).strip()
    try:
        with logs.reading([*cluster.ssh(), f"tail -n +1 -F {path}"]) as reader:
            yield reader
    finally:
        cluster.run("scancel", number)


@contextlib.contextmanager
def _mizzen_logs(bench: Bench, cluster: Cluster, folder: str, job: List[str]) -> Iterator:
    with laptop(bench, cluster) as home:
        home.write(_sweep(1, job))
        home.run("launch", home.file, "-d")
        until(lambda: _jobs(home)[0]["state"] == "RUNNING", "the job runs")
        follow = [home.mizzen, "logs", "latest", "job", "-f"]
        with logs.reading(follow, home.environment, os.path.join(folder, "errors")) as reader:
            yield reader


def _ended(bench: Bench, cluster: Cluster) -> Table:
    def once() -> float:
        bench.say("slurm: a failing rank")
        with laptop(bench, cluster, "nodes = 4") as home:
            ups = os.path.join(home.folder, "ups")
            script = (
                f"echo up >>{ups}; [ $$SLURM_PROCID = 2 ] || exec sleep 600;"
                f" until [ $$(wc -l <{ups}) = 4 ]; do sleep 0.05; done; exit 3"
            )
            home.write(_sweep(1, ["sh", "-c", script]))
            home.run("launch", home.file, "-d")
            until(lambda: _jobs(home)[0]["state"] == "FAILED", "the job fails")
            log = _jobs(home)[0]["attempts"][0]["log"]
            with open(os.path.join(os.path.dirname(log), "exit.json"), encoding="utf-8") as file:
                ended = [rank["ended"] for rank in json.load(file)["ranks"]]
            return (max(ended) - ended[2]) / 1000

    rounds = 1 if bench.quick else 5
    return Table("from a rank's failure to the end of the last", take_turns([Contestant("mizzen", once)], rounds, "ms"))
