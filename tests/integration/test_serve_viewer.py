"""The viewer in a real browser, and its answers to programs."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest

from hpckit.api import open_campaign
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.look.mercator import map_tile_at
from hpckit.production.driver import run_campaign
from hpckit.space.vector.project import transformer
from hpckit.testing.radar import write_card_bs
from tests.integration import test_radar_run as made_radar
from tests.integration.serving import browser_page, picture, server
from tests.servers.npm import installed
from tests.small_campaign import write_zones
from tests.unit.look_samples import make_campaign, make_two_reductions
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.serve]
INJECTED = "x'; DROP TABLE zones --"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def opened(campaign, tmp_path_factory):
    """Address of a server that everybody on this machine may read."""
    with server(tmp_path_factory.mktemp("state"), campaign, "--listen", "127.0.0.1:0", "--open") as (address, _):
        yield address


@pytest.fixture
def ask(opened):
    with httpx.Client(base_url=f"{opened}api/d/sample", timeout=60) as client:
        yield client


def shows(page, selector: str, text: str) -> None:
    """Wait until an element has a text."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(text, timeout=20_000)


def test_the_printed_address_works_once(campaign, tmp_path):
    with (
        server(tmp_path, campaign, "--listen", "127.0.0.1:0") as (address, _),
        httpx.Client(follow_redirects=True) as first,
        httpx.Client(follow_redirects=True) as second,
    ):
        assert "token=" in address
        base = address.partition("enter")[0]
        assert second.get(f"{base}api/d/sample").status_code == 401
        assert second.get(f"{base}api/me").json()["datasets"] == []
        assert first.get(address).status_code == 200
        assert first.get(f"{base}api/d/sample").json()["name"] == "sample"
        assert second.get(address).json()["code"] == "used-token"
        assert second.get(f"{base}api/d/sample").status_code == 401
        token = first.post(f"{base}token").json()["token"]
        found = httpx.get(f"{base}api/d/sample/zones", headers={"Authorization": f"Bearer {token}"})
        assert found.status_code == 200
        audit = [json.loads(line) for path in tmp_path.rglob("audit.jsonl") for line in path.open()]
        assert [line["what"] for line in audit] == ["login", "token"]
        assert token not in str(audit)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(campaign, tmp_path, number):
    with server(tmp_path, campaign, "--listen", "127.0.0.1:0", "--open") as (address, process):
        assert httpx.get(f"{address}api/d/sample/series?zone=17").status_code == 200
        process.send_signal(number)
        assert process.wait(15) == 0
    assert (tmp_path / "err.txt").read_text() == ""


EARLY = """\
import signal, sys, uvicorn
from hpckit.cli import main
run = uvicorn.Server.run
def after_signal(program, **options):
    signal.raise_signal(signal.SIGTERM)
    run(program, **options)
uvicorn.Server.run = after_signal
main(sys.argv[1:])
"""


def test_a_signal_before_uvicorn_listens_to_signals_ends_it(campaign, tmp_path):
    words = [sys.executable, "-c", EARLY, "serve", str(campaign), "--listen", "127.0.0.1:0"]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0 and "http://" in done.stdout and done.stderr == ""


