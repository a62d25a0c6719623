"""A large graph of jobs in memory and in the store: a program of ours against the library, without any process."""

from __future__ import annotations

import json
from typing import Dict

from .. import measure
from ..bench import Bench
from ..measure import Measured, Missing, NotMeasured
from ..report import Check, Section, Table

FIGURES = {
    "plan_seconds": ("plan", "s", None, None),
    "transitions_per_second": ("transitions in memory", "/s", None, 500_000),
    "stored_per_second": ("transitions stored", "/s", None, 20_000),
    "reopen_seconds": ("reopen the store", "s", 1, None),
}


def measured(bench: Bench) -> Section:
    values: Dict[str, list] = {key: [] for key in FIGURES}
    reason = None
    try:
        program = bench.programs.path("mizzen-bench-graph")
        for _ in range(1 if bench.quick else 5):
            answer = json.loads(measure.run([program], folder=bench.work).output)
            for key in FIGURES:
                values[key].append(float(answer[key]))
    except NotMeasured as error:
        reason = str(error)
    except (KeyError, TypeError, ValueError) as error:
        reason = f"mizzen-bench-graph answered with something else: {error!r}"
    rows = [
        Missing(name, reason) if reason else Measured(name, unit, values[key])
        for key, (name, unit, _, _) in FIGURES.items()
    ]
    table = Table("mizzen-core", rows)
    return Section(
        "graph",
        "Graph: 100,000 nodes, 200,000 edges",
        [table],
        [
            Check(name, table.median(name), unit, at_most=most, at_least=least)
            for name, unit, most, least in FIGURES.values()
            if most is not None or least is not None
        ],
        [],
    )
