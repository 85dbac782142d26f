"""Catalogues as files, the choice of scenes, and `hpckit scenes`."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import stac_geoparquet.arrow
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.catalogue import catalogue
from hpckit.catalogue.stac import to_item
from hpckit.cli.scenes import scenes as command
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel2.details import Details
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.footprint import bbox, polygon, square
from hpckit.testing.safe import ProductSpec, write_product
from tests import scene_samples
from tests.scene_samples import DAY

REFS = [BandRef(band.name, size, band) for band in SENTINEL2.bands.values() for size in band.resolutions_m]
OFFSETS = st.dictionaries(st.sampled_from(["B04", "B8A"]), st.sampled_from([-1000, -500, 7]))
LONGITUDES = st.sampled_from([-180.0, -179.5, -90.0, 0.0, 5.25, 179.5])


def square_at(west: float) -> shapely.Geometry:
    ring = [(west, 10.0), (west + 1, 10.0), (west + 1, 11.0), (west, 11.0), (west, 10.0)]
    return polygon([((x + 180) % 360 - 180, y) for x, y in ring])


@st.composite
def scene(draw: st.DrawFn) -> Scene:
    """A scene of one of a few passes, tiles, baselines and datastrips."""
    level = draw(st.sampled_from(["L1C", "L2A"]))
    baseline, orbit = draw(st.sampled_from(["02.08", "05.10", "99.99"])), draw(st.sampled_from([8, 51]))
    tile, strip = draw(st.sampled_from(["31UFU", "01KAB"])), draw(st.sampled_from(["105331", "105401"]))
    produced = draw(st.sampled_from(["20240501T115031", "20240601T115031"]))
    refs = draw(st.sets(st.sampled_from(REFS), min_size=1, max_size=5))
    missing = draw(st.lists(st.text(max_size=3), max_size=2))
    place = {"tile": tile, "epsg": draw(st.sampled_from([32631, 32701]))}
    frame = scene_samples.granule(**place, ulx=draw(st.sampled_from([399960.0, 600000.0])))
    files = {ref.key: f"GRANULE/g/{ref.key}.jp2" for ref in refs}
    folder = draw(st.sampled_from(["/a.SAFE", "zip:///a b.zip!/x.SAFE", "zip:///a.zip!/deep/x.SAFE"]))
    quantification = draw(st.sampled_from([1000.0, 10000.0]))
    assets = scene_samples.assets_of(
        frame, files, folder=folder, quantification=quantification, offsets=draw(OFFSETS)
    )
    return Scene(
        id=f"S2A_MSI{level}_20240501T105031_N{baseline.replace('.', '')}_R{orbit:03d}_T{tile}_{produced}",
        href=f"/a b/'{draw(st.integers(0, 999))}'{draw(st.sampled_from(['.zip', '.SAFE']))}",
        level=level,
        platform=draw(st.sampled_from(["S2A", "S2B", "S2C"])),
        sensed=DAY + timedelta(minutes=orbit, microseconds=draw(st.integers(0, 999_999))),
        datatake=f"GS2A_20240501T10{orbit:02d}31_046000_N{baseline}",
        part=f"S2A_OPER_MSI_{level}_DS_2APS_{produced}_S20240501T{strip}_N{baseline}",
        details=Details("g"),
        frame=frame,
        baseline=baseline,
        relative_orbit=orbit,
        cloud_cover=draw(st.none() | st.floats(0, 100)),
        nodata=draw(st.none() | st.floats(0, 100)),
        assets=assets,
        footprint=square_at(draw(LONGITUDES)),
        missing=tuple(missing),
        sensor="sentinel-2",
    )


def unique(scenes: list[Scene]) -> list[Scene]:
    return [dataclasses.replace(item, href=f"/{n}{item.href}") for n, item in enumerate(scenes)]


@given(st.lists(scene(), min_size=1, max_size=6))
@settings(max_examples=40)
def test_a_file_keeps_all_of_every_scene_whatever_the_others_are(tmp_path_factory, scenes):
    scenes = unique(scenes)
    path = tmp_path_factory.mktemp("catalogue") / "c.parquet"
    catalogue.write(path, scenes)
    assert sorted(catalogue.read(path), key=lambda s: s.href) == sorted(scenes, key=lambda s: s.href)


def items(path: Path) -> list[dict[str, Any]]:
    """STAC items, as other readers make them of a catalogue."""
    table = pq.read_table(path)
    return list(stac_geoparquet.arrow.stac_table_to_items(table))


@given(st.lists(scene(), min_size=1, max_size=4), st.sampled_from(["nothing", "a scene", "a state", "one less"]))
@settings(max_examples=20)
def test_a_catalogue_that_is_there_stays_while_it_holds_the_same(tmp_path_factory, scenes, change):
    folder = tmp_path_factory.mktemp("catalogue")
    first, copied, whole = folder / "first.parquet", folder / "copied.parquet", folder / "whole.parquet"
    scenes = unique(scenes)
    stamps = {(item.href, item.id): f"state {number}" for number, item in enumerate(scenes)}
    catalogue.write(first, scenes, stamps=stamps)
    if change == "a scene":
        scenes[-1] = dataclasses.replace(scenes[-1], content="other")
    elif change == "a state":
        stamps[scenes[0].href, scenes[0].id] = "other"
    elif change == "one less":
        scenes = [*scenes[1:], dataclasses.replace(scenes[0], href="/new")]
    catalogue.write(copied, scenes, stamps=stamps, like=[first])
    catalogue.write(whole, scenes, stamps=stamps)
    assert items(copied) == items(whole) and catalogue.read(copied) == catalogue.read(whole)
    assert catalogue.read_stamps(copied) == catalogue.read_stamps(whole)
    assert (copied.read_bytes() == first.read_bytes()) is (change == "nothing")
    before = first.stat()
    catalogue.write(first, scenes, stamps=stamps, like=[first])
    assert (first.stat().st_ino == before.st_ino) is (change == "nothing")


def test_catalogues_of_one_campaign_share_their_scenes(folder):
    report = catalogue.scan([folder / "in put"])
    for name in ("one.parquet", "two.parquet"):
        catalogue.write(folder / name, report.scenes)
    one, two = (catalogue.read(folder / name) for name in ("one.parquet", "two.parquet"))
    assert one == two and all(a is b for a, b in zip(one, two, strict=True))
    again = catalogue.scan([folder / "in put"], previous=folder / "one.parquet")
    assert {key[1] for key in again.stamps} == {scene.id for scene in report.scenes} and all(again.stamps.values())


@given(st.lists(scene(), max_size=12), st.randoms(use_true_random=False))
def test_every_pass_of_a_tile_once_and_no_scene_lost_without_a_reason(scenes, random):
    scenes = unique(scenes)
    found, dropped = catalogue.acquisitions(scenes)
    used = [item for acquisition in found for item in acquisition.scenes]
    passes = Counter((a.tile, a.scenes[0].level, a.id) for a in found)
    assert passes.keys() == {(s.tile, s.level, s.acquisition_id) for s in scenes} and set(passes.values()) <= {1}
    assert Counter(s.id for s in used) + Counter(d.scene_id for d in dropped) == Counter(s.id for s in scenes)
    assert all(item.reason for item in dropped) and len({s.href for s in used}) == len(used)
    for acquisition in found:
        assert len({s.baseline for s in acquisition.scenes}) == 1
        assert len({s.part.split("_")[7] for s in acquisition.scenes}) == len(acquisition.scenes)
    shuffled = list(scenes)
    random.shuffle(shuffled)
    again, dropped_again = catalogue.acquisitions(shuffled)
    assert again == found and Counter(dropped_again) == Counter(dropped)


def template(**changes) -> Scene:
    return scene_samples.scene(**{"footprint": square_at(4.0), **changes})


def test_the_folder_is_taken_before_the_zip_unless_it_is_incomplete():
    zipped = template(href="/x.zip")
    (found,), (dropped,) = catalogue.acquisitions([zipped, template()])
    assert found.scenes[0].href == "/x.SAFE" and dropped.reason == "/x.zip is the same product as /x.SAFE"
    (found,), _ = catalogue.acquisitions([zipped, template(missing=("B08.jp2",))])
    assert found.scenes[0].href == "/x.zip"
    (found,), _ = catalogue.acquisitions([zipped, template(href="/a.SAFE")])
    assert found.scenes[0].href == "/a.SAFE"


def test_two_orbits_of_one_day_are_two_acquisitions():
    other = template(datatake="GS2B_20240501T104031_037000_N05.10", relative_orbit=8, platform="S2B")
    found, dropped = catalogue.acquisitions([template(), other])
    assert len(found) == 2 and not dropped


def test_items_are_valid_stac():
    """Against the schema of the core that pystac brings along; it is of 1.1, which 1.0 differs from by its number."""
    from jsonschema import Draft7Validator
    from pystac.validation.local_validator import get_local_schema_cache
    from referencing import Registry, Resource

    cache = get_local_schema_cache()
    registry = Registry().with_resources([(uri, Resource.from_contents(schema)) for uri, schema in cache.items()])
    schema = next(schema for uri, schema in cache.items() if uri.endswith("item-spec/json-schema/item.json"))
    validator = Draft7Validator(schema, registry=registry)
    for one in (
        template(),
        template(cloud_cover=None, nodata=None, footprint=None),
        template(footprint=square_at(179.5)),
    ):
        item = json.loads(json.dumps(to_item(one)))
        assert not list(validator.iter_errors({**item, "stac_version": "1.1.0"}))
        assert None not in item["properties"].values()
    assert list(validator.iter_errors({**item, "stac_version": "1.1.0", "links": None}))


def test_an_item_tells_others_where_its_pixels_are_and_what_they_mean():
    files = {"B04@10m": "b04.jp2"}
    assets = scene_samples.assets_of(
        scene_samples.granule(), files, folder="zip:///a/x.zip!/x.SAFE", offsets={"B04": -1000}
    )
    item = to_item(template(href="/a/x.zip", assets=assets))
    asset, properties = item["assets"]["B04_10m"], item["properties"]
    assert asset["href"] == "zip:///a/x.zip!/x.SAFE/b04.jp2"
    assert asset["proj:transform"] == [10, 0, 600000, 0, -10, 5700000] and asset["proj:shape"] == [10980, 10980]
    assert asset["raster:bands"][0]["scale"] == 0.0001 and asset["raster:bands"][0]["offset"] == -0.1
    assert asset["eo:bands"][0]["common_name"] == "red"
    assert properties["proj:code"] == "EPSG:32631" and properties["grid:code"] == "MGRS-31UFU"


def test_bounding_boxes_at_the_antimeridian_have_their_west_in_the_east():
    assert bbox(square_at(179.5)) == [179.5, 10.0, -179.5, 11.0]
    assert bbox(square_at(-180.0)) == [-180.0, 10.0, -179.0, 11.0]
    assert bbox(square_at(4.0)) == [4.0, 10.0, 5.0, 11.0]


def test_granules_without_a_footprint_have_their_square():
    fiji = shapely.geometry.shape(square(32701, 99960, 8100040, (10980, 10980)))
    assert fiji.geom_type == "MultiPolygon" and fiji.bounds[0] == -180 and fiji.bounds[2] == 180
    assert 0.8 < fiji.area < 1.3
    flat = shapely.geometry.shape(square(32631, 600000, 5700000, (10980, 10980)))
    assert flat.contains(shapely.Point(5.2, 50.9))


@pytest.fixture
def folder(tmp_path) -> Path:
    pixels = {"B04@10m": np.full((60, 60), 2000, np.uint16)}
    for number, cloud in enumerate((5.0, 80.0)):
        spec = ProductSpec(sensed=DAY + timedelta(days=5 * number), cloud_cover=cloud)
        write_product(tmp_path / "in put", spec, pixels, as_zip=bool(number))
    write_product(tmp_path / "in put", ProductSpec(sensed=DAY, baseline="02.08"), pixels)
    (tmp_path / "in put" / "S2A_MSIL2A_20240601T105031_N0510_R051_T31UFU_20240601T115031.SAFE").mkdir()
    return tmp_path


def call(*words: object):
    return CliRunner().invoke(command, [str(word) for word in words])


def test_scan_reports_counts_and_failures_and_list_filters(folder):
    output = folder / "c.parquet"
    result = call("scan", folder / "in put", "-o", output)
    assert result.exit_code == 0 and result.stdout == ""
    assert "L2A  N05.10  2 products of 1 tile" in result.stderr
    assert "L2A  N02.08  1 product of 1 tile" in result.stderr
    assert "20240601T115031.SAFE: incomplete: no MTD_MSIL1C.xml" in result.stderr and "1 left out" in result.stderr
    report = json.loads(call("scan", folder / "in put", "-o", output, "--json").stdout)
    assert report["scenes"] == report["reused"] == 3 and len(report["failures"]) == 1

    rows = list(csv.DictReader(io.StringIO(call("list", output, "--csv").stdout)))
    assert [row["baseline"] for row in rows] == ["05.10", "05.10"] and rows[0]["sensed"] == "2024-05-01T10:53:31Z"
    listed = call("list", output, "--max-cloud", 50, "--tile", "t31ufu", "--level", "L2A", "--all")
    assert "superseded by baseline 05.10" in listed.stdout and "cloud cover 80 %" in listed.stdout
    assert "1 scene, 1 acquisition; 2 not used" in listed.stderr
    assert (
        json.loads(call("list", output, "--period", "2024-05-05/2024-05-07", "--json").stdout)[0]["type"] == "Feature"
    )
    assert call("list", output, "--aoi", "10,50,11,51", "--csv").stdout.count("\n") == 1
    assert call("list", output, "--aoi", "4.44,51.4,4.45,51.5", "--csv").stdout.count("\n") == 3
    assert call("list", output, "--period", "May").exit_code == 2


def test_a_scan_that_finds_nothing_fails_and_leaves_the_catalogue_alone(folder):
    (folder / "empty").mkdir()
    result = call("scan", folder / "empty", "-o", folder / "c.parquet")
    assert result.exit_code == 1 and "no usable product" in str(result.exception)
    assert not (folder / "c.parquet").exists()


def test_a_catalogue_is_geoparquet_that_others_read(folder):
    call("scan", folder / "in put", "-o", folder / "c.parquet")
    table = pq.read_table(folder / "c.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["primary_column"] == "geometry" and table.num_rows == 3
    import geopandas

    assert geopandas.read_parquet(folder / "c.parquet").total_bounds[0] == pytest.approx(4.44, abs=0.02)


def test_a_catalogue_that_was_read_before_is_read_as_it_is(tmp_path: Path) -> None:
    """Whatever this process remembers of it: files are replaced, copied and written in place."""
    path, copy = tmp_path / "scenes.parquet", tmp_path / "copy.parquet"
    made = [
        scene_samples.scene(id=f"S2A_{number}", href=f"/{number}.SAFE", footprint=square_at(5.0))
        for number in range(4)
    ]
    for some in (made[:2], made[2:], made[:2], made[1:3], made):
        catalogue.write(path, some)
        copy.write_bytes(path.read_bytes())
        for place in (path, copy, path):
            assert sorted(scene.id for scene in catalogue.read(place)) == sorted(scene.id for scene in some)
    held = catalogue.read(path)
    again = catalogue.read(path)
    assert again == held and again is not held and all(a is b for a, b in zip(again, held, strict=True))
    again.clear()
    assert len(catalogue.read(path)) == 4, "who reads it may change the list"
