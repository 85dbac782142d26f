"""Mosaics of the files of all tiles: a VRT for each CRS, or one Cloud-Optimised GeoTIFF in a CRS of choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from hpckit.base.files import write_text
from hpckit.campaign.composite import Mosaic
from hpckit.reduce.composites.geotiff import as_cog
from hpckit.reduce.composites.products import Layer
from hpckit.space.box import Box

_GDAL_TYPES: Final = {"uint16": "UInt16", "float32": "Float32"}
_STRIP: Final = 512
_TOLERANCE: Final = 0.01
"""Pixels by which GDAL may misplace a pixel; by default it is an eighth, which depends on what is warped at once."""


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    epsg: int
    transform: Affine
    shape: tuple[int, int]


def write_vrts(folder: Path, stem: str, files: Sequence[Path], layers: Sequence[Layer]) -> list[Path]:
    """Write a VRT over files of one kind for each CRS that they are in; the first that has data counts.

    Returns
    -------
    list of Path
        `<stem>_EPSG32631.vrt`; paths in them are relative.
    """
    sources = [_look(path) for path in files]
    written = []
    for epsg in sorted({source.epsg for source in sources}):
        path = folder / f"{stem}_EPSG{epsg}.vrt"
        write_text(path, _vrt(folder, [source for source in sources if source.epsg == epsg], layers))
        written.append(path)
    return written


def write_mosaic(path: Path, files: Sequence[Path], layers: Sequence[Layer], mosaic: Mosaic, compress: str) -> None:
    """Warp files of one kind to one grid, and write them as one GeoTIFF; the first that has data counts."""
    first = layers[0]
    with ExitStack() as stack:
        sources = [stack.enter_context(rasterio.open(file, driver="GTiff")) for file in files]
        transform, rows, columns = _grid(sources, mosaic)
        warped = []
        for source in sources:
            place = _place(source, mosaic.crs, transform, rows, columns)
            views = [_warp(source, mosaic.crs, transform, place, first, how) for how in _methods(first)]
            warped.append(_Warped([stack.enter_context(view) for view in views], place))
        profile = {
            "driver": "GTiff",
            "width": columns,
            "height": rows,
            "count": len(layers),
            "dtype": first.dtype,
            "crs": mosaic.crs,
            "transform": transform,
            "nodata": first.nodata,
        }
        with as_cog(path, profile, layers, compress=compress, threads=1) as target:
            for top in range(0, rows, _STRIP):
                strip = Box(top, 0, min(top + _STRIP, rows), columns)
                window = Window(0, top, columns, strip.bottom - top)
                target.write(_merge(warped, strip, layers), window=window)


@dataclass(frozen=True, slots=True)
class _Warped:
    """A file on its part of the mosaic's grid."""

    views: Sequence[WarpedVRT]
    """Its values; and, where these are mixtures, those of the pixels below the centres, which say where data are."""
    place: Box

    def read(self, window: Window, nodata: float) -> npt.NDArray[Any]:
        """Values, and nodata where the centre of a pixel lies in none."""
        values, *below = (view.read(window=window) for view in self.views)
        if not below:
            return np.asarray(values)
        has = np.isfinite(below[0]) if nodata != nodata else below[0] != nodata
        return np.asarray(np.where(has, values, values.dtype.type(nodata)))


def _methods(layer: Layer) -> tuple[Resampling, ...]:
    continuous = layer.content in ("values", "deviations")
    return (Resampling.bilinear, Resampling.nearest) if continuous else (Resampling.nearest,)


def _warp(source: Any, crs: str, transform: Affine, place: Box, layer: Layer, how: Resampling) -> WarpedVRT:
    """A file as it looks on its part of the mosaic's grid."""
    return WarpedVRT(
        source,
        crs=crs,
        transform=transform @ Affine.translation(place.left, place.top),
        width=place.right - place.left,
        height=place.bottom - place.top,
        resampling=how,
        nodata=layer.nodata,
        tolerance=_TOLERANCE,
        # Else a pixel counts as nodata only where all bands have none, and 0 is mixed with what lies beside it.
        UNIFIED_SRC_NODATA="NO",
        **({} if layer.nodata is None else {"src_nodata": layer.nodata}),
    )


def _place(source: Any, crs: str, transform: Affine, rows: int, columns: int) -> Box:
    """Pixels of the mosaic that a file may reach."""
    west, south, east, north = transform_bounds(source.crs, crs, *source.bounds)
    left, top = ~transform @ (west, north)
    right, bottom = ~transform @ (east, south)
    reached = Box(math.floor(top) - 1, math.floor(left) - 1, math.ceil(bottom) + 1, math.ceil(right) + 1)
    return reached.within((rows, columns))


