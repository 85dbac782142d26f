"""No output is an input, lies within one or holds one; cubes and composites have one owner."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from hpckit.campaign import owner
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.campaign.paths import clashes, require_apart
from hpckit.errors import BusyError, CampaignError, CubeError, RunError
from hpckit.production.check import check_campaign
from hpckit.runs.run import open_run
from tests.small_campaign import write_zones, zones

BASE = """\
name: {name}
aoi: {aoi}
period: 2024-04-01/2024-12-31
scenes: {{paths: [{scenes}]}}
cube: {{path: {cube}, bands: [B04, SCL]}}
reductions:
  - {{name: fields, zones: {zones}, id: name, bands: [B04]}}
  - {{name: month, kind: composite, bands: [B04], outputs: {{path: {outputs}}}}}
{more}"""
GOOD = {
    **{"name": "dk", "aoi": "[4.4, 51.3, 4.5, 51.4]", "scenes": "scenes", "cube": "cube.zarr"},
    **{"zones": "fields.gpkg", "outputs": "composites", "more": ""},
}
STEP = """\
steps:
  - {name: s, each: scene, into: INTO, command: [touch, "{x}"], outputs: {x: "{id}.t"}}
"""


def campaign(folder: Path, **changes: str) -> Campaign:
    (folder / "scenes").mkdir(parents=True, exist_ok=True)
    if not (folder / "fields.gpkg").exists():
        write_zones(folder / "fields.gpkg", zones(1))
    path = folder / "c.yaml"
    path.write_text(BASE.format(**{**GOOD, **changes}))
    return load_campaign(path)


def step(into: str) -> dict[str, str]:
    return {"more": STEP.replace("INTO", into)}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"scenes": "."},
        {"scenes": ".."},
        {"cube": "out/cube.zarr", "outputs": "out"},
        {"aoi": "POLYGON ((4 51, 5 51, 5 52, 4 51))"},
        step("scenes"),
        step("scenes/made"),
        step("."),
    ],
)
def test_places_that_are_apart_are_let_be(tmp_path, changes):
    assert list(clashes(campaign(tmp_path, **changes))) == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "fields"}, "store.path"),
        ({"name": "fields", "zones": "./sub/../fields.gpkg"}, "store.path"),
        ({"name": "area", "aoi": "area.gpkg"}, "store.path"),
        ({"more": "store: {path: c.yaml}\n"}, "store.path"),
        ({"more": "store: {path: linked.gpkg}\n"}, "store.path"),
        ({"more": "store: {path: hard.gpkg}\n"}, "store.path"),
        ({"more": "store: {path: scenes/x.gpkg}\n"}, "store.path"),
        ({"more": "store: {path: cube.zarr/x.gpkg}\n"}, "cube.path"),
        ({"cube": "scenes"}, "cube.path"),
        ({"cube": "scenes/cube.zarr"}, "cube.path"),
        ({"cube": "."}, "cube.path"),
        ({"cube": ".."}, "cube.path"),
        ({"cube": "S2A_MSIL2A_X.SAFE/cube.zarr", "scenes": "."}, "cube.path"),
        ({"cube": "dk.run"}, "name"),
        ({"cube": "linked/cube.zarr"}, "cube.path"),
        ({"cube": "composites/month.zarr"}, "cube.path"),
        ({"outputs": "cube.zarr"}, "cube.path"),
        ({"outputs": "scenes"}, "reductions.month.outputs.path"),
        ({"zones": "dk.run/fields.gpkg"}, "name"),
        (step("fields.gpkg"), "steps.s.into"),
        (step("cube.zarr"), "cube.path"),
    ],
)
def test_an_output_that_is_an_input_is_refused_before_anything_is_written(tmp_path, changes, field):
    campaign(tmp_path)
    for name in ("area.gpkg",):
        shutil.copyfile(tmp_path / "fields.gpkg", tmp_path / name)
    (tmp_path / "linked.gpkg").symlink_to("fields.gpkg")
    (tmp_path / "hard.gpkg").hardlink_to(tmp_path / "fields.gpkg")
    (tmp_path / "linked").symlink_to("scenes")
    chosen = campaign(tmp_path, **changes)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CampaignError, match=field.replace(".", r"\.")) as refused:
        open_run(chosen)
    assert refused.value.hint and ("another" in refused.value.hint or "no input has" in refused.value.hint)
    assert any(found.verdict == "error" and found.what == field for found in check_campaign(chosen))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_in_a_database_is_no_file(tmp_path):
    require_apart(campaign(tmp_path, name="fields", more="store: {dsn: 'postgresql://me@host/db'}\n"))


def test_a_second_campaign_on_one_cube_or_composite_is_refused(tmp_path):
    first = campaign(tmp_path / "a", cube=str(tmp_path / "cube.zarr"))
    owner.take(first)
    owner.require_own(first)
    second = campaign(tmp_path / "b", name="nl", cube=str(tmp_path / "cube.zarr"))
    for refuse in (owner.require_own, owner.take, open_run):
        with pytest.raises(CubeError, match="belongs to campaign 'dk'") as refused:
            refuse(second)
        assert "cube.path" in str(refused.value.hint)
    assert not second.run_dir.exists()
    assert any(found.what == "cube.path" and found.verdict == "error" for found in check_campaign(second))
    third = campaign(tmp_path / "c", name="be", outputs=str(tmp_path / "a/composites"))
    with pytest.raises(CubeError, match=r"month.zarr belongs to campaign 'dk'"):
        owner.require_own(third)


def test_an_equal_campaign_elsewhere_is_a_second_one(tmp_path):
    cube = str(tmp_path / "cube.zarr")
    owner.take(campaign(tmp_path / "a", cube=cube))
    with pytest.raises(CubeError, match="belongs to"):
        owner.require_own(campaign(tmp_path / "b", cube=cube))


@pytest.mark.parametrize("where", ["own", "shared"])
def test_the_owner_survives_copies_moves_new_names_and_lost_run_directories(tmp_path, where):
    cube = "cube.zarr" if where == "own" else str(tmp_path / "cube.zarr")
    made = campaign(tmp_path / "a", cube=cube)
    open_run(made)
    owner.take(made)
    owner.require_own(campaign(tmp_path / "a", cube=cube, name="renamed"))
    campaign(tmp_path / "a", cube=cube)  # its old name again
    if where == "own":
        shutil.copytree(tmp_path / "a", tmp_path / "copy")
        copied = load_campaign(tmp_path / "copy" / "c.yaml")
        owner.require_own(copied)
        owner.take(copied)
    shutil.rmtree(made.run_dir)
    owner.require_own(made)
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = load_campaign(tmp_path / "moved" / "c.yaml")
    owner.require_own(moved)
    owner.take(moved)
    assert owner.read(moved.cube_path) == owner.Owner.of(moved, moved.cube_path)


def test_what_hpckit_did_not_write_is_left_alone(tmp_path):
    (tmp_path / "cube.zarr").mkdir()
    owner.require_own(campaign(tmp_path))
    (tmp_path / "cube.zarr" / "zarr.json").write_text(json.dumps({"zarr_format": 3, "attributes": {"title": "mine"}}))
    with pytest.raises(CubeError, match="not written by hpckit"):
        owner.require_own(campaign(tmp_path))
    with pytest.raises(CubeError, match="is a file"):
        owner.require_own(campaign(tmp_path, cube="c.yaml2") if _touch(tmp_path / "c.yaml2") else None)


def _touch(path: Path) -> bool:
    path.write_text("mine")
    return True


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"campaign": 1, "file": "a", "run": "b"}', "\0", "null"])
def test_a_damaged_note_makes_nobody_the_owner(tmp_path, text):
    made = campaign(tmp_path)
    owner.take(made)
    note = made.cube_path / ".manifest" / "owner.json"
    note.write_text(text)
    with pytest.raises(CubeError, match="damaged") as refused:
        owner.require_own(made)
    assert str(note) in str(refused.value)
    note.write_text("")
    with pytest.raises(BusyError) as busy:
        owner.require_own(made)
    assert isinstance(busy.value, RunError) and busy.value.exit_code == 75


@pytest.mark.skipif(os.geteuid() == 0, reason="root may look everywhere")
def test_a_campaign_that_may_not_be_looked_at_is_not_gone(tmp_path):
    cube = str(tmp_path / "cube.zarr")
    owner.take(campaign(tmp_path / "a", cube=cube))
    second = campaign(tmp_path / "b", cube=cube)
    (tmp_path / "a").chmod(0)
    try:
        with pytest.raises(CubeError, match="belongs to"):
            owner.require_own(second)
    finally:
        (tmp_path / "a").chmod(0o755)
