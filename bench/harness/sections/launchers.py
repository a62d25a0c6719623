"""Ranks that find each other: until their first all-reduce by real PyTorch, when one is killed, and how many at once."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from typing import Callable, Dict, Iterator, List, Optional

from .. import measure, ours
from ..bench import Bench
from ..cluster import Cluster, laptop
from ..measure import Contestant, NotMeasured, absent, take_turns
from ..report import Check, Section, Table
from ..sshd import until

RANK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "drivers", "first_all_reduce.py")
BARE = "bare env:// processes"
RANKS = "mizzen, ranks"
TORCHRUN = "torchrun"
LOOP = "posix_spawn loop"
AGENT = "mizzen-agent, ranks"
DUMMIES = 512
NODES = 4
VICTIM = 2
"""The rank that is killed."""


class Torch:
    """The environment with PyTorch."""

    def __init__(self, bench: Bench):
        self.folder = bench.environments.framework("torch", bench.programs.repository)
        self.python = os.path.join(self.folder, "bin", "python3")
        self.environment = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}

    def rank(self, folder: str, *more: str) -> List[str]:
        return [self.python, os.path.normpath(RANK), folder, *more]

    def torchrun(self, *words: str) -> List[str]:
        return [os.path.join(self.folder, "bin", "torchrun"), "--rdzv-backend=c10d", *words]


def measured(bench: Bench) -> Section:
    try:
        torch: Optional[Torch] = Torch(bench)
        reason = ""
    except NotMeasured as error:
        torch, reason = None, str(error)
    tables: List[Table] = []
    checks: List[Check] = []
    if torch is None:
        checks.append(Check("PyTorch", None, "", at_least=1))
    else:
        # Once by itself: what stands on the disk has been read when the clock first runs.
        measure.run([torch.python, "-c", "import torch.distributed.run"], timeout=300)
        for count in (2, 4):
            tables.append(_one_host(bench, torch, count))
            checks.append(_beside_bare(tables[-1], f"{count} ranks on one host"))
        try:
            cluster: Optional[Cluster] = Cluster(bench.programs.repository, bench.work)
        except NotMeasured as error:
            cluster, reason = None, str(error)
            checks.append(Check("a cluster", None, "", at_least=1))
        try:
            if cluster is not None:
                tables.append(_nodes(bench, torch, cluster))
                checks.append(_beside_bare(tables[-1], f"{NODES} nodes of Slurm"))
            tables.append(_killed(bench, torch, cluster))
            checks.append(Check("the others are down within", tables[-1].median(RANKS), "ms", at_most=1000))
            if cluster is not None:
                checks.append(Check("on nodes of Slurm within", tables[-1].median(_on_nodes()), "ms", at_most=1000))
        finally:
            if cluster is not None:
                cluster.close()
    many = _many(bench)
    ready = _ready(bench)
    checks.append(Check(f"{DUMMIES} ranks beside the loop", many.ratio(RANKS), "×", at_most=2))
    checks.append(Check("half of the agents are ready within", ready.median("mizzen-agent work"), "ms", at_most=2))
    notes = [
        "The first all-reduce: from the start of the script, of `mizzen launch` in a new home, of `torchrun`, to the end of the"
        " slowest rank's all-reduce of one number. Every rank imports PyTorch, as every rank does.",
        "On Slurm: from the start of the batch script (/proc, in steps of 10 ms) to the same; what comes before is the"
        " section `slurm`. Bare: one srun, RANK from SLURM_PROCID; mizzen: submitted by ssh.",
        f"Killed: rank {VICTIM} of {NODES} by SIGKILL, while the others wait for signals; until none of them is left. A run of"
        " mizzen counts only if its record then names the rank and the signal.",
        "PyTorch is a wheel whose CUDA libraries are left out (scripts/torch_without_cuda.py); its import is faster for it, by"
        " all contestants.",
        f"{DUMMIES} ranks: `true`, from the start of the program to its end; the loop starts all of them at once, keeps nothing.",
    ]
    if reason:
        notes.insert(0, reason)
    return Section("launchers", "Launchers: ranks that find each other", [*tables, many, ready], checks, notes)


def _beside_bare(table: Table, where: str) -> Check:
    ranks, bare = table.median(RANKS), table.median(BARE)
    more = None if ranks is None or bare is None else ranks - bare
    return Check(f"mizzen's ranks later than bare processes, {where}", more, "ms", at_most=50)


def _now() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def _words(folder: str, count: int) -> List[List[str]]:
    """What each rank has written."""
    words = []
    for rank in range(count):
        try:
            with open(os.path.join(folder, f"rank-{rank}"), encoding="utf-8") as file:
                words.append(file.read().split())
        except FileNotFoundError:
            raise NotMeasured(f"rank {rank} of {count} did not meet the others") from None
    return words


def _last(folder: str, count: int) -> int:
    return max(int(words[0]) for words in _words(folder, count))


def _new_folder(bench: Bench) -> str:
    return tempfile.mkdtemp(prefix="ranks-", dir=bench.work)


def _document(command: List[str], executor: str, count: int) -> str:
    return (
        f'title = "ranks"\n\n[executors.here]\nkind = "local"\nntasks_per_node = {count}\n\n'
        f'[[tasks]]\nname = "job"\nrun = {json.dumps(command)}\nexecutor = "{executor}"\nlauncher = "ranks"\n'
    )


def _bare_script(torch: Torch, folder: str, count: int, *more: str) -> str:
    path = os.path.join(folder, "bare.sh")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"export WORLD_SIZE={count} LOCAL_WORLD_SIZE={count} MASTER_ADDR=127.0.0.1 MASTER_PORT={_free_port()}\n")
        for rank in range(count):
            file.write(f"RANK={rank} LOCAL_RANK={rank} {' '.join(torch.rank(folder, *more))} &\n")
        file.write("wait\n")
    return path


def _one_host(bench: Bench, torch: Torch, count: int) -> Table:
    def timed(command: Callable[[str], List[str]]) -> Callable[[], float]:
        def once() -> float:
            folder = _new_folder(bench)
            argv = command(folder)
            began = _now()
            measure.run(argv, torch.environment, folder, timeout=120, keep_output=False)
            return (_last(folder, count) - began) / 1e6

        return once

    def mizzen() -> float:
        with ours.new_home(bench.mizzen(), bench.work) as home:
            folder = _new_folder(bench)
            home.write(_document(torch.rank(folder), "here", count))
            home.environment["OMP_NUM_THREADS"] = "1"
            began = _now()
            home.launch()
            return (_last(folder, count) - began) / 1e6

    def torchrun(folder: str) -> List[str]:
        return torch.torchrun("--rdzv-endpoint=localhost:0", f"--nproc-per-node={count}", *torch.rank(folder)[1:])

    bench.say(f"launchers: {count} ranks on one host")
    contestants = [
        Contestant(BARE, timed(lambda folder: ["sh", _bare_script(torch, folder, count)])),
        Contestant(RANKS, mizzen),
        Contestant(TORCHRUN, timed(torchrun), rounds=1 if bench.quick else 5),
    ]
    rounds = 1 if bench.quick else 9
    return Table(f"{count} ranks on one host, to the first all-reduce", take_turns(contestants, rounds, "ms"), beside=BARE)


def _nodes(bench: Bench, torch: Torch, cluster: Cluster) -> Table:
    def batch(task: Callable[[str], str]) -> Callable[[], float]:
        def once() -> float:
            folder = _new_folder(bench)
            path = os.path.join(folder, "batch.sh")
            with open(path, "w", encoding="utf-8") as file:
                file.write(
                    "#!/bin/bash\n"
                    f"export MASTER_ADDR=127.0.0.1 MASTER_PORT={_free_port()} WORLD_SIZE={NODES} OMP_NUM_THREADS=1\n"
                    f"srun --ntasks-per-node=1 sh -c '{task(folder)}'\n"
                )
            cluster.run("sbatch", f"--nodes={NODES}", "--ntasks-per-node=1", f"--output={folder}/log", path)
            return _from_batch_script(cluster, folder)

        return once

    def mizzen() -> float:
        with laptop(bench, cluster, f"nodes = {NODES}\nenv_vars = {{ OMP_NUM_THREADS = \"1\" }}") as home:
            folder = _new_folder(bench)
            home.write(_document(torch.rank(folder, "stay"), "cluster", 1))
            home.run("launch", home.file, "-d")
            return _from_batch_script(cluster, folder)

    def bare(folder: str) -> str:
        return "RANK=$SLURM_PROCID LOCAL_RANK=0 exec " + " ".join(torch.rank(folder, "stay"))

    def torchrun(folder: str) -> str:
        place = ["--rdzv-endpoint=127.0.0.1:$MASTER_PORT", "--rdzv-id=$SLURM_JOB_ID", f"--nnodes={NODES}", "--nproc-per-node=1"]
        return "exec " + " ".join([*torch.torchrun(*place), "--node-rank=$SLURM_NODEID", *torch.rank(folder, "stay")[1:]])

    bench.say(f"launchers: {NODES} nodes of Slurm")
    contestants = [
        Contestant(BARE, batch(bare)),
        Contestant(RANKS, mizzen),
        Contestant(TORCHRUN, batch(torchrun), rounds=1 if bench.quick else 3),
    ]
    rounds = 1 if bench.quick else 5
    title = f"{NODES} nodes of Slurm, from the batch script's start to the first all-reduce"
    return Table(title, take_turns(contestants, rounds, "ms"), beside=BARE)


def _from_batch_script(cluster: Cluster, folder: str) -> float:
    """Milliseconds from the start of the batch script to the last rank's all-reduce; the job is ended then."""
    try:
        _all_met(folder)
        began = _batch_script_began(_words(folder, NODES)[0][2])
        return (_last(folder, NODES) - began) / 1e6
    finally:
        cluster.empty()


