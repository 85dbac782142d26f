"""Whole campaigns from dated GeoTIFF files, against rasterio, exactextract and numpy on the same files."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
import zarr
from affine import Affine
from exactextract import exact_extract
from rasterio.merge import merge

import hpckit
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.read import geometry, read_plane
from hpckit.errors import CatalogueError, HpckitError
from hpckit.look.report import write_report
from hpckit.production.driver import plan_campaign, run_campaign, verify_campaign
from hpckit.runs.run import find_run
from hpckit.store import open_store
from tests.raster_samples import LEFT, TOP, crops, index, write_image
from tests.small_campaign import results, same, write_zones

pytestmark = pytest.mark.integration
QUIET = Console(quiet=True)
DAYS = ("2024-05-03", "2024-05-13", "2024-06-02", "2024-06-20")
SHAPE = (90, 110)
ZONES = {
    "west": shapely.Point(LEFT + 260, TOP - 300).buffer(170, 5),
    "east": shapely.Point(LEFT + 800, TOP - 420).buffer(140, 5),
    "across": shapely.box(LEFT + 433, TOP - 808, LEFT + 671, TOP - 612),
    "corner": shapely.box(LEFT + 7, TOP - 72, LEFT + 121, TOP - 9),
}
"""`corner` holds pixels without data."""


def ndvi(seed: int) -> np.ndarray:
    values = index(seed, SHAPE)
    values[values < -2900] = -9999
    return values


@dataclass(frozen=True)
class Case:
    """A layout of files."""

    pattern: str
    bands: str
    write: Callable[[Path, str, int], None]
    mask: str = ""
    scale: float = 1e-4
    nodata: float = -9999
    ndvi: str = "*{:%Y%m%d}*ndvi.tif"
    """Where the reference finds the files of a date, and the layer."""
    layer: int = 1
    crop: tuple[str, int] = ("*{:%Y%m%d}*crop.tif", 1)


def one_file_a_band(folder: Path, day: str, seed: int) -> None:
    name = day.replace("-", "")
    write_image(folder / f"{name}_ndvi.tif", ndvi(seed), nodata=-9999)
    write_image(folder / f"{name}_crop.tif", crops(seed, SHAPE))


def layers_of_one_file(folder: Path, day: str, seed: int) -> None:
    """NDVI moved into unsigned 16 bits with 0 as nodata; crops, and a mask of bits. Corners lie between metres."""
    place = Affine(10, 0, LEFT + 0.25, 0, -10, TOP - 0.375)
    moved = np.where(ndvi(seed) == -9999, 0, ndvi(seed).astype(int) + 10001)
    marks = np.random.default_rng(50 + seed).choice([0, 2, 8, 64], SHAPE, p=[0.7, 0.1, 0.1, 0.1])
    stack = np.stack([moved, crops(seed, SHAPE), marks]).astype("uint16")
    path = folder / day[:4] / f"stack_{date.fromisoformat(day):%j}.tif"
    write_image(path, stack, tiled=True, blockxsize=64, blockysize=64, compress="deflate", transform=place)


def tiles_of_fractions(folder: Path, day: str, seed: int) -> None:
    """Two tiles side by side, NaN without data."""
    values = np.where(ndvi(seed) == -9999, np.nan, ndvi(seed) / 10000).astype("float32")
    for tile, columns in (("A1", slice(0, 50)), ("B_2", slice(50, None))):
        place = Affine(10, 0, LEFT + 10 * columns.start, 0, -10, TOP)
        write_image(folder / tile / "ndvi" / f"{day}.tif", values[:, columns], transform=place)
        write_image(folder / tile / "crop" / f"{day}.tif", crops(seed, SHAPE)[:, columns], transform=place)


CROP = "classes: {1: wheat, 2: maize, 3: grass}"
CASES = {
    "int16": Case(
        "{date}_{band}.tif", f"{{ndvi: {{scale: 0.0001, valid: [-1, 1]}}, crop: {{{CROP}}}}}", one_file_a_band
    ),
    "uint16 layers": Case(
        "{date:%Y}/stack_{date:%j}.tif",
        f"""{{ndvi: {{layer: 1, scale: 0.0001, offset: -1.0001, nodata: 0}}, crop: {{layer: 2, {CROP}}},
             qa: {{layer: 3, bits: {{1: cloud, 3: shadow}}}}}}""",
        layers_of_one_file,
        mask="mask: {band: qa, exclude: [1, 3]}",
        ndvi="{0:%Y}/stack_{0:%j}.tif",
        crop=("{0:%Y}/stack_{0:%j}.tif", 2),
        nodata=0,
    ),
    "float32 tiles": Case(
        "{tile}/{band}/{date}.tif",
        f"{{ndvi: {{valid: [-1, 1]}}, crop: {{{CROP}}}}}",
        tiles_of_fractions,
        scale=1,
        nodata=np.nan,
        ndvi="*/ndvi/{}.tif",
        crop=("*/crop/{}.tif", 1),
    ),
}


def write_campaign(folder: Path, case: Case, extra: str = "", pixel: str = "pixel: 10") -> Path:
    write_zones(folder / "zones.gpkg", list(ZONES.values()), list(ZONES))
    bands = "[ndvi, crop, qa]" if case.mask else "[ndvi, crop]"
    (folder / "campaign.yaml").write_text(f"""\
