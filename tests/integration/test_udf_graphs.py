"""Graphs with code of users in a real Apptainer: the same numbers as processes, however they are cut."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hpckit.errors import GraphError
from hpckit.processgraph.cube import Cube
from hpckit.processgraph.graph import FromParameter
from hpckit.reduce.udf.runner import UserCodeRunner
from hpckit.reduce.udf.sandbox import Image, Sandbox
from hpckit.sites.udf import Limits, Udf, UdfRuntime
from hpckit.space.box import Box
from hpckit.testing.graphs import MemoryEnvironment, bands, calling, child, evaluation_of, node, raster, step, times

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(300)]

NDVI = """
import xarray
def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:
    red, nir = cube.sel(bands="B04"), cube.sel(bands="B08")
    print("block", cube.shape)
    return ((nir - red) / (nir + red)).expand_dims(bands=["ndvi"], axis=1)
"""
MEDIAN = """
import xarray
def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:
    return cube.median("t", skipna=True)
"""
SCALED = """
import xarray
def apply_datacube(cube: xarray.DataArray, context: dict) -> xarray.DataArray:
    return cube * context["factor"]
"""
T = times(*(f"2024-{month:02d}-03T10:30:00Z" for month in range(1, 8)))
BOXES = (Box(0, 0, 5, 16), Box(5, 0, 12, 7), Box(5, 7, 12, 16))


def cube() -> Cube:
    values = np.random.default_rng(3).uniform(0.1, 1, (7, 2, 12, 16)).astype(np.float32)
    values[values < 0.2] = np.nan
    return raster(values, T, bands(B04="red", B08="nir"))


@pytest.fixture
def settings(udf_image_file: Path) -> Udf:
    limits = Limits(memory_mib=400, processes=24, disk_mib=40, seconds=60)
    return Udf(runtimes={"Python": UdfRuntime(image=str(udf_image_file), version="3.11")}, limits=limits)


@pytest.fixture
def runner(settings: Udf, udf_place: Path) -> Iterator[UserCodeRunner]:
    made = UserCodeRunner(settings, scratch=udf_place, trials=udf_place / "trials")
    yield made
    made.close()


def run(code: str, name: str = "data", **more: object) -> dict[str, object]:
    return {"udf": code, "runtime": "Python", **more}


def test_ndvi_and_median_equal_the_processes_however_the_extent_is_cut(runner, caplog: pytest.LogCaptureFixture):
    environment = MemoryEnvironment(runs=runner.run)
    red, nir = (step("array_element", data=FromParameter("data"), label=name) for name in ("B04", "B08"))
    reference = child(red=red, nir=nir, ndvi=step("normalized_difference", x=node("nir"), y=node("red")))
    expected = evaluation_of("reduce_dimension", data=cube(), dimension="bands", reducer=reference).evaluate()
    own = evaluation_of(
        "apply_dimension",
        environment,
        data=cube(),
        dimension="bands",
        process=calling("run_udf", "data", **run(NDVI)),
    )
    with caplog.at_level(logging.INFO):
        assert own.type().dim("bands").labels == ("ndvi",)
        for box in BOXES:
            part = own.evaluate(box)
            assert part.dim("bands").labels == ("ndvi",) and part.values.dtype == np.float32
            wanted = expected.values[:, box.top : box.bottom, box.left : box.right]
            np.testing.assert_allclose(part.values[:, 0], wanted, rtol=2e-6)
    assert [line for line in caplog.messages if line.startswith("block")] == [
        *("block (7, 2, 12, 16)", "block (7, 2, 5, 16)", "block (7, 2, 7, 7)", "block (7, 2, 7, 9)")
    ]

    median = evaluation_of(
        "reduce_dimension", data=cube(), dimension="t", reducer=calling("median", "data")
    ).evaluate()
    own = evaluation_of(
        "reduce_dimension", environment, data=cube(), dimension="t", reducer=calling("run_udf", "data", **run(MEDIAN))
    )
    for box in BOXES:
        np.testing.assert_array_equal(
            own.evaluate(box).values, median.values[:, box.top : box.bottom, box.left : box.right]
        )


def test_what_a_trial_found_is_kept_for_other_processes(runner, settings, udf_place: Path):
    def kind(of: UserCodeRunner) -> Cube:
        environment = MemoryEnvironment(runs=of.run)
        process = calling("run_udf", "data", **run(NDVI))
        return evaluation_of("apply_dimension", environment, data=cube(), dimension="bands", process=process).type()

    found = kind(runner)
    other = UserCodeRunner(settings, scratch=udf_place / "nowhere", trials=udf_place / "trials")
    assert kind(other).dims == found.dims


def test_context_and_whole_cubes(runner):
    environment = MemoryEnvironment(runs=runner.run)
    whole = evaluation_of("run_udf", environment, data=cube(), **run(SCALED, context={"factor": 3}))
    np.testing.assert_array_equal(whole.evaluate(BOXES[1]).values, cube().values[..., 5:12, 0:7] * np.float32(3))
    applied = evaluation_of(
        "apply",
        environment,
        data=cube(),
        process=calling(
            "run_udf", udf=SCALED, runtime="python", version="3", data=FromParameter("x"), context={"factor": 2}
        ),
    )
    np.testing.assert_array_equal(applied.evaluate().values, cube().values * np.float32(2))


def test_neighborhoods_bring_their_overlap(runner):
    code = """
