"""Cubes that are filled on demand: what is wanted is cut and noted exactly, and quotas hold whatever jobs want."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.errors import CubeError, GraphError, PlanError
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.reduce.graphs.collection import Collection, open_collection
from hpckit.reduce.graphs.ondemand.fill import DATES, Filler, Piece, pieces
from hpckit.reduce.graphs.ondemand.space import Space, UsedBand
from hpckit.reduce.graphs.ondemand.version import is_on_demand, make_version
from hpckit.reduce.graphs.ondemand.wants import Want
from hpckit.runs.run import find_run
from hpckit.serve.openeo.settings import OnDemandSettings
from hpckit.serve.settings import Settings
from tests import graph_examples, small_campaign

pytestmark = pytest.mark.slow

QUIET = Console(quiet=True)
SHAPE = (4, 2, 2)
FULL = 2.0**21 * 0.8
Bits = list[bool]


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign that was planned, and has no cube."""
    folder = tmp_path_factory.mktemp("planned")
    small_campaign.make(folder)
    plan_campaign(load_campaign(folder / "campaign.yaml"), QUIET)
    return folder / "campaign.yaml"


@pytest.fixture
def space(planned: Path, tmp_path: Path) -> Space:
    made = Space("S2", tmp_path / "cube", 10**9)
    made.collection(find_run(planned))
    return made


def opened(space: Space) -> Collection:
    return open_collection("S2", Path(next(space.folder.glob("*/collection.run"))))


def wanting(collection: Collection, cells: Any, band: str = "B04") -> Want:
    ref = collection.tiles.campaign.ref(band)
    return Want(collection, "31UFU", ref, np.asarray(cells, np.bool_).reshape(SHAPE))


def write(want: Want, nbytes: int) -> None:
    """What a job writes that fills the cube, of some other size."""
    manifest = Manifest.load(want.spec.path, [want.tile])
    for place in want.places():
        path = want.spec.path / want.shard(*place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * nbytes)
        record = ShardRecord(want.shard(*place), nbytes, "", (want.inputs[place[0]],))
        manifest.append([record], "test")


def held(want: Want) -> set[str]:
    return {record.key for record in Manifest.load(want.spec.path).records()}


def keys(want: Want) -> set[str]:
    return {want.shard(*place) for place in want.places()}


CELLS = st.lists(st.booleans(), min_size=16, max_size=16)


@given(shape=st.tuples(st.integers(1, 3 * DATES), st.integers(1, 4), st.integers(1, 4)), seed=st.integers(0, 2**16))
@settings(max_examples=40, deadline=None)
def test_pieces_have_each_window_once_and_are_the_same_for_all(shape: tuple[int, int, int], seed: int):
    random = np.random.default_rng(seed)
    one, other = (random.random(shape) < share for share in (0.3, 0.6))
    collection = Collection("S2", None)  # type: ignore[arg-type]

    def cut(cells: np.ndarray) -> list[Piece]:
        return pieces(Want(collection, "31UFU", _Ref(), cells))  # type: ignore[arg-type]

    for cells in (one, other):
        found = [
            (date, piece.row, column)
            for piece in cut(cells)
            for date, all_of in piece.columns.items()
            for column in all_of
        ]
        assert sorted(found) == list(map(tuple, np.argwhere(cells).tolist()))
    union = {piece.name: piece.columns for piece in cut(one | other)}
    for piece in [*cut(one), *cut(other)]:
        assert all(set(columns) <= set(union[piece.name][date]) for date, columns in piece.columns.items())
    assert {piece.name for piece in [*cut(one), *cut(other)]} == union.keys()


class _Ref:
    key, group, name = "B04@10m", "r10m", "B04"


@given(cells=CELLS)
@settings(max_examples=30, deadline=None)
def test_a_use_notes_the_windows_of_a_want(planned: Path, cells: Bits, tmp_path_factory: pytest.TempPathFactory):
    want = wanting(open_collection("S2", planned), cells)
    used = UsedBand.of(want)
    found = set(used.shards())
    assert found == {(f"{want.array}/{row}/{column}", want.inputs[date]) for date, row, column in want.places()}
    assert used.cell_bytes <= FULL
    args = json.loads(json.dumps([piece.to_args() for piece in pieces(want)]))
    assert [Piece.from_args(item, want.collection).columns for item in args] == [
        {date: tuple(columns) for date, columns in piece.columns.items()} for piece in pieces(want)
    ]


