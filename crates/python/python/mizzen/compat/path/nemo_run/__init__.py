"""``nemo_run`` for those who have this folder on ``PYTHONPATH``: Mizzen's alias takes this module's place."""

from __future__ import annotations

try:
    from mizzen.compat import finder
except ImportError as error:
    raise ImportError(
        f"`nemo_run` is Mizzen's alias here ({__file__}, by way of PYTHONPATH), and this Python can't import mizzen: {error}\n"
        "hint: install mizzen for this Python, or take that folder out of PYTHONPATH",
        name="nemo_run",
    ) from error

finder.take_over()
