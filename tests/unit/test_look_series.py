from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection
from PIL import Image

from hpckit.errors import HpckitError
from hpckit.look.series import ZoneSeries, draw_series, observations, spread
from hpckit.sensors.sentinel1.sensor import SENTINEL1
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests.unit.look_samples import series_frame

pytestmark = pytest.mark.slow

VALID = [100, 0, 80, 20, 50, 49]
MIDDLE = [0.2, 0.3, 0.5, 0.1, 0.6, 0.15]


def zone(frame: pd.DataFrame, name: str = "17", **changes: object) -> ZoneSeries:
    return ZoneSeries(
        **{"zone": name, "band": "NDVI", "campaign": "sample", "frame": frame, "sensor": SENTINEL2, **changes}
    )


def marker_points(axes: object, marker: str, face: str | None = None) -> int:
    lines = [line for line in axes.get_lines() if line.get_marker() == marker]
    return sum(len(line.get_xdata()) for line in lines if face is None or line.get_markerfacecolor() == face)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=30))
def test_observations_are_divided_without_rest(pairs):
    frame = series_frame([p[0] for p in pairs], [0.5] * len(pairs))
    frame["total"] = [p[1] for p in pairs]
    kinds = observations(frame)
    assert sorted(i for part in kinds.values() for i in part.index) == list(range(len(pairs)))
    for kind, part in kinds.items():
        for row in part.itertuples():
            fraction = row.valid / row.total if row.total > 0 else 0.0
            assert (fraction >= 0.5, 0 < fraction < 0.5, fraction <= 0) == tuple(
                kind in k for k in (["clear"], ["cloudy"], ["masked", "unseen"])
            )


@pytest.mark.parametrize(
    ("valid", "total", "observed", "kind"),
    [
        (0, 0, None, "unseen"),
        (0, 0, True, "unseen"),
        (0, 100, False, "unseen"),
        (0, 100, True, "masked"),
        (0, 100, pd.NA, "masked"),
        (0, 100, None, "masked"),
        (20, 100, True, "cloudy"),
        (20, 100, pd.NA, "cloudy"),
        (100, 100, True, "clear"),
    ],
)
def test_what_was_not_observed_is_not_called_cloud(valid, total, observed, kind):
    frame = series_frame([valid], [0.5]).assign(total=float(total))
    if observed is not None:
        frame["observed"] = pd.array([observed], dtype="boolean")
    assert [name for name, part in observations(frame).items() if len(part)] == [kind]


def test_picture_tells_cloud_from_no_data():
    frame = series_frame([*VALID, 0, 0], [*MIDDLE, 0.1, 0.1])
    frame["observed"] = pd.array([True] * 6 + [False, pd.NA], dtype="boolean")
    figure = draw_series([zone(frame)]).figure
    (axes,) = figure.axes
    assert marker_points(axes, "x") == 1
    assert "3 clear of 7 observations · 1 without data" in figure.texts[1].get_text()
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[-2:] == ["no clear pixel", "no data: outside the swath"]
    figure.canvas.draw()
    assert figure.legends[0].get_window_extent().x0 > 0


@pytest.mark.parametrize("flights", [["ASC"], ["ASC", "DES"]])
def test_legend_of_radar_without_data_fits(flights):
    frame = series_frame([100, 100, 0, 0], [0.1, 0.2, 0.1, 0.1])
    frame["acquisition"] = [f"S1A_{flights[n % len(flights)]}_037" for n in range(4)]
    frame["observed"] = pd.array([True, True, False, False], dtype="boolean")
    figure = draw_series([zone(frame, band="VV", sensor=SENTINEL1)]).figure
    figure.canvas.draw()
    assert figure.legends[0].get_window_extent().x0 > 0
    assert "2 complete of 2 observations · 2 without data" in figure.texts[1].get_text()


