"""Runs inside NeMo-Run's environment: experiments of its LocalExecutor, in this process as its users run them.

It has no number of slots: what can run at once does. `env true` instead of its default `bash` is the cheapest command
that a `Script` can be. With `follow ARG…` it runs that one command with its log on this program's output instead.
"""

import os
import posixpath
import sys
import time

os.environ["NEMORUN_HOME"] = sys.argv[1]
os.environ["NO_VCS_VERSION"] = "1"
# Its jobs run the `python` of PATH, not the one that launches them.
os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ["PATH"]

import nemo_run  # noqa: E402  (it reads its home when it is imported)

import driver  # noqa: E402


def experiment(title, count, script, **how):
    with nemo_run.Experiment(title) as it:
        for number in range(count):
            it.add(script, executor=nemo_run.LocalExecutor(), name=f"job-{number}")
        it.run(detach=False, **how)
    wrong = [str(job.state) for job in it.jobs if "SUCCEEDED" not in str(job.state)]
    if wrong:
        raise RuntimeError(f"{len(wrong)} of {count} jobs did not succeed: {wrong[0]}")
    return it._id


def timed(title, count, **how):
    start = time.perf_counter()
    identity = experiment(title, count, nemo_run.Script(path="true", entrypoint="env"), tail_logs=False, **how)
    return {"seconds": time.perf_counter() - start, "id": identity}


def partial():
    start = time.perf_counter()
    with nemo_run.Experiment("partial") as it:
        it.add(nemo_run.Partial(posixpath.join, "a", "b"), executor=nemo_run.LocalExecutor(), name="join")
        it.run(detach=False, tail_logs=False)
    if "SUCCEEDED" not in str(it.jobs[0].state):
        raise RuntimeError(f"the job is {it.jobs[0].state}")
    return {"seconds": time.perf_counter() - start}


def slurm(count, tunnel, path):
    os.environ["PATH"] = path + os.pathsep + os.environ["PATH"]
    tunnel = nemo_run.SSHTunnel(**tunnel)
    with nemo_run.Experiment("slurm") as it:
        for number in range(count):
            executor = nemo_run.SlurmExecutor(
                account="",
                partition="main",
                nodes=1,
                ntasks_per_node=1,
                tunnel=tunnel,
                packager=nemo_run.Packager(),
                additional_parameters={"hold": True},
            )
            it.add(nemo_run.Script(path="true", entrypoint="env"), executor=executor, name=f"job-{number}")
        start = time.perf_counter()
        it.run(detach=True, tail_logs=False, sequential=False)
        return {"seconds": time.perf_counter() - start}


if sys.argv[2:3] == ["follow"]:
    _, program, *arguments = sys.argv[2:]
    experiment("follow", 1, nemo_run.Script(path=program, entrypoint="env", args=arguments), tail_logs=True)
else:
    driver.serve(
        driver.claim_output(),
        {
            "jobs": lambda count: timed(f"jobs-{count}", count, sequential=False),
            "partial": partial,
            "slurm": slurm,
            "chain": lambda count: timed(f"chain-{count}", count, sequential=True),
        },
    )
