"""Building mizzen, and running it in homes of its own."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import subprocess
import sys
import tempfile
from typing import Dict, List, Optional

from . import measure
from .measure import NotMeasured

AGENT_FLAGS = "-C target-feature=+crt-static"


@dataclasses.dataclass
class Programs:
    """Where our programs are. After a failed build those of an earlier one are not measured instead."""

    folder: str
    agent: str
    repository: str
    release_problem: Optional[str] = None
    agent_problem: Optional[str] = None

    def path(self, name: str) -> str:
        return _existing(os.path.join(self.folder, name), self.release_problem)

    def agent_path(self) -> str:
        return _existing(self.agent, self.agent_problem)


def _existing(path: str, problem: Optional[str]) -> str:
    if problem is not None:
        raise NotMeasured(f"the build failed: {problem}")
    if not os.access(path, os.X_OK):
        raise NotMeasured(f"there is no {path}")
    return path


def locate(repository: str) -> Programs:
    """Where cargo puts what `build` builds."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(repository, "target"))
    return Programs(os.path.join(target, "release"), os.path.join(target, _host_triple(), "agent", "mizzen-agent"), repository)


def build(repository: str, programs: Programs) -> None:
    """Builds what the sections run, the agent also as it is shipped: small and static."""
    release = ["cargo", "build", "--release", "-p", "mizzen", "-p", "mizzen-agent", "-p", "mizzen-bench"]
    programs.release_problem = _problem(release, repository, {})
    agent = ["cargo", "build", "--profile", "agent", "--target", _host_triple(), "-p", "mizzen-agent"]
    programs.agent_problem = _problem(agent, repository, {"RUSTFLAGS": AGENT_FLAGS})


def _problem(command: List[str], folder: str, more: Dict[str, str]) -> Optional[str]:
    print(" ".join(command), file=sys.stderr, flush=True)
    try:
        measure.run(command, {**os.environ, **more}, folder, timeout=1800)
    except NotMeasured as error:
        return str(error)
    return None


def _host_triple() -> str:
    try:
        lines = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return f"{os.uname().machine}-unknown-linux-gnu"
    return next(entry.split()[1] for entry in lines if entry.startswith("host:"))


class Home:
    """A MIZZEN_HOME of its own, with the experiment file that is run in it."""

    def __init__(self, mizzen: str, folder: str):
        self.mizzen = mizzen
        self.folder = folder
        self.environment = environment(os.path.join(folder, "home"))
        self.file = os.path.join(folder, "experiment.toml")

    def write(self, text: str) -> None:
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(text)

    def run(self, *arguments: str, timeout: float = 600, keep_output: bool = True) -> measure.Finished:
        return measure.run([self.mizzen, *arguments], self.environment, self.folder, timeout, keep_output)

    def launch(self) -> float:
        """Seconds of `mizzen launch`, attached, its talk thrown away: from the start of the client to its end."""
        return self.run("launch", self.file, keep_output=False).seconds

    def expect_success(self, count: int) -> None:
        """A fast run in which not every job succeeded is no measurement."""
        output = self.run("status", "latest", "--json").output
        try:
            states = dict(collections.Counter(job["state"] for job in json.loads(output)["jobs"]))
        except (KeyError, TypeError, ValueError) as error:
            raise NotMeasured(f"`mizzen status --json` can't be read: {error!r}") from error
        if states != {"SUCCEEDED": count}:
            raise NotMeasured(f"expected {count} jobs to succeed, `mizzen status` says {states}")


def environment(home: str) -> Dict[str, str]:
    """This environment with another home, and nothing of the user's own mizzen."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIZZEN_")}
    return {**kept, "MIZZEN_HOME": home, "NO_COLOR": "1"}


_numbers = itertools.count(1)


@contextlib.contextmanager
def new_home(mizzen: str, work: str):
    # Left until the whole run is over: ext4 avoids inodes that were freed in the last minutes, and looks at each of them
    # whenever a file is made, so that removing one round's files would slow every later round down, whoever's it is.
    yield Home(mizzen, tempfile.mkdtemp(prefix=f"home-{next(_numbers)}-", dir=work))


TWO_SLOTS = '[executors.two]\nkind = "local"\nslots = 2\n\n'


def sweep(count: int) -> str:
    """An experiment of `true`, that many times, on two slots."""
    values = ", ".join(map(str, range(count)))
    return (
        f'title = "sweep-{count}"\n\n{TWO_SLOTS}'
        f'[[tasks]]\nname = "job"\nrun = ["true"]\nexecutor = "two"\nsweep = {{ number = [{values}] }}\n'
    )


def chain(count: int) -> str:
    """An experiment of `true`, each after the one before it."""
    tasks: List[str] = []
    for number in range(count):
        after = f'after = ["link-{number - 1}"]\n' if number else ""
        tasks.append(f'[[tasks]]\nname = "link-{number}"\nrun = ["true"]\nexecutor = "two"\n{after}')
    return f'title = "chain-{count}"\n\n{TWO_SLOTS}' + "\n".join(tasks)


class Package:
    """Our wheel in a virtual environment of its own, made the first time it is asked for. Answers as peers' environments do."""

    def __init__(self, bench) -> None:
        self._folder = os.path.join(bench.work, "package")
        self._repository = bench.programs.repository
        self._problem: Optional[str] = None

    def program(self, _peer, name: str) -> str:
        if self._problem is None and not os.path.exists(self._folder):
            print(f"installing our wheel into {self._folder}", file=sys.stderr, flush=True)
            try:
                measure.run([sys.executable, "-m", "venv", self._folder], timeout=300)
                pip = [os.path.join(self._folder, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
                measure.run([*pip, "install", self._repository], timeout=1800)
            except NotMeasured as error:
                self._problem = f"our wheel can't be installed: {error}"
        if self._problem is not None:
            raise NotMeasured(self._problem)
        return os.path.join(self._folder, "bin", name)

    @contextlib.contextmanager
    def driver(self, peer, work: str):
        from . import peers

        driver = peers.Driver(self, peer, work)
        try:
            yield driver
        finally:
            driver.close()
