"""Vector cubes made from others: whose geometries are some of theirs, or were made from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from hpckit.processgraph.cube import Cube, Dimension, Geometries
from hpckit.processgraph.process import Asked, Call
from hpckit.space.box import Box


def derived(call: Call, geometries: Geometries, source: npt.NDArray[np.int64]) -> Cube:
    """The part of a vector cube that is asked for, with values of the cube `data`.

    Parameters
    ----------
    geometries : Geometries
        All of the result.
    source : ndarray of int64, shape (geometries,)
        Which geometry of `data` each one has its values from; ascending.
    """
    features = features_of(call.asked)
    wanted = source[np.asarray(features, dtype=np.int64)]
    needed = tuple(np.unique(wanted).tolist())
    is_run = len(needed) > 0 and needed[-1] - needed[0] == len(needed) - 1
    data = call.cube("data", range(needed[0], needed[-1] + 1) if is_run else needed)
    axis = next(place for place, dim in enumerate(data.dims) if dim.kind == "geometry")
    values = np.take(data.values, np.searchsorted(needed, wanted), axis=axis)
    dims = list(data.dims)
    dims[axis] = replace(dims[axis], crs=geometries.crs)
    return replace(data, values=values, dims=tuple(dims), geometries=geometries, features=features)


def features_of(asked: Asked) -> range | tuple[int, ...]:
    """Which geometries are asked for; none for types."""
    return range(0) if asked is None or isinstance(asked, Box) else asked


def chosen(geometries: Geometries, rows: npt.NDArray[np.int64]) -> Geometries:
    """Some of the geometries, with their ids and properties; a row may occur several times."""
    where = rows.tolist()
    return Geometries(
        geometries.shapes[rows],
        geometries.crs,
        tuple(geometries.ids[row] for row in where) if geometries.ids else (),
        tuple(geometries.properties[row] for row in where) if geometries.properties else (),
    )


def plain(geometries: Geometries, name: str = "geometry") -> tuple[Dimension, ...]:
    """The dimension of geometries alone."""
    return (Dimension(name, "geometry", crs=geometries.crs),)
