"""QGIS opens the layers of both stores in their styles: `apt-get install --no-install-recommends python3-qgis`."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely

from hpckit.base.colours import NDVI_COLOURS
from hpckit.reduce.signatures.spool import Segment
from hpckit.space.zones import ZoneLayer
from hpckit.store import Store
from hpckit.store.geopackage import GeoPackage
from hpckit.store.postgis import PostGis
from hpckit.testing.signatures import REDUCTION, batch, segment
from tests.servers.postgres import PostgresServer

pytestmark = [pytest.mark.integration, pytest.mark.serve, pytest.mark.qgis]

_PYTHON = "/usr/bin/python3"
_SIDE = 3
_STEPS = [-1.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
CROPS = ["maize", "wheat", "maize", "oats", "maize", "wheat", None, "maize", "wheat"]


def field_layer() -> ZoneLayer:
    """Nine fields beside each other, 100 m wide."""
    places = [(600_000 + 100 * (n % _SIDE), 5_600_000 + 100 * (n // _SIDE)) for n in range(_SIDE**2)]
    shapes = [shapely.MultiPolygon([shapely.box(x, y, x + 90, y + 90)]) for x, y in places]
    crs = rasterio.crs.CRS.from_epsg(32631).to_wkt(version="WKT2_2019")
    return ZoneLayer(tuple(f"F{n}" for n in range(_SIDE**2)), np.array(shapes, dtype=object), crs)


@pytest.fixture(scope="module")
def qgis(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[dict[str, Any], Counter[str]]]:
    """Opens a layer; gives what QGIS says of it, and how many pixels of its picture have which colour."""
    folder = tmp_path_factory.mktemp("qgis")
    folder.chmod(0o700)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_RUNTIME_DIR": str(folder),
        "QT_QPA_PLATFORM": "offscreen",
    }
    try:
        found = subprocess.run([_PYTHON, "-c", "import qgis.core"], env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip(f"there is no {_PYTHON}")
    if found.returncode != 0:
        pytest.skip("QGIS is not installed: apt-get install --no-install-recommends python3-qgis")

    def opened(provider: str, source: str) -> tuple[dict[str, Any], Counter[str]]:
        picture = folder / "map.png"
        script = Path(__file__).with_name("qgis_layer.py")
        command = [_PYTHON, str(script), provider, source, str(picture)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        with rasterio.open(picture) as file:
            pixels = file.read()[:3].reshape(3, -1).T.tolist()
        return json.loads(done.stdout), Counter("#" + "".join(f"{part:02x}" for part in pixel) for pixel in pixels)

    return opened


@pytest.fixture
def sealed(tmp_path: Path) -> Segment:
    folder = tmp_path / "spool"
    folder.mkdir()
    return segment(folder, [batch(0, range(_SIDE**2)), batch(1, range(_SIDE**2), empty=[2])], field_layer())


def fill(store: Store, sealed: Segment) -> None:
    store.prepare()
    store.load_zones(REDUCTION, field_layer())
    store.load_segment(sealed)


def require_ndvi(found: dict[str, Any], colours: Counter[str], attribute: str) -> None:
    assert found["valid"]
    assert found["features"] in (_SIDE**2, -1)
    assert (found["renderer"], found["attribute"]) == ("graduatedSymbol", attribute)
    assert [low for low, _, _ in found["classes"]] == pytest.approx(_STEPS[:-1])
    assert [high for _, high, _ in found["classes"]] == pytest.approx(_STEPS[1:])
    shown = [colour for _, _, colour in found["classes"]]
    assert shown[0] == NDVI_COLOURS[0][1]
    assert len(set(shown)) == len(shown)
    light = [sum(int(colour[k : k + 2], 16) * w for k, w in ((1, 0.3), (3, 0.59), (5, 0.11))) for colour in shown]
    assert light[1:] == sorted(light[1:], reverse=True), "it reads in grey"
    assert sum(colours[colour] for colour in shown) > 50_000, "fields are painted"
    assert found["styles"] == ["NDVI", "valid fraction"]


def test_geopackage(qgis: Any, tmp_path: Path, sealed: Segment) -> None:
    store = GeoPackage(tmp_path / "store.gpkg")
    fill(store, sealed)
    store.close()
    require_ndvi(*qgis("ogr", f"{store.path}|layername=latest_{REDUCTION}"), "NDVI_mean")
    found, colours = qgis("ogr", f"{store.path}|layername=zones_{REDUCTION}")
    assert (found["renderer"], found["labels"]) == ("singleSymbol", True)
    assert colours["#ffffff"] > 100_000, "outlines are not filled"
    reddish = [count for colour, count in colours.items() if int(colour[1:3], 16) > int(colour[5:7], 16) + 60]
    assert sum(reddish) > 500
    store.note_crops(REDUCTION, CROPS)
    store.close()
    found, colours = qgis("ogr", f"{store.path}|layername=zones_{REDUCTION}")
    assert (found["renderer"], found["attribute"]) == ("categorizedSymbol", "crop")
    assert [value for value, _ in found["classes"]] == ["maize", "wheat", "oats", ""]
    counts = [colours[colour] for _, colour in found["classes"]]
    assert np.allclose(np.array(counts) / counts[2], [4, 3, 1, 1], rtol=0.03)


@pytest.mark.postgis
def test_postgis(qgis: Any, postgres_server: PostgresServer, sealed: Segment) -> None:
    store = PostGis(postgres_server.create_database("qgis"), "fields")
    fill(store, sealed)
    store.note_crops(REDUCTION, CROPS)
    store.close()
    place = f"dbname='qgis' host='{postgres_server.folder}' user='hpckit' key='id' srid=4326 type=MultiPolygon"
    require_ndvi(*qgis("postgres", f'{place} table="fields"."latest" (geom)'), "ndvi")
    found, colours = qgis("postgres", f'{place} table="fields"."zone" (geom)')
    assert (found["renderer"], found["attribute"]) == ("categorizedSymbol", "crop")
    assert found["styles"] == ["crop", "outlines"]
    counts = [colours[colour] for _, colour in found["classes"]]
    assert np.allclose(np.array(counts) / counts[2], [4, 3, 1, 1], rtol=0.05)
