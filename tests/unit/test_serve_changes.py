"""What is served changes while the server runs: the store moves, is replaced, or the campaign becomes another one."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.serve import dataset
from hpckit.store import open_store
from tests.asgi import Answer, ask
from tests.frozen_samples import freeze
from tests.unit.look_samples import make_campaign, make_two_reductions, make_zones
from tests.unit.serve_samples import serve

pytestmark = pytest.mark.slow

Ask = Callable[[str], Answer]


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    folder = tmp_path / "c"
    folder.mkdir()
    return make_campaign(folder)


@pytest.fixture
def asked(campaign: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    monkeypatch.setattr(dataset, "_LOOK_S", 0.0)
    service, app = serve(tmp_path, campaign, grants=[{"users": ["anyone"]}], doors=["viewer"])
    yield lambda path: ask(app, f"/api/d/mine{path}")
    service.close()


def with_values(store: Path, value: float) -> Path:
    """A copy with another mean of NDVI."""
    made = store.with_name("other.gpkg")
    shutil.copy(store, made)
    with sqlite3.connect(made) as db:
        db.execute("UPDATE record_parcels SET NDVI_p50 = ?, NDVI_std = ?", [value, value])
    db.close()
    return made


def test_a_store_that_is_replaced(campaign, asked):
    store = campaign.with_name("sample.gpkg")
    before = asked("/series?zone=17&bands=NDVI").json
    assert asked("/flags?std=10").json["counts"]["heterogeneous"] == 0
    with_values(store, 42.0).replace(store)
    after = asked("/series?zone=17&bands=NDVI").json
    assert set(after["bands"]["NDVI"]["p50"]) == {42.0} != set(before["bands"]["NDVI"]["p50"])
    assert after["time"] == before["time"]
    assert asked("/flags?std=10").json["counts"]["heterogeneous"] == 3


def test_a_store_that_goes_away_and_comes_back(campaign, asked):
    store = campaign.with_name("sample.gpkg")
    before = asked("/series?zone=17")
    aside = store.rename(store.with_name("aside.gpkg"))
    for path in ("/series?zone=17", "/flags", "/export?zone=17", "/peers?zone=17"):
        gone = asked(path)
        assert (gone.status, gone.json["code"]) == (503, "unavailable"), path
        assert gone.headers["retry-after"] == "5" and "/" not in gone.json["detail"]
    aside.rename(store)
    assert asked("/series?zone=17").body == before.body


def test_before_the_first_sync_there_are_no_results(campaign, asked):
    campaign.with_name("sample.gpkg").unlink()
    assert asked("/series?zone=17").status == 404
    assert asked("").status == 200 and asked("/zone?zone=17").status == 200


def test_a_campaign_that_is_planned_with_other_bands_and_zones(campaign, asked):
    assert asked("/series?zone=17").json["bands"].keys() == {"B04", "B08", "NDVI"}
    text = campaign.read_text()
    campaign.write_text(
        text.replace("NDVI: (B08 - B04) / (B08 + B04)", "DVI: B08 - B04") + "store: {path: next.gpkg}\n"
    )
    changed = load_campaign(campaign)
    zones = make_zones(campaign.with_name("parcels.gpkg"))
    freeze(changed, {"parcels": zones})
    assert [each["bands"] for each in asked("").json["reductions"]] == [["DVI", "B04", "B08"]]
    assert asked("/series?zone=17").status == 404, "results of the old plan are none of the new one"
    assert open_store(changed).is_made() is False


def test_reductions_have_zones_and_bands_of_their_own(tmp_path):
    campaign = make_two_reductions(tmp_path)
    service, app = serve(tmp_path, campaign, grants=[{"users": ["anyone"]}], doors=["viewer"])

    def of(path: str) -> Answer:
        return ask(app, f"/api/d/mine{path}")

    parcels, blocks = of("").json["reductions"]
    assert (parcels["name"], parcels["zones"], blocks["name"], blocks["zones"]) == ("parcels", 3, "blocks", 1)
    assert blocks["bands"] == ["B08"] and blocks["first"] == "B08"
    assert of("/series?zone=%3Cb%3E1").status == 404
    series = of("/series?zone=%3Cb%3E1&reduction=blocks").json
    assert series["bands"].keys() == {"B08"} and len(series["time"]) == 3
    for name, reduction in (("17", "parcels"), ("<b>1", "blocks")):
        body = json.dumps({"zone": name, "note": "look"}).encode()
        assert ask(app, f"/api/d/mine/marks?reduction={reduction}", method="POST", body=body).status == 201
    for reduction, zone in (("parcels", "17"), ("blocks", "<b>1")):
        table = of(f"/export?marked=1&reduction={reduction}").text.splitlines()
        assert {line.partition(",")[0] for line in table[1:]} == {zone}
        marks = of(f"/marks?reduction={reduction}").json["marks"]
        assert [mark["zone"] for mark in marks] == [zone], "zones of two layers may have one name"
    assert ask(app, "/api/d/mine/marks?reduction=blocks&zone=17", method="DELETE").status == 204
    assert len(of("/marks?reduction=parcels").json["marks"]) == 1
    assert of("/series?zone=17&reduction=none").status == 404
    service.close()


@pytest.mark.parametrize("gone", [False, True])
def test_a_campaign_file_that_is_being_edited_takes_nothing_away(campaign, tmp_path, monkeypatch, gone):
    """Also not if nobody has asked before: STAC lists all data sets at once."""
    monkeypatch.setattr(dataset, "_LOOK_S", 0.0)
    service, app = serve(tmp_path, campaign, grants=[{"users": ["anyone"]}], doors=["viewer", "stac"])
    if gone:
        campaign.unlink()
    else:
        campaign.write_text("name: [half")
    assert ask(app, "/stac/collections").status == 200
    for name in ("mine", "other"):
        assert ask(app, f"/api/d/{name}/series?zone=17").json["bands"].keys() == {"B04", "B08", "NDVI"}
    service.close()


def test_names_that_no_zone_has(asked):
    for name in ("%00", "17%00", "%2e%2e%2f17", "%3Cscript%3E", "%F0%9F%8C%BE", "%ff", "x" * 200):
        for path in ("series", "zone", "peers", "calendar", "export"):
            answer = asked(f"/{path}?zone={name}")
            assert (answer.status, answer.json["code"]) == (404, "zone"), (path, name)
