"""The teaching notebooks, and the data that they share: made-up products of both missions, parcels, and the truth."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely

from hpckit.base.console import Console
from hpckit.base.files import write_json, write_text
from hpckit.base.processes import identity, is_gone
from hpckit.base.reading import read_json
from hpckit.demo import parcel_id, write_layer, write_products
from hpckit.errors import HpckitError
from hpckit.testing.landscape import Landscape, Pass, season

if TYPE_CHECKING:
    import numpy.typing as npt

LESSONS: Final = "HPCKIT_LESSONS"
"""Environment variable: folder of the data, for notebooks that several people, or a build, read with one copy."""
_MARK: Final = "lessons.json"
_MAKING: Final = ".making-"
"""How folders begin in which the data are made."""
_MAKER: Final = "maker.json"
"""In such a folder: the process that makes the data."""
_SETTINGS: Final = {"version": 1, "edge": 768, "seed": 7}
_RADAR_DATES: Final = 20
_RADAR_DAYS: Final = 12
_SAMPLES: Final = 30
"""Squares of each land cover that is no field."""
_COVERS: Final = ("woodland", "built-up", "water")

OPTICAL: Final = """\
# Sentinel-2: one season of a farming landscape with a lake.
name: lessons
aoi: area.gpkg
period: 2024-03-01/2024-10-31
scenes:
  paths: [optical]
cube:
  bands: [B02, B03, B04, B08, B11, SCL]
  dates_per_block: 24
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: parcel_id
    bands: [B04, B08, SCL]
    indices:
      NDVI: (B08 - B04) / (B08 + B04)
  - name: seasons
    kind: composite
    bands: [B02, B03, B04, B08]
    indices: {NDVI: (B08 - B04) / (B08 + B04)}
    methods: [median]
    period: season
    mask: {dilate: 60m}
    outputs: {cog: false}
"""
RADAR: Final = """\
# Sentinel-1 of the same season, on the pixels of Sentinel-2.
name: radar
aoi: area.gpkg
period: 2024-03-01/2024-10-31
scenes:
  paths: [radar]
  collection: sentinel-1-card-bs
  tiles: [31UFS]
cube:
  path: radar.zarr
  bands: [VV, VH]
  dates_per_block: 24
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: parcel_id
    bands: [VV, VH]
    indices: {RATIO: VH / VV}
"""


def lesson_data(folder: str | Path = "data", *, console: Console | None = None) -> Path:
    """Give the folder of the data of the teaching notebooks; they are made at the first call, in half a minute.

    Notebooks that ask for them at the same time do not harm each other.

    Parameters
    ----------
    folder : str or Path
        Where they are made; the environment variable `HPCKIT_LESSONS` names another one.
    console : Console, optional
        For progress.

    Returns
    -------
    Path
        With `optical.yaml` and `radar.yaml`, campaigns of Sentinel-2 and Sentinel-1; `parcels.gpkg`, with the crop of
        each parcel; `landcover.gpkg`, labels for training; `weather.csv`, days with the mean temperature (°C) and
        global radiation (MJ/m²); `truth.npz`, land cover and water of the landscape.

    Raises
    ------
    HpckitError
        If the folder holds something else.
    """
    given = os.environ.get(LESSONS)
    target = Path(given or folder).absolute()
    mark = target / _MARK
    _remove_abandoned(target)
    if mark.exists() and json.loads(mark.read_text()) == _SETTINGS:
        return target
    target.mkdir(parents=True, exist_ok=True)
    if mark.exists() or not _is_ours_or_empty(target):
        raise HpckitError(
            f"{target}: not empty, and not data of the notebooks of this version of hpckit",
            hint="give another folder, or delete it",
        )
    # Notebooks may start at the same time: each makes the data by itself, and the first to be done moves its own in.
    making = Path(tempfile.mkdtemp(prefix=_MAKING, dir=target))
    try:
        write_json(making / _MAKER, identity())
        write_data(making, console or Console(quiet=True))
        _move_in(making, target)
        write_json(mark, _SETTINGS)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _remove_abandoned(folder: Path) -> None:
    """Remove what processes made that certainly have ended; others may still work, also on other machines."""
    for making in folder.glob(f"{_MAKING}*"):
        try:
            told = read_json(making / _MAKER)
        except (OSError, HpckitError):
            continue
        if is_gone(told):
            shutil.rmtree(making, ignore_errors=True)


def _is_ours_or_empty(folder: Path) -> bool:
    """Whether a folder is empty, or others are making the data there or were killed at it."""
    names = [path.name for path in folder.iterdir()]
    return not names or any(name.startswith(_MAKING) for name in names)


def _move_in(made: Path, target: Path) -> None:
    """Move what was made; what another process, which makes the same, has moved there already stays."""
    for path in sorted(made.iterdir()):
        if path.name == _MAKER:
            continue
        try:
            path.rename(target / path.name)
        except OSError:
            if not (target / path.name).exists():
                raise


def copy_notebooks(folder: Path) -> tuple[list[Path], list[Path]]:
    """Copy the teaching notebooks into a folder; files of the same names that differ stay as they are.

    Returns
    -------
    written : list of Path
    kept : list of Path
        Files that differ from those of this version.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    kept: list[Path] = []
    for source in sorted(notebooks_folder().glob("*.ipynb")):
        target = folder / source.name
        if not target.exists():
            shutil.copyfile(source, target)
            written.append(target)
        elif not filecmp.cmp(source, target, shallow=False):
            kept.append(target)
    return written, kept


