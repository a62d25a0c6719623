"""A real sshd of the bench's own on loopback, reached as `box`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from typing import List

from . import measure
from .measure import NotMeasured


class Sshd:
    def __init__(self, folder: str, settings: str = ""):
        self.folder = folder
        program = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if program is None:
            raise NotMeasured("there is no sshd")
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        for name in ("host_key", "key"):
            measure.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self._file(name)])
        shutil.copy(self._file("key.pub"), self._file("authorized_keys"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        with open(self._file("sshd_config"), "w", encoding="utf-8") as config:
            config.write(
                f"{settings}"
                f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self._file('host_key')}\n"
                f"AuthorizedKeysFile {self._file('authorized_keys')}\nPidFile none\nStrictModes no\nUsePAM no\n"
                "PasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\nMaxSessions 500\nUseDNS no\n"
                "Subsystem sftp internal-sftp\n"
            )
        with open(self._file("host_key.pub"), encoding="utf-8") as key:
            known = f"[127.0.0.1]:{self.port} {key.read()}"
        with open(self._file("known_hosts"), "w", encoding="utf-8") as file:
            file.write(known)
        with open(self.config(), "w", encoding="utf-8") as config:
            config.write(
                f"Host box\n  HostName 127.0.0.1\n  Port {self.port}\n  IdentityFile {self._file('key')}\n"
                f"  IdentitiesOnly yes\n  UserKnownHostsFile {self._file('known_hosts')}\n  StrictHostKeyChecking yes\n"
            )
        self._process = subprocess.Popen(
            [program, "-D", "-e", "-f", self._file("sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until(lambda: subprocess.run([*self.ssh(), "true"], capture_output=True).returncode == 0, "sshd answers")
        except BaseException:
            self.close()
            raise

    def _file(self, name: str) -> str:
        return os.path.join(self.folder, name)

    def config(self) -> str:
        return self._file("ssh_config")

    def ssh(self) -> List[str]:
        return ["ssh", "-F", self.config(), "-o", "BatchMode=yes", "box"]

    def close(self) -> None:
        measure.end(self._process)


def until(condition, what: str, limit: float = 60, pause: float = 0.05) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise NotMeasured(f"not within {limit:g} s: {what}")
        time.sleep(pause)
