"""Records, reports and pictures work where torch is not installed."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "facegraph.records",
    "facegraph.reports.figures",
    "facegraph.reports.tables",
    "facegraph.metrics.functional",
    "facegraph.metrics.names",
    "facegraph.viz",
)


def test_imports_and_measures_without_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import importlib\n"
        f"for name in {MODULES}: importlib.import_module(name)\n"
        "import numpy as np; from facegraph.metrics.functional import nme\n"
        "assert nme(np.zeros((1, 2, 2)), np.ones((1, 2, 2)), np.ones(1))[0] == 2**0.5\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
