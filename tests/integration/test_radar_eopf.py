"""GRD products of Sentinel-1 as EOPF Zarr, with the annotation of a real product: as the SAFE product itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from hpckit.catalogue import catalogue
from hpckit.catalogue.foreign import read_items
from hpckit.errors import SceneError
from hpckit.inputs import httpfiles, remote, s3files, web
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel1 import raw
from hpckit.sensors.sentinel1.model import radar_of
from hpckit.sensors.sentinel1.raw import grd_on_target
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel1.terrain import read_geometry
from hpckit.sensors.sentinel1.windows import encode
from hpckit.sensors.stac.options import ItemOptions
from hpckit.testing.radar_eopf import GENERATIONS, write_eopf_grd
from hpckit.testing.radar_grd import write_tables
from tests.integration.test_radar_grd_real import NAME, SHAPE, STEM, corner, real, safe, write_pixels
from tests.products import read_product
from tests.servers import files
from tests.servers.bucket import Bucket
from tests.servers.files import Handler, serve

__all__ = ["real", "safe"]
pytestmark = [pytest.mark.integration, pytest.mark.realdata]
VV = SENTINEL1.parse("VV@10m")
GRD = "measurements/grd"


@pytest.fixture(scope="module")
def delivered(safe: Path) -> Scene:
    """The SAFE product: pixels, calibration and noise that are different everywhere, but smooth."""
    line, sample = np.mgrid[: SHAPE[0], : SHAPE[1]]
    pixels = (300 + line / 4 + sample / 20).astype(np.uint16)
    pixels[:, :200] = 0
    write_pixels(safe, pixels)
    write_tables(
        safe,
        f"measurement/{STEM}.tiff",
        SHAPE,
        sigma=lambda line, pixels: 480 + 0.01 * line + 0.002 * pixels,
        gamma=lambda line, pixels: 400 + 0.01 * line + 0.001 * pixels,
        noise=lambda line, pixels: 1000 + 0.1 * line + 0.05 * pixels,
        azimuth=lambda lines: 1 + 0.0001 * lines,
    )
    return read_product(safe)


@pytest.fixture(scope="module")
def target(safe: Path) -> GeoBox:
    geometry = read_geometry(STEM, (safe / "annotation" / f"{STEM}.xml").read_bytes())
    x, y = corner(geometry, geometry.mean_height_m)
    return GeoBox((150, 150), Affine(10, 0, x, 0, -10, y), "EPSG:32633")


@pytest.fixture
def made(safe: Path, delivered: Scene, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The product in one of its forms."""
    for cache in (raw._geometry, raw._table, raw._noise, raw._array_geometry, raw._array_table, raw._array_noise):
        cache.cache_clear()
    return write_eopf_grd(tmp_path, safe, delivered, getattr(request, "param", "2.8"))


def stored(scene: Scene, target: GeoBox, **changes: object) -> np.ndarray:
    reading = replace(RadarReading(ellipsoid=True), **changes)
    return encode(grd_on_target(reading, scene, VV, target), VV).astype(int)


def test_an_item_of_the_hierarchy_is_the_product(made: Path, tmp_path: Path):
    item = {
        "type": "Feature",
        "id": NAME.removesuffix(".SAFE"),
        "properties": {"platform": "sentinel-1b", "sar:instrument_mode": "IW"},
        "assets": {"vv": {"href": f"{made.name}/{_group(made)}/{GRD}", "type": "application/vnd+zarr"}},
    }
    (tmp_path / "items.json").write_text(json.dumps(item))
    (scene,), errors = read_items(tmp_path / "items.json", ItemOptions())
    assert not errors and scene.href == f"{tmp_path}/items.json#{item['id']}"
    assert replace(scene, href=read_product(made).href) == read_product(made)


@pytest.mark.parametrize("made", GENERATIONS, indirect=True)
def test_it_is_the_product_and_holds_its_backscatter(made: Path, delivered: Scene, target: GeoBox):
    """Within one step of what cubes store: calibration has 32 bits there, and times of lines microseconds."""
    scene, has_noise = read_product(made), (made / _group(made) / "quality/noise_range").exists()
    for field in ("level", "platform", "sensed", "datatake", "part", "baseline", "relative_orbit"):
        assert getattr(scene, field) == getattr(delivered, field), field
    # Where the frame's end alone tells the time of lines, it is that of the first lines, which the image is cut to.
    assert scene.id == NAME.removesuffix(".SAFE").replace("052648", "052648" if has_noise else "052624")
    assert scene.footprint.equals_exact(delivered.footprint, 1e-9)
    assert radar_of(scene).incidence == pytest.approx(radar_of(delivered).incidence, abs=1e-4)
    found, dropped = catalogue.acquisitions([replace(s, frame=None) for s in (scene, delivered)])
    assert len(found) == len(found[0].scenes) == len(dropped) == 1
    for changes in ({"radiometry": "sigma0"}, {"radiometry": "gamma0"}, {"noise": False}):
        wanted = changes if has_noise else {**changes, "noise": False}
        one, other = stored(scene, target, **wanted), stored(delivered, target, **wanted)
        assert (one > 0).any() and np.abs(one - other).max() <= 1


