"""Windows of the area: what a campaign holds of its tiles, and how that grows, shrinks, and changes no number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.cubes.read import band_array, bands, held_windows, open_tile, read_plane
from hpckit.errors import CampaignError, PlanError
from hpckit.look.pixels import plan_extent
from hpckit.look.view import CampaignView
from hpckit.production import driver
from hpckit.production.stages import load_context
from hpckit.reduce.signatures import stage as signatures
from hpckit.runs.journal import read_journal
from hpckit.runs.run import find_run
from hpckit.space.vector.project import to_degrees
from hpckit.store import open_store
from tests import products
from tests.changing import run_here
from tests.small_campaign import write_zones

pytestmark = pytest.mark.integration

ROWS, COLUMNS = 96, 1320
"""Pixels of 10 m: two windows side by side at 10 m and at 20 m, with borders at 10,240 and 12,800 m."""
WEST, NORTH = 600000.0, 5700000.0
ZONES = {
    "west": shapely.box(WEST + 500, NORTH - 700, WEST + 900, NORTH - 200),
    "edge": shapely.box(WEST + 9000, NORTH - 600, WEST + 9200, NORTH - 300),
    "border": shapely.box(WEST + 9900, NORTH - 800, WEST + 10400, NORTH - 400),
    "east": shapely.box(WEST + 11000, NORTH - 700, WEST + 11300, NORTH - 200),
}


def area(west: float, east: float) -> str:
    """WKT of a part of the granule, metres from its western border."""
    import pyproj

    box = shapely.box(WEST + west, NORTH - 900, WEST + east, NORTH - 100)
    return to_degrees(np.array([box]), pyproj.CRS.from_epsg(32631))[0].wkt


def text(aoi: str, *, cube: str = "", period: str = "2024-04-01/2024-12-31", more: str = "") -> str:
    return f"""\
name: test
aoi: "{aoi}"
period: {period}
scenes: {{paths: [scenes]}}
cube: {{bands: [B04, B08, SCL], dates_per_block: 4{cube}}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B04]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    coverage: fraction
{more}"""


def scene(folder: Path, number: int) -> None:
    pixels = products.arrays(number, COLUMNS)
    random = np.random.default_rng(number)
    cut = {key: array[: array.shape[0] * ROWS // COLUMNS] for key, array in pixels.items() if "60m" not in key}
    cut["SCL@20m"] = random.choice([4, 5, 9], cut["SCL@20m"].shape, p=[0.6, 0.395, 0.005]).astype(np.uint8)
    products.write(folder / "scenes", number, cut)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for number in range(3):
        scene(folder, number)
    return folder


@pytest.fixture
def folder(shelf: Path, tmp_path: Path) -> Path:
    """With two scenes; a third one is `scene(folder, 2)`."""
    (tmp_path / "scenes").mkdir()
    for path in sorted((shelf / "scenes").iterdir())[:2]:
        (tmp_path / "scenes" / path.name).symlink_to(path)
    write_zones(tmp_path / "zones.gpkg", list(ZONES.values()), list(ZONES))
    return tmp_path


def run(folder: Path, content: str, name: str = "campaign.yaml") -> Path:
    path = folder / name
    path.write_text(content)
    assert run_here(path) == 0
    assert driver.verify_campaign(load_campaign(path), Console(quiet=True)) == []
    return path


def rows(path: Path, zones: Sequence[str] = tuple(ZONES)) -> pd.DataFrame:
    campaign = load_campaign(path)
    store = open_store(campaign)
    try:
        frames = [store.series("fields", zone).assign(zone=zone) for zone in zones]
    finally:
        store.close()
    frames = [frame for frame in frames if not frame.empty]
    return pd.concat(frames).sort_values(["zone", "time", "band"]).reset_index(drop=True).drop(columns="run_id")


def decoded(path: Path) -> float:
    """Pixels decoded by all runs so far."""
    return sum(entry.metrics.get("decoded_pixels", 0) for entry in read_journal(load_campaign(path).run_dir))


def shards(path: Path) -> set[str]:
    cube = load_campaign(path).cube_path
    return {str(file.relative_to(cube)) for file in cube.rglob("B0*/c/*/*/*")}


def pixels(path: Path, band: str = "B04") -> np.ndarray:
    return np.asarray(open_tile(load_campaign(path).cube_path, "31UFU", 10)[band].load())


@pytest.fixture(scope="module")
def whole(shelf: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, np.ndarray]:
    """Rows and pixels of the whole granule, of all three scenes."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "scenes").symlink_to(shelf / "scenes")
    write_zones(folder / "zones.gpkg", list(ZONES.values()), list(ZONES))
    path = run(folder, text(area(300, 2000), cube=", extent: granule"))
    return rows(path), pixels(path)


