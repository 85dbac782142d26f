"""No cube: the numbers of a kept one, each window decoded once, whatever is killed or damaged."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes import decode
from hpckit.errors import CubeError, PlanError
from hpckit.look.report import collect
from hpckit.look.view import CampaignView
from hpckit.production.driver import plan_campaign, run_campaign, verify_campaign
from hpckit.production.stages import stages_of
from hpckit.reduce.signatures.results import results_of
from hpckit.reduce.signatures.spool import SignatureBatch, read_segment
from hpckit.runs.journal import read_journal
from hpckit.runs.plan import read_plan
from hpckit.runs.run import find_run
from hpckit.runs.status import read_status
from hpckit.sensors import parts
from hpckit.testing import ground
from hpckit.testing.eopf import write_eopf
from hpckit.testing.radar import write_card_bs
from hpckit.testing.safe import ProductSpec
from tests import products
from tests.changing import run_and_die, run_here
from tests.integration import test_radar_run as radar
from tests.integration import test_rasters as rasters
from tests.products import FIRST
from tests.small_campaign import write_zones

pytestmark = pytest.mark.integration

QUIET = Console(quiet=True)
ROWS, COLUMNS = 96, 1320
"""Pixels of 10 m: two windows side by side at 10 m and at 20 m, with borders at 10,240 and 12,800 m."""
WEST, NORTH = 600000.0, 5700000.0
DATES = 2
MORE = """\
  - name: dark
    zones: zones.gpkg
    id: name
    bands: [B08, B11, SCL]
    indices: {SUM: (B04 + B08 + B11) / 3, RED: B04 * 1}
    mask: {band: SCL, exclude: [4]}
    percentiles: [10, 90]
    coverage: fraction
  - {name: plain, zones: zones.gpkg, id: name, bands: [B04, B04@20m], mask: null}
"""


def scene(folder: Path, number: int) -> Path:
    pixels = products.arrays(number, COLUMNS)
    cut = {key: array[: array.shape[0] * ROWS // COLUMNS] for key, array in pixels.items() if "60m" not in key}
    cut["B04@20m"] = cut["B04@10m"][::2, ::2].copy()
    random = np.random.default_rng(number)
    cut["SCL@20m"] = random.choice([4, 5, 9], cut["SCL@20m"].shape, p=[0.5, 0.4, 0.1]).astype(np.uint8)
    cut["B04@10m"][:, 600:640] = 0  # no data in a stripe
    return products.write(folder / "scenes", number, cut)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shelf")
    for number in range(DATES):
        scene(folder, number)
    write_zones(folder / "zones.gpkg", fields(17, 3))
    return folder


def fields(count: int, seed: int) -> list[shapely.Geometry]:
    """Zones all over the granule, one across the border of windows, and one that sticks out."""
    random = np.random.default_rng(seed)
    places = zip(random.uniform(100, 13000, count), random.uniform(100, 850, count), strict=True)
    circles = [shapely.Point(WEST + x, NORTH - y).buffer(random.uniform(15, 90), 5) for x, y in places]
    rest = [(10150, 300, 10330, 420), (12700, 500, 12900, 640), (-50, 200, 60, 260)]
    return circles + [shapely.box(WEST + a, NORTH - d, WEST + c, NORTH - b) for a, b, c, d in rest]


def write(folder: Path, scenes: Path, *, cube: str = "", first: str = "coverage: centre", more: str = MORE) -> Path:
    """A campaign of up to three reductions of one layer."""
    folder.mkdir(exist_ok=True)
    if not (folder / "zones.gpkg").exists():
        (folder / "zones.gpkg").write_bytes((scenes.parent / "zones.gpkg").read_bytes())
    path = folder / "campaign.yaml"
    path.write_text(f"""\
