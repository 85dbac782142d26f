"""The openEO Web Editor in Chromium: login, collections, a graph from a file, a job, its log, its result on a map."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests import graph_examples
from tests.integration.openeo_samples import door_settings, openeo_door
from tests.integration.serving import browser_page, picture
from tests.servers.oidc import providing
from tests.servers.openeo_editor import require_editor, web_editor

pytestmark = [pytest.mark.integration, pytest.mark.openeo, pytest.mark.slow]

EGI = "urn:mace:egi.eu:group:eo.example.org:role=member#aai.egi.eu"
BANDS = ["B08", "B04", "B11"]


@pytest.fixture(autouse=True)
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of this machine of the test's own."""
    require_editor()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))


@contextmanager
def editor(folder: Path, ingested: Path, account: str = "anna") -> Iterator[Any]:
    """A page with the editor, in which somebody is logged in to the door."""
    provided = folder / "provider"
    provided.mkdir(parents=True)
    accounts = {"anna": [EGI]}
    with web_editor() as origin, providing(provided, accounts) as provider:
        provider.clients.append(provider.for_openeo("openeo-clients", origin))
        provider.stop()
        provider.start()
        (folder / "secret").write_text("a secret/with+signs & more")
        (folder / "secret").chmod(0o600)
        oidc = {
            "name": "egi",
            "title": "EGI Check-in",
            "issuer": provider.issuer,
            "client_id": "hpckit-secret",
            "client_secret_file": folder / "secret",
            "audiences": ["openeo-clients"],
            "join": "join the VO eo.example.org at https://aai.example.org",
        }
        settings = door_settings(
            folder,
            {"S2": ingested},
            oidc=[oidc],
            grants=[{"users": ["anyone"], "actions": ["info"]}, {"entitlements": [EGI]}],
            openeo={"clients": [{"provider": "egi", "id": "openeo-clients", "redirect_urls": [origin]}]},
        )
        with openeo_door(settings) as url, browser_page(1680, 1000) as page:
            # Maps of the background are elsewhere.
            here = re.compile(r"^(http://(127\.0\.0\.1|localhost):|blob:|data:)")
            page.context.route(lambda asked: not here.match(asked), lambda route: route.abort())
            page.goto(f"{origin}/?server={quote(url.removesuffix('/1.2'))}")
            try:
                _log_in(page, account)
                yield page
            except Exception:
                for number, each in enumerate(page.context.pages):
                    picture(each, f"editor-failed-{number}")
                raise


def _log_in(page: Any, account: str) -> None:
    """The window of the provider opens, asks who this is, and closes."""
    page.wait_for_selector("text=Log in with EGI Check-in")
    picture(page, f"editor-login-{account}")
    with page.expect_popup() as opened:
        page.click("text=Log in with EGI Check-in")
    window = opened.value
    window.wait_for_url("**/interaction/**")
    window.fill("input[name=account]", account)
    with window.expect_event("close"):
        window.click("button")


def faults(page: Any) -> list[str]:
    """What went wrong in the page, without requests to elsewhere that it makes for itself."""
    return [
        text
        for text in page.faults
        if not text.startswith("elsewhere: ") and "ERR_FAILED" not in text and "favicon" not in text
    ]


def graph() -> dict[str, Any]:
    """The median over time of three bands, as a picture has them."""
    return graph_examples.ending(
        {
            "load": graph_examples.load("S2", bands=BANDS),
            "median": graph_examples.node(
                "reduce_dimension",
                data=graph_examples.of("load"),
                dimension="t",
                reducer=graph_examples.calling("median"),
            ),
        },
        "median",
    )


