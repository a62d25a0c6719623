"""One file a section, each with `measured(bench)`, which answers with a `report.Section`; in the report's order."""

from . import agent, chain, containers, graph, jobs, launchers, listing, logs, memory, packing, python, samples, slurm, start

SECTIONS = {
    "start": start,
    "listing": listing,
    "jobs": jobs,
    "chain": chain,
    "graph": graph,
    "memory": memory,
    "logs": logs,
    "packing": packing,
    "agent": agent,
    "samples": samples,
    "python": python,
    "slurm": slurm,
    "launchers": launchers,
    "containers": containers,
}
