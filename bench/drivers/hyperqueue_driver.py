"""Runs inside HyperQueue's environment: one server and one worker of two cores, both in this process.

The client learns of the end by asking once a second. To be fair to the scheduler, a last task touches a file and the
clock stops when that appears; the client's own answer, up to a second later, is then waited for as a check.
"""

import os
import sys
import tempfile
import time

import driver
from hyperqueue.cluster import LocalCluster, WorkerConfig
from hyperqueue.job import Job

FOLDER = sys.argv[1]
ANSWERS = driver.claim_output()
CLUSTER = LocalCluster(worker_config=WorkerConfig(cores=2))
CLIENT = CLUSTER.client()


def jobs(count):
    """`true`, that many times; the last task has a lower priority and so starts after all the others."""
    folder, marker = places()
    start = time.perf_counter()
    job = Job(default_workdir=folder)
    for _ in range(count):
        job.program(["true"])
    job.program(["touch", marker], priority=-1)
    return finish(job, marker, start)


def chain(count):
    """`true`, each after the one before it; the last link touches the file."""
    folder, marker = places()
    start = time.perf_counter()
    job = Job(default_workdir=folder)
    task = None
    for number in range(count):
        program = ["true"] if number < count - 1 else ["touch", marker]
        task = job.program(program, deps=[task] if task else [])
    return finish(job, marker, start)


def places():
    folder = tempfile.mkdtemp(dir=FOLDER)
    return folder, os.path.join(folder, "done")


def finish(job, marker, start):
    submitted = CLIENT.submit(job)
    deadline = time.monotonic() + 280
    while not os.path.exists(marker):
        if time.monotonic() > deadline:
            raise TimeoutError("the last task had not run after 280 s")
        time.sleep(0.002)
    seconds = time.perf_counter() - start
    CLIENT.wait_for_jobs([submitted])  # raises if a task failed
    return {"seconds": seconds, "client_seconds": time.perf_counter() - start}


driver.serve(ANSWERS, {"jobs": jobs, "chain": chain})
