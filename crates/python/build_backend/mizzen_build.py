"""The build backend of the Python package: maturin's, after the executables were built.

The wheel carries the real ``mizzen`` and ``mizzen-agent``, not Python wrappers, so they are built with cargo first and put
where maturin takes a wheel's scripts from (``[tool.maturin] data``). maturin looks for that folder when it makes the
metadata already, so it has to be there by then.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import maturin

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ROOT / "crates" / "python" / "data" / "scripts"


def _executables():
    """Builds both and returns their paths. The agent is built by the command line's build script, which embeds it."""
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "--package", "mizzen", "--bin", "mizzen"]
    command += ["--message-format", "json-render-diagnostics"]
    if (ROOT / "Cargo.lock").is_file():
        command.append("--locked")
    try:
        built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    except FileNotFoundError:
        sys.exit("error: Rust is missing: there is no cargo\nhint: https://rustup.rs installs it")
    if built.returncode != 0:
        sys.exit(f"error: the executables could not be built (cargo ended with status {built.returncode})")
    found = {}
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "build-script-executed":
            for name, value in message["env"]:
                if name == "MIZZEN_AGENT_EXECUTABLE":
                    found["mizzen-agent"] = value
        elif message["reason"] == "compiler-artifact" and message.get("executable"):
            found[message["target"]["name"]] = message["executable"]
    missing = {"mizzen", "mizzen-agent"} - set(found)
    if missing:
        sys.exit(f"error: cargo built no {' and no '.join(sorted(missing))}")
    return found


def _put_executables():
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    for name, path in _executables().items():
        # A new file, not new bytes in the old one: that one may be running from an editable install.
        fresh = SCRIPTS / f".{name}"
        shutil.copy2(path, fresh)
        fresh.replace(SCRIPTS / name)


def _metadata(hook, *arguments):
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return hook(*arguments)


def get_requires_for_build_wheel(config_settings=None):
    return maturin.get_requires_for_build_wheel(config_settings)


get_requires_for_build_editable = get_requires_for_build_wheel
get_requires_for_build_sdist = get_requires_for_build_wheel


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    return _metadata(maturin.prepare_metadata_for_build_wheel, metadata_directory, config_settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    _put_executables()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    _put_executables()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def build_sdist(sdist_directory, config_settings=None):
    return _metadata(maturin.build_sdist, sdist_directory, config_settings)