def notebooks_folder() -> Path:
    """The notebooks that come with hpckit, in the source tree or in the installed package."""
    package = Path(__file__).parents[1]
    installed = package / "notebooks"
    return installed if installed.is_dir() else package.parent / "docs" / "notebooks"


def write_data(
    folder: Path, console: Console, *, passes: Sequence[Pass] | None = None, radar_dates: int = _RADAR_DATES
) -> None:
    """Write the data into a folder.

    Parameters
    ----------
    passes : sequence of Pass, optional
        Of Sentinel-2; the whole season if not given.
    radar_dates : int
        Of Sentinel-1; 0 for none.
    """
    landscape = Landscape(seed=_SETTINGS["seed"], edge=_SETTINGS["edge"], reservoir=True)
    shutil.rmtree(folder / "optical", ignore_errors=True)
    shutil.rmtree(folder / "radar", ignore_errors=True)
    write_products(folder / "optical", landscape, season() if passes is None else passes, console, 2)
    if radar_dates:
        _write_radar(folder / "radar", landscape, radar_dates, console)
    truth = _truth(landscape)
    _write_layers(folder, landscape, truth)
    np.savez_compressed(
        folder / "truth.npz",
        names=truth["names"],
        cover=truth["cover"],
        before=truth["before"],
        after=truth["after"],
    )
    write_text(folder / "weather.csv", _weather())
    write_text(folder / "optical.yaml", OPTICAL)
    write_text(folder / "radar.yaml", RADAR)


def _write_radar(folder: Path, landscape: Landscape, dates: int, console: Console) -> None:
    from hpckit.testing.radar import RadarSpec, backscatter, write_card_bs

    first = RadarSpec(start=datetime(2024, 3, 3, 5, 50, 11, tzinfo=UTC))
    with console.progress("make radar scenes") as progress:
        for number in range(dates):
            start = first.start + timedelta(days=_RADAR_DAYS * number)
            # A satellite comes back to its orbit after 175 others.
            spec = replace(first, start=start, absolute_orbit=first.absolute_orbit + 175 * number)
            spec = replace(spec, datatake=first.datatake + number)
            day = start.timetuple().tm_yday
            arrays = {pol: backscatter(landscape, day, pol, seed=2 * day + (pol == "VH")) for pol in ("VV", "VH")}
            write_card_bs(folder, spec, arrays)
            progress(number + 1, dates)


