"""Trains a small network on two spirals with DistributedDataParallel over gloo, and resumes from its checkpoint.

Whatever sets the variables of `env://` can start it: mizzen's `ranks`, torchrun, or you (README.md).
"""

import argparse
import math
import os
import signal

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

POINTS = 512
BATCH = 64


def spirals(seed):
    """Points of two interleaved spirals, and which of the two each belongs to."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.rand(POINTS, generator=generator).sqrt() * 1.5 * 2 * math.pi
    which = torch.arange(POINTS) % 2
    angle = turn + math.pi * which
    points = torch.stack([angle.cos(), angle.sin()], dim=1) * turn[:, None] / 5
    return points + 0.05 * torch.randn(POINTS, 2, generator=generator), which.float()


def save(path, epoch, model, optimizer):
    """Whole or not at all: who is killed while writing leaves the checkpoint before."""
    beside = f"{path}.{os.getpid()}"
    torch.save({"epoch": epoch, "model": model.state_dict(), "optimizer": optimizer.state_dict()}, beside)
    os.replace(beside, path)


def load(path, model, optimizer):
    """The first epoch that is still to do."""
    if not os.path.exists(path):
        return 0
    kept = torch.load(path, weights_only=True)
    model.load_state_dict(kept["model"])
    optimizer.load_state_dict(kept["optimizer"])
    return kept["epoch"] + 1


def train(arguments, rank, world):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(network.parameters(), lr=arguments.lr)
    path = os.path.join(os.environ.get("MIZZEN_JOB_DIR", "."), "checkpoint.pt")
    first = load(path, network, optimizer)
    model = DistributedDataParallel(network)
    loss_of = nn.BCEWithLogitsLoss()
    points, which = spirals(seed=1)
    unseen, truth = spirals(seed=2)
    print(f"rank {rank} of {world}: from epoch {first}", flush=True)

    for epoch in range(first, arguments.epochs):
        if epoch == arguments.dies_at and first == 0 and rank == world - 1:
            # As the kernel does it to a process that takes too much memory. Who resumes does not come here.
            os.kill(os.getpid(), signal.SIGKILL)
        order = torch.randperm(POINTS, generator=torch.Generator().manual_seed(epoch))
        for batch in order.split(BATCH):
            mine = batch[rank::world]
            optimizer.zero_grad()
            loss = loss_of(model(points[mine])[:, 0], which[mine])
            loss.backward()  # the gradients of all ranks meet here
            optimizer.step()
        if rank == 0:
            save(path, epoch, network, optimizer)
        dist.barrier()  # nobody goes on before the checkpoint is there
        if rank == 0 and (epoch + 1) % 5 == 0:
            with torch.no_grad():
                right = ((network(unseen)[:, 0] > 0) == (truth > 0.5)).float().mean()
            print(f"epoch {epoch + 1}: loss {loss:.3f}, accuracy {right:.3f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--lr", type=float, default=0.02)
    parser.add_argument("--dies-at", type=int, help="the epoch at which the last rank is killed, once")
    arguments = parser.parse_args()
    dist.init_process_group("gloo")  # RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT
    try:
        train(arguments, dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
