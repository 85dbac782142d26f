"""A run of a million units: planning, packing, rendering, journals and status, without doing the units.

Acquisitions of some thousand tiles are made up; all else is what `hpckit submit` and `hpckit status` do. Prints
seconds, peak memory and inodes.

    python benchmarks/scale.py [--units 1000000] [--elements 100000]
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hpckit.campaign.campaign import Campaign
from hpckit.cubes.ingest_stage import Ingest
from hpckit.cubes.tiles import Tiles
from hpckit.jobs.elements import read_element
from hpckit.jobs.jobarrays import Request, lay_out
from hpckit.jobs.submit import Draft, write_submission
from hpckit.production.planning import Planned, make_plan
from hpckit.runs.journal import Entry, line_of
from hpckit.runs.plan import write_plan
from hpckit.runs.run import Run
from hpckit.runs.status import read_status
from hpckit.sensors.model import Acquisition, Asset, Scene
from hpckit.sites.site import Site
from hpckit.space.frame import Frame
from hpckit.submissions.attempts import writer_name

DATES = 60
BANDS = ["B02", "B03", "B04", "B08", "B05", "B11", "B12", "SCL"]
UNITS_PER_TILE = 4 * (4 * 11 + 4 * 9)
"""Blocks of 16 dates, times rows of windows at 10 m and at 20 m."""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--elements", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _measure(Path(folder), options.units // UNITS_PER_TILE, options.elements)


def _measure(folder: Path, tiles: int, elements: int) -> None:
    campaign = _campaign(folder)
    run = Run(campaign.run_dir, "20260101T000000-000000", campaign)
    acquisitions = {f"{n // 676:02d}U{chr(65 + n // 26 % 26)}{chr(65 + n % 26)}": _series(n) for n in range(tiles)}
    tiles_of_all, ingest = Tiles(run, acquisitions, {}), Ingest()
    base = _rss()
    print(f"{tiles} tiles of {DATES} acquisitions; {base:.0f} MiB before planning")
    with _timed("plan"):
        plan = make_plan(tiles_of_all, [ingest])
    total = sum(unit.cost for unit in plan.units)
    site = _site(total / elements, elements)
    with _timed("pack"):
        layout = lay_out([(ingest, plan.of("ingest"), 2**29)], site, Request(), cuda=False)
    with _timed("elements and scripts"):
        submission = write_submission(
            Draft(Planned(run, (ingest,), plan, tiles_of_all), site, Request(), layout, None)
        )
    files = sum(1 for path in submission.path.rglob("*"))
    shape = f"{len(plan.units)} units in {layout.stages[0].elements} elements"
    print(f"{shape}, {len(submission.jobs)} arrays, {files} files")
    print(f"planning took {_rss() - base:.0f} MiB on top")
    with _timed("an element finds its units"):
        read_element(submission.elements, "ingest", layout.stages[0].elements // 2)
    run.plan.parent.mkdir(parents=True, exist_ok=True)
    write_plan(run.plan, plan.units)
    for joined in (False, True):
        _write_journals(run, layout.elements["ingest"], one_file_per_thousand=joined)
        inodes = sum(1 for _ in run.path.joinpath("journal").rglob("*"))
        with _timed(f"status, {inodes} journal files and folders"):
            status = read_status(run)
        assert status.stages[0].done == len(plan.units)


def _campaign(folder: Path) -> Campaign:
    values = {
        "name": "scale",
        "aoi": [0, 0, 1, 1],
        "period": "2024-01-01/2024-12-31",
        "scenes": {"paths": ["scenes"]},
        "cube": {"bands": BANDS},
    }
    campaign = Campaign.model_validate(values)
    campaign._path = folder / "scale.yaml"
    campaign.run_dir.mkdir()
    return campaign


def _site(target_s: float, elements: int) -> Site:
    partition = {"name": "p", "cores": 128, "memory_mib": 224_000, "walltime": "2d", "max_submitted": elements + 3}
    stages = {"default": {"ranks": 1, "walltime": max(1, int(target_s))}}
    values = {"name": "s", "scheduler": "slurm", "partitions": [partition], "stages": stages}
    return Site.model_validate({**values, "arrays": {"max_size": 1001}})


def _series(tile: int) -> tuple[Acquisition, ...]:
    name = f"{tile // 676:02d}U{chr(65 + tile // 26 % 26)}{chr(65 + tile % 26)}"
    return tuple(_acquisition(name, number) for number in range(DATES))


def _acquisition(tile: str, number: int) -> Acquisition:
    sensed = datetime(2024, 1, 1, 10, 50, tzinfo=UTC) + timedelta(days=5 * number)
    datatake = f"GS2A_{sensed:%Y%m%dT%H%M%S}_{number:06d}_N05.10"
    scene = Scene(
        id=f"S2A_MSIL2A_{sensed:%Y%m%dT%H%M%S}_N0510_R051_T{tile}",
        href="/nowhere",
        level="L2A",
        platform="S2A",
        sensed=sensed,
        datatake=datatake,
        frame=Frame(tile, 32631, 600000, 5700000, _SHAPES, {}),
        baseline="05.10",
        relative_orbit=51,
        cloud_cover=10,
        nodata=0,
        assets=_ASSETS,
        sensor="sentinel-2",
    )
    return Acquisition(tile, scene.acquisition_id, sensed, (scene,))


_SHAPES = {10: (10980, 10980), 20: (5490, 5490), 60: (1830, 1830)}
_PLACE = ("EPSG:32631", (10, 0, 600000, 0, -10, 5700000), _SHAPES[10])
_ASSETS = {f"{band}@10m": Asset(f"/nowhere/{band}.jp2", *_PLACE, scale=1e-4, offset=-0.1) for band in BANDS}


def _write_journals(run: Run, elements, *, one_file_per_thousand: bool) -> None:
    """One journal per element, or, as after a stage was compacted, one for each thousand."""
    folder = run.path / "journal"
    for path in folder.rglob("*.jsonl"):
        path.unlink()
    for number, element in enumerate(elements):
        name = writer_name(1, "ingest", number)
        path = folder / (f"{name.partition('/')[0]}.jsonl" if one_file_per_thousand else f"{name}.jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        metrics = {"decoded_pixels": 1e7, "skipped_windows": 0, "shards": 11, "written_bytes": 2e7, "decode_s": 1.3}
        lines = (
            line_of(
                Entry(u.id, "ingest", "done", u.inputs, "2024-05-01T10:53:31.000+00:00", 1.5, name, metrics=metrics)
            )
            for u in element.units
        )
        with path.open("a") as file:
            file.writelines(line + "\n" for line in lines)


@contextlib.contextmanager
def _timed(what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    print(f"{what:<45} {time.perf_counter() - start:7.2f} s   peak {_rss():6.0f} MiB", flush=True)


def _rss() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
