"""What it costs to watch many jobs."""

from __future__ import annotations

from .. import peers
from ..bench import Bench
from ..measure import Contestant, NotMeasured, take_turns
from ..report import Check, Section, Table

OURS = "mizzen's supervisor"


def measured(bench: Bench) -> Section:
    count, peer_count = (1_000, 20) if bench.quick else (10_000, 100)
    with bench.environments.driver(peers.HYPERQUEUE, bench.work) as hyperqueue:
        with bench.environments.driver(peers.NEMO_RUN, bench.work) as nemo_run:
            table = Table(
                "greatest resident size",
                take_turns(
                    [
                        Contestant(OURS, lambda: bench.stored().peaks.supervisor_mib),
                        Contestant("mizzen's supervisor and agents", lambda: bench.stored().peaks.together_mib),
                        Contestant(
                            f"HyperQueue, {count:,} jobs",
                            lambda: hyperqueue.ask(op="jobs", count=count)["peak_mib"],
                        ),
                        Contestant(
                            f"NeMo-Run, {peer_count} jobs",
                            lambda: nemo_run.ask(op="jobs", count=peer_count)["peak_mib"],
                        ),
                    ],
                    rounds=1,
                    unit="MiB",
                ),
                beside=OURS,
            )
    notes = [
        "VmHWM of the processes with a program of mizzen, looked at every 50 ms while the jobs run detached.",
        "HyperQueue's figure is of one process that is server, worker and client, Python included; NeMo-Run's of the"
        " process that watches.",
    ]
    try:
        peaks = bench.stored().peaks
        notes.append(f"The supervisor was `{peaks.supervisor_command}`; {peaks.processes} processes were seen.")
    except NotMeasured:
        pass
    return Section(
        "memory",
        f"Memory: {count:,} jobs watched",
        [table],
        [Check(f"supervisor watching {count:,} jobs", table.median(OURS), "MiB", at_most=30)],
        notes,
    )