def of(frame: pd.DataFrame, zones: Sequence[str], dates: int) -> pd.DataFrame:
    times = sorted(frame["time"].unique())[:dates]
    return frame[frame["zone"].isin(zones) & frame["time"].isin(times)].reset_index(drop=True)


def test_an_area_needs_its_windows_only_and_gives_the_same_numbers(folder, whole):
    path = run(folder, text(area(300, 9300)))
    assert shards(path) == {"31UFU/r10m/B04/c/0/0/0", "31UFU/r10m/B08/c/0/0/0"}
    pd.testing.assert_frame_equal(rows(path), of(whole[0], ["west", "edge"], 2))
    assert decoded(path) == 2 * (2 * ROWS * 1024 + ROWS // 2 * 640)
    np.testing.assert_array_equal(pixels(path)[:, :, :1024], whole[1][:2, :, :1024])
    cube = load_campaign(path).cube_path
    held = {ref.key: held_windows(band_array(cube, "31UFU", ref)).tolist() for ref in bands(cube, "31UFU")}
    assert held == {"B04@10m": [[True, False]], "B08@10m": [[True, False]], "SCL@20m": [[True, False]]}
    assert CampaignView(load_campaign(path)).cube(resolution_m=10)["B04"].attrs["hpckit:windows"] == ["10"]
    extent = plan_extent(cube, "31UFU", [bands(cube, "31UFU")[0]], None)
    assert extent.bounds == (WEST, NORTH - 960, WEST + 10240, NORTH)


def test_zones_beyond_the_area_are_named(folder, capsys):
    (folder / "campaign.yaml").write_text(text(area(300, 2000)))
    planned, found = driver.plan_campaign(load_campaign(folder / "campaign.yaml"), Console())
    said = " ".join(capsys.readouterr().err.split())
    assert "3 zones left out that share no area with the area of interest: 'edge', 'border', 'east'" in said
    assert "cube.extent: granule" in said
    assert (found.windows, found.all_windows, found.extent) == (3, 6, "aoi")
    assert len(planned.plan.of("ingest")) == 3


def test_a_zone_that_reaches_beyond_the_area_is_complete(folder, whole):
    path = run(folder, text(area(300, 10000)))
    assert shards(path) == {f"31UFU/r10m/{band}/c/0/0/{column}" for band in ("B04", "B08") for column in (0, 1)}
    pd.testing.assert_frame_equal(rows(path), of(whole[0], ["west", "edge", "border"], 2))


def test_a_margin_widens_the_area_and_takes_no_zones_in(folder):
    path = run(folder, text(area(300, 9300), cube=", margin_m: 1000"))
    assert len(shards(path)) == 4
    assert set(rows(path)["zone"]) == {"west", "edge"}


def test_growing_the_area_decodes_only_new_windows(folder, whole):
    path = run(folder, text(area(300, 9300)))
    before, made = decoded(path), {file: (folder / "cube.zarr" / file).stat().st_mtime_ns for file in shards(path)}
    run(folder, text(area(300, 11200)))
    assert decoded(path) - before == 2 * 2 * ROWS * (COLUMNS - 1024)
    assert {file: (folder / "cube.zarr" / file).stat().st_mtime_ns for file in made} == made
    pd.testing.assert_frame_equal(rows(path), of(whole[0], list(ZONES), 2))
    units = len(read_journal(load_campaign(path).run_dir))
    run(folder, text(area(300, 11100)))
    assert len(read_journal(load_campaign(path).run_dir)) == units, "the same windows and zones: nothing to do"


def test_shrinking_the_area_keeps_windows_on_the_time_axis_and_decodes_none(folder, whole):
    """A scene between the two others: what is kept of these moves, and is empty at the new date."""
    middle = sorted((folder / "scenes").iterdir())[1]
    aside = folder / middle.name
    scene(folder, 2)
    middle.rename(aside)
    path = run(folder, text(area(300, 11200)))
    kept, before = pixels(path)[:, :, 1024:], decoded(path)
    aside.rename(middle)
    run(folder, text(area(300, 9300)))
    assert decoded(path) - before == 2 * ROWS * 1024 + ROWS // 2 * 640, "of the new date the held windows"
    found = pixels(path)
    np.testing.assert_array_equal(found[:, :, :1024], whole[1][:, :, :1024])
    np.testing.assert_array_equal(found[[0, 2], :, 1024:], kept)
    assert np.isnan(found[1, :, 1024:]).all()
    assert set(rows(path)["zone"]) == {"west", "edge"}
    before = decoded(path)
    run(folder, text(area(300, 11200)))
    assert decoded(path) - before == 2 * ROWS * (COLUMNS - 1024), "only the date that was not ingested there"
    np.testing.assert_array_equal(pixels(path), whole[1])
    pd.testing.assert_frame_equal(rows(path), whole[0])


def test_damage_in_a_window_that_is_not_asked_for_is_found_and_costs_nothing_else(folder, whole):
    path = run(folder, text(area(300, 11200)))
    before = decoded(path)
    path.write_text(text(area(300, 9300)))
    damaged, gone = (folder / "cube.zarr/31UFU/r10m" / band / "c/0/0/1" for band in ("B04", "B08"))
    data = bytearray(damaged.read_bytes())
    data[100] ^= 1
    damaged.write_bytes(data)
    gone.unlink()
    faults = driver.verify_campaign(load_campaign(path), Console(quiet=True))
    assert {(fault.key, fault.kind) for fault in faults} == {
        ("31UFU/r10m/B04/c/0/0/1", "corrupt"),
        ("31UFU/r10m/B08/c/0/0/1", "missing"),
    }
    run(folder, text(area(300, 9300)))
    assert decoded(path) == before
    assert np.isnan(pixels(path)[:, :, 1024:]).all()
    run(folder, text(area(300, 11200)))
    np.testing.assert_array_equal(pixels(path), whole[1][:2])


def test_windows_of_zones_follow_the_zones(folder, whole):
    write_zones(folder / "zones.gpkg", [ZONES["east"]], ["east"])
    path = run(folder, text(area(300, 2000), cube=", extent: zones"))
    assert shards(path) == {f"31UFU/r10m/{band}/c/0/0/1" for band in ("B04", "B08")}
    pd.testing.assert_frame_equal(rows(path, ["east"]), of(whole[0], ["east"], 2))
    before = decoded(path)
    write_zones(folder / "zones.gpkg", [ZONES["border"], ZONES["east"]], ["border", "east"])
    run(folder, path.read_text())
    assert decoded(path) - before == 2 * 2 * ROWS * 1024, "SCL at 20 m was there"
    pd.testing.assert_frame_equal(rows(path, ["border", "east"]), of(whole[0], ["border", "east"], 2))


def test_windows_of_several_reductions_are_held_together(folder):
    write_zones(folder / "zones.gpkg", [ZONES["east"]], ["east"])
    write_zones(folder / "others.gpkg", [ZONES["west"]], ["west"])
    more = "  - {name: others, zones: others.gpkg, id: name, bands: [B08]}\n"
    path = run(folder, text(area(300, 2000), cube=", extent: zones", more=more))
    assert len(shards(path)) == 4


COMPOSITE = """\
  - name: monthly
    kind: composite
    bands: [B04]
    methods: [median, best, count]
    mask: {{exclude: [0, 1, 3, 8, 9, 10], dilate: {dilate}}}
    score: {{cloud_distance: 3000m}}
"""


def composed(path: Path) -> dict[str, np.ndarray]:
    files = sorted((path.parent / "composites/monthly").rglob("*.tif"))
    found = {}
    for file in files:
        with rasterio.open(file) as source:
            found[file.stem.rpartition("_campaign_")[2] or file.stem] = source.read()
    return found


def test_composites_have_the_pixels_of_the_granule_in_their_windows(folder, tmp_path_factory):
    """Clouds beyond the windows of the area count, at any distance that matters; beyond is nodata."""
    cloud = COMPOSITE.format(dilate="400m")
    beside = tmp_path_factory.mktemp("granule")
    for name in ("scenes", "zones.gpkg"):
        (beside / name).symlink_to(folder / name)
    wanted = composed(run(beside, text(area(300, 2000), cube=", extent: granule", more=cloud)))
    path = run(folder, text(area(300, 2000), more=cloud))
    held = {
        ref.key: held_windows(band_array(folder / "cube.zarr", "31UFU", ref)).tolist()
        for ref in bands(folder / "cube.zarr", "31UFU")
    }
    assert held["B04@10m"] == [[True, False]]
    assert held["SCL@20m"] == [[True, True]], "clouds within 3 km of the window at 10 m"
    found = composed(path)
    assert found.keys() == wanted.keys() and len(found) >= 3
    for name, values in found.items():
        np.testing.assert_array_equal(values[..., :1024], wanted[name][..., :1024], err_msg=name)
        assert not values[..., 1024:].any(), name
    run(folder, text(area(300, 11200), more=cloud))
    for name, values in composed(path).items():
        np.testing.assert_array_equal(values, wanted[name], err_msg=name)
    # Other settings and a smaller area: windows of the old settings do not stay beside those of the new ones.
    run(folder, text(area(300, 2000), more=COMPOSITE.format(dilate="100m")))
    layer = CampaignView(load_campaign(path)).composite("monthly", resolution_m=10)["B04_median"].load()
    assert np.isnan(layer[..., 1024:]).all() and np.isfinite(layer[..., :1024]).any()
    assert layer.attrs["hpckit:windows"] == ["10"]


def test_workers_read_the_windows_that_were_frozen(folder):
    path = run(folder, text(area(300, 2000)))
    worked = find_run(path)
    path.write_text(text(area(300, 11200)))
    planned, _ = driver.plan_campaign(load_campaign(path), Console(quiet=True))
    assert planned.run.frozen != worked.frozen
    for one, windows in ((worked, [True, False]), (planned.run, [True, True])):
        context = load_context(one.path, "w", 1, frozen=one.frozen)
        ref = context.tiles.campaign.ref("B04")
        assert context.tiles.windows("31UFU", ref).tolist() == [windows]


def test_an_area_without_windows_is_refused(folder):
    write_zones(folder / "zones.gpkg", [shapely.box(WEST + 50000, NORTH, WEST + 51000, NORTH + 10)], ["far"])
    (folder / "campaign.yaml").write_text(text(area(300, 2000), cube=", extent: zones"))
    with pytest.raises(PlanError, match="zones lie in no window"):
        driver.plan_campaign(load_campaign(folder / "campaign.yaml"), Console(quiet=True))


@pytest.mark.parametrize(
    ("cube", "reductions", "fault"),
    [
        (", extent: granule, margin_m: 100", True, "margin_m"),
        (", extent: zones", False, "needs a reduction with zones"),
        (", margin_m: -1", True, "margin_m"),
        (", extent: tile", True, "extent"),
    ],
)
def test_settings_that_make_no_sense_are_refused(folder, cube, reductions, fault):
    content = text(area(300, 2000), cube=cube)
    (folder / "campaign.yaml").write_text(content if reductions else content.partition("reductions:")[0])
    with pytest.raises(CampaignError, match=fault):
        load_campaign(folder / "campaign.yaml")


def test_statistics_of_windows_that_are_not_held_are_refused(folder, monkeypatch):
    """It cannot happen; if it does, no number is made of what is not there."""
    monkeypatch.setattr(signatures.ZoneInputs, "hold", lambda self, tiles: tiles.held)
    path = folder / "campaign.yaml"
    path.write_text(text(area(300, 10000)))
    assert run_here(path) == 1
    reasons = {entry.reason for entry in read_journal(load_campaign(path).run_dir) if entry.state == "failed"}
    assert len(reasons) == 1 and "does not hold" in reasons.pop()


@pytest.mark.realdata
def test_a_small_area_of_a_real_product(shared_data, tmp_path):
    """Pixels are those of the files, statistics those of the whole granule."""
    import pyproj

    product = shared_data / "s2-l2a-safe-t29unu-2022"
    scene = catalogue.scan([product]).scenes[0]
    frame = scene.frame
    with rasterio.open(scene.assets["SCL@60m"].uri) as source:
        classes = source.read(1)
    with rasterio.open(scene.assets["B04@60m"].uri) as source:
        red = source.read(1)
    # A corner of four windows of 192 pixels in which all is seen.
    corner = next(
        (row, column)
        for row in range(192, 1600, 192)
        for column in range(192, 1600, 192)
        if classes[row - 192 : row + 192, column - 192 : column + 192].all()
    )
    east, north = frame.ulx + corner[1] * 60, frame.uly - corner[0] * 60
    zones = {
        "in": shapely.box(east + 500, north - 2500, east + 1500, north - 1500),
        "over the border": shapely.box(east - 800, north - 2000, east + 400, north - 1300),
        "out": shapely.box(east - 9000, north + 2000, east - 8000, north + 3000),
    }
    write_zones(tmp_path / "zones.gpkg", list(zones.values()), list(zones), crs=f"EPSG:{frame.epsg}")
    box = np.array([shapely.box(east + 100, north - 3000, east + 3100, north - 100)])
    aoi = to_degrees(box, pyproj.CRS.from_epsg(frame.epsg))[0].wkt
    tables = {}
    for extent in ("aoi", "granule"):
        path = tmp_path / f"{extent}.yaml"
        path.write_text(
            f"""\
name: {extent}
aoi: "{aoi}"
period: 2022-10-01/2022-10-31
scenes: {{paths: ["{product}"]}}
cube: {{path: {extent}.zarr, bands: [B04@60m, B8A@60m, SCL@60m], extent: {extent}}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B04@60m, SCL@60m]
    mask: {{band: SCL@60m}}
    coverage: fraction
"""
        )
        assert run_here(path) == 0
        tables[extent] = rows(path, list(zones))
    inside = tables["granule"][tables["granule"]["zone"] != "out"].reset_index(drop=True)
    pd.testing.assert_frame_equal(tables["aoi"], inside)
    assert len(inside) == 2 and (inside["valid"] > 0).any()
    cube = tmp_path / "aoi.zarr"
    held = held_windows(band_array(cube, "29UNU", load_campaign(path).ref("B04@60m")))
    at = corner[0] // 192, corner[1] // 192
    assert np.argwhere(held).tolist() == [[at[0], at[1] - 1], [at[0], at[1]]]
    plane = read_plane(cube, "29UNU", load_campaign(path).ref("B04@60m"), 0)
    wide = held.repeat(192, axis=0).repeat(192, axis=1)[: red.shape[0], : red.shape[1]]
    np.testing.assert_array_equal(plane, np.where(wide, red, 0))
