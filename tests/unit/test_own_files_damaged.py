"""Damaged files of our own: whatever bytes are in them, reading gives a value or a sentence, never a traceback."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyproj
import shapely
from affine import Affine

from hpckit.catalogue import catalogue
from hpckit.cubes.arrays import read_array
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.objects import objects_at
from hpckit.cubes.read import geometry
from hpckit.errors import HpckitError
from hpckit.jobs.elements import Element, read_element, read_membership, read_units, write_elements
from hpckit.reduce.composites.publish import read_mark
from hpckit.reduce.composites.stac import read_items
from hpckit.reduce.composites.units import marked
from hpckit.reduce.signatures.assignment import Assignment, TileBox, assign
from hpckit.reduce.signatures.index import ZoneIndex, build_index
from hpckit.reduce.signatures.spool import read_segment, spool_id, write_segment
from hpckit.runs.journal import Entry, Journal, read_journal, tally
from hpckit.runs.plan import Unit, read_inputs, read_plan, write_plan
from hpckit.runs.run import read_run_json
from hpckit.space.zones import load_zones, write_zones
from hpckit.submissions.submission import Submitted, _read_json
from hpckit.testing.signatures import batch, header, zone_layer
from tests import scene_samples

SECONDS = float(os.environ.get("HPCKIT_FUZZ_S", "15"))
_LEAST = 20
MOST = int(os.environ.get("HPCKIT_FUZZ_MOST", "400"))
ODD = [None, True, -1, 1e400, 2**70, "", "\x00", "é" * 300, [], {}, [[]], {"a": 1}]
UNITS = [Unit(f"ingest/{n}", "ingest", 1.0, f"i{n}", {"tile": "31UFU", "n": n}) for n in range(3)]

Read = Callable[[], object]


def files(folder: Path) -> list[tuple[Path, Read]]:
    """A file of each kind, and what reads it."""
    run, cube = folder / "run", folder / "cube"
    for unit in UNITS:
        Journal(run, "w").append(Entry(unit.id, "ingest", "done", unit.inputs, "2024-01-01T00:00:00+00:00", 1, "w"))
    ids, inputs = pa.array([unit.id for unit in UNITS]), pa.array([unit.inputs for unit in UNITS])
    Manifest.load(cube).append([ShardRecord(f"31UFU/r10m/B04/c/0/0/{n}", 9, "d", ("i",)) for n in range(3)], "w")
    write_plan(run / "plan.parquet", UNITS)
    write_elements(run / "elements.parquet", {"ingest": [Element(tuple(UNITS), 3.0)]})
    layer = zone_layer(["a", "b"])
    write_zones(run / "zones.parquet", layer)
    write_segment(run / "spool" / "a.h5", header(layer), [batch(0, range(2))])
    boxes = [TileBox("31UFT", 32631, (0, 0, 100, 100)), TileBox("31UGT", 32631, (100, 0, 200, 100))]
    zones = np.array([shapely.box(10, 10, 20, 20), shapely.box(90, 10, 110, 20)])
    assign(zones, pyproj.CRS.from_epsg(32631), boxes).save(run / "a.assignment.npz")
    rows = np.arange(2, dtype=np.int32)
    build_index(zones, rows, Affine(10, 0, 0, 0, -10, 100), (10, 20), "fraction").save(run / "index.npz")
    catalogue.write(run / "scenes.parquet", [scene_samples.scene(footprint=shapely.box(4, 51, 5, 52))])
    described = {
        "run.json": {"run_id": "r", "campaign_path": "c.yaml", "campaign": {"name": "x"}, "created": "2024-01-01"},
        "submission.json": {"created": "2024", "site": {}, "stages": [], "jobs": []},
        "31UFU/2024-05/item.json": {
            "type": "Feature",
            "properties": {"hpckit:inputs": "i", "hpckit:period": "2024-05"},
            "assets": {"data": {"href": "a.tif", "file:size": 3, "file:checksum": "1220ab"}},
        },
        "mark.json": {"made_from": "i", "files": {"a.tif": {"file:size": 3, "file:checksum": "1220ab"}}},
        "31UFU/r10m/zarr.json": {
            "attributes": {
                "spatial:shape": [10, 20],
                "proj:code": "EPSG:32631",
                "spatial:transform": [10, 0, 0, 0, -10, 100],
                "hpckit:acquisitions": [{"id": "a"}],
            },
            "shape": [1, 10, 20],
            "chunk_grid": {"configuration": {"chunk_shape": [1, 16, 16]}},
            "codecs": [{"name": "blosc", "configuration": {}}],
            "data_type": "uint16",
        },
    }
    for name, content in described.items():
        (run / name).parent.mkdir(parents=True, exist_ok=True)
        (run / name).write_text(json.dumps(content))
    Submitted("1", "n", "ingest", "s", 0, 1)
    item = run / "31UFU/2024-05/item.json"
    group = run / "31UFU/r10m"
    return [
        (run / "journal/w.jsonl", lambda: (read_journal(run), tally(run, ids, inputs))),
        (cube / ".manifest/31UFU/w.jsonl", lambda: Manifest.load(cube).records()),
        (run / "plan.parquet", lambda: (read_plan(run / "plan.parquet"), read_inputs(run / "plan.parquet"))),
        (
            run / "elements.parquet",
            lambda: (
                read_element(run / "elements.parquet", "ingest", 0),
                list(read_membership(run / "elements.parquet")),
                read_units(run / "elements.parquet", ["ingest"]),
            ),
        ),
        (run / "zones.parquet", lambda: load_zones(run / "zones.parquet").digest),
        (run / "spool/a.h5", lambda: (spool_id(run / "spool/a.h5"), read_segment(run / "spool/a.h5"))),
        (run / "a.assignment.npz", lambda: Assignment.load(run / "a.assignment.npz").groups()),
        (run / "index.npz", lambda: ZoneIndex.load(run / "index.npz").windows(8)),
        (run / "scenes.parquet", lambda: catalogue.read(run / "scenes.parquet")),
        (run / "run.json", lambda: read_run_json(run)),
        (run / "submission.json", lambda: _read_json(run / "submission.json")),
        (item, lambda: (marked(item), read_items(run))),
        (run / "mark.json", lambda: read_mark(run / "mark.json")),
        (group / "zarr.json", lambda: geometry(run, "31UFU", 10)),
        (group / "zarr.json", lambda: read_array(objects_at(run), "31UFU/r10m")),
    ]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """Bytes flipped, cut, doubled or overwritten."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(len(data)) if data else 0
        kind = chance.randrange(5)
        if kind == 0 and data:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = data[at : at + chance.randrange(1, 40)]
        elif kind == 3:
            data[at : at + 8] = bytes(chance.randrange(256) for _ in range(8))
        else:
            data[at : at + 4] = b"\0\0\0\0"
    return bytes(data)


