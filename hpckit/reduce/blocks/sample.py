"""Samples for training: features of pixels at points or in zones, as GeoParquet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.base.files import atomic_path
from hpckit.base.quantities import format_count
from hpckit.errors import GraphError, HpckitError, VectorError
from hpckit.processgraph.cube import Grid
from hpckit.processgraph.process import Request
from hpckit.processgraph.times import period_of
from hpckit.reduce.blocks.features import feature_names, features_of
from hpckit.reduce.blocks.job import BlockEnvironment
from hpckit.reduce.graphs.source import CollectionSource
from hpckit.space.box import Box
from hpckit.space.vector.layers import read_features

if TYPE_CHECKING:
    import pyarrow as pa

Places = npt.NDArray[np.int64]
_EDGE: Final = 1024
"""Of the parts of the grid that are read at once."""
_LABEL: Final = "label"
_FEATURE: Final = "feature"


@dataclass(frozen=True)
class Samples:
    """Pixels with features and labels."""

    table: pa.Table
    """Columns `feature` (number of the point or zone), `label`, the features (float32), and `geometry`: the centre
    of the pixel as WKB, in the CRS of the cube."""
    features: list[str]
    """Names of the columns that models are trained with."""
    outside: int
    """Points and zones without a pixel in the cube."""
    incomplete: int
    """Pixels that were left out since they lack a feature."""


def sample(
    campaign: Path,
    path: Path,
    label: str,
    *,
    layer: str | None = None,
    bands: Sequence[str] | None = None,
    composite: str | None = None,
    period: tuple[str, str] | None = None,
    pixels: int = 20,
    seed: int = 0,
    incomplete: bool = False,
) -> Samples:
    """Features of pixels at points or in zones; see `hpckit.api.sample`."""
    source = _source(campaign, bands, composite, period)
    found = read_features(path, layer, label)
    if found.column is None:
        raise VectorError(f"{path}: {label!r} is no field", hint="name the field of the labels in `label`")
    shapes = np.asarray(shapely.from_wkb(found.wkb, on_invalid="ignore"))
    shapes = _projected(shapes, found.crs, source.grid)
    numbers, places = _pixels(shapes, source.grid, pixels, np.random.default_rng(seed))
    outside = len(shapes) - len(np.unique(numbers))
    if not len(numbers):
        raise VectorError(
            f"{path}: none of its {format_count(len(shapes), 'point or zone', 'points and zones')} has a pixel in "
            f"the cube of {campaign}",
            hint="compare the extent of the layer with that of the campaign, and its CRS",
        )
    values = _values(source, places)
    whole = np.ones(len(values), np.bool_) if incomplete else ~np.isnan(values).any(axis=1)
    if not whole.any():
        raise GraphError(
            f"each of the {format_count(len(values), 'pixel')} lacks a feature: some band has no data at some date",
            hint="sample a composite, or fewer dates; `incomplete=True` keeps pixels with gaps as NaN",
        )
    labels = found.column.to_pylist()
    names = feature_names(source.type)
    table = _table(source.grid, numbers[whole], places[whole], values[whole], labels, names)
    return Samples(table, names, outside, int((~whole).sum()))


def write_samples(samples: Samples, path: Path) -> None:
    """Write samples as GeoParquet.

    Raises
    ------
    HpckitError
        If the file cannot be written.
    """
    import pyarrow.parquet as pq

    try:
        with atomic_path(path) as temporary:
            pq.write_table(samples.table, temporary, compression="zstd")
    except OSError as error:
        raise HpckitError(f"{path}: cannot be written", hint="look at the folder and its disk") from error


def _source(
    campaign: Path, bands: Sequence[str] | None, composite: str | None, period: tuple[str, str] | None
) -> CollectionSource:
    request = Request(
        period=None if period is None else period_of(period, "period"), bands=None if bands is None else tuple(bands)
    )
    return BlockEnvironment({"own": campaign}, composite=composite).load_collection("own", request)


def _projected(shapes: npt.NDArray[np.object_], crs: Any, grid: Grid) -> npt.NDArray[np.object_]:
    import pyproj

    move = pyproj.Transformer.from_crs(crs, pyproj.CRS(grid.crs), always_xy=True)
    return np.asarray(shapely.transform(shapes, lambda xy: np.column_stack(move.transform(*xy.T))))


def _pixels(
    shapes: npt.NDArray[np.object_], grid: Grid, most: int, random: np.random.Generator
) -> tuple[Places, Places]:
    """Number of the shape, and row and column, of each pixel; of zones at most some, chosen at random."""
    numbers: list[Places] = []
    places: list[Places] = []
    for number, shape in enumerate(shapes):
        found = _of_shape(shape, grid) if shape is not None and not shape.is_empty else np.empty((0, 2), np.int64)
        if len(found) > most:
            found = found[np.sort(random.choice(len(found), most, replace=False))]
        numbers.append(np.full(len(found), number, np.int64))
        places.append(found)
    return np.concatenate(numbers), np.concatenate(places)


def _of_shape(shape: shapely.Geometry, grid: Grid) -> Places:
    """Pixels that points lie in, or whose centre lies within polygons."""
    if shape.geom_type in ("Point", "MultiPoint"):
        xy = shapely.get_coordinates(shape)
        found = np.floor((xy[:, ::-1] - (grid.top, grid.left)) / (grid.dy, grid.dx))
        kept: Places = found[((found >= 0) & (found < grid.shape)).all(axis=1)].astype(np.int64)
        return kept
    box = grid.box_of(shape.bounds).within(grid.shape)
    if box.is_empty:
        return np.empty((0, 2), np.int64)
    x, y = np.meshgrid(grid.xs(box), grid.ys(box))
    inside: Places = np.argwhere(shapely.contains_xy(shape, x, y)).astype(np.int64)
    inside += np.array([box.top, box.left], np.int64)
    return inside


def _values(source: CollectionSource, places: Places) -> npt.NDArray[np.float32]:
    """Features of pixels, shape (pixels, features)."""
    found = np.empty((len(places), source.type.values.shape[0] * source.type.values.shape[1]), np.float32)
    for chosen, box in _parts(places):
        cube = source.read(box)
        rows, columns = (places[chosen] - (box.top, box.left)).T
        found[chosen] = features_of(cube)[rows * box.shape[1] + columns]
    return found


def _parts(places: Places) -> Iterator[tuple[Places, Box]]:
    """Pixels by the part of the grid that they lie in, and the box around them."""
    parts, of_pixel = np.unique(places // _EDGE, axis=0, return_inverse=True)
    for number in range(len(parts)):
        chosen = np.flatnonzero(of_pixel.reshape(-1) == number)
        (top, left), (bottom, right) = places[chosen].min(axis=0), places[chosen].max(axis=0)
        yield chosen, Box(int(top), int(left), int(bottom) + 1, int(right) + 1)


def _table(
    grid: Grid,
    numbers: Places,
    places: Places,
    values: npt.NDArray[np.float32],
    labels: Sequence[Any],
    names: list[str],
) -> pa.Table:
    import pyarrow as pa
    import pyproj

    x = grid.left + (places[:, 1] + 0.5) * grid.dx
    y = grid.top + (places[:, 0] + 0.5) * grid.dy
    columns: Mapping[str, Any] = {
        _FEATURE: pa.array(numbers),
        _LABEL: pa.array([labels[number] for number in numbers.tolist()]),
        **{name: pa.array(column) for name, column in zip(names, values.T, strict=True)},
        "geometry": pa.array(shapely.to_wkb(shapely.points(x, y)), pa.binary()),
    }
    about = {"encoding": "WKB", "geometry_types": ["Point"], "crs": pyproj.CRS(grid.crs).to_json_dict()}
    geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": about}}
    return pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo)})
