"""PNG: a picture for each label of time, of one band or three, of numbers from 0 to 255."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from affine import Affine

from hpckit.base.files import atomic_path
from hpckit.processgraph.cube import Cube, Values
from hpckit.processgraph.process import Value
from hpckit.reduce.graphs.formats import place
from hpckit.reduce.graphs.formats.arrange import Layout, edge_of, layout_of, number_type, text, unsuitable, windows
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.names import dated
from hpckit.reduce.graphs.formats.options import PREFIX
from hpckit.reduce.graphs.formats.result import (
    BandOfFile,
    Format,
    Options,
    Result,
    ResultFile,
    grid_of,
    is_raster,
)

MEDIA_TYPE: Final = "image/png"
_MOST_PIXELS: Final = 32_000_000
"""Of all pictures together: they are kept in memory, since PNG is written in one go."""


def check(kind: Value, options: Options) -> None:
    """Refuse what is no picture: other than one or three bands, more dimensions, too many pixels."""
    if not is_raster(kind):
        raise unsuitable("PNG holds pictures, and the result has no x and y", "save it as CSV or JSON")
    layout = layout_of(kind)
    number_type(kind)
    count = len(layout.names_of_bands)
    if layout.others or count not in (1, 3):
        raise unsuitable(
            f"PNG holds one band or three, and the result has {count}"
            if not layout.others
            else f"PNG holds dimensions x, y, t and bands, and the result has {layout.others[0].name} besides",
            "choose bands with filter_bands, or save the result as GTiff or netCDF",
        )
    rows, columns = grid_of(kind).shape
    pixels = rows * columns * len(layout.labels_of_time)
    if pixels > _MOST_PIXELS:
        raise unsuitable(
            f"PNG holds at most {_MOST_PIXELS:,} pixels, and the result has {pixels:,}", "save it as GTiff"
        )


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write a picture for each label of time; null is transparent, numbers are rounded and clipped to 0 … 255."""
    kind: Cube = result.type
    layout, grid = layout_of(kind), grid_of(kind)
    names = [f"{options['filename_prefix']}{name}.png" for name in dated(layout.labels_of_time)]
    paths = folder.claim(names)
    count = len(layout.names_of_bands)
    pictures = np.zeros((len(paths), count + 1, *grid.shape), "u1")
    for box in windows(kind, edge_of(kind)):
        values = layout.by_time_and_band(result.read(box))
        pictures[..., box.top : box.bottom, box.left : box.right] = _bytes(values)
    for path, picture in zip(paths, pictures, strict=True):
        _write(path, kind, picture)
    return [_described(kind, layout, path, label) for path, label in zip(paths, layout.labels_of_time, strict=True)]


def _bytes(values: Values) -> Values:
    """Bands as bytes, followed by the alpha band."""
    numbers = values.astype("f4")
    valid = ~np.isnan(numbers).any(axis=1, keepdims=True)
    clipped = np.clip(np.rint(np.where(valid, numbers, 0)), 0, 255)
    return np.concatenate([clipped, np.where(valid, 255, 0)], axis=1).astype("u1")


def _write(path: Path, kind: Cube, picture: Values) -> None:
    grid = grid_of(kind)
    with (
        atomic_path(path) as temporary,
        rasterio.open(
            temporary,
            "w",
            driver="PNG",
            width=grid.columns,
            height=grid.rows,
            count=len(picture),
            dtype="uint8",
            transform=Affine.identity(),
        ) as target,
    ):
        target.write(picture)


def _described(kind: Cube, layout: Layout, path: Path, label: object) -> ResultFile:
    bands = tuple(BandOfFile(name, "uint8") for name in layout.names_of_bands)
    title = ", ".join(layout.names_of_bands) + ("" if label is None else f", {text(str(label))}")
    times = place.of_labels([None if label is None else str(label)])
    return ResultFile(
        path, MEDIA_TYPE, title, ("data", "visual"), bands=bands, **place.of_grid(grid_of(kind)), **times
    )


FORMAT: Final = Format(
    name="PNG",
    title="Portable Network Graphics",
    description="A picture for each label of time, of one or three bands with numbers from 0 to 255, as "
    "linear_scale_range makes them; null is transparent. Pictures have no CRS.",
    gis_data_types=("raster",),
    media_type=MEDIA_TYPE,
    options={"filename_prefix": PREFIX},
    check=check,
    write=write,
)
