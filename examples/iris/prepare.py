"""Splits iris.csv into train, validation and test rows, and brings every measurement to mean 0 and deviation 1.

The scale comes from the training rows alone: what is learnt about the others beforehand would flatter the result.
Writes data.json into this job's directory.
"""

import argparse
import csv
import json
import os
import random
import statistics

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header[:-1], [([float(value) for value in row[:-1]], row[-1]) for row in rows]


def split(rows, species, seed):
    """The same share of every species in every part, in an order that depends on the seed alone."""
    shuffle = random.Random(seed).shuffle
    parts = {name: [] for name in SHARES}
    for kind in species:
        mine = [row for row in rows if row[1] == kind]
        shuffle(mine)
        start = 0
        for name, share in SHARES.items():
            end = start + round(share * len(mine))
            parts[name] += mine[start:end]
            start = end
    for part in parts.values():
        shuffle(part)
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    features, rows = read_rows("iris.csv")
    species = sorted({kind for _, kind in rows})
    parts = split(rows, species, arguments.seed)

    columns = list(zip(*(measurements for measurements, _ in parts["train"])))
    means = [statistics.mean(column) for column in columns]
    deviations = [statistics.pstdev(column) for column in columns]

    data = {"features": features, "species": species, "means": means, "deviations": deviations}
    for name, part in parts.items():
        data[name] = [
            {
                "x": [(value - mean) / deviation for value, mean, deviation in zip(measurements, means, deviations)],
                "y": species.index(kind),
            }
            for measurements, kind in part
        ]
        print(f"{name:<10} {len(part):>3} rows", flush=True)

    with open(os.path.join(os.environ["MIZZEN_JOB_DIR"], "data.json"), "w", encoding="utf-8") as file:
        json.dump(data, file)


if __name__ == "__main__":
    main()
