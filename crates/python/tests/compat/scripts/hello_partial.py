"""Configurations and a partial, one directly, one as a job."""

from dataclasses import dataclass, field

import nemo_run as run
from nemo_run.config import get_type_namespace


@dataclass
class Optimizer:
    lr: float = 0.1
    betas: list[float] = field(default_factory=lambda: [0.9, 0.99])


@dataclass
class Model:
    hidden: int
    optimizer: Optimizer = field(default_factory=Optimizer)
    name: str = "plain"


def train(model: Model, steps: int = 2, note: str | None = None) -> None:
    print(f"RESULT hidden={model.hidden} lr={model.optimizer.lr} betas={model.optimizer.betas} steps={steps} note={note}")


@run.autoconvert
def small(hidden: int = 8) -> Model:
    return Model(hidden=hidden, optimizer=Optimizer(lr=0.5))


if __name__ == "__main__":
    model = run.Config(Model, hidden=16, optimizer=run.Config(Optimizer, lr=0.2))
    partial = run.Partial(train, model=model, steps=3)
    partial.model.optimizer.lr *= 2
    other = partial.clone()
    other.broadcast(lr=0.7)
    other.walk(hidden=lambda config: config.hidden + 1)
    other.note = "cloned"
    converted = run.Partial(train, model=small(hidden=4))
    print("CONFIG", partial.model.hidden, partial.model.optimizer.lr, other.model.optimizer.lr, other.model.hidden)
    print("TYPES", isinstance(converted.model, run.Config), isinstance(partial, run.Partial), isinstance(partial, run.Config))
    print("NAMESPACE", get_type_namespace(run.LocalExecutor).rsplit(".", 1)[1])
    run.run(partial, direct=True)
    run.run(other, executor=run.LocalExecutor(), name="other")
    run.run(converted, executor=run.LocalExecutor(), name="converted")
