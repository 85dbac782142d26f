"""Scans of object stores: the scenes of the same products on this machine, by few requests."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.catalogue.catalogue import ScanReport
from hpckit.cli import cli
from hpckit.errors import CampaignError
from hpckit.inputs import remote, s3files, web
from hpckit.production.driver import run_campaign
from hpckit.sensors.integrity import listed_files
from hpckit.sensors.model import Scene
from hpckit.sensors.stored import Sought
from hpckit.space.mgrs import mgrs_tile
from tests import products
from tests.servers import files
from tests.servers.bucket import Bucket
from tests.servers.files import serve

pytestmark = pytest.mark.slow
TOP = "s3://eodata/Sentinel-2/MSI/L2A"
DAYS = [products.FIRST + timedelta(days=5 * number) for number in range(3)]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Three products as a folder of each day holds them, and one of another tile."""
    folder = tmp_path_factory.mktemp("made")
    pixels = products.arrays(1, 120)
    for number, tile in ((0, "31UFU"), (1, "31UFU"), (2, "31UFU"), (0, "31UGU")):
        place = mgrs_tile(tile)
        products.write(folder / f"{DAYS[number]:%Y/%m/%d}", number, pixels, tile=tile, ulx=place.xmin, uly=place.ymax)
    return folder


@pytest.fixture
def store(made, tmp_path, monkeypatch) -> Iterator[Bucket]:
    shutil.copytree(made, tmp_path / "store/eodata/Sentinel-2/MSI/L2A")
    for name in s3files._VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(remote, "_known", {})
    monkeypatch.setenv("HOME", str(tmp_path))
    with serve(Bucket(tmp_path / "store")) as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        s3files._store.cache_clear()
        yield running


def scan(folder: Path, sought: Sought | None = None, top: str = TOP) -> ScanReport:
    """Scan with what is known, and remember it as a campaign does."""
    report = catalogue.scan([top], previous=folder / "known.parquet", sought=sought)
    if report.scenes:
        catalogue.write(folder / "known.parquet", [*report.scenes, *report.kept])
    return report


def here(scene: Scene, made: Path) -> Scene:
    """A scene as if its files were on this machine, without what a store says of them."""
    assets = {
        key: replace(asset, uri=asset.uri.replace(TOP, str(made)), nbytes=None, digest="")
        for key, asset in scene.assets.items()
    }
    return replace(scene, href=scene.href.replace(TOP, str(made)), assets=assets)


def product(store: Bucket, number: int = 0, tile: str = "31UFU") -> Path:
    (found,) = (store.folder / "eodata/Sentinel-2/MSI/L2A").glob(f"{DAYS[number]:%Y/%m/%d}/*_T{tile}_*")
    return found


def test_scenes_are_those_of_the_same_products_here(store, made, tmp_path):
    found = scan(tmp_path)
    expected = {scene.id: scene for scene in catalogue.scan([made]).scenes}
    assert {scene.id: here(scene, made) for scene in found.scenes} == expected and len(expected) == 4
    for scene in found.scenes:
        for asset in scene.assets.values():
            local = Path(asset.uri.replace(TOP, str(made)))
            assert asset.nbytes == local.stat().st_size and asset.digest.startswith("sha3_256:")
    again = catalogue.read(tmp_path / "known.parquet")
    assert {scene.id: scene for scene in again} == {scene.id: scene for scene in found.scenes}


def test_of_a_product_here_and_there_the_one_here_is_used(store, made, tmp_path):
    found = [*scan(tmp_path).scenes, *catalogue.scan([made]).scenes]
    for scenes in (found, found[::-1]):
        used, dropped = catalogue.acquisitions(scenes)
        assert len(used) == len(dropped) == 4
        assert all(item.scenes[0].href.startswith(str(made)) for item in used)


def test_only_days_and_products_that_can_fit_are_asked_for(store, tmp_path):
    sought = Sought(DAYS[0].date(), DAYS[0].date(), {"31UFU"}, "L2A")
    (scene,) = scan(tmp_path, sought).scenes
    assert scene.tile == "31UFU" and scene.sensed.date() == DAYS[0].date()
    asked = [prefix.removeprefix("Sentinel-2/MSI/L2A/") for prefix in store.lists]
    assert [prefix for prefix in asked if ".SAFE" in prefix] == [f"2024/05/01/{product(store).name}/"]
    days = [prefix for prefix in asked if re.fullmatch(r"\d{4}/\d\d/\d\d/", prefix)]
    assert days == ["2024/05/01/"] and len(asked) == 5, "a list for each level, and one of the product"
    assert sorted(Path(path).name for path, *_ in store.requests) == ["MTD_MSIL2A.xml", "MTD_TL.xml", "manifest.safe"]