def test_find_click_calendar_series_export(opened, campaign):
    with browser_page(accept_downloads=True, permissions=["clipboard-read", "clipboard-write"]) as page:
        page.goto(opened)
        page.wait_for_selector("#layer option", state="attached")
        page.fill("#search", "1")
        page.wait_for_selector("#found [role=option]")
        assert page.locator("#found [role=option] b").all_inner_texts() == ["17", "18"]
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        page.wait_for_selector("svg.chart circle.clear")
        assert page.locator("#panel h2").inner_text() == "Parcel 17"
        assert "maize" in page.locator(".facts").inner_text()
        # Two of the three dates have valid pixels: one is clear, one cloudy.
        assert page.locator("svg.chart circle.clear").count() == 1
        assert page.locator("svg.chart circle.cloudy").count() == 1
        page.wait_for_selector(".calendar .chip")
        assert page.locator(".calendar .chip").count() == 3
        page.click("button.band:has-text('B08')")
        shows(page, "svg.chart >> nth=1 >> .name", "B08")
        page.focus("svg.chart")
        page.keyboard.press("ArrowRight")
        assert "1 Apr 2024" in page.locator(".diagram .told").first.inner_text()
        page.set_viewport_size({"width": 1200, "height": 900})  # all is drawn again, and keeps the keyboard
        page.wait_for_timeout(300)
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        shows(page, "#day", "11 Apr 2024")
        with page.expect_download() as started:
            page.click(".files a:has-text('CSV')")
        rows = list(csv.DictReader(io.StringIO(Path(started.value.path()).read_text())))
        with page.expect_download() as started:
            page.click(".files button:has-text('PNG')")
        assert Path(started.value.path()).read_bytes().startswith(b"\x89PNG")
        picture(page, "parcel")
        page.click("button:has-text('Peers')")
        shows(page, ".part .quiet >> nth=0", "no parcel of the same kind")
        # Another parcel beside it, by the keyboard alone; the address holds both.
        page.focus("button:has-text('Compare')")
        page.keyboard.press("Enter")
        page.fill("#search", "18")
        page.wait_for_selector("#found [role=option]")
        page.keyboard.press("Enter")
        shows(page, ".compare .compared >> nth=1", "18")
        page.wait_for_selector(".diagram >> nth=1")
        assert page.locator("svg.chart >> nth=0").locator("circle.clear").count() == 2
        page.click("#share")
        shows(page, "#told", "copied")
        address = page.evaluate("navigator.clipboard.readText()")
        page.goto("about:blank")
        page.goto(address)
        shows(page, ".compare .compared >> nth=1", "18")
        shows(page, "svg.chart >> nth=1 >> .name", "B08")
        picture(page, "compared")
        page.click("button[aria-label='Leave 17 out']")
        shows(page, "#panel h2", "Parcel 18")
        assert page.faults == []
        series = open_campaign(campaign).series("17", "NDVI")
        ndvi = [row for row in rows if row["band"] == "NDVI"]
        assert [row["zone"] for row in ndvi] == ["17"] * 3
        assert [float(row["p50"] or "nan") for row in ndvi] == pytest.approx(list(series["p50"]), nan_ok=True)


def test_a_click_on_the_map_opens_the_parcel_and_the_pixels_are_there(opened):
    with browser_page() as page:
        page.goto(opened)
        page.wait_for_selector("#layer option", state="attached")
        page.fill("#search", "18")
        page.wait_for_selector("#found [role=option]")
        page.keyboard.press("Enter")
        page.wait_for_selector("svg.chart")
        page.keyboard.press("Escape")
        page.wait_for_selector("#panel", state="hidden")
        page.wait_for_timeout(2500)
        box = page.locator("#map").bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_selector("#panel h2:has-text('Parcel')", timeout=8000)
        address = page.url
        picture(page, "map")
        page.goto("about:blank")
        page.goto(address)
        page.wait_for_selector("#panel h2:has-text('Parcel')", timeout=8000)
        assert page.faults == []


