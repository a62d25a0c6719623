"""TorchX's role: what a launcher transforms and what the executors' macros are applied to.

The names are those of ``torchx.specs.Role``, ``Resource`` and ``BindMount``; TorchX itself is not needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Mount", "Resource", "Role"]


@dataclass
class Resource:
    """What one replica needs; ``None`` leaves it to the place.

    Attributes:
        cpu: processors.
        gpu: accelerators.
        mem_mb: memory in MiB.
    """

    cpu: int | None = None
    gpu: int | None = None
    mem_mb: int | None = None


@dataclass
class Mount:
    """A folder bound into the container.

    Attributes:
        src_path: outside.
        dst_path: inside.
        read_only: not writable inside.
    """

    src_path: str
    dst_path: str
    read_only: bool = False


@dataclass
class Role:
    """One command and how often it is started.

    Attributes:
        name: the role's name; the job's.
        image: the container image, empty for none.
        entrypoint: the program.
        args: its arguments.
        env: variables added to its environment.
        num_replicas: how many processes (or nodes, under a launcher that starts its own).
        max_retries: how often it may be tried again after a failure of its own.
        resource: what one replica needs.
        mounts: folders bound into the container.
        port_map: names of ports and their numbers.
    """

    name: str
    image: str = ""
    entrypoint: str = ""
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    num_replicas: int = 1
    max_retries: int = 0
    resource: Resource = field(default_factory=Resource)
    mounts: list[Mount] = field(default_factory=list)
    port_map: dict[str, int] = field(default_factory=dict)
