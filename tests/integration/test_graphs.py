"""Process graphs as work of a campaign: numbers of xarray, killed and continued, changed, damaged, verified."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import CampaignError, GraphError, PlanError
from hpckit.production.driver import plan_campaign, run_campaign, verify_campaign
from hpckit.runs.journal import read_journal
from hpckit.space.vector.project import to_degrees
from hpckit.testing.stage import StageTests, run_twice
from tests import graph_examples, small_campaign
from tests.graph_examples import write_job
from tests.integration.campaigns import made_once
from tests.integration.test_run import start, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.slow]

QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def ingested(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small campaign with its cube; only to be read."""

    def run(folder: Path) -> None:
        campaign = load_campaign(small_campaign.copy(made, folder / "c"))
        assert run_campaign(campaign, QUIET, workers=2).exit_code == 0

    return made_once(tmp_path_factory, "ingested", run) / "c" / "campaign.yaml"


def job(folder: Path, ingested: Path) -> Path:
    return write_job(folder, graph_examples.masked_median(), {"test": ingested}, memory_mib=128)


def read(path: Path) -> np.ndarray:
    (file,) = api.graph_results(path)
    with rasterio.open(file.path) as source:
        return source.read()


class _Graphs(StageTests):
    @pytest.fixture
    def campaign(self, ingested: Path, tmp_path: Path) -> Path:
        return job(tmp_path / "job", ingested)

    @pytest.fixture(scope="class")
    def pair(self, ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
        return run_twice(job(tmp_path_factory.mktemp("graphs") / "job", ingested))

    @pytest.fixture
    def finished(self, pair: tuple[Path, Path]) -> tuple[Path, Path]:
        return pair


class TestGraph(_Graphs):
    stage = "graph"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        store = campaign.folder / "graphs" / "result.zarr"
        paths = [path for path in store.rglob("c/*/*/*") if path.is_file()]
        return {str(path.relative_to(store)): path.read_bytes() for path in paths}


class TestResults(_Graphs):
    stage = "results"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        return {path.name: path.read_bytes() for path in (campaign.folder / "graphs" / "result").glob("*.tif")}


def test_pixels_are_those_of_xarray(ingested: Path, tmp_path: Path):
    path = job(tmp_path / "job", ingested)
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    np.testing.assert_allclose(read(path), graph_examples.expected_median(ingested), atol=1e-6)


def test_a_graph_in_the_campaign_that_makes_the_cube(made: Path, ingested: Path, tmp_path: Path):
    path = small_campaign.copy(made, tmp_path / "c")
    graph = json.dumps(graph_examples.masked_median())
    path.write_text(path.read_text() + f"  - {{name: clear, kind: graph, graph: {graph}}}\n")
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    np.testing.assert_allclose(read(path), graph_examples.expected_median(ingested), atol=1e-6)
    assert verify_campaign(load_campaign(path), QUIET) == []


def test_without_a_cube_pixels_come_from_products(made: Path, ingested: Path, tmp_path: Path):
    path = small_campaign.copy(made, tmp_path / "c")
    path.write_text(path.read_text().replace("cube: {", "cube: {keep: false, "))
    plan_campaign(load_campaign(path), QUIET)
    target = write_job(tmp_path / "job", graph_examples.masked_median(), {"test": path})
    assert run_campaign(load_campaign(target), QUIET, workers=1).exit_code == 0
    np.testing.assert_allclose(read(target), graph_examples.expected_median(ingested), atol=1e-6)
    shutil.rmtree(path.parent / "scenes")
    other = write_job(tmp_path / "other", graph_examples.masked_median(), {"test": path})
    result = run_campaign(load_campaign(other), QUIET, workers=1)
    assert result.exit_code == 1 and "the cube lacks band" in str(result.failed[0].reason)
    assert api.graph_results(other) == []


def test_means_of_zones_in_parts(ingested: Path, tmp_path: Path):
    shapes = [
        shape for shape in small_campaign.zones() if shape.within(shapely.box(600000, 5688600, 611400, 5700000))
    ]
    degrees = to_degrees(np.array(shapes, object), small_crs())
    features = [
        {"type": "Feature", "id": number, "properties": {}, "geometry": json.loads(shapely.to_geojson(shape))}
        for number, shape in enumerate(degrees)
    ]
    graph = graph_examples.mean_of_zones({"type": "FeatureCollection", "features": features})
    path = write_job(tmp_path / "job", graph, {"test": ingested}, memory_mib=4)
    planned, _ = plan_campaign(load_campaign(path), QUIET)
    assert len(planned.plan.of("graph")) > 3
    assert run_campaign(load_campaign(path), QUIET, workers=1).exit_code == 0
    (file,) = api.graph_results(path)
    found = pd.read_csv(file.path)
    data = graph_examples.cubes(ingested)
    for number in (0, 7, len(shapes) - 1):
        x, y = np.meshgrid(data.x, data.y)
        inside = shapely.contains_xy(shapes[number], x, y)
        mine = found[found.feature_index == number].sort_values("date")
        np.testing.assert_allclose(mine.B04, [np.nanmean(plane[inside]) for plane in data.B04.values], rtol=1e-4)


def small_crs():
    import pyproj

    return pyproj.CRS.from_epsg(32631)


def test_killing_everything_loses_nothing(ingested: Path, tmp_path: Path):
    path = job(tmp_path / "job", ingested)
    campaign = load_campaign(path)
    process = start(campaign)
    wait_for(campaign, "graph", 1, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    result = run_campaign(campaign, QUIET, workers=2)
    assert result.exit_code == 0
    np.testing.assert_allclose(read(path), graph_examples.expected_median(ingested), atol=1e-6)
    assert verify_campaign(campaign, QUIET) == []
    units = [entry.unit for entry in read_journal(campaign.run_dir) if entry.state == "done"]
    assert len(units) <= len(set(units)) + 2, "only what was in work is done again"


def test_damage_is_found_and_repaired(ingested: Path, tmp_path: Path):
    path = job(tmp_path / "job", ingested)
    campaign = load_campaign(path)
    assert run_campaign(campaign, QUIET, workers=1).exit_code == 0
    before = read(path)
    shards = sorted(item for item in (tmp_path / "job/graphs/result.zarr").rglob("c/*/*/*") if item.is_file())
    shards[0].write_bytes(shards[0].read_bytes()[:-9] + b"otherwise")
    shards[1].unlink()
    api.graph_results(path)[0].path.unlink()
    faults = verify_campaign(campaign, QUIET)
    assert {(fault.kind, fault.unit.partition("/")[0]) for fault in faults} == {
        ("corrupt", "graph"),
        ("missing", "graph"),
        ("missing", "results"),
    }
    again = run_campaign(campaign, QUIET, workers=1)
    assert again.exit_code == 0 and 1 <= again.done["graph"] <= 2 and again.done["results"] == 1
    assert verify_campaign(campaign, QUIET) == []
    np.testing.assert_array_equal(read(path), before)


def test_what_changed_is_computed_again_and_nothing_else(made: Path, tmp_path: Path):
    source = small_campaign.copy(made, tmp_path / "c")
    late = sorted((source.parent / "scenes").iterdir())[-1]
    late.rename(tmp_path / late.name)
    assert run_campaign(load_campaign(source), QUIET, workers=2).exit_code == 0
    path = job(tmp_path / "job", source)
    assert run_campaign(load_campaign(path), QUIET, workers=2).exit_code == 0
    assert not run_campaign(load_campaign(path), QUIET, workers=2).done
    (tmp_path / late.name).rename(late)
    assert run_campaign(load_campaign(source), QUIET, workers=2).exit_code == 0
    assert run_campaign(load_campaign(path), QUIET, workers=2).done["graph"] > 0
    np.testing.assert_allclose(read(path), graph_examples.expected_median(source), atol=1e-6)
    graph = (path.parent / "graph.json").read_text()
    (path.parent / "graph.json").write_text(graph.replace("median", "mean"))
    assert run_campaign(load_campaign(path), QUIET, workers=2).done["graph"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph["median"]["arguments"].update(dimension="time"), "node median: "),
        (lambda graph: graph["load"]["arguments"].update(bands=["B99"]), "has no band 'B99'"),
        (lambda graph: graph["load"]["arguments"].update(id="other"), "there is no collection 'other'"),
        (lambda graph: graph["load"]["arguments"].update(temporal_extent=["2023-01-01", "2023-02-01"]), "period"),
        (lambda graph: graph["save"]["arguments"].update(format="Shapefile"), "Shapefile"),
    ],
)
def test_faults_of_types_come_with_the_plan(ingested: Path, tmp_path: Path, change, message):
    graph = graph_examples.masked_median()
    change(graph)
    path = write_job(tmp_path / "job", graph, {"test": ingested})
    with pytest.raises(PlanError, match=message):
        plan_campaign(load_campaign(path), QUIET)


