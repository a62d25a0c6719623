"""Containers: one that does nothing, many on two slots, and how often the engine is asked."""

from __future__ import annotations

import collections
import os
import subprocess
import time
from typing import Dict, List, Optional

from .. import measure, ours
from ..bench import Bench, on_path
from ..engine import IMAGE, Engine
from ..measure import Contestant, NotMeasured, take_turns
from ..report import Check, Section, Table

BARE = "docker run --rm"
ONE = "mizzen run"
SERIAL = "docker run loop"
TWO = "docker run loop, two at a time"
MIZZEN = "mizzen launch, two slots"
MANY = 100


def measured(bench: Bench) -> Section:
    try:
        engine = Engine(bench.programs.repository)
    except NotMeasured as error:
        return Section("containers", "Containers", [], [Check("an engine", None, "", at_least=1)], [str(error)])
    try:
        one = _one(bench, engine)
        many = _many(bench, engine)
        asked = _asked(bench, engine)
    finally:
        engine.close()
    later: Optional[float] = None
    bare, mine = one.median(BARE), one.median(ONE)
    if bare is not None and mine is not None:
        later = mine - 1.1 * bare
    return Section(
        "containers",
        "Containers of Docker",
        [one, many],
        [
            Check("mizzen run later than 1.1 × docker run --rm", later, "ms", at_most=20),
            Check(f"{MANY} containers beside a loop of docker run, two at a time", many.ratio(MIZZEN, TWO), "×"),
            Check(f"{MANY} containers: streams of docker events", float(asked["events"]), "", at_most=1),
            Check(f"{MANY} containers: docker ps", float(asked["ps"]), "", at_most=3),
            Check(f"{MANY} containers: docker inspect", float(asked["inspect"]), "", at_most=0),
        ],
        [
            "`true` of BusyBox in an image of 2 MB. docker run --rm: from the start of the client to its end, the container removed."
            " mizzen run: the same with its output at the terminal, its record kept; the container is removed behind it.",
            f"{MANY} containers: from the start to the end of all; the loop's are removed each by itself, mizzen's in passing.",
            "How often the engine was asked was counted by a program of docker's name that writes its words down, in a run of its own.",
            f"Asked in all, for {MANY} containers: {', '.join(f'{count} {word}' for word, count in sorted(asked.items()))}.",
        ],
    )


def _environment(engine: Engine) -> Dict[str, str]:
    return {**os.environ, "DOCKER_HOST": engine.host}


def _project(home: ours.Home, engine: Engine, settings: str = "") -> None:
    home.environment["DOCKER_HOST"] = engine.host
    with open(os.path.join(home.folder, "mizzen.toml"), "w", encoding="utf-8") as file:
        file.write(f'[executors.box]\nkind = "docker"\ncontainer_image = "{IMAGE}"\n{settings}\n')


def _one(bench: Bench, engine: Engine) -> Table:
    bench.say("containers: one")
    docker = on_path("docker")
    environment = _environment(engine)
    with ours.new_home(bench.mizzen(), bench.work) as home:
        _project(home, engine)

        def bare() -> float:
            return measure.start_to_end([docker, "run", "--rm", IMAGE, "true"], environment)

        def mizzen() -> float:
            return home.run("run", "-e", "box", "--", "true", keep_output=False).seconds * 1000

        rows = take_turns(
            [Contestant(BARE, bare), Contestant(ONE, mizzen)], rounds=5 if bench.quick else 20, unit="ms", warm_ups=1
        )
    return Table("one container", rows, beside=BARE)


def _many(bench: Bench, engine: Engine) -> Table:
    bench.say(f"containers: {MANY}")
    docker = on_path("docker")
    environment = _environment(engine)

    def loop(at_once: int) -> float:
        start = time.perf_counter()
        left = MANY
        running: List["subprocess.Popen[bytes]"] = []
        while left or running:
            while left and len(running) < at_once:
                running.append(subprocess.Popen([docker, "run", "--rm", IMAGE, "true"], env=environment))
                left -= 1
            pid, status = os.wait()
            if status != 0:
                raise NotMeasured(f"docker run ended with wait status {status:#x}")
            for process in running:
                if process.pid == pid:
                    process.returncode = 0
            running = [process for process in running if process.pid != pid]
        return MANY / (time.perf_counter() - start)

    def mizzen() -> float:
        with ours.new_home(bench.mizzen(), bench.work) as home:
            _project(home, engine, "slots = 2")
            home.write(_sweep(MANY))
            seconds = home.launch()
            home.expect_success(MANY)
            return MANY / seconds

    rows = take_turns(
        [
            Contestant(TWO, lambda: loop(2)),
            Contestant(SERIAL, lambda: loop(1), rounds=1),
            Contestant(MIZZEN, mizzen),
        ],
        rounds=1 if bench.quick else 3,
        unit="containers/s",
    )
    return Table(f"{MANY} containers", rows, beside=TWO)


def _sweep(count: int) -> str:
    values = ", ".join(map(str, range(count)))
    return (
        'title = "containers"\n\n[[tasks]]\nname = "job"\nrun = ["true"]\nexecutor = "box"\n'
        f"sweep = {{ number = [{values}] }}\n"
    )


def _asked(bench: Bench, engine: Engine) -> Dict[str, int]:
    """How often each of the engine's commands was used."""
    with ours.new_home(bench.mizzen(), bench.work) as home:
        log = os.path.join(home.folder, "asked")
        program = os.path.join(home.folder, "docker")
        with open(program, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\necho \"$1\" >>'{log}'\nexec '{on_path('docker')}' \"$@\"\n")
        os.chmod(program, 0o755)
        _project(home, engine, f'slots = 2\nengine = "{program}"')
        home.write(_sweep(MANY))
        home.launch()
        home.expect_success(MANY)
        # The last words of whoever drove it come after its end.
        time.sleep(2)
        with open(log, encoding="utf-8") as file:
            counted = collections.Counter(file.read().split())
    return {word: counted.get(word, 0) for word in {*counted, "events", "ps", "inspect"}}