def _group(path: Path) -> str:
    return next(entry.name for entry in path.iterdir() if entry.name.endswith("_VV"))


@pytest.mark.parametrize("made", ["2025"], indirect=True)
def test_where_noise_is_not_known_it_is_not_taken_for_none(made: Path, target: GeoBox):
    with pytest.raises(SceneError, match="thermal noise is not known") as told:
        stored(read_product(made), target)
    assert "noise: false" in str(told.value.hint)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        ("quality/calibration/gamma", "gamma is missing"),
        ("conditions/orbit/position", "position is missing"),
        ("conditions/coordinate_conversion/sr0", "sr0 is missing"),
    ],
)
def test_lost_tables(made: Path, target: GeoBox, array: str, words: str):
    shutil.rmtree(made / _group(made) / array)
    zarr.consolidate_metadata(made, zarr_format=2)
    with pytest.raises(SceneError, match=words):
        stored(read_product(made), target)


def test_damaged_tables_and_chunks(made: Path, target: GeoBox):
    scene, group = read_product(made), made / _group(made)
    for file in sorted((group / GRD).glob("[0-9]*.*")):
        file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(SceneError, match=rf"{scene.id}: chunk \d.\d of {group.name}/{GRD} is truncated or damaged"):
        stored(scene, target)
    for file in sorted((group / GRD).glob("[0-9]*.*")):
        file.unlink()
    with pytest.raises(SceneError, match="is missing"):
        stored(scene, target)
    raw._array_table.cache_clear()
    store = zarr.open_group(made, mode="r+", use_consolidated=False)
    store[f"{group.name}/quality/calibration/gamma"][0, 0] = 0.0
    with pytest.raises(SceneError, match="values of 0 or less"):
        stored(scene, target, radiometry="gamma0")


def test_other_products_are_told(made: Path, tmp_path: Path):
    group = made / _group(made)
    group.rename(group.with_name(group.name.replace("GRD", "SLC")))
    report = catalogue.scan([tmp_path])
    assert [failure.reason for failure in report.failures] == [
        f"{made.name}: unsupported: products of Sentinel-1 other than GRD"
    ]


def _forget() -> None:
    for cache in (raw._geometry, raw._table, raw._noise, raw._array_geometry, raw._array_table, raw._array_noise):
        cache.cache_clear()
    raw._stored.cache_clear()


@pytest.mark.parametrize("where", ["http", "s3"])
@pytest.mark.parametrize("made", GENERATIONS, indirect=True)
def test_on_a_server_it_is_the_same(made: Path, target: GeoBox, where: str, monkeypatch: pytest.MonkeyPatch):
    """Also from a store, where the groups of metadata that are not consolidated can be listed."""
    scene = read_product(made)
    reading = {"noise": (made / _group(made) / "quality/noise_range").exists()}
    expected = stored(scene, target, **reading)
    with serving(made.parent, monkeypatch) as server:
        place = f"{server.url}/{made.name}" if where == "http" else f"s3://{made.parent.name}/{made.name}"
        report = catalogue.scan([place])
        if where == "http" and not report.scenes:
            assert "are not consolidated" in report.failures[0].reason
            return
        (there,) = report.scenes
        assert (there.id, there.details, there.footprint) == (scene.id, scene.details, scene.footprint)
        np.testing.assert_array_equal(stored(there, target, **reading), expected)
        server.every = files.status(403)
        _forget()
        with pytest.raises(SceneError, match="cannot be read"):
            stored(there, target, **reading)


def test_a_safe_product_in_a_store(safe: Path, delivered: Scene, target: GeoBox, monkeypatch: pytest.MonkeyPatch):
    expected = stored(delivered, target)
    manifest = safe / "manifest.safe"
    manifest.rename(safe.parent / "kept")  # it lists the files of the whole product
    text = (safe.parent / "kept").read_text().replace("byteStream", "byteFlow")
    manifest.write_text(text)
    try:
        with serving(safe.parent, monkeypatch) as server:
            (there,) = catalogue.scan([f"s3://{safe.parent.name}"]).scenes
            assert there.id == delivered.id and there.details == delivered.details
            np.testing.assert_array_equal(stored(there, target), expected)
            server.every = files.status(403)
            with pytest.raises(SceneError, match="access denied"):
                stored(there, target)
    finally:
        (safe.parent / "kept").replace(manifest)


@contextmanager
def serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A folder as files of a web server, and as a bucket that has its name."""
    for name in s3files._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", {"127.0.0.1"})
    monkeypatch.setattr(remote, "_known", {})
    _forget()

    class Both(Bucket):
        """Answers for files at its top, too."""

        def answer(self, handler: Handler) -> None:
            if f"/{folder.name}/" not in handler.path and "list-type" not in handler.path:
                handler.path = f"/{folder.name}{handler.path}"
            Bucket.answer(self, handler)

    with serve(Both(folder.parent)) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        s3files._store.cache_clear()
        yield running
