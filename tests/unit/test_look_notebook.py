"""What notebooks show without a browser: pages of calendar and chart, and the life of the viewer's server."""

from __future__ import annotations

import http.cookiejar
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from hpckit.api import open_campaign
from hpckit.errors import HpckitError, ServeError, ZoneError
from hpckit.look.notebook import page
from hpckit.look.notebook.chart import _step
from hpckit.serve.settings import settings_for
from tests.unit.look_samples import make_campaign
from tests.waiting import until

DAYS = ["2024-04-01", "2024-04-11", "2024-04-21"]


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return open_campaign(make_campaign(tmp_path_factory.mktemp("noted")))


def parsed(html: str) -> Any:
    return etree.fromstring(html, etree.HTMLParser())


def test_calendar(view: Any) -> None:
    zone = view.zones().ids[0]
    made = view.calendar(zone, "ndvi")
    assert made.days == DAYS
    assert made.png.startswith(b"\x89PNG")
    tree = parsed(made._repr_html_())
    assert [chip.get("data-day") for chip in tree.iterfind(".//figure")] == DAYS
    assert [text.strip() for text in tree.xpath("//span[@class='week']/text()")] == [
        "Week of 1 Apr",
        "Week of 8 Apr",
        "Week of 15 Apr",
    ]
    assert len(tree.xpath("//figure//path")) == 2 * len(DAYS)
    places = [
        re.search(r"background-position:(\S+)px (\S+)px", chip.get("style")) for chip in tree.xpath("//figure/div")
    ]
    assert len({place.groups() for place in places if place}) == len(DAYS), "each chip is another part of the sheet"


def test_calendar_of_what_is_not_there(view: Any) -> None:
    zone = view.zones().ids[0]
    with pytest.raises(ZoneError, match="nobody"):
        view.calendar("nobody")
    with pytest.raises(HpckitError, match="no layer 'B99'") as caught:
        view.calendar(zone, "B99")
    assert "NDVI" in str(caught.value.hint)


def test_chart(view: Any) -> None:
    made = view.chart(view.zones().ids[0])
    assert made.days == DAYS
    tree = parsed(made.html)
    assert sorted(mark.get("data-day") for mark in tree.xpath("//g")) == DAYS
    assert len(tree.xpath("//circle")) == 2, "a clear and a cloudy observation; the third is a stroke"
    etree.fromstring(re.search(r"<svg.*</svg>", made.html).group())


@pytest.mark.parametrize(("span", "step"), [(1.0, 0.2), (0.9, 0.2), (12.0, 2.0), (0.02, 0.005), (25, 5)])
def test_steps_of_the_grid(span: float, step: float) -> None:
    assert _step(span) == pytest.approx(step)


def test_names_are_escaped(view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "<img src=x onerror=alert(1)>"
    monkeypatch.setattr(type(view), "labels", lambda self, zones, reduction=None: [hostile])
    zone = view.zones().ids[0]
    for made in (view.calendar(zone, "NDVI"), view.chart(zone)):
        assert hostile not in made.html
        assert not parsed(made.html).xpath("//img")


def test_widget(view: Any) -> None:
    pytest.importorskip("anywidget")
    made = view.chart(view.zones().ids[0])
    widget, seen = made.widget(), []
    widget.observe(lambda change: seen.append(change["new"]), "day")
    assert (widget.html, widget.day) == (made.html, "")
    widget.day = DAYS[1]
    assert seen == [DAYS[1]]


def test_widget_without_anywidget(view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "anywidget", None)
    page._widget_class.cache_clear()
    with pytest.raises(HpckitError, match="anywidget") as caught:
        view.chart(view.zones().ids[0]).widget()
    assert "[notebook]" in str(caught.value.hint)


def visit(address: str, jar: http.cookiejar.CookieJar) -> int:
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
    try:
        with opener.open(address, timeout=30) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_one_server_for_each_campaign(view: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    viewer = view.explore()
    try:
        first, second = viewer.address, view.explore().address
        assert first.partition("enter")[0] == second.partition("enter")[0]
        jar, other = http.cookiejar.CookieJar(), http.cookiejar.CookieJar()
        assert [visit(first, jar), visit(second, other)] == [200, 200]
        assert visit(first, jar) == 200, "the frame is loaded again"
        assert visit(first, http.cookiejar.CookieJar()) == 401, "by somebody else"
    finally:
        viewer.stop()
    with pytest.raises(HpckitError, match="has ended"):
        _ = viewer.address
    again = view.explore()
    assert again.address.partition("enter")[0] != first.partition("enter")[0]
    again.stop()


@pytest.mark.slow
def test_the_server_ends_with_a_killed_kernel(view: Any, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, hpckit\n"
        "viewer = hpckit.open_campaign(sys.argv[1]).explore()\n"
        "print(viewer._server._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(view.campaign.path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
    )
    status = Path(f"/proc/{int(done.stdout)}/status")
    until(lambda: not status.exists() or "State:\tZ" in status.read_text(), 20, "for the server")


@pytest.mark.slow
def test_the_reason_is_said(view: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "uvicorn.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}")
    with pytest.raises(HpckitError, match="packages that are not installed"):
        view.explore(proxy="/somewhere/else/")


@pytest.mark.parametrize("origin", ["https://a.example.org", "http://localhost:*", "https://*.example.org:8443"])
def test_pages_with_frames(origin: str, tmp_path: Path) -> None:
    assert settings_for([tmp_path]).changed(frames=(origin,)).frames == (origin,)


@pytest.mark.parametrize(
    "origin", ["*", "https://a.example.org; script-src *", "https://a.org/path", "a.example.org"]
)
def test_pages_that_are_none(origin: str, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="frames"):
        settings_for([tmp_path]).changed(frames=(origin,))
