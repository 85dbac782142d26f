"""`hpckit update`, as cron calls it: what is new is done, and nothing else; on this machine and by jobs."""

from __future__ import annotations

import json
import shutil
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from hpckit import api
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.cli import main
from hpckit.jobs.notify import notify
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from hpckit.runs.run import claim, open_run
from hpckit.submissions.submission import latest
from tests.small_campaign import copy, results, same

pytestmark = [pytest.mark.integration]


@pytest.fixture
def campaign(made: Path, tmp_path: Path, monkeypatch) -> Campaign:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return load_campaign(copy(made, tmp_path / "campaign"))


def products_of(campaign: Campaign) -> list[Path]:
    return sorted((campaign.folder / "scenes").iterdir())


def name(product: Path) -> str:
    return product.name.removesuffix(".SAFE")


def lines(campaign: Campaign) -> list[dict]:
    return [json.loads(line) for line in (campaign.run_dir / "updates.jsonl").read_text().splitlines()]


def test_late_products_are_added_and_nothing_new_changes_nothing(campaign, expected, tmp_path):
    late = products_of(campaign)[1]
    shutil.move(late, tmp_path / late.name)
    first = api.update(campaign.path, workers=2)
    assert first.state == "done" and set(first.new) == {name(path) for path in products_of(campaign)}
    assert first.rows > 0 and first.done["ingest"] and not first.gone

    files = {path: path.stat().st_mtime_ns for path in campaign.folder.rglob("*") if path.suffix in (".gpkg", ".h5")}
    for _ in range(2):
        again = api.update(campaign.path, workers=2)
        assert (again.state, again.new, again.done, again.rows, again.exit_code) == ("current", (), {}, 0, 0)
    assert {path: path.stat().st_mtime_ns for path in files} == files
    assert len(lines(campaign)) == 1, "an update without news is no line"

    shutil.move(tmp_path / late.name, late)
    added = api.update(campaign.path, workers=2)
    assert (added.state, added.new, added.gone) == ("done", (name(late),), {})
    same(results(campaign), expected)
    assert [line["state"] for line in lines(campaign)] == ["done", "done"]


def test_a_list_that_leaves_a_product_out_removes_its_results(campaign):
    run_campaign(campaign, api.QUIET, workers=2)
    victim = products_of(campaign)[-1]
    text = campaign.path.read_text()
    campaign.path.write_text(text.replace("2024-12-31", "2024-05-10"))
    found = api.update(campaign.path, workers=2)
    assert found.state == "done" and not found.new and found.removed > 0
    assert "outside of the period" in found.gone[name(victim)]
    assert results(load_campaign(campaign.path)).time.max().strftime("%Y-%m-%d") <= "2024-05-10"


