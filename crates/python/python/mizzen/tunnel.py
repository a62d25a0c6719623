"""How commands and files reach the machine where jobs are submitted."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from mizzen.config import ConfigurableMixin
from mizzen.errors import ConfigError

__all__ = ["LocalTunnel", "SSHTunnel", "Tunnel", "tunnel_from"]


@dataclass(kw_only=True)
class Tunnel(ConfigurableMixin):
    """Where commands are run that submit jobs. A value: it holds no connection and changes by nothing that is done with it.

    Attributes:
        job_dir: the folder for jobs' files there; ``""`` for none.
        host: the machine.
        user: the user there; ``""`` for the one that ``~/.ssh/config`` or the system says.
    """

    #: The kind's name in experiment documents.
    kind: ClassVar[str] = ""

    job_dir: str
    host: str
    user: str

    @property
    def key(self) -> str:
        """``user@host``."""
        return f"{self.user}@{self.host}"

    def to_settings(self) -> dict[str, Any]:
        """The tunnel as an experiment document has it, without what is not set.

        Raises:
            ConfigError: experiment documents know no such kind of tunnel.
        """
        if self.kind not in _KINDS:
            raise ConfigError(
                f"{type(self).__qualname__} is no kind of tunnel; there are: {', '.join(_KINDS)}\n"
                "hint: use LocalTunnel or SSHTunnel",
                path=".tunnel",
            )
        settings: dict[str, Any] = {"kind": self.kind}
        for name in _settings_of(_KINDS[self.kind]):
            value = getattr(self, name)
            if value is not None and value != "":
                settings[name] = value
        return settings


@dataclass(kw_only=True)
class LocalTunnel(Tunnel):
    """This machine: a login node of the cluster, say.

    Attributes:
        job_dir: the folder for jobs' files, which the nodes must see; ``""``: they stay in the experiment's folder.
    """

    kind: ClassVar[str] = "local"

    job_dir: str = ""
    host: str = field(init=False, default="localhost")
    user: str = field(init=False, default="")


@dataclass(kw_only=True)
class SSHTunnel(Tunnel):
    """Another machine, by the system's ``ssh``: your own ``~/.ssh/config``, agent, jump hosts and known hosts hold.

    ``mizzen tunnel open`` logs in once, also with a password and a one-time code; everything else uses that connection.

    Attributes:
        host: a name of ``~/.ssh/config`` or of the network, or an address.
        user: the user there; ``""`` for what ``~/.ssh/config`` says.
        job_dir: the folder for jobs' files there, which the nodes must see.
        port: the port; ``None`` for what ``~/.ssh/config`` says.
        identity: the file of a private key.
        shell: the shell that runs ``pre_command`` and then the commands, such as ``"bash -l"``; ``sh`` if ``None``.
        pre_command: shell text that runs before the commands, such as ``"module load slurm"``.
        ssh_config: another file than ``~/.ssh/config``.
    """

    kind: ClassVar[str] = "ssh"

    host: str
    user: str = ""
    job_dir: str = ""
    port: int | None = None
    identity: str | None = None
    shell: str | None = None
    pre_command: str | None = None
    ssh_config: str | None = None


_KINDS: dict[str, type[Tunnel]] = {"local": LocalTunnel, "ssh": SSHTunnel}


def tunnel_from(settings: dict[str, Any]) -> Tunnel:
    """The tunnel that an experiment document means.

    Args:
        settings: its kind and its settings; what is left out has its default.

    Raises:
        ConfigError: there is no such kind, no such setting, or one is missing.
    """
    given = dict(settings)
    kind = given.pop("kind", None)
    if kind not in _KINDS:
        raise ConfigError(f"there is no kind of tunnel `{kind}`; there are: {', '.join(_KINDS)}", path=".tunnel.kind")
    found = _KINDS[kind]
    known = _settings_of(found)
    for name in given:
        if name not in known:
            from mizzen.executor.base import similar

            raise ConfigError(f"a {kind} tunnel has no setting `{name}`{similar(name, known)}", path=f".tunnel.{name}")
    if found is SSHTunnel and not given.get("host"):
        raise ConfigError("an ssh tunnel needs a `host`", path=".tunnel.host")
    return found(**{name: value for name, value in given.items() if value is not None})


def _settings_of(kind: type[Tunnel]) -> tuple[str, ...]:
    """The fields that an experiment document has. A subclass' own fields are not among them."""
    return tuple(one.name for one in fields(kind) if one.init)
