"""Jobs that wait for one another: how long it takes from the end of one to the end of the next."""

from __future__ import annotations

from .. import ours, peers
from ..bench import Bench
from ..measure import Contestant, take_turns
from ..report import Check, Section, Table

BARE = "posix_spawn, one at a time"


def measured(bench: Bench) -> Section:
    links, hyperqueue_links, nemo_links = (50, 20, 5) if bench.quick else (500, 50, 20)

    def mizzen() -> float:
        with ours.new_home(bench.mizzen(), bench.work) as home:
            home.write(ours.chain(links))
            seconds = home.launch()
            home.expect_success(links)
            return 1000 * seconds / links

    def asked(driver: peers.Driver, count: int) -> float:
        return 1000 * driver.ask(op="chain", count=count)["seconds"] / count

    with bench.environments.driver(peers.HYPERQUEUE, bench.work) as hyperqueue:
        with bench.environments.driver(peers.NEMO_RUN, bench.work) as nemo_run:
            table = Table(
                "a link",
                take_turns(
                    [
                        Contestant(BARE, lambda: 1000 * bench.spawn_loop(links, 1) / links),
                        Contestant("mizzen launch", mizzen),
                        Contestant("HyperQueue", lambda: asked(hyperqueue, hyperqueue_links), rounds=3),
                        Contestant("NeMo-Run", lambda: asked(nemo_run, nemo_links), rounds=3),
                    ],
                    rounds=1 if bench.quick else 5,
                    unit="ms",
                ),
                beside=BARE,
            )
    return Section(
        "chain",
        f"Chain: {links} jobs, each after the one before it",
        [table],
        [Check("a link", table.median("mizzen launch"), "ms", at_most=4)],
        [
            "The whole time over the number of links, mizzen's start and end included.",
            f"HyperQueue ran {hyperqueue_links} links and NeMo-Run {nemo_links} (`sequential=True`); both were running"
            " already.",
        ],
    )