@pytest.mark.timeout(900)
def test_from_login_to_the_map(ingested: Path, tmp_path: Path):
    with editor(tmp_path, ingested) as page:
        page.wait_for_selector("#JobPanel", timeout=30_000)
        _discover(page)
        _import(page, tmp_path)
        _create_and_start(page)
        page.wait_for_selector("#JobPanel td:has-text('finished')", timeout=180_000)
        page.click("#JobPanel td button:has(.fa-bug)")
        page.wait_for_selector("text=submitted to localhost")
        picture(page, "editor-logs")
        page.click("#JobPanel td button:has(.fa-eye)")
        page.wait_for_selector(".map-viewer canvas", state="attached")
        _compare(page, ingested)
        page.click("#JobPanel td button:has(.fa-info)")
        page.wait_for_selector(".modal-container >> text=Assets")
        page.wait_for_timeout(1500)
        picture(page, "editor-job")
        assert faults(page) == []


def _discover(page: Any) -> None:
    """Collections and processes are listed, and one of them is shown."""
    for heading in ("Collections", "Processes", "Export File Formats"):
        page.click(f"#discovery h2:has-text('{heading}')")
    page.wait_for_selector("#discovery >> text=load_collection")
    picture(page, "editor-begin")
    page.click("#discovery strong[title=S2]")
    page.wait_for_selector(".modal-container >> text=Spatial Extent")
    page.wait_for_timeout(1000)
    picture(page, "editor-collection")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal-container", state="detached")
    page.click("#discovery strong[title=load_collection]")
    page.wait_for_selector(".modal-container >> text=spatial_extent")
    picture(page, "editor-process")
    page.keyboard.press("Escape")
    page.wait_for_selector(".modal-container", state="detached")


def _import(page: Any, folder: Path) -> None:
    (folder / "graph.json").write_text(json.dumps({"process_graph": graph()}))
    page.click("#editor button:has-text('Import')")
    page.set_input_files(".modal-container input[type=file]", folder / "graph.json")
    page.click(".modal-container button:has-text('Upload')")
    page.click(".modal-container button[type=submit]")
    page.wait_for_selector(".modal-container", state="detached")
    page.wait_for_timeout(500)
    page.click("#editor button:has-text('Validate')")
    page.wait_for_selector("text=The process is valid")
    picture(page, "editor-graph")


def _create_and_start(page: Any) -> None:
    page.click("#JobPanel button:has-text('Create Batch Job')")
    page.wait_for_selector(".modal-container")
    page.locator(".modal-container input[type=text]").first.fill("Median of May")
    page.click(".modal-container >> text=Advanced Parameters")
    picture(page, "editor-create")
    page.click(".modal-container button[type=submit]")
    page.click("button:has-text('Start processing')")


MAP = """(() => {
  let element = document.querySelector(".map-viewer");
  while (!element.__vue__) element = element.parentElement;
  let component = element.__vue__;
  while (!component.map) component = component.$parent;
  return component.map;
})()"""


def _compare(page: Any, ingested: Path) -> None:
    """Colours on the map are those of the pixels, stretched from the least to the greatest value of a band."""
    data = graph_examples.cubes(ingested)[BANDS].median("time")
    values = data.to_array().values
    least, greatest = np.nanmin(values, (1, 2)), np.nanmax(values, (1, 2))
    page.wait_for_timeout(3000)
    picture(page, "editor-map")
    assert page.evaluate(f"{MAP}.getView().getProjection().getCode()") == "EPSG:32631"
    for row, column in ((300, 200), (900, 1000)):
        x, y = float(data.x[column]), float(data.y[row])
        page.evaluate(f"{MAP}.getView().setCenter([{x}, {y}]); {MAP}.getView().setResolution(0.5)")
        page.wait_for_timeout(3000)
        picture(page, f"editor-map-{row}")
        shown = np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
        box = page.locator(".map-viewer").bounding_box()
        for down, right in np.ndindex(5, 5):
            at = row + down - 2, column + right - 2
            place = f"{MAP}.getPixelFromCoordinate([{float(data.x[at[1]])}, {float(data.y[at[0]])}])"
            across, along = page.evaluate(place)
            colour = shown[round(box["y"] + along), round(box["x"] + across)]
            expected = (values[:, at[0], at[1]] - least) / (greatest - least) * 255
            np.testing.assert_allclose(colour, expected, atol=6, err_msg=f"pixel {at}")
