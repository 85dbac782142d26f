"""Derived bands in a campaign: their names, and which bands of the cube their expressions mean."""

from __future__ import annotations

import re

import pytest

from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import CampaignError

CAMPAIGN = """\
name: c
aoi: [5, 51, 6, 52]
period: 2024-01-15/2024-12-31
scenes: {{paths: [scenes]}}
grid: {grid}
cube: {{bands: [{bands}]}}
reductions:
  - name: r
    kind: {kind}
    {zones}
    bands: [{first}]
    indices: {{{indices}}}
"""
ZONES = "{zones: z.gpkg, id: id}"


def load(tmp_path, bands: str, indices: str, kind: str = "signatures", grid: str = "mgrs") -> Campaign:
    path = tmp_path / "campaign.yaml"
    zones = "zones: z.gpkg\n    id: id" if kind == "signatures" else "mask: null"
    first = bands.split(", ", maxsplit=1)[0]
    path.write_text(CAMPAIGN.format(bands=bands, indices=indices, kind=kind, zones=zones, first=first, grid=grid))
    return load_campaign(path)


KINDS = pytest.mark.parametrize("kind", ["signatures", "composite"])


@KINDS
@pytest.mark.parametrize(
    ("bands", "text", "meant"),
    [
        ("B04, B08, SCL", "(B08 - B04) / (B08 + B04)", None),
        ("B8A, B04@20m, SCL", "(B8A@20m - B04@20m) / (B8A@20m + B04@20m)", None),
        ("B8A, B04@20m, SCL", "(B8A - B04) / (B8A + B04)", "(B8A - B04@20m) / (B8A + B04@20m)"),
        ("B8A@60m, B04@60m, SCL", "B8A - b4", "B8A@60m - B04@60m"),
        ("B01, B09, SCL", "B01 / B09", None),
        ("B01@20m, B8A, SCL", "B01 / B8A", "B01@20m / B8A"),
        ("B04, B04@20m, B08, SCL", "B08 / B04", None),
        ("B04, B03, B03@20m, B04@20m, SCL", "B03 / B04", None),
    ],
)
def test_bands_of_expressions_are_those_of_the_cube(tmp_path, kind, bands, text, meant):
    (reduction,) = load(tmp_path, bands, f"X: {text}", kind).reductions
    assert reduction.indices["X"] == (meant or text)


def test_a_composite_takes_bands_at_the_resolution_that_all_have(tmp_path):
    """Where they lie apart by name; signatures of the same cube take each at its own, as they always did."""
    bands = "B04, B04@20m, B8A, SCL"
    (composite,) = load(tmp_path, bands, "X: B8A - B04", "composite").reductions
    assert composite.indices["X"] == "B8A - B04@20m"
    (signatures,) = load(tmp_path, bands, "X: B8A - B04").reductions
    assert signatures.indices["X"] == "B8A - B04"


@pytest.mark.parametrize("text", ["B11 / B04", "B11@20m / B04@20m", "B11@10m / B04"])
def test_on_a_grid(tmp_path, text):
    bands = "B11@20m, B04@20m" if "20" in text else "B11, B04"
    (composite,) = load(tmp_path, bands, f"X: {text}", "composite", "utm:10240@10").reductions
    assert composite.indices["X"] == text


@KINDS
@pytest.mark.parametrize(
    ("bands", "text", "words"),
    [
        (
            "B8A, B8A@60m, B04@20m, B04@60m, SCL",
            "B8A - B04",
            "B04 may be B04@20m or B04@60m of the cube; write which",
        ),
        ("B8A@20m, B8A@60m, SCL", "B05 / B8A", "needs band B05, which cube.bands lacks"),
        ("B04, SCL", "B04 - SCL", "SCL holds classes"),
        ("B04, SCL", "B04@15m * 2", "B04 does not come at 15 m"),
        ("B04, SCL", "B99 * 2", "'B99' is no Sentinel-2 band"),
        ("B04, SCL", "B04 +", "ends too early"),
        ("B04, B05, SCL", "B04 / 0", "divides by 0"),
    ],
)
def test_what_an_expression_cannot_mean_is_refused_in_a_sentence(tmp_path, kind, bands, text, words):
    with pytest.raises(CampaignError, match=words) as caught:
        load(tmp_path, bands, f"X: {text}", kind)
    assert "campaign.yaml:" in str(caught.value)


def test_a_composite_does_not_mix_resolutions(tmp_path):
    with pytest.raises(CampaignError, match="index X mixes bands of 10 and 20 m"):
        load(tmp_path, "B04, B8A", "X: B8A - B04", "composite")


@KINDS
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["NDVI", "ndvi"], "differ in case only"),
        (["Ndvi", "nDVI"], "differ in case only"),
        (["B04"], "name of a band"),
        (["b4"], "name of a band"),
        (["B8a"], "name of a band"),
        (["scl"], "name of a band"),
        *(
            [[name], "use for something else"]
            for name in ("mean", "STD", "Min", "max", "p25", "P5", "count", "valid")
        ),
        *(
            [[name], "use for something else"]
            for name in ("zone", "Time", "fid", "band", "TILE", "geom", "abs", "log")
        ),
        (["2x"], "is no name"),
        (["a-b"], "is no name"),
        (["ä"], "is no name"),
        (['"x y"'], "is no name"),
        (['""'], "is no name"),
        (["A" * 32], "is no name"),
    ],
)
def test_names_that_results_cannot_hold_are_refused(tmp_path, kind, names, words):
    with pytest.raises(CampaignError, match=words) as caught:
        load(tmp_path, "B04, SCL", ", ".join(f"{name}: B04 * 2" for name in names), kind)
    # Which names are bands' depends on the sensor, which a reduction by itself does not know.
    place = r"campaign\.yaml: campaign: reduction 'r': " if "band" in words else r"yaml:\d+: reductions\.0\.indices: "
    assert re.search(f"{place}index ", str(caught.value))


@KINDS
@pytest.mark.parametrize("twins", ["B04, b04", "B04, B4", "B04, B04@10m", "B8A, B8A@20m", "B04, B04"])
def test_one_band_under_two_names_is_refused(tmp_path, kind, twins):
    path = tmp_path / "campaign.yaml"
    load(tmp_path, "B04, B8A, SCL", "X: B04 * 2", kind)
    path.write_text(path.read_text().replace("bands: [B04]\n", f"bands: [{twins}]\n"))
    with pytest.raises(CampaignError, match="are one band; leave one out"):
        load_campaign(path)


@pytest.mark.parametrize("name", ["median", "best", "medoid", "smad", "time", "date", "a_b"])
def test_a_composite_has_further_layers(tmp_path, name):
    with pytest.raises(CampaignError, match=r"use for something else|is no name"):
        load(tmp_path, "B04, SCL", f"{name}: B04 * 2", "composite")


@KINDS
@pytest.mark.parametrize("method", ["medoid", "geomad", "max_ndvi"])
def test_methods_over_several_bands_count_those_of_indices(tmp_path, kind, method):
    if kind == "composite":
        path = tmp_path / "campaign.yaml"
        load(tmp_path, "B04, B8A, B11, SCL", "X: B8A / B11", kind)
        path.write_text(path.read_text() + f"    methods: [{method}]\n")
        with pytest.raises(CampaignError, match="takes all bands at one resolution, those of indices too"):
            load_campaign(path)
