"""`hpckit export`: files of all formats and forms are what the store says, and are whole or not there."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from click.testing import CliRunner

from hpckit import api
from hpckit.cli import cli
from hpckit.errors import CampaignError, HpckitError, StoreError, ZoneError
from hpckit.space.zones import read_zones
from hpckit.store.geopackage import GeoPackage
from hpckit.testing.signatures import batch, segment

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COUNT = 40
CROPS = ["wheat", "maize", None, ""]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose store holds random signatures of 40 zones on 6 dates; tests only read it."""
    folder = tmp_path_factory.mktemp("export")
    shapes = [shapely.box(400_000 + 200 * n, 5e6, 400_100 + 200 * n, 5e6 + 100) for n in range(COUNT)]
    table = pa.table(
        {
            "name": [f"z{n}" for n in range(COUNT)],
            "crop": [CROPS[n % 4] for n in range(COUNT)],
            "holding": pa.array([None if n == 7 else n // 10 for n in range(COUNT)], pa.int64()),
            "sown": pa.array([date(2024, 3, 1 + n % 20) for n in range(COUNT)]),
            "wkb": [shapely.to_wkb(shape) for shape in shapes],
        }
    )
    layer = folder / "zones.gpkg"
    pyogrio.write_arrow(table, layer, geometry_name="wkb", geometry_type="Polygon", crs="EPSG:32631")
    path = folder / "campaign.yaml"
    path.write_text(
        "name: test\naoi: zones.gpkg\nperiod: 2024-01-01/2024-12-31\nscenes: {paths: [scenes]}\n"
        "cube: {bands: [B04, B08, SCL]}\nreductions:\n"
        "  - {name: parcels, zones: zones.gpkg, id: name, bands: [B04, SCL], attributes: [crop, holding, sown],\n"
        "     indices: {NDVI: (B08 - B04) / (B08 + B04)}}\n"
    )
    zones = read_zones(layer, "name")
    store = GeoPackage(folder / "test.gpkg")
    store.prepare()
    store.load_zones("parcels", zones)
    (folder / "spool").mkdir()
    parts = [batch(n, range(COUNT), bands=("B04", "NDVI"), empty=[3 * n]) for n in range(5)]
    store.load_segment(segment(folder / "spool", parts, zones))
    # One date was computed without one of the bands.
    store.load_segment(segment(folder / "spool", [batch(5, range(0, COUNT, 3), bands=("NDVI",))], zones))
    store.close()
    return path


@pytest.fixture(scope="module")
def everything(campaign: Path) -> pd.DataFrame:
    """What `signatures` gives, which has tests of its own."""
    return api.open_campaign(campaign).signatures("all")


def read(path: Path) -> pd.DataFrame:
    if path.suffix == ".csv":
        frame = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype={"baseline": str})
        return frame.assign(time=pd.to_datetime(frame["time"], format="ISO8601").astype("datetime64[us]"))
    if path.suffix == ".gpkg":
        return pd.DataFrame(pyogrio.read_dataframe(path, use_arrow=True))
    return pq.read_table(path).to_pandas()


@pytest.mark.parametrize("end", ["parquet", "csv", "gpkg"])
def test_all_signatures_in_every_format(campaign: Path, everything: pd.DataFrame, tmp_path: Path, end: str) -> None:
    path = tmp_path / f"all.{end}"
    assert api.export(campaign, path) == len(everything)
    found = read(path)
    names = [*everything.columns, "crop", "holding", "sown"]
    assert list(found.columns) == names
    numbers = ["valid", "total", "valid_fraction", "mean", "std", "min", "max", "p25", "p50", "p75", "cloud_cover"]
    np.testing.assert_array_equal(found[numbers].to_numpy(float), everything[numbers].to_numpy(float))
    for name in ("zone", "band", "acquisition", "tile", "baseline", "run_id"):
        assert found[name].tolist() == everything[name].tolist()
    when = pd.to_datetime(found["time"]).dt.tz_localize(None) if end != "csv" else found["time"]
    gap = (when.reset_index(drop=True) - everything["time"]).abs().max()
    assert gap <= pd.Timedelta("1ms")
    row = found["zone"].str[1:].astype(int)
    holdings = [None if pd.isna(value) else int(value) for value in found["holding"]]
    assert holdings == [None if n == 7 else n // 10 for n in row]
    crops = [None if pd.isna(value) or value == "" else value for value in found["crop"]]
    assert crops == [CROPS[n % 4] or None for n in row]
    assert [str(value)[:10] for value in found["sown"]] == [f"2024-03-{1 + n % 20:02}" for n in row]
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("end", ["parquet", "csv", "gpkg"])
def test_wide_form_is_the_tall_one_turned(campaign: Path, everything: pd.DataFrame, tmp_path: Path, end: str) -> None:
    path = tmp_path / f"wide.{end}"
    rows = api.export(campaign, path, form="wide", attributes=False)
    wide = read(path)
    assert rows == len(wide) == 5 * COUNT + len(range(0, COUNT, 3))
    assert {"SCL_4", "SCL_5", "SCL_9"} <= set(wide.columns)
    for band in ("B04", "NDVI"):
        tall = everything[everything["band"] == band].set_index(["zone", "acquisition"])
        mine = wide.set_index(["zone", "acquisition"])
        mine = mine[mine[f"{band}_total"].notna()]
        assert len(mine) == len(tall)
        for name in ("valid", "total", "valid_fraction", "mean", "std", "p75"):
            np.testing.assert_array_equal(mine.loc[tall.index, f"{band}_{name}"], tall[name].to_numpy(float))


def test_polygons_are_those_of_the_zones(campaign: Path, tmp_path: Path) -> None:
    zones = api.zones(campaign)
    for end in ("parquet", "gpkg", "csv"):
        path = tmp_path / f"shapes.{end}"
        api.export(campaign, path, bands=["ndvi"], geometry=True, zones=["z3", "z21"])
        if end == "csv":
            frame = read(path)
            shapes = shapely.from_wkt(frame["geometry"].to_numpy())
        else:
            frame = geopandas.read_parquet(path) if end == "parquet" else geopandas.read_file(path)
            assert frame.crs.to_epsg() == 32631
            shapes = frame.geometry.to_numpy()
        places = [zones.rows[name] for name in frame["zone"]]
        assert set(frame["zone"]) == {"z3", "z21"}
        assert shapely.equals_exact(shapes, zones.geometries[places]).all()
    about = json.loads(pq.read_schema(tmp_path / "shapes.parquet").metadata[b"geo"])
    assert about["columns"]["geometry"]["geometry_types"] == ["MultiPolygon"]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"bands": ["NDVI"]}, "band == 'NDVI'"),
        ({"start": date(2024, 3, 6), "end": date(2024, 3, 11)}, "'2024-03-06' <= time < '2024-03-12'"),
        ({"zones": ["z0", "z39", "z7"]}, "zone in ['z0', 'z39', 'z7']"),
        ({"where": {"crop": ["wheat"]}}, "crop == 'wheat'"),
        ({"where": {"crop": ["wheat", "maize"], "holding": ["2"]}}, "crop in ['wheat', 'maize'] and holding == 2"),
        ({"where": {"crop": [""]}}, "crop not in ['wheat', 'maize']"),
        ({"where": {"holding": [""]}}, "zone == 'z7'"),
        ({"where": {"sown": ["2024-03-05"]}}, "sown == '2024-03-05'"),
        ({"zones": ["z1"], "where": {"crop": ["wheat"]}}, "zone == 'nothing'"),
        ({"zones": []}, "zone == 'nothing'"),
        ({"end": date(2023, 1, 1)}, "zone == 'nothing'"),
    ],
)
def test_rows_are_chosen(campaign: Path, everything: pd.DataFrame, tmp_path: Path, options, kept: str) -> None:  # type: ignore[no-untyped-def]
    row = everything["zone"].str[1:].astype(int)
    known = everything.assign(
        crop=[CROPS[n % 4] for n in row],
        holding=[None if n == 7 else n // 10 for n in row],
        sown=[f"2024-03-{1 + n % 20:02}" for n in row],
    )
    expected = known.query(kept)
    assert api.export(campaign, tmp_path / "x.parquet", **options) == len(expected)
    found = read(tmp_path / "x.parquet")
    keys = ["zone", "acquisition", "band"]
    assert found[keys].astype(str).to_numpy().tolist() == expected[keys].astype(str).to_numpy().tolist()
    wide = api.export(campaign, tmp_path / "wide.csv", form="wide", **options)
    assert wide >= len(expected[["zone", "acquisition"]].drop_duplicates())


def test_statistics_are_chosen(campaign: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    api.export(campaign, path, statistics=["p50", "valid_fraction", "mean"], attributes=False)
    names = pq.read_schema(path).names
    assert names[:6] == ["zone", "time", "band", "valid_fraction", "mean", "p50"]
    assert not {"std", "valid", "total"} & set(names)
    api.export(campaign, path, statistics=["mean"], bands=["B04"], form="wide", attributes=False, overwrite=True)
    assert pq.read_schema(path).names[:3] == ["zone", "time", "B04_mean"]
    assert "SCL_4" not in pq.read_schema(path).names
    api.export(campaign, path, bands=["SCL"], form="wide", attributes=False, overwrite=True)
    assert pq.read_schema(path).names[:4] == ["zone", "time", "SCL_4", "SCL_5"]


def test_what_is_wrong_is_one_sentence_and_writes_nothing(campaign: Path, tmp_path: Path) -> None:
    wrong = [
        ({"bands": ["B99"]}, CampaignError, "no band or index 'B99'"),
        ({"bands": ["SCL"]}, CampaignError, "SCL has classes, which have no statistics"),
        ({"statistics": ["median"]}, StoreError, "no statistic 'median'"),
        ({"zones": ["z99"]}, ZoneError, "no zone 'z99'"),
        ({"where": {"corp": ["x"]}}, ZoneError, "no attribute 'corp'"),
        ({"where": {"holding": ["x"]}}, ZoneError, "attribute 'holding' is of type int64"),
        ({"reduction": "meadows"}, CampaignError, "no reduction 'meadows'"),
    ]
    for options, kind, words in wrong:
        with pytest.raises(kind, match=words):
            api.export(campaign, tmp_path / "x.parquet", **options)
    for name, words in (("x.xlsx", "no format of an export"), ("x", "no format"), ("", "format|folder")):
        with pytest.raises(HpckitError, match=words):
            api.export(campaign, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["parquet", "csv", "gpkg"])
def test_a_file_that_is_there_stays(campaign: Path, tmp_path: Path, end: str) -> None:
    path = tmp_path / f"x.{end}"
    path.write_text("mine")
    result = CliRunner().invoke(cli, ["export", str(campaign), str(path)])
    assert isinstance(result.exception, HpckitError) and "is there already" in str(result.exception)
    assert path.read_text() == "mine"
    result = CliRunner().invoke(cli, ["export", str(campaign), str(path), "--overwrite", "--zone", "z1"])
    assert result.exit_code == 0 and len(read(path)) == 10
    link = tmp_path / f"link.{end}"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(HpckitError, match="is there already"):
        api.export(campaign, link)


_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
from hpckit.cli import main
main(["export", sys.argv[1], sys.argv[2], *sys.argv[4:]])
"""


@pytest.mark.parametrize("end", ["parquet", "csv", "gpkg"])
@pytest.mark.parametrize("limit", [0, 6_000])
def test_a_full_disk_leaves_nothing(campaign: Path, tmp_path: Path, end: str, limit: int) -> None:
    command = [sys.executable, "-c", _LIMITED, str(campaign), str(tmp_path / f"x.{end}"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0, done.stderr
    assert "cannot be written" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_killed_it_leaves_no_file_of_the_name(campaign: Path, tmp_path: Path) -> None:
    script = """
import os, signal, sys
from hpckit import api
def die(done, total):
    os.kill(os.getpid(), signal.SIGKILL)
api.export(sys.argv[1], sys.argv[2], progress=die)
"""
    command = [sys.executable, "-c", script, str(campaign), str(tmp_path / "x.parquet")]
    assert subprocess.run(command, timeout=120).returncode == -signal.SIGKILL
    assert not (tmp_path / "x.parquet").exists()
    assert all(entry.name.startswith(".") and ".partial" in entry.name for entry in tmp_path.iterdir())


def test_zones_of_a_list(campaign: Path, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("z5\n\nz6\n")
    command = ["export", str(campaign), str(tmp_path / "x.csv"), "--zones-from", str(tmp_path / "ids.txt"), "--wide"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert set(read(tmp_path / "x.csv")["zone"]) == {"z5", "z6"}
    result = CliRunner().invoke(cli, ["export", str(campaign), str(tmp_path / "y.csv"), "--where", "crop"])
    assert result.exit_code == 2 and "write it like crop=wheat" in result.output


def test_the_store_of_other_zones_is_refused(campaign: Path, tmp_path: Path) -> None:
    other = tmp_path / "c.yaml"
    text = campaign.read_text().replace("zones.gpkg", f"{campaign.parent}/zones.gpkg")
    text = text.replace("id: name,", "id: name, buffer: 2m,") + f"store: {{path: {campaign.parent}/test.gpkg}}\n"
    other.write_text(text)
    with pytest.raises(StoreError, match="results of other zones"):
        api.export(other, tmp_path / "x.parquet")
    assert api.export(other, tmp_path / "x.parquet", attributes=False) > 0
