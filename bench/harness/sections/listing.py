"""Asking about experiments when many jobs are stored."""

from __future__ import annotations

from .. import measure, ours, peers
from ..bench import Bench
from ..measure import Contestant, take_turns
from ..report import Check, Section, Table


def measured(bench: Bench) -> Section:
    def ask(*arguments: str) -> Contestant:
        def once() -> float:
            home = bench.stored().home
            return measure.start_to_end([home.mizzen, *arguments], home.environment)

        return Contestant(measure.short(["mizzen", *arguments]), once)

    commands = [["ls"], ["status"], ["status", "--json"]]
    with bench.environments.driver(peers.NEMO_RUN, bench.work) as driver:
        peer_jobs = 20 if bench.quick else 100

        def nemo_status() -> float:
            identity = driver.ask(op="jobs", count=peer_jobs)["id"]
            program = bench.environments.program(peers.NEMO_RUN, "nemorun")
            env = {**ours.environment(""), "NEMORUN_HOME": driver.folder, "NO_VCS_VERSION": "1"}
            return 1000 * measure.run([program, "experiment", "status", identity], env, timeout=300).seconds

        table = Table(
            "start to end",
            take_turns(
                [bench.git_version()]
                + [ask(*command) for command in commands]
                + [Contestant(f"nemorun experiment status, {peer_jobs} jobs", nemo_status, rounds=1)],
                rounds=10 if bench.quick else 100,
                unit="ms",
            ),
            beside="git --version",
        )
    stored = 1_000 if bench.quick else 10_000
    return Section(
        "listing",
        f"ls and status, {stored:,} jobs stored",
        [table],
        [
            Check(f"mizzen {command}, {stored:,} jobs stored", table.median(f"mizzen {command}"), "ms", at_most=20)
            for command in ("ls", "status")
        ],
        [
            "The jobs are those of one finished experiment; output goes to /dev/null.",
            "NeMo-Run has its jobs in one finished experiment too, as many as it can run in one (see Jobs).",
        ],
    )
