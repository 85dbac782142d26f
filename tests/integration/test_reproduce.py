"""A run is made again from its crate, elsewhere, and all its outputs have the digests that the crate says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from hpckit import api
from hpckit.base.console import Console
from hpckit.cli import cli
from hpckit.errors import CrateError
from hpckit.production.provenance import crate as crates
from hpckit.production.provenance.entities import HPCKIT
from tests import products, small_campaign

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

QUIET = Console(quiet=True)
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
ROCRATE = _CACHE / "hpckit" / "tests" / "checkers-1" / "bin" / "python"
"""Made by tests/services.sh."""
AGENT = {"agent": "Ada", "agent_id": "https://orcid.org/0000-0002-1825-0097"}
_BOX = "{west: 601000, south: 5691000, east: 603000, north: 5693000, crs: 32631}"
REDUCTIONS = f"""\
  - {{name: whole, kind: composite, bands: [B04], period: campaign, methods: [median], outputs: {{path: out}}}}
  - name: means
    kind: graph
    graph:
      load:
        process_id: load_collection
        arguments:
          {{id: test, bands: [B04, B08], spatial_extent: {_BOX}, temporal_extent: ["2024-01-01", "2025-01-01"]}}
      mean:
        process_id: reduce_dimension
        arguments:
          data: {{from_node: load}}
          dimension: t
          reducer:
            process_graph: {{m: {{process_id: mean, arguments: {{data: {{from_parameter: data}}}}, result: true}}}}
      save: {{process_id: save_result, arguments: {{data: {{from_node: mean}}, format: netCDF}}, result: true}}