def test_faults_of_form_come_with_the_file(ingested: Path, tmp_path: Path):
    graph = graph_examples.masked_median()
    graph["flat"]["process_id"] = "drop_dimensions"
    graph["median"]["arguments"]["data"] = {"from_node": "clean"}
    path = write_job(tmp_path / "job", graph, {"test": ingested})
    with pytest.raises(CampaignError, match=r"campaign.yaml:3: reductions.0.graph: graph.json: node") as caught:
        load_campaign(path)
    assert "drop_dimensions" in str(caught.value) and "clean" in str(caught.value)
    path = write_job(tmp_path / "job", {}, {"test": ingested})
    with pytest.raises(CampaignError, match="no process graph"):
        load_campaign(path)
    (tmp_path / "job/graph.json").write_text("{")
    with pytest.raises(CampaignError, match="no JSON"):
        load_campaign(path)
    (tmp_path / "job/graph.json").unlink()
    with pytest.raises(CampaignError, match=r"graph.json: no such file"):
        load_campaign(path)


def test_a_collection_that_was_never_planned(made: Path, tmp_path: Path):
    source = small_campaign.copy(made, tmp_path / "c")
    path = job(tmp_path / "job", source)
    with pytest.raises(Exception, match="collection 'test' cannot be opened") as caught:
        plan_campaign(load_campaign(path), QUIET)
    assert "hpckit run" in str(caught.value.hint)


