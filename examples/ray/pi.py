"""Estimates pi by throwing points on all nodes of a Ray cluster, and says which nodes took part."""

import collections
import random

import ray

TASKS = 8
POINTS = 100_000


@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def throw(seed):
    """How many points fell into the quarter of the circle, and on which node."""
    dice = random.Random(seed)
    hits = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(POINTS))
    return hits, ray.get_runtime_context().get_node_id()


def main():
    ray.init(address="auto")
    thrown = ray.get([throw.remote(seed) for seed in range(TASKS)])
    nodes = collections.Counter(node for _, node in thrown)
    pi = 4 * sum(hits for hits, _ in thrown) / (TASKS * POINTS)
    print(f"{len(ray.nodes())} nodes, {TASKS} tasks on {len(nodes)} of them: pi is about {pi:.2f}", flush=True)


if __name__ == "__main__":
    main()