name: test
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {{paths: [{scenes}]}}
cube: {{bands: [B04, B04@20m, B08, B11, SCL], dates_per_block: 4{cube}}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B04, B11, SCL]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    {first}
{more}""")
    return path


def without(path: Path) -> Path:
    """The same campaign without a cube, in another folder."""
    other = path.parent.with_name(f"{path.parent.name}-without") / path.name
    other.parent.mkdir(exist_ok=True)
    for file in path.parent.iterdir():
        if file.is_file() and file.suffix != ".gpkg":
            (other.parent / file.name).write_text(file.read_text())
        elif file.name == "zones.gpkg":
            (other.parent / file.name).write_bytes(file.read_bytes())
        elif file.name in ("scenes", "images") and not (other.parent / file.name).exists():
            (other.parent / file.name).symlink_to(file)
    return edit(other, "cube: {", "cube: {keep: false, ")


def edit(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    return path


def batches(path: Path) -> dict[str, SignatureBatch]:
    """Present results by unit."""
    run = find_run(load_campaign(path).run_dir)
    found = {}
    for unit, result in results_of(run).items():
        if result.segments:
            segment = read_segment(run.spool / result.segments[0])
            found[unit] = next(batch for batch in segment.batches if batch.unit == unit)
    return found


def equal(one: dict[str, SignatureBatch], other: dict[str, SignatureBatch]) -> None:
    """Equal bit for bit, with all that is said of them."""
    assert one.keys() == other.keys() and one
    for unit, batch in one.items():
        for field in dataclasses.fields(batch):
            mine, theirs = getattr(batch, field.name), getattr(other[unit], field.name)
            if isinstance(mine, np.ndarray):
                assert mine.dtype == theirs.dtype and mine.tobytes() == theirs.tobytes(), (unit, field.name)
            elif field.name == "classes":
                assert mine.keys() == theirs.keys()
                for name in mine:
                    for left, right in zip(mine[name], theirs[name], strict=True):
                        assert left.tobytes() == right.tobytes(), (unit, name)
            else:
                assert mine == theirs, (unit, field.name)


def compare(path: Path, *, has_values: bool = True) -> tuple[dict[str, SignatureBatch], Path]:
    """Run a campaign with a cube, and the same one without; where it has values, not all of them are missing."""
    other = without(path)
    assert run_here(path) == run_here(other) == 0
    found = batches(path)
    equal(found, batches(other))
    assert not (other.parent / "cube.zarr").exists()
    assert verify_campaign(load_campaign(other), QUIET) == []
    assert not has_values or any(np.isfinite(batch.values).any() for batch in found.values())
    return found, other


@pytest.mark.parametrize("cube", ["", ", skip_cloudy: 0.3", ", extent: granule", ", extent: zones, margin_m: 400"])
def test_numbers_are_those_of_a_kept_cube(shelf, tmp_path, cube):
    found, other = compare(write(tmp_path / "c", shelf / "scenes", cube=cube))
    assert {unit.split("/")[1] for unit in found} == {"fields", "dark", "plain"}
    assert all(entry.metrics.get("decoded_pixels", 0) > 0 for entry in journal(other, "signatures"))


@pytest.fixture
def cut(monkeypatch) -> Iterator[None]:
    """Windows are decoded square by square of code blocks: in products as small as these, that is never cheaper."""
    yield from cut_finely(monkeypatch)


def cut_finely(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in (("_WALK", 0), ("_AROUND", 0), ("_WORTH", 10)):
        monkeypatch.setattr(parts, name, value)
    parts._cheapest.cache_clear()
    yield
    parts._cheapest.cache_clear()


def decoded_pixels(path: Path, stage: str) -> float:
    return sum(entry.metrics.get("decoded_pixels", 0) for entry in journal(path, stage))


@pytest.mark.parametrize("settings", ["", ", skip_cloudy: 0.3"])
def test_numbers_are_the_same_from_code_blocks(shelf, tmp_path, cut, settings):
    path = write(tmp_path / "c", shelf / "scenes", cube=settings)
    _, other = compare(path)
    assert 0 < decoded_pixels(other, "signatures") < 0.7 * decoded_pixels(path, "ingest")


@pytest.mark.parametrize("grid", ["mgrs", "utm:2560@10", "EPSG:3035:2000@20"])
def test_numbers_on_grids_are_the_same_from_code_blocks(border, tmp_path, cut, grid):
    path = across(tmp_path / "c", border, grid)
    edit(path, "aoi:", "aoi: [5.95, 51.48, 6.05, 51.52]\n#")
    random = np.random.default_rng(9)
    middles = zip(random.uniform(5.97, 6.03, 8), random.uniform(51.489, 51.511, 8), strict=True)
    shapes = [shapely.box(x - 0.0006, y - 0.0004, x + 0.0006, y + 0.0004) for x, y in middles]
    write_zones(path.parent / "zones.gpkg", shapes, crs="EPSG:4326")
    _, other = compare(path)
    assert decoded_pixels(other, "signatures") < decoded_pixels(path, "ingest")


@st.composite
def reductions(draw: st.DrawFn) -> tuple[list[shapely.Geometry], str]:
    """Zones, and reductions with settings of all kinds."""
    zones = fields(draw(st.integers(0, 6)), draw(st.integers(0, 99)))[draw(st.integers(0, 2)) :]
    text = ""
    for number in range(draw(st.integers(1, 3))):
        bands = draw(st.lists(st.sampled_from(["B04", "B04@20m", "B08", "B11", "SCL"]), min_size=1, unique=True))
        indices = draw(
            st.dictionaries(
                st.sampled_from(["A", "B"]), st.sampled_from(["(B08 - B04) / B11", "B11 + B08", "B04@20m * 2"])
            )
        )
        mask = draw(st.sampled_from(["null", "{exclude: [4]}", "{exclude: [5, 9]}"]))
        coverage = draw(st.sampled_from(["centre", "fraction"]))
        text += (
            f"  - {{name: r{number}, zones: zones.gpkg, id: name, bands: {json.dumps(bands)}, "
            f"indices: {json.dumps(indices)}, mask: {mask}, coverage: {coverage}}}\n"
        )
    return zones, text


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reductions(), st.booleans())
def test_any_reductions_of_any_zones(shelf, tmp_path_factory, drawn, finely):
    zones, text = drawn
    folder = tmp_path_factory.mktemp("drawn") / "c"
    folder.mkdir()
    write_zones(folder / "zones.gpkg", zones)
    path = write(folder, shelf / "scenes", more="")
    path.write_text(path.read_text().partition("reductions:\n")[0] + "reductions:\n" + text)
    with pytest.MonkeyPatch.context() as patch:
        for _ in cut_finely(patch) if finely else [None]:
            compare(path, has_values=False)  # perhaps classes alone were drawn, or a mask that leaves nothing


EDGE = 360
SIDES = [
    ground.granule_at(ProductSpec(tile="31UGT", epsg=32631, sensed=FIRST), 5.99, 51.5, EDGE),
    ground.granule_at(ProductSpec(tile="32ULC", epsg=32632, sensed=FIRST), 6.01, 51.5, EDGE),
]


@pytest.fixture(scope="module")
def border(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Granules of two UTM zones; one pass lacks the eastern one."""
    folder = tmp_path_factory.mktemp("border")
    for number, sides in enumerate((SIDES, SIDES[:1])):
        for spec in sides:
            later = replace(spec, sensed=FIRST + timedelta(days=5 * number), baseline="05.10")
            ground.write_granule(folder / "scenes", later, EDGE)
    random = np.random.default_rng(5)
    middles = zip(random.uniform(5.97, 6.03, 25), random.uniform(51.489, 51.511, 25), strict=True)
    shapes = [shapely.box(x - 0.002, y - 0.0014, x + 0.002, y + 0.0014) for x, y in middles]
    shapes.append(shapely.box(5.96, 51.499, 6.04, 51.5005))
    write_zones(folder / "zones.gpkg", shapes, crs="EPSG:4326")
    return folder


