"""Parts of JPEG 2000 files by OpenJPEG, against what GDAL reads of the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from hpckit.catalogue import catalogue
from hpckit.errors import SceneError
from hpckit.inputs import jpeg2000
from hpckit.inputs.jpeg2000 import decode_part
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.sensors.source import open_band, read_window
from hpckit.testing import ground
from hpckit.testing.landscape import noise
from hpckit.testing.safe import ProductSpec, write_product
from tests.products import FIRST

pytestmark = pytest.mark.slow

SHAPE = (1130, 1221)
LEVELS = 3
B04 = SENTINEL2.parse("B04@10m")


def write(path: Path, values: np.ndarray, **options: object) -> Path:
    bands = values if values.ndim == 3 else values[None]
    settings = {"REVERSIBLE": "YES", "QUALITY": 100, "RESOLUTIONS": LEVELS + 1, "BLOCKXSIZE": 256, "BLOCKYSIZE": 256}
    with rasterio.open(
        path,
        "w",
        driver="JP2OpenJPEG",
        height=bands.shape[1],
        width=bands.shape[2],
        count=len(bands),
        dtype=bands.dtype,
        **{**settings, **options},
    ) as target:
        target.write(bands)
    return path


@pytest.fixture(scope="module")
def ground_values() -> np.ndarray:
    values = 3000 + 900 * noise(SHAPE[1], 1.5, 3)[: SHAPE[0]]
    values[:, 800:] = 0
    return values.clip(0, 65535).astype(np.uint16)


@pytest.fixture(scope="module", params=["uint16", "uint8", "layers", "bypass"])
def file(request, tmp_path_factory, ground_values: np.ndarray) -> tuple[Path, list[np.ndarray]]:
    """A file, and all of each of its levels as GDAL reads them."""
    path = tmp_path_factory.mktemp("jp2") / "band.jp2"
    values = (ground_values >> 6).astype(np.uint8) if request.param == "uint8" else ground_values
    options = {"layers": {"QUALITY": "5,20,40"}, "bypass": {"CODEBLOCK_STYLE": "BYPASS"}}
    write(path, values, **options.get(request.param, {}))
    wholes = []
    for level in range(LEVELS + 1):
        with rasterio.open(path, **({"overview_level": level - 1} if level else {})) as source:
            wholes.append(source.read(1))
    return path, wholes


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(data=st.data(), level=st.integers(0, LEVELS))
def test_parts_are_those_of_the_whole(file: tuple[Path, list[np.ndarray]], data: st.DataObject, level: int) -> None:
    path, whole = file[0], file[1][level]
    rows, columns = (
        slice(*sorted(data.draw(st.lists(st.integers(0, size), min_size=2, max_size=2, unique=True))))
        for size in whole.shape
    )
    part = decode_part(path, rows, columns, level, whole.dtype)
    assert part is not None, "rasterio's wheels have OpenJPEG"
    assert part.dtype == whole.dtype
    np.testing.assert_array_equal(part, whole[rows, columns])


@pytest.mark.parametrize("bypass", [False, True])
def test_made_up_products_have_the_pixels_that_they_were_given(
    tmp_path: Path, ground_values: np.ndarray, bypass: bool
) -> None:
    arrays = {"B04@10m": ground_values[:1098, :1098]}
    product = write_product(tmp_path, ProductSpec(bypass=bypass), arrays)
    (file,) = product.rglob("*B04_10m.jp2")
    with rasterio.open(file) as source:
        np.testing.assert_array_equal(source.read(1), arrays["B04@10m"])


def test_what_is_left_to_gdal(tmp_path: Path, ground_values: np.ndarray) -> None:
    part = slice(10, 20), slice(10, 20), 0
    colour = write(tmp_path / "rgb.jp2", np.stack([ground_values] * 3))
    assert decode_part(colour, *part, np.uint16) is None
    signed = write(tmp_path / "signed.jp2", (ground_values.astype(np.int32) - 4000).astype(np.int16))
    assert decode_part(signed, *part, np.uint16) is None
    lossy = write(tmp_path / "lossy.jp2", ground_values, REVERSIBLE="NO", QUALITY=20)
    assert decode_part(lossy, *part, np.uint16) is None
    wide = write(tmp_path / "wide.jp2", ground_values)
    assert decode_part(wide, *part, np.uint8) is None
    (tmp_path / "other.jp2").write_bytes(b"II*\0 a GeoTIFF under this name" * 10)
    assert decode_part(tmp_path / "other.jp2", *part, np.uint16) is None
    assert decode_part(tmp_path / "none.jp2", *part, np.uint16) is None


def test_what_does_not_decode_is_left_to_gdal(tmp_path: Path, ground_values: np.ndarray) -> None:
    """It reads sound tiles of a damaged file, and says what is wrong with others."""
    path = write(tmp_path / "band.jp2", ground_values)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle:] = bytes(len(data) - middle)
    path.write_bytes(data)
    assert decode_part(path, slice(900, 950), slice(5, 90), 0, np.uint16) is None


@pytest.mark.parametrize("level", [0, 2])
def test_scenes_are_read_alike_without_openjpeg(tmp_path: Path, monkeypatch, level: int) -> None:
    spec = ground.granule_at(ProductSpec(sensed=FIRST, tile="31UGT", epsg=32631), 5.97, 51.5, 600)
    ground.write_granule(tmp_path, spec, 600, bands=["B04@10m"])
    (scene,) = catalogue.scan([tmp_path]).scenes
    window = Window(30, 20, 110, 90)

    def values() -> np.ndarray:
        with open_band(scene, B04, level) as source:
            return read_window(source, scene, B04, window)

    parts = values()
    monkeypatch.setattr(jpeg2000, "_library", lambda: None)
    whole = values()
    assert parts.dtype == whole.dtype and parts.any()
    np.testing.assert_array_equal(parts, whole)


def test_a_scene_that_cannot_be_decoded(tmp_path: Path) -> None:
    """The header is whole and the codestream has an end; what is between does not decode."""
    spec = ground.granule_at(ProductSpec(sensed=FIRST, tile="31UGT", epsg=32631), 5.97, 51.5, 1100)
    ground.write_granule(tmp_path, spec, 1100, bands=["B04@10m"])
    (scene,) = catalogue.scan([tmp_path]).scenes
    path = Path(scene.assets["B04@10m"].uri)
    data = bytearray(path.read_bytes())
    first = data.index(b"\xff\x90")
    data[first + 100 : -2] = bytes(len(data) - first - 102)
    path.write_bytes(data)
    with (
        pytest.raises(SceneError, match=r"B04_10m\.jp2 cannot be decoded at row 1040: \w"),
        open_band(scene, B04) as source,
    ):
        read_window(source, scene, B04, Window(1040, 1040, 50, 50))