def test_a_product_that_fails_is_told_once_and_tried_again(campaign, tmp_path):
    jp2 = next(products_of(campaign)[2].rglob("*B11*.jp2"))
    content = jp2.read_bytes()
    jp2.write_bytes(content[: len(content) // 2])
    told = tmp_path / "told"
    command = f"cat >> '{told}'; echo >> '{told}'"
    for _ in range(2):
        found = api.update(campaign.path, workers=2, notify=[command])
        assert (found.state, found.exit_code) == ("failed", 1)
        assert any(unit.startswith("ingest/") for unit in found.failed)
    (message,) = told.read_text().splitlines()
    assert json.loads(message)["failed"] and json.loads(message)["campaign"] == "test"
    jp2.write_bytes(content)
    assert api.update(campaign.path, workers=2, notify=[command]).state == "done"
    assert [json.loads(line)["state"] for line in told.read_text().splitlines()] == ["failed", "done"]


def test_two_at_once_and_the_command_line(campaign, capsys):
    def call(*more: str) -> int:
        with pytest.raises(SystemExit) as caught:
            main(["update", str(campaign.path), "--workers", "2", *more])
        return caught.value.code

    with claim(open_run(campaign)):
        assert api.update(campaign.path).state == "working"
        assert call("-q") == 0
        assert capsys.readouterr().err == "", "cron would send a mail"
    assert call() == 0
    assert "4 new products: S2A_" in capsys.readouterr().err
    assert call("-q", "--json") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["state"] == "current" and err == ""
    assert call("--here", "--site", "x") == 2


COMPOSITES = """\
  - {name: dekads, kind: composite, bands: [B04], methods: [median, count], period: dekad, outputs: {cog: true}}
"""


def test_composites_without_an_end_grow_into_those_of_whole_dekads(campaign, tmp_path):
    """Products arrive after one another: the end is the same as at once, and dekads before stay untouched."""
    text = campaign.path.read_text().replace("2024-04-01", "2024-05-01") + COMPOSITES
    campaign.path.write_text(text.replace("2024-12-31", ".."))
    *_, late = products_of(campaign)  # of 16 May
    shutil.move(late, tmp_path / late.name)
    assert api.update(campaign.path, workers=2).done["export"] == 2
    first = {path: path.stat().st_mtime_ns for path in campaign.folder.rglob("dekads_*2024-05-D1*")}
    shutil.move(tmp_path / late.name, late)
    again = api.update(campaign.path, workers=2)
    assert (again.state, again.done["export"]) == ("done", 1)
    assert first and all(path.stat().st_mtime_ns == stamp for path, stamp in first.items())

    whole = copy(campaign.folder, tmp_path / "whole")
    whole.write_text(text.replace("2024-12-31", "2024-05-20"))
    assert run_campaign(load_campaign(whole), api.QUIET, workers=2).exit_code == 0
    ours, theirs = (api.composite(path, "dekads").load() for path in (campaign.path, whole))
    assert ours.time.size == 2 and ours.identical(theirs)
    files = [sorted(path.name for path in folder.parent.rglob("dekads_*")) for folder in (campaign.path, whole)]
    assert files[0] == files[1] and {"dekads_31UFU_2024-05-D1.json", "dekads_31UFU_2024-05-D2.json"} < set(files[0])


@pytest.mark.slow
def test_jobs_do_what_is_new_and_failures_wait_a_day(campaign, expected, tmp_path):
    site = tmp_path / "here.yaml"
    site.write_text(
        "name: here\nscheduler: local\nstages: {default: {ranks: 2}}\npoll: {first_s: 0.3, submit_pause_s: 0}\n"
    )

    def settled():
        limit = time.monotonic() + 120
        while (found := api.update(campaign.path)).state == "working":
            assert time.monotonic() < limit
            time.sleep(0.5)
        return found

    jp2 = next(products_of(campaign)[2].rglob("*B11*.jp2"))
    content = jp2.read_bytes()
    jp2.unlink()
    jp2.write_bytes(content[: len(content) // 2])
    first = api.update(campaign.path, site=str(site))
    assert (first.state, first.submission) == ("submitted", 1) and len(first.new) == 4
    failed = settled()
    assert (failed.state, failed.ended) == ("failed", 1) and failed.failed
    assert settled().state == "failed" and latest(campaign.run_dir).number == 1, "nothing changed: no jobs"

    jp2.write_bytes(content)
    (products_of(campaign)[2] / "manifest.safe").touch()  # as a product that is fetched again
    again = settled()
    assert (again.state, again.submission) == ("submitted", 2)
    end = settled()
    assert (end.state, end.ended) == ("done", 2)
    assert settled().state == "current"
    same(results(campaign), expected)
    tried = [entry for entry in read_journal(campaign.run_dir) if entry.unit in failed.failed]
    assert {entry.state for entry in tried} == {"failed", "done"}


class Webhook(BaseHTTPRequestHandler):
    """Keeps what it gets; answers with the status in the path."""

    got: list[dict] = []  # noqa: RUF012

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(int(self.path.strip("/").split("/")[0]))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Print nothing."""


def test_messages_go_to_webhooks_mail_and_commands(tmp_path, monkeypatch):
    Webhook.got.clear()
    server = HTTPServer(("127.0.0.1", 0), Webhook)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert notify(f"{url}/200/s3cret", "subject", "text", {"new": ["a"]}) is None
        assert Webhook.got == [{"text": "subject\ntext", "new": ["a"]}]
        assert notify(f"{url}/403/s3cret", "s", "t", {}) == "no message to 127.0.0.1: HTTP status 403"
    finally:
        server.shutdown()
        server.server_close()
    gone = notify(f"{url}/200/s3cret", "s", "t", {})
    assert gone is not None and "refused" in gone and "s3cret" not in gone

    (tmp_path / "sendmail").write_text(f"#!/bin/sh\ncat > '{tmp_path}/mail'\n")
    (tmp_path / "sendmail").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert notify("mailto:a@example.org", "3 new", "line\nline", {}) is None
    assert "To: a@example.org\nSubject: 3 new\n" in (tmp_path / "mail").read_text()
    assert "no mail to" in str(notify("mailto:a@example.org\nBcc: all@example.org", "s", "t", {}))
    assert notify("echo wrong >&2; exit 3", "s", "t", {}) == "the command of --notify failed: wrong"