TWO = """\
  - {name: other, zones: zones.gpkg, id: name, bands: [B08, B04], coverage: fraction}
"""


def across(folder: Path, border: Path, grid: str) -> Path:
    path = write(folder, border / "scenes", more=TWO, cube=", resampling: cubic")
    edit(path, "B04, B04@20m, B08", "B04, B08")
    return edit(path, "aoi: zones.gpkg", f"aoi: zones.gpkg\ngrid: {grid}")


GRIDS = ["mgrs", "utm:2560@10", "EPSG:3035:2000@20"]


@pytest.mark.parametrize("grid", GRIDS)
def test_zones_over_several_tiles(border, tmp_path, grid):
    found, _ = compare(across(tmp_path / "c", border, grid))
    assert any("+" in unit for unit in found), "some zones are cut into pieces"


def test_sentinel_1(tmp_path):
    folder = tmp_path / "c"
    for spec, seed in ((radar.SPEC, 1), (radar.EVENING, 2)):
        write_card_bs(folder / "scenes", spec, radar.pixels(seed))
    write_zones(folder / "zones.gpkg", radar.zones())
    (folder / "c.yaml").write_text(radar.CAMPAIGN)
    compare(folder / "c.yaml")


@pytest.mark.parametrize("name", rasters.CASES)
def test_images_of_a_user(name, tmp_path):
    case = rasters.CASES[name]
    for seed, day in enumerate(rasters.DAYS):
        case.write(tmp_path / "c" / "images", day, seed)
    path = rasters.write_campaign(tmp_path / "c", case)
    path.write_text(path.read_text().partition("  - {name: monthly")[0])
    compare(path)


