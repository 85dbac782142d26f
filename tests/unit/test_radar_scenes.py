"""Sentinel-1 products of every kind: found, read, described, and refused with a reason."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.catalogue.stac import from_item, to_item
from hpckit.errors import SceneError
from hpckit.sensors.model import Scene, bands_in
from hpckit.sensors.sentinel1.model import orbit_state_at, radar_of, relative_orbit
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.testing.radar import RadarSpec, write_card_bs, write_series
from tests.products import read_product

SPEC = RadarSpec()


def pixels(seed: int = 1, shape: tuple[int, int] = (40, 50)) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {pol: random.gamma(4.4, 0.02, shape).astype(np.float32) for pol in ("VV", "VH")}


def scan(folder: Path) -> catalogue.ScanReport:
    return catalogue.scan([folder])


def only(folder: Path) -> Scene:
    report = scan(folder)
    assert not report.failures and len(report.scenes) == 1, report
    return report.scenes[0]


def read_band(scene: Scene, band: str) -> np.ndarray:
    raster = scene.assets[f"{band}@10m"]
    with rasterio.open(raster.uri) as source:
        return source.read(raster.layer)


@pytest.mark.parametrize("what", ["card-bs", "rtc", "nrb", "terrascope"])
@pytest.mark.parametrize("state", ["ascending", "descending"])
def test_every_family_tells_the_same(tmp_path, what, state):
    """Name, orbit, time, pass and pixels are those that were written, whatever the form."""
    spec, arrays = replace(SPEC, state=state), pixels()
    write_card_bs(tmp_path, spec, arrays) if what == "card-bs" else write_series(tmp_path, spec, arrays, style=what)
    scene = only(tmp_path)
    radar, raster = radar_of(scene), scene.assets["VV@10m"]
    assert scene.platform == "S1A" and scene.relative_orbit == spec.relative_orbit
    assert radar.orbit_state == state and radar.polarisations == ("VH", "VV")
    assert radar.radiometry == ("sigma0" if what == "terrascope" else "gamma0")
    assert scene.level == {"card-bs": "CARD-BS", "nrb": "NRB"}.get(what, "RTC")
    assert abs(scene.sensed - spec.start) < timedelta(seconds=1)
    assert raster.transform == pytest.approx(tuple(spec.transform)[:6]) and raster.shape == (40, 50)
    assert raster.crs == "EPSG:32631"
    for band, array in arrays.items():
        np.testing.assert_array_equal(read_band(scene, band), array)
    middle = scene.footprint.centroid
    assert (middle.x, middle.y) == pytest.approx((5.02, 51.25), abs=0.02)


def test_without_an_item_names_and_folders_tell(tmp_path):
    write_series(tmp_path, SPEC, pixels(), item=False)
    scene = only(tmp_path)
    assert radar_of(scene).absolute_orbit == SPEC.absolute_orbit
    assert scene.acquisition_id == "S1A_DES_0684F1"
    assert scene.id == SPEC.name


def test_envi_without_its_dimap_header(tmp_path):
    header = write_card_bs(tmp_path, SPEC, pixels())
    with_header = only(tmp_path)
    header.unlink()
    scene = only(tmp_path)
    assert scene.href == str(header.with_suffix(".data"))
    assert scene.acquisition_id == with_header.acquisition_id
    np.testing.assert_array_equal(read_band(scene, "VH"), pixels()["VH"])


def test_coherence_is_its_own_kind(tmp_path):
    arrays = {pol: np.full((20, 30), 0.5, np.float32) for pol in ("VV", "VH")}
    write_card_bs(tmp_path / "dimap", SPEC, arrays, what="coh")
    write_series(tmp_path / "tiff", replace(SPEC, datatake=7), arrays, style="coherence", item=False)
    for scene in scan(tmp_path).scenes:
        assert scene.level == "CARD-COH6" and radar_of(scene).radiometry == "coherence"
        assert set(scene.assets) == {f"COH_{pol}@{res}m" for pol in ("VV", "VH") for res in (10, 20)}


def core_schema_errors(item: dict) -> list[str]:
    """Against the schema of the core that pystac brings along; it is of 1.1, which 1.0 differs from by its number."""
    from jsonschema import Draft7Validator
    from pystac.validation.local_validator import get_local_schema_cache
    from referencing import Registry, Resource

    cache = get_local_schema_cache()
    registry = Registry().with_resources([(uri, Resource.from_contents(schema)) for uri, schema in cache.items()])
    schema = next(schema for uri, schema in cache.items() if uri.endswith("item-spec/json-schema/item.json"))
    validator = Draft7Validator(schema, registry=registry)
    return [error.message for error in validator.iter_errors({**item, "stac_version": "1.1.0"})]


def test_incidence_angles_of_nrb(tmp_path):
    path = write_series(tmp_path, SPEC, pixels(), style="nrb")
    angles = np.full((40, 50), 38.5, np.float32)
    target = path.parent.parent / "annotation" / path.name.replace("-vv-g-lin", "-ei")
    target.parent.mkdir()
    with rasterio.open(path) as source:
        profile = {name: source.profile[name] for name in ("height", "width", "count", "dtype", "crs", "transform")}
    with rasterio.open(target, "w", driver="GTiff", **profile) as file:
        file.write(angles, 1)
    scene = only(tmp_path)
    assert bands_in(scene.assets) == {"VV", "VH", "INC"}
    np.testing.assert_array_equal(read_band(scene, "INC"), angles)


def test_two_band_coherence_tiff(tmp_path):
    """One file with two bands that say which they are, as some platforms deliver it."""
    path = tmp_path / f"{SPEC.name}_CARD_COH6_vv.tif"
    write_series(tmp_path / "a", SPEC, pixels(), style="coherence", item=False)
    source = next((tmp_path / "a").rglob("*coh_VV.tif"))
    with rasterio.open(source) as given:
        profile = {**given.profile, "driver": "GTiff", "count": 2, "tiled": False}
    for key in ("blockxsize", "blockysize"):
        profile.pop(key, None)
    with rasterio.open(path, "w", **profile) as target:
        for number, pol in enumerate(("VH", "VV"), 1):
            target.write(pixels()[pol], number)
            target.set_band_description(number, f"coh {pol}")
    shutil.rmtree(tmp_path / "a")
    scene = only(tmp_path)
    np.testing.assert_array_equal(read_band(scene, "COH_VV"), pixels()["VV"])
    np.testing.assert_array_equal(read_band(scene, "COH_VH"), pixels()["VH"])


def test_catalogue_keeps_everything_beside_sentinel2(tmp_path):
    from tests import products

    products.write(tmp_path / "s2", 0, products.arrays(1, 60))
    write_card_bs(tmp_path / "s1", SPEC, pixels())
    write_series(tmp_path / "s1", replace(SPEC, state="ascending"), pixels(), style="nrb")
    scenes = scan(tmp_path).scenes
    assert len(scenes) == 3
    catalogue.write(tmp_path / "c.parquet", scenes)
    read = catalogue.read(tmp_path / "c.parquet")
    assert sorted(read, key=lambda s: s.id) == sorted(scenes, key=lambda s: s.id)
    again = catalogue.scan([tmp_path], previous=tmp_path / "c.parquet")
    assert again.reused == 3


@pytest.mark.parametrize("style", ["card-bs", "rtc", "terrascope"])
def test_items_follow_their_schemas(tmp_path, style):
    """The core against pystac's copy; sar and sat against what their extensions (v1.0.0) allow and require."""
    write_card_bs(tmp_path, SPEC, pixels()) if style == "card-bs" else write_series(
        tmp_path, SPEC, pixels(), style=style
    )
    item = json.loads(json.dumps(to_item(only(tmp_path))))
    assert core_schema_errors(item) == []
    properties = item["properties"]
    required = {"sar:instrument_mode", "sar:frequency_band", "sar:polarizations", "sar:product_type"}
    assert required <= set(properties)
    assert set(properties["sar:polarizations"]) <= {"VV", "VH", "HH", "HV"}
    allowed = {f"sar:{name}" for name in SAR_FIELDS} | {f"sat:{name}" for name in SAT_FIELDS}
    assert {name for name in properties if name.startswith(("sar:", "sat:"))} <= allowed
    assert properties["sat:orbit_state"] in ("ascending", "descending")
    assert isinstance(properties["sar:looks_range"], int) and properties["sat:relative_orbit"] >= 1
    assert from_item(item) == only(tmp_path)


