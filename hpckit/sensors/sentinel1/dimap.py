"""Sentinel-1 products in BEAM-DIMAP, as SNAP writes them: CARD-BS, CARD-COH6 and their like.

`NAME.dim` is XML; `NAME.data/` holds one ENVI raster per band (`Gamma0_VV.img` and `.hdr`). People copy the folder
alone: it is read without the XML as far as its headers tell. Source: BEAM-DIMAP 2.12 as SNAP 6 to 9 write it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hpckit.base.xmltext import MOST_BYTES
from hpckit.errors import SceneError
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1.naming import Told, from_name
from hpckit.sensors.sentinel1.rasters import RasterGrid, product_scene
from hpckit.sensors.sentinel2.metadata import Metadata

_BAND: Final = re.compile(
    r"^(?P<what>gamma0|sigma0|beta0|coh(?:erence)?)_(?:IW\d?_)?(?P<pol>VV|VH|HH|HV)(?:_.*)?$", re.IGNORECASE
)
_ANGLE: Final = re.compile(r"^(?:projectedLocalIncidenceAngle|localIncidenceAngle|incidenceAngleFromEllipsoid)$")


def read_dimap(path: Path) -> Scene:
    """Read a `.dim` file, or a `.data` folder without one.

    Raises
    ------
    SceneError
        If the header has no data beside it, has no band that is known, or is broken.
    """
    told = from_name(path.stem, str(path.parent.name))
    data = path
    if path.suffix == ".dim":
        data = path.with_suffix(".data")
        told = _from_header(Metadata(path.name, _header(path))).over(told)
        if not data.is_dir():
            raise SceneError(
                f"its data are missing: no folder {data.name} beside the header",
                hint="the .dim file holds metadata only; copy the .data folder too",
            )
    names, missing = _bands(data)
    grid = _grid(data, names)
    assets = {band: f"{data.name}/{file}" for band, file in names.items()}
    kinds = {match["what"].lower() for file in names.values() if (match := _BAND.match(Path(file).stem))}
    level = "CARD-COH6" if any(kind.startswith("coh") for kind in kinds) else "CARD-BS"
    radiometry = "coherence" if level == "CARD-COH6" else _radiometry(kinds)
    return product_scene(path, level, told, grid, assets, radiometry, missing=missing)


def _radiometry(kinds: set[str]) -> str:
    backscatter = kinds & {"gamma0", "sigma0", "beta0"}
    if len(backscatter) != 1 or backscatter == {"beta0"}:
        found = ", ".join(sorted(backscatter)) or "none"
        raise SceneError(f"its bands must all be gamma0, or all sigma0; found {found}")
    return backscatter.pop()


def _bands(data: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Files by name of band, and those that a header has without data."""
    names: dict[str, str] = {}
    missing = []
    for header in sorted(path for path in data.iterdir() if path.suffix == ".hdr"):
        band = _band_name(header.stem)
        if band is None:
            continue
        image = header.with_suffix(".img")
        if image.is_file() and image.stat().st_size > 0:
            names[band] = image.name
        else:
            missing.append(image.name)
    if not names:
        what = f"{', '.join(missing)} missing" if missing else "no band Gamma0_*, Sigma0_* or coh_* in it"
        raise SceneError(f"{data.name}: {what}", hint="copy both .img and .hdr of each band")
    return names, tuple(missing)


def _band_name(stem: str) -> str | None:
    match = _BAND.match(stem)
    if match is None:
        return "INC" if _ANGLE.match(stem) else None
    return f"COH_{match['pol'].upper()}" if match["what"].lower().startswith("coh") else match["pol"].upper()


def _grid(data: Path, names: Mapping[str, str]) -> RasterGrid:
    """Where the rasters lie; a copy that was cut short reads as zeros, so that sizes are checked."""
    grids = {name: RasterGrid.of(data / name) for name in names.values()}
    first_name, first = next(iter(grids.items()))
    for name, grid in grids.items():
        if grid.place != first.place:
            raise SceneError(f"{name} lies on another grid than {first_name}", hint="the product is damaged or mixed")
        size, wanted = (data / name).stat().st_size, grid.shape[0] * grid.shape[1] * grid.itemsize
        if size < wanted:
            raise SceneError(f"{name} is truncated: {size} of {wanted} bytes")
    return first


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES + 1)


def _from_header(header: Metadata) -> Told:
    """What SNAP's abstracted metadata tell."""
    values = header.by_attribute("MDATTR", "name")
    name = values.get("PRODUCT", "")
    told = from_name(name)
    state = values.get("PASS", "").lower()
    version = re.search(r"IPF 0*(\d+\.\d+)", values.get("Processing_system_identifier", ""))
    near, far = (_angle(values.get(f"incidence_{end}", "")) for end in ("near", "far"))
    return Told(
        identifier=name,
        platform=_platform(values.get("MISSION", "")),
        mode=values.get("ACQUISITION_MODE", ""),
        state=state if state in ("ascending", "descending") else "",
        absolute_orbit=_whole(values.get("ABS_ORBIT", "")),
        relative_orbit=_whole(values.get("REL_ORBIT", "")),
        start=values.get("first_line_time", ""),
        stop=values.get("last_line_time", ""),
        version=version[1] if version else "",
        incidence=(near, far) if near and far else None,
    ).over(told)


def _platform(mission: str) -> str:
    match = re.fullmatch(r"SENTINEL-?1([A-Z])", mission.upper())
    return f"S1{match[1]}" if match else ""


def _whole(text: str) -> int:
    """A number of the header; SNAP writes 99999 for what it does not know."""
    return int(text) if text.isdigit() and text != "99999" else 0


def _angle(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 90 else None
