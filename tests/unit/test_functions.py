"""Functions on blocks: what they give back is checked, what they raise is named, and their code is found."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hpckit.campaign.blocks import FunctionReduction, Makes, PredictReduction
from hpckit.campaign.functionfiles import digest_of_module, find_module
from hpckit.errors import CampaignError, UserCodeError
from hpckit.processgraph.cube import Cube
from hpckit.reduce.blocks.block import as_block, values_of
from hpckit.reduce.blocks.features import feature_names, features_of
from hpckit.reduce.blocks.function import FunctionBlocks
from hpckit.reduce.blocks.ownmodules import OwnModules
from hpckit.reduce.blocks.source import source_of
from hpckit.space.box import Box
from hpckit.testing.graphs import bands, raster, times

DATES = ("2024-05-01T10:00:00Z", "2024-05-06T10:00:00Z")


def cube(rows: int = 6, columns: int = 5) -> Cube:
    values = np.random.default_rng(1).random((2, 2, rows, columns), np.float32)
    return raster(values, times(*DATES), bands(B04="red", B08="nir"))


def checked(made: Any, **makes: Any) -> np.ndarray:
    return values_of(made, as_block(cube()), Makes(**{"bands": ["a"], **makes}), "f:f")


def mean(block: xarray.DataArray) -> xarray.DataArray:
    return block.mean("time")


def test_a_block_has_times_bands_and_positions():
    block = as_block(cube())
    assert block.dims == ("time", "band", "y", "x")
    assert block.time.values.tolist() == [np.datetime64(text[:-1], "ns").astype(int) for text in DATES]
    assert block.band.values.tolist() == ["B04", "B08"]
    assert block.x.values[:2].tolist() == [600005.0, 600015.0]
    assert block.y.values[:2].tolist() == [5199995.0, 5199985.0]
    assert block.attrs["crs"] == "EPSG:32632"


@pytest.mark.parametrize("box", [Box(0, 0, 6, 5), Box(1, 2, 4, 3), Box(2, 0, 3, 1)], ids=str)
def test_a_block_is_what_xarray_makes_of_values_and_coordinates(box: Box):
    whole = cube()
    assert whole.grid is not None
    values = whole.values[..., box.top : box.bottom, box.left : box.right]
    data = Cube(values, whole.dims, whole.grid, box)
    coords = {
        "time": np.array([text[:-1] for text in DATES], "datetime64[ns]"),
        "band": ["B04", "B08"],
        "y": whole.grid.ys(box),
        "x": whole.grid.xs(box),
    }
    plain = xarray.DataArray(data.values, coords, ("time", "band", "y", "x"), attrs={"crs": "EPSG:32632"})
    for _ in range(2):  # the second time, coordinates are known
        block = as_block(data)
        xarray.testing.assert_identical(block, plain)
        assert {name: block[name].dtype for name in coords} == {name: plain[name].dtype for name in coords}
        assert all(block.indexes[name].identical(plain.indexes[name]) for name in coords)
        block.attrs["crs"] = "changed"
        block.x.attrs["units"] = "m"
        block["band"] = ["a", "b"]


@given(st.permutations(["band", "y", "x"]), st.permutations(["B04", "B08"]))
def test_order_of_dimensions_and_bands_is_no_matter(dims: list[str], order: list[str]):
    block = as_block(cube())
    made = values_of(mean(block).sel(band=order).transpose(*dims), block, Makes(bands=["B04", "B08"]), "f:f")
    np.testing.assert_array_equal(made, cube().values.mean(axis=0))


@pytest.mark.parametrize(
    ("make", "makes", "message"),
    [
        (lambda block: block.values, {}, r"returned numpy.ndarray, and not an xarray.DataArray"),
        (lambda block: None, {}, r"returned nothing, and not"),
        (lambda block: block.to_dataset("band"), {}, r"returned xarray.core.dataset.Dataset, and not"),
        (lambda block: block, {"bands": ["B04", "B08"]}, r"dimensions time, band, y, x instead of band, y, x"),
        (lambda block: mean(block), {"keeps_time": True}, r"dimensions band, y, x instead of time, band"),
        (lambda block: mean(block), {}, r"2 bands instead of 1 \(a\)"),
        (lambda block: mean(block), {"bands": ["a", "b"]}, r"the bands B04, B08 instead of a, b"),
        (lambda block: mean(block)[:1, 1:], {}, r"5 pixels along y instead of 6"),
        (lambda block: mean(block)[:1].isel(x=slice(None, None, 2)), {}, r"3 pixels along x instead of 5"),
        (lambda block: mean(block)[:1].assign_coords(x=block.x + 10), {}, r"lie elsewhere: x from 600015"),
        (lambda block: mean(block)[:1].assign_attrs(crs="EPSG:4326"), {}, r"another CRS than EPSG:32632"),
        (lambda block: mean(block)[:1], {"dtype": "uint8"}, r"type float32, and `makes.dtype` declares uint8"),
        (lambda block: mean(block)[:1].astype(str), {}, r"numbers of type <U32"),
        (lambda block: (mean(block)[:1] * 0 - 1).astype(int), {"dtype": "uint8"}, r"returned -1 to -1"),
        (lambda block: block[:1, :1], {"keeps_time": True}, r"returned 1 date instead of 2"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(make: Any, makes: dict[str, Any], message: str):
    with pytest.raises(UserCodeError, match=message):
        checked(make(as_block(cube())), **makes)


def test_numbers_get_the_declared_type():
    block = as_block(cube())
    assert checked((mean(block)[0] > 0.5), dtype="uint8").dtype == np.uint8
    assert checked(mean(block)[0].astype("float64")).dtype == np.float32
    assert checked((mean(block)[:1] * 200).astype("int64"), dtype="uint8").dtype == np.uint8


def run(folder: Path, code: str, data: Cube | None = None, **fields: Any) -> Cube:
    (folder / "made_here.py").write_text(code)
    reduction = FunctionReduction(
        **{"name": "f", "kind": "function", "function": "made_here:f", "makes": {"bands": ["a"]}, **fields}
    )
    return FunctionBlocks(reduction, folder).made(data or cube())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "def f(block):\n    return block.sel(band='B99')\n",
            r"f raised KeyError: .*\(made_here.py, line 2, in f\)",
        ),
        ("import no_such_package\n", r"needs the package 'no_such_package', which is not installed in"),
        ("def f(block):\n    import no_such_package\n", r"needs the package 'no_such_package'"),
        ("def f(block:\n", r"raised SyntaxError: .*\(made_here.py, line 1\)"),
        ("def g(block):\n    return block\n", r"there is no function 'f'"),
        ("def f(block):\n    raise MemoryError\n", r"more memory than there is"),
        ("def f(block, a):\n    return block\n", r"raised TypeError: .*'a'"),
    ],
)
def test_faults_of_functions_are_named(folder: Path, code: str, message: str):
    with pytest.raises(UserCodeError, match=message):
        run(folder, code)


def test_a_halo_is_cut_off_and_options_are_given(folder: Path):
    data = cube()
    made = run(
        folder, "def f(block, add):\n    return block.mean(['time', 'band']) + add\n", halo=1, options={"add": 2}
    )
    np.testing.assert_allclose(made.values[0], data.values.mean(axis=(0, 1))[1:-1, 1:-1] + 2, rtol=1e-6)
    assert made.box is not None and data.box is not None
    assert made.box == data.box.grown(-1)


def test_code_beside_a_module_belongs_to_it(folder: Path):
    (folder / "made_beside.py").write_text("FACTOR = 3\n")
    (folder / "not_used.py").write_text("1\n")
    (folder / "made_here.py").write_text("from made_beside import FACTOR\nimport numpy\n")
    found = find_module("made_here", folder)
    assert sorted(map(str, found.files)) == ["made_beside.py", "made_here.py"]
    before = digest_of_module(found)
    (folder / "not_used.py").write_text("2\n")
    assert digest_of_module(find_module("made_here", folder)) == before
    (folder / "made_beside.py").write_text("FACTOR = 4\n")
    assert digest_of_module(find_module("made_here", folder)) != before


def test_modules_of_packages_are_found_and_others_are_not(tmp_path: Path):
    assert not find_module("xarray", tmp_path).is_own
    with pytest.raises(CampaignError, match="there is no module 'no_such_module'"):
        find_module("no_such_module", tmp_path)


def test_a_module_of_another_folder_is_not_taken_again(tmp_path: Path):
    for number in (1, 2):
        other = tmp_path / str(number)
        other.mkdir()
        (other / "made_here.py").write_text(f"def f():\n    return {number}\n")
        assert OwnModules("made_here", other).function("f")() == number
    assert "made_here" not in sys.modules


def test_modules_of_the_process_stay_what_they_are(tmp_path: Path):
    """The code of a notebook's project is copied beside the campaign: the copy does not take its place."""
    package = tmp_path / "tests" / "unit"
    package.mkdir(parents=True)
    (tmp_path / "tests" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "made_later.py").write_text("NUMBER = 5\n")
    (package / "made_here.py").write_text(
        "def f(block):\n    from tests.unit import made_later\n    return block[0, :1] * 0 + made_later.NUMBER\n"
    )
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tests"}
    reduction = FunctionReduction(
        name="f", kind="function", function="tests.unit.made_here:f", makes={"bands": ["a"]}
    )
    blocks = FunctionBlocks(reduction, tmp_path)
    for _ in range(2):
        assert (blocks.made(cube()).values == 5).all()
    assert {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "tests"} == before
    assert str(tmp_path) not in sys.path
    assert not [*tmp_path.rglob("__pycache__")]


