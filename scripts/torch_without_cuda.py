"""Puts one library without content in the place of the CUDA libraries that PyTorch names and this environment lacks.

PyTorch's wheel for Linux can't be imported without some three gigabytes of them, though nothing on a CPU calls them: the loader
wants each file and each symbol. The symbols are those that ldd misses; whoever calls one gets 0. torch.cuda stays unavailable.
"""

import collections
import pathlib
import re
import subprocess
import sysconfig

packages = pathlib.Path(sysconfig.get_paths()["purelib"])
library = packages / "torch" / "lib" / "libtorch_python.so"
(beside,) = (packages / "nvidia").glob("*/lib/libcudart.so.*")
folder = beside.parent


def ldd(*options):
    return subprocess.run(["ldd", *options, str(library)], check=False, capture_output=True, text=True).stdout


def build(source, script):
    """Compiles the stand-in; its versions are those that the symbols are asked for with."""
    names = {"c": folder / "stand_in.c", "map": folder / "stand_in.map", "so": folder / "libstand_in.so"}
    names["c"].write_text(source)
    names["map"].write_text(script)
    command = ["cc", "-shared", "-fPIC", "-w", "-o", str(names["so"]), str(names["c"])]
    subprocess.run(command + ([f"-Wl,--version-script={names['map']}"] if script else []), check=True)
    return names["so"]


build("", "")
for name in sorted(set(re.findall(r"^\s*(\S+) => not found", ldd(), re.M))):
    (folder / name).symlink_to("libstand_in.so")
missing = collections.defaultdict(set)
for name, version in re.findall(r"undefined symbol: ([A-Za-z]\w*)(?:, version (\S+))?\s+\(", ldd("-r")):
    if not name.startswith("Py"):
        missing[version or "UNVERSIONED"].add(name)
symbols = sorted(set().union(*missing.values()))
build(
    "\n".join(f"long {name}(void) {{ return 0; }}" for name in symbols),
    "\n".join(f"{version} {{ global: {'; '.join(sorted(names))}; }};" for version, names in sorted(missing.items())),
)
