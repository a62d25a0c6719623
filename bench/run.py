"""Measures mizzen beside its peers and its limits, in one run, and prints what came out as Markdown.

    python3 bench/run.py                        everything (some six minutes)
    python3 bench/run.py --quick                smaller and fewer: does it all work?
    python3 bench/run.py --only start chain     some sections
    python3 bench/run.py --json figures.json    every figure, for programs

Exit status: 0 when all of ours was measured, 1 when something of ours could not be. A missed budget or an absent peer
stands in the report and is not an error.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time

from harness import machine, ours, peers, report
from harness.bench import Bench
from harness.sections import SECTIONS

REPOSITORY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def parse_arguments() -> argparse.Namespace:
    cache = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "mizzen-bench")
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=SECTIONS, help=f"of: {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer")
    parser.add_argument("--json", metavar="FILE", help="also write every figure to FILE")
    parser.add_argument("--no-build", action="store_true", help="take the programs as they are")
    parser.add_argument("--no-peers", action="store_true", help="leave the peers out")
    parser.add_argument("--bin-dir", metavar="DIR", help="where our programs are; implies --no-build")
    parser.add_argument("--agent", metavar="FILE", help="the static agent (default: as --profile agent builds it)")
    parser.add_argument("--cache", metavar="DIR", default=cache, help="the peers' environments (default: %(default)s)")
    parser.add_argument("--work", metavar="DIR", help="where homes are made (default: the system's temporary folder)")
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    programs = ours.locate(REPOSITORY)
    programs.folder = os.path.abspath(arguments.bin_dir or programs.folder)
    programs.agent = os.path.abspath(arguments.agent or programs.agent)
    if not arguments.no_build and not arguments.bin_dir:
        ours.build(REPOSITORY, programs)

    work = tempfile.mkdtemp(prefix="mizzen-bench-", dir=arguments.work)
    try:
        bench = Bench(arguments.quick, work, programs, peers.Environments(arguments.cache, not arguments.no_peers))
        return measure_all(bench, arguments)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def measure_all(bench: Bench, arguments: argparse.Namespace) -> int:
    described = machine.describe(bench.work)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    load_before = os.getloadavg()[0]
    print(f"# mizzen beside peers and limits\n\n{machine.line(described)}. {started}.")
    if bench.quick:
        print("**Quick run**: small sizes and few rounds; no figures to quote.")
    print(flush=True)

    sections = []
    for name in [name for name in SECTIONS if not arguments.only or name in arguments.only]:
        bench.say(f"measuring: {name}")
        sections.append(SECTIONS[name].measured(bench))
        print(report.markdown(sections[-1]), flush=True)

    versions = [f"{peer} {version}" for peer, version in bench.environments.versions.items()]
    print(f"Peers: {', '.join(versions) or 'none measured'}.")
    print(f"Load before the run: {load_before:.2f} (it should be near 0).")
    if arguments.json:
        document = {
            "version": 1,
            "started": started,
            "quick": bench.quick,
            "machine": {**described, "load_before": load_before},
            "peers": bench.environments.versions,
            "sections": [report.as_json(section) for section in sections],
        }
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)
            file.write("\n")
    missing = [check.what for section in sections for check in section.checks if check.value is None]
    if missing:
        bench.say(f"error: not measured: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
