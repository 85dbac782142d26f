"""netCDF-4 files by HDF5 alone: dimension scales and attributes as the netCDF library expects them.

Source: appendix C of the netCDF file format specifications (Unidata).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np

from hpckit.base.files import atomic_path
from hpckit.processgraph.cube import Values

_DEFLATE: Final = 4
_TEXT: Final = h5py.string_dtype("utf-8")


class NetCdf:
    """A netCDF-4 file that is being written."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._scales: dict[str, Any] = {}

    def attributes(self, given: Mapping[str, Any]) -> None:
        """Set global attributes."""
        _set(self._file, given)

    def dimension(self, name: str, values: Values, attributes: Mapping[str, Any]) -> None:
        """Add a dimension with its coordinate variable."""
        scale = self._dataset(name, values)
        scale.make_scale(name)
        scale.attrs["_Netcdf4Dimid"] = np.int32(len(self._scales))
        _set(scale, attributes)
        self._scales[name] = scale

    def variable(
        self,
        name: str,
        dims: Sequence[str],
        dtype: Any,
        attributes: Mapping[str, Any],
        chunks: tuple[int, ...] | None = None,
    ) -> Any:
        """Add a compressed variable, and return it to write to; NaN is its fill value if it has one."""
        shape = tuple(self._scales[dim].shape[0] for dim in dims)
        fill = {"fillvalue": dtype.type(np.nan)} if dtype.kind == "f" else {}
        packed: dict[str, Any] = {}
        if shape and chunks and all(shape):
            fitted = tuple(min(wanted, length) for wanted, length in zip(chunks, shape, strict=True))
            packed = {"chunks": fitted, "compression": "gzip", "compression_opts": _DEFLATE, "shuffle": True}
        made = self._file.create_dataset(name, shape, dtype, **packed, **fill)
        if dtype.kind == "f":
            made.attrs["_FillValue"] = np.array([np.nan], dtype)
        self._attach(made, dims)
        _set(made, attributes)
        return made

    def values(self, name: str, dims: Sequence[str], values: Values, attributes: Mapping[str, Any]) -> None:
        """Add a small variable with its values; of no dimensions a scalar."""
        made = self._dataset(name, values)
        self._attach(made, dims)
        _set(made, attributes)

    def _dataset(self, name: str, values: Values) -> Any:
        if values.dtype == object:
            return self._file.create_dataset(name, values.shape, _TEXT, values)
        return self._file.create_dataset(name, data=values)

    def _attach(self, made: Any, dims: Sequence[str]) -> None:
        for place, dim in enumerate(dims):
            made.dims[place].attach_scale(self._scales[dim])
        if len(dims) > 1:
            numbers = [self._scales[dim].attrs["_Netcdf4Dimid"] for dim in dims]
            made.attrs["_Netcdf4Coordinates"] = np.array(numbers, "i4")


@contextmanager
def netcdf(path: Path) -> Iterator[NetCdf]:
    """Yield a file to write to; it becomes `path` when the block ends well."""
    # The netCDF library lists variables in the order of their creation, which HDF5 keeps only if it is asked to.
    with atomic_path(path) as temporary, h5py.File(temporary, "w", track_order=True) as file:
        file.attrs["_NCProperties"] = np.bytes_(f"version=2,hdf5={h5py.version.hdf5_version}")
        yield NetCdf(file)


def _set(target: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if isinstance(value, str):
            # Of fixed length and ASCII where that holds it, since that is an attribute of text (`char`) in netCDF.
            target.attrs[name] = np.bytes_(value.encode()) if value.isascii() and value else value
        elif isinstance(value, bool | int | float | np.generic):
            target.attrs[name] = np.array([value], "i4" if isinstance(value, bool | int) else "f8")
        else:
            target.attrs[name] = np.array(value, "f8")
