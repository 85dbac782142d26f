"""What every sensor must do: a class of tests for pytest, that the tests of each sensor derive from.

::

    class TestMine(SensorTests):
        @pytest.fixture
        def sensor(self) -> Sensor:
            return MINE

        @pytest.fixture
        def products(self, tmp_path: Path) -> Path:
            ...                # write products of one pass over one place into a folder
            return tmp_path
"""

# ruff: noqa: D102 -- names of tests say what they check

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.sensors.bands import BandRef, split_key
from hpckit.sensors.model import Acquisition, Scene
from hpckit.sensors.parts import cell_edge
from hpckit.sensors.reader import Needed, Treatment, WindowAnswer, WindowRequest
from hpckit.sensors.registry import searched, sensor_named, sensor_of, sensor_with, sensors
from hpckit.sensors.sensor import Sensor, band_of
from hpckit.space.frame import Frame


class SensorTests:
    """The contract of `hpckit.sensors.sensor.Sensor`."""

    @pytest.fixture
    def sensor(self) -> Sensor:
        """The sensor: registered, or made by the options of a campaign from one that is."""
        raise NotImplementedError

    @pytest.fixture
    def products(self) -> Path:
        """A folder with products of one pass over one place, and with nothing else."""
        raise NotImplementedError

    @pytest.fixture
    def options(self) -> object:
        """What the sensor's reader gets of the options of a campaign file."""
        return None

    @pytest.fixture
    def scenes(self, sensor: Sensor, products: Path) -> list[Scene]:
        """The products on one tile."""
        found = list(catalogue.scan([products], among=searched(sensor)).scenes)
        placed, _ = sensor.place(found, None, None)
        return [scene for scene in placed if scene.tile == placed[0].tile]

    @pytest.fixture
    def acquisition(self, scenes: list[Scene]) -> Acquisition:
        """The pass over the tile."""
        ((acquisition,), _) = catalogue.acquisitions(scenes)
        return acquisition

    @pytest.fixture
    def ref(self, sensor: Sensor, acquisition: Acquisition) -> BandRef:
        """A band that the products have: no mask."""
        keys = sorted(acquisition.scenes[0].assets)
        return next(ref for ref in map(sensor.parse, keys) if not ref.band.is_mask)

    def test_it_is_found_by_its_names(self, sensor: Sensor) -> None:
        general = sensor_named(sensor.name)
        assert general in sensors() and general.collections == sensor.collections
        assert sensor is general or sensor.option
        assert sensor.collections
        for collection in sensor.collections:
            assert sensor_with(collection) is general

    def test_its_objects_reach_other_processes(self, sensor: Sensor) -> None:
        assert pickle.loads(pickle.dumps(sensor)).name == sensor.name

    def test_bands_are_named_and_parsed(self, sensor: Sensor) -> None:
        for name, band in sensor.bands.items():
            assert band.name == name and band.native_m == band.resolutions_m[0]
            assert band_of(sensor, name) is band and band_of(sensor, f"{name}@{band.native_m}m") is band
            levels = [level for level in sensor.collections.values() if _has(sensor, name, level)]
            assert levels, f"no collection has {name}"
            ref = sensor.parse(name, level=levels[0])
            assert (ref.name, ref.band) == (name, band)
            assert sensor.parse(ref.key, level=levels[0]) == ref
            assert sensor.parse(name, level=levels[0], pixel_m=37).resolution_m == 37

    def test_what_is_no_band_is_refused(self, sensor: Sensor) -> None:
        name = next(iter(sensor.bands))
        for text in ("", "no_such_band", f"{name}@7m", "1 + 1"):
            with pytest.raises(ValueError, match=r"band|come"):
                sensor.parse(text)

    def test_bands_can_be_stored(self, sensor: Sensor) -> None:
        for band in sensor.bands.values():
            assert np.dtype(band.dtype).kind == "u" and band.scale > 0
            most = np.iinfo(band.dtype).max
            assert band.nodata is None or 0 <= band.nodata <= most
            limit = 8 * np.dtype(band.dtype).itemsize if band.kind == "bits" else most + 1
            assert bool(band.flags) == band.is_categorical and all(0 <= flag < limit for flag, _ in band.flags)

    def test_the_mask_is_a_band(self, sensor: Sensor) -> None:
        mask = sensor.mask
        if mask is None:
            return
        assert sensor.bands[mask.name] is mask.band and mask.band.is_categorical
        known = {flag for flag, _ in mask.band.flags}
        assert known.issuperset({*mask.hide, *mask.spread, *mask.clouds, *mask.empty})
        assert set(mask.quickest) == set(mask.band.resolutions_m)

    def test_windows_are_made_of_whole_chunks(self, sensor: Sensor) -> None:
        windows = sensor.grid.windows
        assert all(edges.window % edges.chunk == 0 for edges in windows.values())
        assert {size for band in sensor.bands.values() for size in band.resolutions_m} <= windows.keys()

    def test_pictures_are_of_its_bands(self, sensor: Sensor) -> None:
        shown = sensor.pictures
        assert len(shown.colour) in (0, 3)
        assert {*shown.colour, *shown.visible, *shown.grey} <= sensor.bands.keys()

    def test_products_are_found_once_and_read(self, sensor: Sensor, products: Path) -> None:
        paths = list(find_products([products], among=searched(sensor)))
        assert paths and len(set(paths)) == len(paths)
        for path in paths:
            assert sensor.claims(path)
            scenes = sensor.read(path)
            assert scenes and len({scene.id for scene in scenes}) == len(scenes)
            assert [hash(scene) for scene in sensor.read(path)] == [hash(scene) for scene in scenes]
            for scene in scenes:
                assert scene.href == str(path) and sensor_of(scene).name == sensor.name
                assert sensor.is_current(scene)
                assert scene.level in sensor.collections.values()
                assert scene.assets and (scene.frame is not None) == sensor.has_tiles
                for key in scene.assets:
                    assert sensor.parse(key).key == key

    def test_items_hold_all_of_a_scene(self, sensor: Sensor, products: Path, scenes: list[Scene]) -> None:
        for scene in [*catalogue.scan([products], among=searched(sensor)).scenes, *scenes]:
            item = sensor.to_item(scene)
            assert item["properties"]["constellation"] == sensor.name
            again = sensor_named(sensor.name).from_item(json.loads(json.dumps(item)))
            assert again == scene and hash(again) == hash(scene)
            assert pickle.loads(pickle.dumps(scene)) == scene

    def test_catalogues_hold_all_of_a_scene(self, tmp_path: Path, scenes: list[Scene]) -> None:
        path = tmp_path / "catalogue.parquet"
        catalogue.write(path, scenes)
        assert sorted(catalogue.read(path), key=_by_id) == sorted(scenes, key=_by_id)
        assert catalogue.read(path, [scenes[0].tile]) and not catalogue.read(path, ["none"])

    def test_names_of_tiles(self, sensor: Sensor, scenes: list[Scene]) -> None:
        assert sensor.tile(scenes[0].tile) == scenes[0].tile
        with pytest.raises(ValueError, match="write it like"):
            sensor.tile("no tile")

    def test_placing_is_done_once(self, sensor: Sensor, scenes: list[Scene]) -> None:
        placed, dropped = sensor.place(scenes, None, None)
        assert placed == scenes and not dropped

    def test_of_a_copy_one_is_used(self, sensor: Sensor, products: Path, scenes: list[Scene], tmp_path: Path) -> None:
        other = tmp_path / "copies"
        shutil.copytree(products, other, ignore=lambda folder, _: ["copies"] if folder == str(tmp_path) else [])
        moved = [_moved(scene, str(products), str(other)) for scene in scenes]
        kept, dropped = sensor.newest([*scenes, *moved])
        once, _ = sensor.newest(scenes)
        assert [scene.id for scene in kept] == [scene.id for scene in once]
        assert {item.scene_id for item in dropped} >= {scene.id for scene in once} and all(
            item.reason for item in dropped
        )

    def test_bands_that_products_have_and_lack(self, sensor: Sensor, acquisition: Acquisition, ref: BandRef) -> None:
        scene = acquisition.scenes[0]
        without = replace(scene, assets={key: file for key, file in scene.assets.items() if _name(key) != ref.name})
        for resampled in (False, True):
            assert sensor.holds(scene, ref, resampled=resampled)
            assert not sensor.holds(without, ref, resampled=resampled)
        assert not sensor.is_lost(scene, ref.name)

    def test_windows_are_read(self, sensor: Sensor, acquisition: Acquisition, ref: BandRef, options: object) -> None:
        frame = own_frame(sensor, acquisition.scenes[0])
        rows, columns = frame.windows(ref.resolution_m)
        treatment = Treatment(verify=True, options=options)
        whole = [_read(sensor, frame, ref, row, range(columns), acquisition, treatment) for row in range(rows)]
        assert any(answer.windows for answer in whole), "no window holds data"
        height, width = frame.shapes[ref.resolution_m]
        edge = frame.edges[ref.resolution_m]
        for row, answer in enumerate(whole):
            for column, window in answer.windows.items():
                assert window.dtype == ref.dtype and window.any()
                assert window.shape == (min(edge, height - row * edge), min(edge, width - column * edge))
                one = _read(sensor, frame, ref, row, [column], acquisition, treatment).windows
                assert one.keys() == {column} and np.array_equal(one[column], window)
            assert sensor.row_bytes(frame, ref, [acquisition], treatment) >= sum(
                window.nbytes for window in answer.windows.values()
            )

    def test_pixels_that_are_needed_are_those_of_whole_windows(
        self, sensor: Sensor, acquisition: Acquisition, ref: BandRef, options: object
    ) -> None:
        frame = own_frame(sensor, acquisition.scenes[0])
        edge, (rows, columns) = cell_edge(frame.edges[ref.resolution_m]), frame.shapes[ref.resolution_m]
        cells = np.random.default_rng(1).random((-(-rows // edge), -(-columns // edge))) < 0.2
        wanted = cells.repeat(edge, axis=0).repeat(edge, axis=1)[:rows, :columns]
        for onto in (None, "nearest"):
            treatment = Treatment(verify=False, onto=onto, options=options)
            for row in range(frame.windows(ref.resolution_m)[0]):
                request = WindowRequest(
                    frame, ref, row, range(frame.windows(ref.resolution_m)[1]), acquisition, treatment
                )
                whole = _row(sensor, request, frame)
                parts = _row(sensor, replace(request, needed=Needed(cells, edge)), frame)
                needed = wanted[row * frame.edges[ref.resolution_m] :][: len(whole)]
                assert np.array_equal(np.where(needed, whole, 0), np.where(needed, parts, 0))

    def test_windows_are_resampled(
        self, sensor: Sensor, acquisition: Acquisition, ref: BandRef, options: object
    ) -> None:
        """Onto the pixels of the tile itself nothing changes; a frame that lies elsewhere has no data."""
        frame = own_frame(sensor, acquisition.scenes[0])
        treatment, onto = (Treatment(verify=False, onto=how, options=options) for how in (None, "nearest"))
        away = replace(frame, ulx=frame.ulx + 2e6, uly=frame.uly + 2e6)
        for row in range(frame.windows(ref.resolution_m)[0]):
            columns = range(frame.windows(ref.resolution_m)[1])
            native = _read(sensor, frame, ref, row, columns, acquisition, treatment).windows
            found = _read(sensor, frame, ref, row, columns, acquisition, onto).windows
            assert found.keys() == native.keys()
            assert all(np.array_equal(found[column], native[column]) for column in found)
            assert not _read(sensor, away, ref, row, columns, acquisition, onto).windows

    def test_the_time_axis(self, sensor: Sensor, acquisition: Acquisition) -> None:
        along = sensor.along_time([acquisition, acquisition])
        assert {*along, "spatial_ref"} == set(sensor.coordinates.split())
        for values, notes in along.values():
            assert values.shape == (2,) and notes["long_name"]
        assert json.loads(json.dumps(sensor.tells(acquisition))) == sensor.tells(acquisition)

    def test_what_numbers_mean(self, sensor: Sensor, scenes: list[Scene]) -> None:
        known = {"backscatter": ("sigma0-", "gamma0-", "beta0"), "reflectance": ("surface", "top-of-atmosphere")}
        for scene in scenes:
            for name, value in sensor.meaning(scene, Treatment(verify=False)).items():
                assert value.startswith(known[name])

    def test_scenes_are_described(self, sensor: Sensor, scenes: list[Scene]) -> None:
        for scene in scenes:
            assert f"{scene.sensed:%Y-%m-%d}" in " ".join(sensor.describe(scene))
            assert sensor.start(scene)[:8].isdigit()


def own_frame(sensor: Sensor, scene: Scene) -> Frame:
    """Frame of the tile that a scene lies on."""
    assert scene.frame is not None
    return sensor.grid.frame(scene.tile, scene.frame.shapes, scene.frame)


def _moved(scene: Scene, folder: str, other: str) -> Scene:
    """A product whose folder was copied."""
    assets = {key: replace(asset, uri=asset.uri.replace(folder, other, 1)) for key, asset in scene.assets.items()}
    return replace(scene, href=scene.href.replace(folder, other, 1), assets=assets)


def _read(
    sensor: Sensor,
    frame: Frame,
    ref: BandRef,
    row: int,
    columns: range | list[int],
    acquisition: Acquisition,
    treatment: Treatment,
) -> WindowAnswer:
    return sensor.read_windows(WindowRequest(frame, ref, row, columns, acquisition, treatment))


def _row(sensor: Sensor, request: WindowRequest, frame: Frame) -> npt.NDArray[Any]:
    """Pixels of a row of windows; 0 in windows that were left out."""
    edge, (rows, columns) = frame.edges[request.band.resolution_m], frame.shapes[request.band.resolution_m]
    found = np.zeros((min(edge, rows - request.row * edge), columns), request.band.dtype)
    for column, window in sensor.read_windows(request).windows.items():
        found[:, column * edge : column * edge + window.shape[1]] = window
    return found


def _has(sensor: Sensor, name: str, level: str) -> bool:
    try:
        sensor.parse(name, level=level)
    except ValueError:
        return False
    return True


def _by_id(scene: Scene) -> tuple[str, str]:
    return scene.id, scene.tile


def _name(key: str) -> str:
    return split_key(key)[0]
