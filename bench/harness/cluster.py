"""A real Slurm of the bench's own (scripts/slurm.sh) and a login node that is reached by ssh as `box`."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from typing import Dict, Iterator, List, Optional

from . import measure, ours
from .measure import NotMeasured


class Cluster:
    def __init__(self, repository: str, work: str):
        if os.geteuid() != 0:
            raise NotMeasured("Slurm's nodes need root")
        # Short: sockets stand in both.
        self.folder = tempfile.mkdtemp(prefix="mzb-")
        self.login = tempfile.mkdtemp(prefix="mzl-")
        os.chmod(self.folder, 0o755)
        self.work = work
        self._sshd: Optional["subprocess.Popen[bytes]"] = None
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
        program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program is None:
            raise NotMeasured("there is no sshd")
        os.makedirs("/run/sshd", exist_ok=True)
        file = lambda name: os.path.join(self.login, name)  # noqa: E731
        for name in ("host_key", "key"):
            measure.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(name)])
        shutil.copy(file("key.pub"), file("authorized_keys"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with open(file("sshd_config"), "w", encoding="utf-8") as config:
            config.write(
                # The account's own login files take what they take, in each session of whoever comes by ssh; here bash is told
                # that it is no first shell and leaves them out.
                f'SetEnv "SHLVL=1" "SLURM_CONF={self.environment["SLURM_CONF"]}" "PATH={os.environ["PATH"]}"\n'
                f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {file('host_key')}\n"
                f"AuthorizedKeysFile {file('authorized_keys')}\nPidFile none\nStrictModes no\nUsePAM no\n"
                "PasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\nMaxSessions 500\nUseDNS no\nSubsystem sftp internal-sftp\n"
            )
        with open(file("host_key.pub"), encoding="utf-8") as key, open(file("known_hosts"), "w", encoding="utf-8") as known:
            known.write(f"[127.0.0.1]:{self.port} {key.read()}")
        with open(file("ssh_config"), "w", encoding="utf-8") as config:
            config.write(
                f"Host box\n  HostName 127.0.0.1\n  Port {self.port}\n  User root\n  IdentityFile {file('key')}\n"
                f"  IdentitiesOnly yes\n  UserKnownHostsFile {file('known_hosts')}\n  StrictHostKeyChecking yes\n"
            )
        self._sshd = subprocess.Popen(
            [program, "-D", "-e", "-f", file("sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until(lambda: subprocess.run([*self.ssh(), "true"], capture_output=True).returncode == 0, "sshd answers")

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
        return ["ssh", "-F", os.path.join(self.login, "ssh_config"), "-o", "BatchMode=yes", "box"]

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
            measure.end(self._sshd)
        self._script.stdin.close()
        self._script.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.login, ignore_errors=True)


def until(condition, what: str, limit: float = 60, pause: float = 0.05) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise NotMeasured(f"not within {limit:g} s: {what}")
        time.sleep(pause)


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
