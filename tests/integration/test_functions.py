"""Functions of one's own and models as work of a campaign: numbers of numpy, changed, tried before they run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

import hpckit
from hpckit import api
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import CampaignError, CrateError, HpckitError, PlanError, UserCodeError, VectorError
from hpckit.look.notebook.view import NotebookView
from hpckit.testing.stage import StageTests, run_twice
from tests.integration.campaigns import made_once
from tests.integration.test_graphs import ingested  # noqa: F401 -- a fixture
from tests.small_campaign import copy, write_campaign

pytestmark = [pytest.mark.integration, pytest.mark.slow]

CODE = """\
import numpy as np

def ndvi(block, add=0):
    red, nir = block.sel(band="B04"), block.sel(band="B08")
    return ((nir - red) / (nir + red)).mean("time") + np.float32(add)

def cross(block):
    first = block.isel(time=0)
    made = np.full_like(first.values, np.nan)
    v = first.values
    made[:, 1:-1, 1:-1] = v[:, :-2, 1:-1] + v[:, 2:, 1:-1] + v[:, 1:-1, :-2] + v[:, 1:-1, 2:]
    return first.copy(data=made)
"""
NDVI = {"function": "own:ndvi", "bands": ["B04", "B08"], "makes": {"bands": ["ndvi"]}}


def write_job(folder: Path, source: Path, *reductions: Mapping[str, Any], code: str = CODE) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "own.py").write_text(code)
    lines = [
        json.dumps({"name": "made", "kind": "function", "memory_mib": 32, "collection": str(source), **reduction})
        for reduction in reductions
    ]
    (folder / "campaign.yaml").write_text("\n".join(["name: job", "reductions:", *(f"  - {line}" for line in lines)]))
    return folder / "campaign.yaml"


def read(path: Path, name: str = "made") -> np.ndarray:
    (file,) = (path.parent / "maps" / name).glob("*.tif")
    with rasterio.open(file) as source:
        return source.read()


def ndvi(source: Path) -> np.ndarray:
    cube = api.cube(source, resolution_m=10)
    red, nir = cube.B04.values, cube.B08.values
    return np.nanmean((nir - red) / (nir + red), axis=0)


class TestFunction(StageTests):
    stage = "graph"

    @pytest.fixture
    def campaign(self, ingested: Path, tmp_path: Path) -> Path:  # noqa: F811
        return write_job(tmp_path / "job", ingested, NDVI)

    @pytest.fixture(scope="class")
    def pair(self, ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:  # noqa: F811
        return run_twice(write_job(tmp_path_factory.mktemp("functions") / "job", ingested, NDVI))

    @pytest.fixture
    def finished(self, pair: tuple[Path, Path]) -> tuple[Path, Path]:
        return pair

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        store = campaign.folder / "maps" / "made.zarr"
        paths = [path for path in store.rglob("c/*/*/*") if path.is_file()]
        return {str(path.relative_to(store)): path.read_bytes() for path in paths}


def test_pixels_are_those_of_numpy_and_a_halo_joins_windows(ingested: Path, tmp_path: Path):  # noqa: F811
    cross = {"name": "cross", "function": "own:cross", "bands": ["B04"], "makes": {"bands": ["sum"]}, "halo": 1}
    path = write_job(tmp_path / "job", ingested, NDVI, cross)
    result = api.run(path, workers=2)
    assert not result.failed and result.done["graph"] > 8
    np.testing.assert_allclose(read(path)[0], ndvi(ingested), atol=1e-6)
    first = api.cube(ingested, resolution_m=10).B04.values[0]
    want = first[:-2, 1:-1] + first[2:, 1:-1] + first[1:-1, :-2] + first[1:-1, 2:]
    np.testing.assert_allclose(read(path, "cross")[0, 1:-1, 1:-1], want, rtol=1e-6)
    assert api.verify(path) == []


def test_changed_code_is_computed_again_and_only_that(ingested: Path, tmp_path: Path):  # noqa: F811
    other = {**NDVI, "name": "other", "options": {"add": 1}}
    path = write_job(tmp_path / "job", ingested, NDVI)
    api.run(path, workers=2)
    assert not api.run(path, workers=2).done
    write_job(tmp_path / "job", ingested, NDVI, other)
    done = api.run(path, workers=2).done
    assert done["results"] == 1
    np.testing.assert_allclose(read(path, "other"), read(path) + 1, atol=1e-6)
    (tmp_path / "job" / "own.py").write_text(CODE.replace("mean(", "max("))
    assert api.run(path, workers=2).done["results"] == 2


@pytest.mark.parametrize(
    ("code", "fields", "message"),
    [
        ("def f(block):\n    raise ValueError('not like this')\n", {}, "own:f raised ValueError: not like this"),
        ("def f(block):\n    return block.mean('time')\n", {}, "returned 2 bands instead of 1"),
        ("import no_such_package\n", {}, "needs the package 'no_such_package'"),
        (
            "CALLS = []\ndef f(block):\n    CALLS.append(1)\n    return block[0, :1] + len(CALLS)\n",
            {},
            "gave other numbers for the same block the second time",
        ),
        (
            "import numpy as np\ndef f(block):\n    np.ones(2**28, np.uint8) + 1\n    return block[0, :1]\n",
            {},
            "would take .* `memory_mib` declares 32",
        ),
    ],
)
def test_faults_are_said_before_anything_is_planned(
    ingested: Path,  # noqa: F811
    tmp_path: Path,
    code: str,
    fields: dict[str, Any],
    message: str,
):
    reduction = {"function": "own:f", "bands": ["B04", "B08"], "makes": {"bands": ["a"]}, **fields}
    path = write_job(tmp_path / "job", ingested, reduction, code=code)
    with pytest.raises(UserCodeError, match=message):
        api.plan(path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"bands": ["B99"]}, "B99"),
        ({"composite": "none"}, "has no composite 'none'"),
        ({"period": ["1999-01-01", "1999-02-01"]}, "no acquisition in the period"),
        ({"function": "missing:f"}, "there is no module 'missing'"),
    ],
)
def test_faults_of_the_declaration(ingested: Path, tmp_path: Path, fields: dict[str, Any], message: str):  # noqa: F811
    path = write_job(tmp_path / "job", ingested, {**NDVI, **fields})
    with pytest.raises((PlanError, CampaignError), match=message):
        api.plan(path)
    assert any(found.verdict == "error" and message in f"{found.text}" for found in api.check(path))


SCALE = 2


def of_notebook(block: Any, add: float = 0) -> Any:
    red, nir = block.sel(band="B04"), block.sel(band="B08")
    return ((nir - red) / (nir + red)).mean("time") * SCALE + np.float32(add)


def leaves(block: Any) -> Any:
    sys.exit(3)


def test_apply_tries_then_runs(ingested: Path):  # noqa: F811
    view = NotebookView(load_campaign(ingested))
    applied = view.apply(of_notebook, bands=["B04", "B08"], output="doubled", options={"add": 1}, window=(100, 200))
    want = ndvi(ingested) * 2 + 1
    try:
        assert applied.trial.dims == ("band", "y", "x")
        np.testing.assert_allclose(applied.trial.values[0], want[100:612, 200:712], atol=1e-6)
        assert not hpckit.run(applied, workers=2).failed
        np.testing.assert_allclose(applied.result().doubled.values[0], want, atol=1e-6)
        with pytest.raises(UserCodeError, match="not an xarray"):
            view.apply(lambda block: 1, output="one")
        with pytest.raises(UserCodeError, match="'greenest' is no function"):
            view.apply("greenest")  # type: ignore[arg-type]
        with pytest.raises(UserCodeError, match="a lambda cannot be applied"):
            view.apply(lambda block: block)
        with pytest.raises(UserCodeError, match=r"apply: memory_mib: .*integer.*; halo: .*greater"):
            view.apply(of_notebook, memory_mib="much", halo=-1)  # type: ignore[arg-type]
        with pytest.raises(UserCodeError, match=r"leaves raised SystemExit: 3 \(test_functions.py, line"):
            view.apply(leaves, bands="B04")
    finally:
        shutil.rmtree(ingested.parent / "functions", ignore_errors=True)


@pytest.fixture(scope="module")
def mapped(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small campaign with a composite, and a map by a forest trained on it."""
    joblib = pytest.importorskip("joblib", reason="needs the extra `learn`")
    ensemble = pytest.importorskip("sklearn.ensemble", reason="needs the extra `learn`")

    def run(folder: Path) -> None:
        path = copy(made, folder / "c")
        composite = "  - {name: all, kind: composite, period: year, methods: [median, min], bands: [B04, B08]}\n"
        write_campaign(path.parent, extra=composite)
        assert api.run(path, workers=2).exit_code == 0
        samples = api.sample(
            path, path.parent / "zones.gpkg", "name", composite="all", output=path.parent / "samples.parquet"
        )
        table = samples.table.to_pandas()
        dark = table[samples.features[0]] < table[samples.features[0]].median()
        model = ensemble.RandomForestClassifier(10, random_state=0, n_jobs=2)
        joblib.dump(model.fit(table[samples.features], np.where(dark, 7, 3)), path.parent / "forest.joblib")
        predict = "  - {name: crops, kind: predict, model: forest.joblib, composite: all, memory_mib: 32}\n"
        write_campaign(path.parent, extra=composite + predict)
        assert api.run(path, workers=2).exit_code == 0

    return made_once(tmp_path_factory, "mapped", run) / "c" / "campaign.yaml"


