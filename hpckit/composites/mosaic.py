"""Mosaics of the files of all tiles: a VRT for each CRS, or one Cloud-Optimised GeoTIFF in a CRS of choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape, quoteattr

import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from hpckit.composites.geotiff import as_cog
from hpckit.composites.products import Layer
from hpckit.composites.settings import Mosaic
from hpckit.files import write_text

_GDAL_TYPES: Final = {"uint16": "UInt16", "float32": "Float32"}
_STRIP: Final = 512


@dataclass(frozen=True, slots=True)
class _Source:
    path: Path
    epsg: int
    transform: Affine
    shape: tuple[int, int]


def write_vrts(folder: Path, stem: str, files: Sequence[Path], layers: Sequence[Layer]) -> list[Path]:
    """Write a VRT over files of one kind for each CRS that they are in.

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
    """Warp files of one kind to one grid and write them as one GeoTIFF; in overlaps the first one counts."""
    first = layers[0]
    continuous = first.content in ("values", "deviations")
    resampling = Resampling.bilinear if continuous else Resampling.nearest
    with ExitStack() as stack:
        sources = [stack.enter_context(rasterio.open(file)) for file in files]
        transform, rows, columns = _grid(sources, mosaic)
        warped = [
            stack.enter_context(
                WarpedVRT(
                    source,
                    crs=mosaic.crs,
                    transform=transform,
                    width=columns,
                    height=rows,
                    resampling=resampling,
                    nodata=first.nodata,
                    **({} if first.nodata is None else {"src_nodata": first.nodata}),
                )
            )
            for source in sources
        ]
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
                window = Window(0, top, columns, min(_STRIP, rows - top))
                _merge(warped, window, target)


def _merge(warped: Sequence[Any], window: Window, target: Any) -> None:
    """Write a strip: of each pixel the first file that has it."""
    merged, missing = None, None
    for source in warped:
        values = source.read(window=window)
        empty = source.read_masks(window=window) == 0
        if merged is None:
            merged, missing = values, empty
        else:
            merged[missing] = values[missing]
            missing &= empty
    target.write(merged, window=window)


def _grid(sources: Sequence[Any], mosaic: Mosaic) -> tuple[Affine, int, int]:
    """Grid that holds all files, aligned to multiples of the resolution."""
    boxes = [transform_bounds(s.crs, mosaic.crs, *s.bounds) for s in sources]
    edge = mosaic.resolution
    west, south = (math.floor(min(box[n] for box in boxes) / edge) * edge for n in (0, 1))
    east, north = (math.ceil(max(box[n] for box in boxes) / edge) * edge for n in (2, 3))
    return Affine(edge, 0, west, 0, -edge, north), round((north - south) / edge), round((east - west) / edge)


def _look(path: Path) -> _Source:
    with rasterio.open(path) as source:
        return _Source(path, source.crs.to_epsg(), source.transform, source.shape)


def _vrt(folder: Path, sources: Sequence[_Source], layers: Sequence[Layer]) -> str:
    edge = sources[0].transform.a
    west = min(source.transform.c for source in sources)
    north = max(source.transform.f for source in sources)
    east = max(source.transform.c + edge * source.shape[1] for source in sources)
    south = min(source.transform.f - edge * source.shape[0] for source in sources)
    columns, rows = round((east - west) / edge), round((north - south) / edge)
    with rasterio.open(sources[0].path) as first:
        wkt, colours = first.crs.to_wkt(), first.colorinterp
    bands = "".join(
        _band(folder, number, layer, colour, sources, west, north, edge)
        for number, (layer, colour) in enumerate(zip(layers, colours, strict=True), 1)
    )
    geo = f"{west!r}, {edge!r}, 0.0, {north!r}, 0.0, {-edge!r}"
    return (
        f'<VRTDataset rasterXSize="{columns}" rasterYSize="{rows}">\n'
        f" <SRS>{escape(wkt)}</SRS>\n <GeoTransform>{geo}</GeoTransform>\n{bands}"
        f' <OverviewList resampling="nearest">2 4 8 16</OverviewList>\n</VRTDataset>\n'
    )


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
    inside = "" if layer.nodata is None else f"   <NODATA>{layer.nodata:g}</NODATA>\n"
    interpretation = colour.name.capitalize() if colour.name in ("gray", "red", "green", "blue") else "Undefined"
    parts = []
    for source in sources:
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
        f"  <ColorInterp>{interpretation}</ColorInterp>\n{''.join(parts)} </VRTRasterBand>\n"
    )


def _common(one: Path, other: Path) -> Path:
    """Deepest folder that holds both."""
    return max((p for p in (one, *one.parents) if other.is_relative_to(p)), key=lambda p: len(p.parts))
