"""Tests of CUDA kernels in numba's simulator, which is chosen when numba is imported: by a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def passes_in_simulator(file: str) -> None:
    """Run the tests of a file there."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "passed" in result.stdout
