"""Marker rules: what a campaign may say, and what is found in series, against plain Python."""

from __future__ import annotations

import math
import random
from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from hpckit.campaign.campaign import load_campaign
from hpckit.campaign.markers import MarkerRule, presets
from hpckit.errors import CampaignError
from hpckit.reduce.markers.detect import Markers, Observations, detect, seasons_of
from tests.unit.marker_reference import Found, Seen, markers_of, season_of

START, SPRING = datetime(2023, 10, 1), datetime(2024, 4, 1)


def rule(**fields) -> MarkerRule:
    given = {"name": "event", "band": "NDVI", "min_pixels": 1, "orbits": "all"} | fields
    return MarkerRule.model_validate(given)


def series(*values: float, every: int = 5, start: datetime = SPRING) -> list[Seen]:
    return [Seen(start + timedelta(days=every * n, hours=10), 8, 100.0, 100.0, v) for n, v in enumerate(values)]


def observations(zones: list[list[Seen]]) -> tuple[Observations, list[Seen]]:
    rows = [(zone, one) for zone, seen in enumerate(zones) for one in seen]
    random.Random(5).shuffle(rows)
    seen = [one for _, one in rows]
    table = Observations(
        np.array([zone for zone, _ in rows], np.int64),
        np.array([one.time for one in seen], "datetime64[us]"),
        *(np.array([getattr(one, name) for one in seen], kind)
          for name, kind in (("orbit", np.int64), ("valid", float), ("total", float), ("value", float))),
    )  # fmt: skip
    return table, seen


def as_found(made: Markers, seen: list[Seen], zone: int) -> list[Found]:
    found = []
    for k in np.flatnonzero(made.zone == zone).tolist():
        used = made.used[made.offsets[k] : made.offsets[k + 1]]
        found.append(
            Found(
                tuple(time[k].astype("datetime64[us]").item() for time in made.time),
                tuple(float(value[k]) for value in made.value),
                int(made.orbit[k]),
                float(made.confidence[k]),
                tuple(seen[row].time for row in used),
            )
        )
    return found


def found_in(values: list[Seen], wanted: MarkerRule) -> list[Found]:
    table, seen = observations([values])
    return as_found(detect(table, wanted), seen, 0)


days = st.integers(0, 800)
value = st.one_of(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]), st.just(math.nan), st.floats(-0.2, 1))
seen = st.builds(
    lambda day, minute, orbit, share, total, v: Seen(
        START + timedelta(days=day, minutes=minute), orbit, float(round(share * total)), float(total), v
    ),
    days, st.integers(0, 1439), st.sampled_from([8, 51, 110]), st.sampled_from([0, 0.2, 0.5, 0.8, 1]),
    st.integers(0, 60), value,
)  # fmt: skip
dense = st.lists(seen, max_size=12).flatmap(
    lambda some: st.just([one._replace(time=START + (one.time - START) / 12) for one in some])
)
KINDS = [("drop",), ("rise",), ("above",), ("below",), ("drop", "below"), ("rise", "above")]
rules = st.builds(
    lambda kind, amount, level, **rest: rule(
        **{name: amount if name in ("drop", "rise") else level for name in kind}, **rest
    ),
    st.sampled_from(KINDS),
    st.sampled_from([0.1, 0.15, 0.3]),
    st.sampled_from([-0.1, 0.3, 0.5]),
    within=st.sampled_from([None, 1, 10, 30, 200]),
    season=st.sampled_from([None, "04-01/10-31", "11-15/02-29", "12-31/12-31"]),
    min_pixels=st.sampled_from([0, 1, 20]),
    min_share=st.sampled_from([0, 0.5, 1]),
    hold=st.integers(1, 3),
    hold_days=st.sampled_from([0, 0, 9, 40]),
    apart=st.sampled_from([0, 14, 100]),
    events=st.sampled_from(["first", "all"]),
    orbits=st.sampled_from(["each", "all"]),
    decibels=st.booleans(),
)


@given(st.lists(st.one_of(st.lists(seen, max_size=14), dense), max_size=5), rules)
@example([[], series(0.8), series(0.8, 0.6), series(math.nan, math.nan)], rule(drop=0.2))
@example([series(0.8, 0.2, every=0)], rule(drop=0.2))
def test_markers_are_those_of_plain_python(zones, wanted):
    """Gaps, NaN, clouds, single observations, several on a day, any order of rows, series over New Year."""
    table, rows = observations(zones)
    made = detect(table, wanted)
    for zone, one in enumerate(zones):
        expected, found = markers_of(one, wanted), as_found(made, rows, zone)
        plain = [[item._replace(confidence=0, values=()) for item in items] for items in (found, expected)]
        assert plain[0] == plain[1]
        for one_found, one_expected in zip(found, expected, strict=True):  # logarithms may differ in the last bit
            np.testing.assert_allclose(one_found.values, one_expected.values, rtol=1e-12)
        np.testing.assert_allclose([f.confidence for f in found], [e.confidence for e in expected], rtol=1e-9)
        assert all(0 <= item.confidence <= 1 for item in found)
    assert made.zone.tolist() == sorted(made.zone.tolist())


