from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hpckit
from hpckit.api import open_campaign
from hpckit.errors import CampaignError, CubeError, HpckitError, RunError, StoreError, ZoneError
from hpckit.look.view import CampaignView
from hpckit.runs.run import find_run
from tests.unit.look_samples import CAMPAIGN, make_arrays, make_campaign

INJECTION = "x'; DROP TABLE zones --"


@pytest.fixture(scope="module")
def campaign(tmp_path_factory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("it's a campaign"))


@pytest.fixture
def view(campaign) -> CampaignView:
    return open_campaign(campaign)


def size(picture) -> tuple[int, int]:
    return Image.open(io.BytesIO(picture.png)).size


def test_opened_from_file_text_or_run_directory(campaign):
    assert hpckit.open_campaign is open_campaign
    by_text, by_run = open_campaign(str(campaign)), open_campaign(campaign.with_name("sample.run"))
    assert by_text.campaign.name == by_run.campaign.name == "sample"
    assert by_run.tiles == by_text.tiles == ["31UFU"]


def test_directory_without_run(tmp_path):
    with pytest.raises(RunError, match="no run there"):
        open_campaign(tmp_path)


def test_missing_campaign(tmp_path):
    with pytest.raises(CampaignError, match="no such file"):
        open_campaign(tmp_path / "campaign.yaml")


def test_cube_is_decoded_reflectance(view):
    cube, stored = view.cube(), make_arrays()["B08@10m"]
    assert dict(cube.sizes) == {"time": 3, "y": 96, "x": 120}
    np.testing.assert_allclose(cube["B08"].values, np.where(stored == 0, np.nan, stored * 1e-4 - 0.1), atol=1e-6)
    assert list(cube["platform"].values) == ["S2A"] * 3
    assert cube["acquisition"].values[1] == "GS2A_20240411T105031_012345"
    assert "SCL" in view.cube("31UFU", 20)


def test_cube_is_cut_as_its_files_are(view):
    cube = view.cube()["B08"]
    assert cube.chunks == ((3,), (96,), (120,))
    dates = view.cube(chunks={"time": 1, "y": -1, "x": -1})["B08"]
    assert dates.chunks == ((1, 1, 1), (96,), (120,))
    plain = view.cube(chunks=None)["B08"]
    assert plain.chunks is None
    for other in (dates, plain):
        np.testing.assert_array_equal(other.values, cube.values)


def test_cube_as_it_is_stored(view):
    cube = view.cube(decode=False)["B08"]
    assert cube.dtype == np.uint16 and cube.attrs["scale_factor"] == 1e-4
    np.testing.assert_array_equal(cube.values, make_arrays()["B08@10m"])


def test_chunks_without_dask(view, monkeypatch):
    monkeypatch.setattr("hpckit.cubes.read.find_spec", lambda name: None)
    assert view.cube()["B08"].chunks is None
    with pytest.raises(CubeError, match="need dask") as error:
        view.cube(chunks={"time": 1})
    assert "hpckit-eo[dask]" in (error.value.hint or "")


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ({"resolution_m": 15}, "no pixels of 15 m", "it has 10 m, 20 m"),
        ({"chunks": "many"}, "chunks are no 'many'", '"auto", None'),
        ({"chunks": {"band": 1}}, "no dimension 'band'", "time, y, x"),
    ],
)
def test_cubes_that_cannot_be_opened_so(view, options, message, hint):
    with pytest.raises(CubeError, match=message) as error:
        view.cube(**options)
    assert hint in (error.value.hint or "")


@pytest.mark.parametrize("name", ["T31UFU", "31ufu", None])
def test_tile_names(view, name):
    assert view.tile(name) == "31UFU"


def test_unknown_tile(view):
    with pytest.raises(CubeError, match="no tile 32TPS") as error:
        view.cube("32TPS")
    assert error.value.hint == "it has 31UFU"


def test_no_cube_yet(tmp_path):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    with pytest.raises(CubeError, match="no cube there yet"):
        open_campaign(tmp_path / "campaign.yaml").cube()


def test_series_of_the_default_index(view):
    frame = view.series("17")
    assert list(frame["band"].unique()) == ["NDVI"]
    assert list(frame["valid"]) == [0, 90, 30]
    assert frame["time"].is_monotonic_increasing
    np.testing.assert_allclose(frame["p50"], [np.nan, 0.7, 0.7], atol=1e-6)


@pytest.mark.parametrize(("band", "found"), [("B08", "B08"), ("b04", "B04"), ("ndvi", "NDVI")])
def test_series_of_a_band(view, band, found):
    assert set(view.series(18, band)["band"]) == {found}


def test_zone_id_that_is_an_injection(view):
    assert len(view.series(INJECTION)) == 3
    assert len(view.series("17")) == 3
    assert view.plot_series(INJECTION).png


