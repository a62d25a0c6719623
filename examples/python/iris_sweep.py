"""Which learning rate suits softmax regression on Fisher's irises? Five jobs, four of them side by side.

    prepare ─┬─▶ train-0.001
             ├─▶ train-0.1
             ├─▶ train-1
             └─▶ train-100

    python iris_sweep.py
"""

import csv
import json
import os
import random
import sys
from dataclasses import dataclass
from pathlib import Path

import mizzen as run

IRIS = Path(__file__).resolve().parent.parent / "iris"
# Jobs find modules where this script does.
sys.path.insert(0, str(IRIS))
import softmax  # noqa: E402

RATES = [0.001, 0.1, 1.0, 100.0]


@dataclass
class Training:
    """How to train.

    Attributes:
        lr: the learning rate.
        epochs: how often every flower is seen.
    """

    lr: float
    epochs: int = 200


def experiment_dir() -> Path:
    return Path(os.environ["MIZZEN_EXPERIMENT_DIR"])


def prepare(seed: int) -> dict:
    """Splits the flowers, and scales what was measured to mean 0 and spread 1. Other jobs read what it leaves in its folder."""
    with open(IRIS / "iris.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    features = [name for name in rows[0] if name != "species"]
    species = sorted({row["species"] for row in rows})
    flowers = [([float(row[name]) for name in features], species.index(row["species"])) for row in rows]
    columns = list(zip(*(values for values, _ in flowers)))
    means = [sum(column) / len(column) for column in columns]
    spreads = [(sum((value - mean) ** 2 for value in column) / len(column)) ** 0.5 for column, mean in zip(columns, means)]
    scaled = [
        {"x": [(value - mean) / spread for value, mean, spread in zip(values, means, spreads)], "y": label}
        for values, label in flowers
    ]
    random.Random(seed).shuffle(scaled)
    parts = {"train": scaled[:90], "validation": scaled[90:]}
    Path(os.environ["MIZZEN_JOB_DIR"], "data.json").write_text(json.dumps(parts), encoding="utf-8")
    return {name: len(part) for name, part in parts.items()} | {"species": len(species), "features": len(features)}


def train(training: Training) -> dict:
    data = json.loads((experiment_dir() / "prepare" / "data.json").read_text(encoding="utf-8"))
    weights = [[0.0] * (1 + len(data["train"][0]["x"])) for _ in range(3)]
    for _ in range(training.epochs):
        slope = softmax.gradient(weights, data["train"])
        weights = [[weight - training.lr * step for weight, step in zip(row, steps)] for row, steps in zip(weights, slope)]
    loss, accuracy = softmax.loss_and_accuracy(weights, data["validation"])
    print(f"lr {training.lr}: loss {loss:.4f}, accuracy {accuracy:.3f}")
    return {"lr": training.lr, "loss": loss, "accuracy": accuracy}


def main() -> None:
    experiment = run.Experiment("iris-python", executor=run.LocalExecutor(env_vars={"OMP_NUM_THREADS": "1"}))
    data = experiment.add(run.Partial(prepare, seed=2), name="prepare")
    base = run.Partial(train, training=run.Config(Training, lr=0.0))
    jobs = []
    for rate in RATES:
        task = base.clone()
        task.training.lr = rate
        jobs.append(experiment.add(task, name=f"train-{rate:g}", dependencies=[data]))
    experiment.run()

    print("prepared", experiment.result(data))
    results = [experiment.result(job) for job in jobs]
    for result in results:
        print(f"lr {result['lr']:>7g}  loss {result['loss']:.4f}  accuracy {result['accuracy']:.3f}")
    best = min(results, key=lambda result: result["loss"])
    print(f"best: lr {best['lr']:g}")


if __name__ == "__main__":
    main()
