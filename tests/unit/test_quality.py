"""Quality of observations against brute force over the series of each zone."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pytest

from hpckit.errors import CampaignError
from hpckit.look.quality import FLAGS, Bounds, assess, counted, flagged_zones
from hpckit.store.geopackage import GeoPackage
from hpckit.testing.signatures import REDUCTION, batch, segment, zone_layer

LAYER = zone_layer([f"z{k}" for k in range(8)])
PERIOD = (date(2024, 3, 1), date(2024, 6, 30))


@pytest.fixture
def store(tmp_path):
    made = GeoPackage(tmp_path / "s.gpkg")
    made.prepare()
    made.load_zones(REDUCTION, LAYER)
    folder = tmp_path / "spool"
    folder.mkdir()
    # Zones are seen on different dates; some of them without a valid pixel.
    batches = [
        batch(n, [k for k in range(8) if (n + k) % 3], empty=[0] if n % 2 else []) for n in (0, 1, 2, 4, 9, 10, 15)
    ]
    made.load_segment(segment(folder, batches, LAYER))
    yield made
    made.close()


def assessed(store, **changes):
    bounds = changes.pop("bounds", None)
    start, end = changes.pop("period", PERIOD)
    return assess(store, REDUCTION, "NDVI", dict.fromkeys(LAYER.ids, 10_000.0), 100.0, start, end, bounds)


def test_measures_are_those_of_the_series(store):
    quality = assessed(store)
    assert quality.zones == LAYER.ids
    assert quality.acquisitions == 7
    times = [when for _, when in store.acquisitions(REDUCTION)]
    for row, zone in enumerate(LAYER.ids):
        frame = store.series(REDUCTION, zone, "NDVI")
        clear = frame[frame["valid"] >= 0.5 * frame["total"]]
        moments = [times[0], *(pd.Timestamp(t).tz_localize(UTC) for t in clear["time"]), times[-1]]
        gaps = [(b - a).total_seconds() / 86400 for a, b in itertools.pairwise(moments)]
        assert quality.clear[row] == len(clear)
        assert quality.observed[row] == (frame["valid"] > 0).sum()
        assert quality.gap_days[row] == pytest.approx(max(gaps), abs=1e-6)
        assert quality.pixels[row] == frame["total"].max()
        assert quality.inside[row] == pytest.approx(min(1.0, frame["total"].max() * 100 / 10_000))
        assert quality.std[row] == pytest.approx(np.median(clear["std"]), rel=1e-6)


def test_a_period_leaves_the_rest_out(store):
    days = [when.date() for _, when in store.acquisitions(REDUCTION)]
    quality = assessed(store, period=(days[1], days[3]))
    assert quality.acquisitions == 3
    assert quality.clear.max() <= 3
    assert (quality.gap_days <= (days[3] - days[1]).days + 0.01).all()
    empty = assessed(store, period=(date(2020, 1, 1), date(2020, 2, 1)))
    assert empty.acquisitions == 0
    assert not empty.clear.any()
    assert empty.flag("gap").all()
    with pytest.raises(CampaignError, match="before it begins"):
        assessed(store, period=(days[3], days[1]))


def test_flags_are_what_the_bounds_say(store):
    quality = assessed(store, bounds=Bounds(gap_days=20, pixels=70, inside=0.8, std=0.3))
    table = quality.table()
    assert list(table.columns[-4:]) == list(FLAGS)
    assert (table["gap"] == (quality.gap_days > 20)).all()
    assert (table["small"] == (quality.pixels < 70)).all()
    assert (table["outside"] == (quality.inside < 0.8)).all()
    assert (table["heterogeneous"] == (np.nan_to_num(quality.std) > 0.3)).all()
    assert counted(quality) == {name: int(table[name].sum()) for name in FLAGS}
    count, rows = flagged_zones(quality, ["gap"])
    assert count == len(rows) and flagged_zones(quality, ["gap"], 2) == (count, rows[:2])
    assert {row["zone"] for row in rows} == set(table["zone"][table["gap"]])
    assert [row["gap_days"] for row in rows] == sorted((row["gap_days"] for row in rows), reverse=True)


def test_acquisitions_are_in_the_order_of_time(store):
    found = store.acquisitions(REDUCTION)
    assert [name for name, _ in found] == [f"GS2A_{n:05d}" for n in (0, 1, 2, 4, 9, 10, 15)]
    assert [when for _, when in found] == sorted(when for _, when in found)
    assert found[0][1] == datetime(2024, 3, 1, 10, 30, 31, 24000, tzinfo=UTC)
