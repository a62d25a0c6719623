"""Runs inside an environment with our own wheel: what the Python package does."""

import math
import os
import posixpath
import sys
import time

os.environ["MIZZEN_HOME"] = os.path.join(sys.argv[1], "home")

import mizzen as run  # noqa: E402  (as its users import it)

import driver  # noqa: E402


def round_trip():
    """Builds a Partial, runs it as a recorded job on this machine, and has its value."""
    start = time.perf_counter()
    result = run.run(
        run.Partial(posixpath.join, "a", "b"), executor=run.LocalExecutor(), name="join", tail_logs=False
    )
    seconds = time.perf_counter() - start
    if result.value != "a/b":
        raise RuntimeError(f"the value came back as {result.value!r}")
    return {"seconds": seconds}


def adds(count):
    """Adds Partials to an experiment and plans it; nothing runs."""
    start = time.perf_counter()
    with run.Experiment(f"adds-{count}", executor=run.LocalExecutor()) as experiment:
        for number in range(count):
            experiment.add(run.Partial(math.hypot, float(number), 4.0), name=f"job-{number}")
        added = time.perf_counter() - start
        experiment.dryrun(log=False)
    return {"seconds": time.perf_counter() - start, "added": added}


driver.serve(driver.claim_output(), {"round_trip": round_trip, "adds": adds})
