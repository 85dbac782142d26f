"""Functions of a campaign's owner, called in this process: imported, called with blocks, and their faults named."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np

from hpckit.base.compiled import keep_numba_threads
from hpckit.base.files import digest_json
from hpckit.campaign.blocks import FunctionReduction
from hpckit.campaign.functionfiles import digest_of_module, find_module
from hpckit.errors import UserCodeError
from hpckit.processgraph.cube import NOTHING, Cube
from hpckit.processgraph.process import Call
from hpckit.reduce.blocks.block import as_block, cube_of, dims_of, notes, values_of
from hpckit.reduce.blocks.ownmodules import OwnModules

_log: Final = logging.getLogger(__name__)


@dataclass(eq=False)
class FunctionBlocks:
    """A function on blocks, as a node of a graph.

    Parameters
    ----------
    reduction : FunctionReduction
    folder : Path
        From which its module is imported first: frozen files, or those beside the campaign file.
    given : callable, optional
        The function, where it is at hand and need not be imported.
    """

    reduction: FunctionReduction
    folder: Path
    given: Callable[..., Any] | None = None

    @property
    def name(self) -> str:
        """For messages."""
        return self.reduction.function

    @cached_property
    def identity(self) -> str:
        """Digest of code and settings."""
        source = find_module(self.reduction.module, self.folder) if self.given is None else None
        return digest_json([self.reduction.settings(), "" if source is None else digest_of_module(source)])

    def __call__(self, call: Call) -> Cube:
        """A part of what the function makes."""
        data = call.type_of("data")
        if call.asked == NOTHING:
            return self.empty(data)
        assert not isinstance(call.asked, range | tuple) and call.asked is not None
        return self.made(call.cube("data", call.asked.grown(self.reduction.halo)))

    def empty(self, data: Cube) -> Cube:
        """What is made of a cube without pixels."""
        dims = dims_of(data, self.reduction.makes)
        values = np.zeros([len(dim.labels) for dim in dims], self.reduction.makes.dtype)
        return Cube(values, dims, data.grid, NOTHING, attributes=notes(self.reduction.makes.nodata))

    def made(self, data: Cube) -> Cube:
        """What the function makes of pixels with their halo; the halo is cut off.

        Raises
        ------
        UserCodeError
            If it cannot be imported, raises, or gives back something else than declared.
        """
        assert data.box is not None
        halo, makes = self.reduction.halo, self.reduction.makes
        block = as_block(data)
        with naming_faults(self.reduction.function):
            function = self.function
        keep_numba_threads()
        with naming_faults(self.reduction.function), self._modules():
            found = function(block, **self.reduction.options)
            values = values_of(found, block, makes, self.reduction.function)
        if halo:
            values = values[..., halo:-halo, halo:-halo]
        return cube_of(values, data, makes, data.box.grown(-halo))

    @cached_property
    def function(self) -> Callable[..., Any]:
        """The function, imported."""
        name = self.reduction.function.partition(":")[2]
        return self.given or self._own.function(name)

    @cached_property
    def _own(self) -> OwnModules:
        return OwnModules(self.reduction.module, self.folder)

    def _modules(self) -> AbstractContextManager[None]:
        return nullcontext() if self.given else self._own.loaded()


@contextmanager
def naming_faults(name: str) -> Iterator[None]:
    """Turn what a function raises into one sentence; the whole traceback goes to the log."""
    try:
        yield
    except UserCodeError:
        raise
    except ModuleNotFoundError as error:
        raise UserCodeError(
            f"{name} needs the package {error.name!r}, which is not installed in {sys.prefix}",
            hint="install it there, or in the image of the site, on every machine that computes",
            kind="package",
        ) from error
    except MemoryError as error:
        raise UserCodeError(
            f"{name} took more memory than there is",
            hint="declare more in `memory_mib`, or let it copy its block less often",
            kind="memory",
        ) from error
    except (Exception, SystemExit) as error:
        _log.error("%s", "".join(traceback.format_exception(error)))
        raise UserCodeError(f"{name} raised {_described(error)}", hint="correct the function") from error


def _described(error: BaseException) -> str:
    """Kind, message and line of an exception: the deepest line outside of installed packages."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    ours = str(Path(__file__).parents[2])
    frames = traceback.extract_tb(error.__traceback__)
    own = [item for item in frames if "site-packages" not in item.filename and not item.filename.startswith(ours)]
    if isinstance(error, SyntaxError):
        return f"{text} ({Path(error.filename or '').name}, line {error.lineno})"
    return f"{text} ({Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name})" if own else text
