"""The campaign file: what is wrong with it is said with file, line, field and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.cli import main
from hpckit.errors import CampaignError
from hpckit.sensors.native import MGRS

GOOD = """\
name: test
aoi: [4, 51, 5, 52]
period: 2024-03-01/2024-10-31
scenes: {paths: scenes}
cube:
  bands: [B04, B08, SCL]
reductions:
  - name: parcels
    zones: parcels.gpkg
    id: pid
    bands: [B04]
    indices: {NDVI: (B08 - B04) / (B08 + B04)}
"""


def load(folder: Path, text: str | bytes) -> Campaign:
    path = folder / "it's.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_campaign(path)


def test_a_good_file(tmp_path):
    campaign = load(tmp_path, GOOD)
    assert [str(ref) for ref in campaign.cube_bands()] == ["B04", "B08", "SCL"]
    assert campaign.reductions[0].named_bands() == ["B04", "B08", "SCL"]
    assert campaign.reductions[0].statistics == ("mean", "std", "min", "max", "p25", "p50", "p75")
    assert campaign.run_dir == tmp_path / "test.run" and campaign.store_path == tmp_path / "test.gpkg"
    assert campaign.line("cube", "bands") == 6


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("name: test\n", "", None, "name: this field is missing"),
        ("name: test", "name: ../../etc", 1, "name: "),
        ("2024-03-01/2024-10-31", "2024-10-31/2024-03-01", 3, "swap the dates"),
        ("2024-03-01/2024-10-31", "March", 3, "write START/END"),
        ("2024-03-01/", "2024-02-30/", 3, "period"),
        ("[4, 51, 5, 52]", "[4, 51, 5]", 2, "four numbers"),
        ("scenes: {paths: scenes}", "scenes: {paths: scenes, max_cloud: 3}", 4, "did you mean 'max_cloud_cover'"),
        ("scenes: {paths: scenes}", "scenes: {paths: scenes, max_cloud_cover: 300}", 4, "100"),
        ("scenes: {paths: scenes}", "scenes: {paths: scenes, tiles: [31IFU]}", 4, "31UFU"),
        ("[B04, B08, SCL]", "[B04, B08, SCL, B99]", None, "B99"),
        ("[B04, B08, SCL]", "[B04, B08, SCL, B08@20m]", None, "does not come at 20 m"),
        ("[B04, B08, SCL]", "[B04, SCL]", None, "needs band B08"),
        ("scenes: {paths: scenes}", "scenes: {paths: scenes, collection: sentinel-2-l1c}", None, "Level-1C"),
        ("(B08 - B04)", "__import__('os').system('true')", 12, "not allowed"),
        ("    id: pid\n", "", 8, "id: this field is missing"),
        ("name: parcels", "name: Robert'); DROP TABLE", 8, "name"),
        ("    id: pid\n", "    id: pid\n    coverage: all\n", 11, "coverage"),
        ("name: test", "name: test\nstore: {dsn: 'postgresql://me:secret@host/db'}", 2, "pgpass"),
        ("name: test", "name: test\nstore: {dsn: 'mysql://host/db'}", 2, "postgresql://"),
        ("name: test", "name: test\nstore: {dsn: 'postgresql://host/db', path: x.gpkg}", 2, "not both"),
        ("name: test", "name: test\nstore: {schema: 'a; DROP'}", 2, "schema"),
        ("name: test", "name: test\nname: twice", 2, "not valid YAML"),
        ("cube:\n", "cube:\n\t", 6, "not valid YAML"),
    ],
)
def test_each_fault_is_named_with_its_line_and_remedy(tmp_path, old, new, line, words):
    assert old in GOOD
    with pytest.raises(CampaignError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    message = str(caught.value)
    assert words in message and "it's.yaml" in message
    if line is not None:
        assert f"it's.yaml:{line}:" in message
    assert "secret" not in message and "pydantic" not in message.lower()


def test_several_faults_are_named_at_once(tmp_path):
    text = GOOD.replace("2024-10-31", "2023-10-31").replace("id: pid", "ids: pid")
    with pytest.raises(CampaignError) as caught:
        load(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "mapping of fields"),
        ("- a\n- b\n", "mapping of fields"),
        ("just text", "mapping of fields"),
        ("a: [1, 2", "not valid YAML"),
        (b"name: \xff\xfe", "UTF-8"),
        ("? {a: 1}\n: b\n", "it's.yaml"),
        ("a: &x [*x]\n", "it's.yaml"),
    ],
)
def test_files_that_are_no_campaigns(tmp_path, content, words):
    with pytest.raises(CampaignError, match=words):
        load(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CampaignError, match="no such file") as caught:
        load_campaign(tmp_path / "nowhere.yaml")
    assert "hpckit init" in caught.value.hint


def test_init_writes_a_file_that_loads_and_fits_the_schema(tmp_path, capsys):
    from ruamel.yaml import YAML

    folder = tmp_path / "My wheat, 2024"
    main(["init", str(folder)])
    campaign = load_campaign(folder / "campaign.yaml")
    assert campaign.name == "My-wheat-2024"
    with pytest.raises(SystemExit) as caught:
        main(["init", str(folder)])
    assert caught.value.code == 1 and "--force" in capsys.readouterr().err
    main(["schema", "campaign"])
    schema = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator.check_schema(schema)
    document = YAML(typ="safe").load((folder / "campaign.yaml").read_text())
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**document, "colour": 1}, schema)
    assert "description" in schema["properties"]["aoi"]


ON_GRID = GOOD.replace("scenes: {paths: scenes}", "scenes: {paths: scenes}\ngrid: utm:10240@10")


def test_bands_on_a_grid(tmp_path):
    """Bands come in the grid's pixels unless they ask for others; reductions name them as the cube does."""
    campaign = load(tmp_path, ON_GRID.replace("[B04, B08, SCL]", "[B04, B08, B11, B12@20m, SCL]"))
    assert str(campaign.grid) == "utm:10240@10"
    assert [ref.key for ref in campaign.cube_bands()] == ["B04@10m", "B08@10m", "B11@10m", "SCL@10m", "B12@20m"]
    assert campaign.ref("B11").resolution_m == 10 and load(tmp_path, GOOD).ref("B11").resolution_m == 20
    assert str(load(tmp_path, ON_GRID.replace("utm:10240@10", "epsg:3035:10000@20m")).grid) == "EPSG:3035:10000@20"
    assert load(tmp_path, GOOD).grid is MGRS
    for text in ("MGRS", "native"):
        assert load(tmp_path, ON_GRID.replace("utm:10240@10", text)).grid is MGRS


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("utm:10240@30", "no whole number of pixels of 30 m; pixels of 10, 20, 40, 80, 160, 320 m fit"),
        ("EPSG:4326:10000@10", "not projected in metres; for Europe take EPSG:3035"),
        ("EPSG:12345:10000@10", "no known CRS"),
        ("utm", "is no grid; grids are mgrs, utm:10240@10"),
        ("utm:10240", "is no grid"),
    ],
)
def test_grids_that_make_no_sense(tmp_path, grid, words):
    with pytest.raises(CampaignError) as caught:
        load(tmp_path, ON_GRID.replace("utm:10240@10", grid))
    assert words in str(caught.value) and "it's.yaml:5: grid:" in str(caught.value)