name: mine
aoi: zones.gpkg
period: 2024-05-01/2024-06-30
scenes:
  paths: images
  rasters:
    pattern: "{case.pattern}"
    {pixel}
    bands: {case.bands}
    {case.mask}
{extra}
cube: {{bands: {bands}, dates_per_block: 3, resampling: nearest}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [ndvi, crop]
    indices: {{twice: ndvi * 2 + 1}}
    coverage: fraction
  - {{name: monthly, kind: composite, bands: [ndvi], methods: [median, max], period: month, outputs: {{cog: false}}}}
""")
    return folder / "campaign.yaml"


def pixels(folder: Path, pattern: str, layer: int, day: str) -> tuple[np.ndarray, dict]:
    """Numbers of a date as rasterio reads them, tiles merged."""
    paths = sorted((folder / "images").glob(pattern.format(date.fromisoformat(day))))
    assert paths, pattern
    with rasterio.open(paths[0]) as first:
        profile = first.profile
        if len(paths) == 1:
            return first.read(layer), profile
    values, transform = merge(paths, nodata=np.nan if profile["dtype"] == "float32" else 0)
    return values[0], {**profile, "transform": transform, "height": values.shape[1], "width": values.shape[2]}


def known_values(folder: Path, case: Case, day: str) -> tuple[np.ndarray, dict]:
    """NDVI, NaN without data and where the mask hides it."""
    numbers, profile = pixels(folder, case.ndvi, case.layer, day)
    values = np.where(numbers == case.nodata, np.nan, numbers * case.scale - (1.0001 if case.nodata == 0 else 0))
    if case.mask:
        marks, _ = pixels(folder, case.ndvi, 3, day)
        values[(marks & 0b1010) > 0] = np.nan
    return values, profile


def extracted(folder: Path, values: np.ndarray, profile: dict, statistics: list[str]) -> pd.DataFrame:
    """Statistics of the zones by exactextract."""
    path = folder / "reference.tif"
    place = {"crs": profile["crs"], "transform": profile["transform"]}
    write_image(path, values, nodata=np.nan if values.dtype.kind == "f" else 0, **place)
    zones = [
        {"type": "Feature", "geometry": shapely.geometry.mapping(zone), "properties": {"name": name}}
        for name, zone in ZONES.items()
    ]
    found = exact_extract(str(path), zones, statistics, include_cols=["name"])
    return pd.DataFrame([feature["properties"] for feature in found]).set_index("name")


@pytest.mark.parametrize("name", CASES)
def test_a_campaign(name, tmp_path):
    case = CASES[name]
    for seed, day in enumerate(DAYS):
        case.write(tmp_path / "images", day, seed)
    campaign = load_campaign(write_campaign(tmp_path, case))
    run_campaign(campaign, QUIET, workers=1)
    assert verify_campaign(campaign, QUIET) == []
    check_statistics(tmp_path, case, campaign)
    check_classes(tmp_path, case, campaign)
    check_composite(tmp_path, case, campaign)
    view = hpckit.open_campaign(campaign.path)
    assert view.series("west", "ndvi")["time"].dt.strftime("%Y-%m-%d").tolist() == list(DAYS)
    assert view.quicklook(view.tiles[0], clouds=True).png.startswith(b"\x89PNG") and view.plot_series("across").png
    assert "data:image/png" in write_report(find_run(campaign.run_dir)).read_text()


def check_statistics(folder: Path, case: Case, campaign) -> None:
    found, step = results(campaign), campaign.ref("ndvi").band.scale if case.scale == 1 else 0
    for day in DAYS:
        values, profile = known_values(folder, case, day)
        reference = extracted(folder, values.astype("float64"), profile, ["mean", "min", "max", "count"])
        for zone in ZONES:
            rows = found[(found.zone == zone) & (found.time.dt.strftime("%Y-%m-%d") == day)].set_index("band")
            wanted = reference.loc[zone]
            row = rows.loc["ndvi"]
            np.testing.assert_allclose(
                row[["mean", "min", "max"]].astype(float), wanted[["mean", "min", "max"]], atol=0.51 * step + 1e-6
            )
            np.testing.assert_allclose(row["valid"], wanted["count"], rtol=1e-4)
            np.testing.assert_allclose(rows.loc["twice"]["mean"], 2 * wanted["mean"] + 1, atol=1.1 * step + 3e-6)


def check_classes(folder: Path, case: Case, campaign) -> None:
    store = open_store(campaign)
    try:
        for number, day in enumerate(DAYS):
            codes, profile = pixels(folder, *case.crop, day)
            for code in (1, 2, 3):
                reference = extracted(folder, (codes == code).astype("float64"), profile, ["sum"])
                for zone in ZONES:
                    counted = store.class_counts("fields", zone, "crop")[str(code)][number]
                    assert counted == pytest.approx(reference.loc[zone]["sum"], rel=1e-4, abs=1e-4)
    finally:
        store.close()


def check_composite(folder: Path, case: Case, campaign) -> None:
    """The median and the maximum of May, of all tiles."""
    stack = np.stack([known_values(folder, case, day)[0] for day in DAYS[:2]])
    path = folder / "composites" / "monthly.zarr"
    band = campaign.ref("ndvi").band
    for tile in hpckit.open_campaign(campaign.path).tiles:
        where = geometry(campaign.cube_path, tile, 10)
        first = round((where.transform.c - LEFT) / 10)
        part = stack[:, :, first : first + where.shape[1]]
        seen = np.isfinite(part).any(axis=0)
        for method, reduce in (("median", np.nanmedian), ("max", np.nanmax)):
            made = np.asarray(zarr.open_array(path / tile / "r10m" / f"ndvi_{method}", mode="r")[0]).astype(float)
            assert ((made > 0) == seen).all()
            with np.errstate(all="ignore"):
                wanted = reduce(np.where(seen, part, 0), axis=0)
            assert np.abs(made * band.scale + band.offset - wanted)[seen].max() <= 0.51 * band.scale + 1e-6


def test_images_in_degrees_are_resampled_onto_a_grid(tmp_path):
    """Each pixel of a cube has the number of the image's pixel that its middle lies in."""
    to_degrees = pyproj.Transformer.from_crs(32631, 4326, always_xy=True)
    west, south, east, north = to_degrees.transform_bounds(LEFT - 200, TOP - 1300, LEFT + 1500, TOP + 200)
    place = Affine(0.0002, 0, west, 0, -0.00013, north)
    shape = (round((north - south) / 0.00013), round((east - west) / 0.0002))
    images = [index(seed, shape) for seed in range(2)]
    for day, values in zip(DAYS, images, strict=False):
        write_image(tmp_path / "images" / f"{day}_ndvi.tif", values, crs="EPSG:4326", transform=place, nodata=-9999)
        write_image(tmp_path / "images" / f"{day}_crop.tif", crops(1, shape), crs="EPSG:4326", transform=place)
    campaign = load_campaign(write_campaign(tmp_path, CASES["int16"], "grid: utm:1280@10", pixel=""))
    run_campaign(campaign, QUIET, workers=1)
    tiles = hpckit.open_campaign(campaign.path).tiles
    assert len(tiles) > 1
    for tile in tiles:
        where = geometry(campaign.cube_path, tile, 10)
        rows, columns = np.indices(where.shape)
        x, y = where.transform @ (columns + 0.5, rows + 0.5)
        column, row = (np.floor(axis).astype(int) for axis in ~place @ to_degrees.transform(x, y))
        inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
        for number, values in enumerate(images):
            plane = read_plane(campaign.cube_path, tile, campaign.ref("ndvi"), number)
            wanted = np.where(inside, values[np.clip(row, 0, shape[0] - 1), np.clip(column, 0, shape[1] - 1)], -9999)
            stored = np.where(wanted == -9999, 0, wanted.astype(int) + 10001)
            assert (plane == stored).mean() > 0.999, "but where a middle lies on an edge"


def test_what_changes_later(tmp_path):
    """A replaced image, a new one and another meaning of numbers give what a new campaign would give."""
    case, folder = CASES["int16"], tmp_path / "images"
    for seed, day in enumerate(DAYS[:3]):
        case.write(folder, day, seed)
    campaign = load_campaign(write_campaign(tmp_path, case))
    run_campaign(campaign, QUIET, workers=1)
    assert not plan_campaign(campaign, QUIET)[0].plan.pending
    case.write(folder, DAYS[1], 17)
    case.write(folder, DAYS[3], 3)
    path = folder / "20240503_ndvi.tif"
    path.write_bytes(path.read_bytes()[:-4000])  # damaged: this date alone has no data any more
    failed = run_campaign(campaign, QUIET, workers=1).failed
    assert failed and all("20240503_ndvi.tif" in str(entry.reason) for entry in failed if entry.stage == "ingest")
    case.write(folder, DAYS[0], 0)
    run_campaign(campaign, QUIET, workers=1)
    fresh = tmp_path / "fresh"
    shutil.copytree(folder, fresh / "images")
    again = load_campaign(write_campaign(fresh, case))
    run_campaign(again, QUIET, workers=1)
    same(results(campaign), results(again))
    text = campaign.path.read_text().replace("scale: 0.0001, valid: [-1, 1]", "scale: 0.0002, valid: [-2, 2]")
    campaign.path.write_text(text)
    before = results(campaign)
    campaign = load_campaign(campaign.path)
    run_campaign(campaign, QUIET, workers=1)
    after = results(campaign)
    np.testing.assert_allclose(
        after[after.band == "ndvi"]["mean"], 2 * before[before.band == "ndvi"]["mean"], rtol=1e-4
    )


def test_names_that_the_pattern_does_not_have(tmp_path):
    CASES["int16"].write(tmp_path / "images", DAYS[0], 1)
    path = write_campaign(tmp_path, CASES["int16"])
    path.write_text(path.read_text().replace("{date}_{band}", "S2_{date}_{band}"))
    with pytest.raises(CatalogueError) as caught:
        run_campaign(load_campaign(path), QUIET, workers=1)
    assert "no image has a name like S2_20240501_ndvi.tif" in str(caught.value.hint)
    assert "20240503_crop.tif" in str(caught.value.hint)


def test_the_page_of_the_documentation(tmp_path, monkeypatch):
    """Its script and its campaign file give results of all dates."""
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "rasters.md").read_text()
    yaml, script = (re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL)[1] for kind in ("yaml", "python"))
    monkeypatch.chdir(tmp_path)
    exec(script, {})
    (tmp_path / "campaign.yaml").write_text(yaml)
    campaign = load_campaign(tmp_path / "campaign.yaml")
    assert not run_campaign(campaign, QUIET, workers=1).failed
    found = results(campaign)
    assert found.time.nunique() == 6 and found.zone.nunique() == 30 and found["mean"].notna().all()


