"""Many jobs that do nothing, two at a time: what is left is the launcher."""

from __future__ import annotations

from typing import List

from .. import ours, peers
from ..bench import Bench
from ..measure import Contestant, take_turns
from ..report import Check, Section, Table

BARE = "posix_spawn loop"
# NeMo-Run takes seconds for a hundred; beyond that it is asked no more.
MOST_FOR_NEMO_RUN = 500


def measured(bench: Bench) -> Section:
    sizes = [100, 1_000] if bench.quick else [100, 500, 1_000, 10_000]
    with bench.environments.driver(peers.HYPERQUEUE, bench.work) as hyperqueue:
        with bench.environments.driver(peers.NEMO_RUN, bench.work) as nemo_run:
            tables = [_table(bench, count, hyperqueue, nemo_run) for count in sizes]
    by_size = dict(zip(sizes, tables))
    checks = [
        Check(f"mizzen beside the loop, {count:,} jobs", by_size[count].ratio("mizzen launch"), "×", at_least=0.8)
        for count in sizes
        if count >= 1_000
    ]
    few, many = sizes[-2:]
    rates = [by_size[count].median("mizzen launch") for count in (few, many)]
    flat = rates[1] / rates[0] if None not in rates else None
    checks.append(Check(f"flatness: rate of {many:,} jobs over rate of {few:,}", flat, "×", at_least=0.9))
    return Section(
        "jobs",
        "Jobs: `true` on two slots",
        tables,
        checks,
        [
            "mizzen: from the start of `mizzen launch` in a new home to its end, every job recorded as succeeded.",
            "The loop starts processes and reaps them, and does nothing else: no log, no record.",
            "With mizzen's files it also makes the folder, the claim, the log and the record of each job: the floor under"
            " a launcher that keeps them.",
            "HyperQueue, through its Python package: server, worker and client run already, the clock stops when the last"
            " task has run (its client tells up to a second later); it makes a file for each stream of each task, and"
            " keeps its state in memory only.",
            "NeMo-Run: imported already; it has no slots, all jobs start at once.",
        ],
    )


def _table(bench: Bench, count: int, hyperqueue: peers.Driver, nemo_run: peers.Driver) -> Table:
    bench.say(f"jobs: {count}")

    def mizzen() -> float:
        with ours.new_home(bench.mizzen(), bench.work) as home:
            home.write(ours.sweep(count))
            seconds = home.launch()
            home.expect_success(count)
            return count / seconds

    contestants: List[Contestant] = [
        Contestant(BARE, lambda: count / bench.spawn_loop(count, 2)),
        Contestant("the loop with mizzen's files", lambda: count / bench.spawn_loop_with_files(count, 2)),
        Contestant("mizzen launch", mizzen),
        Contestant(
            "HyperQueue",
            lambda: count / hyperqueue.ask(op="jobs", count=count)["seconds"],
        ),
    ]
    if count <= MOST_FOR_NEMO_RUN:
        contestants.append(
            Contestant("NeMo-Run", lambda: count / nemo_run.ask(op="jobs", count=count)["seconds"], rounds=2)
        )
    rounds = 1 if bench.quick else 3 if count >= 10_000 else 5
    return Table(f"{count:,} jobs", take_turns(contestants, rounds, "jobs/s"), beside=BARE)