def layers(path: Path) -> np.ndarray:
    """Features of all pixels, shape (pixels, features)."""
    found = api.composite(path, "all")
    return np.stack(
        [found[name].values[0].reshape(-1) for name in ("B04_median", "B08_median", "B04_min", "B08_min")], 1
    )


def test_samples_are_pixels_of_the_composite(mapped: Path):
    table = pq.read_table(mapped.parent / "samples.parquet")
    geo = json.loads(table.schema.metadata[b"geo"])
    assert geo["columns"]["geometry"]["crs"]["id"] == {"authority": "EPSG", "code": 32631}
    import shapely

    points = shapely.from_wkb(table["geometry"].to_pylist())
    found = api.composite(mapped, "all")
    day = str(found.time.values[0])[:10]
    rows = ((float(found.y[0]) - shapely.get_y(points)) / 10).round().astype(int)
    columns = ((shapely.get_x(points) - float(found.x[0])) / 10).round().astype(int)
    np.testing.assert_allclose(table[f"B08_min_{day}"].to_numpy(), found.B08_min.values[0][rows, columns], rtol=1e-6)
    assert all(name.startswith("z") for name in set(table["label"].to_pylist()))


def test_a_map_is_what_scikit_learn_predicts(mapped: Path):
    import joblib

    model = joblib.load(mapped.parent / "forest.joblib")
    features = layers(mapped).astype(np.float32)
    whole = ~np.isnan(features).any(axis=1)
    likely = model.predict_proba(features[whole])
    found = read(mapped, "crops")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0].reshape(-1)[whole], model.classes_[likely.argmax(axis=1)])
    np.testing.assert_array_equal(found[1:].reshape(2, -1)[:, whole], np.rint(likely.T * 100))
    assert (found.reshape(3, -1)[:, ~whole] == 255).all() and (~whole).any() == (found[0] == 255).any()
    with rasterio.open(next((mapped.parent / "maps" / "crops").glob("*.tif"))) as source:
        assert source.descriptions == ("class", "p_3", "p_7") and source.nodata == 255
    assert api.verify(mapped) == []
    assert not api.run(mapped, workers=2).done