@pytest.mark.parametrize("count", [1, 3])
def test_zone_outside_the_swath_has_a_picture_that_says_so(count):
    frame = series_frame([0] * count, [0.5] * count).assign(observed=pd.array([False] * count, dtype="boolean"))
    (axes,) = draw_series([zone(frame)]).figure.axes
    assert [text.get_text() for text in axes.texts] == ["never observed: no data"]


@pytest.mark.parametrize(
    ("columns", "middle", "name"),
    [
        (["p25", "p50", "p75"], "p50", "p25–p75"),
        (["p10", "p50", "p90"], "p50", "p10–p90"),
        (["p5", "p20", "p70", "p99"], "mean", "p20–p70"),
        (["p97.5", "p2.5"], "mean", "p2.5–p97.5"),
        (["p50"], "p50", "mean ± std"),
        ([], "mean", "mean ± std"),
    ],
)
def test_spread_takes_what_the_reduction_has(columns, middle, name):
    frame = series_frame([100, 100], [0.4, 0.5])[["time", "valid", "total", "mean", "std", "min", "max"]]
    for column in columns:
        frame[column] = 0.4
    chosen = spread(frame)
    assert (chosen.middle, chosen.name) == (middle, name)


def test_one_series_shows_each_observation_once_and_by_kind():
    picture = draw_series([zone(series_frame(VALID, MIDDLE), label="maize")])
    (axes,) = picture.figure.axes
    clear = [line for line in axes.get_lines() if line.get_marker() == "o" and line.get_markerfacecolor() != "white"]
    assert [len(line.get_ydata()) for line in clear] == [3]
    np.testing.assert_allclose(clear[0].get_ydata(), [0.2, 0.5, 0.6])
    assert marker_points(axes, "o", "white") == 2
    ticks = [c for c in axes.collections if isinstance(c, LineCollection) and c.get_transform() != axes.transData]
    assert len(ticks[-1].get_segments()) == 1
    texts = [text.get_text() for text in picture.figure.texts]
    assert texts[0] == "Zone 17 · maize"
    assert "3 clear of 6 observations" in texts[1]
    assert "1 Mar 2024 – 26 Mar 2024" in texts[1]
    assert "baseline 05.09" in texts[2]
    assert axes.get_ylabel() == "NDVI"


def test_picture_is_a_png_of_twice_the_size_of_a_screen():
    image = Image.open(io.BytesIO(draw_series([zone(series_frame(VALID, MIDDLE))]).png))
    assert image.format == "PNG"
    assert image.width == 2000
    assert np.asarray(image.convert("L")).std() > 5


def test_long_gaps_are_not_drawn_as_observed():
    frame = series_frame([100] * 4, [0.2, 0.3, 0.6, 0.7], days=[0, 10, 90, 100])
    (axes,) = draw_series([zone(frame)]).figure.axes
    dotted = [line for line in axes.get_lines() if line.get_marker() == "None" and line.is_dashed()]
    solid = [line for line in axes.get_lines() if line.get_marker() == "None" and not line.is_dashed()]
    assert [list(line.get_ydata()) for line in dotted] == [[0.3, 0.6]]
    assert [list(line.get_ydata()) for line in solid] == [[0.2, 0.3], [0.6, 0.7]]


def test_absurd_cloudy_values_stay_at_the_edge():
    frame = series_frame([100, 100, 10, 10], [0.4, 0.6, 900.0, -900.0])
    (axes,) = draw_series([zone(frame)]).figure.axes
    low, high = axes.get_ylim()
    assert low > -0.2
    assert high < 1.2
    assert marker_points(axes, "^") == marker_points(axes, "v") == 1


@pytest.mark.parametrize("valid", [[0, 0, 0], [0], [10, 20, 0]])
def test_series_without_a_clear_observation(valid):
    (axes,) = draw_series([zone(series_frame(valid, [0.5] * len(valid)))]).figure.axes
    assert [text.get_text() for text in axes.texts] == ["no clear observation"]


