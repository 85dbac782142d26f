"""Reading our own files, so that a file system that fails for a moment is never taken for damage.

Parsers of HDF5, Parquet and npz raise the same exceptions for damaged content and for reads that fail, and `glob`
and `exists` say "nothing there" for a folder that cannot be read. Here the file system's refusals are distinguished
where they arise: they become `FileUnavailableError`, which may pass by itself. Damage is what was read well, twice,
and cannot be parsed: network file systems may show old or half pages once.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cache
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from hpckit.base.quantities import RAISE_LIMIT, tight_address_space
from hpckit.base.rights import closed_by
from hpckit.errors import DamagedFileError, FileUnavailableError, HpckitError

_Value = TypeVar("_Value")
_READINGS: Final = 2
_NEVER_PASSES: Final = frozenset({errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""Refusals that speak of what lies there, not of the file system's state."""
_BLOCK: Final = 2**20
_VANISHING: Final = 5
"""Listings of a folder whose files others join meanwhile."""


class WatchedFile(FileIO):
    """A file open for reading that remembers a read which failed, whatever the parser makes of it."""

    fault: OSError | None = None

    def readinto(self, buffer: Any, /) -> int | None:
        """Read into a buffer."""
        return self._noted(super().readinto, buffer)

    def read(self, size: int | None = -1, /) -> Any:
        """Read up to `size` bytes."""
        return self._noted(super().read, size)

    def readall(self) -> bytes:
        """Read to the end."""
        return self._noted(super().readall)

    def _noted(self, read: Callable[..., _Value], *arguments: Any) -> _Value:
        try:
            return read(*arguments)
        except OSError as error:
            self.fault = error
            raise


def unavailable(path: Path, error: OSError) -> FileUnavailableError:
    """Describe a refusal of the file system that may pass."""
    closed = closed_by(path, error)
    return FileUnavailableError(
        f"{path} cannot be read at the moment: {error.strerror or error}",
        hint=closed
        or "nothing was changed; try again when the file system answers (check permissions if this persists)",
    )


def parsed(path: Path, parse: Callable[[WatchedFile], _Value], damaged: Callable[[Exception], HpckitError]) -> _Value:
    """Parse a file.

    Parameters
    ----------
    parse : callable
        A function of the file's content and nothing else. What it raises is damage; an `HpckitError` is
        raised as it is.
    damaged : callable
        Makes the error of a damaged file from what the parser raised.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileUnavailableError
        If the file system refuses; that may pass.
    """
    fault: Exception = EOFError()
    for _ in range(_READINGS):
        try:
            return _attempt(path, parse)
        except (FileNotFoundError, FileUnavailableError, MemoryError, ImportError):
            raise
        except Exception as error:
            fault = error
    if limit := tight_address_space():
        # What libraries raise that get no memory, or no thread, says nothing of the file.
        why = str(fault) or type(fault).__name__
        raise FileUnavailableError(f"{path} cannot be read: {why}; {limit}", hint=RAISE_LIMIT)
    if isinstance(fault, HpckitError):
        raise fault
    raise damaged(fault) from fault


def _attempt(path: Path, parse: Callable[[WatchedFile], _Value]) -> _Value:
    try:
        file = WatchedFile(path)
    except OSError as error:
        raise _judged(path, error) from None
    with file:
        try:
            return parse(file)
        except Exception:
            if file.fault is not None:
                raise _judged(path, file.fault) from None
            raise


def _judged(path: Path, error: OSError) -> Exception:
    passes = not isinstance(error, FileNotFoundError) and error.errno not in _NEVER_PASSES
    return unavailable(path, error) if passes else error


