"""Packages that others import only to see that they are there, which takes longer than their own import."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from hpckit.base.processes import is_command, others_may_import


@contextmanager
def only_looked_for(*names: str) -> Iterator[None]:
    """Let imports of modules find that they are there, and the version of their package, and nothing else.

    Only in commands of hpckit without threads that could import something meanwhile. Later imports find the modules.

    Parameters
    ----------
    *names : str
        Modules, those above them first. Of packages that are not installed nothing is found, as without this.
    """
    placed = {}
    for name in names if is_command() and not others_may_import() else ():
        try:
            told = version(name.partition(".")[0])
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
