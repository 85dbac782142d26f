"""Campaigns whose images are fetched first: then no server is needed, and results do not tell the difference."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from click.testing import CliRunner

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cli import cli
from hpckit.errors import CampaignError, PlanError, RunError
from hpckit.inputs import fetched
from hpckit.production import portion
from hpckit.production.driver import run_campaign
from hpckit.production.fetchable import read_notes
from hpckit.runs.journal import read_journal
from tests.integration.test_remote_items import _quick, expected, made, moved, run  # noqa: F401
from tests.servers.files import FileServer, serve, status
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
    run(folder, code=75)  # a copy that is cut is not used, and the server is gone
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


def test_without_a_cube_results_say_what_is_needed(made, expected, tmp_path):  # noqa: F811
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, _ = moved(made, tmp_path, server.url)
        campaign = folder / "campaign.yaml"
        campaign.write_text(campaign.read_text().replace("cube: {", "cube: {keep: false, "))
        assert json.loads(command(campaign, "--json"))["files"] == 4
    first, *others = sorted((folder / "fetched").glob("*/red*.tif"))
    aside = first.rename(tmp_path / first.name)
    run(folder, code=75)
    assert json.loads(command(campaign, "--remove", "--json"))["files"] == 2, "those of the date that is done"
    assert not others[0].exists()
    aside.rename(first)
    assert len(list((folder / "fetched").glob("*/*.tif"))) == 2
    assert api.plan(campaign).estimate.remote_files == 0
    same(run(folder), expected)
    assert json.loads(command(campaign, "--remove", "--json"))["files"] == 2
    same(run(folder), expected)
    assert json.loads(command(campaign, "--json"))["files"] == 0, "what has results is not needed"


CUBE = """\
name: cube
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {paths: [scenes], hosts: [127.0.0.1]}
"""
"""The mask is no band of the cube, and is opened for it all the same."""
OTHERS = {
    "granule": "cube: {bands: [red], skip_cloudy: 0.9}",
    "grid": "grid: utm:5120@20\ncube: {bands: [red], skip_cloudy: 0.9, resampling: average}",
    "grid, no mask": "grid: utm:5120@10\ncube: {bands: [red]}",
}


def planes(folder: Path, settings: str) -> dict[str, np.ndarray]:
    """Every array of the cube of a campaign with other settings."""
    (folder / "campaign.yaml").write_text(CUBE + settings + "\n")
    campaign = load_campaign(folder / "campaign.yaml")
    assert run_campaign(campaign, Console(quiet=True), workers=1).exit_code == 0
    arrays = campaign.cube_path.glob("*/*/B04")
    return {
        str(path.relative_to(campaign.cube_path)): np.asarray(zarr.open_array(path, mode="r")[:]) for path in arrays
    }


@pytest.mark.parametrize("settings", OTHERS)
def test_what_is_fetched_is_what_is_opened(made, tmp_path, settings):  # noqa: F811
    """The copies suffice without a server, and masks are fetched only where they are looked at."""
    here = planes(shutil.copytree(made, tmp_path / "here"), OTHERS[settings])
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, _ = moved(made, tmp_path, server.url)
        (folder / "campaign.yaml").write_text(CUBE + OTHERS[settings] + "\n")
        found = api.fetch(folder / "campaign.yaml")
        assert found.exit_code == 0 and found.files == (2 if settings == "grid, no mask" else 4)
    copies = list((folder / "fetched").glob("*/*.tif"))
    assert len(copies) == found.files
    there = planes(folder, OTHERS[settings])
    assert here.keys() == there.keys() and any(array.any() for array in here.values())
    for name, array in here.items():
        np.testing.assert_array_equal(array, there[name])


def test_what_servers_do_not_have_is_named(made, tmp_path):  # noqa: F811
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, served = moved(made, tmp_path, server.url)
        sorted(served.glob("*/red.tif"))[0].rename(tmp_path / "kept.tif")
        report = json.loads(command(folder / "campaign.yaml", "--json", code=1))
        assert report["files"] == 3 and "20240501" in report["failed"][0]["reason"]
        assert "its server has no file of B04" in report["failed"][0]["reason"]
        (tmp_path / "kept.tif").rename(served / sorted(served.iterdir())[0].name / "red.tif")
        assert json.loads(command(folder / "campaign.yaml", "--json"))["files"] == 1
        server.every = status(503)
        shutil.rmtree(folder / "fetched")
        report = json.loads(command(folder / "campaign.yaml", "--json", code=75))
        assert len(report["failed"]) == 4 and all(item["temporary"] for item in report["failed"])


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


def test_copies_within_a_quota_come_and_go_by_portions(made, expected, tmp_path, monkeypatch):  # noqa: F811
    """Two dates of which one fits: each is fetched, ingested and removed; what hpckit did not fetch stays."""
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, served = moved(made, tmp_path, server.url)
        campaign = folder / "campaign.yaml"
        sizes = [sum(file.stat().st_size for file in date.iterdir()) for date in sorted(served.iterdir())]
        quota = max(sizes) + 10
        text = campaign.read_text().replace("hosts:", f"fetch: {{quota: {quota} B}}, hosts:")
        campaign.write_text(text.replace("cube: {", "cube: {dates_per_block: 1, "))
        copies = folder / "fetched"
        copies.mkdir()
        (copies / "mine.tif").write_bytes(bytes(quota))
        filled: list[int] = []
        real = portion.discard
        monkeypatch.setattr(portion, "discard", lambda *given: (real(*given), filled.append(held(copies)))[0])
        same(run(folder), expected)
        assert filled and max([*filled, held(copies)]) <= quota
        assert (copies / "mine.tif").stat().st_size == quota
        stages = [entry.stage for entry in read_journal(load_campaign(campaign).run_dir)]
        assert stages.count("fetch") == 2 and stages.index("ingest") < len(stages) - 1 - stages[::-1].index("fetch")
        assert server.nbytes < 1.2 * sum(sizes), "no byte came twice"
        sent = len(server.requests)
        same(run(folder), expected)
        again = server.requests[sent:]
        assert all(last - first <= 16384 for _, first, last in again), (
            "the scan reads headers; nothing is fetched again"
        )
        small = text.replace(f"{quota} B", f"{min(sizes) // 2} B").replace("name: items", "name: small")
        campaign.write_text(small.replace("cube: {", "cube: {path: small.zarr, "))
        with pytest.raises(PlanError, match=r"scenes\.fetch\.quota.*hold none"):
            run_campaign(load_campaign(campaign), Console(quiet=True), workers=1)


def test_the_command_keeps_to_the_quota(made, expected, tmp_path):  # noqa: F811
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, served = moved(made, tmp_path, server.url)
        campaign = folder / "campaign.yaml"
        sizes = [sum(file.stat().st_size for file in date.iterdir()) for date in sorted(served.iterdir())]
        text = campaign.read_text().replace("hosts:", f"fetch: {{quota: {max(sizes)}, connections: 1}}, hosts:")
        campaign.write_text(text.replace("cube: {", "cube: {keep: false, "))
        assert json.loads(command(campaign, "--json"))["files"] == 2
        assert json.loads(command(campaign, "--json"))["files"] == 0, "there is no more room"
        first = set(read_notes(folder / "fetched"))
        same(run(folder), expected)
        assert not first & set(read_notes(folder / "fetched")) and held(folder / "fetched") <= max(sizes)


def held(folder: Path) -> int:
    """Bytes of the copies that hpckit noted."""
    return sum((folder / name).stat().st_size for name in read_notes(folder) if (folder / name).exists())
