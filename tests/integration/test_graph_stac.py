"""`load_stac` in runs: items and geometries of servers are frozen with the plan, and workers ask only for pixels."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio

from hpckit import api
from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.tiles import read_tiles
from hpckit.errors import CrateError, GraphError
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.production.provenance import crate as crates
from hpckit.reduce.graphs.work import Work
from hpckit.runs.run import find_run
from tests.graph_examples import calling, ending, node, of
from tests.servers.files import FileServer, serve
from tests.unit.test_graph_stac import DATES, HERE, made  # noqa: F401 -- a fixture
from tests.unit.test_graph_stac_images import listed, ndvi, nir, write_item
from tests.unit.test_stac_items import pixels

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

QUIET = Console(quiet=True)


def test_a_run_computes_from_the_items_of_its_plan(made: Path, tmp_path: Path) -> None:  # noqa: F811
    served = shutil.copytree(made, tmp_path / "served")
    with serve(FileServer(served)) as server:
        loading = node("load_stac", url=f"{server.url}/collection.json", bands=["red"])
        over = node("reduce_dimension", data=of("load"), dimension="t", reducer=calling("max"))
        graph = ending({"load": loading, "most": over}, "most")
        path = api.prepare_graph(json.dumps(graph).encode(), {}, tmp_path / "job", hosts=HERE)
        plan_campaign(load_campaign(path), QUIET, workers=1)
        for name in ("collection.json", *(f"{item.parent.name}/{item.name}" for item in served.glob("S2*/*.json"))):
            (served / name).unlink()
        server.requests.clear()
        tiles = read_tiles(find_run(path))
        work = Work(tiles, tiles.campaign.graphs[0])
        (output,) = work.job.outputs
        (piece, *_) = work.pieces(output)
        values = work.job.evaluate(output, piece.asked).values
        assert {Path(name).suffix for name, _, _ in server.requests} == {".tif"}
    red = np.stack([pixels(number)["B04@10m"] for number in range(DATES)]).astype(float)
    red[red == 0] = np.nan
    np.testing.assert_allclose(np.squeeze(values), np.fmax.reduce(red) * 1e-4 - 0.1, rtol=1e-5)


def test_a_run_of_images_of_others(tmp_path: Path) -> None:
    """GeoTIFF files with scale and offset: frozen, computed by a worker, and saved."""
    served = tmp_path / "served"
    with serve(FileServer(served)) as server:
        address = f"{server.url}/{listed(served, *(write_item(served, seed) for seed in (0, 1)))}"
        over = node("reduce_dimension", data=of("load"), dimension="t", reducer=calling("mean"))
        graph = ending({"load": node("load_stac", url=address, bands=["nir", "ndvi"]), "mean": over}, "mean")
        path = api.prepare_graph(json.dumps(graph).encode(), {}, tmp_path / "job", hosts=HERE)
        assert run_campaign(load_campaign(path), QUIET, workers=1).exit_code == 0
        planned, _ = plan_campaign(load_campaign(path), QUIET, workers=1)
        assert not list(planned.plan.todo("graph"))
    (file,) = api.graph_results(path)
    with rasterio.open(file.path) as source:
        found = source.read(masked=True).filled(np.nan)
    numbers = np.stack([nir(0), nir(1)]).astype(float)
    numbers[numbers == 0] = np.nan
    signed = np.where(ndvi(0) == -32768, np.nan, np.stack([ndvi(0), ndvi(1)]).mean(axis=0) * 1e-4)
    np.testing.assert_allclose(found[0], numbers.mean(axis=0) * 1e-4 - 0.1, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[1], signed, rtol=1e-5, atol=1e-6)


def test_the_whole_run(made: Path, tmp_path: Path) -> None:  # noqa: F811
    served = shutil.copytree(made, tmp_path / "served")
    square = {"type": "Polygon", "coordinates": [[[4, 51], [5, 51], [5, 52], [4, 52], [4, 51]]]}
    (served / "areas.json").write_text(json.dumps(square))
    with serve(FileServer(served)) as server:
        graph = {
            "load": node("load_stac", url=f"{server.url}/api.json", bands=["red"]),
            "areas": node("load_url", url=f"{server.url}/areas.json", format="GeoJSON"),
            "cut": node("mask_polygon", data=of("load"), mask=of("areas")),
            "most": node("reduce_dimension", data=of("cut"), dimension="t", reducer=calling("max")),
        }
        text = json.dumps(ending(graph, "most")).encode()
        path = api.prepare_graph(text, {}, tmp_path / "job", hosts=HERE)
        assert run_campaign(load_campaign(path), QUIET, workers=1).exit_code == 0
        (file,) = api.graph_results(path)
        with rasterio.open(file.path) as source:
            assert source.shape == (120, 120) and np.isfinite(source.read(1)).any()
        frozen = find_run(path).frozen
        planned, _ = plan_campaign(load_campaign(path), QUIET, workers=1)
        assert not list(planned.plan.todo("graph")) and find_run(path).frozen == frozen
        made_again(path, tmp_path, server.url)
        square["coordinates"][0][2] = [4.9, 52]
        (served / "areas.json").write_text(json.dumps(square))
        planned, _ = plan_campaign(load_campaign(path), QUIET, workers=1)
        assert list(planned.plan.todo("graph")), "other geometries"
        with pytest.raises(CrateError, match=r"load_url of http\S+areas.json gives something else$"):
            api.reproduce(tmp_path / "run.zip", tmp_path / "changed", console=QUIET)
        square["coordinates"][0][2] = [5, 52]
        (served / "areas.json").write_text(json.dumps(square))
        gone = json.loads((served / f"page{DATES - 2}.json").read_text())
        gone["links"] = []
        (served / f"page{DATES - 2}.json").write_text(json.dumps(gone))
        with pytest.raises(
            CrateError, match=r"load_stac of http\S+api.json gives something else, S2A_\S+ for example"
        ):
            api.reproduce(tmp_path / "run.zip", tmp_path / "fewer", console=QUIET)
    with pytest.raises(GraphError, match="cannot be read"):
        api.reproduce(tmp_path / "run.zip", tmp_path / "gone", console=QUIET)


def made_again(path: Path, folder: Path, url: str) -> None:
    """The crate says what was loaded, and a run from it loads the same."""
    api.crate(path, folder / "run.zip")
    crate = crates.read(folder / "run.zip")
    items, areas = crate.document(crates.INPUTS)["loaded"]
    assert (items["process"], items["place"]) == ("load_stac", f"{url}/api.json")
    assert (areas["process"], areas["place"]) == ("load_url", f"{url}/areas.json") and not areas["products"]
    assert len(items["products"]) == DATES and all(product["digest"] for product in items["products"])
    entities = json.loads(crate.files[crates.METADATA])["@graph"]
    used = {item["@id"] for item in next(item for item in entities if item["@id"] == "#run")["object"]}
    named = {item["@id"] for item in entities if item["@id"].startswith(("#loaded/", "#product/"))}
    assert len(named) == DATES + 2 and named <= used
    again = api.reproduce(folder / "run.zip", folder / "again", console=QUIET)
    assert again.is_equal, again.outputs
