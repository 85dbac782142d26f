"""The Python that runs hpckit, and whether its modules are hpckit's own."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Final

from hpckit.base.distribution import DISTRIBUTION, namesake
from hpckit.base.findings import Finding
from hpckit.base.version import __version__

_OLDEST: Final = (3, 11)
_NEWEST: Final = (3, 14)
_OTHER: Final = "hpckit"
"""Name on the package index that belongs to another project."""


def examine() -> Iterator[Finding]:
    """Version, operating system, other projects of the same name, packages from other environments."""
    yield _version(sys.version_info[:2])
    system = f"{platform.system()} {platform.machine()}, {sys.byteorder}-endian, {sys.maxsize.bit_length() + 1} bits"
    right = platform.system() == "Linux" and sys.maxsize > 2**32 and sys.byteorder == "little"
    yield Finding("operating system", right, system, "use Linux on a 64-bit, little-endian processor")
    yield from _projects(str(Path(__file__).parents[2]))
    yield from _paths()


def _version(version: tuple[int, ...]) -> Finding:
    says = f"{platform.python_version()}, {sys.executable}"
    remedy = (
        f"create an environment with Python {_NEWEST[0]}.{_NEWEST[1]} or older, down to {_OLDEST[0]}.{_OLDEST[1]}"
    )
    if version > _NEWEST:
        return Finding("Python", None, f"{says}: newer than what is tested", remedy)
    return Finding("Python", version >= _OLDEST, says, remedy)


def _projects(package: str) -> Iterator[Finding]:
    foreign = namesake(package)
    if foreign is not None:
        says, _, remedy = foreign.partition(": ")
        yield Finding("hpckit", False, says, remedy)
        return
    try:
        other = distribution(_OTHER)
    except PackageNotFoundError:
        yield Finding("hpckit", True, f"{__version__}, {package}")
        return
    yield Finding(
        "hpckit",
        False,
        f"the distribution {_OTHER} {other.version}, another project, is installed in the same environment",
        f"`pip uninstall {_OTHER}`, then `pip install --force-reinstall --no-deps {DISTRIBUTION}`",
        needed=False,
    )


def _paths() -> Iterator[Finding]:
    added = os.environ.get("PYTHONPATH", "")
    if not added:
        return
    yield Finding(
        "PYTHONPATH",
        None,
        f"is set: {added}",
        "packages there replace those of the environment; unset it if a module or hpckit itself comes from there",
        needed=False,
    )
