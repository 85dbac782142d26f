"""File systems that fail: a preloaded library makes calls on some paths of a program fail."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

ENOTSUPP = 524
"""What Linux says, against its own rules, of locks on some network mounts."""
PASSING = (errno.EIO, errno.ESTALE, errno.ENOLCK, errno.ETIMEDOUT, errno.EACCES, ENOTSUPP)
"""Refusals of a file system that may pass."""

needs_cc = pytest.mark.skipif(
    shutil.which("cc") is None or sys.platform != "linux", reason="needs a C compiler, to make calls fail"
)


@cache
def _library() -> Path:
    built = Path(tempfile.mkdtemp(prefix="hpckit-faulty-")) / "faulty.so"
    source = Path(__file__).with_name("faulty.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", built, source, "-ldl"], check=True)
    return built


def faulty(calls: str, below: str, number: int) -> dict[str, str]:
    """Environment of a program for which calls fail on paths that hold `below`."""
    return {
        **os.environ,
        "LD_PRELOAD": str(_library()),
        "FAULTY_CALLS": calls,
        "FAULTY_BELOW": below,
        "FAULTY_ERRNO": str(number),
    }


def hpckit(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "hpckit", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