def other(content: bytes, chance: random.Random) -> bytes:
    """JSON, or lines of it, of which one value is of another type or gone."""
    lines = content.split(b"\n") if content.count(b"\n") > 1 else [content]
    at = chance.randrange(len(lines))
    try:
        value = json.loads(lines[at])
    except ValueError:
        return damaged(content, chance)
    lines[at] = json.dumps(_changed(value, chance)).encode()
    return b"\n".join(lines)


def _changed(value: Any, chance: random.Random) -> Any:
    inner = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not inner or chance.random() < 0.25:
        return chance.choice(ODD)
    key = chance.choice(inner)
    copy = dict(value) if isinstance(value, dict) else list(value)
    if isinstance(copy, dict) and chance.random() < 0.2:
        del copy[key]
    else:
        copy[key] = _changed(copy[key], chance)
    return copy


def mutate(folder: Path, seed: int, seconds: float, most: int) -> tuple[int, list[str]]:
    """Damage files and read them; how many were read, and what was no error of ours."""
    chance, faults, count = random.Random(seed), list[str](), 0
    kinds = files(folder)
    for _, read in kinds:
        read()
    until = time.monotonic() + seconds
    while count <= _LEAST or (count < most and time.monotonic() < until):
        path, read = kinds[count % len(kinds)]
        content = path.read_bytes()
        is_json = path.suffix in (".json", ".jsonl") and chance.random() < 0.7
        path.write_bytes((other if is_json else damaged)(content, chance))
        try:
            read()
        except HpckitError as error:
            if error.exit_code != 1 or not error.message:
                faults.append(f"{path.name}: {error!r}")
        except Exception as error:
            faults.append(f"{path.name}: {type(error).__name__}: {str(error)[:200]}")
        finally:
            path.write_bytes(content)
        count += 1
    return count, faults


def test_no_damage_ends_in_a_traceback(tmp_path: Path) -> None:
    count, faults = mutate(tmp_path, 20240501, SECONDS, MOST)
    assert count > _LEAST
    assert faults == []


def test_lines_of_wrong_types_are_left_out(tmp_path: Path) -> None:
    entry = Entry("a", "ingest", "done", "x", "2024-01-01T00:00:00+00:00", 1.0, "w")
    Journal(tmp_path, "w").append(entry)
    path = tmp_path / "journal" / "w.jsonl"
    names, values = ("unit", "state", "seconds", "start"), (None, [], {"a": 1})
    wrong = [{**asdict(entry), name: value} for name in names for value in values]
    with path.open("a") as file:
        file.writelines(f"{json.dumps(line)}\n" for line in wrong)
    assert read_journal(tmp_path) == [entry]
    known = tally(tmp_path, pa.array(["a"]), pa.array(["x"]))
    assert (known.done.tolist(), known.failed.tolist()) == ([True], [False])
