"""pyarrow in commands of hpckit: without pandas, until the command itself imports pandas.

pyarrow imports pandas the first time it converts anything, to see whether what it gets is a frame or a series. This
takes a third of a second and 40 MB; a command that has not imported pandas has no frames.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from hpckit.base.processes import others_may_import


def spare_pandas() -> None:
    """Let pyarrow take pandas for absent until the command imports it; for a command without other threads."""
    if not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


class _AfterImport:
    """Finder that finds what others find, and acts as soon as pyarrow and pandas were imported for the first time."""

    def __init__(self) -> None:
        self._calls: Final = {"pyarrow": self._spare, "pandas": self._tell}
        self._is_spared = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        call = self._calls.pop(name, None)
        spec = find_spec(name) if call is not None else None
        if call is None or spec is None or spec.loader is None:
            return spec
        loader: Any = spec.loader
        execute = loader.exec_module

        def execute_and_call(module: ModuleType) -> None:
            del loader.exec_module  # the method of its class again
            execute(module)
            call()

        loader.exec_module = execute_and_call
        return spec

    def _spare(self) -> None:
        """Have pyarrow find no pandas. Where a conversion needs it, as `to_pandas` does, it tries again."""
        if "pandas" in sys.modules or others_may_import():
            return
        sys.modules["pandas"] = None  # type: ignore[assignment]
        try:
            _ask("have_pandas")
        finally:
            del sys.modules["pandas"]
        self._is_spared = True

    def _tell(self) -> None:
        """Have pyarrow find pandas after all: from now on there may be frames and series."""
        if self._is_spared:  # else pyarrow may be importing pandas now, and holds a lock
            _ask("pd")


def _ask(name: str) -> None:
    # Not public. A pyarrow without it imports pandas when it likes, which only takes longer.
    getattr(getattr(sys.modules["pyarrow"].lib, "_pandas_api", None), name, None)
