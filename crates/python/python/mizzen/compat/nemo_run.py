"""``import mizzen.compat.nemo_run as run``: installs the alias, and is it."""

from __future__ import annotations

import sys
from importlib import import_module

from mizzen.compat import install

install()
sys.modules[__name__] = import_module("nemo_run")