def test_a_band_that_does_not_fill_the_tiles(tmp_path):
    with pytest.raises(CampaignError, match="band B09@60m: grid utm:10240: tiles of 10240 m are no whole number"):
        load(tmp_path, ON_GRID.replace("[B04, B08, SCL]", "[B04, B08, SCL, B09@60m]"))
    with pytest.raises(CampaignError, match="needs band B04@20m"):
        load(tmp_path, ON_GRID.replace("    bands: [B04]", "    bands: [B04@20m]"))


def test_a_period_without_an_end(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(GOOD.replace("2024-03-01/2024-10-31", "2024-03-01/.."))
    campaign = load_campaign(path)
    assert (campaign.period.end, str(campaign.period)) == (None, "2024-03-01/..")
    again = Campaign.model_validate(campaign.model_dump(mode="json", by_alias=True))
    assert again.period == campaign.period


COMPOSITE = "  - {name: year, kind: composite, bands: [B04], methods: [median]}\n"
STEP = "steps:\n  - {{name: look, each: tile, command: {command}, outputs: {{x: '{{tile}}.txt'}}{more}}}\n"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (COMPOSITE, r"composite 'year' is made from the cube"),
        (STEP.format(command="'cp a {x}'", more=""), r"step 'look' works on the cube of each tile"),
        (
            STEP.format(command="'cp {cube} {x}'", more=", after: signatures"),
            r"step 'look' works on the cube of each tile",
        ),
        (STEP.format(command="'cp a {x}'", more=", after: ingest"), r"step 'look' works on the cube of each tile"),
    ],
)
def test_what_needs_a_cube_is_refused_without_one(tmp_path, more, words):
    load(tmp_path, GOOD + more)
    with pytest.raises(CampaignError, match=words + r".*`cube\.keep: false`.* write `cube\.keep: true`") as raised:
        load(tmp_path, GOOD.replace("cube:\n", "cube:\n  keep: false\n") + more)
    assert str(raised.value).count("\n") == 0


def test_without_a_cube_only_zones_choose_windows(tmp_path):
    said = GOOD.replace("cube:\n", "cube:\n  keep: false\n  extent: granule\n")
    campaign = load(tmp_path, said + STEP.format(command="'cp a {x}'", more=", after: signatures"))
    assert (campaign.cube.windows_by, campaign.cube.extent) == ("zones", "granule")
    wide = load(tmp_path, GOOD.replace("cube:\n", "cube:\n  keep: false\n  margin_m: 500\n"))
    assert (wide.cube.reach_m, wide.cube.margin_m) == (0, 500)
    nothing = said.partition("reductions:")[0]
    with pytest.raises(CampaignError, match=r"`cube\.keep: false` needs a reduction with zones"):
        load(tmp_path, nothing)
    load(tmp_path, nothing + "extensions: {other: {}}\n")