def test_a_version_is_the_campaign_with_an_empty_cube(planned: Path, space: Space):
    own, filled = open_collection("S2", planned), opened(space)
    assert is_on_demand(filled.tiles.run.path) and not is_on_demand(own.tiles.run.path)
    assert filled.tiles.campaign.path == planned.resolve()
    assert filled.tiles.spec.path != own.tiles.spec.path and filled.tiles.spec.dates_per_block == 1
    graph = graph_examples.masked_median(temporal_extent=["2024-04-01", "2024-05-20"], name="S2")
    paths = {"S2": filled.tiles.run.path}
    wants = api.graph_wants(graph, paths)
    assert {want.ref.name for want in wants} == {"B04", "B08", "SCL"}
    assert not list(filled.tiles.spec.path.rglob("B*/c/*")), "nothing is decoded yet"
    assert api.graph_wants(graph, {"S2": planned}) == []
    slower = api.estimate_graph(graph, paths).seconds - api.estimate_graph(graph, {"S2": planned}).seconds
    assert slower == pytest.approx(sum(want.pixels for want in wants) / 8e6)
    for want in wants:
        write(want, 10)
    assert api.estimate_graph(graph, paths).seconds == api.estimate_graph(graph, {"S2": planned}).seconds


def test_only_what_a_graph_reads_is_wanted(space: Space):
    small = {"west": 600500, "south": 5698000, "east": 601500, "north": 5699000, "crs": 32631}
    first = opened(space).tiles.acquisitions["31UFU"][0].time
    day = [f"{first:%Y-%m-%d}T00:00:00Z", f"{first:%Y-%m-%d}T23:59:59Z"]
    paths = {"S2": opened(space).tiles.run.path}
    asked = graph_examples.masked_median("S2", spatial_extent=small, temporal_extent=day)
    later = graph_examples.masked_median("S2")
    for name, data in (("measured", "boxed"), ("classes", "boxed")):
        later[name]["arguments"]["data"] = graph_examples.of(data)
    later["timed"] = graph_examples.node("filter_temporal", data=graph_examples.of("load"), extent=day)
    later["boxed"] = graph_examples.node("filter_bbox", data=graph_examples.of("timed"), extent=small)
    for graph in (asked, later):
        for want in api.graph_wants(graph, paths):
            assert want.cells[0, 0, 0] and want.cells.sum() == 1, (want.key, want.cells)


@given(
    steps=st.lists(
        st.tuples(CELLS, st.sampled_from(["B04", "B08"]), st.integers(0, 3), st.booleans()), min_size=1, max_size=12
    ),
    quota=st.integers(1, 12),
)
@settings(max_examples=12, deadline=None)
def test_quotas_hold_and_what_jobs_need_stays(
    planned: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[Any], quota: int
):
    space = Space("S2", tmp_path_factory.mktemp("quota"), quota * 2**21)
    space.collection(find_run(planned))
    collection, clock = opened(space), iter(range(1, 100))
    running: dict[str, Want] = {}
    ended: dict[str, float] = {}
    used: dict[str, int] = {}
    """When each shard was last used."""
    for number, (cells, band, ending, writes) in enumerate(steps):
        for name in list(running)[:ending]:
            at = next(clock)
            ended[name] = at
            used |= dict.fromkeys(keys(running.pop(name)), at)
        want, before = wanting(collection, cells, band), held(wanting(collection, cells))
        name = f"job-{number}"
        try:
            space.admit(name, [want], lambda asked: ended.get(asked), seconds=0)
        except GraphError as refusal:
            assert refusal.fault == "StorageQuotaExceeded" and "S2" in refusal.message
            assert held(want) == before, "a refusal changes nothing"
            needed = sum(want.without({key: want.inputs[int(key.split("/")[4])] for key in before}).cells.ravel())
            assert needed > 0
            continue
        running[name] = want
        after = held(want)
        needs = set().union(*(keys(item) for item in running.values()))
        gone, idle = before - after, after - needs
        assert not gone & needs, "what a job needs is never removed"
        assert all(used.get(one, 0) <= used.get(other, 0) for one in gone for other in idle)
        assert not any((want.spec.path / key).exists() for key in gone)
        least: dict[str, float] = {}
        for item in running.values():
            least |= {key: min(item.cell_bytes, least.get(key, item.cell_bytes)) for key in keys(item) - after}
        if keys(want) - before:
            assert size_of(collection) + sum(least.values()) <= space.quota, "room is kept for all that jobs add"
        if writes:
            write(
                want.without({key: want.inputs[int(key.split("/")[4])] for key in after}), int(want.cell_bytes * 0.9)
            )


def size_of(collection: Collection) -> int:
    return sum(record.nbytes for record in Manifest.load(collection.tiles.spec.path).records())


def test_a_refusal_says_what_is_needed_and_free(space: Space):
    want = wanting(opened(space), [True] * 16)
    space.quota = 3 * 2**20
    with pytest.raises(GraphError, match=r"about \d+\.\d MiB of it are not in the cube yet, and 3.0 MiB of 3.0 MiB"):
        space.require_room([want], lambda name: None)
    space.require_room([], lambda name: None)
    space.quota = 10**9
    space.admit("job", [want], lambda name: None)
    space.quota = 3 * 2**20
    space.require_room([want], lambda name: None)  # another job adds it anyway