def test_images_of_classes_alone(tmp_path):
    """Counts, shares, a map and a report."""
    for seed, day in enumerate(DAYS[:2]):
        CASES["int16"].write(tmp_path / "images", day, seed)
    path = write_campaign(tmp_path, CASES["int16"])
    text = path.read_text().replace("bands: [ndvi, crop]", "bands: [crop]").partition("    indices:")[0]
    path.write_text(text)
    campaign = load_campaign(path)
    run_campaign(campaign, QUIET, workers=1)
    view = hpckit.open_campaign(path)
    counts = view.class_counts("across")
    inside = crops(1, SHAPE)[61:81, 43:67]  # pixels whose middle lies in the zone
    assert counts[["1", "2", "3"]].iloc[1].tolist() == [(inside == code).sum() for code in (1, 2, 3)]
    assert view.class_counts("across", "CROP").equals(counts)
    assert view.plot_series("across").png and view.quicklook().png
    for wrong in (
        lambda: view.series("across"),
        lambda: view.class_counts("across", "ndvi"),
        lambda: view.class_counts("x"),
    ):
        with pytest.raises(HpckitError):
            wrong()
    page = write_report(find_run(campaign.run_dir)).read_text()
    assert page.count("data:image/png") >= 2 and "Not everything could be read" not in page
    shown = subprocess.run(
        [sys.executable, "-m", "hpckit", "series", str(path), "--zone", "across"], capture_output=True
    )
    assert shown.stdout.decode().splitlines()[0] == "zone,band,time,acquisition,1,2,3"
