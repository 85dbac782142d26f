"""What names of images say by a pattern: dates, times, bands, tiles; and patterns that are none."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.sensors.rasters.pattern import Pattern

BANDS = ("ndvi", "class", "B8", "B8A")
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31))  # %y means these years
FORMS = (
    ("{date}_{band}.tif", "{:%Y%m%d}_{band}.tif", "%Y%m%d"),
    ("{date}_{band}.tif", "{:%Y-%m-%d}_{band}.tif", "%Y%m%d"),
    ("{band}.{date}.tif", "{band}.{:%Y_%m_%d}.tif", "%Y%m%d"),
    ("S2_{date:%y%j}_{band}_10m.tif", "S2_{:%y%j}_{band}_10m.tif", "%Y%m%d"),
    ("{date:%d%b%Y}-{band}.tiff", "{:%d%b%Y}-{band}.tiff", "%Y%m%d"),
    ("{date}T{time}_{band}.tif", "{:%Y%m%dT%H%M%S}_{band}.tif", "%Y%m%d%H%M%S"),
    ("{date}_{time:%H-%M}_{band}.tif", "{:%Y%m%d_%H-%M}_{band}.tif", "%Y%m%d%H%M"),
    ("{date:%Y}/{date:%m}/{band}_{date:%d}.tif", "{0:%Y}/{0:%m}/{band}_{0:%d}.tif", "%Y%m%d"),
    ("{date}/{date}_{band}.tif", "{0:%Y%m%d}/{0:%Y%m%d}_{band}.tif", "%Y%m%d"),
    ("{band}/*_{date}_*.tif", "{band}/S2A_{:%Y%m%d}_v1.tif", "%Y%m%d"),
    ("{date:%Y%m}_{band}.tif", "{:%Y%m}_{band}.tif", "%Y%m"),
)


@pytest.mark.parametrize(("text", "name", "kept"), FORMS)
@settings(max_examples=25)
@given(moment=MOMENTS, band=st.sampled_from(BANDS))
def test_a_name_says_when_and_which_band(text, name, kept, moment, band):
    found = Pattern(text, BANDS).match(Path("/data", name.format(moment, band=band)))
    assert found is not None and found.band == band and found.base == Path("/data")
    assert found.sensed() == datetime.strptime(moment.strftime(kept), kept).replace(tzinfo=UTC)


@given(tile=st.from_regex(r"[A-Z0-9]{1,4}([_-][a-z0-9]{1,3})?", fullmatch=True), moment=MOMENTS)
def test_a_name_says_the_tile(tile, moment):
    pattern = Pattern("{tile}_{date}_{band}.tif", BANDS)
    found = pattern.match(Path(f"/data/{tile}_{moment:%Y%m%d}_B8A.tif"))
    assert found is not None and (found.tile, found.band) == (tile, "B8A")


@pytest.mark.parametrize(
    "name", ["20240501_evi.tif", "20240501_ndvi.tif.aux.xml", "2024051_ndvi.tif", "x20240501_ndvi.tif"]
)
def test_other_names_are_no_images(name):
    assert Pattern("{date}_{band}.tif", BANDS).match(Path("/data", name)) is None


def test_a_repeated_field_has_one_text():
    pattern = Pattern("{date}/{date}_{band}.tif", BANDS)
    assert pattern.match(Path("/data/20240501/20240502_ndvi.tif")) is None


@pytest.mark.parametrize("text", ["20241340", "20230229", "2024-00-10"])
def test_what_is_no_day_is_said(text):
    found = Pattern("{date}_{band}.tif", BANDS).match(Path(f"/data/{text}_ndvi.tif"))
    assert found is not None
    with pytest.raises(ValueError, match=f"{text} is no date"):
        found.sensed()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{date}_{band}", "ends in .tif"),
        ("{band}.tif", "needs {date}"),
        ("{date:%m%d}_{band}.tif", "needs {date}"),
        ("{day}_{band}.tif", "{day} is no field"),
        ("{date:%Q}_{band}.tif", "%Q is not known"),
        ("{date:2024}_{band}.tif", "no form of a date"),
        ("{band:x}_{date}.tif", "has no form"),
        ("{date_{band}.tif", "pair of braces"),
        ("{date:%Y%Y}_{band}.tif", "stands in one field"),
        ("{date}_{date:%Y}.tif", "stands in one field"),
        ("../{date}.tif", "below"),
        ("/data/{date}.tif", "below"),
    ],
)
def test_what_is_no_pattern(text, message):
    with pytest.raises(ValueError, match=message):
        Pattern(text, BANDS)


@pytest.mark.parametrize("text", ["{date}_{band}.tif", "{band}/{date}.tif", "{date:%Y}/*/{band}_{date:%j}*.tif"])
def test_images_and_those_beside_them(text, tmp_path):
    pattern = Pattern(text, BANDS)
    wanted = set()
    for day in (122, 140, 150):
        for band in ("ndvi", "B8A"):
            moment = datetime.strptime(f"2024{day}", "%Y%j")
            places = {
                "{date}": f"{moment:%Y%m%d}",
                "{date:%Y}": "2024",
                "{date:%j}": str(day),
                "{band}": band,
                "*": f"any{day}",
            }
            name = text
            for field, value in places.items():
                name = name.replace(field, value)
            wanted.add(tmp_path / name)
    for path in [
        *wanted,
        tmp_path / "readme.tif",
        tmp_path / "other" / "20240501_x.tif",
        tmp_path / "2024" / "a.tif",
    ]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = pattern.images(tmp_path)
    assert [path for path, _ in found] == sorted(wanted)
    for path, match in found:
        beside = pattern.beside(match)
        assert sorted(band for band, _ in beside) == ["B8A", "ndvi"] and path in {other for _, other in beside}
        assert {pattern.match(other).key for _, other in beside} == {match.key}
