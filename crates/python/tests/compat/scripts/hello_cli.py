"""An entry point with factories and overrides."""

from dataclasses import dataclass
from typing import List, Optional

import nemo_run as run
from nemo_run.cli.api import RunContext  # noqa: F401


@dataclass
class Model:
    hidden: int = 4
    activation: str = "relu"


@dataclass
class Optimizer:
    lr: float = 0.1


@run.cli.factory
@run.autoconvert
def big(hidden: int = 1024) -> Model:
    return Model(hidden=hidden, activation="gelu")


@run.cli.factory
@run.autoconvert
def adam(lr: float = 0.001) -> Optimizer:
    return Optimizer(lr=lr)


@run.cli.entrypoint(skip_confirmation=True)
def train(
    model: Model,
    optimizer: Optimizer,
    epochs: int = 1,
    layers: Optional[List[int]] = None,
    verbose: bool = False,
) -> None:
    """Trains a model that prints itself."""
    print(f"RESULT {model} {optimizer} epochs={epochs} layers={layers} verbose={verbose}")


if __name__ == "__main__":
    run.cli.main(train)
