"""GeoTIFF: one Cloud-Optimised file for each label of time, with all bands, or one for each of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from hpckit.processgraph.cube import NODATA, Cube
from hpckit.processgraph.process import Value
from hpckit.reduce.cog import BLOCK, cog
from hpckit.reduce.graphs.formats import place
from hpckit.reduce.graphs.formats.arrange import (
    Layout,
    as_numbers,
    edge_of,
    layout_of,
    number_type,
    text,
    unsuitable,
    windows,
)
from hpckit.reduce.graphs.formats.folder import Folder
from hpckit.reduce.graphs.formats.names import dated, safe, unique
from hpckit.reduce.graphs.formats.options import PREFIX, invalid, nearest
from hpckit.reduce.graphs.formats.result import (
    Format,
    Option,
    Options,
    Result,
    ResultFile,
    grid_of,
    is_raster,
)
from hpckit.reduce.graphs.formats.statistics import Collected, described

MEDIA_TYPE: Final = "image/tiff; application=geotiff; profile=cloud-optimized"
_AT_ONCE: Final = 256
"""Files that are written at the same time: fewer than a process may have open."""
_CACHE_BYTES: Final = 16 << 20
"""GDAL would take a twentieth of the machine's memory, and is not faster with it."""
_TILE: Final = 16
"""Edges of tiles are multiples of it."""
_COLOURS: Final = {
    ("red", "green", "blue"): (ColorInterp.red, ColorInterp.green, ColorInterp.blue),
    ("r", "g", "b"): (ColorInterp.red, ColorInterp.green, ColorInterp.blue),
}
_METHODS: Final = ("nearest", "average", "bilinear", "cubic", "cubicspline", "lanczos", "mode")


@dataclass(frozen=True, slots=True)
class _File:
    """One file: a label of time, and the bands in it."""

    path: Path
    time: int
    label: Any
    bands: Sequence[int]
    """Neighbours."""
    statistics: list[Collected] = field(default_factory=list)


def check(kind: Value, options: Options) -> None:
    """Refuse what has no x and y, or more dimensions than time and bands."""
    if not is_raster(kind):
        raise unsuitable("GTiff holds rasters, and the result has no x and y", "save it as CSV, JSON or netCDF")
    layout = layout_of(kind)
    if layout.others:
        more = ", ".join(dim.name for dim in layout.others)
        raise unsuitable(
            f"GTiff holds dimensions x, y, t and bands, and the result has {more} besides",
            "reduce or drop these dimensions, or save the result as netCDF or Zarr",
        )
    number_type(kind)
    for dim in layout.labelled:
        if not dim.labels:
            raise unsuitable(f"the result has no label along {dim.name}, so there is nothing to write")
    _check_tags(options["bands_metadata"], layout.names_of_bands)


def _check_tags(tags: Mapping[str, Any], bands: Sequence[str]) -> None:
    for name, of_band in tags.items():
        if name not in bands:
            raise invalid(f"bands_metadata names a band {name!r} that the result lacks", nearest(name, bands))
        if not isinstance(of_band, Mapping):
            raise invalid(f"bands_metadata of {name} must be an object, not {of_band!r}")
        for key in ("SCALE", "OFFSET"):
            if isinstance(of_band.get(key, 1), bool) or not isinstance(of_band.get(key, 1), int | float):
                raise invalid(f"{key} of band {name} in bands_metadata must be a number, not {of_band[key]!r}")


def write(result: Result, options: Options, folder: Folder) -> list[ResultFile]:
    """Write all files, some at a time, each window into all of them."""
    kind = result.type
    layout = layout_of(kind)
    files = _files(layout, options, folder)
    with rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES):
        for some in _batches(files):
            _write(result, layout, some, options)
    return [_described(kind, layout, file) for file in files]


def _files(layout: Layout, options: Options, folder: Folder) -> list[_File]:
    names, bands, prefix = dated(layout.labels_of_time), layout.names_of_bands, options["filename_prefix"]
    groups: list[tuple[str, Sequence[int]]] = [("", range(len(bands)))]
    if options["separate_asset_per_band"]:
        words = unique(f"_{safe(band)}" for band in bands)
        groups = [(word, [number]) for number, word in enumerate(words)]
    wanted = [(name + word, time, some) for time, name in enumerate(names) for word, some in groups]
    paths = folder.claim(unique(f"{prefix}{name}.tif" for name, _, _ in wanted))
    return [
        _File(path, time, layout.labels_of_time[time], some, [Collected() for _ in some])
        for path, (_, time, some) in zip(paths, wanted, strict=True)
    ]


def _batches(files: Sequence[_File]) -> Iterator[Sequence[_File]]:
    for first in range(0, len(files), _AT_ONCE):
        yield files[first : first + _AT_ONCE]


