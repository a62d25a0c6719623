"""The process beside every job, as it is shipped: its size, whether it needs anything, how soon it is up."""

from __future__ import annotations

import os
import struct
from typing import Callable, Optional

from ..bench import Bench
from ..measure import Contestant, NotMeasured, take_turns
from ..report import Check, Section, Table

PT_INTERP = 3


def measured(bench: Bench) -> Section:
    agent = bench.programs.agent_path
    size = Table(
        "file size",
        take_turns([Contestant("mizzen-agent", lambda: os.path.getsize(agent()) / 2**20)], 1, "MiB"),
    )
    start = Table(
        "start to end",
        take_turns(
            [
                bench.git_version(),
                bench.command("mizzen-agent --version", lambda: [agent(), "--version"]),
            ],
            rounds=30 if bench.quick else 200,
            unit="ms",
            warm_ups=3,
        ),
        beside="git --version",
    )
    return Section(
        "agent",
        "Agent",
        [size, start],
        [
            Check("size", size.median("mizzen-agent"), "MiB", at_most=2),
            Check("dynamic loaders it asks for (a static program: none)", loaders(agent), "", at_most=0),
            Check("start", start.median("mizzen-agent --version"), "ms", at_most=2),
        ],
        [],
    )


def loaders(agent: Callable[[], str]) -> Optional[float]:
    try:
        return float(asks_for_loader(agent()))
    except NotMeasured:
        return None


def asks_for_loader(path: str) -> bool:
    """Whether a 64-bit little-endian ELF file names an interpreter; a static program has none. elf(5)"""
    with open(path, "rb") as file:
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01":
            raise NotMeasured("not a 64-bit little-endian ELF file")
        (offset,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(offset)
        table = file.read(size * count)
    return any(struct.unpack_from("<I", table, size * entry)[0] == PT_INTERP for entry in range(count))