def test_known_products_cost_lists_only(store, tmp_path):
    first = scan(tmp_path)
    requests, lists = len(store.requests), len(store.lists)
    second = scan(tmp_path)
    assert second.scenes == first.scenes and second.reused == 4
    assert len(store.requests) == requests and len(store.lists) == 2 * lists
    manifest = product(store) / "manifest.safe"
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    third = scan(tmp_path)
    assert third.reused == 3 and len(store.requests) == requests + 3, "what changed is read again, and nothing else"


@pytest.mark.parametrize("page", [1, 3, 7])
def test_lists_come_in_pages(store, made, tmp_path, page):
    store.page = page
    assert {scene.id for scene in scan(tmp_path).scenes} == {scene.id for scene in catalogue.scan([made]).scenes}


FAULTS = {
    "denied": (files.status(403), "access denied"),
    "busy": (files.status(503), "HTTP status 503"),
    "hangs up": (files.hang_up, "the store does not answer"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_day_that_cannot_be_listed_is_not_an_empty_one(store, tmp_path, fault):
    first = scan(tmp_path)
    answer, words = FAULTS[fault]
    store.list_faults[f"Sentinel-2/MSI/L2A/{DAYS[1]:%Y/%m/%d}/"] = answer
    second = scan(tmp_path)
    assert len(second.scenes) == 3 and len(second.kept) == 1, "what was known there is kept"
    (failure,) = second.unread
    assert words in failure.reason and f"{TOP}/{DAYS[1]:%Y/%m/%d}" in failure.reason and "\n" not in failure.reason
    store.list_faults = {}
    assert {scene.id for scene in scan(tmp_path).scenes} == {scene.id for scene in first.scenes}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_command_writes_no_catalogue_of_what_it_could_not_see(store, tmp_path, fault):
    store.list_faults[f"Sentinel-2/MSI/L2A/{DAYS[1]:%Y/%m/%d}/"] = FAULTS[fault][0]
    output = tmp_path / "found.parquet"
    command = ["scenes", "scan", TOP, "-o", str(output)]
    assert run(*command) == 75 and not output.exists()
    assert run(*command, "--partial") == 0 and len(catalogue.read(output)) == 3
    store.list_faults = {}
    code = run(*command, "--period", "2024-05-06/2024-05-11", "--tile", "31UFU")
    assert code == 0 and {scene.sensed.date() for scene in catalogue.read(output)} == {day.date() for day in DAYS[1:]}


def run(*command: str) -> int:
    """Exit code of a command."""
    result = CliRunner().invoke(cli, list(command))
    return getattr(result.exception, "exit_code", result.exit_code)


def test_a_store_that_is_not_there(store, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3files, "TRIES", 1)
    s3files._store.cache_clear()
    (failure,) = scan(tmp_path).unread
    assert "the store does not answer" in failure.reason
    assert run("scenes", "scan", TOP, "-o", str(tmp_path / "x.parquet")) == 75


@pytest.mark.parametrize("name", ["MTD_MSIL2A.xml", "MTD_TL.xml", "manifest.safe"])
@pytest.mark.parametrize("how", ["gone", "replaced", "cut", "denied", "damaged"])
def test_metadata_that_change_or_cannot_be_read(store, tmp_path, name, how):
    first = scan(tmp_path)
    (victim,) = product(store).rglob(name)
    content = victim.read_bytes()
    if how == "damaged":
        victim.write_bytes(content[: len(content) // 2])
    else:
        victim.write_bytes(content + b"\n")  # a scan reads it again, and meanwhile:
        deed = {"gone": files.status(404), "cut": files.cut, "denied": files.status(403), "replaced": _other}[how]
        store.every = lambda handler, *rest: (deed if handler.path.endswith(name) else files.give)(handler, *rest)
    second = scan(tmp_path)
    if how == "damaged":
        assert len(second.scenes) == (4 if name == "manifest.safe" else 3) and not second.unread
        return
    (failure,) = second.unread
    assert name in failure.reason and len(second.scenes) == 3 and len(second.kept) == 1
    store.every = None
    assert {scene.id for scene in scan(tmp_path).scenes} == {scene.id for scene in first.scenes}


def _other(handler, content, start, stop) -> None:
    """The object as another one."""
    handler.tag = "another"
    files.give(handler, content, start, stop)


def test_a_product_that_goes_away_between_two_lists(store, tmp_path):
    scan(tmp_path)
    path = product(store)
    store.list_faults[f"Sentinel-2/MSI/L2A/2024/05/01/{path.name}/"] = _nothing
    report = scan(tmp_path)
    assert len(report.unread) == 1 and len(report.kept) == 1
    shutil.rmtree(path)
    report = scan(tmp_path)
    assert len(report.scenes) == 3 and not report.failures and not report.kept, "it is gone, and that is seen"


def _nothing(handler, *_) -> None:
    content = b"<ListBucketResult><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    handler.wfile.write(content)


def test_half_written_images_are_missing(store, tmp_path):
    (image,) = product(store).rglob("*_B04_10m.jp2")
    image.write_bytes(image.read_bytes()[:-100])
    report = scan(tmp_path)
    (scene,) = report.incomplete
    assert scene.missing == (image.name,) and "B04@10m" not in scene.assets and "B08@10m" in scene.assets
    shutil.copy(next(product(store, 0, "31UGU").rglob("*_B08_10m.jp2")), image)
    assert scan(tmp_path).reused == 3, "an incomplete product is looked at each time"


def test_tiles_in_the_layout_of_aws(store, shared_data, tmp_path):
    (tile,) = (path.parent for path in (shared_data / "s2-l1c-ga-eodatasets").rglob("tileInfo.json"))
    shutil.copytree(tile, store.folder / "sentinel/tiles/55/H/FA/2020/10/11/0")
    found = scan(tmp_path, Sought(date(2020, 10, 1), date(2020, 10, 31)), top="s3://sentinel/tiles/55/H/FA")
    expected = catalogue.scan([tile])
    assert [scene.id for scene in found.scenes] == [scene.id for scene in expected.scenes]
    assert [f.reason for f in found.failures] == [f.reason for f in expected.failures]


def test_raw_radar(store, shared_data, tmp_path):
    (safe,) = (shared_data / "s1-grd-safe-xarray-sentinel" / "data").glob("S1B_IW_GRDH_*.SAFE")
    day = store.folder / "eodata/Sentinel-1/SAR/GRD/2021/04/01"
    shutil.copytree(safe, day / safe.name)
    listed = listed_files(safe.name, (safe / "manifest.safe").read_bytes())
    for image in (day / safe.name / "measurement").iterdir():  # those of the sample are empty
        with image.open("wb") as file:
            file.truncate(listed[f"measurement/{image.name}"][0])
    (day / safe.name.replace("GRDH", "SLC_")).mkdir()
    top = "s3://eodata/Sentinel-1/SAR/GRD"
    found = scan(tmp_path, Sought(date(2021, 4, 1), date(2021, 4, 30), None, "GRD"), top=top)
    (scene,), (expected,) = found.scenes, catalogue.scan([day / safe.name]).scenes
    assert (scene.id, scene.datatake, scene.footprint) == (expected.id, expected.datatake, expected.footprint)
    assert scene.assets.keys() == expected.assets.keys() and scene.details == expected.details
    assert not scan(tmp_path, Sought(date(2021, 4, 2), date(2021, 4, 30)), top=top).scenes


def test_nothing_there(store, tmp_path):
    (failure,) = scan(tmp_path, top="s3://eodata/Sentinel-9").failures
    assert "nothing is there" in failure.reason and not failure.passes
    assert run("scenes", "scan", "s3://eodata/x", "-o", str(tmp_path / "x.parquet")) == 1
    assert run("scenes", "scan", "https://eodata/x", "-o", str(tmp_path / "x.parquet")) == 2


MOMENTS = st.datetimes(datetime(2015, 6, 23), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(start=MOMENTS, minutes=st.integers(0, 40), first=MOMENTS, days=st.integers(0, 400))
def test_no_product_of_the_period_is_passed_over(start, minutes, first, days):
    """Whatever the begin of its datatake, a granule that is sensed within the period is found by folders and name."""
    sensed = start + timedelta(minutes=minutes)
    sought = Sought(first.date(), first.date() + timedelta(days=days), {"31UFU"}, "L2A")
    name = f"S2A_MSIL2A_{start:%Y%m%dT%H%M%S}_N0510_R051_T31UFU_20240501T120000.SAFE"
    folders = [f"/Sentinel-2/MSI/L2A/{start:{form}}" for form in ("%Y", "%Y/%m", "%Y/%m/%d")]
    if sought.first <= sensed.date() <= sought.last and start.date() <= sought.last:
        assert sought.fits(name) and all(map(sought.may_hold, folders))
    if not sought.first - timedelta(days=1) <= start.date() <= sought.last:
        assert not sought.fits(name) and not sought.may_hold(folders[2])
    assert not sought.fits(name.replace("31UFU", "31UGU")) and not sought.fits(name.replace("L2A", "L1C"))


CAMPAIGN = """\
name: stored
aoi: [4.503, 53.232, 4.511, 53.237]
period: {period}
scenes: {{paths: {paths}}}
cube: {{bands: [B04@10m, SCL@20m]}}
"""


def cube_of(folder: Path, paths: str, period: str = "2024-05-01/2024-05-31") -> dict[str, bytes]:
    """Shards of the cube of a campaign."""
    folder.mkdir(exist_ok=True)
    (folder / "campaign.yaml").write_text(CAMPAIGN.format(paths=paths, period=period))
    campaign = load_campaign(folder / "campaign.yaml")
    assert run_campaign(campaign, Console(quiet=True), workers=1).exit_code == 0
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in campaign.cube_path.rglob("c/*/*/*")}
    assert found
    return found


def test_a_campaign_gives_the_cube_of_the_same_products_here(store, made, tmp_path):
    expected = cube_of(tmp_path / "here", str(made))
    assert cube_of(tmp_path / "there", TOP) == expected
    assert not [prefix for prefix in store.lists if "31UGU" in prefix], "a tile beside the area is not looked at"
    requests = len(store.requests)
    assert cube_of(tmp_path / "there", TOP) == expected and len(store.requests) == requests, (
        "a second run costs lists"
    )


@pytest.mark.parametrize("scenes", ["paths: ftp://x/y", "paths: https://x/y", "paths: s3:///y", "paths: 's3://'"])
def test_places_that_cannot_be_searched(tmp_path, scenes):
    text = CAMPAIGN.format(paths="x", period="2024-05-01/2024-05-31").replace("paths: x", scenes)
    (tmp_path / "campaign.yaml").write_text(text)
    with pytest.raises(CampaignError, match=r"scenes\.paths.*only folders and object stores") as caught:
        load_campaign(tmp_path / "campaign.yaml")
    assert "\n" not in str(caught.value)


def _flipped(handler, content, start, stop) -> None:
    """One bit of the image is another one, as memory or a disk may have it."""
    data = bytearray(content)
    data[len(data) // 2] ^= 4
    files.give(handler, bytes(data), start, stop)


BAD = {
    "flipped": (_flipped, "the sha3_256 digest of"),
    "denied": (files.status(403), "access denied"),
    "gone": (files.status(404), "no such object"),
    "busy": (files.status(503), "HTTP status 503"),
}


@pytest.mark.parametrize("fault", BAD)
def test_an_image_that_is_not_as_its_product_says_costs_its_date(store, made, tmp_path, monkeypatch, fault):
    monkeypatch.setenv("HPCKIT_SCRATCH", str(tmp_path / "scratch"))
    (victim,) = product(store, 1).rglob("*_B04_10m.jp2")
    answer, words = BAD[fault]
    store.every = lambda handler, *rest: (answer if handler.path.endswith(victim.name) else files.give)(
        handler, *rest
    )
    (tmp_path / "there").mkdir()
    text = CAMPAIGN.format(paths=TOP, period="2024-05-01/2024-05-31")
    (tmp_path / "there" / "campaign.yaml").write_text(text)
    campaign = load_campaign(tmp_path / "there" / "campaign.yaml")
    report = run_campaign(campaign, Console(quiet=True), workers=1)
    assert report.exit_code == (75 if fault == "busy" else 1), "what is busy may answer later"
    logged = "".join(path.read_text() for path in campaign.run_dir.rglob("*.jsonl"))
    assert words in logged and victim.name in logged
    store.every = None
    assert run_campaign(campaign, Console(quiet=True), workers=1).exit_code == 0
    expected = cube_of(tmp_path / "here", str(made))
    assert {
        path.relative_to(tmp_path / "there").as_posix(): path.read_bytes()
        for path in campaign.cube_path.rglob("c/*/*/*")
    } == expected


def test_a_store_that_is_busy_now_and_then_is_not_noticed(store, made, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCKIT_SCRATCH", str(tmp_path / "scratch"))
    store.faults = {number: files.status(429 if number % 2 else 503) for number in range(2, 60, 5)}
    assert cube_of(tmp_path / "there", TOP) == cube_of(tmp_path / "here", str(made))


def test_images_are_fetched_for_nodes_without_a_network(store, made, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCKIT_SCRATCH", str(tmp_path / "scratch"))
    (tmp_path / "there").mkdir()
    text = CAMPAIGN.format(paths=TOP, period="2024-05-01/2024-05-31")
    (tmp_path / "there" / "campaign.yaml").write_text(text)
    assert not api.fetch(tmp_path / "there" / "campaign.yaml").failed
    images = files.status(403)
    store.every = lambda handler, *rest: (images if handler.path.endswith(".jp2") else files.give)(handler, *rest)
    assert cube_of(tmp_path / "there", TOP) == cube_of(tmp_path / "here", str(made))
