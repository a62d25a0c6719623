"""A real Docker engine of the bench's own (scripts/docker.sh)."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile

from . import measure
from .measure import NotMeasured

IMAGE = "mizzen-test/busybox"


class Engine:
    def __init__(self, repository: str):
        if os.geteuid() != 0:
            raise NotMeasured("an engine of one's own needs root")
        # Short: sockets stand in it.
        self.folder = tempfile.mkdtemp(prefix="mzd-")
        # It goes down when this program ends, however it ends: the script holds the other end of the pipe.
        self._script = subprocess.Popen(
            [os.path.join(repository, "scripts", "docker.sh"), "up", self.folder, "--hold"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        line = self._script.stdout.readline().decode()
        host = re.search(r"DOCKER_HOST='([^']*)'", line)
        if host is None:
            words = self._script.stderr.read()
            self.close()
            raise NotMeasured(f"there is no engine: {measure.last_line(words)}")
        self.host = host.group(1)

    def close(self) -> None:
        self._script.stdin.close()
        self._script.wait()