def _all_met(folder: str) -> None:
    until(lambda: len(glob.glob(os.path.join(folder, "rank-?"))) == NODES, "all ranks have met", 120, 0.02)


def _batch_script_began(job: str) -> int:
    """When the batch script of a job was started, in nanoseconds since boot. proc(5), field 22 of stat; slurmd names the file."""
    wanted = f"/job{int(job):05}/slurm_script"
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            with open(path, encoding="utf-8", errors="replace") as file:
                if not any(word.endswith(wanted) for word in file.read().split("\0")):
                    continue
            with open(os.path.join(os.path.dirname(path), "stat"), encoding="utf-8") as file:
                ticks = int(file.read().rsplit(")", 1)[1].split()[19])
            return ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    raise NotMeasured(f"the batch script of job {job} is not among the processes")


def _on_nodes() -> str:
    return f"{RANKS}, {NODES} nodes of Slurm"


def _killed(bench: Bench, torch: Torch, cluster: Optional[Cluster]) -> Table:
    def torchrun() -> float:
        folder = _new_folder(bench)
        command = torch.rank(folder, "stay")[1:]
        argv = torch.torchrun("--rdzv-endpoint=localhost:0", f"--nproc-per-node={NODES}", *command)
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(argv, env=torch.environment, start_new_session=True, **quiet)
        try:
            return _kill_one(folder)
        finally:
            measure.end(process)

    def mizzen() -> float:
        with ours.new_home(bench.mizzen(), bench.work) as home:
            folder = _new_folder(bench)
            home.write(_document(torch.rank(folder, "stay"), "here", NODES))
            return _kill_one_of_ours(home, folder)

    def mizzen_on_nodes() -> float:
        with laptop(bench, cluster, f"nodes = {NODES}") as home:
            folder = _new_folder(bench)
            home.write(_document(torch.rank(folder, "stay"), "cluster", 1))
            return _kill_one_of_ours(home, folder)

    bench.say("launchers: one rank is killed")
    contestants = [
        absent(BARE, "nobody ends the others"),
        Contestant(RANKS, mizzen),
        Contestant(TORCHRUN, torchrun),
    ]
    if cluster is not None:
        contestants.append(Contestant(_on_nodes(), mizzen_on_nodes))
    rounds = 1 if bench.quick else 5
    return Table(f"one of {NODES} ranks is killed: until no other is left", take_turns(contestants, rounds, "ms"))


