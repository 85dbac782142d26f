"""Blocks: cubes of windows as xarray for functions, and what functions give back, checked."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.quantities import format_count
from hpckit.errors import UserCodeError
from hpckit.processgraph.cube import NODATA, Cube, Dimension, centres
from hpckit.space.box import Box

if TYPE_CHECKING:
    import xarray
    from xarray.indexes import PandasIndex

    from hpckit.campaign.blocks import Makes

    _Axis = tuple[PandasIndex, xarray.Variable]

Values = npt.NDArray[Any]
_SAME_PIXEL: Final = 1e-3
"""Of a pixel, by which coordinates may differ."""


def as_block(cube: Cube) -> xarray.DataArray:
    """A cube as xarray: dimensions `time`, `band`, `y`, `x` with coordinates, the CRS in `attrs["crs"]`.

    Parameters
    ----------
    cube : Cube
        With `t`, `bands`, `y` and `x`, float32; NaN where there are no data.
    """
    import xarray

    assert cube.grid is not None and cube.box is not None
    times, names = cube.dims[0].labels, cube.dims[1].labels
    grid, box = cube.grid, cube.box
    axes = {
        "time": _labels("time", tuple(map(str, times))),
        "band": _labels("band", tuple(map(str, names))),
        "y": _places("y", grid.top, grid.dy, box.top, box.bottom),
        "x": _places("x", grid.left, grid.dx, box.left, box.right),
    }
    # The usual way makes every index anew and looks twice at each: a millisecond a block, in which a simple function
    # has done a quarter of its work.
    return xarray.DataArray(
        xarray.Variable(tuple(axes), cube.values, {"crs": cube.grid.crs}),
        coords={dim: variable.copy(deep=False) for dim, (_, variable) in axes.items()},
        indexes={dim: index for dim, (index, _) in axes.items()},
        fastpath=True,
    )


@lru_cache(maxsize=16)
def _labels(dim: str, labels: tuple[str, ...]) -> _Axis:
    """Times or bands, which most blocks share."""
    if dim == "time":
        return _axis(dim, np.array([label.removesuffix("Z") for label in labels], "datetime64[ns]"))
    return _axis(dim, np.array(labels, str))


@lru_cache(maxsize=64)
def _places(dim: str, first: float, step: float, begin: int, end: int) -> _Axis:
    """Centres of rows or columns, which blocks beside or below each other share."""
    return _axis(dim, centres(first, step, begin, end))


def _axis(dim: str, values: Values) -> _Axis:
    from xarray.indexes import PandasIndex

    values.flags.writeable = False  # other blocks have them too
    index = PandasIndex(values, dim, values.dtype)
    return index, index.create_variables()[dim]


def values_of(made: object, block: xarray.DataArray, makes: Makes, name: str) -> Values:
    """Numbers that a function gave back for a block, as they are stored.

    Parameters
    ----------
    name : str
        Of the function, for messages.

    Returns
    -------
    ndarray, shape ([time,] band, y, x)
        Of the declared data type.

    Raises
    ------
    UserCodeError
        If it is no DataArray, or has other dimensions, bands, pixels, CRS or numbers than declared.
    """
    import xarray

    if not isinstance(made, xarray.DataArray):
        raise no_array(made, name)
    lacks_band = "band" not in made.dims and len(makes.bands) == 1
    dims = ("band", *made.dims) if lacks_band else made.dims
    order = (*(["time"] if makes.keeps_time else []), "band", "y", "x")
    if set(dims) != set(order):
        raise _unfit(
            f"{name} returned the dimensions {_listed(dims)} instead of {_listed(order)}",
            "reduce or keep `time` as `makes.keeps_time` says",
        )
    _require_pixels(made, block, name)
    if makes.keeps_time and made.sizes["time"] != block.sizes["time"]:
        raise _unfit(f"{name} returned {format_count(made.sizes['time'], 'date')} instead of {block.sizes['time']}")
    values = made.values[np.newaxis] if lacks_band else _in_order(made, makes, name).values
    return _typed(values.transpose([dims.index(dim) for dim in order]), makes, name)


def no_array(made: object, name: str) -> UserCodeError:
    """Error of a function that gives something else than an array of xarray."""
    import xarray

    kind = type(made)
    what, hint = f"{kind.__module__}.{kind.__qualname__}", "give back `block.isel(time=0, band=0).copy(data=pixels)`"
    if made is None:
        what, hint = "nothing", "end it with `return`"
    elif isinstance(made, xarray.Dataset):
        hint = "`.to_dataarray('band')` makes an array of a dataset"
    return _unfit(f"{name} returned {what}, and not an xarray.DataArray", hint)


def _require_pixels(made: xarray.DataArray, block: xarray.DataArray, name: str) -> None:
    given, known = made.coords.variables, block.coords.variables
    for dim in ("y", "x"):
        if made.sizes[dim] != block.sizes[dim]:
            raise _unfit(
                f"{name} returned {made.sizes[dim]} pixels along {dim} instead of {block.sizes[dim]}",
                "give back all pixels of the block, with its halo, which hpckit cuts off",
            )
        there = known[dim].values
        if dim not in given or np.array_equal(given[dim].values, there):
            continue
        step = abs(float(there[1] - there[0])) if len(there) > 1 else 1.0
        if np.abs(given[dim].values - there).max(initial=0.0) > _SAME_PIXEL * step:
            raise _unfit(
                f"{name} returned pixels that lie elsewhere: {dim} from {float(given[dim].values[0]):g} "
                f"instead of {float(there[0]):g}",
                "keep the coordinates of the block; resampling and other CRSs need a campaign of their own",
            )
    _require_crs(made, str(block.attrs["crs"]), name)


def _require_crs(made: xarray.DataArray, crs: str, name: str) -> None:
    of_cf = made.coords["spatial_ref"].attrs.get("crs_wkt") if "spatial_ref" in made.coords else None
    for text in (made.attrs.get("crs"), of_cf):
        if text is None or text == crs:
            continue
        import pyproj

        if pyproj.CRS.from_user_input(text) != pyproj.CRS.from_user_input(crs):
            raise _unfit(f"{name} returned pixels in another CRS than {crs}", "keep the CRS of the block")


def _in_order(made: xarray.DataArray, makes: Makes, name: str) -> xarray.DataArray:
    """Bands as declared; by their names if they have some."""
    if made.sizes["band"] != len(makes.bands):
        raise _unfit(
            f"{name} returned {made.sizes['band']} bands instead of {len(makes.bands)} ({_listed(makes.bands)})",
            "correct the function or `makes.bands`",
        )
    if len(makes.bands) == 1 or "band" not in made.coords or made["band"].dtype.kind not in "UO":
        return made
    names = [str(label) for label in made["band"].values]
    if names == makes.bands:
        return made
    if sorted(names) != sorted(makes.bands):
        raise _unfit(
            f"{name} returned the bands {_listed(names)} instead of {_listed(makes.bands)}",
            "correct the function or `makes.bands`",
        )
    return made.isel(band=[names.index(band) for band in makes.bands])


def _typed(values: Values, makes: Makes, name: str) -> Values:
    dtype = np.dtype(makes.dtype)
    if values.dtype == dtype:
        return values
    if values.dtype.kind not in "biuf" or (dtype.kind in "iu" and values.dtype.kind == "f"):
        raise _unfit(
            f"{name} returned numbers of type {values.dtype}, and `makes.dtype` declares {dtype}",
            f"return .astype({dtype.name!r}), with a number of your own where there are no data, or declare float32",
        )
    if dtype.kind in "iu" and values.size and values.dtype.kind != "b":
        least, most = int(values.min()), int(values.max())
        if least < np.iinfo(dtype).min or most > np.iinfo(dtype).max:
            raise _unfit(f"{name} returned {least} to {most}, which {dtype} does not hold", "declare a larger type")
    return values.astype(dtype)


def cube_of(values: Values, data: Cube, makes: Makes, asked: Box) -> Cube:
    """What a function made of the pixels that were asked for, as a cube."""
    return Cube(values, dims_of(data, makes), data.grid, asked, attributes=notes(makes.nodata))


def notes(nodata: int | None) -> dict[str, Any]:
    """What files note of a cube: the number that stands for no data."""
    return {} if nodata is None else {NODATA: nodata}


def dims_of(data: Cube, makes: Makes) -> tuple[Dimension, ...]:
    """Dimensions of what a function gives back."""
    own = (data.dims[0],) if makes.keeps_time else ()
    return (*own, Dimension("bands", "bands", tuple(makes.bands)), *data.dims[2:])


def _unfit(message: str, hint: str = "correct the function") -> UserCodeError:
    return UserCodeError(message, hint=hint, kind="output")


def _listed(names: Iterable[object]) -> str:
    return ", ".join(map(str, names))