SAR_FIELDS = (
    *("instrument_mode", "frequency_band", "center_frequency", "polarizations", "product_type", "resolution_range"),
    *("resolution_azimuth", "pixel_spacing_range", "pixel_spacing_azimuth", "looks_range", "looks_azimuth"),
    *("looks_equivalent_number", "observation_direction", "beam_ids"),
)
SAT_FIELDS = ("platform_international_designator", "orbit_state", "absolute_orbit", "relative_orbit", "anx_datetime")


def test_frames_of_a_pass_are_one_acquisition_per_tile(tmp_path):
    from hpckit.sensors.sentinel1.placing import place
    from hpckit.space.mgrs import mgrs_tile

    later = replace(SPEC, start=SPEC.start + timedelta(seconds=25), unique="C3D4", uly=SPEC.uly - 400)
    again = replace(SPEC, unique="E5F6", version="3.72")
    for spec in (SPEC, later, again):
        write_card_bs(tmp_path, spec, pixels())
    tile = mgrs_tile("31UFT")
    found, dropped = catalogue.acquisitions([place(scene, tile) for scene in scan(tmp_path).scenes])
    assert [len(item.scenes) for item in found] == [2]
    assert found[0].time == SPEC.start and found[0].id == "S1A_DES_0684F1"
    assert {scene.id for scene in found[0].scenes} == {later.name, again.name}
    assert [item.scene_id for item in dropped] == [SPEC.name] and "same frame" in dropped[0].reason