def test_eopf_products(tmp_path):
    folder = tmp_path / "c"
    for number, generation in enumerate(("2.8", "3.0")):
        arrays = products.arrays(number)
        write_eopf(folder / "scenes", products.spec(number, baseline="05.10"), arrays, generation, chunk_m=3500)
    inside = [shapely.box(WEST + x, NORTH - x - 300, WEST + x + 300, NORTH - x) for x in (500, 4000, 10150)]
    write_zones(folder / "zones.gpkg", inside)
    path = edit(write(folder, folder / "scenes", more=TWO), "B04, B04@20m, B08", "B04, B08")
    compare(path)


def journal(path: Path, stage: str) -> list:
    return [entry for entry in read_journal(load_campaign(path).run_dir) if entry.stage == stage]


@pytest.fixture
def decoded(monkeypatch) -> Counter:
    """Times that each window of each band and acquisition was decoded in this process."""
    counts: Counter = Counter()
    original = decode.decode_row

    def counting(spec, tile, ref, row, columns, acquisition, needed):
        counts.update((tile, ref.key, acquisition.id, row, column) for column in columns)
        return original(spec, tile, ref, row, columns, acquisition, needed)

    monkeypatch.setattr(decode, "decode_row", counting)
    return counts


def test_each_window_is_decoded_once_for_all_reductions(shelf, tmp_path, decoded):
    path = write(tmp_path / "c", shelf / "scenes", cube=", keep: false")
    assert run_here(path) == 0
    assert set(decoded.values()) == {1}
    assert len(decoded) == DATES * 5 * 2, "two windows of each of five bands at each date"
    decoded.clear()
    edit(path, MORE, MORE + "  - {name: late, zones: zones.gpkg, id: name, bands: [B08]}\n")
    assert run_here(path) == 0
    assert {key for _, key, *_ in decoded} == {"B08@10m", "SCL@20m"}, "a new reduction decodes its own bands alone"


@pytest.mark.parametrize("grid", GRIDS)
def test_windows_of_zones_over_several_tiles_are_decoded_once(border, tmp_path, decoded, grid):
    """All tiles are few enough to be one bundle where they share zones."""
    path = edit(across(tmp_path / "c", border, grid), "cube: {", "cube: {keep: false, ")
    assert run_here(path) == 0
    assert set(decoded.values()) == {1} and len(decoded) > 10
    units = [unit for unit in read_plan(find_run(load_campaign(path).run_dir).plan) if unit.stage == "signatures"]
    assert len({unit.bundle for unit in units}) < len(units)


