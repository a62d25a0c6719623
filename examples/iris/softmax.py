"""Softmax regression in plain Python: what train.py learns with and evaluate.py predicts with."""

import math


def probabilities(weights, x):
    """One probability for each class; a row of weights is the bias and then one weight for each feature."""
    scores = [row[0] + sum(weight * value for weight, value in zip(row[1:], x)) for row in weights]
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]


def predict(weights, x):
    chances = probabilities(weights, x)
    return chances.index(max(chances))


def loss_and_accuracy(weights, rows):
    """Mean cross-entropy (nats) and the share of rows that are predicted right."""
    loss = right = 0.0
    for row in rows:
        chances = probabilities(weights, row["x"])
        loss -= math.log(max(chances[row["y"]], 1e-300))
        right += chances.index(max(chances)) == row["y"]
    return loss / len(rows), right / len(rows)


def gradient(weights, rows):
    """The slope of the mean cross-entropy, in the shape of the weights."""
    slope = [[0.0] * len(row) for row in weights]
    for row in rows:
        for kind, chance in enumerate(probabilities(weights, row["x"])):
            error = (chance - (kind == row["y"])) / len(rows)
            slope[kind][0] += error
            for feature, value in enumerate(row["x"], start=1):
                slope[kind][feature] += error * value
    return slope
