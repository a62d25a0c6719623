"""The greatest memory of the processes behind a running experiment, from /proc.

They are found by what they were started with: MIZZEN_HOME in their environment and a program of ours. The supervisor
is the one that none of the others started.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from typing import Dict, List, Optional

from . import measure
from .measure import NotMeasured
from .ours import Home


@dataclasses.dataclass
class Peaks:
    supervisor_mib: float
    supervisor_command: str
    together_mib: float
    """The supervisor's and its agents' greatest sizes, added up."""
    processes: int


@dataclasses.dataclass
class _Seen:
    parent: int
    command: str
    peak_kib: int = 0
    looks: int = 0


def watch(home: Home, timeout: float = 600) -> Peaks:
    """Waits for the newest experiment of a home to end and notes meanwhile what its processes grow to."""
    waiting = subprocess.Popen(
        [home.mizzen, "wait", "latest"],
        env=home.environment,
        cwd=home.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    seen: Dict[int, _Seen] = {}
    deadline = time.monotonic() + timeout
    try:
        while waiting.poll() is None:
            if time.monotonic() > deadline:
                raise NotMeasured(f"`mizzen wait` was not done after {timeout:g} s")
            for process in _processes(home, waiting.pid):
                _note(process, seen)
            # A sampling interval, not a wait for something: VmHWM keeps the greatest size between two looks.
            time.sleep(0.05)
        errors = waiting.stderr.read()
    finally:
        measure.end(waiting)
    if waiting.returncode != 0:
        raise NotMeasured(f"`mizzen wait` ended with {waiting.returncode}: {measure.last_line(errors)}")
    # What was there for one look only was on its way to become a job: between vfork and exec it is still our program.
    seen = {process: entry for process, entry in seen.items() if entry.looks > 1}
    roots = [it for it in seen.values() if it.parent not in seen]
    if not roots:
        raise NotMeasured("no supervisor was seen in /proc")
    supervisor = max(roots, key=lambda it: it.peak_kib)
    return Peaks(
        supervisor.peak_kib / 1024,
        supervisor.command,
        sum(it.peak_kib for it in seen.values()) / 1024,
        len(seen),
    )


def _processes(home: Home, but: int) -> List[int]:
    mark = f"MIZZEN_HOME={home.environment['MIZZEN_HOME']}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == but:
            continue
        program = _link(f"/proc/{name}/exe")
        if program and os.path.basename(program).startswith("mizzen"):
            if mark in (_read(f"/proc/{name}/environ") or b"").split(b"\0"):
                found.append(int(name))
    return found


def _note(process: int, seen: Dict[int, _Seen]) -> None:
    status = _read(f"/proc/{process}/status")
    if status is None:
        return
    fields = dict(line.split(":", 1) for line in status.decode(errors="replace").splitlines() if ":" in line)
    if "VmHWM" not in fields:  # a zombie
        return
    command = (_read(f"/proc/{process}/cmdline") or b"").replace(b"\0", b" ").decode(errors="replace").strip()
    entry = seen.setdefault(process, _Seen(int(fields["PPid"]), command))
    entry.looks += 1
    entry.peak_kib = max(entry.peak_kib, int(fields["VmHWM"].split()[0]))


def _read(path: str) -> Optional[bytes]:
    """None for a process that is gone by now."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _link(path: str) -> Optional[str]:
    try:
        return os.readlink(path)
    except OSError:
        return None