def _write(result: Result, layout: Layout, files: Sequence[_File], options: Options) -> None:
    kind = result.type
    dtype = number_type(kind)
    with ExitStack() as stack:
        targets = [stack.enter_context(_opened(kind, layout, file, options)) for file in files]
        for box in windows(kind, min(BLOCK, edge_of(kind))):
            values = as_numbers(layout.by_time_and_band(result.read(box)), dtype)
            window = Window(box.left, box.top, box.right - box.left, box.bottom - box.top)
            for file, target in zip(files, targets, strict=True):
                part = values[file.time, file.bands[0] : file.bands[-1] + 1]
                target.write(part, window=window)
                for collected, band in zip(file.statistics, part, strict=True):
                    collected.add(band)


def _opened(kind: Cube, layout: Layout, file: _File, options: Options) -> Any:
    grid, dtype = grid_of(kind), number_type(kind)
    names = [layout.names_of_bands[number] for number in file.bands]
    profile = {
        "width": grid.columns,
        "height": grid.rows,
        "count": len(names),
        "dtype": dtype.name,
        "crs": grid.crs,
        "transform": Affine(grid.dx, 0, grid.left, 0, grid.dy, grid.top),
        "nodata": np.nan if dtype.kind == "f" else kind.attributes.get(NODATA),
        "photometric": "MINISBLACK",
    }
    continuous = dtype.kind == "f"
    return cog(
        file.path,
        profile,
        lambda target: _describe(target, kind, names, file.label, options),
        compress=options["compression"],
        resampling=options["overview_method"] or ("average" if continuous else "nearest"),
        overviews=options["overviews"] != "OFF",
        window=max(_TILE, edge_of(kind)),
        finish=lambda target: _note_statistics(target, file.statistics),
    )


def _describe(target: Any, kind: Cube, names: Sequence[str], label: Any, options: Options) -> None:
    target.descriptions = names
    plain = (ColorInterp.gray, *(ColorInterp.undefined for _ in names[1:]))
    target.colorinterp = _COLOURS.get(tuple(name.lower() for name in names), plain)  # type: ignore[arg-type]
    if label is not None:
        target.update_tags(TIME=text(label))
    target.update_tags(**{str(key): str(value) for key, value in options["file_metadata"].items()})
    wanted: Mapping[str, Mapping[str, Any]] = options["bands_metadata"]
    if any("SCALE" in wanted.get(name, {}) for name in names):
        target.scales = tuple(float(wanted.get(name, {}).get("SCALE", 1)) for name in names)
    if any("OFFSET" in wanted.get(name, {}) for name in names):
        target.offsets = tuple(float(wanted.get(name, {}).get("OFFSET", 0)) for name in names)
    for number, name in enumerate(names, 1):
        tags = {key: str(value) for key, value in wanted.get(name, {}).items() if key not in ("SCALE", "OFFSET")}
        target.update_tags(number, **tags)


def _note_statistics(target: Any, collected: Sequence[Collected]) -> None:
    """Statistics as GDAL notes them, so that viewers stretch bands without a look at all pixels."""
    for number, one in enumerate(collected, 1):
        found = one.result()
        if found.mean is not None:
            target.update_tags(
                number,
                STATISTICS_MINIMUM=repr(found.minimum),
                STATISTICS_MAXIMUM=repr(found.maximum),
                STATISTICS_MEAN=repr(found.mean),
                STATISTICS_STDDEV=repr(found.stddev),
                STATISTICS_VALID_PERCENT=f"{found.valid_percent:.4g}",
            )


def _described(kind: Cube, layout: Layout, file: _File) -> ResultFile:
    dtype = number_type(kind)
    bands = described(layout, file.bands, dtype, file.statistics)
    when = "" if file.label is None else f", {text(file.label)}"
    return ResultFile(
        file.path,
        MEDIA_TYPE,
        f"{', '.join(band.name for band in bands)}{when}",
        bands=bands,
        **place.of_grid(grid_of(kind)),
        **place.of_labels([file.label]),
    )


FORMAT: Final = Format(
    name="GTiff",
    title="GeoTIFF (Cloud-Optimised)",
    description="One file for each label of the temporal dimension, with all bands; null is NaN.",
    gis_data_types=("raster",),
    media_type=MEDIA_TYPE,
    options={
        "filename_prefix": PREFIX,
        "overviews": Option(
            "Whether files have overviews.", {"type": "string", "enum": ["AUTO", "ALL", "OFF"]}, "AUTO"
        ),
        "overview_method": Option(
            "How pixels of overviews are made; by default the average of floating-point numbers, else the nearest.",
            {"type": "string", "enum": list(_METHODS)},
        ),
        "compression": Option(
            "How pixels are compressed.", {"type": "string", "enum": ["deflate", "zstd", "lzw", "none"]}, "deflate"
        ),
        "separate_asset_per_band": Option("Write a file for each band.", {"type": "boolean"}, False),
        "bands_metadata": Option(
            "Tags of bands by name of the band; SCALE and OFFSET are those of GDAL.", {"type": "object"}, {}
        ),
        "file_metadata": Option("Tags of files.", {"type": "object"}, {}),
    },
    check=check,
    write=write,
    aliases=("COG", "GeoTIFF"),
)
