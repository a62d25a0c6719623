"""The peers: each in a virtual environment of its own, driven by a program of ours that runs inside it.

```text
run.py ── {"op": "jobs", "count": 100} ──▶ drivers/<peer>.py      one JSON object a line
       ◀── {"seconds": 2.3} ────────────
```

A driver lives through all rounds, so that a peer's imports and the start of its servers are not in its figures (ours
are measured whole, from the start of the client to its end). To add a peer: one line in PEERS, one driver.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import hashlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from typing import Any, Dict, Iterator, List, Optional

from . import measure
from .measure import NotMeasured

DRIVERS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "drivers")


@dataclasses.dataclass
class Peer:
    name: str
    requirements: List[str]
    driver: str


HYPERQUEUE = Peer("HyperQueue", ["hyperqueue"], "hyperqueue_driver.py")
# A newer leptonai has no `leptonai.api.v1`, without which nemo_run can't be imported.
NEMO_RUN = Peer("NeMo-Run", ["nemo-run", "leptonai<0.30"], "nemo_run_driver.py")
# These two are only imported.
SUBMITIT = Peer("submitit", ["submitit"], "")
TORCHX = Peer("TorchX", ["torchx"], "")
PEERS = [HYPERQUEUE, NEMO_RUN, SUBMITIT, TORCHX]


class Environments:
    """Makes each peer's virtual environment once, under the cache folder, the first time it is asked for."""

    def __init__(self, cache: str, wanted: bool):
        self.cache = cache
        self.wanted = wanted
        self._problems: Dict[str, str] = {}
        self.versions: Dict[str, str] = {}
        """Of the peers that were asked for so far."""

    def folder(self, peer: Peer) -> str:
        """The peer's environment, complete; raises NotMeasured where it can't be had."""
        if not self.wanted:
            raise NotMeasured("left out: --no-peers")
        if peer.name in self._problems:
            raise NotMeasured(self._problems[peer.name])
        key = hashlib.sha256(repr((peer.requirements, sys.version_info[:2])).encode()).hexdigest()[:8]
        folder = os.path.join(self.cache, f"{peer.name.lower()}-{key}")
        complete = os.path.join(folder, "complete")
        if os.path.exists(complete):
            self.versions[peer.name] = _installed_version(folder, peer)
            return folder
        print(f"installing {peer.name} into {folder}", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            measure.run([sys.executable, "-m", "venv", folder], timeout=300)
            pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
            measure.run([*pip, "install", *peer.requirements], timeout=1800)
        except NotMeasured as error:
            self._problems[peer.name] = f"can't be installed: {error}"
            raise NotMeasured(self._problems[peer.name]) from error
        with open(complete, "w", encoding="utf-8"):
            pass
        self.versions[peer.name] = _installed_version(folder, peer)
        return folder

    def program(self, peer: Peer, name: str) -> str:
        return os.path.join(self.folder(peer), "bin", name)

    def framework(self, name: str, repository: str) -> str:
        """The environment with PyTorch or Ray that the tests use too (scripts/frameworks.sh); raises NotMeasured."""
        script = os.path.join(repository, "scripts", "frameworks.sh")
        command = [script, "install" if self.wanted else "where", name]
        folder = measure.run(command, timeout=1800).output.strip()
        self.versions[name] = _installed_version(folder, Peer(name, [name], ""))
        return folder

    @contextlib.contextmanager
    def driver(self, peer: Peer, work: str) -> Iterator["Driver"]:
        driver = Driver(self, peer, work)
        try:
            yield driver
        finally:
            driver.close()


def _installed_version(folder: str, peer: Peer) -> str:
    package = peer.requirements[0].replace("-", "_")
    (metadata,) = glob.glob(os.path.join(folder, "lib", "python*", "site-packages", f"{package}-*.dist-info"))
    return os.path.basename(metadata)[len(package) + 1 : -len(".dist-info")]


class Driver:
    """A peer's driver, started when it is first asked, and again after it failed."""

    def __init__(self, environments: Environments, peer: Peer, work: str):
        self._environments = environments
        self.peer = peer
        self.folder = tempfile.mkdtemp(prefix=f"{peer.name.lower()}-", dir=work)
        self._process: Optional["subprocess.Popen[str]"] = None
        self._answers: "queue.Queue[str]" = queue.Queue()

    def command(self) -> List[str]:
        return [self._environments.program(self.peer, "python"), os.path.join(DRIVERS, self.peer.driver), self.folder]

    def ask(self, timeout: float = 300, **question: Any) -> Dict[str, Any]:
        if self._process is None:
            self._start()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended; its last words are read next
        answer = self._answer(timeout)
        if "error" in answer:
            raise NotMeasured(answer["error"])
        return answer

    def _start(self) -> None:
        self._log = open(os.path.join(self.folder, "driver.log"), "ab")
        self._process = subprocess.Popen(
            self.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self.folder,
            env={**os.environ, "TMPDIR": self.folder},
            text=True,
            start_new_session=True,
        )
        self._answers = queue.Queue()
        threading.Thread(target=_pass_on, args=(self._process.stdout, self._answers), daemon=True).start()
        self._answer(120)  # it is ready

    def _answer(self, timeout: float) -> Dict[str, Any]:
        try:
            line = self._answers.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise NotMeasured(f"{self.peer.name} did not answer within {timeout:g} s") from None
        if not line:
            self.close()
            with open(os.path.join(self.folder, "driver.log"), "rb") as file:
                raise NotMeasured(f"{self.peer.name}'s driver ended: {measure.last_line(file.read())}")
        return json.loads(line)

    def close(self) -> None:
        if self._process is not None:
            measure.end(self._process)
            self._log.close()
            self._process = None


def _pass_on(lines, answers: "queue.Queue[str]") -> None:
    for line in lines:
        answers.put(line)
    answers.put("")
