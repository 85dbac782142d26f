"""Campaigns that sites share, with queues of this machine as clusters: the results of one, whatever goes wrong."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest

from hpckit import api
from hpckit.base.console import Console
from hpckit.base.files import digest_file
from hpckit.base.version import __version__
from hpckit.campaign.campaign import load_campaign
from hpckit.errors import FederationError, MemberUnavailableError, SiteError
from hpckit.jobs.federation.ledger import load
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from tests.doc_commands import as_written
from tests.federation_samples import hpckit, make, write_program, write_site
from tests.integration.campaigns import made_once
from tests.servers.files import FileServer, serve
from tests.small_campaign import pixels_of, results, same, write_zones, zones
from tests.stac_samples import write_item
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, pd.DataFrame]:
    """The folder of the campaign, to copy, and its results at one place."""

    def run(folder: Path) -> None:
        make(folder, composite=True)
        campaign = load_campaign(folder / "campaign.yaml")
        assert run_campaign(campaign, Console(quiet=True), workers=2).exit_code == 0
        results(campaign).to_pickle(folder / "results.pickle")
        (folder / "files.json").write_text(json.dumps(files(folder)))
        for made in (campaign.run_dir, campaign.cube_path, folder / "composites"):
            shutil.rmtree(made)
        campaign.store_path.unlink()

    folder = made_once(tmp_path_factory, "federation", run)
    return folder, pd.read_pickle(folder / "results.pickle")


def files(home: Path) -> dict[str, str]:
    """Digests of all that a composite is made of, but for what names folders, by path."""
    folder = home / "composites"
    paths = [path for path in folder.rglob("*") if path.is_file() and ".manifest" not in path.parts]
    apart = ("mosaic", "collection.json")
    return {str(path.relative_to(folder)): digest_file(path) for path in paths if not set(apart) & set(path.parts)}


def same_files(home: Path, whole: tuple[Path, pd.DataFrame]) -> None:
    found, wanted = files(home), json.loads((whole[0] / "files.json").read_text())
    assert sum(name.endswith(".tif") for name in wanted) == 4 and found == wanted
    assert not (home / "cube").exists() and len(list((home / "composites" / "means" / "mosaic").iterdir())) >= 2


@pytest.fixture
def home(whole, tmp_path: Path) -> Path:
    """Home of a federation of `a`, which has the scenes of the west, and `b`, which has those of the east."""
    folder = tmp_path / "home"
    shutil.copytree(whole[0], folder)
    write_site(folder, "a", scenes=folder / "west", base=tmp_path / "at a")
    write_site(folder, "b", scenes=folder / "east", base=tmp_path / "at b")
    return folder


def here(words: list[str], **taken: str) -> list[str]:
    """Words of a command of the documentation after `hpckit`, with what these tests have in place of its names."""
    places = {"spider": "a", "cirrus": "b"} | taken
    assert words[0] == "hpckit"
    return [places.get(word, word) for word in words[1:]]


def over(home: Path) -> bool:
    shown = json.loads(hpckit(home, "federation", "show", "campaign.yaml", "--json").stdout)
    return all(item["told"].get("over") or item["grant"]["revoked"] for item in shown)


def share(home: Path) -> None:
    done = hpckit(home, *here(as_written("docs/how-to/federation.md", "hpckit submit campaign.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


def synced(home: Path) -> pd.DataFrame:
    done = hpckit(home, *here(as_written("docs/how-to/federation.md", "hpckit sync")))
    assert done.returncode == 0, done.stderr
    return results(load_campaign(home / "campaign.yaml"))


def test_two_sites_give_the_results_of_one_and_take_new_scenes(home, whole):
    late = [path for path in (home / "east").iterdir() if "_20240511T" in path.name]
    for path in late:
        path.rename(home / path.name)
    assert late
    share(home)
    ledger = load(home / "shared.run")
    assert {grant.member: grant.tiles for grant in ledger.grants} == {
        "a": ("31UFU", "31UGU"),
        "b": ("31UFT", "31UGT"),
    }
    busy = hpckit(home, "submit", "campaign.yaml")
    if busy.returncode != 0:  # else the sites were done by then, and nothing was left
        assert busy.returncode == 75 and "nothing was changed" in busy.stderr, busy.stderr
    watched = hpckit(home, *here(as_written("docs/how-to/federation.md", "hpckit watch")))
    assert watched.returncode == 0 and "a: submission 1 (over)" in watched.stdout, watched.stdout + watched.stderr
    first = files(home)
    units = [entry.unit for entry in read_journal(home / "shared.run")]
    of_unit = as_written("docs/how-to/federation.md", "hpckit logs campaign.yaml signatures/")
    for stage in ("ingest", "signatures/fields"):
        unit = next(unit for unit in units if unit.startswith(f"{stage}/31UGU"))
        shown = hpckit(home, *here(of_unit, **{of_unit[-1]: unit}))
        assert shown.returncode == 0 and "==> site a" in shown.stdout and "site b" not in shown.stdout, shown.stderr
    of_element = hpckit(
        home, *here(as_written("docs/how-to/federation.md", "hpckit logs campaign.yaml signatures:0"))
    )
    assert of_element.returncode == 0 and "site a" not in of_element.stdout, of_element.stderr

    for path in late:
        (home / path.name).rename(path)
    updated = hpckit(home, *here(as_written("docs/how-to/federation.md", "hpckit update")), "--json")
    assert updated.returncode == 0, updated.stderr
    told = json.loads(updated.stdout)
    assert told["state"] == "submitted" and {name.removesuffix(".SAFE") for name in told["new"]} == {
        path.name.removesuffix(".SAFE") for path in late
    }
    assert [grant.epoch for grant in load(home / "shared.run").grants] == [1, 2], "sites keep their tiles"
    until(lambda: over(home), 300, "for the end of both")
    same(synced(home), whole[1])
    same_files(home, whole)
    changed = {name for name, digest in files(home).items() if name in first and first[name] != digest}
    assert {name.split("/")[1] for name in changed if name.endswith(".tif")} == {"31UFT", "31UGT"}

    status = hpckit(home, *here(as_written("docs/how-to/federation.md", "hpckit status")))
    assert status.returncode == 0 and "over" in status.stdout, status.stdout + status.stderr
    done = [entry.unit for entry in read_journal(home / "shared.run") if entry.stage == "ingest"]
    assert len(done) == len(set(done)), "no date was ingested twice"
    report = hpckit(home, "report", "campaign.yaml")
    assert report.returncode == 0, report.stderr
    again = hpckit(home, "sync", "campaign.yaml")
    assert "0 spool files loaded" in again.stderr
    current = hpckit(home, "update", "campaign.yaml", "--json")
    assert json.loads(current.stdout)["state"] == "done", "jobs of the update before are over, and nothing is new"

    # Damage at home is found, and the file comes again from its site.
    shard = next(path for path in (home / "composites" / "means.zarr" / "31UFU").rglob("c/*/*/*") if path.is_file())
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    damaged = hpckit(home, "verify", "campaign.yaml")
    assert damaged.returncode == 1 and "1 faulty file; `hpckit update` brings" in damaged.stdout, damaged.stdout
    for _ in range(2):  # the first visit finds the copy of the site's file damaged, too
        hpckit(home, "status", "campaign.yaml")
    sound = hpckit(home, "verify", "campaign.yaml")
    assert sound.returncode == 0, sound.stdout + sound.stderr
    same_files(home, whole)

    # The other site has all scenes now, and takes tiles over of which everything is at home.
    write_site(home, "a", scenes=home / "all", base=home.parent / "at a")
    take_over = as_written("docs/how-to/federation.md", "hpckit federation take-over campaign.yaml spider")
    taken = hpckit(home, *here(take_over, spider="b"))
    assert taken.returncode == 0 and "site b: it is fenced" in taken.stderr, taken.stdout + taken.stderr
    standing = {grant.member: grant.tiles for grant in load(home / "shared.run").standing}
    assert set(standing) == {"a"}
    # Its cubes of these tiles would be made again: not here.
    assert hpckit(home, "cancel", "campaign.yaml").returncode == 0
    until(lambda: over(home), 300, "for the end of what was cancelled")
    same(synced(home), whole[1])


def test_each_site_fetches_what_it_lacks_and_the_home_waits_for_no_copy(tmp_path):
    """Images on a server: a part fetches into its own folder, or into one that may have the copies already."""
    home = tmp_path / "home"
    pixels = {key: pixels_of(0)[key] for key in ("B04@10m", "SCL@20m")}
    path = write_item(home / "scenes", pixels, "stactools")
    item = json.loads(path.read_text())
    with serve(FileServer(tmp_path / "served")) as server:
        shutil.copytree(path.parent, server.folder)
        for asset in item["assets"].values():
            file = path.parent / asset["href"]
            asset["href"] = f"{server.url}/{file.name}"
            file.unlink()
        path.write_text(json.dumps(item))
        write_zones(home / "zones.gpkg", zones(3))
        for name in ("a", "b"):
            write_site(home, name, scenes=home / "scenes", base=tmp_path / f"at {name}")
        for fetched, fresh in (("fetched", 2), (str(tmp_path / "copies"), 0)):
            (home / "campaign.yaml").write_text(ITEMS.format(fetched=fetched, name=f"items{fresh}"))
            if not fresh:
                assert hpckit(home, "fetch", "campaign.yaml").returncode == 0
            share(home)
            watched = hpckit(home, "watch", "campaign.yaml")
            assert watched.returncode == 0 and "(over)" in watched.stdout, watched.stdout + watched.stderr
            copies = [file for place in tmp_path.glob("at *") for file in place.rglob("fetched/*/*.tif")]
            assert len(copies) == 2, "of the first campaign alone"
            assert len(synced(home)) == 7
        assert len(list((tmp_path / "copies").rglob("*.tif"))) == 2


ITEMS = """\
name: {name}
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {{paths: [scenes], hosts: [127.0.0.1], fetched: "{fetched}", fetch: {{}}}}
cube: {{keep: false, bands: [red, SCL]}}
reductions:
  - {{name: fields, zones: zones.gpkg, id: name, bands: [red]}}
