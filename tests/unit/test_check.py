"""`hpckit check`: what is found, and what is wrong, each by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import shapely

from hpckit.campaign.campaign import load_campaign
from hpckit.cli import main
from hpckit.production.check import check_campaign
from tests import products


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("check")
    products.write(folder / "scenes", 0, products.arrays(0, 600))
    pyogrio.raw.write(
        folder / "zones.gpkg",
        geometry=np.array([shapely.to_wkb(shapely.box(600100, 5699000, 600400, 5699300))], dtype=object),
        field_data=[np.array(["a"], dtype=object)],
        fields=["pid"],
        geometry_type="Polygon",
        crs="EPSG:32631",
        driver="GPKG",
    )
    return folder


def findings(folder: Path, **changes: str):
    values = {
        "aoi": "zones.gpkg",
        "period": "2024-04-01/2024-06-01",
        "paths": "scenes",
        "zones": "zones.gpkg",
        "bands": "[B04, B08, SCL]",
        "store": "x.gpkg",
        **changes,
    }
    path = folder / f"c{abs(hash(str(values)))}.yaml"
    path.write_text(
        """\
name: test
aoi: {aoi}
period: {period}
scenes: {{paths: {paths}}}
cube: {{bands: {bands}}}
reductions:
  - {{name: parcels, zones: {zones}, id: pid, bands: [B04]}}
store: {{path: {store}}}
""".format(**values)
    )
    return {finding.what: finding for finding in check_campaign(load_campaign(path))}, path


def test_all_is_well(folder, capsys):
    found, path = findings(folder)
    assert {finding.verdict for finding in found.values()} == {"ok"}
    assert "1 of 1 product," in found["scenes"].text and "1 zone," in found["reductions.parcels"].text
    with pytest.raises(SystemExit) as caught:
        main(["check", str(path), "--json"])
    assert caught.value.code == 0
    assert [item["what"] for item in json.loads(capsys.readouterr().out)] == list(found)


@pytest.mark.parametrize(
    ("changes", "what", "verdict", "words"),
    [
        ({"aoi": "nowhere.gpkg"}, "aoi", "error", "no such file"),
        ({"period": "2019-04-01/2019-06-01"}, "scenes", "error", "outside of the period"),
        ({"period": "2099-04-01/2099-06-01"}, "period", "warning", "future"),
        ({"period": "2004-04-01/2024-06-01"}, "period", "warning", "ten years"),
        ({"aoi": "'[0, 0, 1, 1]'"}, "aoi", "error", "no such file"),
        ({"aoi": "0,0,1,1"}, "scenes", "error", "outside of the area"),
        ({"paths": "nowhere"}, "scenes", "error", "no such folder"),
        ({"zones": "nowhere.gpkg"}, "reductions.parcels", "error", "no such zone layer"),
        ({"bands": "[B04, B08, SCL, B12]"}, "cube", "error", "B12"),
        ({"store": "/proc/nowhere/x.gpkg"}, "store", "error", "/proc"),
    ],
)
def test_each_fault_is_found_and_hides_no_other(folder, changes, what, verdict, words):
    path = folder / "x"
    del path
    found, file = findings(folder, **changes)
    if what == "cube":
        all_of = check_campaign(load_campaign(file))
        assert any(f.what == "cube" and f.verdict == verdict and words in f.text for f in all_of)
    else:
        assert found[what].verdict == verdict and words in found[what].text
    assert {"period", "aoi", "scenes", "cube", "reductions.parcels", "store"} <= set(found)