def test_one_observation_only():
    assert draw_series([zone(series_frame([100], [0.5]))]).png.startswith(b"\x89PNG")


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
def test_several_zones_share_scales(count):
    frames = [series_frame(VALID, np.array(MIDDLE) + n / 20, start=f"2024-0{n + 1}-01") for n in range(count)]
    figure = draw_series([zone(frame, str(n)) for n, frame in enumerate(frames)]).figure
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == count
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in shown}) == 1
    assert [axes.get_title(loc="left") for axes in shown] == [f"Zone {n}" for n in range(count)]


def test_times_with_and_without_zone_are_the_same():
    naive, aware = series_frame(VALID, MIDDLE), series_frame(VALID, MIDDLE)
    aware["time"] = aware["time"].dt.tz_localize("UTC")
    assert draw_series([zone(naive)]).png == draw_series([zone(aware)]).png


@pytest.mark.parametrize("name", ["$x^$", "a_{b} $\\frac$", "Robert'); DROP TABLE zones;--", "农田", "", "Zürich/7"])
def test_identifiers_are_shown_as_they_are(name):
    picture = draw_series([zone(series_frame(VALID, MIDDLE), name)])
    assert picture.png
    assert picture.figure.texts[0].get_text() == f"Zone {name}"


@pytest.mark.parametrize(
    ("band", "unit"),
    [
        ("B08", "B08 reflectance"),
        ("B04@60m", "B04@60m reflectance"),
        ("CLD", "CLD percent"),
        ("NDVI", "NDVI"),
        ("LAI", "LAI"),
    ],
)
def test_units(band, unit):
    assert zone(series_frame(VALID, MIDDLE), band=band).unit == unit


def test_reflectance_begins_at_zero():
    (axes,) = draw_series([zone(series_frame([100] * 2, [0.3, 0.4]), band="B08")]).figure.axes
    assert axes.get_ylim()[0] <= 0


@pytest.mark.parametrize("count", [0, 9])
def test_too_few_or_many_zones(count):
    with pytest.raises(HpckitError, match="zones"):
        draw_series([zone(series_frame(VALID, MIDDLE))] * count)


def test_empty_series_is_refused():
    with pytest.raises(HpckitError, match="zone 17 has no observations of NDVI"):
        draw_series([zone(series_frame([], []))])


def test_drawing_leaves_no_global_state():
    import matplotlib

    before = dict(matplotlib.rcParams)
    draw_series([zone(series_frame(VALID, MIDDLE))]).png  # noqa: B018
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ".PNG"])
def test_pictures_are_saved_by_their_name(tmp_path, suffix):
    path = tmp_path / f"a 'b'{suffix}"
    draw_series([zone(series_frame(VALID, MIDDLE))]).save(path)
    starts = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}
    assert path.read_bytes().startswith(starts[suffix.lower()])
    assert list(tmp_path.iterdir()) == [path]


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(HpckitError, match=r"a\.gif: a picture is saved as"):
        draw_series([zone(series_frame(VALID, MIDDLE))]).save(tmp_path / "a.gif")


def test_a_picture_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HpckitError, match="cannot be written"):
        draw_series([zone(series_frame(VALID, MIDDLE))]).save(tmp_path / "file" / "a.png")


@pytest.mark.parametrize("zones", [1, 2, 5])
@pytest.mark.parametrize("tiles", [1, 3, 40])
def test_line_of_provenance_lies_below_the_legend(zones, tiles):
    frame = pd.concat([series_frame(VALID, MIDDLE)] * tiles, ignore_index=True)
    frame["tile"] = [f"{n:02d}UFU" for n in np.arange(len(frame)) % tiles]
    figure = draw_series([zone(frame, str(n)) for n in range(zones)]).figure
    figure.canvas.draw()
    line = figure.texts[-1].get_window_extent()
    legend = figure.legends[0].get_window_extent()
    labels = [a.xaxis.get_tightbbox().y0 for a in figure.axes if a.axison and a.xaxis.get_tightbbox() is not None]
    assert line.y0 > 0
    assert line.y1 < legend.y0
    assert legend.y1 < min(labels)
    assert line.x1 < figure.bbox.x1
