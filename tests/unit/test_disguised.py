"""Files of products that are not what their names say: refused in a sentence, and no request is sent for any."""

from __future__ import annotations

import http.server
import resource
import threading
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.transform import from_origin

from hpckit.base.xmltext import parse_xml
from hpckit.errors import SceneError
from hpckit.inputs.opening import open_raster
from hpckit.sensors.sentinel1.rasters import RasterGrid

pytestmark = [
    pytest.mark.filterwarnings(f"ignore::{NotGeoreferencedWarning.__module__}.NotGeoreferencedWarning"),
    pytest.mark.slow,
]
DRIVERS = {".jp2": "JP2OpenJPEG", ".tif": "GTiff", ".img": "ENVI"}


@pytest.fixture
def listener():
    """Address of a server, and the requests that it got."""
    requests: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


def vrt(source: str, size: int = 128) -> str:
    return (
        f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>EPSG:32631</SRS>'
        f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>"
        f'<VRTRasterBand dataType="UInt16" band="1"><SimpleSource><SourceFilename>{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def write(path: Path, driver: str) -> None:
    profile = {"width": 128, "height": 128, "count": 1, "dtype": "uint16", "crs": "EPSG:32631"}
    with rasterio.open(path, "w", driver=driver, transform=from_origin(5e5, 5e6, 10, 10), **profile) as target:
        target.write(np.full((1, 128, 128), 7, "uint16"))


@pytest.mark.parametrize("ending", [*DRIVERS, ".JP2", ".tiff"])
@pytest.mark.parametrize("kind", ["vsicurl", "url", "local", "wms", "other format"])
def test_disguised_files_are_refused(tmp_path, listener, ending, kind):
    url, requests = listener
    write(tmp_path / "real.png", "PNG")
    content = {
        "vsicurl": vrt(f"/vsicurl/{url}/x.tif"),
        "url": vrt(f"{url}/x.tif"),
        "local": vrt(str(tmp_path / "real.png")),
        "wms": f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}</ServerUrl></Service></GDAL_WMS>',
        "other format": (tmp_path / "real.png").read_bytes(),
    }[kind]
    path = tmp_path / f"T31UFT_B04{ending}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SceneError, match=f"{path.name} cannot be read as ") as caught, open_raster(str(path)):
        pass
    assert "\n" not in str(caught.value)
    with pytest.raises(SceneError, match=path.name):
        RasterGrid.of(path)
    assert not requests


@pytest.mark.parametrize("ending", DRIVERS)
def test_files_beside_are_not_read(tmp_path, listener, ending):
    url, requests = listener
    path = tmp_path / f"b{ending}"
    write(path, DRIVERS[ending])
    for more in (".ovr", ".msk"):
        (tmp_path / f"b{ending}{more}").write_text(vrt(f"/vsicurl/{url}/{more}", 64))
    names = f'<MDI key="OVERVIEW_FILE">{url}/o</MDI>'
    (tmp_path / f"b{ending}.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS">{names}</Metadata></PAMDataset>'
    )
    with open_raster(str(path)) as source:
        assert abs(int(source.read(1)[5, 5]) - 7) <= 1  # JPEG 2000 loses a little
        assert source.crs is not None and source.transform.c == 5e5
        source.overviews(1)
    assert not requests


def test_overviews_elsewhere_are_refused(tmp_path, listener):
    url, requests = listener
    path = tmp_path / "c.tif"
    write(path, "GTiff")
    with rasterio.open(path, "r+") as target:
        target.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"{url}/o.tif")
    with pytest.raises(SceneError, match="other files"), open_raster(str(path)):
        pass
    assert not requests


@pytest.mark.parametrize("name", ["x.vrt", "x.xml", "x", "x.png", "x.jp2.vrt"])
def test_names_of_no_format(name):
    with pytest.raises(SceneError, match="images of products end in"), open_raster(f"/nowhere/{name}"):
        pass


# --- XML


HEAD = b'<?xml version="1.0" encoding="UTF-8"?>'


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (HEAD + b"<a>" + b"<b/>" * 6_000_000 + b"</a>", "large"),
        (HEAD + b"<a>" + b"<b/>" * 600_000 + b"</a>", "large"),
        (HEAD + b"<a " + b" ".join(b'a%d=""' % n for n in range(600_000)) + b"/>", "large"),
        (HEAD + b"<a>" * 100_000, "no complete XML"),
        (b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>', "entities"),
        (b'<!DOCTYPE a SYSTEM "http://127.0.0.1:1/a.dtd"><a/>', "entities"),
        (b"<a>", "no complete XML"),
        (b"", "no complete XML"),
        ('<?xml version="1.0" encoding="UTF-16"?><a/>'.encode("utf-16"), "XML"),
    ],
    ids=["24 MB", "600,000 tags", "attributes", "deep", "entity", "dtd", "cut", "empty", "utf-16"],
)  # fmt: skip
def test_xml_of_no_product(data, words):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SceneError, match=words) as caught:
        parse_xml("MTD.xml", data)
    assert str(caught.value).startswith("MTD.xml")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024  # KiB


def test_xml_as_products_have_it():
    for encoding in ("UTF-8", "ISO-8859-1"):
        data = f'<?xml version="1.0" encoding="{encoding}"?><a><b c="1">Zürich</b></a>'.encode(encoding)
        assert parse_xml("x", data).find("b").text == "Zürich"