@pytest.mark.parametrize(
    ("value", "wanted", "fits"),
    [
        ("maize", ["maize"], True), ("Maize", ["maize"], False), (110, ["110"], True), ("110", [110], True),
        (110.0, [110], True), ("0110", [110], False), (1, [True], False), (True, [True], True),
        (False, [True], False),
        (None, ["maize"], False), (None, [None, "maize"], True), ("", [None], False), (0.5, [0.5], True),
    ],
)  # fmt: skip
def test_zones_that_a_rule_looks_at(value, wanted, fits):
    assert rule(drop=0.2, where={"crop": wanted}).applies_to({"crop": value}) is fits
    both = rule(drop=0.2, where={"crop": wanted, "holding": ["h1"]})
    assert both.applies_to({"crop": value, "holding": "h1"}) is fits
    assert not both.applies_to({"crop": value, "holding": "h2"})


def test_zones_are_a_part_of_a_rule():
    """A rule for all zones is written as before, so that its markers stay."""
    assert "where" not in rule(drop=0.2).model_dump(mode="json")
    limited = rule(drop=0.2, where={"crop": ["maize", None]}).model_dump(mode="json")
    assert limited["where"] == {"crop": ["maize", None]}
    with pytest.raises(ValidationError, match="at least 1 item"):
        rule(drop=0.2, where={"crop": []})


def test_the_comparison_finds_something():
    """Random series have events of all kinds, so that the test above compares more than empty lists."""
    random.seed(1)
    values = [series(*(random.choice([0.2, 0.5, 0.8]) for _ in range(40))) for _ in range(20)]
    table, _ = observations(values)
    for fields in ({"drop": 0.3}, {"rise": 0.3}, {"above": 0.6}, {"below": 0.3}):
        assert len(detect(table, rule(events="all", **fields))) > 50


@given(st.integers(0, 40_000), st.sampled_from([None, "04-01/10-31", "11-15/02-29", "02-29/02-29", "03-01/02-28"]))
def test_seasons(day, season):
    date = datetime(1970, 1, 1) + timedelta(days=day)
    found = seasons_of(np.array([day]), rule(above=1, season=season).season_days)[0]
    assert found == (-1 if season_of(date, season) is None else season_of(date, season))


def test_a_drop_lies_between_two_observations():
    (event,) = found_in(series(0.8, 0.82, 0.5, 0.45, 0.7), rule(drop=0.3))
    assert [time.date().isoformat() for time in event.times] == ["2024-04-06", "2024-04-11", "2024-04-11"]
    assert event.values == (0.82, 0.5, 0.5)
    assert event.confidence == pytest.approx((0.5 * 0.32 / 0.3 * 30 / 35) ** (1 / 3))


def test_a_cloud_that_the_mask_missed_is_no_event_that_holds():
    dip = series(0.8, 0.8, 0.3, 0.8, 0.8)
    assert len(found_in(dip, rule(drop=0.3))) == 1
    assert found_in(dip, rule(drop=0.3, hold=2)) == []
    assert found_in(dip, rule(drop=0.3, hold_days=5)) == []
    (event,) = found_in(series(0.8, 0.8, 0.3, 0.3, 0.8), rule(drop=0.3, hold_days=5))
    assert len(event.used) == 3


def test_differences_of_stored_numbers_are_no_edge():
    """0.7 and 0.55 differ by less than 0.15 in 32 bits."""
    stored = [float(np.float32(v)) for v in (0.7, 0.55)]
    assert stored[0] - stored[1] < 0.15
    assert len(found_in(series(*stored), rule(drop=0.15))) == 1
    assert found_in(series(0.5, float(np.float32(0.3)), 0.5), rule(below=0.3)) == []


def test_views_of_other_orbits_are_no_change():
    """Two orbits in turn, the second one 0.2 lower."""
    seen = [one._replace(orbit=8 + n % 2, value=0.5 - 0.2 * (n % 2)) for n, one in enumerate(series(*[0.0] * 8))]
    assert len(found_in(seen, rule(drop=0.15, events="all"))) == 4
    assert found_in(seen, rule(drop=0.15, events="all", orbits="each")) == []


def test_decibels():
    power = series(0.1, 0.01)
    assert len(found_in(power, rule(drop=10, decibels=True))) == 1
    assert found_in(power, rule(drop=10.1, decibels=True)) == []
    assert found_in(series(0.1, 0.0, -1.0), rule(drop=1, decibels=True)) == []


