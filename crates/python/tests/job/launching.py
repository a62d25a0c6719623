"""What launching scripts in these tests import: launches a job the way an experiment does, without one."""

import json
import os
import subprocess
import sys

import mizzen.job.runner
from mizzen.job.source import capture


def write(partial, folder, *, local=True):
    """Puts a job's files into ``folder``; returns its command without the interpreter."""
    captured = capture(partial, local=local, name="job")
    os.makedirs(os.path.join(folder, "files"), exist_ok=True)
    with open(mizzen.job.runner.__file__) as file:
        files = {"mizzen_runner.py": file.read(), **captured.files}
    for name, text in files.items():
        with open(os.path.join(folder, "files", name), "w", encoding="utf-8", newline="") as file:
            file.write(text)
    document = os.path.join(folder, "job.json")
    with open(document, "w") as file:
        json.dump(captured.document, file)
    return [os.path.join(folder, "files", "mizzen_runner.py"), document]


def launch(partial, *, python=None, environment=None, local=True):
    """Runs a job to its end and prints, as one line of JSON, its exit status, its output and its result file."""
    folder = os.environ["JOB_FOLDER"]
    command = [python or os.environ.get("JOB_PYTHON") or sys.executable, *write(partial, folder, local=local)]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MIZZEN"))},
        "MIZZEN_JOB_DIR": folder,
        "MIZZEN_ATTEMPT": "1",
        **(environment or {}),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    try:
        with open(os.path.join(folder, "attempts", "1", "result.json")) as file:
            result = json.load(file)
    except FileNotFoundError:
        result = None
    print("LAUNCHED " + json.dumps({"status": done.returncode, "out": done.stdout, "err": done.stderr, "result": result}), flush=True)
    return result


def attempt(partial, **options):
    """Like :func:`launch`, but prints what capturing raises."""
    from mizzen.errors import SerializationError

    try:
        return launch(partial, **options)
    except SerializationError as error:
        print("LAUNCHED " + json.dumps({"error": str(error), "path": error.path}), flush=True)
        return None
