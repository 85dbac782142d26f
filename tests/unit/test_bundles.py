"""Units that are done together: what is a bundle, in which order bands are read, and that none is torn apart."""

from __future__ import annotations

import random
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpckit.cubes.stage import Planning
from hpckit.jobs.elements import pack, pack_as
from hpckit.production import local
from hpckit.reduce.signatures.bundles import bundles_of
from hpckit.reduce.signatures.index import ZoneIndex
from hpckit.reduce.signatures.planes import TileShare
from hpckit.reduce.signatures.signatures import Step
from hpckit.reduce.signatures.together import most_in_memory, turns
from hpckit.runs.journal import Entry, read_journal
from hpckit.runs.plan import Unit, bundles, cost_of, longest_first, read_plan, shares, write_plan
from hpckit.sensors.sentinel2.sensor import SENTINEL2

REFS = [SENTINEL2.parse(text) for text in ("B02", "B04", "B08", "B11", "SCL", "B04@20m")]


@st.composite
def many_units(draw: st.DrawFn) -> list[Unit]:
    named = draw(st.lists(st.tuples(st.sampled_from(["", "a", "b", "c", "d"]), st.floats(0, 100)), max_size=40))
    return [
        Unit(f"s/{number:03d}", "s", cost, "in", {"tiles": ["T"], **({"bundle": name} if name else {})})
        for number, (name, cost) in enumerate(named)
    ]


@given(many_units())
def test_each_unit_is_in_one_bundle(units):
    made = bundles(units)
    assert sorted(unit.id for bundle in made for unit in bundle) == [unit.id for unit in units]
    assert all(len(bundle) == 1 or len({unit.bundle for unit in bundle}) == 1 for bundle in made)
    names = [bundle[0].bundle for bundle in made if bundle[0].bundle]
    assert len(names) == len(set(names))
    for bundle in made:
        assert abs(sum(shares(bundle)) - 1) < 1e-9


@given(many_units())
def test_units_of_a_bundle_stay_in_a_row_and_the_costliest_comes_first(units):
    ordered = longest_first(units)
    assert sorted(unit.id for unit in ordered) == [unit.id for unit in units]
    rows = [ordered[0].bundle or ordered[0].id] if ordered else []
    for unit in ordered[1:]:
        if not unit.bundle or unit.bundle != rows[-1]:
            rows.append(unit.bundle or unit.id)
    assert len(rows) == len(set(rows)) == len(bundles(units))
    costs = [round(cost_of(bundle), 1) for bundle in bundles(ordered)]
    assert costs == sorted(costs, reverse=True)


@given(many_units(), st.integers(1, 8), st.floats(1, 500), st.one_of(st.none(), st.integers(1, 5)))
def test_elements_hold_whole_bundles_and_last_as_long_as_these(units, ranks, target, most):
    packed = pack(units, ranks=ranks, target_s=target, most=most)
    assert sorted(unit.id for element in packed for unit in element.units) == [unit.id for unit in units]
    where = defaultdict(set)
    for number, element in enumerate(packed):
        for unit in element.units:
            where[unit.bundle or unit.id].add(number)
        costliest = max(map(cost_of, bundles(element.units)))
        assert costliest - 0.1 <= element.longest <= costliest, "costs are rounded to order them"
        assert element.makespan(ranks) >= element.longest * (1 - 1e-9)
    assert all(len(numbers) == 1 for numbers in where.values())
    if units:
        (element,) = pack_as([frozenset(["T"])], units)
        assert [unit.id for unit in element.units] == [unit.id for unit in longest_first(units)]


def test_a_plan_file_keeps_bundles(tmp_path):
    units = [Unit("s/1", "s", 1.0, "x", {"bundle": "T/a"}), Unit("s/2", "s", 1.0, "x")]
    write_plan(tmp_path / "plan.parquet", units)
    assert [unit.bundle for unit in read_plan(tmp_path / "plan.parquet")] == ["T/a", ""]


def test_a_process_that_dies_fails_the_bundle_in_work_and_gives_back_the_others(tmp_path):
    units = [Unit(f"s/{name}{number}", "s", 1.0, "x", {"bundle": name}) for name in "ab" for number in (1, 2)]
    told: list[Entry] = []
    pool = local._Pool(tmp_path, local.deque(), 1, told.append, "w", None, None, None)
    process = SimpleNamespace(exitcode=-9, join=lambda: None)
    worker = local._Worker(process, SimpleNamespace(close=lambda: None), "w-0", list(map(list, bundles(units))), "")
    pool.workers.append(worker)
    pool.stopping = True
    pool._answer(worker, Entry("s/b1", "s", "failed", "x", "", 0.0, "w"))  # one of its units failed by itself
    pool._bury(worker)
    assert [[unit.id for unit in bundle] for bundle in pool.queue] == [["s/a1", "s/a2"]]
    assert [(entry.unit, entry.state) for entry in told] == [("s/b1", "failed"), ("s/b2", "failed")]
    assert "SIGKILL" in str(read_journal(tmp_path)[0].reason) or "killed" in str(read_journal(tmp_path)[0].reason)


