"""Fits softmax regression by gradient descent at one learning rate.

Writes model.json (the weights) and metrics.json (how well it did) into this job's directory.
"""

import argparse
import json
import os

import softmax


def write_json(name, value):
    with open(os.path.join(os.environ["MIZZEN_JOB_DIR"], name), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the directory of the job that prepared the data")
    parser.add_argument("--lr", type=float, required=True, help="learning rate")
    parser.add_argument("--epochs", type=int, default=400)
    arguments = parser.parse_args()

    with open(os.path.join(arguments.data, "data.json"), encoding="utf-8") as file:
        data = json.load(file)

    weights = [[0.0] * (1 + len(data["features"])) for _ in data["species"]]
    for epoch in range(1, arguments.epochs + 1):
        slope = softmax.gradient(weights, data["train"])
        weights = [
            [weight - arguments.lr * step for weight, step in zip(row, steps)] for row, steps in zip(weights, slope)
        ]
        if epoch == 1 or epoch % 50 == 0:
            loss, _ = softmax.loss_and_accuracy(weights, data["train"])
            print(f"epoch {epoch:>3}/{arguments.epochs}  loss {loss:.4f}", flush=True)

    train_loss, train_accuracy = softmax.loss_and_accuracy(weights, data["train"])
    validation_loss, validation_accuracy = softmax.loss_and_accuracy(weights, data["validation"])
    print(f"validation: loss {validation_loss:.4f}, accuracy {validation_accuracy:.3f}", flush=True)

    write_json("model.json", {"weights": weights})
    write_json(
        "metrics.json",
        {
            "lr": arguments.lr,
            "epochs": arguments.epochs,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
        },
    )


if __name__ == "__main__":
    main()
