"""Widgets and the viewer in a real JupyterLab in Chromium.

JupyterLab and jupyter-server-proxy are in an environment of their own, as on a hub; kernels and the extension of
anywidget are in that of hpckit. `tests/services.sh serve` installs the former.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.serving import browser_page, picture
from tests.unit.look_samples import make_campaign
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.serve]

LAB = Path(__file__).parents[2] / ".cache" / "lab" / "bin" / "jupyter-lab"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("noted"))


@contextmanager
def lab(folder: Path, cells: list[str], base: str = "/", **environment: str) -> Iterator[str]:
    """Address of a notebook with code cells in a JupyterLab of one's own."""
    if not LAB.exists():
        pytest.skip(f"no JupyterLab: {LAB} is absent")
    for package in ("anywidget", "ipykernel"):
        pytest.importorskip(package)
    home = folder / "home"
    home.mkdir(mode=0o700)
    made = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {}, "source": text, "outputs": [], "execution_count": None}
        for n, text in enumerate(cells)
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (folder / "look.ipynb").write_text(json.dumps(book))
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"display_name": "Python 3", "language": "python", "argv": argv}
    kernels = home / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    (kernels / "kernel.json").write_text(json.dumps(spec))
    command = [str(LAB), "--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1"]
    command += [f"--ServerApp.base_url={base}", "--IdentityProvider.token=", f"--ServerApp.root_dir={folder}"]
    command += ["--LabApp.news_url=", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    paths = os.pathsep.join([str(home / "jupyter"), str(Path(sys.prefix) / "share" / "jupyter")])
    given = {
        "HOME": str(home),
        "JUPYTER_PATH": paths,
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "XDG_STATE_HOME": str(home / "state"),
    }
    with (folder / "lab.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | given | environment, stdout=log, stderr=log)
    try:
        found: list[Path] = []

        def is_up() -> bool:
            assert process.poll() is None, (folder / "lab.log").read_text()
            found[:] = (home / "runtime").glob("jpserver-*.json")
            if not found or not found[0].read_text().endswith("}"):
                return False
            address = json.loads(found[0].read_text())["url"]
            try:
                return httpx.get(f"{address}api").status_code == 200
            except httpx.HTTPError:
                return False

        until(is_up, 120, "for JupyterLab")
        yield f"{json.loads(found[0].read_text())['url']}lab/tree/look.ipynb"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run_all(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.get_by_text("Python 3 | Idle").wait_for(timeout=120_000)  # earlier, JupyterLab asks for a kernel
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()


SETUP = "import hpckit\ncampaign = hpckit.open_campaign({path!r})\nzone = campaign.zones().ids[0]"


def test_a_click_reaches_python(campaign: Path, tmp_path: Path) -> None:
    cells = [
        SETUP.format(path=str(campaign)),
        "import traitlets\nchart = campaign.chart(zone).widget()\n"
        "calendar = campaign.calendar(zone, 'NDVI').widget()\n"
        "traitlets.link((chart, 'day'), (calendar, 'day'))\nchart",
        "calendar",
        "import pathlib\ndef note(change):\n    pathlib.Path('clicked.txt').write_text(change['new'])\n"
        "calendar.observe(note, 'day')",
        "campaign.calendar(zone)",
        "'all' + ' done'",
    ]
    clicked = tmp_path / "clicked.txt"
    with lab(tmp_path, cells) as address, browser_page(1300, 3000) as page:
        run_all(page, address)
        page.get_by_text("'all done'").wait_for(timeout=120_000)
        page.locator(".hpckit .chip[role=button]").nth(2).wait_for(timeout=20_000)
        charts, chips = page.locator(".hpckit .chart"), page.locator(".hpckit .chip[role=button]")
        days = chips.evaluate_all("all => all.map(chip => chip.dataset.day)")
        assert charts.count() == 1
        assert days == ["2024-04-01", "2024-04-11", "2024-04-21"]
        chips.nth(1).click()
        until(clicked.exists, 20, "for Python")
        assert clicked.read_text() == days[1]
        page.locator(f".hpckit .chart [data-day='{days[1]}'].chosen").wait_for(timeout=20_000, state="attached")
        page.locator(f".hpckit .chart [data-day='{days[2]}']").first.click()
        page.locator(f".hpckit .chip.chosen[data-day='{days[2]}']").wait_for(timeout=20_000)
        until(lambda: clicked.read_text() == days[2], 20, "for Python")
        chips.nth(0).focus()
        page.keyboard.press("Enter")
        until(lambda: clicked.read_text() == days[0], 20, "for Python")
        assert page.locator(".hpckit .chip:not([role])").count() == len(days), (
            "without a widget, nothing is clickable"
        )
        picture(page, "notebook-widgets")


@pytest.mark.parametrize("base", ["/", "/user/anna/"])
def test_the_viewer_in_a_frame(campaign: Path, tmp_path: Path, base: str) -> None:
    hub = {} if base == "/" else {"JUPYTERHUB_SERVICE_PREFIX": base}
    explore = "viewer = campaign.explore(height_px=600)\nviewer"
    last = "open('pid', 'w').write(str(viewer._server._process.pid))"
    cells = [SETUP.format(path=str(campaign)), explore, explore, last]
    with lab(tmp_path, cells, base, **hub) as address, browser_page(1300, 2200) as page:
        tiles: list[tuple[str, int]] = []
        page.on("response", lambda answer: tiles.append((answer.url, answer.status)))
        run_all(page, address)
        told = tmp_path / "pid"
        until(told.exists, 90, "for the last cell")
        pid = int(told.read_text())
        frames = page.frame_locator("iframe[title=hpckit]")
        for number in range(2):
            frames.nth(number).locator("#map canvas").wait_for(timeout=90_000)
        sources = page.locator("iframe[title=hpckit]").evaluate_all("all => all.map(frame => frame.src)")
        assert len({source.partition("enter")[0] for source in sources}) == 1, "one server for both"
        if base != "/":
            assert all(f"{base}proxy/absolute/" in source for source in sources)
        for kind in ("raster", "zones"):
            for _ in range(120):
                if any(f"/tiles/{kind}/" in url and status == 200 for url, status in tiles):
                    break
                page.wait_for_timeout(500)
            assert {status for url, status in tiles if f"/tiles/{kind}/" in url} <= {200, 204}
            assert any(f"/tiles/{kind}/" in url and status == 200 for url, status in tiles), "the map is drawn"
        page.wait_for_timeout(1500)
        picture(page, f"notebook-viewer{base.replace('/', '-').rstrip('-')}")
        assert is_running(pid)
    until(lambda: not is_running(pid), 60, "for the server to end with its kernel")


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()