def test_dimap_header_without_data(tmp_path):
    header = write_card_bs(tmp_path, SPEC, pixels())
    shutil.rmtree(header.with_suffix(".data"))
    (failure,) = scan(tmp_path).failures
    assert "its data are missing" in failure.reason and header.name in failure.reason


def test_dimap_with_one_band_gone_is_incomplete(tmp_path):
    header = write_card_bs(tmp_path, SPEC, pixels())
    (header.with_suffix(".data") / "Gamma0_VH.img").unlink()
    scene = only(tmp_path)
    assert scene.missing == ("Gamma0_VH.img",) and set(scene.assets) == {"VV@10m", "VV@20m"}
    assert SENTINEL1.is_lost(scene, "VH") and not SENTINEL1.is_lost(scene, "VV")


def test_truncated_envi_is_refused(tmp_path):
    """GDAL reads what is missing as zeros."""
    header = write_card_bs(tmp_path, SPEC, pixels())
    image = header.with_suffix(".data") / "Gamma0_VV.img"
    image.write_bytes(image.read_bytes()[:-400])
    (failure,) = scan(tmp_path).failures
    assert "truncated" in failure.reason and "Gamma0_VV.img" in failure.reason


def test_header_without_a_crs_is_refused(tmp_path):
    header = write_card_bs(tmp_path, SPEC, pixels())
    for path in header.with_suffix(".data").glob("*.hdr"):
        path.write_text(
            "\n".join(line for line in path.read_text().splitlines() if not line.startswith(("map", "coo")))
        )
    (failure,) = scan(tmp_path).failures
    assert "no CRS" in failure.reason


def test_ground_control_points_alone_are_refused(tmp_path):
    path = tmp_path / f"{SPEC.name}_gamma0_vv.tif"
    points = [GroundControlPoint(r, c, 5 + c / 100, 51 - r / 100) for r in (0, 40) for c in (0, 50)]
    with rasterio.open(path, "w", driver="GTiff", height=40, width=50, count=1, dtype="float32") as target:
        target.write(pixels()["VV"], 1)
        target.gcps = (points, "EPSG:4326")
    (failure,) = scan(tmp_path).failures
    assert "radar geometry" in failure.reason and path.name in failure.reason


def test_decibels_are_refused(tmp_path):
    write_series(tmp_path, SPEC, pixels())
    (item,) = tmp_path.rglob("*.json")
    content = json.loads(item.read_text())
    next(iter(content["assets"].values()))["raster:bands"] = [{"unit": "dB"}]
    item.write_text(json.dumps(content))
    (failure,) = scan(tmp_path).failures
    assert "dB" in failure.reason


def test_what_it_is_must_be_told(tmp_path):
    path = write_series(tmp_path, SPEC, pixels(), item=False)
    target = tmp_path / "moved" / f"{SPEC.name}_vv.tif"
    target.parent.mkdir()
    shutil.copy(path, target)
    with pytest.raises(SceneError, match="gamma0 or sigma0"):
        read_product(target)


def test_across_the_antimeridian(tmp_path):
    """A raster of zone 60 that reaches into zone 1 has a footprint in two parts."""
    write_card_bs(tmp_path, replace(SPEC, epsg=32660, ulx=650_000, uly=5_600_000, pixel_m=2000), pixels())
    shape = shapely.geometry.shape(only(tmp_path).footprint)
    assert shape.geom_type == "MultiPolygon" and shape.area < 10
    west, east = sorted(part.bounds[0] for part in shape.geoms)
    assert west == -180 and 170 < east < 180


@given(st.integers(1, 60_000))
def test_relative_orbits_come_round(absolute):
    assert 1 <= relative_orbit("S1A", absolute) <= 175
    assert relative_orbit("S1A", absolute) == relative_orbit("S1A", absolute + 175)


@pytest.mark.parametrize(
    ("platform", "absolute", "relative"),
    [("S1A", 52433, 36), ("S1B", 26269, 168), ("S1A", 30352, 5), ("S1A", 39156, 59), ("S1C", 4087, 66)],
)
def test_relative_orbits_of_real_products(platform, absolute, relative):
    assert relative_orbit(platform, absolute) == relative


def test_files_and_folders_without_products_are_left_alone(tmp_path):
    (tmp_path / "vv.data").mkdir()
    (tmp_path / "notes_vv.tif").write_text("x")
    (tmp_path / "S1A_notes").mkdir()
    assert list(find_products([tmp_path])) == []


def test_direction_by_the_sun():
    """Descending over Europe in the morning, ascending in the evening; likewise on other continents."""
    moment = SPEC.start
    assert orbit_state_at(moment.replace(hour=5, minute=50), 5.0) == "descending"
    assert orbit_state_at(moment.replace(hour=17, minute=30), 5.0) == "ascending"
    assert orbit_state_at(moment.replace(hour=0, minute=38), -100.0) == "ascending"
