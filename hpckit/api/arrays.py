"""Statistics of arrays of xarray by hpckit's kernels, for notebooks."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from hpckit.base.compiled import in_this_thread
from hpckit.errors import CubeError

if TYPE_CHECKING:
    import xarray

Data = TypeVar("Data", "xarray.DataArray", "xarray.Dataset")


def median(data: Data, dim: str = "time") -> Data:
    """Median over a dimension, without NaN: the values of `data.median(dim)` in a small part of its time.

    dask, and xarray on it, compute medians with `numpy.nanmedian`, or with numbagg where that is installed, which
    takes even longer. This sorts many pixels side by side instead.

    Parameters
    ----------
    data : xarray.DataArray or xarray.Dataset
        Of a cube or a composite, or what was computed from one: an index, or pixels without clouds
        (`bands.where(clear)`). With chunks of dask the result is lazy, and computed by dask's workers.
    dim : str
        The dimension that is taken away.

    Returns
    -------
    xarray.DataArray or xarray.Dataset
        Of the type of `data`; of integers float64, in which nodata counts as a number as it does in xarray. NaN
        where all is NaN. Arrays of a dataset without this dimension are as they were.

    Raises
    ------
    CubeError
        If `data` are no array or dataset of xarray, or have no such dimension.

    Examples
    --------
    >>> import hpckit
    >>> bands = hpckit.open_campaign("campaign.yaml").cube("31UFU")
    >>> median = hpckit.median(bands.B08).compute()
    """
    import xarray

    if not isinstance(data, xarray.DataArray | xarray.Dataset):
        hint = 'take a band of the cube: `hpckit.median(hpckit.cube("campaign.yaml").B08)`'
        raise CubeError(f"{type(data).__name__} is no array or dataset of xarray", hint=hint)
    if dim not in data.dims:
        raise CubeError(f"no dimension {dim!r}", hint=f"the data have {', '.join(map(str, data.dims)) or 'none'}")
    if isinstance(data, xarray.Dataset):
        return data.map(lambda array: median(array, dim) if dim in array.dims else array, keep_attrs=True)
    if data.dtype.kind not in "iu" and data.dtype not in (np.float32, np.float64):
        return data.median(dim)
    # Coordinates may have other chunks, which `data.chunksizes` refuses.
    whole = data.chunk({dim: -1}) if len(data.variable.chunksizes.get(dim, ())) > 1 else data
    found: xarray.DataArray = xarray.apply_ufunc(
        _median,
        whole,
        input_core_dims=[[dim]],
        kwargs={"alone": whole.chunks is not None},
        dask="parallelized",
        output_dtypes=[_type(data.dtype)],
        keep_attrs=True,
    )
    return found


def _type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Type of a median, as of numpy."""
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _median(values: npt.NDArray[Any], alone: bool) -> npt.NDArray[Any]:
    """Median over the last axis; `alone` where workers of dask call this side by side."""
    from hpckit.processgraph.kernels.ranks import quantiles

    known = np.moveaxis(values, -1, 0).astype(_type(values.dtype), copy=False)
    with in_this_thread() if alone else nullcontext():
        return np.asarray(quantiles(known, np.array([0.5]), True)[0])
