"""The STAC API over the results of a campaign: what it says of them, and files that programs open by its links."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import rasterio

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

import httpx

from hpckit.base.console import Console
from hpckit.base.version import __version__
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import federation
from hpckit.production.driver import run_campaign
from hpckit.runs.run import find_run
from hpckit.serve.settings import CatalogueSettings, DatasetSettings, Grant, Limits, Settings
from tests import products, small_campaign
from tests.integration.serving import browser_page, picture
from tests.integration.test_composites import CAMPAIGN, DATES, pixels_of
from tests.servers.pages import require_pages, serving_pages
from tests.servers.serving import serving

pytestmark = [pytest.mark.integration, pytest.mark.serve]

VALIDATOR = os.environ.get("HPCKIT_STAC_API_VALIDATOR")
"""Interpreter in whose environment stac-api-validator is installed."""
OFFLINE = Path(__file__).parents[1] / "stac_api_validator_offline.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    for number in range(DATES):
        products.write(folder / "scenes", number, pixels_of(number), baseline="05.10")
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    result = run_campaign(load_campaign(folder / "campaign.yaml"), Console(quiet=True), workers=2)
    assert not result.failed
    return folder


@pytest.fixture(scope="module")
def url(folder):
    settings = Settings(
        datasets=(DatasetSettings(campaign=folder / "campaign.yaml", name="nl"),),
        grants=(Grant(users=("anyone",)),), state=folder / "state", doors=("stac",),
    )  # fmt: skip
    with serving(settings) as (address, _):
        yield f"{address}/stac"


def get(url: str, **parameters) -> dict:
    answer = httpx.get(url, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_products_cube_and_composites_are_collections(url, folder):
    found = {one["id"]: one for one in get(f"{url}/collections")["collections"]}
    assert set(found) == {"nl-products", "nl-cube", "nl-all", "nl-best", "nl-steps"}
    run = find_run(folder / "campaign.yaml")
    for name in ("nl-cube", "nl-all"):
        for item in get(f"{url}/collections/{name}/items", limit=100)["features"]:
            told = item["properties"]
            assert told["processing:software"]["hpckit"] == __version__ and told["processing:software"]["zarr"]
            assert (told["hpckit:run"], told["hpckit:frozen"]) == (run.run_id, run.frozen)
            sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
            assert sources and all(httpx.get(source).status_code == 200 for source in sources)
    scenes = get(f"{url}/collections/nl-products/items")["features"]
    assert len(scenes) == DATES
    assert {one["properties"]["processing:version"] for one in scenes} == {"05.10"}
    assert {one["properties"]["processing:level"] for one in scenes} == {"L2A"}
    newest = get(f"{url}/search", collections="nl-products", limit=1)["features"][0]
    assert newest["properties"]["datetime"] == max(one["properties"]["datetime"] for one in scenes)
    assert str(folder) not in httpx.get(f"{url}/search", params={"limit": 1000}).text


def remote(href: str):
    """A Zarr group on a server, as zarr reads it without aiohttp."""
    obstore = pytest.importorskip("obstore.store", reason="obstore is not installed")
    from zarr.storage import ObjectStore

    return ObjectStore(obstore.HTTPStore.from_url(href, client_options={"allow_http": True}), read_only=True)


def test_series_of_zones_are_a_collection(tmp_path):
    small_campaign.make(tmp_path)
    assert not run_campaign(load_campaign(tmp_path / "campaign.yaml"), Console(quiet=True), workers=2).failed
    settings = Settings(
        datasets=(DatasetSettings(campaign=tmp_path / "campaign.yaml", name="nl"),),
        grants=(Grant(users=("anyone",)),), state=tmp_path / "state", doors=("stac", "viewer"),
    )  # fmt: skip
    with serving(settings) as (address, _):
        (item,) = get(f"{address}/stac/collections/nl-series/items")["features"]
        told = item["properties"]
        assert item["id"] == "nl-series-fields" and told["hpckit:bands"] == ["B04", "B11", "SCL", "NDVI"]
        assert told["hpckit:zones"] == len(small_campaign.zones())
        sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
        assert len(sources) == DATES and httpx.get(sources[0]).status_code == 200
        series = item["assets"]["series"]["href"].partition("?")[0]
        found = get(f"{series}/series", reduction="fields", zone="z3")
        assert found["zone"] == "z3"
        names = {column["name"] for column in told["table:columns"]}
        assert {"mean", "p50", "valid", "time"} <= names


def test_programs_open_cube_composites_and_products_by_links(url, folder):
    import zarr

    cube = get(f"{url}/collections/nl-cube/items")["features"][0]
    group = zarr.open_group(remote(cube["assets"]["r10m"]["href"]), mode="r")
    local = zarr.open_group(load_campaign(folder / "campaign.yaml").cube_path / "31UFU" / "r10m", mode="r")
    assert np.array_equal(group["B04"][-1, :400, :400], local["B04"][-1, :400, :400])
    assert group["time"].shape == (DATES,) == (cube["properties"]["hpckit:acquisitions"],)
    assert len(cube["properties"]["cube:dimensions"]["time"]["values"]) == DATES

    composite = get(f"{url}/search", collections="nl-all")["features"][0]
    href = next(asset["href"] for key, asset in composite["assets"].items() if "median" in key)
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"), rasterio.open(f"/vsicurl/{href}") as there:
        assert there.read(1, window=((0, 50), (0, 50))).any()
    product = get(f"{url}/search", collections="nl-products", limit=1)["features"][0]
    band = next(asset["href"] for key, asset in product["assets"].items() if key.startswith("B04"))
    assert httpx.get(band, headers={"Range": "bytes=0-11"}).content[4:8] == b"jP  "


def test_items_and_collections_are_valid(url):
    pystac = pytest.importorskip("pystac", reason="pystac is not installed")
    for name in ("nl-products", "nl-cube", "nl-all"):
        told = get(f"{url}/collections/{name}")
        pystac.Collection.from_dict({**told, "stac_extensions": []}).validate()
        for item in get(f"{url}/collections/{name}/items", limit=3)["features"]:
            pystac.Item.from_dict({**item, "stac_extensions": []}).validate()


def test_xarray_opens_the_cube_of_an_item(url):
    import xarray

    href = get(f"{url}/collections/nl-cube/items")["features"][0]["assets"]["r10m"]["href"]
    dataset = xarray.open_zarr(remote(href), consolidated=True)
    assert dataset["B04"].dims == ("time", "y", "x") and float(dataset["B04"][0, :50, :50].max()) > 0


def test_stac_browser_shows_collections_items_and_a_search(url):
    """The folder is built from the npm package @radiantearth/stac-browser 4.0.1 with ol-stac 1.1.0 (newer ones need
    another ol): `SB_historyMode=hash SB_pathPrefix=./ npx vue-cli-service build`."""
    folder = require_pages("HPCKIT_STAC_BROWSER", "STAC Browser")
    cube = get(f"{url}/collections/nl-cube/items")["features"][0]
    with serving_pages(folder) as origin, browser_page() as page:
        here = re.compile(r"^(http://127\.0\.0\.1:|blob:|data:)")
        page.context.route(lambda asked: not here.match(asked), lambda route: route.abort())  # maps of the background
        page.goto(f"{origin}/#/external/{url}")
        for title in ("nl: products", "nl: cube", "nl: all"):
            page.wait_for_selector(f".catalog-card >> text={title}")
        picture(page, "stac-browser-begin")
        page.click(".catalog-card a:has-text('nl: cube')")
        page.click(f".items a:has-text('{cube['properties']['title']}')")
        page.wait_for_selector("text=Bands at 10 m (Zarr group)")
        sources = {link["href"].rpartition("/")[2] for link in cube["links"] if link["rel"] == "derived_from"}
        assert all(page.locator(f"a:has-text('{name}')").count() == 1 for name in sources) and len(sources) == DATES
        picture(page, "stac-browser-item")
        page.goto(f"{origin}/#/search/external/{url}")
        page.click("button:has-text('Submit')")
        page.wait_for_selector(".items .card")
        found = get(f"{url}/search")["features"]
        shown = page.locator(".items").inner_text()
        assert all(one["properties"].get("title", one["id"]) in shown for one in found)
        assert page.locator(".items .card").count() == len(found)
        picture(page, "stac-browser-search")
        told = [text for text in page.faults if "elsewhere" not in text and "ERR_FAILED" not in text]
        assert all("404 (File not found)" in text for text in told), told  # it has no icon


@pytest.mark.skipif(
    VALIDATOR is None, reason="HPCKIT_STAC_API_VALIDATOR names no interpreter with stac-api-validator"
)
def test_stac_api_validator_finds_no_error(tmp_path):
    from tests.unit.test_serve_stac_api import item

    federation.write(tmp_path / "scenes.parquet", [item(n, tmp_path) for n in range(120)])
    settings = Settings(
        catalogues=(CatalogueSettings(name="mine", path=tmp_path / "scenes.parquet"),),
        grants=(Grant(users=("anyone",)),),
        state=tmp_path / "state",
        doors=("stac",),
        limits=Limits(requests_per_second=1000, burst=100_000),
    )  # fmt: skip
    names = ("core", "collections", "features", "item-search", "filter", "item-search#sort", "item-search#fields")
    ring = [[5.0, 52.0], [5.5, 52.0], [5.5, 53.0], [5.0, 53.0], [5.0, 52.0]]
    with serving(settings) as (address, _):
        done = subprocess.run(
            [
                str(VALIDATOR), OFFLINE, "--root-url", f"{address}/stac", "--collection", "mine",
                *[word for name in names for word in ("--conformance", name)],
                "--geometry", str({"type": "Polygon", "coordinates": [ring]}).replace("'", '"'),
                "--fields-nested-property", "properties.eo:cloud_cover",
            ],
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    told = done.stdout + done.stderr
    assert "Errors: none" in told, told
