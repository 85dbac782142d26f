"""Live progress in a real kernel: one output that is updated in place; plain lines for what shows no HTML."""

from __future__ import annotations

import os
import re
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from hpckit.campaign.campaign import load_campaign
from hpckit.look.notebook import progress
from hpckit.look.notebook.progress import NotebookConsole, in_notebook
from hpckit.runs.run import claim, open_run

pytestmark = pytest.mark.slow

SETUP = """\
import time
from hpckit import api
from hpckit.api.shown import shown
from hpckit.base.console import Console
from hpckit.look.notebook import progress
progress._EVERY_S = 0
"""
WORK = """\
console = shown(api.QUIET)
with console.progress("ingest", total=4) as advance:
    for done in range(1, 5):
        advance(done, 4)
    console.warn("unit <a> failed")
"""
FAULT = """\
try:
    with shown(api.QUIET).progress("zones") as advance:
        advance(1, 4)
        raise ValueError
except ValueError:
    pass
"""
REFUSED = """\
import hpckit
hpckit.run("none.yaml")
"""
CAMPAIGN = """\
name: c
aoi: [4, 50, 7, 52]
period: 2024-01-01/2024-12-31
scenes: {paths: [.]}
cube: {bands: [B04, SCL]}
"""
RUN = "hpckit.run('campaign.yaml')"


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> list[list[dict[str, Any]]]:
    """Messages that a real kernel sends for each cell."""
    manager = pytest.importorskip("jupyter_client.manager", reason="needs a kernel")
    pytest.importorskip("ipykernel", reason="needs a kernel")
    folder = tmp_path_factory.mktemp("kernel")
    started, client = manager.start_new_kernel(cwd=str(folder), kernel_name="python3")
    try:
        made = []
        (folder / "campaign.yaml").write_text(CAMPAIGN)
        run = open_run(load_campaign(folder / "campaign.yaml"))
        for code in (SETUP, WORK, FAULT, "shown(Console(quiet=True)).say('nothing')", REFUSED, RUN, f"{RUN} # again"):
            said: list[dict[str, Any]] = []
            with claim(run) if code == RUN else nullcontext():
                client.execute_interactive(code, timeout=60, output_hook=said.append, allow_stdin=False)
            made.append(said)
        return made
    finally:
        client.stop_channels()
        started.shutdown_kernel(now=True)


def kinds(said: list[dict[str, Any]]) -> list[str]:
    return [message["msg_type"] for message in said if message["msg_type"] not in ("status", "execute_input")]


def last(said: list[dict[str, Any]]) -> dict[str, str]:
    data: dict[str, str] = [message for message in said if "data" in message["content"]][-1]["content"]["data"]
    return data


def test_one_output_is_updated_in_place(cells: list[list[dict[str, Any]]]) -> None:
    assert kinds(cells[1]) == ["display_data", *["update_display_data"] * 6]
    shown = {message["content"]["transient"]["display_id"] for message in cells[1] if "data" in message["content"]}
    assert len(shown) == 1
    shares = []
    for message in cells[1]:
        if "data" in message["content"]:
            tree = etree.fromstring(message["content"]["data"]["text/html"], etree.HTMLParser())
            shares += [float(bar.get("value")) for bar in tree.iterfind(".//progress")]
    assert shares == [0, 0.25, 0.5, 0.75, 1, 1, 1]


def test_what_shows_no_html_has_plain_lines(cells: list[list[dict[str, Any]]]) -> None:
    first, second = last(cells[1])["text/plain"].splitlines()
    assert first.startswith("ingest: 100 %, done after")
    assert second == "warning: unit <a> failed"
    assert "unit &lt;a&gt; failed" in last(cells[1])["text/html"]


def test_what_stopped_is_not_shown_as_done(cells: list[list[dict[str, Any]]]) -> None:
    assert last(cells[2])["text/plain"].startswith("zones: 25 %, stopped after")


def test_a_quiet_console_is_quiet_in_a_kernel_too(cells: list[list[dict[str, Any]]]) -> None:
    assert kinds(cells[3]) == []


def test_an_error_ends_in_its_sentence(cells: list[list[dict[str, Any]]]) -> None:
    (error,) = [message["content"] for message in cells[4] if message["msg_type"] == "error"]
    assert error["ename"] == "CampaignError" and "none.yaml" in error["evalue"]


def test_a_notebook_is_told_which_other_process_runs_the_campaign(cells: list[list[dict[str, Any]]]) -> None:
    busy, again = (next(each["content"] for each in said if each["msg_type"] == "error") for said in cells[5:7])
    assert busy["ename"] == "BusyError"
    assert re.fullmatch(rf"another hpckit works on .*c\.run \(process {os.getpid()} of .*\)", busy["evalue"])
    assert again["ename"] != "BusyError", "the other one has ended"


def test_outside_of_a_kernel_nothing_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from hpckit import api
    from hpckit.api.shown import shown

    assert not in_notebook() and shown(api.QUIET) is api.QUIET
    with pytest.raises(Exception, match=r"none\.yaml"):
        api.run(tmp_path / "none.yaml")
    assert capsys.readouterr() == ("", "")


def test_many_messages_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    console = NotebookConsole()
    monkeypatch.setattr(console, "_draw", lambda **_: None)
    for number in range(50):
        console.say(f"message {number}")
    assert console._text().splitlines()[0] == "30 messages before"
    assert len(console._text().splitlines()) == progress._MESSAGES + 1
    assert "IPython" not in sys.modules or progress.in_notebook() is False