def _kill_one_of_ours(home: ours.Home, folder: str) -> float:
    home.run("launch", home.file, "-d")
    try:
        passed = _kill_one(folder)
        deadline = time.monotonic() + 60
        while True:
            (job,) = json.loads(home.run("status", "latest", "--json").output)["jobs"]
            if job["state"] == "FAILED":
                break
            if time.monotonic() > deadline:
                raise NotMeasured(f"the job is {job['state']} a minute after a rank was killed")
            time.sleep(0.05)
    finally:
        with contextlib.suppress(NotMeasured):
            home.run("cancel", "latest", "--kill", timeout=120)
    with open(os.path.join(os.path.dirname(job["attempts"][0]["log"]), "exit.json"), encoding="utf-8") as file:
        record = json.load(file)
    first = (record.get("first_failure") or {}).get("rank")
    if first != VICTIM or record["ranks"][VICTIM].get("signal") != signal.SIGKILL:
        raise NotMeasured(f"its record blames rank {first}")
    return passed


def _kill_one(folder: str) -> float:
    """Milliseconds from a rank's SIGKILL until no other rank is left."""
    _all_met(folder)
    pids = [int(words[1]) for words in _words(folder, NODES)]
    time.sleep(0.3)  # all of them wait by now, and nothing else is under way
    began = time.perf_counter()
    os.kill(pids[VICTIM], signal.SIGKILL)
    while any(_lives(pid) for pid in pids):
        if time.perf_counter() - began > 60:
            raise NotMeasured("the others were there a minute later")
        time.sleep(0.001)
    return (time.perf_counter() - began) * 1000


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _many(bench: Bench) -> Table:
    def mizzen() -> float:
        with ours.new_home(bench.mizzen(), bench.work) as home:
            home.write(_document(["true"], "here", DUMMIES))
            seconds = home.launch()
            home.expect_success(1)
            return seconds * 1000

    def agent() -> float:
        folder = _new_folder(bench)
        attempt = os.path.join(folder, "attempts", "1")
        world = {
            "nodes": 1,
            "per_node": DUMMIES,
            "stop_grace": 1,
            "join_timeout": 60,
            "address": "127.0.0.1",
            "run_id": "bench",
        }
        member = {
            "name": "job",
            "attempt_dir": attempt,
            "workdir": folder,
            "env": [],
            "inherit": True,
            "world": world,
            "ranks": [{"argv": ["true"]} for _ in range(DUMMIES)],
        }
        path = os.path.join(folder, "job.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"key": f"bench-{os.path.basename(folder)}", "members": [member], "grace": 1, "heartbeat": 10}, file)
        passed = measure.run([bench.programs.agent_path(), "run", path], keep_output=False).seconds
        with open(os.path.join(attempt, "exit.json"), encoding="utf-8") as file:
            if [rank.get("code") for rank in json.load(file)["ranks"]] != [0] * DUMMIES:
                raise NotMeasured("not all ranks have succeeded")
        return passed * 1000

    bench.say(f"launchers: {DUMMIES} ranks")
    contestants = [
        Contestant(LOOP, lambda: bench.spawn_loop(DUMMIES, DUMMIES) * 1000),
        Contestant(AGENT, agent),
        Contestant(RANKS, mizzen),
    ]
    rounds = 3 if bench.quick else 15
    return Table(f"{DUMMIES} ranks of `true` on one host", take_turns(contestants, rounds, "ms", warm_ups=1), beside=LOOP)


def _ready(bench: Bench) -> Table:
    def agent() -> float:
        began = time.perf_counter()
        with _pipes([bench.programs.agent_path(), "work"]) as process:
            line = process.stdout.readline()
            passed = time.perf_counter() - began
        if b"ready" not in line:
            raise NotMeasured(f"the agent said {line!r}")
        return passed * 1000

    contestants = [bench.git_version(), Contestant("mizzen-agent work", agent)]
    rounds = 30 if bench.quick else 200
    return Table("an agent, until it takes jobs", take_turns(contestants, rounds, "ms", warm_ups=3), beside="git --version")


@contextlib.contextmanager
def _pipes(argv: List[str]) -> Iterator["subprocess.Popen[bytes]"]:
    quiet: Dict[str, int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(argv, bufsize=0, start_new_session=True, **quiet)
    try:
        yield process
        process.stdin.close()
        process.wait(timeout=10)
    except subprocess.TimeoutExpired as error:
        raise NotMeasured(f"{os.path.basename(argv[0])} did not end with its input") from error
    finally:
        measure.end(process)
        process.stdout.close()
