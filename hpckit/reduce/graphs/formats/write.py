"""The formats that results are saved in, and the writing of a result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hpckit.errors import GraphError
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import csvs, geojson, geotiff, jsons, netcdf, parquet, png, zarrs
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.options import checked, nearest
from hpckit.reduce.graphs.formats.result import Format, Options, Result, ResultFile

FORMATS: Final[Mapping[str, Format]] = {
    module.FORMAT.name: module.FORMAT for module in (geotiff, netcdf, zarrs, png, csvs, jsons, geojson, parquet)
}
"""By name; graphs may spell names in any case, and use aliases."""
_SPELLED: Final = {word.lower(): found for found in FORMATS.values() for word in (found.name, *found.aliases)}


def find_format(name: str) -> Format:
    """A format by its name or an alias, in any case.

    Raises
    ------
    GraphError
        `FormatUnsuitable` if there is none of that name.
    """
    found = _SPELLED.get(name.lower()) if isinstance(name, str) else None
    if found is None:
        hint = nearest(str(name), FORMATS)
        raise GraphError(f"there is no format {name!r}", hint=hint, fault="FormatUnsuitable")
    return found


def require_format(name: str, options: Mapping[str, Any] | None, data: Value) -> None:
    """Check that a result of a type can be saved in a format with these options; nothing is read.

    Parameters
    ----------
    data : Value
        The cube without pixels, or any value.

    Raises
    ------
    GraphError
        `FormatUnsuitable`, or `ProcessParameterInvalid` if an option is wrong.
    """
    _prepared(name, options, data)


def write(
    result: Result, format: str, options: Mapping[str, Any] | None, folder: Path, owner: str = ""
) -> list[ResultFile]:
    """Write a result to files in a folder.

    The result is read window by window, or some features at a time, so the memory does not depend on its size. Each
    file is written under a temporary name and renamed. Files of an earlier result of the same name are replaced;
    other files never are.

    Parameters
    ----------
    owner : str
        Name of the result among those of its graph, which may write into the same folder.

    Raises
    ------
    GraphError
        As of `require_format`; or if a file of somebody else has the name of a result.
    """
    kind = result.type
    found, known = _prepared(format, options, kind)
    return list(found.write(result, known, Folder(folder, owner)))


def _prepared(name: str, options: Mapping[str, Any] | None, kind: Value) -> tuple[Format, Options]:
    found = find_format(name)
    known = checked(found, options)
    found.check(kind, known)
    return found, known