def apply_datacube(cube, context):
    return cube.rolling(x=3, center=True, min_periods=1).mean()
"""
    size = [{"dimension": name, "value": 8, "unit": "px"} for name in ("x", "y")]
    overlap = [{"dimension": name, "value": 1, "unit": "px"} for name in ("x", "y")]
    own = evaluation_of(
        "apply_neighborhood",
        MemoryEnvironment(runs=runner.run),
        data=cube(),
        process=calling("run_udf", "data", **run(code)),
        size=size,
        overlap=overlap,
    )
    shifted = np.stack(
        [np.pad(cube().values, [(0, 0)] * 3 + [(1, 1)], constant_values=np.nan)[..., a : a + 16] for a in range(3)]
    )
    count = np.isfinite(shifted).sum(0)
    expected = np.where(count, np.nansum(shifted.astype(float), 0), np.nan) / np.maximum(count, 1)
    for box in BOXES:
        part = expected[..., box.top : box.bottom, box.left : box.right]
        np.testing.assert_allclose(own.evaluate(box).values, part, rtol=1e-5)


@pytest.mark.parametrize(
    ("process", "more", "fault", "words"),
    [
        ("apply", {"udf": MEDIAN}, "UdfFailed", "has the dimensions bands, y, x instead of t, bands, y, x"),
        ("apply", {"udf": SCALED}, "UdfFailed", r"KeyError: 'factor' \(line 4 of the code, in apply_datacube\)"),
        ("apply", {"udf": "import nothing_like_this\n" + MEDIAN}, "UdfFailed", "nothing_like_this"),
        ("apply", {"udf": "def apply(:\n"}, "UdfFailed", "not valid Python"),
        ("apply", {"udf": MEDIAN, "runtime": "R"}, "InvalidRuntime", "no runtime 'R'"),
        ("apply", {"udf": MEDIAN, "version": "2.7"}, "InvalidVersion", "version 3.11"),
        ("apply", {"udf": MEDIAN, "runtime": "/tmp/own.sif"}, "InvalidRuntime", "not taken from /tmp"),
        (
            "apply",
            {"udf": "# /// script\n# dependencies = ['scikit-learn>=1']\n# ///\n" + MEDIAN},
            "UdfFailed",
            "needs scikit-learn>=1, and its image lacks scikit-learn",
        ),
        (
            "apply",
            {"udf": "# /// script\n# dependencies = ['numpy>=99']\n# ///\n" + MEDIAN},
            "UdfFailed",
            "its image has numpy",
        ),
    ],
)
def test_faults_come_with_the_types_before_many_blocks(runner, process, more, fault, words):
    arguments = {"runtime": "Python", **more}
    own = evaluation_of(
        process,
        MemoryEnvironment(runs=runner.run),
        data=cube(),
        process=calling("run_udf", data=FromParameter("x"), **arguments),
    )
    with pytest.raises(GraphError, match=words) as caught:
        own.type()
    assert caught.value.fault == fault and caught.value.node == "call"


def test_dependencies_that_the_image_has_need_nothing(runner):
    code = "# /// script\n# dependencies = ['numpy>=1', \"pandas; python_version >= '3'\"]\n# ///\n" + MEDIAN
    own = evaluation_of(
        "reduce_dimension",
        MemoryEnvironment(runs=runner.run),
        data=cube(),
        dimension="t",
        reducer=calling("run_udf", "data", **run(code)),
    )
    assert own.evaluate().values.shape == (2, 12, 16)


def test_a_package_that_the_site_allows_is_fetched_checked_and_read(settings, udf_place: Path):
    allowed = settings.model_copy(update={"packages": ["cachetools"], "wheels": str(udf_place / "wheels")})
    (udf_place / "wheels").mkdir()
    code = """
# /// script
# dependencies = ["cachetools>=5"]
# ///
import cachetools
def apply_datacube(cube, context):
    return cube + len(cachetools.LRUCache(2))
"""
    runner = UserCodeRunner(allowed, scratch=udf_place)
    own = evaluation_of(
        "apply",
        MemoryEnvironment(runs=runner.run),
        data=cube(),
        process=calling("run_udf", data=FromParameter("x"), **run(code)),
    )
    try:
        found = own.evaluate()
    except GraphError as error:
        if "cannot be fetched" in str(error):
            pytest.skip(f"no packages here: {error}")
        raise
    finally:
        runner.close()
    np.testing.assert_array_equal(found.values, cube().values)
    (wheel,) = (udf_place / "wheels").glob("*/wheels/*.whl")
    wheel.write_bytes(wheel.read_bytes() + b"x")
    with pytest.raises(GraphError, match="not the file that was fetched"):
        evaluation_of(
            "apply",
            MemoryEnvironment(runs=UserCodeRunner(allowed, scratch=udf_place).run),
            data=cube(),
            process=calling("run_udf", data=FromParameter("x"), **run(code)),
        ).evaluate()


def test_an_image_says_what_it_has(udf_image_file: Path, udf_place: Path):
    with Sandbox(Image(udf_image_file), Limits(), udf_place) as sandbox:
        known = sandbox.describe()
    assert known["packages"]["numpy"] == np.__version__ and known["python"].startswith("3.")