def _merge(warped: Sequence[_Warped], strip: Box, layers: Sequence[Layer]) -> npt.NDArray[Any]:
    """Pixels of a strip: of each band and pixel the first file that has data. A count of 0 is no data here."""
    fill = layers[0].nodata or 0
    shape = (len(layers), strip.bottom - strip.top, strip.right - strip.left)
    merged = np.full(shape, fill, dtype=layers[0].dtype)
    for source in warped:
        place = source.place
        top, bottom = max(place.top, strip.top), min(place.bottom, strip.bottom)
        if top >= bottom:
            continue
        window = Window(0, top - place.top, place.right - place.left, bottom - top)
        values = source.read(window, fill)
        part = merged[:, top - strip.top : bottom - strip.top, place.left : place.right]
        np.copyto(part, values, where=np.isnan(part) if fill != fill else part == fill)
    return merged


def _grid(sources: Sequence[Any], mosaic: Mosaic) -> tuple[Affine, int, int]:
    """Grid that holds all files, aligned to multiples of the resolution."""
    boxes = [transform_bounds(s.crs, mosaic.crs, *s.bounds) for s in sources]
    edge = mosaic.resolution
    west, south = (math.floor(min(box[n] for box in boxes) / edge) * edge for n in (0, 1))
    east, north = (math.ceil(max(box[n] for box in boxes) / edge) * edge for n in (2, 3))
    return Affine(edge, 0, west, 0, -edge, north), round((north - south) / edge), round((east - west) / edge)


def _look(path: Path) -> _Source:
    with rasterio.open(path, driver="GTiff") as source:
        return _Source(path, source.crs.to_epsg(), source.transform, source.shape)


def _vrt(folder: Path, sources: Sequence[_Source], layers: Sequence[Layer]) -> str:
    edge = sources[0].transform.a
    west = min(source.transform.c for source in sources)
    north = max(source.transform.f for source in sources)
    east = max(source.transform.c + edge * source.shape[1] for source in sources)
    south = min(source.transform.f - edge * source.shape[0] for source in sources)
    columns, rows = round((east - west) / edge), round((north - south) / edge)
    with rasterio.open(sources[0].path, driver="GTiff") as first:
        wkt, colours = first.crs.to_wkt(), first.colorinterp
    bands = "".join(
        _band(folder, number, layer, colour, sources, west, north, edge)
        for number, (layer, colour) in enumerate(zip(layers, colours, strict=True), 1)
    )
    geo = f"{west!r}, {edge!r}, 0.0, {north!r}, 0.0, {-edge!r}"
    return (
        f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}">\n'
        f" <SRS>{escape(wkt)}</SRS>\n <GeoTransform>{geo}</GeoTransform>\n{bands}"
        f"{_overviews(max(rows, columns), layers[0])}</VRTDataset>\n"
    )


def _overviews(size: int, layer: Layer) -> str:
    """Overviews down to 512 pixels, resampled as those of the files."""
    factors = [str(2**power) for power in range(1, 16) if size > 512 * 2 ** (power - 1)]
    resampling = "average" if layer.content in ("values", "deviations") else "nearest"
    return f' <OverviewList resampling="{resampling}">{" ".join(factors)}</OverviewList>\n' if factors else ""


def _band(
    folder: Path,
    number: int,
    layer: Layer,
    colour: ColorInterp,
    sources: Sequence[_Source],
    west: float,
    north: float,
    edge: float,
) -> str:
    nodata = "" if layer.nodata is None else f"  <NoDataValue>{layer.nodata:g}</NoDataValue>\n"
    # A count of 0 does not hide the count of a tile below, though it is a number.
    inside = f"   <NODATA>{layer.nodata or 0:g}</NODATA>\n"
    parts = []
    for source in reversed(sources):  # GDAL draws each over those before
        rows, columns = source.shape
        relative = Path(*[".."] * len(folder.relative_to(_common(folder, source.path)).parts))
        name = relative / source.path.relative_to(_common(folder, source.path))
        parts.append(
            f'  <ComplexSource>\n   <SourceFilename relativeToVRT="1">{escape(name.as_posix())}</SourceFilename>\n'
            f"   <SourceBand>{number}</SourceBand>\n"
            f'   <SrcRect xOff="0" yOff="0" xSize="{columns}" ySize="{rows}"/>\n'
            f'   <DstRect xOff="{round((source.transform.c - west) / edge)}" '
            f'yOff="{round((north - source.transform.f) / edge)}" xSize="{columns}" ySize="{rows}"/>\n'
            f"{inside}  </ComplexSource>\n"
        )
    return (
        f' <VRTRasterBand dataType="{_GDAL_TYPES[layer.dtype]}" band={quoteattr(str(number))}>\n'
        f"  <Description>{escape(layer.band)}</Description>\n{nodata}"
        f"  <Offset>{layer.offset!r}</Offset>\n  <Scale>{layer.scale!r}</Scale>\n"
        f"  <ColorInterp>{colour.name}</ColorInterp>\n{''.join(parts)} </VRTRasterBand>\n"
    )


def _common(one: Path, other: Path) -> Path:
    """Deepest folder that holds both."""
    return max((p for p in (one, *one.parents) if other.is_relative_to(p)), key=lambda p: len(p.parts))