def test_windows_that_no_zone_touches_are_not_decoded(shelf, tmp_path, decoded):
    folder = tmp_path / "c"
    folder.mkdir()
    write_zones(folder / "zones.gpkg", [shapely.box(WEST + 500, NORTH - 400, WEST + 700, NORTH - 300)])
    path = write(folder, shelf / "scenes", cube=", keep: false, extent: granule")
    assert run_here(path) == 0
    assert {column for *_, column in decoded} == {0}
    assert plan_campaign(load_campaign(path), QUIET)[1].windows == 5


def test_a_damaged_file_costs_what_it_is_needed_for(shelf, tmp_path, decoded):
    folder = tmp_path / "c"
    (folder / "scenes").mkdir(parents=True)
    for number in range(DATES):
        scene(folder, number)
    (folder / "zones.gpkg").write_bytes((shelf / "zones.gpkg").read_bytes())
    path = write(folder, folder / "scenes", cube=", keep: false")
    image = next((folder / "scenes").glob("*20240501*/GRANULE/*/IMG_DATA/R20m/*_B11_20m.jp2"))
    whole = image.read_bytes()
    image.write_bytes(whole[: len(whole) // 2])
    assert run_here(path) == 1
    states = {entry.unit.split("/")[1] + entry.unit[-30:]: entry for entry in journal(path, "signatures")}
    failed = [entry for entry in states.values() if entry.state == "failed"]
    assert {entry.unit.split("/")[1] for entry in failed} == {"fields", "dark"} and len(failed) == 2
    assert all("B11" in entry.reason and "truncated" in entry.reason for entry in failed)
    status = read_status(find_run(load_campaign(path).run_dir))
    signatures = next(stage for stage in status.stages if stage.stage == "signatures")
    assert (signatures.done, signatures.failed, signatures.waiting) == (4, 2, 0)
    assert len(batches(path)) == 4
    image.write_bytes(whole)
    decoded.clear()
    assert run_here(path) == 0
    assert {acquisition for _, _, acquisition, *_ in decoded} == {entry.unit.rpartition("/")[2] for entry in failed}
    kept = edit(write(tmp_path / "k", folder / "scenes"), "name: test", "name: test")
    assert run_here(kept) == 0
    equal(batches(path), batches(kept))


@pytest.mark.slow
@pytest.mark.parametrize("after", [1, 2, 4, 6])
def test_kill_9_and_another_run(shelf, tmp_path, after, decoded):
    path = write(tmp_path / "c", shelf / "scenes", cube=", keep: false")
    run_and_die(path, after)
    before = {entry.unit for entry in journal(path, "signatures") if entry.state == "done"}
    assert len(before) < 6 or after == 6
    assert run_here(path) == 0
    done = Counter(entry.unit for entry in journal(path, "signatures") if entry.state == "done")
    assert len(done) == 6 and set(done.values()) == {1}
    kept = write(tmp_path / "k", shelf / "scenes")
    assert run_here(kept) == 0
    equal(batches(path), batches(kept))


def test_switching_computes_no_number_twice(shelf, tmp_path):
    path = write(tmp_path / "c", shelf / "scenes")
    assert run_here(path) == 0
    found, shards = batches(path), files(tmp_path / "c" / "cube.zarr")
    edit(path, "cube: {", "cube: {keep: false, ")
    campaign = load_campaign(path)
    assert not plan_campaign(campaign, QUIET)[0].plan.pending
    assert run_here(path) == 0 and files(tmp_path / "c" / "cube.zarr") == shards, "the cube stays"
    equal(found, batches(path))
    edit(path, "keep: false", "keep: true")
    assert not plan_campaign(load_campaign(path), QUIET)[0].plan.pending
    fresh = write(tmp_path / "f", shelf / "scenes", cube=", keep: false")
    assert run_here(fresh) == 0
    edit(fresh, "keep: false", "keep: true")
    assert {unit.partition("/")[0] for unit in plan_campaign(load_campaign(fresh), QUIET)[0].plan.pending} == {
        "ingest"
    }


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_cube_of_another_campaign_is_left_alone(shelf, tmp_path):
    """Without a cube `cube.path` means nothing."""
    path = write(tmp_path / "c", shelf / "scenes")
    assert run_here(path) == 0
    before = files(tmp_path / "c" / "cube.zarr")
    other = write(tmp_path / "o", shelf / "scenes", cube=f", keep: false, path: {tmp_path / 'c' / 'cube.zarr'}")
    assert run_here(other) == 0 and files(tmp_path / "c" / "cube.zarr") == before


def test_plans_reports_and_pictures_know_that_there_is_no_cube(shelf, tmp_path):
    path = write(tmp_path / "c", shelf / "scenes", cube=", keep: false")
    campaign = load_campaign(path)
    planned, estimate = plan_campaign(campaign, QUIET, workers=2)
    assert [stage.name for stage in planned.stages] == ["zones", "signatures"]
    assert (estimate.cube_bytes, estimate.files, estimate.keeps_cube) == (0, 0, False)
    assert estimate.windows == 5 * 2
    signatures = next(stage for stage in estimate.stages if stage.stage == "signatures")
    assert signatures.pending == 6 and signatures.core_hours > 0
    result = run_campaign(campaign, QUIET, workers=2)
    assert result.exit_code == 0 and result.done == {"zones": 3, "signatures": 6}
    assert collect(find_run(campaign.run_dir)).cube is None
    assert CampaignView(campaign).tiles == []
    for look in (CampaignView(campaign).cube, CampaignView(campaign).quicklook):
        with pytest.raises(CubeError, match=r"campaign\.yaml: .*`cube\.keep: false` keeps none") as raised:
            look()
        assert "cube.keep: true" in str(raised.value.hint)
    assert CampaignView(campaign).series("z0", "B04")["mean"].notna().any()


def test_stages_of_others_that_read_the_cube_are_refused(shelf, tmp_path, monkeypatch):
    from hpckit.cubes.stage import Stage
    from hpckit.production import stages as production

    class Reads(Stage):
        name = "reads"

    class Independent(Stage):
        name = "independent"
        reads_cube = False

    made: dict[str, Callable] = {"one": lambda campaign: [Reads()], "two": lambda campaign: [Independent()]}
    monkeypatch.setattr(production, "added", lambda group: {name: name for name in made})
    monkeypatch.setattr(production, "load", lambda field, entry, error: made[entry])
    path = write(tmp_path / "c", shelf / "scenes", cube=", keep: false", more="extensions: {one: {}}\n")
    with pytest.raises(PlanError, match=r"extensions\.one: reads reads the cube, and `cube\.keep: false`") as raised:
        stages_of(load_campaign(path))
    assert raised.value.hint == "write `cube.keep: true`"
    edit(path, "one: {}", "two: {}")
    assert [stage.name for stage in stages_of(load_campaign(path))] == ["zones", "signatures", "independent"]


@pytest.mark.realdata
@pytest.mark.parametrize("grid", ["native", "utm:20460@60"])
def test_a_real_product(shared_data, tmp_path, grid):
    folder, random = tmp_path / "c", np.random.default_rng(2)
    folder.mkdir()
    places = zip(random.uniform(500_000, 605_000, 40), random.uniform(5_795_000, 5_898_000, 40), strict=True)
    shapes = [shapely.Point(x, y).buffer(random.uniform(100, 1500), 4) for x, y in places]
    write_zones(folder / "zones.gpkg", shapes, crs="EPSG:32629")
    path = folder / "campaign.yaml"
    path.write_text(f"""\
name: real
aoi: zones.gpkg
period: 2022-10-01/2022-10-31
scenes: {{paths: ["{shared_data / "s2-l2a-safe-t29unu-2022"}"]}}
grid: {grid}
cube: {{bands: [B04@60m, B8A@60m, SCL@60m]}}
reductions:
  - name: fields
    zones: zones.gpkg
    id: name
    bands: [B04@60m, SCL@60m]
    indices: {{NDVI: (B8A@60m - B04@60m) / (B8A@60m + B04@60m)}}
    mask: {{band: SCL@60m}}
  - {{name: all, zones: zones.gpkg, id: name, bands: [B8A@60m], coverage: fraction, mask: null}}
""")
    found, _ = compare(path)
    assert sum(batch.valid.sum() for batch in found.values()) > 1000
