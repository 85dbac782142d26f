"""Campaigns whose images are fetched first: then no server is needed, and results do not tell the difference."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from hpckit import api
from hpckit.campaign.campaign import load_campaign
from hpckit.cli import cli
from hpckit.errors import CampaignError, RunError
from hpckit.inputs import fetched
from hpckit.production.fetchable import read_notes
from tests.integration.test_remote_items import _quick, expected, made, moved, run  # noqa: F401
from tests.servers.files import FileServer, serve
from tests.small_campaign import same

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch) -> None:
    monkeypatch.setattr(fetched, "_folders", {})


def command(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(cli, ["fetch", *map(str, arguments)])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.stdout


def shards(campaign: Path) -> dict[str, int]:
    """When each file of the cube was written."""
    cube = load_campaign(campaign / "campaign.yaml").cube_path
    return {str(path): path.stat().st_mtime_ns for path in cube.rglob("*") if path.is_file()}


def test_a_campaign_without_a_network(made, expected, tmp_path):  # noqa: F811
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, served = moved(made, tmp_path, server.url)
        campaign = folder / "campaign.yaml"
        with pytest.raises(RunError, match="nothing was planned"):
            api.verify_fetched(campaign)
        assert command(campaign, "--list", "tsv").count("\n") == 5, "two bands of two dates"
        assert len(api.verify_fetched(campaign).failed) == 4
        told = api.plan(campaign).estimate
        assert any("4 files of" in item.text and "0 of them fetched" in item.text for item in api.check(campaign))
        report = json.loads(command(campaign, "--json"))
        assert (told.remote_files, told.remote_bytes) == (report["files"], report["nbytes"])
        assert api.plan(campaign).estimate.remote_files == 0
        assert report["files"] == 4 and not report["failed"]
        assert report["nbytes"] == sum(path.stat().st_size for path in served.rglob("*.tif"))
        sent = len(server.requests)
        assert json.loads(command(campaign, "--json"))["there"] == 4 and len(server.requests) == sent
        assert command(campaign, "--list", "curl") == ""

    copies = sorted((folder / "fetched").glob("*/*.tif"))
    assert len(copies) == 4 and api.verify_fetched(campaign).right == 4
    whole = copies[0].read_bytes()
    copies[0].write_bytes(whole[:-1] + b"x")
    wrong = api.verify_fetched(campaign)
    assert wrong.exit_code == 1 and wrong.right == 3 and "another digest" in wrong.failed[0].reason
    copies[0].write_bytes(whole[:-5])
    run(folder, code=1)  # a copy that is cut is not used, and the server is gone
    reasons = str(api.status(campaign).status.failures)
    assert "no connection" in reasons and str(copies[0]) in reasons and "bytes instead of" in reasons
    copies[0].write_bytes(whole)
    assert command(campaign, "--verify") == "" and len(read_notes(folder / "fetched")) == 4
    same(run(folder), expected)

    (folder / "fetched" / "mine.txt").write_text("mine")
    before = shards(folder)
    assert json.loads(command(campaign, "--remove", "--dry-run", "--json"))["files"] == 4
    assert sorted((folder / "fetched").glob("*/*.tif")) == copies
    assert json.loads(command(campaign, "--remove", "--json"))["files"] == 4
    assert [path.name for path in (folder / "fetched").iterdir() if path.name != "fetched.jsonl"] == ["mine.txt"]
    shutil.rmtree(folder / "fetched")
    same(run(folder), expected)
    assert shards(folder) == before, "nothing was computed again"
    assert json.loads(command(campaign, "--json"))["files"] == 0, "what is in the cube is not needed"


def test_other_folders(made, tmp_path):  # noqa: F811
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, _ = moved(made, tmp_path, server.url)
        campaign = folder / "campaign.yaml"
        with pytest.raises(CampaignError, match=r"scenes\.fetched: .* scenes\.paths"):
            api.fetch(campaign, to=folder / "scenes" / "copies")
        api.fetch(campaign, to=tmp_path / "elsewhere")
        assert len(list((tmp_path / "elsewhere").glob("*/*.tif"))) == 4
        text = campaign.read_text().replace("hosts:", f"fetched: {tmp_path / 'elsewhere'}, hosts:")
        campaign.write_text(text.replace("paths: [scenes]", "paths: [.]"))
        assert api.fetch(campaign).there == 4
        (folder / "fetched").mkdir()
        for copy in (tmp_path / "elsewhere").glob("*/*.tif"):
            (folder / "fetched" / copy.parent.name).mkdir(exist_ok=True)
            os.link(copy, folder / "fetched" / copy.parent.name / copy.name)
        assert not [item for item in api.check(campaign) if item.what == "scenes" and item.verdict != "ok"], (
            "copies below a folder that is searched are no products"
        )