def _truth(landscape: Landscape) -> dict[str, npt.NDArray[Any]]:
    """Land cover in midsummer, and water in spring and autumn; shape (edge, edge)."""
    before, after = landscape.wet(65), landscape.wet(290)
    crops = ["woodland", *dict.fromkeys(sorted(landscape.crops)), "built-up", "water"]
    of_parcel = np.array([crops.index(crop) for crop in landscape.crops])
    owner = landscape.owner
    cover = np.where(owner >= 0, of_parcel[owner], 0)
    cover[landscape.town] = crops.index("built-up")
    cover[before] = crops.index("water")
    return {"names": np.array(crops), "cover": cover.astype(np.uint8), "before": before, "after": after}


def _write_layers(folder: Path, landscape: Landscape, truth: dict[str, npt.NDArray[Any]]) -> None:
    """Parcels outside of the lake, squares of the other covers, and the area."""
    reservoir = _outline(landscape.wet(65), landscape)
    kept = [n for n, shape in enumerate(landscape.parcels) if not shape.buffer(20).intersects(reservoir)]
    names, crops = [parcel_id(n) for n in kept], [landscape.crops[n] for n in kept]
    shapes = [landscape.parcels[n] for n in kept]
    sizes = [shape.area / 10_000 for shape in shapes]
    write_layer(
        folder / "parcels.gpkg", shapes, {"parcel_id": names, "crop": crops, "area_ha": sizes}, landscape.epsg
    )
    squares = _squares(landscape, truth["cover"], truth["names"].tolist())
    labels = [*crops, *(name for name, _ in squares)]
    write_layer(
        folder / "landcover.gpkg", [*shapes, *(square for _, square in squares)], {"cover": labels}, landscape.epsg
    )
    size = landscape.edge * 10
    area = shapely.box(landscape.ulx, landscape.uly - size, landscape.ulx + size, landscape.uly)
    write_layer(folder / "area.gpkg", [area.buffer(-20)], {"name": ["area"]}, landscape.epsg)


def _outline(mask: npt.NDArray[np.bool_], landscape: Landscape) -> shapely.Geometry:
    import rasterio.features

    found = rasterio.features.shapes(mask.astype(np.uint8), mask=mask, transform=landscape.transform)
    return shapely.union_all([shapely.from_geojson(json.dumps(shape)) for shape, _ in found])


def _squares(
    landscape: Landscape, cover: npt.NDArray[np.uint8], names: list[str]
) -> list[tuple[str, shapely.Geometry]]:
    """Squares of 50 m that one land cover fills."""
    random = np.random.default_rng(landscape.seed)
    rows, columns = random.integers(10, landscape.edge - 10, (2, 20_000))
    made: list[tuple[str, shapely.Geometry]] = []
    for name in _COVERS:
        code = names.index(name)
        good = [
            (r, c) for r, c in zip(rows, columns, strict=True) if (cover[r - 3 : r + 4, c - 3 : c + 4] == code).all()
        ]
        for row, column in good[:_SAMPLES]:
            x, y = landscape.transform @ (column - 2, row - 2)
            made.append((name, shapely.box(x, y - 50, x + 50, y)))
    return made


def _weather() -> str:
    """Mean temperature and global radiation of days, like those of the Netherlands in size and season."""
    random = np.random.default_rng(_SETTINGS["seed"])
    days = np.arange(60, 306)
    temperature = 10.5 + 7.5 * np.sin(2 * np.pi * (days - 110) / 366) + _persistent(random, len(days), 2.4)
    sky = np.clip(0.52 - 0.05 * _persistent(random, len(days), 2.4), 0.15, 0.75)
    above = 24.0 + 17.5 * np.sin(2 * np.pi * (days - 81) / 366)
    first = datetime(2024, 1, 1, tzinfo=UTC)
    lines = [
        f"{first + timedelta(days=int(day) - 1):%Y-%m-%d},{warm:.1f},{light:.1f}"
        for day, warm, light in zip(days, temperature, above * sky, strict=True)
    ]
    return "\n".join(["date,temperature_c,radiation_mj_m2", *lines]) + "\n"


def _persistent(random: np.random.Generator, count: int, deviation: float) -> npt.NDArray[np.float64]:
    """Weather of a day, which resembles that of the day before."""
    made = np.zeros(count)
    for number in range(1, count):
        made[number] = 0.75 * made[number - 1] + random.normal(0, deviation * 0.66)
    return made
