"""``python -m mizzen.compat``: Python with the alias ``nemo_run``."""

from __future__ import annotations

import os
import sys

from mizzen.compat import path

USAGE = """\
usage: python -m mizzen.compat SCRIPT [ARG]…
       python -m mizzen.compat -m MODULE [ARG]…
       python -m mizzen.compat -c CODE [ARG]…
       python -m mizzen.compat --path

Runs Python with `import nemo_run` meaning Mizzen. What stands behind is Python's own command line. `--path` prints the folder
that does the same from PYTHONPATH: PYTHONPATH=$(python -m mizzen.compat --path) python script.py
"""


def main(arguments: list[str]) -> int:
    """Starts Python anew, in this process, with the alias's folder in front of ``PYTHONPATH``.

    That way everything is as it would be without the alias: ``sys.argv``, ``__main__``, tracebacks, processes that the script
    starts.

    Args:
        arguments: what stands behind ``python -m mizzen.compat``.

    Returns:
        An exit status; it only returns if there is nothing to run.
    """
    if arguments == ["--path"]:
        print(path())
        return 0
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="", file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if sys.flags.ignore_environment:
        print(
            "error: this Python ignores PYTHONPATH (-E or -I), which the alias `nemo_run` needs\n"
            "hint: call `mizzen.compat.install()` at the beginning of the script",
            file=sys.stderr,
        )
        return 2
    from mizzen.compat.finder import in_front_of

    os.environ["PYTHONPATH"] = in_front_of(os.environ.get("PYTHONPATH", ""))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *_options(sys.orig_argv), *arguments])


def _options(words: list[str]) -> list[str]:
    """Python's own options in a command line such as ``python -X dev -um mizzen.compat …``."""
    options: list[str] = []
    for word, following in zip(words[1:], words[2:]):
        if word.startswith("-") and word.endswith("m") and following == "mizzen.compat":
            return [*options, word[:-1]] if len(word) > 2 else options
        options.append(word)
    return []  # started in another way, such as by runpy


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