def test_the_pace_is_of_units_that_measured_it():
    entries = [
        Entry("a", "signatures", "done", "x", "", 1.0, "w", None, {"pixels": 9e9}),
        Entry("b", "signatures", "done", "x", "", 10.0, "w", None, {"decoded_pixels": 8e7}),
    ]
    assert Planning(None, entries).pace("signatures", "decoded_pixels", 1.0) == 8e6


@st.composite
def reductions(draw: st.DrawFn) -> list[list[Step]]:
    found = []
    for _ in range(draw(st.integers(1, 4))):
        mine = [
            Step("band" if len(refs) == 1 else "index", str(number), frozenset(refs))
            for number, refs in enumerate(
                draw(st.lists(st.sets(st.sampled_from(REFS), min_size=1, max_size=3), min_size=1, max_size=6))
            )
        ]
        if draw(st.booleans()):
            mine.insert(0, Step("mask", "m", frozenset([draw(st.sampled_from(REFS))])))
        found.append(mine)
    return found


@given(reductions())
def test_each_band_is_read_once_and_there_when_it_is_needed(steps):
    read, there, done = [], set(), []
    for turn in turns(steps):
        assert not there & set(turn.reads)
        there |= set(turn.reads)
        read += turn.reads
        for number, step in turn.steps:
            assert step.refs <= there
            masks = [other for other in steps[number] if other.kind == "mask"]
            assert step.kind == "mask" or all((number, mask) in done for mask in masks)
            done.append((number, step))
        assert set(turn.releases) <= there
        there -= set(turn.releases)
    assert not there
    wanted = {ref for mine in steps for step in mine for ref in step.refs}
    assert sorted(read) == sorted(wanted), "each once"
    assert len(done) == sum(map(len, steps))


@given(reductions())
def test_memory_is_that_of_the_bands_which_are_there(steps):
    def nbytes(ref):
        return 10 ** REFS.index(ref)

    most = most_in_memory(steps, nbytes)
    wanted = {ref for mine in steps for step in mine for ref in step.refs}
    least = max(sum(map(nbytes, step.refs)) for mine in steps for step in mine)
    assert least <= most <= sum(map(nbytes, wanted))


def test_bands_without_an_index_are_in_memory_one_at_a_time():
    steps = [[Step("band", str(ref), frozenset([ref])) for ref in REFS]] * 3
    assert most_in_memory(steps, lambda ref: 1) == 1


@given(st.data())
def test_bundles_of_tiles_that_share_zones(data):
    names = [f"T{number}" for number in range(12)]
    groups = set(data.draw(st.lists(st.sets(st.sampled_from(names), min_size=1, max_size=4).map(sorted).map(tuple))))
    size = {name: data.draw(st.integers(1, 10)) for name in names}
    most = data.draw(st.integers(1, 40))
    found = bundles_of(sorted(groups), size.__getitem__, most)
    assert found.keys() == groups
    homes = set(found.values())
    tiles = [tile for home in homes for tile in home]
    assert len(tiles) == len(set(tiles)), "a tile is at home in one bundle"
    for group, home in found.items():
        assert set(group) & set(home)
    for home in homes:
        assert len(home) == 1 or sum(size[tile] for tile in home) <= most
    for tile in names:
        if (tile,) in groups:
            assert tile in found[tile,]
    apart = {group for group in groups if len(group) == 1 and not any(group[0] in o for o in groups - {group})}
    assert all(found[group] == group for group in apart), "what shares no zones is not joined"
    mixed = list(groups)
    random.Random(1).shuffle(mixed)
    assert bundles_of(mixed, size.__getitem__, most) == found


def test_the_last_window_gives_pixels_beyond_a_coarse_raster_their_value():
    """183 pixels of 60 m end before 1100 of 10 m do; gathering takes the last row then."""
    pixel = np.array([1099 * 1100 + 5], np.uint32)
    index = ZoneIndex(np.array([0], np.int32), np.array([0, 1]), pixel, None, np.zeros(1), (1100, 1100))
    touched = TileShare("T", 0, {10: index}).touched(61 * 60, (3, 3))
    assert np.argwhere(touched).tolist() == [[2, 0]]