"""
CAMPAIGN = f"""\
name: test
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {{paths: [scenes]}}
cube: {{bands: [B04, B08, SCL], extent: zones}}
reductions:
  - {{name: fields, zones: zones.gpkg, id: name, bands: [B04, SCL]}}
{REDUCTIONS}store: {{path: mine.gpkg}}
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A campaign of two dates and a few zones, with a composite and a graph, and its crate."""
    folder = tmp_path_factory.mktemp("original")
    for number in range(2):
        products.write(folder / "scenes", number, small_campaign.pixels_of(number))
    small_campaign.write_zones(folder / "zones.gpkg", small_campaign.zones(6)[:6])
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    assert api.run(folder / "campaign.yaml", workers=2).exit_code == 0
    return folder


@pytest.fixture(scope="module")
def crate(done) -> Path:
    made = api.crate(done / "campaign.yaml", done / "test.zip", **AGENT)
    assert not made.record.lacks
    return made.path


@pytest.fixture(scope="module")
def elsewhere(done, crate, tmp_path_factory) -> Path:
    """Another folder, with the crate and copies of the products, deeper, and nothing else."""
    folder = tmp_path_factory.mktemp("elsewhere")
    shutil.copytree(done / "scenes", folder / "archive" / "2024" / "S2")
    shutil.copy(crate, folder / "test.zip")
    return folder


@pytest.fixture(scope="module")
def again(done, elsewhere):
    """What became of it, with the original out of reach."""
    hidden = done.rename(done.with_name("hidden"))
    try:
        return api.reproduce(
            elsewhere / "test.zip", elsewhere / "again", products=[elsewhere / "archive"], workers=2, console=QUIET
        )
    finally:
        hidden.rename(done)


def test_all_digests_are_equal(again):
    assert again.is_equal, [item for item in again.outputs if item.state != "equal"]
    names = {item.name.partition("/")[0] for item in again.outputs}
    assert names == {"cube", "signatures", "whole.zarr", "whole", "means.zarr", "means"}
    assert all(item.before for item in again.outputs) and again.failed == 0 and again.software == ()


def test_outputs_are_equal_by_their_own_bytes(done, again):
    """Digests are of what lies on the disk: files of both runs are compared without hpckit."""
    for pattern in ("cube.zarr/**/c/*/*/*", "out/whole/*/*/*.tif", "graphs/means/*.nc"):
        before = {path.relative_to(done): path.read_bytes() for path in done.glob(pattern)}
        now = {path.relative_to(again.folder): path.read_bytes() for path in again.folder.glob(pattern)}
        assert before and before == now, pattern


def test_the_same_command_again_computes_nothing(elsewhere, again):
    start = (again.folder / "test.run" / "run.json").read_text()
    made = api.reproduce(elsewhere / "test.zip", again.folder, products=[elsewhere / "archive"], console=QUIET)
    assert made.is_equal
    assert json.loads(start)["run_id"] == json.loads((again.folder / "test.run" / "run.json").read_text())["run_id"]


def test_crate_holds_nothing_private(done, crate):
    found = crates.read(crate)
    whole = b"".join(found.files.values())
    assert b"mine.gpkg" in whole  # the campaign as it was frozen
    assert str(Path.home()).encode() + b"/" not in whole
    import pyarrow.parquet as pq

    (done / "zones.parquet").write_bytes(found.files["inputs/zones/fields.parquet"])
    assert pq.read_table(done / "zones.parquet").column_names == ["id", "geometry"]


def test_crate_is_the_same_to_the_byte_whenever_it_is_written(done, crate):
    other = api.crate(done / "test.run", done / "other.zip", **AGENT)
    assert other.path.read_bytes() == crate.read_bytes()


def test_status_tells_energy_by_the_figures_of_the_site(done):
    def told():
        return json.loads(CliRunner().invoke(cli, ["status", str(done / "campaign.yaml"), "--json"]).stdout)["energy"]

    assert told()["kwh"] is None and told()["here"] == "unknown"
    site = done / "here.yaml"
    figures = "{watt_per_core: 5, pue: 1.5, g_co2_per_kwh: 300}"
    site.write_text(f"name: here\nscheduler: local\nidentify: {{hostname: '.*'}}\nenergy: {figures}\n")
    try:
        found = told()
    finally:
        site.unlink()
    assert found["here"] == "estimated" and found["kwh"] == pytest.approx(1.5 * 5 * found["core_hours"] / 1000)
    assert found["kg_co2"] == pytest.approx(0.3 * found["kwh"]) and found["basis"].endswith("PUE 1.5")


def changed(crate: Path, target: Path, name: str, change) -> Path:
    """A crate whose file was changed, and whose list of digests was made again for that."""
    files = dict(crates.read(crate).files)
    document = json.loads(files[name])
    change(document)
    crates.write(target, {**files, name: crates.as_json(document)})
    return target


def test_a_crate_that_was_edited_is_refused(crate, tmp_path):
    crates.write(tmp_path / "edited", crates.read(crate).files)
    path = tmp_path / "edited" / "campaign.json"
    path.write_text(path.read_text().replace("2024-04-01", "2024-05-01"))
    ran = CliRunner().invoke(cli, ["reproduce", str(tmp_path / "edited"), str(tmp_path / "again")])
    assert isinstance(ran.exception, CrateError) and "campaign.json" in str(ran.exception)
    assert not (tmp_path / "again").exists()


def test_another_crate_than_the_one_that_was_named(crate, tmp_path):
    path = changed(crate, tmp_path / "a.zip", "run.json", lambda told: told.update(lacks="nothing"))
    digest = crates.read(crate).digest
    with pytest.raises(CrateError, match="has digest"):
        api.reproduce(path, tmp_path / "again", expected=digest)


def test_products_that_hold_something_else_are_refused(crate, elsewhere, tmp_path):
    def other(told):
        told["products"][0]["digest"] = "0" * 16

    path = changed(crate, tmp_path / "a.zip", "inputs.json", other)
    with pytest.raises(CrateError, match="holds something else"):
        api.reproduce(path, tmp_path / "again", products=[elsewhere / "archive"])
    assert not (tmp_path / "again" / "cube.zarr").exists()


def test_products_that_are_nowhere(crate, tmp_path):
    shutil.copy(crate, tmp_path / "a.zip")
    path = changed(crate, tmp_path / "b.zip", "run.json", lambda told: told.update(folder="/nowhere"))
    with pytest.raises(CrateError, match="2 products not found") as caught:
        api.reproduce(path, tmp_path / "again")
    assert "--products" in str(caught.value.hint)


def test_a_folder_that_is_not_empty_is_left_alone(crate, elsewhere, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(CrateError, match="not empty"):
        api.reproduce(crate, tmp_path, products=[elsewhere / "archive"])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_is_different_missing_or_new_is_said(crate, elsewhere, again, tmp_path):
    def other(told):
        outputs = {item["name"]: item for item in told["outputs"]}
        outputs["cube/31UFU/r10m/B04"]["digest"] = "0" * 32
        outputs["means/openEO.nc"]["name"] = "means/lost.nc"
        outputs["signatures/fields/31UFU"]["digest"] = ""

    path = changed(crate, tmp_path / "a.zip", "outputs.json", other)
    shutil.copytree(again.folder, tmp_path / "again")
    (tmp_path / "again" / "reproduction.json").write_text(json.dumps({"crate": crates.read(path).digest}))
    arguments = ["reproduce", str(path), str(tmp_path / "again"), "--products", str(elsewhere / "archive"), "--json"]
    ran = CliRunner().invoke(cli, arguments)
    assert ran.exit_code == 1, ran.output
    states = {item["name"]: item["state"] for item in json.loads(ran.stdout)["outputs"] if item["state"] != "equal"}
    assert states == {
        "cube/31UFU/r10m/B04": "different",
        "means/lost.nc": "missing",
        "means/openEO.nc": "new",
        "signatures/fields/31UFU": "unknown",
    }


def test_files_that_are_gone_are_missing_in_the_crate_and_said(done, tmp_path):
    shutil.copytree(done, tmp_path / "c")
    for path in (tmp_path / "c" / "test.run" / "spool").glob("*.h5"):
        path.unlink()
    made = api.crate(tmp_path / "c" / "campaign.yaml")
    lost = {item.name: item for item in made.record.outputs if item.missing}
    assert lost["signatures/fields/31UFU"].digest == "" and lost["signatures/fields/31UFU"].missing == 2


def test_folders_of_result_files_say_how_they_were_made(done, crate):
    import hashlib

    for folder, count in ((done / "out" / "whole", 1), (done / "graphs" / "means", 1)):
        graph = {item["@id"]: item for item in json.loads((folder / crates.METADATA).read_text())["@graph"]}
        parts = [item for item in graph.values() if item["@type"] == "File"]
        assert len(parts) == count
        for item in parts:
            assert hashlib.sha256((folder / item["@id"]).read_bytes()).hexdigest() == item["sha256"]
            assert item["prov:wasGeneratedBy"] == {"@id": "#run"} and len(item["prov:wasDerivedFrom"]) == 2


def test_metadata_of_others_in_a_folder_stay(done, tmp_path):
    shutil.copytree(done, tmp_path / "c")
    path = tmp_path / "c" / "out" / "whole" / crates.METADATA
    path.write_text('{"@graph": [{"@id": "./", "name": "mine"}]}')
    made = api.crate(tmp_path / "c" / "campaign.yaml")
    assert path not in made.beside and "mine" in path.read_text()


RECOMMENDED = {
    "ro-crate-1.1_27.1": "it knows no media types with parameters, such as that of Cloud-Optimised GeoTIFF",
    "process-run-crate-0.5_3.2": "a campaign has no address of its own",
    "process-run-crate-0.5_5.1": "it is a file of the crate",
    "workflow-ro-crate-1.0_6.1": "there is no README.md",
    "workflow-ro-crate-1.0_6.2": "there is no README.md",
    "ro-crate-1.1_22.3": "the publisher is not known",
    "ro-crate-1.1_30.2": "the affiliation of a person is not known",
    "ro-crate-1.1_30.3": "the affiliation of a person is not known",
}
"""Recommendations that cannot be followed, by the identifier of the check."""


def test_metadata_are_valid_by_independent_programs(done, crate, tmp_path):
    """The validator of RO-Crate's own people, and its reader."""
    if not ROCRATE.exists():
        pytest.skip("roc-validator is not installed (bash tests/services.sh)")
    crates.write(tmp_path / "crate", crates.read(crate).files)
    folders = [tmp_path / "crate", done / "out" / "whole", done / "graphs" / "means"]
    profiles = ["workflow-run-crate", "process-run-crate", "process-run-crate"]
    words = [word for pair in zip(profiles, map(str, folders), strict=True) for word in pair]
    script = Path(__file__).parents[1] / "rocrate_offline.py"
    asked = subprocess.run([ROCRATE, script, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert asked.returncode == 0, asked.stderr[-3000:]
    for folder, profile, found in zip(folders, profiles, json.loads(asked.stdout), strict=True):
        assert found["REQUIRED"] == []
        assert [each for each in found["RECOMMENDED"] if each.partition(":")[0] not in RECOMMENDED] == []
        assert found["agent"] == "Ada" and found["results"] >= 1
        assert found["instrument"] == ("campaign.json" if "workflow" in profile else HPCKIT)
        assert found["files"] and all((folder / name).exists() for name in found["files"])


def test_provenance_links_outputs_to_run_and_products(crate):
    """W3C PROV, followed by hand: from each output to the run, and to both products."""
    graph = {item["@id"]: item for item in crates.read(crate).document(crates.METADATA)["@graph"]}
    made = [item for name, item in graph.items() if name.startswith("#output/")]
    assert len(made) >= 8
    for item in made:
        assert item["prov:wasGeneratedBy"] == {"@id": "#run"}
        origins = {graph[one["@id"]]["name"] for one in item["prov:wasDerivedFrom"]}
        assert len(origins) == 2 and all(name.startswith("S2A_MSIL2A_2024") for name in origins)
    used = [graph[item["@id"]] for item in graph["#run"]["prov:used"]]
    assert sum("CreativeWork" in item["@type"] for item in used) == 2
    assert np.all([item["@id"] in graph for item in graph["./"]["hasPart"]])
