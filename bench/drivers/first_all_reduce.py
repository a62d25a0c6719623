"""A rank of a world: meets the others, adds one number over gloo, and writes when that was done.

first_all_reduce.py FOLDER [stay]: the file FOLDER/rank-R appears as a whole, with nanoseconds since boot, this process's id and
its Slurm job. With `stay` it then waits to be ended, as a rank does that computes.
"""

import os
import signal
import sys
import time

import torch
import torch.distributed as dist


def main():
    folder, stay = sys.argv[1], "stay" in sys.argv[2:]
    dist.init_process_group("gloo")
    number = torch.ones(1)
    dist.all_reduce(number)
    done = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    if number.item() != dist.get_world_size():
        sys.exit(f"{dist.get_world_size()} ranks came to {number.item()}")
    path = os.path.join(folder, f"rank-{dist.get_rank()}")
    with open(path + ".part", "w", encoding="utf-8") as file:
        file.write(f"{done} {os.getpid()} {os.environ.get('SLURM_JOB_ID', '-')}")
    os.replace(path + ".part", path)
    while stay:
        signal.pause()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
