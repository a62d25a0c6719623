"""Picks the best of the trained models and tries it on rows that nothing has seen yet.

The best is the one with the lowest loss on the validation rows: their accuracy only moves in steps of one row in
thirty, too coarse to choose by. The test rows have no say. Writes report.md into this job's directory.
"""

import argparse
import json
import os

import softmax


def read_json(directory, name):
    with open(os.path.join(directory, name), encoding="utf-8") as file:
        return json.load(file)


def table(header, rows):
    """A Markdown table whose columns also line up as plain text; numbers stand to the right."""
    cells = [[str(cell) for cell in row] for row in [header] + rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["| " + " | ".join(cell.rjust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="the directory of the job that prepared the data")
    parser.add_argument("runs", nargs="+", help="the directories of the training jobs")
    arguments = parser.parse_args()

    data = read_json(arguments.data, "data.json")
    runs = [(read_json(run, "metrics.json"), run) for run in arguments.runs]
    runs.sort(key=lambda run: run[0]["lr"])
    best, directory = min(runs, key=lambda run: run[0]["validation_loss"])

    weights = read_json(directory, "model.json")["weights"]
    test_loss, test_accuracy = softmax.loss_and_accuracy(weights, data["test"])
    species = data["species"]
    confusion = [[0] * len(species) for _ in species]
    for row in data["test"]:
        confusion[row["y"]][softmax.predict(weights, row["x"])] += 1

    compared = table(
        ["lr", "train loss", "validation loss", "validation accuracy", ""],
        [
            [
                f"{run['lr']:g}",
                f"{run['train_loss']:.4f}",
                f"{run['validation_loss']:.4f}",
                f"{run['validation_accuracy']:.3f}",
                "best" if run is best else "",
            ]
            for run, _ in runs
        ],
    )
    confused = table(
        ["is \\ taken for"] + species, [[kind] + counts for kind, counts in zip(species, confusion)]
    )
    summary = (
        f"Best learning rate: {best['lr']:g}. Of {len(data['test'])} test rows it gets "
        f"{sum(confusion[kind][kind] for kind in range(len(species)))} right "
        f"(accuracy {test_accuracy:.3f}, loss {test_loss:.4f})."
    )

    path = os.path.join(os.environ["MIZZEN_JOB_DIR"], "report.md")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"# Irises: which learning rate?\n\n{compared}\n\n{summary}\n\n{confused}\n")
    print(f"{compared}\n\n{summary}\n\n{confused}\n\nreport: {path}", flush=True)


if __name__ == "__main__":
    main()
