"""Attributes, buffers and several layers of a campaign: what they compute, and what the store has then."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio
import pytest
import shapely

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import run_campaign
from hpckit.production.sync import is_synced
from hpckit.runs.journal import read_journal
from hpckit.runs.run import find_run
from hpckit.store import open_store
from tests.small_campaign import copy, same, zones

pytestmark = [pytest.mark.integration, pytest.mark.slow]

SHAPES = zones(12)


def write_layer(path: Path, crops: list[str | None], *, start: int = 0) -> None:
    """Zones with attributes; `start` makes those of another year."""
    shapes = SHAPES[start:]
    table = pa.table(
        {
            "name": [f"z{start + n}" for n in range(len(shapes))],
            "crop": crops[: len(shapes)],
            "area": shapely.area(shapes) / 1e4,
            "wkb": pa.array([shapely.to_wkb(shape) for shape in shapes], pa.binary()),
        }
    )
    path.unlink(missing_ok=True)
    pyogrio.write_arrow(table, path, geometry_name="wkb", geometry_type="Unknown", crs="EPSG:32631", layer="zones")


def run(path: Path) -> tuple[int, int]:
    """Run; units of zones and of signatures that were done before and now."""
    campaign = load_campaign(path)
    done = list(read_journal(campaign.run_dir)) if campaign.run_dir.exists() else []
    assert run_campaign(campaign, Console(quiet=True), workers=2).exit_code == 0
    return len(done), len(list(read_journal(campaign.run_dir)))


def crops(path: Path, view: str = "wide_fields") -> dict[str, str | None]:
    with sqlite3.connect(load_campaign(path).store_path) as db:
        return dict(db.execute(f"SELECT zone, crop FROM {view}").fetchall())


def series(path: Path, reduction: str = "fields") -> pd.DataFrame:
    store = open_store(load_campaign(path))
    try:
        frames = [store.series(reduction, zone).assign(zone=zone) for zone in store.zone_ids(reduction)]
    finally:
        store.close()
    return pd.concat(frames).sort_values(["zone", "time", "band"]).reset_index(drop=True)


def test_attributes_reach_the_store_and_compute_nothing(made: Path, tmp_path: Path) -> None:
    path = copy(made, tmp_path / "c")
    plain = path.read_text()
    write_layer(path.parent / "zones.gpkg", ["wheat", None] * 8)
    run(path)
    before = series(path)
    path.write_text(plain.replace("    id: name\n", "    id: name\n    attributes: [crop, area]\n"))
    known, now = run(path)
    assert known == now
    assert crops(path) == {f"z{n}": None if n % 2 else "wheat" for n in range(len(SHAPES)) if f"z{n}" in crops(path)}
    assert set(crops(path).values()) == {"wheat", None}
    write_layer(path.parent / "zones.gpkg", ["maize"] * 16)
    known, now = run(path)
    assert known == now
    assert set(crops(path).values()) == set(crops(path, "latest_fields").values()) == {"maize"}
    same(series(path), before)
    campaign = load_campaign(path)
    assert is_synced(campaign, find_run(campaign.run_dir))
    path.write_text(plain)
    assert run(path) == (known, now)
    with sqlite3.connect(campaign.store_path) as db:
        columns = {row[1] for row in db.execute("PRAGMA table_info(zones_fields)")}
    assert columns == {"fid", "geom", "id", "crop"}  # the crop for maps, which is found by its name


def test_a_buffer_makes_other_zones_and_its_results_are_those_of_the_layer_buffered_by_hand(
    made: Path, tmp_path: Path
) -> None:
    path = copy(made, tmp_path / "c")
    write_layer(path.parent / "zones.gpkg", ["wheat"] * 16)
    plain = path.read_text()
    run(path)
    path.write_text(plain.replace("    id: name\n", "    id: name\n    buffer: -25m\n"))
    known, now = run(path)
    assert now > known
    mine = series(path)
    store = open_store(load_campaign(path))
    held = set(store.zone_ids("fields"))
    store.close()
    by_hand = copy(made, tmp_path / "by_hand")
    shapes = shapely.buffer(np.array(SHAPES), -25, quad_segs=16)
    kept = [n for n, shape in enumerate(shapes) if not shape.is_empty]
    assert held == {f"z{n}" for n in kept} and len(kept) < len(SHAPES)
    table = pa.table({"name": [f"z{n}" for n in kept], "wkb": [shapely.to_wkb(shapes[n]) for n in kept]})
    layer = by_hand.parent / "zones.gpkg"
    layer.unlink()
    pyogrio.write_arrow(table, layer, geometry_name="wkb", geometry_type="Unknown", crs="EPSG:32631", layer="zones")
    run(by_hand)
    same(mine, series(by_hand))


def test_layers_of_two_years_in_one_campaign(made: Path, tmp_path: Path) -> None:
    path = copy(made, tmp_path / "c")
    text = path.read_text()
    write_layer(path.parent / "zones.gpkg", ["wheat"] * 16)
    write_layer(path.parent / "zones_2025.gpkg", ["maize"] * 16, start=3)
    one = text[text.index("  - name: fields") :]
    other = one.replace("fields", "fields_2025").replace("zones.gpkg", "zones_2025.gpkg")
    named = "    id: name\n    attributes: [crop, area]\n"
    path.write_text(text.replace("    id: name\n", named) + other.replace("    id: name\n", named))
    run(path)
    both = [series(path), series(path, "fields_2025")]
    shared = both[0][both[0]["zone"].isin(set(both[1]["zone"]))].reset_index(drop=True)
    same(shared, both[1])
    assert set(crops(path).values()) == {"wheat"}
    assert set(crops(path, "wide_fields_2025").values()) == {"maize"}
    # Only the layer of one year changes: the other one is left alone.
    write_layer(path.parent / "zones_2025.gpkg", ["maize"] * 16, start=5)
    known, now = run(path)
    assert now > known
    same(series(path), both[0])
    units = {entry.unit for entry in read_journal(load_campaign(path).run_dir)[known:]}
    assert units and all("/fields_2025/" in unit for unit in units)
