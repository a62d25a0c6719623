"""A function with a command line: arguments by name, nested ones by path, whole objects by factories.

    python train_cli.py --help
    python train_cli.py --yes optimizer.lr=0.5 epochs=3
    python train_cli.py --yes model=big 'model.layers=[64, 64]' optimizer=adam(lr=1e-3) epochs*=2
    python train_cli.py --yes executor=local       # as a recorded job, in a process of its own
    python train_cli.py --to-yaml train.yaml       # write the configuration down, run nothing
    python train_cli.py --yes --yaml train.yaml
"""

from dataclasses import dataclass, field
from typing import Literal

import mizzen as run


@dataclass
class Model:
    """A network, as its layers' widths.

    Attributes:
        layers: how wide each layer is.
        activation: what stands between them.
    """

    layers: list[int] = field(default_factory=lambda: [16])
    activation: Literal["relu", "gelu"] = "relu"


@dataclass
class Optimizer:
    """How weights are changed.

    Attributes:
        lr: the learning rate.
        betas: what Adam remembers of slopes.
    """

    lr: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)


@run.cli.factory
@run.autoconvert
def big(width: int = 512) -> Model:
    return Model(layers=[width, width, width], activation="gelu")


@run.cli.factory
@run.autoconvert
def adam(lr: float = 1e-3) -> Optimizer:
    return Optimizer(lr=lr, betas=(0.9, 0.95))


@run.cli.factory
def local() -> run.LocalExecutor:
    return run.LocalExecutor(env_vars={"OMP_NUM_THREADS": "1"})


@run.cli.entrypoint
def train(model: Model = Model(), optimizer: Optimizer = Optimizer(), epochs: int = 2, note: str | None = None) -> int:
    """Trains a network that is not there.

    Args:
        model: the network.
        optimizer: the optimizer.
        epochs: how often all data is seen.
        note: something to remember.

    Returns:
        The number of steps.
    """
    weights = sum(one * other for one, other in zip(model.layers, model.layers[1:]))
    for epoch in range(1, epochs + 1):
        print(f"epoch {epoch}/{epochs}: {len(model.layers)} layers, {weights} weights, {model.activation}, lr {optimizer.lr:g}")
    if note:
        print("note:", note)
    return epochs * 100


if __name__ == "__main__":
    run.cli.main(train)
