"""What users hook into every task of an experiment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mizzen.config import ConfigurableMixin

if TYPE_CHECKING:
    from mizzen.config import Partial, Script
    from mizzen.executor import Executor

__all__ = ["Plugin"]


@dataclass(kw_only=True)
class Plugin(ConfigurableMixin):
    """Changes tasks and executors when they are added to an experiment.

    Subclass it, usually as a dataclass, and override :meth:`setup`. The experiment hands in clones, so that what the plugin
    changes is this job's alone.

    Attributes:
        experiment_id: the experiment that the plugin was last assigned to.
    """

    experiment_id: str = field(init=False, default="", compare=False, repr=False)

    def assign(self, experiment_id: str) -> None:
        """Tells the plugin which experiment it works for. Called before :meth:`setup`, for single jobs and for groups.

        Args:
            experiment_id: the experiment's id.
        """
        self.experiment_id = experiment_id

    def setup(self, task: Partial[Any] | Script, executor: Executor) -> None:
        """Changes a task and its executor in place. For a group it is called once for each member.

        Args:
            task: the job's own copy of the task.
            executor: the job's own copy of the executor.
        """
        raise NotImplementedError(f"{type(self).__qualname__} has no `setup(self, task, executor)`")
