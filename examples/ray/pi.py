"""Estimates pi by throwing points on all nodes of a Ray cluster, and says how many took part."""

import random

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

TASKS = 4  # on each node
POINTS = 100_000


@ray.remote(num_cpus=1)
def throw(seed):
    """How many points fell into the quarter of the circle, and on which node."""
    dice = random.Random(seed)
    hits = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(POINTS))
    return hits, ray.get_runtime_context().get_node_id()


def main():
    ray.init(address="auto", log_to_driver=False)
    places = [node["NodeID"] for node in ray.nodes() if node["Alive"]] * TASKS
    thrown = ray.get(
        [
            throw.options(scheduling_strategy=NodeAffinitySchedulingStrategy(place, soft=False)).remote(seed)
            for seed, place in enumerate(places)
        ]
    )
    nodes = {node for _, node in thrown}
    pi = 4 * sum(hits for hits, _ in thrown) / (len(thrown) * POINTS)
    print(f"{len(thrown)} tasks on {len(nodes)} nodes: pi is about {pi:.2f}", flush=True)


if __name__ == "__main__":
    main()
