"""Damage to composites, as disks and people do it: `verify` names what is faulty, the next run mends that alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign, verify_campaign
from tests import products, small_campaign

pytestmark = pytest.mark.integration
QUIET = Console(quiet=True)
CAMPAIGN = """\
name: test
aoi: [4.4, 51.3, 4.7, 51.5]
period: 2024-05-01/2024-05-20
scenes: {paths: [scenes]}
cube: {bands: [B11, SCL]}
reductions:
  - {name: steps, kind: composite, bands: [B11], methods: [smooth, count], period: dekad}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    for number in range(small_campaign.DATES):
        products.write(folder / "scenes", number, small_campaign.pixels_of(number), baseline="05.10")
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    assert run_campaign(load_campaign(folder / "campaign.yaml"), QUIET, workers=1).exit_code == 0
    assert verify_campaign(load_campaign(folder / "campaign.yaml"), QUIET) == []
    return folder


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def overwrite(path: Path) -> None:
    """Somebody calculates with the file and saves it under its name."""
    with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
        file.write(np.zeros(file.shape, np.uint16), 1)


def content(folder: Path) -> dict[Path, Any]:
    """Everything below a folder but manifests; of mosaics' marks all but the time stamps of files."""
    return {
        path: _mark(path) if path.parent.name == "mosaic" and path.suffix == ".json" else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".manifest" not in path.parts
    }


def _mark(path: Path) -> Any:
    mark = json.loads(path.read_text())
    for facts in mark["files"].values():
        del facts["mtime"]
    return mark


ZARR, FILES = "composites/steps.zarr", "composites/steps"
SHARD = f"{ZARR}/*/r20m/B11_smooth/c/0/0/0"
TIFF = f"{FILES}/*/2024-05-D2/*smooth_r20m.tif"
ROUNDS = {
    "one": (
        {
            SHARD: (Path.unlink, "missing"),
            f"{FILES}/*/2024-05-D1/*smooth_r20m.tif": (Path.unlink, "missing"),
            f"{FILES}/*/2024-05-D2/*count_r20m.tif": (cut, "corrupt"),
            f"{ZARR}/*/r20m/B11_smooth/zarr.json": (cut, "corrupt"),
            f"{FILES}/collection.json": (Path.unlink, "missing"),
        },
        {"composites": 1, "export": 2},
    ),
    "two": (
        {
            SHARD: (cut, "corrupt"),
            f"{FILES}/*/2024-05-D1/*count_r20m.tif": (flip, "corrupt"),
            f"{FILES}/*/2024-05-D2/*smooth_r20m.tif": (overwrite, "corrupt"),
            f"{ZARR}/*/r20m/time/c/0": (flip, "corrupt"),
            f"{FILES}/collection.json": (cut, "corrupt"),
        },
        {"composites": 1, "export": 2},
    ),
    "three": (
        {
            SHARD: (flip, "corrupt"),
            f"{FILES}/*/2024-05-D2/*smooth_r20m.tif": (append, "corrupt"),
            f"{FILES}/mosaic/*D1_smooth*.vrt": (Path.unlink, "missing"),
            f"{ZARR}/*/r20m/zarr.json": (Path.unlink, "missing"),
        },
        {"composites": 1, "export": 1},
    ),
    "four": (
        {
            f"{FILES}/*/2024-05-D1/*.json": (Path.unlink, "missing"),
            f"{FILES}/*/2024-05-D2/*.json": (cut, "corrupt"),
        },
        {"export": 2},
    ),
    "five": ({f"{FILES}/mosaic/*D2_smooth*.vrt": (cut, "corrupt")}, {}),
}


@pytest.mark.parametrize(("harms", "units"), ROUNDS.values(), ids=ROUNDS)
def test_damage_is_named_and_mended(done, harms, units):
    campaign, before = load_campaign(done / "campaign.yaml"), content(done / "composites")
    expected = {}
    for pattern, (harm, kind) in harms.items():
        (victim,) = done.glob(pattern)
        harm(victim)
        expected[str(victim.relative_to(done))] = kind
    faults = verify_campaign(campaign, QUIET)
    assert {fault.key: fault.kind for fault in faults} == expected
    assert {fault.unit.partition("/")[0] for fault in faults if fault.unit} == set(units)
    result = run_campaign(campaign, QUIET, workers=1)
    assert result.exit_code == 0 and result.done == units
    assert verify_campaign(campaign, QUIET) == []
    assert content(done / "composites") == before


def test_several_at_once_and_twice(done):
    campaign, before = load_campaign(done / "campaign.yaml"), content(done / "composites")
    shards = sorted(done.glob("composites/steps.zarr/*/r20m/*/c/0/*/*"))
    for path in (*shards, *done.glob(TIFF)):
        flip(path)
    first = {fault.key for fault in verify_campaign(campaign, QUIET)}
    assert len(first) == len(shards) + 1
    again = {fault.kind for fault in verify_campaign(campaign, QUIET)}
    assert again == {"missing"}, "what is marked stays marked until it is made"
    assert run_campaign(campaign, QUIET, workers=1).exit_code == 0
    assert content(done / "composites") == before


def test_what_a_killed_writer_left_goes_away(done):
    left = next(done.glob(TIFF)).parent / ".x.0123456789ab.partial.tif"
    left.write_bytes(b"half")
    assert verify_campaign(load_campaign(done / "campaign.yaml"), QUIET) == []
    assert not left.exists()


def test_an_edit_without_a_run_is_said_and_loses_nothing(done, capsys):
    path = done / "campaign.yaml"
    path.write_text(CAMPAIGN.replace("dekad}", "dekad, smooth: {lambda: 5}}"))
    try:
        assert verify_campaign(load_campaign(path), Console()) == [], "it is compared with what the run worked on"
        assert "was edited since" in capsys.readouterr().err
    finally:
        path.write_text(CAMPAIGN)
    assert verify_campaign(load_campaign(path), QUIET) == []
    assert run_campaign(load_campaign(path), QUIET, workers=1).done == {}


def test_items_keep_checksums_as_stac_has_them(done):
    import hashlib

    for item in done.glob("composites/steps/*/*/*.json"):
        for asset in json.loads(item.read_text())["assets"].values():
            data = (item.parent / asset["href"]).read_bytes()
            assert asset["file:size"] == len(data)
            assert bytes.fromhex(asset["file:checksum"]) == b"\x12\x20" + hashlib.sha256(data).digest()
