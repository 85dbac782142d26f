"""Zarr v3: one hierarchy that xarray opens, with attributes of CF and GeoZarr."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

from hpckit.base.files import PARTIAL, flush_folder, flush_tree, make_folder, remove_tree
from hpckit.cubes.attributes import CONVENTIONS
from hpckit.processgraph.cube import Cube
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import cf, place
from hpckit.reduce.graphs.formats.arrange import as_numbers, edge_of, layout_of, number_type, unsuitable, windows
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import (
    Format,
    Options,
    Result,
    ResultFile,
    grid_of,
    is_raster,
)
from hpckit.reduce.graphs.formats.statistics import Collected, described

MEDIA_TYPE: Final = "application/vnd.zarr; version=3"
_CHUNK: Final = 512


def check(kind: Value, options: Options) -> None:
    """Refuse what has no x and y, texts, and bands named as dimensions are."""
    if not is_raster(kind):
        raise unsuitable("Zarr holds rasters, and the result has no x and y", "save it as CSV, Parquet or netCDF")
    number_type(kind)
    cf.variables(layout_of(kind))


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write the hierarchy window by window: a window is a shard, so each file is written once."""
    kind: Cube = result.type
    layout, dtype = layout_of(kind), number_type(kind)
    (path,) = folder.claim([f"{options['filename_prefix']}.zarr"])
    variables = cf.variables(layout)
    collected = [Collected() for _ in variables]
    with _replaced(path) as temporary:
        targets = _prepared(temporary, kind)
        for box in windows(kind, edge_of(kind)):
            values = as_numbers(layout.arranged(result.read(box)), dtype)
            values = values[np.newaxis] if layout.bands is None else np.moveaxis(values, _band_axis(kind), 0)
            for target, one, band in zip(targets, collected, values, strict=True):
                target[..., box.top : box.bottom, box.left : box.right] = band
                one.add(band)
    return [
        ResultFile(
            path,
            MEDIA_TYPE,
            ", ".join(variable.name for variable in variables),
            bands=described(layout, range(len(variables)), dtype, collected),
            dimensions=place.dimensions(kind),
            **place.of_grid(grid_of(kind)),
            **place.of_labels(layout.labels_of_time),
        )
    ]


def _band_axis(kind: Cube) -> int:
    layout = layout_of(kind)
    return [dim is layout.bands for dim in layout.dims].index(True)


def _prepared(path: Path, kind: Cube) -> list[Any]:
    """Metadata and coordinates, and arrays to write bands to."""
    import zarr
    from zarr.codecs import ZstdCodec

    layout, edge = layout_of(kind), edge_of(kind)
    with warnings.catch_warnings():
        # Texts, and metadata of all arrays in one file, are not in the specification of Zarr v3 yet.
        warnings.filterwarnings("ignore", module="zarr")
        group = zarr.open_group(path, mode="w", zarr_format=3, attributes=_attributes(kind))
        for name, coordinate in cf.coordinates(kind, layout).items():
            values = coordinate.values.astype(str) if coordinate.values.dtype == object else coordinate.values
            texts: dict[str, Any] = {"dtype": str} if values.dtype.kind == "U" else {"dtype": values.dtype}
            made = group.create_array(
                name, shape=values.shape, dimension_names=[name], attributes=coordinate.attributes, **texts
            )
            made[...] = values
        crs = group.create_array(cf.GRID_MAPPING, shape=(), dtype="i4", attributes=_plain(cf.grid_mapping_of(kind)))
        crs[...] = 0
        dims = [dim for dim in layout.dims if dim is not layout.bands]
        shape = tuple(len(dim.labels) for dim in dims[:-2]) + grid_of(kind).shape
        chunk = min(_CHUNK, edge)
        dtype = number_type(kind)
        boolean = {"dtype": "bool"} if kind.values.dtype.kind == "b" else {}
        for variable in cf.variables(layout):
            group.create_array(
                variable.name,
                shape=shape,
                dtype=dtype,
                chunks=(*(1 for _ in dims[:-2]), chunk, chunk),
                shards=(*(1 for _ in dims[:-2]), edge, edge) if edge > chunk else None,
                dimension_names=[dim.name for dim in dims],
                attributes={**variable.attributes, "grid_mapping": cf.GRID_MAPPING, **boolean},
                compressors=ZstdCodec(level=3),
                fill_value=np.nan if dtype.kind == "f" else 0,
            )
        zarr.consolidate_metadata(path, zarr_format=3)
    return [group[variable.name] for variable in cf.variables(layout)]


def _attributes(kind: Cube) -> dict[str, Any]:
    """Attributes of the group: the Zarr conventions `proj` and `spatial`."""
    grid = grid_of(kind)
    known = place.of_crs(grid.crs)
    crs = {"proj:code": f"EPSG:{known['epsg']}"} if "epsg" in known else {"proj:wkt2": known["wkt"]}
    names = {dim.axis: dim.name for dim in kind.dims if dim.axis}
    return {
        "Conventions": cf.CONVENTIONS,
        "zarr_conventions": CONVENTIONS,
        **crs,
        "spatial:dimensions": [names["y"], names["x"]],
        "spatial:transform": [grid.dx, 0.0, grid.left, 0.0, grid.dy, grid.top],
        "spatial:shape": list(grid.shape),
        "spatial:bbox": list(grid.bounds),
        "spatial:registration": "pixel",
    }


def _plain(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in attributes.items()}


@contextmanager
def _replaced(path: Path) -> Iterator[Path]:
    """Yield a folder that becomes `path` when the block ends well; an earlier result is removed then."""
    make_folder(path.parent)
    mark = uuid.uuid4().hex[:12]
    temporary, former = (path.with_name(f".{path.stem}.{mark}.{word}{PARTIAL}") for word in ("new", "old"))
    try:
        yield temporary
        flush_tree(temporary)
        if path.exists():
            path.rename(former)
        temporary.rename(path)
        flush_folder(path.parent)
    finally:
        for left in (temporary, former):
            if left.exists():
                remove_tree(left)


FORMAT: Final = Format(
    name="Zarr",
    title="Zarr v3",
    description="One hierarchy with an array for each band and all other dimensions; null is NaN.",
    gis_data_types=("raster",),
    media_type=MEDIA_TYPE,
    options={"filename_prefix": PREFIX},
    check=check,
    write=write,
)
