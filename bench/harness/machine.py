"""Which machine the figures are from."""

from __future__ import annotations

import os
import platform
from typing import Any, Dict


def describe(work_folder: str) -> Dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "work_filesystem": _filesystem(work_folder),
    }


def line(machine: Dict[str, Any]) -> str:
    return (
        f"{machine['cores']} × {machine['cpu']}, {machine['memory_gib']:g} GiB, Linux {machine['kernel']}, "
        f"Python {machine['python']}, homes on {machine['work_filesystem']}"
    )


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for entry in file:
            key, _, value = entry.partition(":")
            if key.strip() in ("model name", "Model", "Hardware"):
                return value.strip()
    return platform.machine()


def _filesystem(folder: str) -> str:
    """The type of the file system that holds a folder: the store's fsync costs what this one asks for."""
    folder = os.path.realpath(folder)
    best, kind = "", "?"
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as file:
        for entry in file:
            _, place, found, *_ = entry.split()
            inside = folder == place or folder.startswith(place.rstrip("/") + "/")
            if inside and len(place) >= len(best):
                best, kind = place, found
    return kind
