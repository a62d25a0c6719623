"""What attempts used: processors, memory, bytes, GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["GpuUsage", "Usage"]


@dataclass(frozen=True)
class GpuUsage:
    """What a GPU did while an attempt ran, whoever else used it.

    Attributes:
        host: the machine that it is in.
        index: its number there.
        uuid: its own name.
        name: its model.
        utilization_mean: percent of the time that it was computing; ``None`` where it does not tell.
        utilization_peak: the most of a sample.
        memory_mean: bytes of its memory in use, on average.
        memory_peak: the most bytes in use.
        memory_total: the bytes that it has.
    """

    host: str
    index: int
    uuid: str
    name: str
    utilization_mean: float | None
    utilization_peak: float | None
    memory_mean: int
    memory_peak: int
    memory_total: int


@dataclass(frozen=True)
class Usage:
    """What an attempt used, in all or so far; of several nodes together.

    Attributes:
        samples: how many samples it rests on; 0 for what ended before the first one, of which less is known.
        seconds: how long it ran, or has run until the last sample.
        cpu_seconds: seconds of processor time.
        cpu_mean: processors that were busy at once, on average.
        cpu_peak: the most of them between two samples.
        memory_mean: bytes of memory on average.
        memory_peak: the most bytes of memory: of all processes together or, without samples, of the largest one.
        memory_of: ``"processes"``, where what several share counts once, or ``"cgroup"``.
        processes_peak: the most processes at once.
        read: bytes that its processes read, from caches and pipes too.
        written: bytes that they wrote, likewise.
        disk_read: bytes that were fetched from storage, as far as the file system counts them.
        disk_written: bytes that were sent to storage, likewise.
        gpus: the GPUs that it had.
    """

    samples: int
    seconds: float
    cpu_seconds: float
    cpu_mean: float
    cpu_peak: float | None
    memory_mean: int | None
    memory_peak: int
    memory_of: str | None
    processes_peak: int | None
    read: int | None
    written: int | None
    disk_read: int | None
    disk_written: int | None
    gpus: tuple[GpuUsage, ...]

    @classmethod
    def from_document(cls, document: dict[str, Any] | None) -> Usage | None:
        """From an attempt's ``usage`` of the status document."""
        if document is None:
            return None
        return cls(**{**document, "gpus": tuple(GpuUsage(**gpu) for gpu in document["gpus"])})