def predicting(folder: Path, source: Path, **fields: Any) -> Path:
    return write_job(folder, source, {"kind": "predict", "composite": "all", **fields})


def test_onnx_gives_the_same_map(mapped: Path, tmp_path: Path):
    import joblib

    skl2onnx = pytest.importorskip("skl2onnx", reason="needs skl2onnx")
    pytest.importorskip("onnxruntime", reason="needs the extra `learn`")
    model = joblib.load(mapped.parent / "forest.joblib")
    taken = [("features", skl2onnx.common.data_types.FloatTensorType([None, 4]))]
    made = skl2onnx.to_onnx(model, initial_types=taken, options={id(model): {"zipmap": False}})
    for key, value in (("classes", model.classes_.tolist()), ("features", model.feature_names_in_.tolist())):
        made.metadata_props.add(key=key, value=json.dumps(value))
    tmp_path.joinpath("job").mkdir()
    (tmp_path / "job" / "forest.onnx").write_bytes(made.SerializeToString())
    path = predicting(tmp_path / "job", mapped, model="forest.onnx")
    assert not api.run(path, workers=2).failed
    assert np.mean(read(path)[0] != read(mapped, "crops")[0]) < 1e-4  # float32 within ONNX
    made_again(path, tmp_path)


def made_again(path: Path, folder: Path) -> None:
    """A crate names the model by its digest; ONNX is data, so nobody is asked whether it may run."""
    crate, model = api.crate(path, folder / "map.zip").path, path.parent / "forest.onnx"
    assert api.reproduce(crate, folder / "again", workers=2).is_equal
    disguised = shutil.copy(model, folder / "model.joblib")
    with pytest.raises(CrateError, match="runs code of the crate's author"):
        api.reproduce(crate, folder / "code", at={"reductions.made.model": disguised})
    model.write_bytes(model.read_bytes() + b"x")
    with pytest.raises(CrateError, match="not the file that the run used"):
        api.reproduce(crate, folder / "changed")
    model.unlink()
    with pytest.raises(CrateError, match=r"no file forest\.onnx"):
        api.reproduce(crate, folder / "gone")


