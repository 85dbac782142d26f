"""Both sensors of hpckit keep the contract of sensors; masks of classes and bits; packages that bring sensors."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hpckit
from hpckit.errors import HpckitError
from hpckit.sensors.bands import Band
from hpckit.sensors.masks import counts, flagged
from hpckit.sensors.registry import SENSORS, sensors
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.sentinel1.reading import RadarReading
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.mgrs import mgrs_tile
from hpckit.testing.radar import RadarSpec, write_card_bs
from hpckit.testing.safe import write_old_product
from hpckit.testing.sensor import SensorTests
from tests import products

pytestmark = pytest.mark.slow


class TestSentinel2(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return SENTINEL2

    @pytest.fixture
    def products(self, tmp_path: Path) -> Path:
        products.write(tmp_path / "scenes", 0, products.arrays(0))
        return tmp_path / "scenes"


class TestSentinel2Before2017(SensorTests):
    """A product of two granules."""

    @pytest.fixture
    def sensor(self) -> Sensor:
        return SENTINEL2

    @pytest.fixture
    def products(self, tmp_path: Path) -> Path:
        one = replace(products.spec(0), level="L1C", baseline="02.04")
        other = replace(one, tile="31UFT", uly=5600040)
        bands = {key: array for key, array in products.arrays(0).items() if not key.startswith("SCL")}
        write_old_product(tmp_path / "scenes", [(one, bands), (other, bands)])
        return tmp_path / "scenes"


class TestSentinel1(SensorTests):
    @pytest.fixture
    def sensor(self) -> Sensor:
        return SENTINEL1

    @pytest.fixture
    def products(self, tmp_path: Path) -> Path:
        tile = mgrs_tile("31UFT")
        spec = RadarSpec(ulx=tile.xmin + 40_003.494, uly=tile.ymax - 40_996.518)
        power = np.random.default_rng(1).uniform(0.01, 0.3, (200, 240)).astype(np.float32)
        write_card_bs(tmp_path / "scenes", spec, {"VV": power})
        return tmp_path / "scenes"

    @pytest.fixture
    def options(self) -> RadarReading:
        return RadarReading(resampling="nearest")


CLASSES = Band("C", 20, "class", (20,), dtype="uint8", flags=tuple((code, str(code)) for code in range(12)))
BITS = Band("Q", 20, "bits", (20,), dtype="uint16", flags=tuple((bit, str(bit)) for bit in range(16)))


@given(st.lists(st.integers(0, 11)), st.sets(st.integers(0, 11)))
def test_classes_are_flagged_by_their_code(codes, chosen):
    found = flagged(CLASSES, np.array(codes, np.uint8), chosen)
    assert found.tolist() == [code in chosen for code in codes]


@given(st.lists(st.integers(0, 65535)), st.sets(st.integers(0, 15)))
def test_bits_are_flagged_whichever_others_are_set(values, chosen):
    found = flagged(BITS, np.array(values, np.uint16), chosen)
    assert found.tolist() == [any(value >> bit & 1 for bit in chosen) for value in values]


@given(st.lists(st.integers(0, 255), max_size=50))
def test_pixels_with_each_bit_are_counted(values):
    histogram = np.bincount(np.array(values, int), minlength=256)[None]
    band = Band("Q", 20, "bits", (20,), dtype="uint8", flags=tuple((bit, str(bit)) for bit in range(8)))
    assert counts(band, histogram).tolist() == [[sum(value >> bit & 1 for value in values) for bit in range(8)]]


def test_a_package_that_cannot_be_imported_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "broken-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (folder / "entry_points.txt").write_text("[hpckit.sensors]\nbroken = nosuchmodule:BROKEN\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(HpckitError, match="nosuchmodule:BROKEN"):
        sensors()


def test_no_sensor_is_named_outside_its_room() -> None:
    """Where sensors differ, their objects are asked: names of bands, levels, collections stand nowhere else."""
    package = Path(hpckit.__file__).parent
    # JRC's interface has its own names for series and bands, which are words of its addresses.
    apart = [package / name for name in ("sensors", "testing", "demo", "serve/jrc")]
    named = {
        *(name for sensor in SENSORS for name in (sensor.name, sensor.origin.mission, *sensor.bands)),
        *(name for sensor in SENSORS for pair in sensor.collections.items() for name in pair),
        "is_radar",
    }
    found = [
        f"{path.relative_to(package)}:{node.lineno}: {word}"
        for path in package.rglob("*.py")
        if not any(path == other or path.is_relative_to(other) for other in apart)
        for node in ast.walk(ast.parse(path.read_text()))
        if (word := _word(node)) in named
    ]
    assert not found


def _word(node: ast.AST) -> object:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.value if isinstance(node, ast.Constant) else None
