"""How long a command takes that has nothing to do."""

from __future__ import annotations

import os

from .. import ours, peers
from ..bench import Bench, on_path
from ..measure import take_turns
from ..report import Check, Section, Table


def measured(bench: Bench) -> Section:
    clean = ours.environment(os.path.join(bench.work, "no-home"))
    nemo = {**os.environ, "NEMORUN_HOME": os.path.join(bench.work, "no-nemo-home"), "NO_VCS_VERSION": "1"}
    table = Table(
        "start to end",
        take_turns(
            [
                bench.git_version(),
                bench.command("true", lambda: [on_path("true")]),
                bench.command("mizzen --version", lambda: [bench.mizzen(), "--version"], clean),
                bench.command("mizzen --help", lambda: [bench.mizzen(), "--help"], clean),
                bench.command(
                    "nemorun --help",
                    lambda: [bench.environments.program(peers.NEMO_RUN, "nemorun"), "--help"],
                    nemo,
                    rounds=1 if bench.quick else 3,
                ),
            ],
            rounds=30 if bench.quick else 200,
            unit="ms",
            warm_ups=3,
        ),
        beside="git --version",
    )
    return Section(
        "start",
        "Start",
        [table],
        [
            Check("mizzen --version beside git --version", table.ratio("mizzen --version"), "×", at_most=3),
            Check("mizzen --help beside git --version", table.ratio("mizzen --help"), "×", at_most=3),
        ],
        ["HyperQueue's wheel carries no command of its own, so there is none to start."],
    )
