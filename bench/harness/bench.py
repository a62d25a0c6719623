"""What every section is given: the options, the programs, the peers, a place to work in."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
import tempfile
from typing import Callable, Dict, List, Optional

from . import measure, memory, ours, peers
from .measure import Contestant, NotMeasured


@dataclasses.dataclass
class Bench:
    quick: bool
    work: str
    programs: ours.Programs
    environments: peers.Environments
    _stored: Optional["Stored"] = None

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def mizzen(self) -> str:
        return self.programs.path("mizzen")

    def command(
        self,
        name: str,
        argv_of: Callable[[], List[str]],
        environment: Optional[Dict[str, str]] = None,
        rounds: Optional[int] = None,
    ) -> Contestant:
        """A contestant in milliseconds: one short program from its start to its end."""

        def once() -> float:
            return measure.start_to_end(argv_of(), environment)

        return Contestant(name, once, rounds)

    def git_version(self) -> Contestant:
        return self.command("git --version", lambda: [on_path("git"), "--version"])

    def spawn_loop(self, count: int, width: int) -> float:
        """Seconds of a bare posix_spawn loop of `true`."""
        program = self.programs.path("mizzen-bench-spawn-loop")
        return float(measure.run([program, str(count), str(width), "true"]).output)

    def spawn_loop_with_files(self, count: int, width: int) -> float:
        """Seconds of the same loop when it keeps for each process the files that mizzen keeps for each job."""
        program = self.programs.path("mizzen-bench-spawn-loop")
        # Left until the whole run is over, as homes are (ours.new_home).
        folder = tempfile.mkdtemp(prefix="files-", dir=self.work)
        return float(measure.run([program, "--files", folder, str(count), str(width), "true"]).output)

    def stored(self) -> "Stored":
        """A home with one finished experiment of many jobs, made when it is first asked for, watched meanwhile."""
        if self._stored is None:
            self._stored = Stored(self, 1_000 if self.quick else 10_000)
        if self._stored.problem is not None:
            raise NotMeasured(self._stored.problem)
        return self._stored


class Stored:
    def __init__(self, bench: Bench, count: int):
        self.count = count
        self.problem: Optional[str] = None
        folder = os.path.join(bench.work, "stored")
        try:
            self.home = ours.Home(bench.mizzen(), folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(folder)
            self.home.write(ours.sweep(count))
            bench.say(f"running {count} jobs, watched")
            self.home.run("launch", self.home.file, "-d", keep_output=False)
            self.peaks = memory.watch(self.home)
            self.home.expect_success(count)
        except NotMeasured as error:
            self.problem = str(error)


def on_path(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NotMeasured(f"`{name}` is not on PATH")
    return path
