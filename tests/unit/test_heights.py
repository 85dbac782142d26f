"""Rasters of heights are opened as their names say; VRT files that join them give the values of what they join."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from hpckit.base.seen import Seen
from hpckit.errors import SceneError
from hpckit.inputs.heights import content_of, open_heights, read_heights
from hpckit.sensors.sentinel1.dem import describe

WHOLE = Window(0, 0, 64, 32)


def write(path: Path, value: float, driver: str = "GTiff", west: float = 6.0) -> Path:
    with rasterio.open(
        path,
        "w",
        driver=driver,
        width=32,
        height=32,
        count=1,
        dtype="float32",
        crs="EPSG:4326",
        transform=from_origin(west, 51, 0.01, 0.01),
        nodata=-9999.0,
    ) as target:
        values = np.full((32, 32), value, np.float32)
        values[0, 0] = -9999
        target.write(values, 1)
    return path


def vrt(path: Path, sources: list[str], *, inner: str = "", relative: str = "1", band: str = "") -> Path:
    text = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename><SourceBand>1</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="32" ySize="32"/><DstRect xOff="{32 * n}" yOff="0" xSize="32" ySize="32"/>'
        "</SimpleSource>"
        for n, name in enumerate(sources)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="64" rasterYSize="32"><SRS>EPSG:4326</SRS>'
        "<GeoTransform>6, 0.01, 0, 51, 0, -0.01</GeoTransform>"
        f'<VRTRasterBand dataType="Float32" band="1"{band}><NoDataValue>-9999</NoDataValue>{inner}{text}'
        "</VRTRasterBand></VRTDataset>"
    )
    return path


def heights(path: Path, window: Window = WHOLE) -> np.ndarray:
    with open_heights(path) as raster:
        return read_heights(raster, window)


@pytest.mark.parametrize(
    ("ending", "driver"), [(".tif", "GTiff"), (".img", "HFA"), (".img", "ENVI"), (".bil", "EHdr")]
)
def test_formats_are_read_with_nodata(tmp_path, ending, driver):
    found = heights(write(tmp_path / f"a{ending}", 120.5, driver), Window(0, 0, 32, 32))
    assert np.isnan(found[0, 0]) and np.isnan(found).sum() == 1 and (found[1:] == 120.5).all()


@pytest.mark.parametrize("nested", [False, True])
def test_a_vrt_has_the_values_of_what_it_joins(tmp_path, nested):
    write(tmp_path / "a.tif", 10)
    write(tmp_path / "b.tif", 20, west=6.32)
    path = vrt(tmp_path / "all.vrt", ["a.tif", "b.tif"])
    if nested:
        path = vrt(tmp_path / "outer.vrt", ["all.vrt"])
    found = heights(path, Window(0, 0, 32, 32) if nested else WHOLE)
    assert np.isnan(found[0, 0]) and (found[1:, :32] == 10).all() and (nested or (found[1:, 32:] == 20).all())


def test_a_raster_under_another_name_is_refused(tmp_path):
    write(tmp_path / "a.tif", 10)
    shutil.copy(vrt(tmp_path / "all.vrt", ["a.tif", "a.tif"]), tmp_path / "b.tif")
    with pytest.raises(SceneError, match=r"b\.tif: cannot be read as what its name, ending in \.tif, says"):
        heights(tmp_path / "b.tif")
    for name in ("a.png", "a"):
        shutil.copy(tmp_path / "a.tif", tmp_path / name)
        with pytest.raises(SceneError, match="refused as heights: names of their files end in"):
            heights(tmp_path / name)
    with pytest.raises(SceneError, match="no such file of heights"):
        heights(tmp_path / "gone.tif")


def test_what_a_vrt_joins_must_be_what_it_is_named(tmp_path):
    """Only where it is read: tiles of a continent are not opened for one window."""
    write(tmp_path / "a.tif", 10)
    shutil.copy(vrt(tmp_path / "x.vrt", ["a.tif"]), tmp_path / "b.tif")
    path = vrt(tmp_path / "all.vrt", ["a.tif", "b.tif"])
    assert (heights(path, Window(2, 2, 16, 16)) == 10).all()
    with pytest.raises(SceneError, match=r"b\.tif: cannot be read as"):
        heights(path)


@pytest.mark.parametrize(
    ("source", "changes", "words"),
    [
        ("/vsicurl/http://127.0.0.1:1/a.tif", {"relative": "0"}, "is no file"),
        ("NETCDF:a.nc:height", {"relative": "0"}, "is no file"),
        ("http://127.0.0.1:1/a.tif", {"relative": "0"}, "is no file"),
        ("a.xml", {}, "names of heights end in"),
        ("all.vrt", {}, "names of heights end in"),
        ("a.tif", {"band": ' subClass="VRTDerivedRasterBand"'}, "does more than join"),
        ("a.tif", {"band": ' subClass="VRTRawRasterBand"'}, "does more than join"),
        ("a.tif", {"inner": "<PixelFunctionType>sum</PixelFunctionType>"}, "does more than join"),
    ],
)
def test_a_vrt_that_does_more_is_refused(tmp_path, source, changes, words):
    write(tmp_path / "a.tif", 10)
    with pytest.raises(SceneError, match=words):
        heights(vrt(tmp_path / "all.vrt", [source], **changes))


def known(path: Path, seen: Seen | None = None) -> str:
    return content_of(path, seen or Seen(None, "test"))


def test_heights_are_what_their_files_hold(tmp_path):
    first = known(write(tmp_path / "a.tif", 1.0))
    assert known(Path(shutil.copy(tmp_path / "a.tif", tmp_path / "b.tif"))) == first
    assert known(write(tmp_path / "a.tif", 2.0)) != first
    (tmp_path / "b.tfw").write_text("0.01\n0\n0\n-0.01\n6\n51\n")
    assert known(tmp_path / "b.tif") != first, "a world file places it"


def test_heights_of_a_vrt_are_those_that_it_joins(tmp_path):
    write(tmp_path / "a.tif", 1.0)
    write(tmp_path / "b.tif", 2.0, west=6.32)
    path = vrt(tmp_path / "both.vrt", ["a.tif", "b.tif"])
    found = [known(path)]
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    assert known(tmp_path.with_name("copy") / "both.vrt") == found[0]
    write(tmp_path / "b.tif", 3.0, west=6.32)
    found.append(known(path))
    (tmp_path / "b.tif").unlink()
    found.append(known(path))
    vrt(path, ["b.tif", "a.tif"])
    found.append(known(path))
    assert len(set(found)) == 4


def test_what_was_noted_is_not_read_again_until_it_changes(tmp_path):
    path, folder = write(tmp_path / "a.tif", 1.0), tmp_path / "seen"
    first, facts = known(path, Seen(folder, "one")), path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert known(path, Seen(folder, "two")) == first
    os.utime(path)
    assert known(path, Seen(folder, "three")) != first


def test_what_heights_are(tmp_path):
    found = describe(write(tmp_path / "a.tif", 1.0))
    assert str(found) == "32 x 32 pixels of EPSG:4326"
    assert found.outline.bounds == pytest.approx((6, 50.68, 6.32, 51))
    for name, text in (("missing.tif", "no such file"), ("a.png", "names of their files end in")):
        with pytest.raises(SceneError, match=text):
            describe(tmp_path / name)
    with pytest.raises(SceneError, match="no such file"):
        known(tmp_path / "missing.tif")
