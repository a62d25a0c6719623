"""The Python package: importing it, a callable there and back, a user's own command line, many jobs in one experiment."""

from __future__ import annotations

import os
import tempfile

from .. import ours, peers
from ..bench import Bench
from ..measure import Contestant, run, take_turns
from ..report import Check, Section, Table

BARE = "bare Python"
OURS = peers.Peer("mizzen", [], "mizzen_driver.py")

USED = "import mizzen, its names used"
USING = "import mizzen as run; run.Partial; run.Experiment; run.LocalExecutor; run.JobFailed"
ENTRY_POINT = '''\
import mizzen as run


@run.cli.entrypoint(namespace="bench")
def train(lr: float = 0.1, layers: list[int] | None = None, optimizer: str = "adam"):
    """Trains.

    Args:
        lr: how fast.
        layers: how wide each is.
        optimizer: which.
    """


if __name__ == "__main__":
    run.cli.main(train)
'''
RESIDENT = """
{statement}
for line in open('/proc/self/status'):
    if line.startswith('VmRSS'): print(line.split()[1])
"""


def measured(bench: Bench) -> Section:
    package = ours.Package(bench)
    adds = 1_000 if bench.quick else 10_000
    importers = [
        (BARE, lambda: package.program(OURS, "python"), "pass", None),
        ("import mizzen", lambda: package.program(OURS, "python"), "import mizzen", None),
        (USED, lambda: package.program(OURS, "python"), USING, None),
        ("import submitit", lambda: bench.environments.program(peers.SUBMITIT, "python"), "import submitit", 5),
        ("import torchx.specs", lambda: bench.environments.program(peers.TORCHX, "python"), "import torchx.specs", 5),
        ("import nemo_run", lambda: bench.environments.program(peers.NEMO_RUN, "python"), "import nemo_run", 3),
    ]
    environment = {**ours.environment(os.path.join(bench.work, "no-home")), "NO_VCS_VERSION": "1"}

    def importing(name, program, statement, rounds):
        # -I: what the environment and the folder add to the path is not what is measured.
        return bench.command(name, lambda: [program(), "-I", "-c", statement], environment, rounds)

    def resident(name, program, statement, rounds):
        def once() -> float:
            argv = [program(), "-I", "-c", RESIDENT.format(statement=statement)]
            return int(run(argv, environment).output.split()[-1]) / 1024

        return Contestant(name, once, 1 if bench.quick else 3)

    time = Table(
        "importing",
        take_turns([importing(*one) for one in importers], rounds=10 if bench.quick else 60, unit="ms", warm_ups=2),
        beside=BARE,
    )
    memory = Table(
        "resident afterwards",
        take_turns([resident(*one) for one in importers], rounds=3, unit="MiB", warm_ups=0),
        beside=BARE,
    )
    script = os.path.join(tempfile.mkdtemp(prefix="entry-", dir=bench.work), "train.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(ENTRY_POINT)
    entry = Table(
        "--help of a user's script",
        take_turns(
            [
                importing(BARE, lambda: package.program(OURS, "python"), "pass", None),
                bench.command("mizzen", lambda: [package.program(OURS, "python"), script, "--help"], environment),
            ],
            rounds=10 if bench.quick else 60,
            unit="ms",
            warm_ups=2,
        ),
        beside=BARE,
    )
    with package.driver(OURS, bench.work) as mizzen:
        with bench.environments.driver(peers.NEMO_RUN, bench.work) as nemo_run:
            trip = Table(
                "a local Partial there and back",
                take_turns(
                    [
                        Contestant("mizzen", lambda: 1000 * mizzen.ask(op="round_trip")["seconds"]),
                        Contestant("NeMo-Run", lambda: 1000 * nemo_run.ask(op="partial")["seconds"], rounds=3),
                    ],
                    rounds=3 if bench.quick else 20,
                    unit="ms",
                    warm_ups=1,
                ),
            )
            many = Table(
                f"{adds:,} adds and a plan",
                take_turns(
                    [Contestant("mizzen", lambda: mizzen.ask(op="adds", count=adds)["seconds"])],
                    rounds=1 if bench.quick else 3,
                    unit="s",
                ),
            )
    return Section(
        "python",
        "The Python package",
        [time, memory, trip, entry, many],
        [
            Check("import mizzen over bare Python", _over(time), "ms", at_most=20),
            Check("memory over bare Python", _over(memory), "MiB", at_most=15),
            Check("a local Partial there and back", trip.median("mizzen"), "ms", at_most=100),
            Check("--help of a user's script", entry.median("mizzen"), "ms", at_most=100),
            Check(f"{adds:,} adds and a plan", many.median("mizzen"), "s", at_most=1),
        ],
        [
            "Whole processes. `import mizzen` loads a table of names, and each name its module when it is used: a row of its own has"
        " that cost.",
            "There and back: a `Partial` of `posixpath.join` is made, run as a recorded job and its value had, in a process that has"
            " imported everything. NeMo-Run has no values to give back; its job is only waited for.",
        ],
    )


def _over(table: Table):
    mine, bare = table.median("import mizzen"), table.median(BARE)
    return None if mine is None or bare is None else mine - bare