"""


def test_sites_that_cannot_share_are_refused_in_one_sentence(home, tmp_path):
    campaign = home / "campaign.yaml"
    east = home / "east"
    older = write_program(tmp_path / "older", {}, "import hpckit.base.version as v; v.__version__ = '0.0.9'")
    write_site(home, "older", scenes=east, base=tmp_path / "at older", command=older)
    write_site(home, "mute", scenes=east, base=tmp_path / "at mute", command="/bin/true")
    write_site(home, "bare", scenes=tmp_path / "at a", base=tmp_path / "at bare")
    write_site(home, "nowhere", scenes=tmp_path / "gone", base=tmp_path / "at nowhere")
    write_site(home, "alias", scenes=east, base=tmp_path / "at a")
    write_site(home, "away", scenes=east, base=tmp_path / "at away")
    (tmp_path / "at away").rmdir()
    (home / "closed.yaml").write_text("name: closed\nscheduler: local\n")
    for other, error, sentence in (
        ("zz", SiteError, "no site 'zz'"),
        ("a", FederationError, "site a is named twice"),
        ("closed", FederationError, "site closed says neither how to log in there, nor where its folder lies"),
        ("older", FederationError, f"site older has hpckit 0.0.9 and this machine {__version__}"),
        ("mute", FederationError, "site mute: what answers there is not hpckit"),
        ("bare", FederationError, "site bare: there is no product below"),
        ("nowhere", FederationError, "site nowhere: .*gone: no such folder"),
        ("alias", FederationError, "sites alias and a are the same folder of one machine"),
        ("away", MemberUnavailableError, "its folder .* is not there"),
    ):
        with pytest.raises(error, match=sentence):
            api.share(campaign, [other, "a"])
        assert not (home / "shared.run" / "federation" / "ledger.json").exists(), "nothing is shared"
    # Tiles that share a zone have scenes at both, and neither has all.
    (home / "rest").mkdir()
    moved = max(east.iterdir())
    moved.rename(home / "rest" / moved.name)
    write_site(home, "most", scenes=east, base=tmp_path / "at most")
    write_site(home, "rest", scenes=home / "rest", base=tmp_path / "at rest")
    sentence = "no site has all scenes of tiles 31UFT, 31UGT, which share zones; site most lacks 1 scene of 6"
    with pytest.raises(FederationError, match=sentence):
        api.share(campaign, ["most", "rest"])


def test_results_of_all_tiles_and_fixed_places_are_refused(home):
    path = home / "campaign.yaml"
    text = path.read_text()
    graph = {"load": {"process_id": "load_collection", "arguments": {"id": "shared", "spatial_extent": None,
             "temporal_extent": None, "bands": ["B04"]}, "result": True}}  # fmt: skip
    path.write_text(f"{text}  - {{name: g, kind: graph, graph: {json.dumps(graph)}}}\n")
    with pytest.raises(FederationError, match="sites share signatures and composites only, and 'g' is neither"):
        api.share(path, ["a", "b"])
    path.write_text(text.replace("period: month", "period: month, outputs: {path: ../elsewhere}"))
    with pytest.raises(FederationError, match=r"reductions\.means\.outputs\.path` leads to .*elsewhere"):
        api.share(path, ["a", "b"])


def cut_off(there: Path, aside: Path) -> None:
    """Take a site its folder away; a file is in its place, so that jobs make no new one."""
    there.rename(aside)
    while not there.is_file():
        shutil.rmtree(there, ignore_errors=True)
        with suppress(OSError):
            there.touch(exist_ok=False)


def came_back(aside: Path, there: Path) -> bool:
    """Give a site its folder again."""
    there.unlink(missing_ok=True)
    with suppress(OSError):
        aside.rename(there)
    return not aside.exists()


def test_another_clock_take_over_and_a_site_that_comes_back(home, whole, tmp_path, capsys):
    ahead = "import time; now = time.time; time.time = lambda: now() + 7200"
    program = write_program(tmp_path / "ahead", {}, ahead)
    write_site(home, "b", scenes=home / "all", base=tmp_path / "at b", command=program, cost=9)
    made = api.share(home / "campaign.yaml", ["a", "b"], console=Console())
    assert made.exit_code == 0
    assert re.search(r"site b: its clock is (2 h|1 h 5\d min).* ahead", capsys.readouterr().err)
    run = home / "shared.run"
    # The site is cut off before anything comes home.
    cut_off(tmp_path / "at a", tmp_path / "cut off")
    with pytest.raises(MemberUnavailableError, match="nothing was changed"):
        api.take_over(home / "campaign.yaml", "a")
    words = as_written("docs/how-to/federation.md", "hpckit federation take-over campaign.yaml spider --unreachable")
    taken = hpckit(home, *here(words))
    assert taken.returncode == 0 and taken.stdout.count("part 3") == 1, taken.stdout + taken.stderr
    with pytest.raises(FederationError, match="several sites share this campaign"):
        api.submit(home / "campaign.yaml", "a")
    until(lambda: came_back(tmp_path / "cut off", tmp_path / "at a"), 60, "for the site to come back")
    until(lambda: over(home), 480, "for the end of b")
    assert (next((tmp_path / "at a").glob("*/0001/shared.run")) / "fence.json").exists()
    same(synced(home), whole[1])
    same_files(home, whole)
    writers = {entry.writer.split("/")[0] for entry in read_journal(run)}
    assert writers == {"g0002", "g0003"}, "nothing of the part that was revoked"
    there = next((tmp_path / "at a").glob("*/0001"))
    for words in (("retry",), ("sync",), ("run",)):
        done = hpckit(there, *words, "campaign.yaml")
        assert done.returncode == 1 and "hpckit: " in done.stderr, words