def test_two_plans_share_shards_and_jobs_keep_theirs(planned: Path, tmp_path: Path):
    import shutil

    campaign = small_campaign.copy(planned.parent, tmp_path / "c")
    scenes = sorted((campaign.parent / "scenes").iterdir())
    aside = tmp_path / "later"
    scenes[1].rename(aside)
    plan_campaign(load_campaign(campaign), QUIET)
    space = Space("S2", tmp_path / "cube", 10**9)
    first = space.collection(find_run(campaign))
    old = open_collection("S2", first)
    ref = old.tiles.campaign.ref("B04")
    cells = np.zeros((3, 2, 2), np.bool_)
    cells[2, 1, 0] = True
    want = Want(old, "31UFU", ref, cells)
    write(want, 100)
    space.admit("job", [want], lambda name: None, seconds=0)
    shutil.move(aside, scenes[1])
    plan_campaign(load_campaign(campaign), QUIET)
    second = space.collection(find_run(campaign))
    assert second != first and first.exists() and space.collection(find_run(campaign)) == second
    new = open_collection("S2", second)
    moved = Want(new, "31UFU", ref, np.zeros(SHAPE, np.bool_))
    date = moved.inputs.index(want.inputs[2])
    path = new.tiles.spec.path / moved.shard(date, 1, 0)
    assert date == 3 and path.stat().st_ino == (old.tiles.spec.path / want.shard(2, 1, 0)).stat().st_ino
    assert Manifest.load(new.tiles.spec.path).get(moved.shard(date, 1, 0)).inputs == (moved.inputs[date],)
    again = Want(new, "31UFU", ref, np.arange(16).reshape(SHAPE) == 14)
    space.admit("another", [again], lambda name: None if name == "another" else 0.0, seconds=0)
    space.admit("third", [], lambda name: None if name == "another" else 5.0, seconds=0)
    assert not first.exists() and path.exists(), "a version goes when no job reads it"


def test_campaigns_without_an_extent_are_refused(planned: Path, tmp_path: Path):
    run = find_run(planned)
    cube = run.campaign.cube.model_copy(update={"keep": False})
    object.__setattr__(run, "campaign", run.campaign.model_copy(update={"cube": cube}))
    run.campaign._path = planned
    with pytest.raises(PlanError, match="needs products and an extent"):
        make_version(run, tmp_path / "cube")


def test_nobody_else_writes_into_the_cube(space: Space, planned: Path, tmp_path: Path):
    campaign = small_campaign.copy(planned.parent, tmp_path / "c")
    text = campaign.read_text().replace("cube: {", f"cube: {{path: {opened(space).tiles.spec.path}, ")
    campaign.write_text(text)
    with pytest.raises(CubeError, match="belongs to campaign"):
        run_campaign(load_campaign(campaign), QUIET, workers=1)


def test_two_at_once_decode_each_window_once_and_the_dead_hold_nobody_up(space: Space):
    collection = opened(space)
    want = wanting(collection, [True, True, True, False] * 4, "B08")
    (first, second) = pieces(want)
    lock = collection.tiles.run.path.parent / "claims" / first.name
    code = (
        "import sys, time; from pathlib import Path; from hpckit.base import claims\n"
        "with claims.hold(Path(sys.argv[1]), 'x'):\n    print('held', flush=True); time.sleep(600)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"

    def fill(name: str) -> int:
        filler = Filler(collection, name)
        return sum(filler.fill(want, piece).shards for piece in (first, second))

    with ThreadPoolExecutor(3) as pool:
        counts = [pool.submit(fill, name) for name in ("one", "two", "three")]
        time.sleep(1.5)
        assert not any(count.done() for count in counts), "they wait for whoever holds the windows"
        holder.kill()
        holder.wait()
        assert sum(count.result(120) for count in counts) == 12
    lines = [line for path in (want.spec.path / ".manifest").rglob("*.jsonl") for line in path.read_text().split()]
    known = {record.key: record.inputs[0] for record in Manifest.load(want.spec.path).records()}
    assert len(lines) == 12 and not want.without(known).cells.any()


@pytest.mark.parametrize(
    ("text", "count"), [("500GB", 5 * 10**11), ("1.5 TiB", 3 * 2**39), (2048, 2048), ("10k", 10_000)]
)
def test_quotas_are_sizes(text: str | int, count: int):
    assert OnDemandSettings(quota=text).nbytes == count
    for wrong in ("much", "0", "-1GB", "1XB", 0):
        with pytest.raises(ValueError, match="quota"):
            OnDemandSettings(quota=wrong)


def test_users_of_the_cluster_cannot_fill_what_others_read():
    rule = {"users": ["signed-in"], "user": "eo"}
    with pytest.raises(ValueError, match=r"needs openeo\.run_as: service"):
        Settings.model_validate(
            {"openeo": {"run_as": "user", "accounts": [rule], "on_demand": {"S2": {"quota": "1GB"}}}}
        )
