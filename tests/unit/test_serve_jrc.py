"""JRC's interface: shapes and numbers of its answers, against the campaign's own interface and files."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.io import MemoryFile
from starlette.applications import Starlette

from hpckit import api
from hpckit.api import open_campaign
from hpckit.campaign.markers import MarkerRule
from hpckit.sensors.registry import band_known
from hpckit.serve.jrc.names import factor, jrc_band, own_band
from hpckit.serve.jrc.questions import polygon_of
from hpckit.serve.problems import Problem
from hpckit.serve.service import Service
from hpckit.store import open_store
from hpckit.store.markerrows import MarkerRows
from tests.asgi import ask
from tests.unit.look_samples import EPSG, SHAPES, ULX, ULY, make_arrays, make_campaign
from tests.unit.serve_samples import ANNA, serve

pytestmark = pytest.mark.slow

NL = "aoi=nl&year=2024"
DAYS = "start_date=2024-01-01&end_date=2024-12-31"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def served(campaign: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Starlette]]:
    made = serve(tmp_path_factory.mktemp("served"), campaign)
    yield made
    made[0].close()


def get(served: tuple[Service, Starlette], path: str):
    answer = ask(served[1], f"/query/{path}", headers=ANNA)
    assert answer.status == 200, answer.text
    return answer.json


def middle(campaign: Path, row: int = 0) -> tuple[float, float]:
    zones = open_campaign(campaign).zones()
    there = pyproj.Transformer.from_crs(zones.crs, 4326, always_xy=True)
    centre = zones.geometries[row].centroid
    return there.transform(centre.x, centre.y)


def test_parcels(served, campaign):
    lon, lat = middle(campaign)
    found = get(served, f"parcelByID?{NL}&pid=17&withGeometry=True")
    assert list(found) == ["pid", "cropname", "cropcode", "srid", "geom", "area", "clon", "clat"]
    zone = open_campaign(campaign).zones().geometries[0]
    assert found["pid"] == ["17"] and found["cropname"] == ["maize"] and found["srid"] == [3035]
    assert shapely.from_geojson(found["geom"][0]).equals_exact(zone, 1e-6)
    assert found["area"][0] == pytest.approx(zone.area, rel=1e-4)  # EPSG:3035 has equal areas
    assert (found["clon"][0], found["clat"][0]) == pytest.approx((lon, lat), abs=1e-9)
    in_degrees = get(served, f"parcelByID?{NL}&pid=17&withGeometry=True&wgs84=True")
    assert in_degrees["srid"] == [4326]
    assert shapely.from_geojson(in_degrees["geom"][0]).contains(shapely.Point(lon, lat))
    plain = get(served, f"parcelById?{NL}&pid=17")
    assert "geom" not in plain and plain["pid"] == ["17"]
    assert get(served, f"parcelByLocation?{NL}&lon={lon}&lat={lat}") == plain
    assert get(served, "parcelByID?aoi=NL&year=2024&pid=17&ptype=") == plain
    assert get(served, f"parcelByID?{NL}&pid=none") == {}
    assert get(served, f"parcelByLocation?{NL}&lon=0&lat=0") == {}
    for asked in ("aoi=nl&year=2023", "aoi=x&year=2024", f"{NL}&ptype=g"):
        assert ask(served[1], f"/query/parcelByID?{asked}&pid=17", headers=ANNA).status == 404


def test_polygon(served, campaign):
    corners = [middle(campaign), middle(campaign, 1)]
    (lon, lat), (other, _) = corners
    text = f"{lon:.5f}_{lat:.5f}-{other:.5f}_{lat:.5f}-{other:.5f}_{lat + 0.0005:.5f}"
    assert get(served, f"parcelsByPolygon?{NL}&polygon={text}") == {"pid": ["17", "18"]}
    whole = get(served, f"parcelsByPolygon?{NL}&polygon={text}&only_ids=False&withGeometry=True")
    assert whole["pid"] == ["17", "18"] and len(whole["geom"]) == 2 and whole["cropname"] == ["maize", "winter wheat"]
    assert get(served, f"parcelsByPolygon?{NL}&polygon=0_0-1_0-1_1") == {}


NUMBER = st.integers(-90, 90) | st.decimals(-90, 90, places=3)


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=3, max_size=8))
def test_polygons_west_and_south(corners):
    class Request:
        query_params = {"polygon": "-".join(f"{lon}_{lat}" for lon, lat in corners)}  # noqa: RUF012

    assert polygon_of(Request()) == [(float(lon), float(lat)) for lon, lat in corners]


def test_peers(served):
    assert get(served, f"parcelPeers?{NL}&pid=17") == {}  # the others have another crop
    assert get(served, f"parcelPeers?{NL}&pid=none") == {}
    found = get(served, f"parcelStatsPeers?{NL}&{DAYS}&band=B4&values=5000-5999&stype=p50")
    assert found == {}
    # On the second day B04 is 0.3, 0.31, 0.32 in the three zones, on the third 0.7, 0.71, 0.72 where valid.
    series = open_campaign(served[0].datasets["mine"].path)
    low = series.series("17", "B04")["p50"].dropna() * 10_000
    value = f"{low.min() - 1:.0f}-{low.min() + 1:.0f}"
    assert "17" in get(served, f"parcelStatsPeers?{NL}&{DAYS}&band=B04&values={value}&stype=p50")["pids"]
    assert len(get(served, f"parcelStatsPeers?{NL}&{DAYS}&band=B04&values=0-20000&max=2")["pids"]) == 2


def test_series(served, campaign):
    found = pd.DataFrame(get(served, f"parcelTimeSeries?{NL}&pid=17&ref=True"))
    assert list(found)[:10] == ["date_part", "band", "count", "mean", "std", "min", "p25", "p50", "p75", "max"]
    assert set(found["band"]) == {"B04", "B08"}  # no index unless it is asked for
    view = open_campaign(campaign)
    for band in ("B04", "B08"):
        own, mine = view.series("17", band), found[found["band"] == band].reset_index(drop=True)
        assert pd.to_datetime(mine["date_part"], unit="s").tolist() == own["time"].tolist()
        assert mine["count"].tolist() == own["valid"].tolist() and mine["total"].tolist() == own["total"].tolist()
        for name in ("mean", "std", "min", "p25", "p50", "p75", "max"):
            np.testing.assert_allclose(mine[name].astype(float), own[name] * 10_000, rtol=1e-5)
    assert found["baseline"].unique() == ["05.09"] and found["orbit"].unique() == [51]
    assert all(str(name).startswith(("S2A_MSIL2A_", "GS2A_")) for name in found["reference"])
    index = get(served, f"parcelTimeSeries?{NL}&pid=17&band=NDVI")
    np.testing.assert_allclose(index["p50"][1:], view.series("17", "NDVI")["p50"][1:], rtol=1e-5)
    assert set(get(served, f"parcelTimeSeries?{NL}&pid=17&band=B8")["band"]) == {"B08"}
    text = ask(served[1], f"/query/parcelTimeSeries?{NL}&pid=17&ref=True&tsformat=csv", headers=ANNA)
    assert text.headers["content-type"].startswith("text/csv")
    read = pd.read_csv(io.StringIO(text.text))
    assert list(read) == list(found) and read["mean"].notna().sum() == found["mean"].notna().sum()
    assert get(served, f"parcelTimeSeries?{NL}&pid=none") == {}
    for kind in ("bs", "c6", "c1"):
        assert get(served, f"parcelTimeSeries?{NL}&pid=17&tstype={kind}") == {}
    for name in ("weatherTimeSeries", "markers"):
        assert get(served, f"{name}?{NL}&pid=17") == {}


def test_markers(tmp_path):
    """Columns of JRC's table, and the viewer's events, of what the store has."""
    path = make_campaign(tmp_path)
    rule = MarkerRule(name="grows", band="NDVI", rise=0.01, practice="hay")
    store, days = open_store(open_campaign(path).campaign), np.array(["2024-04-11T10:50:31"], "datetime64[us]")
    one = np.array([0.5])
    zone, orbit, used = (np.array([number]) for number in (store.zone_ids("parcels").index("17"), -1, 0))
    rows = MarkerRows(zone, orbit, [days, days + 10, days + 10], [one] * 3, one, ("A",), used, np.array([0, 1]))
    store.load_markers("parcels", rule, "id", store.layers()["parcels"], rows)
    store.close()
    service, app = serve(tmp_path / "served", path, doors=["viewer", "jrc"])
    found = get((service, app), f"markers?{NL}&pid=17")
    assert ",".join(list(found)[:12]) == (
        "foi_id,marker,marker_type,date_start,date_main,date_end,duration_days,value_1,value_2,value_3,pid,practice"
    )
    (row,) = api.markers(path, "17").to_dict("records")
    assert found["foi_id"] == ["17"] and found["practice"] == ["hay"] and found["relative_orbit"] == [None]
    assert found["date_main"] == [f"{row['date_main']:%Y-%m-%d}"]
    np.testing.assert_allclose(found["value_2"], row["value_2"], rtol=1e-6)
    assert get((service, app), f"markers?{NL}&pid=nobody") == {}
    shown = ask(app, "/api/d/mine/series?zone=17&bands=NDVI", headers=ANNA).json["markers"]
    assert [(each["marker"], each["main"]) for each in shown] == [("grows", f"{row['time_main']:%Y-%m-%dT%H:%M:%SZ}")]
    service.close()


def test_info(served):
    found = get(served, "info")
    assert set(found["aois"]) == {"nl", "be"}
    here = found["aois"]["nl"]["2024"]
    assert here["parcels"] == 3 and here["tstypes"] == ["s2"] and here["bands"] == ["B04", "B08", "SCL"]
    for example in here["examples"]:
        assert ask(served[1], example.removeprefix("http://127.0.0.1:8642"), headers=ANNA).status == 200
    assert set(get(served, "info?aoi=nl")["aois"]) == {"nl"}


def test_chips_have_the_pixels_of_the_cube(served, campaign):
    lon, lat = middle(campaign)
    listed = get(served, f"rawChipByLocation?lon={lon}&lat={lat}&{DAYS}&band=B04&chipsize=320")
    assert listed["dates"] == ["20240401T105031", "20240411T105031", "20240421T105031"]
    stored = make_arrays()
    for number, chip in enumerate(listed["chips"]):
        for band, resolution in (("B04", 10), ("SCL", 20)):
            answer = ask(served[1], chip.replace("B04", band))
            with MemoryFile(answer.body) as memory, memory.open() as source:
                edge = 320 // resolution
                assert (
                    source.shape == (edge, edge) and source.crs.to_epsg() == EPSG and source.res == (resolution,) * 2
                )
                column = round((source.transform.c - ULX) / resolution)
                row = round((ULY - source.transform.f) / resolution)
                assert abs(source.transform.c + 160 - rasterio.warp.transform(4326, EPSG, [lon], [lat])[0][0]) <= 10
                array = stored[f"{band}@{resolution}m"][number]
                rows, columns = np.arange(row, row + edge), np.arange(column, column + edge)
                inside = np.ix_((rows >= 0) & (rows < array.shape[0]), (columns >= 0) & (columns < array.shape[1]))
                cut = array[np.ix_(rows[rows < array.shape[0]], columns[columns < array.shape[1]])].astype(int)
                # Stored with the offset of 1000; JRC's numbers have none.
                wanted = cut if band == "SCL" else np.where(cut == 0, 0, np.maximum(cut - 1000, 1))
                assert (source.read(1)[inside] == wanted).all()
    assert SHAPES[10] == (96, 120)
    by_parcel = get(served, f"rawChipByParcelID?{NL}&pid=17&{DAYS}&band=B4&chipsize=320")
    assert [chip.rpartition("/")[2] for chip in by_parcel["chips"]] == [c.rpartition("/")[2] for c in listed["chips"]]
    names = get(served, f"rawChipByLocation?lon={lon}&lat={lat}&{DAYS}&band=B04&onlylist=True")["chips"]
    body = json.dumps({"lon": lon, "lat": lat, "tiles": [*names[:2], "x"], "bands": ["B08", "B04"], "chipsize": 320})
    batch = ask(served[1], "/query/rawChipsBatch", method="POST", headers=ANNA, body=body.encode()).json
    assert len(batch["chips"]) == 4 and len(batch["dates"]) == 4
    assert get(served, f"rawChipByLocation?lon=0&lat=0&{DAYS}&band=B04") == {}
    assert get(served, f"rawChipByLocation?lon={lon}&lat={lat}&{DAYS}&band=B99") == {}
    radar = json.dumps({"lon": lon, "lat": lat, "dates": ["2024-01-01", "2024-12-31"]}).encode()
    assert ask(served[1], "/query/rawS1ChipsBatch", method="POST", headers=ANNA, body=radar).json == {}


def test_no_more_than_24_chips(served, campaign, monkeypatch):
    from hpckit.serve.jrc import chips

    monkeypatch.setattr(chips, "MOST", 2)
    lon, lat = middle(campaign)
    answer = ask(served[1], f"/query/rawChipByLocation?lon={lon}&lat={lat}&{DAYS}&band=B04", headers=ANNA)
    assert len(answer.json["chips"]) == 2 and answer.headers["hpckit-left-out"] == "1"


def test_pages(served, campaign):
    lon, lat = middle(campaign)
    page = ask(
        served[1], f"/query/chipsByLocation?lon={lon}&lat={lat}&{DAYS}&bands=B08_B04_B03&lut=2_98", headers=ANNA
    )
    assert page.headers["content-type"].startswith("text/html")
    addresses = [part.partition('"')[0] for part in page.text.split('src="')[1:]]
    assert len(addresses) == 3
    picture = ask(served[1], addresses[1])
    with MemoryFile(picture.body) as memory, memory.open() as source:
        assert source.driver == "PNG" and source.count in (3, 4) and np.ptp(source.read(1)) > 50
    page = ask(served[1], f"/query/backgroundByParcelID?{NL}&pid=17&withGeometry=True&extend=512", headers=ANNA)
    assert '<path d="M' in page.text and ask(served[1], page.text.split('href="')[1].partition('"')[0]).status == 200


def test_background_of_the_clearest_date(served, campaign):
    lon, lat = middle(campaign)
    asked = f"backgroundByLocation?lon={lon}&lat={lat}&chipsize=64&extend=320&tms=Google&iformat=tif"
    body = ask(served[1], f"/query/{asked}", headers=ANNA).text
    assert body.startswith("http://127.0.0.1:8642/query/backgrounds/") and body.endswith("/google.tif")
    answer = ask(served[1], body.removeprefix("http://127.0.0.1:8642"))
    with MemoryFile(answer.body) as memory, memory.open() as source:
        assert source.shape == (64, 64) and source.crs.to_epsg() == EPSG and source.res == (5, 5)
        assert source.read().min() > 0


def test_background_of_an_orthophoto(campaign, tmp_path):
    lon, lat = middle(campaign)
    x, y = pyproj.Transformer.from_crs(4326, EPSG, always_xy=True).transform(lon, lat)
    path = tmp_path / "ortho.tif"
    transform = rasterio.transform.from_origin(round(x) - 200, round(y) + 200, 1, 1)
    profile = {"driver": "GTiff", "height": 400, "width": 400, "count": 3, "dtype": "uint8", "crs": f"EPSG:{EPSG}"}
    with rasterio.open(path, "w", transform=transform, **profile) as target:
        target.write(np.broadcast_to(np.array([10, 200, 60], np.uint8)[:, None, None], (3, 400, 400)))
    service, app = serve(tmp_path, campaign, orthophotos={"Ortho2024": path})
    for tms in ("ortho2024", "Google"):
        asked = f"backgroundByLocation?lon={lon}&lat={lat}&chipsize=64&extend=128&tms={tms}&iformat=tif"
        link = ask(app, f"/query/{asked}", headers=ANNA).text.removeprefix("http://127.0.0.1:8642")
        assert link.endswith(f"/{tms.lower()}.tif")
        with MemoryFile(ask(app, link).body) as memory, memory.open() as source:
            assert source.read()[:, 32, 32].tolist() == [10, 200, 60]
    path.write_bytes(b"no picture")
    assert ask(app, link).status in (400, 404, 503)
    service.close()


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("B4", "B04"),
        ("b04", "B04"),
        ("B8A", "B8A"),
        ("B11", "B11"),
        ("SC", "SCL"),
        ("SCL", "SCL"),
        ("VV", "VV"),
        ("VVb", "VV"),
        ("VHb", "VH"),
        ("VVc", "COH_VV"),
        ("VHc", "COH_VH"),
        ("NDVI", "NDVI"),
    ],
)
def test_names_of_bands(text, own):
    assert own_band(text) == own
    band = band_known(own)
    if band is not None and len(text) == 3:
        assert own_band(jrc_band(band)) == own
        assert factor(band) == (10_000 if band.kind == "reflectance" else 1)


@pytest.mark.parametrize("text", ["", "B 4", "../B04", "B04.tif", "x" * 17, "B\u00b2"])
def test_no_names_of_bands(text):
    with pytest.raises(Problem):
        own_band(text)