@pytest.mark.parametrize(
    ("content", "fields", "message"),
    [
        (b"no model", {}, "no model that can be read"),
        (b"no model", {"model": "m.onnx"}, "no ONNX model that can be read"),
        ("a list", {}, "builtins.list is no trained classifier"),
        ("untrained", {}, "RandomForestClassifier is no trained classifier"),
        ("other names", {}, "takes 1 feature that the data lack: NDVI"),
        ("more", {}, "takes 9 features without names, and the data have 4"),
        ("forest", {"bands": ["B04_median"]}, "takes 3 features that the data lack"),
        ("forest", {"features": ["a", "b", "c", "d"]}, "is not what model m.joblib was trained with"),
        ("older", {}, r"saved with scikit-learn 0\.1, and .* is installed here"),
    ],
)
def test_faults_of_models_are_said_before_anything_runs(
    mapped: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: Any,
    fields: dict[str, Any],
    message: str,
):
    import joblib
    import pandas as pd
    from sklearn.ensemble import RandomForestClassifier

    folder = tmp_path / "job"
    folder.mkdir()
    x = np.random.default_rng(0).random((20, 9))
    forest = RandomForestClassifier(2)
    models = {
        "a list": [1],
        "untrained": forest,
        "other names": RandomForestClassifier(2).fit(pd.DataFrame({"NDVI": x[:, 0]}), x[:, 1] > 0.5),
        "more": RandomForestClassifier(2).fit(x, x[:, 1] > 0.5),
        "forest": joblib.load(mapped.parent / "forest.joblib"),
    }
    name = folder / fields.get("model", "m.joblib")
    if isinstance(content, bytes):
        name.write_bytes(content)
    elif content == "older":
        with monkeypatch.context() as patched:
            patched.setattr("sklearn.base.__version__", "0.1")
            joblib.dump(models["more"], name)
    else:
        joblib.dump(models[content], name)
    path = predicting(folder, mapped, **{"model": "m.joblib", **fields})
    with pytest.raises(HpckitError, match=message):
        api.plan(path)


def test_a_missing_model_is_named(mapped: Path, tmp_path: Path):
    path = predicting(tmp_path / "job", mapped, model="missing.joblib")
    with pytest.raises(CampaignError, match=r"missing\.joblib: no such file"):
        api.plan(path)


def test_samples_outside_the_cube(mapped: Path, tmp_path: Path):
    far = {
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [80.0, 10.0]},
        "properties": {"crop": "rice"},
    }
    (tmp_path / "far.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [far]}))
    with pytest.raises(VectorError, match="none of its 1 point or zone has a pixel in the cube"):
        api.sample(mapped, tmp_path / "far.geojson", "crop")
