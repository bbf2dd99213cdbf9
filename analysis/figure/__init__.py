"""The drawings. matplotlib is imported whatever the user has set for it: a backend of another environment, say."""

from __future__ import annotations

import contextlib
import os
import sys
from unittest import mock

try:
    import matplotlib
except ValueError:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        del sys.modules[name]
    with contextlib.chdir(os.sep), mock.patch.dict(os.environ, {"MATPLOTLIBRC": os.devnull, "MPLBACKEND": "agg"}):
        import matplotlib  # noqa: F401