def may_pass(error: BaseException) -> bool:
    """Whether an error comes from a file system that refused, which may pass, and not from what was read."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, FileUnavailableError):
            return True
        if isinstance(cause, OSError) and cause.errno is not None:
            return not isinstance(cause, FileNotFoundError) and cause.errno not in _NEVER_PASSES
        cause = cause.__cause__
    return False


def refusal(path: str | Path) -> OSError | None:
    """What the file system says against reading a file, where a library only says that it cannot; None if nothing."""
    try:
        with Path(path).open("rb", buffering=0) as file:
            while file.read(_BLOCK):
                pass
    except OSError as error:
        return error if may_pass(error) else None
    return None


def read_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileUnavailableError
        If the file system refuses.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unavailable(path, error) from None


def read_json(path: Path, damaged: Callable[[Exception], HpckitError] | None = None) -> dict[str, Any]:
    """Content of a file that holds a JSON object; it raises what `parsed` does.

    Parameters
    ----------
    damaged : callable, optional
        Makes the error of a damaged file; it is a `DamagedFileError` if not given.
    """

    def parse(file: WatchedFile) -> dict[str, Any]:
        values = json.loads(file.readall())
        if not isinstance(values, dict):
            raise TypeError(f"a {type(values).__name__} instead of an object")
        return values

    return parsed(path, parse, damaged or (lambda _: DamagedFileError(f"{path}: damaged")))


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def typed(kind: type[_Value], values: object) -> _Value:
    """Make a value of a type, a dataclass for example, from plain JSON; names that it does not know are left out.

    Raises
    ------
    ValueError
        If fields are missing or of another type.
    """
    adapter: TypeAdapter[_Value] = _adapter(kind)  # type: ignore[arg-type]
    return adapter.validate_python(values)


def typed_line(kind: type[_Value], line: bytes) -> _Value:
    """Make a value of a type from a line of JSON; as `typed`, in a third of the time.

    Raises
    ------
    ValueError
        If it is no JSON, or fields are missing or of another type.
    RecursionError
        If it has thousands of values within each other.
    """
    adapter: TypeAdapter[_Value] = _adapter(kind)  # type: ignore[arg-type]
    try:
        return adapter.validate_json(line)
    except ValueError:  # names of files that are no UTF-8 are JSON for Python only
        return adapter.validate_python(json.loads(line))


def column_names(file: WatchedFile) -> list[str]:
    """Names of the columns of a Parquet file that is open; no column is read."""
    import pyarrow.parquet as pq

    names: list[str] = pq.ParquetFile(file).schema_arrow.names
    return names


def read_table(
    file: WatchedFile | BytesIO,
    columns: Sequence[str] | None = None,
    where: Mapping[str, Collection[Any]] | None = None,
) -> Any:
    """Read a Parquet file that is open.

    Parameters
    ----------
    columns : sequence of str, optional
        Only these, where the file has them.
    where : mapping, optional
        Only rows that have one of these values in a column.

    Returns
    -------
    pyarrow.Table
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Not by pyarrow's own filters, which import pandas: as long as all the rest of a worker's start.
    opened = pq.ParquetFile(file, page_checksum_verification=True)
    names = opened.schema_arrow.names
    wanted = names if columns is None else [name for name in names if name in columns]
    if where is None:
        return opened.read(columns=wanted)
    parts = [pa.Table.from_batches([], opened.schema_arrow).select(wanted)]  # `empty_table` imports pandas too
    for number in range(opened.num_row_groups):
        if not _may_hold(opened.metadata.row_group(number), where):
            continue
        runs = list(_runs(opened.read_row_group(number, columns=list(where)), where))
        if runs:
            table = opened.read_row_group(number, columns=wanted)
            parts += [table.slice(first, count) for first, count in runs]
    return pa.concat_tables(parts)


def _may_hold(group: Any, where: Mapping[str, Collection[Any]]) -> bool:
    """Whether a group of rows has some of the values, by the smallest and largest of each column."""
    for place in range(group.num_columns):
        column = group.column(place)
        values, told = where.get(column.path_in_schema), column.statistics
        if values is None or told is None or not told.has_min_max:
            continue
        if not any(told.min <= value <= told.max for value in values):
            return False
    return True


def _runs(table: Any, where: Mapping[str, Collection[Any]]) -> Iterator[tuple[int, int]]:
    """First row and length of each run of rows that have one of the values in all columns; files are sorted."""
    fits = [[value in values for value in table[name].to_pylist()] for name, values in where.items()]
    row = 0
    for wanted, run in itertools.groupby(zip(*fits, strict=True), key=all):
        count = sum(1 for _ in run)
        if wanted:
            yield row, count
        row += count


def is_there(path: Path) -> bool:
    """Whether a file or folder is there; unlike `exists`, never False because it cannot be looked at.

    Raises
    ------
    FileUnavailableError
        If the file system refuses to say.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unavailable(path, error) from None
    return True


def folders_in(folder: Path) -> list[Path]:
    """Folders in a folder, sorted; none if there is no such folder.

    Raises
    ------
    FileUnavailableError
        If it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(Path(entry.path) for entry in found if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unavailable(folder, error) from None


def files_below(folder: Path, suffix: str) -> list[Path]:
    """Files below a folder whose names end so, sorted; none if there is no such folder.

    Hidden files are left out: they are being written, or NFS keeps them for those who have them open.

    Raises
    ------
    FileUnavailableError
        If a folder cannot be listed: what it holds is unknown then, which is not "nothing".
    """
    return [Path(name) for name in _names_below(folder, suffix)]


def _names_below(folder: Path, suffix: str) -> list[str]:
    """As paths sort, without making any: there may be 100,000."""
    return sorted(_walk(str(folder), suffix), key=lambda name: name.split(os.sep))  # noqa: PTH206


def _walk(folder: str, suffix: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            entries = [entry for entry in found if not entry.name.startswith(".")]
            folders = [entry.path for entry in entries if entry.is_dir()]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise unavailable(Path(folder), error) from None
    yield from (entry.path for entry in entries if entry.name.endswith(suffix) and entry.path not in folders)
    for path in folders:
        yield from _walk(path, suffix)


def read_below(folder: Path, suffix: str) -> dict[str, bytes]:
    """Contents of the files below a folder whose names end so, by path in order.

    Files that others join meanwhile vanish from a listing: the folder is listed again then.

    Raises
    ------
    FileUnavailableError
        If a folder or file cannot be read.
    """
    gone: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for _ in range(_VANISHING):
        try:
            return {name: _content(name) for name in _names_below(folder, suffix)}
        except FileNotFoundError as error:
            gone = error
    raise unavailable(folder, gone)


def _content(name: str) -> bytes:
    try:
        with open(name, "rb", buffering=0) as file:  # noqa: PTH123 - 100,000 paths take half of the time
            return file.readall()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unavailable(Path(name), error) from None
