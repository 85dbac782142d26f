"""The demonstration: a small made-up Sentinel-2 series, and everything that hpckit does with it."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import shapely

from hpckit.base.console import Console
from hpckit.base.files import write_json, write_text
from hpckit.base.processes import without_main
from hpckit.errors import HpckitError
from hpckit.testing.landscape import Landscape, Pass, season, write_pass

_MARK: Final = "demo.json"

CAMPAIGN: Final = """\
# The campaign of `hpckit demo`: one season of a farming landscape.
name: demo
aoi: parcels.gpkg
period: 2024-03-01/2024-10-31
scenes:
  paths: [scenes]
cube:
  bands: [B02, B03, B04, B08, B11, SCL]
  dates_per_block: 8
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: parcel_id
    bands: [B04, B08, B11, SCL]
    indices:
      NDVI: (B08 - B04) / (B08 + B04)
store:
  path: demo.gpkg
"""


def make_data(
    folder: Path, console: Console, *, seed: int, dates: int | None, workers: int, reservoir: bool = False
) -> Path:
    """Write products, parcels and the campaign file; what is there from an earlier call stays.

    Parameters
    ----------
    dates : int, optional
        Number of overpasses; all of the season if not given.
    reservoir : bool
        With a lake that falls dry.

    Returns
    -------
    Path
        Of the campaign file.

    Raises
    ------
    HpckitError
        If the folder holds something else.
    """
    settings = {"seed": seed, "dates": dates} | ({"reservoir": True} if reservoir else {})
    mark = folder / _MARK
    if mark.exists() and json.loads(mark.read_text()) == settings:
        return folder / "campaign.yaml"
    if folder.exists() and any(folder.iterdir()):
        raise HpckitError(
            f"{folder}: not empty, and not a demonstration with these settings",
            hint="give another folder, or delete it",
        )
    landscape, passes = Landscape(seed=seed, reservoir=reservoir), season()[:dates]
    write_products(folder / "scenes", landscape, passes, console, workers)
    _write_parcels(folder / "parcels.gpkg", landscape)
    write_text(folder / "campaign.yaml", CAMPAIGN)
    write_json(mark, settings)
    return folder / "campaign.yaml"


def run_demo(folder: Path, console: Console, *, seed: int = 7, dates: int | None = None, workers: int = 2) -> int:
    """Make the data, run the campaign, draw pictures, and compare with the truth.

    Returns
    -------
    int
        Exit code.
    """
    from hpckit.campaign.campaign import load_campaign
    from hpckit.production.driver import run_campaign, verify_campaign

    path = make_data(folder, console, seed=seed, dates=dates, workers=workers)
    campaign = load_campaign(path)
    console.say(f"$ hpckit run {path}")
    result = run_campaign(campaign, console, workers=workers)
    console.say(f"$ hpckit verify {path}")
    faults = verify_campaign(campaign, console)
    pictures = draw(path, console, _clear_day(dates))
    worst, compared = compare_with_truth(path, seed)
    console.say("")
    console.say(f"NDVI of {compared} clear parcel observations: at most {worst:.4f} from the truth")
    for what, where in (("store (open it in QGIS)", campaign.store_path), ("cube", campaign.cube_path), *pictures):
        console.say(f"{what:<26}{where}")
    return result.exit_code or (1 if faults or worst > _TOLERANCE else 0)


def draw(path: Path, console: Console, day: str) -> list[tuple[str, Path]]:
    """Draw a series, two quicklooks of a day, and the report of the demonstration.

    Returns
    -------
    list of tuple
        What was drawn, and where it is.
    """
    from hpckit.api import open_campaign
    from hpckit.look.report import write_report
    from hpckit.runs.run import find_run

    view, folder = open_campaign(path), path.parent
    when = date.fromisoformat(day)
    pictures: tuple[tuple[str, str, Callable[[Path], object]], ...] = (
        ("series --zone P0009 --plot", "series.png", lambda file: view.plot_series("P0009").save(file)),
        (f"quicklook --date {day} -o", "quicklook.png", lambda file: view.quicklook(when=when).save(file)),
        (
            f"quicklook --date {day} --index NDVI -o",
            "ndvi.png",
            lambda file: view.quicklook(when=when, index="NDVI").save(file),
        ),
        ("report -o", "report.html", lambda file: write_report(find_run(view.campaign.run_dir), file)),
    )
    drawn = []
    for command, name, draw_into in pictures:
        verb, _, options = command.partition(" ")
        console.say(f"$ hpckit {verb} {path} {options} {folder / name}")
        draw_into(folder / name)
        drawn.append((f"{verb} ({name.rpartition('.')[0]})", folder / name))
    return drawn


def _clear_day(dates: int | None) -> str:
    """The cloudless overpass nearest to the beginning of May, when crops differ most."""
    passes = season()[:dates]
    clear = [overpass.time.date() for overpass in passes if overpass.cloud == 0] or [passes[0].time.date()]
    return min(clear, key=lambda day: abs((day - date(day.year, 5, 3)).days)).isoformat()


_TOLERANCE: Final = 0.02
_CLEAR: Final = 0.999


def compare_with_truth(path: Path, seed: int) -> tuple[float, int]:
    """Largest difference between the stored NDVI of fully clear parcels and that of the model landscape.

    Returns
    -------
    worst : float
    compared : int
        Parcel observations compared.
    """
    from hpckit.campaign.campaign import load_campaign
    from hpckit.store import open_store

    landscape = Landscape(seed=seed)
    inner = np.array([shape.area > 20_000 for shape in landscape.parcels])
    store = open_store(load_campaign(path))
    true_ndvi = cache(landscape.true_ndvi)
    worst, compared = 0.0, 0
    try:
        for number in np.flatnonzero(inner)[::7].tolist():
            frame = store.series("parcels", parcel_id(number), "NDVI")
            clear = frame[frame["valid_fraction"] >= _CLEAR]
            for time, median in zip(clear["time"], clear["p50"], strict=True):
                truth = true_ndvi(time.day_of_year)[number]
                worst, compared = max(worst, abs(median - truth)), compared + 1
    finally:
        store.close()
    return worst, compared


def parcel_id(number: int) -> str:
    """Identifier of a parcel of the landscape."""
    return f"P{number:04d}"


def write_products(
    folder: Path, landscape: Landscape, passes: Sequence[Pass], console: Console, workers: int
) -> None:
    """Write the products of overpasses, in processes of their own."""
    context = multiprocessing.get_context("spawn")
    with (
        console.progress("make scenes") as progress,
        ProcessPoolExecutor(workers, mp_context=context) as pool,
    ):
        with without_main():
            futures = [pool.submit(write_pass, folder, landscape, overpass) for overpass in passes]
        for done, future in enumerate(futures, 1):
            future.result()
            progress(done, len(futures))


def _write_parcels(path: Path, landscape: Landscape) -> None:
    shapes = landscape.parcels
    fields = {
        "parcel_id": [parcel_id(number) for number in range(len(shapes))],
        "crop": landscape.crops,
        "area_ha": [shape.area / 10_000 for shape in shapes],
    }
    write_layer(path, shapes, fields, landscape.epsg)


def write_layer(
    path: Path, shapes: Sequence[shapely.Geometry], fields: Mapping[str, Sequence[str | float]], epsg: int
) -> None:
    """Write polygons with fields of text or numbers as a GeoPackage, its layer named like the file."""
    from hpckit.base.ogr import pyogrio

    columns = [np.array(column, dtype=object if isinstance(column[0], str) else None) for column in fields.values()]
    pyogrio.raw.write(
        path,
        geometry=np.array(shapely.to_wkb([_as_multi(shape) for shape in shapes]), dtype=object),
        field_data=columns,
        fields=list(fields),
        geometry_type="MultiPolygon",
        crs=f"EPSG:{epsg}",
        layer=path.stem,
        driver="GPKG",
    )


def _as_multi(shape: shapely.Geometry) -> shapely.Geometry:
    return shape if shape.geom_type == "MultiPolygon" else shapely.MultiPolygon([shape])
