"""Ranges of zones that are read at a time: they hold what is asked for once, in order, and are bounded."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hpckit.store import blocks
from hpckit.store.blocks import ranges_of


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=60),
    st.integers(1, 30),
    st.none() | st.sets(st.integers(0, 59)),
    st.sampled_from([1, 3, 1000]),
)
def test_ranges_hold_the_zones_that_are_asked_for(counts, most, wanted, runs):
    known, kept = np.array(counts), blocks._MOST_RUNS
    zones = None if wanted is None else np.array(sorted(zone for zone in wanted if zone < len(counts)), np.int64)
    blocks._MOST_RUNS = runs
    try:
        found = ranges_of(known, most, zones)
    finally:
        blocks._MOST_RUNS = kept
    assert all(start < stop <= len(counts) for start, stop in found)
    assert all(before[1] <= after[0] for before, after in pairwise(found))
    asked = set(range(len(counts)) if zones is None else zones.tolist())
    held = {zone for start, stop in found for zone in range(start, stop)}
    assert {zone for zone in asked if counts[zone]} <= held
    for start, stop in found:
        with_records = [count for count in counts[start:stop] if count]
        assert sum(with_records) <= most or len(with_records) == 1
    if zones is not None and len(zones) == 0:
        assert found == []
