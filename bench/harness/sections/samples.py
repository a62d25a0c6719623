"""What it costs that the agent looks at what its job uses, again and again."""

from __future__ import annotations

import json
import os
import subprocess
import time
from typing import Dict, List

from ..bench import Bench
from ..measure import Contestant, NotMeasured, take_turns
from ..report import Check, Section, Table

JOBS = {"a job of 1 process": "exec sleep 3600", "a job of 200 processes": "for i in $(seq 199); do sleep 3600 & done; wait"}
MOST = 0.1


def measured(bench: Bench) -> Section:
    # Looks come every 10 s, after the first ones; a whole number of pauses.
    settle, window = (17.0, 20.0) if bench.quick else (17.0, 120.0)
    shares: Dict[str, float] = {}
    agents: List[subprocess.Popen] = []
    problem = None
    try:
        for name, script in JOBS.items():
            agents.append(start(bench, name, script))
        bench.say(f"looking at agents for {settle + window:.0f} s")
        time.sleep(settle)
        before = [processor_seconds(agent) for agent in agents]
        began = time.monotonic()
        time.sleep(window)
        lasted = time.monotonic() - began
        for name, agent, used in zip(JOBS, agents, before):
            shares[name] = 100 * (processor_seconds(agent) - used) / lasted
    except (NotMeasured, OSError) as error:
        problem = str(error)
    finally:
        for agent in agents:
            agent.terminate()
        for agent in agents:
            agent.wait(timeout=60)

    def share_of(name: str) -> Contestant:
        def once() -> float:
            if name not in shares:
                raise NotMeasured(problem or "the agent ended early")
            return shares[name]

        return Contestant(name, once)

    table = Table("one processor", take_turns([share_of(name) for name in JOBS], 1, "%"))
    return Section(
        "samples",
        "Samples of what jobs use",
        [table],
        [Check(f"samples of {name}", table.median(name), "% of a processor", at_most=MOST) for name in JOBS],
        [
            f"The agent's whole processor time over {window:.0f} s (`/proc/PID/schedstat`) while its job sleeps: samples at the default"
            " rate, and signs of life every 10 s.",
        ],
    )


def start(bench: Bench, name: str, script: str) -> subprocess.Popen:
    folder = os.path.join(bench.work, "samples-" + name.replace(" ", "-"))
    os.makedirs(folder)
    member = {
        "name": "job",
        "attempt_dir": folder,
        "workdir": folder,
        "env": [["PATH", os.environ.get("PATH", "/usr/bin:/bin")]],
        "ranks": [{"argv": ["sh", "-c", script]}],
    }
    job = {"key": f"bench-{os.getpid()}-{len(script)}", "members": [member], "grace": 5.0, "heartbeat": 10.0}
    path = os.path.join(folder, "job.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(job, file)
    return subprocess.Popen([bench.programs.agent_path(), "run", path], stdin=subprocess.DEVNULL)


def processor_seconds(agent: subprocess.Popen) -> float:
    """Time on a processor, in seconds; the first number of schedstat is in nanoseconds."""
    try:
        with open(f"/proc/{agent.pid}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1e9
    except (OSError, IndexError, ValueError) as error:
        raise NotMeasured(f"the agent's processor time can't be read: {error}") from None
