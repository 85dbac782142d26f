"""pyogrio, which reads and writes vector files, without the packages that it imports only to see their versions.

These are geopandas and pandas, which take half a second; hpckit passes arrays to pyogrio. Import it from here, and in
functions: also alone it takes a tenth of a second.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Final

from hpckit.base.processes import is_command

__all__ = ["pyogrio"]

_LOOKED_FOR: Final = ("geopandas", "pandas")


@contextmanager
def _only_looked_for() -> Iterator[None]:
    """Let an import of these packages find their version and nothing else.

    Only in commands of hpckit, whose other threads import nothing meanwhile: its server imports this module first.
    """
    placed = {}
    if is_command():
        for name in _LOOKED_FOR:
            try:
                told = version(name)
            except PackageNotFoundError:
                continue
            if name not in sys.modules:
                placed[name] = ModuleType(name)
                placed[name].__version__ = told  # type: ignore[attr-defined]
    sys.modules |= placed
    try:
        yield
    finally:
        for name in placed:
            del sys.modules[name]


with _only_looked_for():
    import pyogrio
