"""Blocks of numbers with named dimensions, and their files between hpckit and user code.

User code can replace the files that it writes while we read them: so they are opened without following links, checked
by size, and copied, never memory-mapped.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import UserCodeError

Labels = tuple[str | float, ...]
_MOST_HEADER: Final = 10_000


@dataclass(frozen=True, eq=False)
class Block:
    """An array with named dimensions."""

    values: npt.NDArray[Any]
    """Numbers or booleans."""
    dims: tuple[str, ...]
    labels: Mapping[str, Labels] = field(default_factory=dict)
    """Of dimensions that have some: texts or numbers."""
    times: frozenset[str] = frozenset()
    """Dimensions whose labels are times by RFC 3339."""


def write_array(path: Path, values: npt.NDArray[Any]) -> None:
    """Write an array as a new file, whatever had its name before."""
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        np.save(file, values, allow_pickle=False)
    path.chmod(0o644)


def read_array(path: Path, most_bytes: int) -> npt.NDArray[Any]:
    """Read an array that user code wrote.

    Parameters
    ----------
    most_bytes : int
        That it may have.

    Raises
    ------
    UserCodeError
        If it is not a plain file, too large, or no array of numbers.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UserCodeError(f"the result of the user code cannot be read: {error.strerror}", kind="output") from None
    with os.fdopen(number, "rb") as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode) or info.st_size > most_bytes + _MOST_HEADER:
            raise UserCodeError("the result of the user code is no file, or too large", kind="output")
        try:
            return _numbers(file, info.st_size)
        except (ValueError, EOFError, OSError) as error:
            raise UserCodeError(f"the result of the user code is damaged: {error}", kind="output") from None


def _numbers(file: IO[bytes], size: int) -> npt.NDArray[Any]:
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"an array file of version {version}")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_MOST_HEADER)
    if dtype.kind not in "biuf" or fortran:
        raise ValueError(f"values of type {dtype}")
    count = int(np.prod(shape, dtype=np.int64)) if all(0 <= length < 2**40 for length in shape) else -1
    if count * dtype.itemsize != size - file.tell():
        raise ValueError("its size is another one than its head says")
    values = np.empty(shape, dtype)
    if file.readinto(values.reshape(-1).view(np.uint8)) != values.nbytes:  # type: ignore[attr-defined]
        raise ValueError("it was cut while it was read")
    return values