@pytest.mark.parametrize(("width", "height"), [(1440, 900), (820, 1100), (390, 844), (720, 450)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overlaps_or_hides_at_any_width(opened, width, height, scheme):
    """720 by 450 is a laptop at 200 % zoom."""
    with browser_page(width, height, color_scheme=scheme) as page:
        page.goto(f"{opened}#d=sample&zone=17")
        page.wait_for_selector("svg.chart")
        page.wait_for_selector(".chip")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for name in ("#search", "#quality", "#share", "#layer", "#earlier", "#later"):
            box = page.locator(name).bounding_box()
            assert box is not None, name
            assert box["x"] >= 0, name
            assert box["x"] + box["width"] <= width, name
            assert box["height"] >= 20, name
        picture(page, f"width-{width}-{scheme}")
        assert page.faults == []


def test_no_rule_of_accessibility_is_broken(opened):
    axe = (installed("axe-core", "4.10.3") / "node_modules" / "axe-core" / "axe.min.js").read_text()
    with browser_page() as page:
        page.goto(f"{opened}#d=sample&zone=17")
        page.wait_for_selector(".chip")
        page.evaluate(axe)

        def broken() -> list[str]:
            found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
            return [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in found]

        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.click("#share")
            assert broken() == [], scheme
        page.fill("#search", "1")
        page.wait_for_selector("#found [role=option]")
        assert broken() == []
        page.keyboard.press("Escape")
        page.click("#quality")
        page.wait_for_selector("table tbody tr")
        assert broken() == []
        page.click("#marks")
        shows(page, "#panel", "No parcel is marked")
        assert broken() == []


def test_names_with_markup_are_text(opened):
    with browser_page() as page:
        page.goto(f"{opened}#d=sample&zone={urllib.parse.quote(INJECTED)}")
        page.wait_for_selector(".zone h2")
        assert page.locator(".zone h2").inner_text() == f"Parcel {INJECTED}"
        assert page.faults == []


def test_marks_with_notes(campaign, tmp_path):
    with server(tmp_path, campaign, "--listen", "127.0.0.1:0") as (address, _), browser_page() as page:
        page.goto(address)
        page.wait_for_selector("#layer option", state="attached")
        page.goto(page.url.partition("#")[0] + "#d=sample&zone=17")
        page.reload()
        page.wait_for_selector(".mark summary")
        page.click(".mark summary")
        page.fill(".mark textarea", "<b>visit</b> before & after")
        page.select_option(".mark select", "visit")
        page.click(".mark button[type=submit]")
        shows(page, "#marks", "Marked (1)")
        page.click("#marks")
        assert page.locator(".marks p").inner_text() == "<b>visit</b> before & after"
        assert page.locator(".marks small").inner_text().startswith("owner")
        picture(page, "marked")
        base = page.url.partition("#")[0]
        cookies = {each["name"]: each["value"] for each in page.context.cookies()}
        client = httpx.Client(base_url=f"{base}api/d/sample", cookies=cookies)
        elsewhere = {"Origin": "https://example.org", "Sec-Fetch-Site": "cross-site"}
        refused = client.post("/marks", json={"zone": "18"}, headers=elsewhere)
        assert (refused.status_code, refused.json()["code"]) == (403, "other-site")
        for body, status in [
            ({"zone": "none"}, 404),
            ({"zone": "18", "state": "x"}, 400),
            ({"zone": "18", "note": "n" * 3000}, 400),
            ([], 400),
        ]:
            assert client.post("/marks", json=body).status_code == status, body
        assert [mark["zone"] for mark in client.get("/marks").json()["marks"]] == ["17"]
        saved = client.get("/export", params={"marked": 1, "format": "gpkg"})
        (tmp_path / "saved.gpkg").write_bytes(saved.content)
        with sqlite3.connect(tmp_path / "saved.gpkg") as db:
            assert db.execute("SELECT id, mark, note FROM zones").fetchall() == [
                ("17", "visit", "<b>visit</b> before & after")
            ]
            assert db.execute("SELECT COUNT(*) FROM series").fetchone() == (9,)
        assert client.delete("/marks", params={"zone": "17"}).status_code == 204
        assert client.get("/marks").json()["marks"] == []
        assert page.faults == []


def test_quality_colours_the_map(opened):
    with browser_page() as page:
        page.goto(opened)
        page.wait_for_selector("#layer option", state="attached")
        page.click("#quality")
        page.wait_for_selector("table tbody tr")
        assert "3 parcels" in page.locator(".facts").inner_text()
        page.fill(".flag input[type=number] >> nth=0", "5")
        page.keyboard.press("Tab")
        shows(page, ".flag output >> nth=0", "3")
        picture(page, "quality")
        assert page.faults == []


def test_one_of_several_reductions_is_chosen(tmp_path):
    path = make_two_reductions(tmp_path)
    with (
        server(tmp_path / "state", path, "--listen", "127.0.0.1:0", "--open") as (address, _),
        browser_page() as page,
    ):
        page.goto(address)
        page.wait_for_selector("#reduction option", state="attached")
        assert page.locator("#reduction").input_value() == "parcels"
        page.get_by_label("Reduction").select_option("blocks")
        page.fill("#search", "<b>")
        page.wait_for_selector("#found [role=option]")
        page.keyboard.press("Enter")
        shows(page, "#panel h2", "Parcel <b>1")
        page.wait_for_selector("svg.chart")
        assert page.locator("#panel .band:not(.peers)").all_inner_texts() == ["B08"]
        picture(page, "two-reductions")
        page.reload()  # the address has it
        shows(page, "#panel h2", "Parcel <b>1")
        assert page.locator("#reduction").input_value() == "blocks"
        page.click("#quality")
        shows(page, "#panel .facts", "1 parcel")
        page.get_by_label("Reduction").select_option("parcels")
        shows(page, "#panel .facts", "3 parcels")
        for box in page.locator("#panel .flag input[type=checkbox]").all():
            box.uncheck()
        shows(page, "#panel", "No parcel has one of these flags.")
        page.get_by_label("Days", exact=True).fill("0")
        page.keyboard.press("Tab")
        shows(page, "#panel [role=alert]", "gap_days")
        page.get_by_label("Days", exact=True).fill("20")
        page.keyboard.press("Tab")
        shows(page, "#panel .facts", "3 parcels")
        refused = [fault for fault in page.faults if "400" not in fault]
        assert refused == []


def test_series_are_those_of_the_store(ask, campaign):
    view = open_campaign(campaign)
    for zone in ("17", "18", INJECTED):
        found = ask.get("/series", params={"zone": zone, "bands": "NDVI,B04"}).json()
        frame = view.series(zone, "NDVI")
        assert found["time"] == [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in frame["time"]]
        for name in ("valid", "total", "mean", "std", "p25", "p50", "p75"):
            got = np.array(found["bands"]["NDVI"][name], float)
            assert np.allclose(got, frame[name], rtol=1e-6, equal_nan=True), name
        assert set(found["bands"]) == {"NDVI", "B04"}
        assert found["state"] == ["masked", "clear", "cloudy"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/series", 400),
        ("/series?zone=nobody", 404),
        ("/series?zone=17&bands=B99", 400),
        ("/series?zone=" + "9" * 5000, 400),
        ("/series?zone=17%00", 404),
        ("/series?zone=17&reduction=none", 404),
        ("/zones?lon=x&lat=1", 400),
        ("/zones?lon=999&lat=1", 400),
        ("/zones?q=17&limit=0", 400),
        ("/calendar?zone=17&start=2024-99-01", 400),
        ("/calendar?zone=17&start=2024-05-01&end=2024-04-01", 400),
        ("/calendar?zone=17&layer=none", 404),
        ("/tiles/zones/3/9/0", 404),
        ("/tiles/zones/-1/0/0", 404),
        ("/tiles/zones/x/y/z", 404),
        ("/tiles/zones/99999999999/0/0", 404),
        ("/tiles/raster/12/2105/1368?layer=rgb:B04,B03,B02&day=yesterday", 400),
        ("/tiles/raster/12/2105/1368?layer=rgb:B04,B03,B99&day=2024-04-11", 404),
        ("/flags?gap_days=-1", 400),
        ("/flags?flags=all", 400),
        ("/export?format=csv", 400),
        ("/export?zone=17&format=exe", 400),
        ("/peers?zone=17&distance=1e99", 400),
        ("/nothing", 404),
    ],
)
def test_questions_that_make_no_sense(ask, path, status):
    answer = ask.get(path)
    assert answer.status_code == status
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert body["code"]
    assert body["detail"]
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text


def test_a_hundred_clients_at_once(ask):
    paths = [f"/series?zone={zone}" for zone in ("17", "18")] + ["/tiles/zones/13/4211/2736", "/zones?q=1"]

    def one(number: int) -> int:
        return ask.get(paths[number % len(paths)]).status_code

    with ThreadPoolExecutor(100) as pool:
        found = list(pool.map(one, range(400)))
    assert set(found) <= {200, 204}


def test_known_answers_are_not_sent_again(ask):
    first = ask.get("/series?zone=17")
    again = ask.get("/series?zone=17", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_database_that_is_stopped_and_comes_back(postgres_server, tmp_path):
    dsn = postgres_server.create_database("served")
    path = make_campaign(tmp_path, f"store: {{dsn: {json.dumps(dsn)}}}\n")
    with (
        server(tmp_path / "state", path, "--listen", "127.0.0.1:0", "--open") as (address, process),
        httpx.Client(base_url=f"{address}api/d/sample", timeout=60) as client,
    ):
        asked = ("/series?zone=17", "/flags", "/export?zone=17&format=csv")
        before = [client.get(question) for question in asked]
        assert {answer.status_code for answer in before} == {200}
        for immediately in (False, True):  # connections end in order, or break off
            postgres_server.stop(immediately=immediately)
            try:
                with ThreadPoolExecutor(16) as pool:
                    gone = list(pool.map(client.get, asked * 6))
                assert {(each.status_code, each.json()["code"]) for each in gone} == {(503, "unavailable")}
                assert all(each.headers["retry-after"] == "5" for each in gone)
                assert all(text not in each.text for each in gone for text in ("/tmp", "postgresql://", "hpckit-pg"))
                assert client.get("/zone?zone=17").status_code == 200, "zones are those of the run"
            finally:
                postgres_server.start()
            assert [client.get(question).content for question in asked] == [answer.content for answer in before]
        assert process.poll() is None


def test_csv_of_flags(ask):
    rows = list(csv.DictReader(io.StringIO(ask.get("/flags?format=csv").text)))
    assert [row["zone"] for row in rows] == ["17", "18", INJECTED]
    assert [row["clear"] for row in rows] == ["1"] * 3


def test_behind_a_prefix(campaign, tmp_path):
    with (
        server(tmp_path, campaign, "--listen", "127.0.0.1:0", "--open", "--prefix", "/node/c1/8642") as (address, _),
        browser_page() as page,
    ):
        assert address.endswith("/node/c1/8642/")
        page.goto(address)
        page.wait_for_selector("#layer option", state="attached")
        page.fill("#search", "17")
        page.wait_for_selector("#found [role=option]")
        page.keyboard.press("Enter")
        page.wait_for_selector("svg.chart")
        assert page.faults == []


@pytest.fixture(scope="module")
def radar(tmp_path_factory) -> Path:
    """Settings of a server with a campaign of Sentinel-1, `radar`, and the same without a cube, `nocube`."""
    folder = tmp_path_factory.mktemp("radar")
    for number in range(2):
        spec = replace(
            made_radar.SPEC,
            start=made_radar.SPEC.start + timedelta(days=12 * number),
            absolute_orbit=made_radar.SPEC.absolute_orbit + 175 * number,
            datatake=made_radar.SPEC.datatake + 100 * number,
        )
        write_card_bs(folder / "scenes", spec, made_radar.pixels(number))
    write_zones(folder / "zones.gpkg", made_radar.zones())
    for name, kept in (("radar", "true"), ("nocube", "false")):
        text = made_radar.CAMPAIGN.replace("name: radar", f"name: {name}").replace("zones.gpkg", "../zones.gpkg")
        text = text.replace("[scenes]", "[../scenes]").replace("cube: {", f"cube: {{keep: {kept}, ")
        (folder / name).mkdir()
        (folder / name / "campaign.yaml").write_text(text)
        done = run_campaign(load_campaign(folder / name / "campaign.yaml"), Console(quiet=True), workers=1)
        assert done.exit_code == 0
    (folder / "serve.yaml").write_text(
        "datasets: [{campaign: radar/campaign.yaml}, {campaign: nocube/campaign.yaml}]\n"
        "listen: 127.0.0.1:0\ngrants: [{users: [anyone]}]\nstate: state\n"
    )
    return folder / "serve.yaml"


def test_radar_is_in_decibels_and_without_a_cube_there_are_series_alone(radar, tmp_path):
    with server(tmp_path, "--config", radar) as (address, _), browser_page() as page:
        page.goto(f"{address}#d=radar&zone=z1")
        shows(page, "svg.chart .name", "VV, dB")
        assert page.locator("svg.chart circle.clear").count() == 2
        page.focus("svg.chart")
        page.keyboard.press("ArrowRight")
        values = made_radar.expected(0, made_radar.zones()[1])["VV"]
        told = page.locator(".diagram .told span").first.inner_text()
        assert float(re.findall(r"-\d+\.\d+", told)[0]) == pytest.approx(10 * np.log10(values[2]), abs=0.02), told
        assert "cloud" not in page.locator(".key").inner_text()
        page.wait_for_selector(".chip >> nth=1")
        assert page.locator(".chip").count() == 2
        picture(page, "radar")
        page.select_option("#dataset", "nocube")
        page.wait_for_selector("#layer", state="hidden")
        page.fill("#search", "z1")
        page.wait_for_selector("#found [role=option]")
        page.keyboard.press("Enter")
        shows(page, "svg.chart .name", "VV, dB")
        assert page.locator("svg.chart circle.clear").count() == 2
        assert page.locator(".calendar, #time:not([hidden])").count() == 0
        picture(page, "without-cube")
        page.click("#quality")
        shows(page, "#panel .facts", "13 parcels")
        assert page.faults == []
        for path in ("calendar?zone=z1&layer=band:VV", "tiles/raster/12/2105/1368?layer=band:VV&day=2024-05-02"):
            answer = httpx.get(f"{address}api/d/nocube/{path}")
            assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
        series = [httpx.get(f"{address}api/d/{name}/series?zone=z1").json() for name in ("radar", "nocube")]
        assert series[0]["bands"] == series[1]["bands"] and set(series[0]["bands"]) == {"RATIO", "VV", "VH"}


def test_a_campaign_that_is_planned_and_a_cube_that_is_written_under_the_server(radar, tmp_path):
    """From before the first run until a later date is there: no fault, and what is complete is shown at once."""
    source, home = radar.parent, tmp_path / "campaign"
    home.mkdir()
    scenes = sorted((source / "scenes").iterdir())
    shutil.copy(source / "zones.gpkg", tmp_path)
    shutil.copy(source / "radar" / "campaign.yaml", home)
    found: dict[str, Counter[int]] = defaultdict(Counter)
    over = threading.Event()
    with server(tmp_path, home / "campaign.yaml", "--listen", "127.0.0.1:0", "--open") as (address, process):

        def watch(path: str) -> None:
            with httpx.Client(base_url=address, timeout=60) as client:
                while not over.is_set():
                    answer = client.get(path)
                    found[path][answer.status_code] += 1
                    if answer.status_code >= 400:
                        assert answer.json()["code"] not in ("internal", "http"), answer.text
                    time.sleep(0.02)

        middle = made_radar.zones()[1].centroid
        east, north = transformer(made_radar.TILE.epsg, 3857).transform(middle.x, middle.y)
        column, row = map_tile_at(14, east, north)
        data = "api/d/radar"
        paths = [
            data,
            f"{data}/series?zone=z1",
            f"{data}/calendar?zone=z1&layer=band:VV",
            f"{data}/flags",
            *(f"{data}/tiles/raster/14/{column}/{row}?layer=band:VV&day=2024-05-{day}" for day in ("02", "14")),
            "stac/search?collections=radar-cube",
        ]
        with ThreadPoolExecutor(len(paths)) as pool:
            watching = [pool.submit(watch, path) for path in paths]
            try:
                for number in range(2):
                    for scene in scenes[number::2]:
                        shutil.copytree(scene, tmp_path / "scenes" / scene.name)
                    until(lambda: all(found[path] for path in paths), 60, "for answers")
                    done = run_campaign(load_campaign(home / "campaign.yaml"), Console(quiet=True), workers=1)
                    assert done.exit_code == 0
            finally:
                over.set()
            for each in watching:
                each.result()
        with httpx.Client(base_url=address, timeout=60) as client:
            until(lambda: len(client.get(data).json()["days"]) == 2, 20, "for the second date")
            assert len(client.get(f"{data}/series?zone=z1").json()["time"]) == 2
            assert len(client.get(f"{data}/calendar?zone=z1&layer=band:VV").json()["cells"]) == 2
            pictures = [client.get(path) for path in paths[4:6]]
            assert [each.status_code for each in pictures] == [200, 200] and pictures[0].content != pictures[
                1
            ].content
        assert process.poll() is None
    told = {path: sorted(counts) for path, counts in found.items()}
    assert set().union(*told.values()) <= {200, 204, 404, 503}, told