@pytest.mark.parametrize("zone", ["170", "", "' OR '1'='1", "17 "])
def test_unknown_zone(view, zone):
    with pytest.raises(ZoneError) as error:
        view.series(zone)
    assert repr(zone) in str(error.value)
    assert "17" in (error.value.hint or "")


@pytest.mark.parametrize("band", ["B11", "SCL", "nonsense"])
def test_unknown_band(view, band):
    with pytest.raises(CampaignError, match=f"no band or index '{band}'") as error:
        view.series("17", band)
    assert error.value.hint == "it has NDVI, B04, B08"


def test_unknown_reduction(view):
    with pytest.raises(CampaignError, match="no reduction 'fields'"):
        view.series("17", reduction="fields")


def test_campaign_without_reductions(tmp_path):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN.partition("reductions:")[0])
    with pytest.raises(CampaignError, match="no reductions"):
        open_campaign(tmp_path / "campaign.yaml").series("17")


def test_series_without_a_store(tmp_path):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN)
    with pytest.raises(StoreError):
        open_campaign(tmp_path / "campaign.yaml").series("17")


def test_zones_are_the_frozen_ones(view, campaign):
    layer = view.zones()
    assert layer.ids == ("17", "18", INJECTION)
    assert layer.repaired == (INJECTION,)
    frozen = find_run(campaign).zones("parcels")
    aside = frozen.rename(frozen.with_suffix(".aside"))
    try:
        assert view.zones().digest == layer.digest
    finally:
        aside.rename(frozen)


def test_labels_come_from_the_layer(view, campaign):
    assert view.labels(["18", "17", INJECTION, "none"]) == ["winter wheat", "maize", None, None]
    layer = campaign.with_name("parcels.gpkg")
    aside = layer.rename(layer.with_suffix(".aside"))
    try:
        assert view.labels(["17"]) == [None]
    finally:
        aside.rename(layer)


def test_pictures_of_series(view):
    one, two = view.plot_series("17"), view.plot_series([17, "18"], "B08")
    assert one.figure.texts[0].get_text() == "Zone 17 · maize"
    assert two.figure.texts[0].get_text() == "B08 reflectance of 2 zones"
    assert one._repr_png_() == one.png


def test_quicklook_takes_the_clearest_date(view):
    picture = view.quicklook()
    texts = [text.get_text() for text in picture.figure.texts]
    assert texts[0] == "True colour · 11 April 2024"
    assert "sample" in texts[1]
    assert size(picture)[0] == 1600
    shown = {text.get_text() for text in picture.figure.axes[0].texts}
    assert {"17", "18"} <= shown


@pytest.mark.parametrize(
    ("options", "title"),
    [
        ({"when": date(2024, 4, 1)}, "True colour · 1 April 2024"),
        ({"when": -1}, "True colour · 21 April 2024"),
        ({"index": "NDVI"}, "NDVI · 11 April 2024"),
        ({"index": "ndvi", "zones": False}, "NDVI · 11 April 2024"),
        ({"index": "B08"}, "B08 · 11 April 2024"),
        ({"rgb": ["B08", "B04", "B03"], "clouds": True}, "B08 / B04 / B03 · 11 April 2024"),
        ({"window": (500_100, 5_699_500, 500_600, 5_699_900)}, "True colour · 11 April 2024"),
    ],
)
def test_quicklook_options(view, options, title):
    picture = view.quicklook(**options)
    assert picture.figure.texts[0].get_text() == title
    assert picture.png


def test_quicklook_without_zones(view):
    shown = {text.get_text() for text in view.quicklook(zones=False).figure.axes[0].texts}
    assert "17" not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"when": date(2024, 4, 2)}, "no acquisition on 2024-04-02"),
        ({"when": 3}, "no date number 3"),
        ({"index": "EVI"}, "no index 'EVI'"),
        ({"index": "B11"}, "no band 'B11'"),
        ({"rgb": ["B04", "B03"]}, "needs three bands"),
        ({"rgb": ["B04", "B03", "B12"]}, "no band 'B12'"),
        ({"tile": "29UNU"}, "no tile 29UNU"),
        ({"window": (0, 0, 1000, 1000)}, "misses tile"),
    ],
)
def test_quicklook_faults(view, options, message):
    with pytest.raises(HpckitError, match=message):
        view.quicklook(**options)


def test_reading_changes_nothing(campaign):
    def state() -> dict[Path, tuple[int, int]]:
        paths = [path for path in campaign.parent.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in paths}

    before = state()
    view = open_campaign(campaign)
    view.series("17"), view.quicklook(), view.cube(), view.zones(), view.plot_series("17")
    assert state() == before
