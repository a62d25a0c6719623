"""A real Slurm of the bench's own (scripts/slurm.sh) and a login node that is reached by ssh as `box`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from typing import Dict, Iterator, List, Optional

from . import measure, ours
from .measure import NotMeasured
from .sshd import Sshd, until


class Cluster:
    def __init__(self, repository: str, work: str):
        if os.geteuid() != 0:
            raise NotMeasured("Slurm's nodes need root")
        # Short: sockets stand in both.
        self.folder = tempfile.mkdtemp(prefix="mzb-")
        self.login = tempfile.mkdtemp(prefix="mzl-")
        os.chmod(self.folder, 0o755)
        self.work = work
        self._sshd: Optional[Sshd] = None
        self.jobs = os.path.join(self.login, "jobs")
        os.mkdir(self.jobs)
        # Everything goes down when this program ends, however it ends: the script holds the other end of the pipe.
        self._script = subprocess.Popen(
            [os.path.join(repository, "scripts", "slurm.sh"), "up", self.folder, "--hold"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        line = self._script.stdout.readline()
        if b"SLURM_CONF=" not in line:
            words = self._script.stderr.read()
            self.close()
            raise NotMeasured(f"there is no Slurm: {measure.last_line(words)}")
        self.environment = {**os.environ, "SLURM_CONF": os.path.join(self.folder, "slurm.conf")}
        try:
            self._start_sshd()
        except BaseException:
            self.close()
            raise

    def _start_sshd(self) -> None:
        # The account's own login files take what they take, in each session of whoever comes by ssh; here bash is told that it
        # is no first shell and leaves them out.
        settings = f'SetEnv "SHLVL=1" "SLURM_CONF={self.environment["SLURM_CONF"]}" "PATH={os.environ["PATH"]}"\n'
        self._sshd = Sshd(self.login, settings)
        self.port = self._sshd.port

    def known_ssh(self) -> str:
        """A folder for PATH in which `ssh` knows the login node's key, for programs that can't be told of it."""
        folder = os.path.join(self.login, "bin")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "ssh")
        known = os.path.join(self.login, "known_hosts")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f'#!/bin/sh\nexec {shutil.which("ssh")} -o UserKnownHostsFile={known} "$@"\n')
        os.chmod(path, 0o755)
        return folder

    def ssh(self) -> List[str]:
        return self._sshd.ssh()

    def run(self, *argv: str) -> str:
        """A command on the login node, without ssh."""
        return measure.run(argv, self.environment, self.login).output

    def executor(self, settings: str = "") -> str:
        """mizzen's executor `cluster`, over ssh."""
        config = os.path.join(self.login, "ssh_config")
        return (
            '[executors.cluster]\nkind = "slurm"\n'
            f'tunnel = {{ kind = "ssh", host = "box", job_dir = "{self.jobs}", ssh_config = "{config}" }}\n{settings}\n'
        )

    def queued(self) -> int:
        lines = self.run("squeue", "--noheader", "--array", "--states=pending,running", "--Format=JobID").splitlines()
        return len([line for line in lines if line.strip()])

    def empty(self) -> None:
        """Takes everything out of the queue, and waits until it is out."""
        self.run("scancel", "--user=root")
        until(lambda: not self.run("squeue", "--noheader").strip(), "the queue is empty")

    def requests(self) -> Dict[str, int]:
        """How often the controller was asked what, since the last reset."""
        text = self.run("sdiag").split("Remote Procedure Call statistics by message type", 1)[1]
        text = text.split("\n\n", 1)[0]
        return {name: int(count) for name, count in re.findall(r"^\s*(\S+)\s+\(\s*\d+\)\s+count:(\d+)", text, re.M)}

    def close(self) -> None:
        if self._sshd is not None:
            self._sshd.close()
        self._script.stdin.close()
        self._script.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.login, ignore_errors=True)


@contextlib.contextmanager
def laptop(bench, cluster: Cluster, settings: str = "") -> Iterator[ours.Home]:
    """A home that reaches the cluster by ssh; its connections go with it."""
    with ours.new_home(bench.mizzen(), bench.work) as home:
        with open(os.path.join(home.folder, "mizzen.toml"), "w", encoding="utf-8") as file:
            file.write(cluster.executor(settings))
        try:
            yield home
        finally:
            with contextlib.suppress(NotMeasured):
                home.run("cancel", "latest", "--kill", timeout=120)
            with contextlib.suppress(NotMeasured):
                home.run("tunnel", "close", "--all", timeout=60)
