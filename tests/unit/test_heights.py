"""Rasters of heights are opened as their names say; VRT files that join them give the values of what they join."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.windows import Window

from hpckit.errors import SceneError
from hpckit.inputs.heights import open_heights, read_heights

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
