"""What NeMo-Run has and Mizzen does not have yet: it can be imported, and says so when it is used."""

from __future__ import annotations

from mizzen.compat import UnsupportedError

__all__ = ["MISSING", "placeholder"]

_PLACES = "jobs run on this machine (`LocalExecutor`), in containers (`DockerExecutor`) and under Slurm (`SlurmExecutor`) so far; other places come one by one"
_TUNNELS = "nothing is to be packed for a tunnel: files travel over the connection by themselves"
_RAY = "there are no Ray clusters yet"

#: For each name: what to use, or why there is nothing to use.
MISSING: dict[str, str] = {
    "DGXCloudExecutor": _PLACES,
    "KubeRayExecutor": _RAY,
    "KubeRayWorkerGroup": _RAY,
    "KubeflowExecutor": _PLACES,
    "LeptonExecutor": _PLACES,
    "PackagingJob": _TUNNELS,
    "RayCluster": _RAY,
    "RayJob": _RAY,
    "SkypilotExecutor": _PLACES,
    "SkypilotJobsExecutor": _PLACES,
}


def placeholder(module: str, name: str, advice: str) -> type:
    """A class in the place of one that is not there yet.

    It can be named in annotations, in ``isinstance`` and as a base class; making one of it raises.

    Args:
        module: NeMo-Run's module.
        name: the class's name.
        advice: what to use instead.

    Returns:
        The class.
    """

    def refuse(cls: type, *arguments: object, **fields: object) -> object:
        raise UnsupportedError(f"Mizzen has no `{name}` yet\nhint: {advice}")

    return type(name, (), {"__module__": module, "__doc__": f"Not in Mizzen yet: {advice}.", "__new__": refuse})
