"""Peers of a zone against brute force, and their quartiles by day against pandas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyproj
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from hpckit.api import open_campaign
from hpckit.errors import CampaignError
from hpckit.serve.dataset import Dataset
from hpckit.serve.peers import peer_statistics, peers
from hpckit.serve.settings import DatasetSettings
from hpckit.serve.zonemap import ZoneMap, _boxes
from tests.unit.look_samples import make_campaign


def zone_map(shapes: list[shapely.Geometry], labels: list[str | None], epsg: int) -> ZoneMap:
    wkb, crs = pa.array(shapely.to_wkb(np.array(shapes, dtype=object))), pyproj.CRS.from_epsg(epsg).to_wkt()
    ids = pa.array([f"z{number}" for number in range(len(shapes))])
    return ZoneMap("fields", ids, wkb, crs, _boxes(wkb, crs), np.array(labels, dtype=object))


@given(
    places=st.lists(
        st.tuples(st.integers(0, 9000), st.integers(0, 9000), st.integers(10, 400), st.sampled_from("ab_")),
        min_size=1,
        max_size=40,
    ),
    distance=st.integers(0, 6000),
    most=st.integers(1, 12),
    north=st.sampled_from([0, 5_700_000, 7_900_000]),
    in_degrees=st.booleans(),
)
def test_the_nearest_of_the_same_label(places, distance, most, north, in_degrees):
    shapes = [shapely.box(450_000 + x, north + y, 450_000 + x + edge, north + y + edge) for x, y, edge, _ in places]
    labels, given_ = [None if label == "_" else label for *_, label in places], shapes
    if in_degrees:
        back = pyproj.Transformer.from_crs(32631, 4326, always_xy=True)
        given_ = [shapely.transform(shape, back.transform, interleaved=False) for shape in shapes]
    found = peers(zone_map(given_, labels, 4326 if in_degrees else 32631), 0, distance, most)
    # UTM is 1.0004 times too short here; what lies on the edge of that may be in or out.
    true = {row: shapely.distance(shapes[0], shape) / 0.9996 for row, shape in enumerate(shapes)}
    areas = {row: shape.area / 0.9996**2 for row, shape in enumerate(shapes)}
    same = {row for row, label in enumerate(labels) if row and label is not None and label == labels[0]}
    sure = {row for row in same if areas[row] > 3010 and true[row] < distance * 0.9995 - 0.1}
    maybe = {row for row in same if areas[row] > 2990 and true[row] < distance * 1.0005 + 0.1}
    assert {row for row, _ in found} <= maybe
    assert len(found) == most or {row for row, _ in found} >= sure
    assert [far for _, far in found] == sorted(far for _, far in found)
    assert len(found) <= most
    for row, far in found:
        assert far == pytest.approx(true[row], rel=1e-3, abs=0.2)
    left_out = sure - {row for row, _ in found}
    assert not left_out or max(far for _, far in found) <= min(true[row] for row in left_out) * 1.001 + 0.2


def test_quartiles_by_day(tmp_path: Path):
    path = make_campaign(tmp_path)
    dataset = Dataset(DatasetSettings(campaign=path), path, tmp_path / "state")
    columns = peer_statistics(dataset, [0, 1, 2], "ndvi", "p50")
    ids, view = dataset.edition.zones().ids.to_pylist(), open_campaign(path)
    series = pd.concat([view.series(zone, "NDVI") for zone in ids])
    clear = series[series["valid_fraction"] >= 0.5]
    wanted = clear.groupby(clear["time"].dt.date)["p50"].quantile([0.25, 0.5, 0.75]).unstack()
    assert columns["day"] == [str(day) for day in wanted.index]
    assert columns["zones"] == [3] * len(wanted)
    for name, share in (("p25", 0.25), ("p50", 0.5), ("p75", 0.75)):
        np.testing.assert_allclose(columns[name], wanted[share], rtol=1e-6)
    assert peer_statistics(dataset, [], "NDVI") == {"day": [], "zones": [], "p25": [], "p50": [], "p75": []}
    with pytest.raises(CampaignError, match="no statistic"):
        peer_statistics(dataset, [0], "NDVI", "p99")
    with pytest.raises(CampaignError, match="no band"):
        peer_statistics(dataset, [0], "B99")
    dataset.close()