@pytest.mark.parametrize("name", presets())
def test_presets_find_what_they_are_for(name):
    chosen = MarkerRule.model_validate({"name": "x", "preset": name, "orbits": "all"})
    summer = datetime(2024, 6, 1)
    curves = {
        "mowing": [0.8, 0.82, 0.55, 0.6, 0.7, 0.8, 0.8, 0.5, 0.6],
        "ploughing": [0.7, 0.7, 0.2, 0.2, 0.2],
        "harvest": [0.8, 0.7, 0.35, 0.3, 0.3],
        "coherence_rise": [0.2, 0.2, 0.45, 0.4],
    }
    found = found_in(series(*curves[name], every=6, start=summer), chosen)
    assert len(found) == (2 if name == "mowing" else 1)
    assert found_in(series(*[0.5] * 20, every=6, start=summer), chosen) == []


def test_what_a_rule_says_counts_more_than_its_preset():
    chosen = MarkerRule.model_validate(
        {"name": "x", "preset": "mowing", "drop": 0.2, "season": None, "practice": None}
    )
    assert (chosen.drop, chosen.season, chosen.practice, chosen.within) == (0.2, None, None, 20)
    assert MarkerRule.model_validate(chosen.model_dump(mode="json")) == chosen


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "give one of drop"),
        ({"drop": 0.1, "rise": 0.1}, "either drop or rise"),
        ({"above": 0.1, "below": 0.2}, "either above or below"),
        ({"drop": 0.1, "above": 0.2}, "above does not fit drop"),
        ({"rise": 0.1, "below": 0.2}, "below does not fit rise"),
        ({"drop": 0}, "greater than 0"),
        ({"drop": math.nan}, "finite"),
        ({"above": 0.1, "season": "4-1/10-31"}, "MM-DD"),
        ({"above": 0.1, "season": "02-30/10-31"}, "02-30 is no day"),
        ({"above": 0.1, "hold": 0}, "greater than or equal to 1"),
        ({"above": 0.1, "min_share": 75}, "less than or equal to 1"),
        ({"preset": "mowing", "rise": 0.1}, "either drop or rise"),
        ({"preset": "sowing"}, "mowing"),
        ({"above": 0.1, "name": "Mowing!"}, "pattern"),
        ({"above": 0.1, "thershold": 2}, "thershold"),
    ],
)
def test_rules_with_faults(fields, message):
    with pytest.raises(ValidationError, match=message):
        rule(**fields)


CAMPAIGN = """\
name: events
aoi: [2, 45, 3, 46]
period: 2024-03-01/..
scenes: {{paths: [products]{scenes}}}
cube: {{bands: [{bands}]}}
reductions:
  - {{name: parcels, zones: parcels.gpkg, id: id, bands: [{bands}]{more}}}
  - {{name: blocks, zones: blocks.gpkg, id: id, bands: [{bands}], percentiles: [10]}}
markers:
  - {rule}
"""
NDVI = ", indices: {NDVI: (B08 - B04) / (B08 + B04)}"


def campaign(tmp_path, rule, bands="B04, B08, SCL", scenes="", more=NDVI):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN.format(rule=rule, bands=bands, scenes=scenes, more=more))
    return load_campaign(tmp_path / "campaign.yaml")


def test_rules_of_a_campaign_are_settled(tmp_path):
    (found,) = campaign(tmp_path, "{name: mowing, preset: mowing}").markers
    assert (found.reduction, found.orbits, found.season) == ("parcels", "all", "04-01/10-31")
    rule = "{name: mowing, preset: coherence_rise, reduction: parcels}"
    radar = campaign(tmp_path, rule, "COH_VV, COH_VH", ", collection: sentinel-1-card-coh6", "")
    assert radar.markers[0].orbits == "each"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{name: x, band: B04, drop: 0.1}", "several reductions have band B04; add `reduction: parcels`"),
        (
            "{name: x, band: B11, drop: 0.1}",
            "no reduction has statistics of band B11; there are those of B04, B08, NDVI",
        ),
        ("{name: x, band: SCL, drop: 0.1}", "no reduction has statistics of band SCL"),
        (
            "{name: x, band: NDVI, drop: 0.1, reduction: blocks}",
            "has no statistics of band NDVI; it has those of B04, B08",
        ),
        ("{name: x, band: NDVI, drop: 0.1, reduction: forest}", "there is no reduction 'forest'"),
        ("{name: x, band: B04, drop: 0.1, reduction: blocks, statistic: p50}", "has no statistic 'p50'; it has mean"),
        ("{name: x, band: NDVI}", "markers.0: give one of drop, rise"),
        ("{name: x, preset: mowing, drops: 0.1}", "did you mean 'drop'"),
        ("{name: x, band: NDVI, drop: 0.1}\n  - {name: x, band: NDVI, rise: 0.1}", "have the same name"),
    ],
)
def test_rules_that_do_not_fit_the_campaign(tmp_path, rule, message):
    with pytest.raises(CampaignError) as caught:
        campaign(tmp_path, rule)
    assert message in str(caught.value)
