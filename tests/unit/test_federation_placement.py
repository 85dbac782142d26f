"""Which site gets which tiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from hpckit.errors import FederationError
from hpckit.jobs.federation.placement import Capacity, Group, groups, place
from hpckit.runs.plan import Unit

TILES = [f"T{n}" for n in range(8)]
SITES = ["a", "b", "c"]


def unit(number: int, tiles: list[str], cost: float = 1.0, bundle: str = "") -> Unit:
    args: dict[str, object] = {"tiles": tiles} | ({"bundle": bundle} if bundle else {})
    return Unit(f"signatures/f/{'+'.join(tiles)}/{number}", "signatures", cost, "i", args)


UNITS = st.lists(
    st.tuples(
        st.lists(st.sampled_from(TILES), min_size=1, max_size=3, unique=True),
        st.floats(0, 100),
        st.sampled_from(["", "", "x", "y"]),
    ),
    max_size=12,
)


@given(UNITS)
def test_tiles_that_share_a_unit_or_a_bundle_stay_together_and_others_do_not(drawn):
    units = [unit(n, tiles, cost, bundle) for n, (tiles, cost, bundle) in enumerate(drawn)]
    found = groups(units, TILES)
    # Tiles, units and bundles are nodes of one graph; its components are the groups.
    names = [*TILES, *(f"u{n}" for n in range(len(units))), *("x", "y")]
    place_of = {name: n for n, name in enumerate(names)}
    edges = [(f"u{n}", tile) for n, item in enumerate(units) for tile in item.args["tiles"]]
    edges += [(f"u{n}", item.bundle) for n, item in enumerate(units) if item.bundle]
    rows, columns = ([place_of[pair[side]] for pair in edges] for side in (0, 1))
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(names), len(names)))
    _, label = connected_components(graph, directed=False)
    expected = {frozenset(t for t in TILES if label[place_of[t]] == label[place_of[tile]]) for tile in TILES}
    assert {frozenset(group.tiles) for group in found} == expected
    assert sum(group.core_s for group in found) == pytest.approx(sum(item.cost for item in units))


def test_a_unit_without_tiles_cannot_be_placed():
    with pytest.raises(FederationError, match="concerns no tile"):
        groups([Unit("exec-x/1", "exec-x", 1, "i", {"tiles": []})], TILES)


GROUPS = st.lists(st.floats(0, 1e6), max_size=10).map(
    lambda costs: [Group((f"T{n}", f"U{n}"), cost) for n, cost in enumerate(costs)]
)


@given(GROUPS, st.data())
def test_each_group_goes_whole_to_one_site_that_has_its_scenes(found, data):
    holders = {group.tiles: data.draw(st.lists(st.sampled_from(SITES), unique=True)) for group in found}
    cores = {name: data.draw(st.none() | st.integers(0, 10_000)) for name in SITES}
    capacities = {name: Capacity(cores[name], data.draw(st.floats(0.01, 100))) for name in SITES}
    placed = place(found, holders, capacities)
    assert placed == place(list(reversed(found)), holders, capacities), "whatever order groups come in"
    for group in found:
        owners = {placed.get(tile) for tile in group.tiles}
        assert len(owners) == 1
        assert owners == {None} if not holders[group.tiles] else owners <= set(holders[group.tiles])


@pytest.mark.parametrize(
    ("cores", "costs", "share"),
    [((100, 100), (1, 1), 0.5), ((300, 100), (1, 1), 0.75), ((100, 100), (1, 3), 0.75), ((None, 1), (1, 1), 0.5)],
)
def test_work_is_shared_by_free_cores_and_cost(cores, costs, share):
    found = [Group((f"T{n}",), 100.0) for n in range(400)]
    capacities = {name: Capacity(cores[n], costs[n]) for n, name in enumerate("ab")}
    placed = place(found, {group.tiles: "ab" for group in found}, capacities)
    assert list(placed.values()).count("a") / 400 == pytest.approx(share, abs=0.01)


def test_work_that_a_site_has_already_counts():
    found = [Group((f"T{n}",), 100.0) for n in range(10)]
    capacities = {"a": Capacity(10), "b": Capacity(10)}
    placed = place(found, {group.tiles: "ab" for group in found}, capacities, {"a": 1e6})
    assert set(placed.values()) == {"b"}
