"""Modules of a campaign's folder, known to Python only while they are imported or run.

The process that plans a campaign, and the notebook that asks it to, may have other modules of the same names: of
another version of the folder, or the very ones that the code was copied from.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from hpckit.campaign.functionfiles import find_module
from hpckit.errors import CampaignError, UserCodeError

_PACKAGE: Final = __name__.partition(".")[0]


class OwnModules:
    """A module of a folder, and those of the same folder that it imports.

    Parameters
    ----------
    name : str
        `trend`, `tools.trend`: of the folder, else of an installed package.
    folder : Path
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self._known: dict[str, ModuleType] = {}
        try:
            found = find_module(name, folder)
            files = found.files if found.is_own else ()
        except CampaignError:  # import tells what is wrong with it
            files = (Path(name.partition(".")[0]),)
        self._packages = {Path(file.parts[0]).stem for file in files} - {_PACKAGE}

    def function(self, name: str) -> Callable[..., Any]:
        """A function of the module.

        Raises
        ------
        UserCodeError
            If there is none of that name.
        """
        with self.loaded():
            importlib.invalidate_caches()
            module = importlib.import_module(self.name)
        found = getattr(module, name, None)
        if not callable(found):
            raise UserCodeError(
                f"{module.__file__}: there is no function {name!r}",
                hint=f"correct `function: {self.name}:{name}`",
                kind="no-function",
            )
        return found  # type: ignore[no-any-return]

    @contextmanager
    def loaded(self) -> Iterator[None]:
        """Let imports find the modules of the folder; others of their names are put back afterwards."""
        others = self._taken_out()
        sys.modules.update(self._known)
        sys.path.insert(0, str(self.folder))
        # The folder may be frozen: nothing is written into it.
        writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        try:
            yield
        finally:
            sys.dont_write_bytecode = writes
            sys.path.remove(str(self.folder))
            self._known = self._taken_out()
            sys.modules.update(others)

    def _taken_out(self) -> dict[str, ModuleType]:
        names = [name for name in self._packages if name in sys.modules]
        # Each block asks twice, there are thousands of modules, and only packages have others within them.
        if any(hasattr(sys.modules[name], "__path__") for name in names):
            inner = tuple(f"{package}." for package in self._packages)
            names += [name for name in sys.modules if name.startswith(inner)]
        return {name: sys.modules.pop(name) for name in names}
