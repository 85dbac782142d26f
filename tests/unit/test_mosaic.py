"""An area across tiles as one dataset: equal to a plain composition of the arrays that were written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rioxarray  # noqa: F401 -- gives datasets their `rio`
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.campaign.campaign import load_campaign
from hpckit.errors import CubeError
from hpckit.look.view import CampaignView
from hpckit.space.frame import Frame
from hpckit.space.vector.project import transformer
from tests.unit import map_samples
from tests.unit.look_samples import acquisition, write_cube

pytestmark = pytest.mark.slow

SHAPE = (96, 120)
CORNERS = {"31UFT": (600_000.0, 5_800_020.0), "31UFU": (600_960.0, 5_800_200.0), "31UGT": (601_500.0, 5_799_600.0)}
DAYS = {"31UFT": [1, 11], "31UFU": [1, 6, 11], "31UGT": [6]}
LEFT, TOP, WHOLE = 600_000.0, 5_800_200.0, (156, 270)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> tuple[CampaignView, np.ndarray]:
    """A cube of three tiles that overlap, and all of it as one array: dates 1, 6 and 11."""
    folder = tmp_path_factory.mktemp("mosaic")
    (folder / "campaign.yaml").write_text(map_samples.CAMPAIGN)
    random, whole = np.random.default_rng(3), np.zeros((3, *WHOLE), np.uint16)
    for tile in CORNERS:
        left, top = CORNERS[tile]
        times = [datetime(2024, 4, day, 10, 50, 31, tzinfo=UTC) for day in DAYS[tile]]
        pixels = random.integers(1000, 4000, (len(times), *SHAPE)).astype(np.uint16)
        pixels[random.random(pixels.shape) < 0.3] = 0
        frame = Frame(tile, 32631, left, top, {10: SHAPE}, {})
        made = [acquisition(time, {10: SHAPE}, tile=tile, frame=frame) for time in times]
        write_cube(folder / "cube.zarr", {"B04@10m": pixels}, made)
        row, column = round((TOP - top) / 10), round((left - LEFT) / 10)
        for number, day in enumerate(DAYS[tile]):
            part = whole[[1, 6, 11].index(day), row : row + SHAPE[0], column : column + SHAPE[1]]
            np.copyto(part, pixels[number], where=part == 0)
    return CampaignView(load_campaign(folder / "campaign.yaml")), whole


def degrees(left: float, bottom: float, right: float, top: float) -> shapely.Geometry:
    return shapely.transform(
        shapely.segmentize(shapely.box(left, bottom, right, top), 100),
        lambda xy: np.column_stack(transformer(32631, 4326).transform(*xy.T)),
    )


@settings(max_examples=25, deadline=None)
@given(st.data())
@pytest.mark.parametrize("chunks", [None, {"time": 1, "y": 50, "x": 37}])
def test_an_area_is_the_tiles_composed(
    sample: tuple[CampaignView, np.ndarray], chunks: dict[str, int] | None, data: st.DataObject
) -> None:
    view, whole = sample
    rows = sorted(data.draw(st.lists(st.integers(0, WHOLE[0]), min_size=2, max_size=2, unique=True)))
    columns = sorted(data.draw(st.lists(st.integers(0, WHOLE[1]), min_size=2, max_size=2, unique=True)))
    box = (LEFT + 10 * columns[0] + 3, TOP - 10 * rows[1] + 3, LEFT + 10 * columns[1] - 3, TOP - 10 * rows[0] - 3)
    try:
        found = view.cube(area=degrees(*box), chunks=chunks, decode=False)
    except CubeError as error:
        assert "touches no tile" in str(error) and not whole[:, slice(*rows), slice(*columns)].any()
        return
    row, column = round((TOP - 5 - float(found.y[0])) / 10), round((float(found.x[0]) - LEFT - 5) / 10)
    assert row >= rows[0] and column >= columns[0] and row + found.sizes["y"] <= rows[1]
    days = [[1, 6, 11].index(int(day)) for day in found.time.dt.day]
    expected = whole[days, row : row + found.sizes["y"], column : column + found.sizes["x"]]
    np.testing.assert_array_equal(found.B04.values, expected)
    left_out = whole[:, slice(*rows), slice(*columns)].astype(int).sum() - expected.astype(int).sum()
    assert left_out == 0, "nothing with data lies outside"
    step = data.draw(st.sampled_from([1, 3, -2]))
    np.testing.assert_array_equal(found.B04.isel(x=slice(None, None, step)).values, expected[:, :, ::step])
    np.testing.assert_array_equal(found.B04.isel(time=-1, y=[0, -1, 0]).values, expected[-1][[0, -1, 0]])
    decoded = view.cube(area=degrees(*box), chunks=chunks).B04.values
    np.testing.assert_array_equal(np.isnan(decoded), expected == 0)
    np.testing.assert_allclose(decoded[expected > 0], expected[expected > 0] * 1e-4 - 0.1, atol=1e-9)


def test_coordinates_are_those_of_the_acquisitions(sample: tuple[CampaignView, np.ndarray]) -> None:
    view, _ = sample
    found = view.cube(area=degrees(LEFT + 1, TOP - 1559, LEFT + 2699, TOP - 1))
    assert found.attrs["hpckit:tiles"] == list(CORNERS) and found.sizes == {"time": 3, "y": 156, "x": 270}
    assert [str(name)[:13] for name in found.acquisition.values] == [
        "GS2A_20240401",
        "GS2A_20240406",
        "GS2A_20240411",
    ]
    assert found.rio.crs.to_epsg() == 32631 and found.rio.bounds() == (LEFT, TOP - 1560, LEFT + 2700, TOP)
    assert found.B04.chunks is not None and set(found.relative_orbit.values) == {51}
    assert view.cube("31UFU", area=degrees(LEFT, TOP - 1560, LEFT + 2700, TOP)).sizes == {
        "time": 3,
        "y": 96,
        "x": 120,
    }


def test_areas_beyond_and_across_utm_zones(tmp_path: Path, sample: tuple[CampaignView, np.ndarray]) -> None:
    with pytest.raises(CubeError, match="touches no tile"):
        sample[0].cube(area=(20, 40, 21, 41))
    view = map_samples.make(tmp_path)
    with pytest.raises(CubeError, match=r"2 CRSs.*EPSG:32631: 31UGT; EPSG:32632: 32ULC"):
        view.cube(area=(5.0, 51.0, 7.0, 53.0))
    west = view.cube(map_samples.WEST, 10)
    middle = view.cube(area=shapely.Point(_middle(west)).buffer(0.005))
    assert middle.attrs["proj:code"] == "EPSG:32631", "one of two zones covers the area: the first by name of tile"


def _middle(data: object) -> tuple[float, float]:
    x, y = (float(getattr(data, name).mean()) for name in ("x", "y"))
    return transformer(32631, 4326).transform(x, y)
