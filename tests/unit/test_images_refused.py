"""Images that a file system refuses while GDAL reads them: GDAL calls them broken, hpckit says that it may pass."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faulty import faulty, needs_cc
from tests.raster_samples import index, write_image

pytestmark = [needs_cc, pytest.mark.slow]

PROGRAM = """
import sys
from pathlib import Path
from hpckit.errors import SceneError, is_temporary
path = Path(sys.argv[1])
try:
    {call}
except SceneError as error:
    print(error.message)
    raise SystemExit(75 if is_temporary(error) else 1)
"""
CALLS = {
    "heights": "from hpckit.sensors.sentinel1.dem import describe; describe(path)",
    "heights on a target": """
    from odc.geo.geobox import GeoBox
    from hpckit.sensors.sentinel1.raw import _raster_on
    _raster_on(str(path), GeoBox.from_bbox((600000, 5690000, 610000, 5700000), 'EPSG:32631', resolution=100))""",
    "radar image": "from hpckit.sensors.sentinel1.rasters import RasterGrid; RasterGrid.of(path)",
    "pixels of radar": """
    from types import SimpleNamespace
    from hpckit.sensors.sentinel1.raw import _read
    image = SimpleNamespace(name=path.name, array=None, uri=str(path), is_remote=False, nbytes=0, digest='')
    _read(SimpleNamespace(id='S1A', assets={}), image, (600, 800), slice(0, 600), slice(0, 800))""",
    "image of one's own": """
    from tests.raster_samples import options
    from hpckit.catalogue import catalogue
    from hpckit.sensors.registry import searched
    for failure in catalogue.scan([path.parent], among=searched(options().made)).failures:
        print(failure.reason)
        raise SystemExit(75 if failure.passes else 1)""",
}


def run(path: Path, what: str, env: dict[str, str] | None) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(call=CALLS[what])
    return subprocess.run([sys.executable, "-c", program, path], env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "images" / "20240501_ndvi.tif"
    write_image(path, index(1, (600, 800)), nodata=-9999, tiled=True, compress="deflate")
    return path


@pytest.mark.parametrize("what", list(CALLS))
def test_a_broken_image_may_be_one_that_is_refused(image: Path, what: str) -> None:
    """GDAL says the same of both; the file system says which it is."""
    assert run(image, what, None).returncode == 0
    content = image.read_bytes()
    image.write_bytes(content[: len(content) // 2] if what == "pixels of radar" else b"II*\0" + bytes(60))
    refused = run(image, what, faulty("read", "/20240501_ndvi.tif", errno.ESTALE))
    assert refused.returncode == 75 and "20240501_ndvi.tif" in refused.stdout, refused
    broken = run(image, what, None)
    assert broken.returncode == 1 and "20240501_ndvi.tif" in broken.stdout, broken


def test_what_heights_join_may_be_refused(image: Path) -> None:
    joined = image.with_name("joined.vrt")
    joined.write_text(VRT)
    assert run(joined, "heights on a target", None).returncode == 0
    image.write_bytes(image.read_bytes()[:60_000])
    refused = run(joined, "heights on a target", faulty("read", "/20240501_ndvi.tif", errno.EIO))
    assert refused.returncode == 75, refused
    assert run(joined, "heights on a target", None).returncode == 1


VRT = """\
<VRTDataset rasterXSize="800" rasterYSize="600"><SRS>EPSG:32631</SRS>
  <GeoTransform>600000, 10, 0, 5700000, 0, -10</GeoTransform>
  <VRTRasterBand dataType="Int16" band="1"><SimpleSource>
    <SourceFilename relativeToVRT="1">20240501_ndvi.tif</SourceFilename><SourceBand>1</SourceBand>
    <SrcRect xOff="0" yOff="0" xSize="800" ySize="600"/><DstRect xOff="0" yOff="0" xSize="800" ySize="600"/>
  </SimpleSource></VRTRasterBand>
</VRTDataset>
"""
