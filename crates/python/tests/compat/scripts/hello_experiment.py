"""Dependencies, a group, a plugin, and what an experiment tells of itself."""

from dataclasses import dataclass

import nemo_run as run
from nemo_run.core.execution.base import Executor
from nemo_run.core.execution.local import LocalExecutor
from nemo_run.run.plugin import ExperimentPlugin


@dataclass(kw_only=True)
class Marked(run.Plugin):
    mark: str

    def setup(self, task, executor: Executor):
        executor.env_vars["MARK"] = self.mark


assert issubclass(run.Plugin, ExperimentPlugin)


def local() -> LocalExecutor:
    return run.LocalExecutor(env_vars={"MODE": "fast"})


if __name__ == "__main__":
    with run.Experiment("hello-experiment", executor=local()) as exp:
        first = exp.add(run.Script(inline='echo "first $MODE $MARK"'), name="first", plugins=[Marked(mark="x")], tail_logs=True)
        exp.add(
            [run.Script(inline="echo member 0"), run.Script(inline="echo member 1")],
            name="pair",
            executor=[local(), local()],
            tail_logs=True,
        )
        second = exp.add(run.Script(inline='echo "second [$MARK]"'), name="second", dependencies=[first], tail_logs=True)
        exp.run(sequential=False, detach=False)
    print("IDS", first, second, [job.id for job in exp.jobs])
    again = run.Experiment.from_id(exp._id if hasattr(exp, "_id") else exp.id)
    print("AGAIN", again._title if hasattr(again, "_title") else again.title, sorted(job.id for job in again.jobs))
    print("CATALOG", len(run.Experiment.catalog("hello-experiment")))