OFFSET = 0.25


def helper(values: xarray.DataArray) -> xarray.DataArray:
    return values + OFFSET


def of_notebook(block: xarray.DataArray) -> xarray.DataArray:
    return helper(block).max("time").astype(np.float32)


def test_source_of_a_notebook_runs_alone():
    code = source_of(of_notebook)  # type: ignore[arg-type]
    known: dict[str, Any] = {}
    exec(code.replace("from __future__ import annotations", ""), known)
    block = as_block(cube())
    xarray.testing.assert_identical(known["of_notebook"](block), of_notebook(block))
    assert "import numpy as np" in code and "OFFSET = 0.25" in code


SAMPLE = xarray.DataArray([1.0])


def with_an_object(block: xarray.DataArray) -> xarray.DataArray:
    return block + SAMPLE


def test_objects_of_a_notebook_do_not_go_along():
    with pytest.raises(UserCodeError, match=r"uses 'SAMPLE' of the notebook \(DataArray\)"):
        source_of(with_an_object)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"function": "no name"},
        {"function": "a:b", "makes": {"bands": ["a", "a"]}},
        {"function": "a:b", "makes": {"bands": []}},
        {"function": "a:b", "makes": {"bands": ["a"], "nodata": 0}},
        {"function": "a:b", "makes": {"bands": ["a"]}, "halo": -1},
    ],
)
def test_declarations_are_checked(fields: dict[str, Any]):
    with pytest.raises(ValidationError):
        FunctionReduction(**{"name": "f", "kind": "function", "makes": {"bands": ["a"]}, **fields})


def test_models_are_files_of_known_kinds():
    with pytest.raises(ValidationError, match=r"ends in \.joblib"):
        PredictReduction(name="p", kind="predict", model="model.txt")


def test_features_are_named_by_band_and_day():
    data = cube()
    assert feature_names(data) == ["B04_2024-05-01", "B08_2024-05-01", "B04_2024-05-06", "B08_2024-05-06"]
    found = features_of(data)
    np.testing.assert_array_equal(found[7], data.values[:, :, 1, 2].reshape(-1))
    np.testing.assert_array_equal(features_of(data, [2, 0]), found[:, [2, 0]])


def test_two_dates_of_a_day_are_told_apart():
    data = raster(
        np.zeros((2, 1, 3, 3), np.float32), times("2024-05-01T10:00:00Z", "2024-05-01T12:00:00Z"), bands(VV="")
    )
    assert feature_names(data) == ["VV_2024-05-01T10:00:00Z", "VV_2024-05-01T12:00:00Z"]