def hpckit(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpckit", "graph", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_from_the_command_line(ingested: Path, tmp_path: Path):
    graph = graph_examples.masked_median(spatial_extent=graph_examples.BOX)
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps({"process": {"process_graph": graph}}))
    graph["clouds"]["arguments"]["process"]["process_graph"]["cloud"]["process_id"] = "gtee"
    graph["median"]["arguments"]["dimension"] = "time"
    bad.write_text(json.dumps(graph))
    named = ("--collection", f"test={ingested}")
    assert hpckit("check", good, *named).returncode == 0
    found = hpckit("check", bad, *named)
    assert found.returncode == 1 and "gtee" in found.stderr and "hint: " in found.stderr
    listed = json.loads(hpckit("check", bad, *named, "--json").stdout)
    assert listed[0]["fault"] == "ProcessUnsupported" and all(item["node"] for item in listed)
    assert hpckit("run", bad, *named, "-o", tmp_path / "no").returncode == 1 and not (tmp_path / "no").exists()
    assert hpckit("check", good, "--collection", "test").returncode == 2
    planned = hpckit("plan", good, *named, "-o", tmp_path / "job")
    assert planned.returncode == 0 and "lowered: median: median over time" in planned.stdout
    ran = hpckit("run", good, *named, "-o", tmp_path / "job", "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    with rasterio.open(ran.stdout.splitlines()[-1]) as source:
        assert source.shape == (950, 850) and source.bounds[:2] == (600500, 5689500)


def test_at_once_and_estimated(ingested: Path, tmp_path: Path):
    graph = graph_examples.masked_median(spatial_extent=graph_examples.BOX)
    collections = {"test": ingested}
    assert api.check_graph(graph, collections) == []
    expected = api.estimate_graph(graph, collections)
    assert expected.pixels == 950 * 850 and expected.bytes == 950 * 850 * 2 * 4 and 0 < expected.seconds < 60
    (file,) = api.compute_graph(graph, collections, tmp_path / "files")
    with rasterio.open(file.path) as source:
        found = source.read()
    whole = graph_examples.expected_median(ingested)
    rows, columns = slice(100, 1050), slice(50, 900)
    np.testing.assert_allclose(found, whole[:, rows, columns], atol=1e-6)
    del graph["save"]
    graph["median"]["result"] = True
    with pytest.raises(GraphError, match="no save_result"):
        api.compute_graph(graph, collections, tmp_path / "files")
