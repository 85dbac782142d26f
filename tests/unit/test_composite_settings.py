"""What a campaign file may say of composites, and how a campaign is cut into periods."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.campaign.campaign import load_campaign
from hpckit.campaign.composite import Rolling
from hpckit.errors import CampaignError
from hpckit.reduce.composites.periods import periods
from hpckit.sensors.sentinel2.sensor import SENTINEL2

CAMPAIGN = """\
name: c
aoi: [5, 51, 6, 52]
period: 2024-01-15/2024-12-31
scenes: {paths: [scenes]}
cube: {bands: [B02, B03, B04, B08, B11, SCL]}
reductions:
  - name: monthly
    kind: composite
"""


def load(tmp_path, text):
    path = tmp_path / "campaign.yaml"
    path.write_text(CAMPAIGN + "".join(f"    {line}\n" for line in text.splitlines()))
    return load_campaign(path)


def test_everything_has_a_default(tmp_path):
    (composite,) = load(tmp_path, "bands: [B04, B11]").composites
    assert composite.methods == ["median"] and composite.period == "campaign"
    assert composite.mask is not None and composite.mask.exclude == [0, 1, 3, 8, 9, 10, 11]
    assert composite.named_bands() == ["B04", "B11", "SCL"]


def test_distances_and_rolling_periods(tmp_path):
    text = "bands: [B04]\nmask: {dilate: 60m}\nperiod: {window: 30, step: 10}\nmethods: p97.5"
    (composite,) = load(tmp_path, text).composites
    assert composite.mask is not None and composite.mask.dilate.in_pixels(20) == 3
    assert composite.period == Rolling(window=30, step=10) and composite.percentile("p97.5") == 97.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bands: [B04]\nmethods: [mode]", "no method 'mode'"),
        ("bands: [SCL]", "SCL holds classes"),
        ("bands: [B04, B11]\nmethods: [geomad]", "all bands at one resolution"),
        ("bands: [B04]\nindices: {N: (B8A - B04) / (B8A + B04)}", "mixes bands"),
        ("bands: [B05]", "needs band B05, which cube.bands lacks"),
        ("bands: [B04]\nmask: {dilate: 3 miles}", "write a distance like 60m or 3px"),
        ("bands: [B04]\nsmooth: {lambda: -1}", "smooth.lambda"),
        ("bands: [B04]\nsmooth: {envelope: {NDVI: 0.9}}", "names 'NDVI', which is no band or index"),
        ("bands: [B04]\nsmooth: {lamda: 5}", "did you mean 'lambda'"),
        ("bands: [B04]\nperoid: month", "did you mean 'period'"),
        ("bands: [B04]\nmask: {dillate: 3px}", "did you mean 'dilate'"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(CampaignError, match=message) as caught:
        load(tmp_path, text)
    assert "campaign.yaml:" in str(caught.value)
    assert "composite." not in str(caught.value)


def test_smoothing(tmp_path):
    text = "bands: [B04]\nmethods: smooth\nsmooth: {lambda: 300, envelope: {B04: 0.1}, extend: 0}"
    (composite,) = load(tmp_path, text).composites
    assert (composite.smooth.lam, composite.smooth.envelope, composite.smooth.extend) == (300, {"B04": 0.1}, 0)


def test_unknown_kind(tmp_path):
    with pytest.raises(CampaignError, match="kind must be signatures"):
        (tmp_path / "c.yaml").write_text(CAMPAIGN.replace("composite", "mosaic"))
        load_campaign(tmp_path / "c.yaml")


DAYS = st.dates(dt.date(2015, 1, 1), dt.date(2030, 12, 31))


@given(DAYS, st.integers(0, 900), st.sampled_from(["campaign", "month", "dekad", "season", "year"]))
def test_periods_of_the_calendar_cover_each_day_once(start, length, kind):
    end = start + dt.timedelta(days=length)
    found = periods(start, end, kind)
    days = [item.start + dt.timedelta(days=n) for item in found for n in range((item.end - item.start).days + 1)]
    assert days == [start + dt.timedelta(days=n) for n in range(length + 1)]
    assert len({item.label for item in found}) == len(found)


def test_names_of_periods():
    start, end = dt.date(2023, 12, 5), dt.date(2024, 3, 10)
    assert [p.label for p in periods(start, end, "season")] == ["2024-DJF", "2024-MAM"]
    assert [p.label for p in periods(start, end, "month")] == ["2023-12", "2024-01", "2024-02", "2024-03"]
    assert periods(start, end, "dekad")[0].label == "2023-12-D1"
    assert periods(dt.date(2024, 2, 21), end, "dekad")[0].end == dt.date(2024, 2, 29)


@given(DAYS, st.integers(0, 300), st.integers(1, 90), st.integers(1, 90))
def test_rolling_periods_are_equally_long_and_within(start, length, window, step):
    end = start + dt.timedelta(days=length)
    found = periods(start, end, Rolling(window=window, step=step))
    assert found and found[0].start == start and all(item.end <= end for item in found)
    if length + 1 >= window:
        assert all((item.end - item.start).days == window - 1 for item in found)


RADAR = """\
name: c
aoi: [5, 51, 6, 52]
period: 2024-01-15/2024-12-31
scenes: {paths: [scenes], collection: sentinel-1-card-bs%s}
cube: {bands: [VV, VH]}
reductions: [{name: yearly, kind: composite, bands: [VV, VH], methods: [median]}]
"""


def test_ascending_and_descending_passes_are_not_mixed(tmp_path):
    path = tmp_path / "campaign.yaml"
    path.write_text(RADAR % "")
    with pytest.raises(CampaignError, match="would mix ascending and descending passes"):
        load_campaign(path)
    path.write_text(RADAR % ", radar: {orbit: ascending}")
    (composite,) = load_campaign(path).composites
    assert composite.mask is None and composite.named_bands() == ["VV", "VH"]


def test_on_a_grid_bands_have_its_pixels(tmp_path):
    text = CAMPAIGN.replace("cube:", "grid: utm:10240@20\ncube:").replace("monthly", "yearly")
    path = tmp_path / "campaign.yaml"
    path.write_text(text + "    bands: [B04, B11]\n    methods: [geomad, max_ndvi]\n")
    campaign = load_campaign(path)
    (composite,) = campaign.composites
    assert composite.red_and_infrared(campaign.ref) == (
        SENTINEL2.parse("B04@20m"),
        SENTINEL2.parse("B08", pixel_m=20),
    )


@pytest.mark.parametrize(
    ("bands", "cube", "pair"),
    [
        ("[B02, B03]", "B04, B08", (SENTINEL2.parse("B04@10m"), SENTINEL2.parse("B08@10m"))),
        ("[B11]", "B04@20m, B8A", (SENTINEL2.parse("B04@20m"), SENTINEL2.parse("B8A@20m"))),
        ("[B11@60m]", "B04@60m, B8A@60m, B11@60m", (SENTINEL2.parse("B04@60m"), SENTINEL2.parse("B8A@60m"))),
    ],
)
def test_dates_are_chosen_by_bands_of_the_same_resolution(tmp_path, bands, cube, pair):
    path = tmp_path / "campaign.yaml"
    text = CAMPAIGN.replace("SCL]", f"{cube}, SCL]") + f"    bands: {bands}\n    methods: max_ndvi\n"
    path.write_text(text)
    campaign = load_campaign(path)
    assert campaign.composites[0].red_and_infrared(campaign.ref) == pair
    path.write_text(text.replace(f"B04, B08, B11, {cube}", "B11, B11@60m"))
    with pytest.raises(CampaignError, match="needs band B04"):
        load_campaign(path)


@given(start=st.dates(dt.date(2020, 1, 1), dt.date(2024, 1, 1)), days=st.integers(0, 500), more=st.integers(0, 400))
@pytest.mark.parametrize("kind", ["month", "dekad", "season", "year", Rolling(window=20, step=10)])
def test_periods_of_a_campaign_without_end_keep_their_days_when_more_is_acquired(kind, start, days, more):
    last, later = (start + dt.timedelta(days=n) for n in (days, days + more))
    found = periods(start, last, kind, is_open=True)
    if not isinstance(kind, Rolling) or days >= kind.window - 1:  # a shorter campaign is one period
        assert periods(start, later, kind, is_open=True)[: len(found)] == found
    if not isinstance(kind, Rolling):
        assert found[-1].start <= last <= found[-1].end
        assert periods(start, found[-1].end, kind) == found


def test_the_period_of_a_whole_campaign_without_end_keeps_its_name():
    first, second = (
        periods(dt.date(2024, 3, 1), dt.date(2024, month, 9), "campaign", is_open=True) for month in (5, 6)
    )
    assert first[0].label == second[0].label == "2024-03-01_open" and second[0].end == dt.date(2024, 6, 9)
