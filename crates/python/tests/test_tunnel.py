"""Tunnels as values, and as documents have them."""

from __future__ import annotations

import mizzen as run
import pytest
from mizzen.tunnel import Tunnel, tunnel_from


def test_they_are_made_as_nemo_runs_are() -> None:
    tunnel = run.SSHTunnel(host="login", user="ada", job_dir="/scratch/ada", port=2222, identity="~/.ssh/id")
    assert (tunnel.key, tunnel.shell, tunnel.pre_command) == ("ada@login", None, None)
    assert isinstance(tunnel, Tunnel)
    local = run.LocalTunnel(job_dir="/shared/jobs")
    assert (local.host, local.user, local.job_dir) == ("localhost", "", "/shared/jobs")
    # NeMo-Run's documentation has it without arguments.
    assert run.LocalTunnel().job_dir == ""
    for wrong in (lambda: run.SSHTunnel("login"), lambda: run.LocalTunnel(host="other"), lambda: run.SSHTunnel(user="ada")):
        with pytest.raises(TypeError):
            wrong()


def test_there_and_back() -> None:
    tunnel = run.SSHTunnel(host="login", user="ada", job_dir="/scratch/ada", pre_command="module load slurm", shell="bash -l")
    settings = tunnel.to_settings()
    assert settings == {
        "kind": "ssh",
        "host": "login",
        "user": "ada",
        "job_dir": "/scratch/ada",
        "pre_command": "module load slurm",
        "shell": "bash -l",
    }
    assert tunnel_from(settings) == tunnel
    assert run.LocalTunnel().to_settings() == {"kind": "local"}
    assert tunnel_from({"kind": "local", "job_dir": "/shared"}) == run.LocalTunnel(job_dir="/shared")
    assert tunnel.to_config().clone() == tunnel.to_config()


def test_a_subclass_is_its_kind() -> None:
    class Mine(run.SSHTunnel):
        pass

    assert Mine(host="login").to_settings() == {"kind": "ssh", "host": "login"}

    class Other(Tunnel):
        pass

    with pytest.raises(run.ConfigError, match="Other is no kind of tunnel"):
        Other(host="login", user="ada", job_dir="").to_settings()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kind": "smoke"}, "no kind of tunnel `smoke`"),
        ({}, "no kind of tunnel"),
        ({"kind": "ssh", "host": "login", "prot": 22}, "no setting `prot`; did you mean `port`"),
        ({"kind": "ssh"}, "needs a `host`"),
        ({"kind": "local", "host": "x"}, "no setting `host`"),
    ],
)
def test_mistakes_are_said(settings: dict[str, object], words: str) -> None:
    with pytest.raises(run.ConfigError, match=words):
        tunnel_from(settings)
