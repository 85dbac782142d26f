"""Campaigns that keep no cube against those that do: from products to results, time and bytes written.

Products with full 10980² bands are made in a temporary folder. Two reductions of 30,000 parcels that cover half of
the granule (statistics of two bands and an index, one by centres and one by covered fractions) run with
`cube: {keep: true}` and `{keep: false}`, each on two processes; once more for the parcels of an area of 10 km, and
for one of 97 parcels, scattered over the granule, on its own pixels and on a grid.
Figures are ratios of wall times in one run. The peak memory of a worker is looked at while they run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyogrio
import shapely
from ingest import make_products
from signatures import parcels

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.runs.journal import read_journal

WORKERS = 2
AREA_M = 10_000
SCATTERED = 97
"""One of so many parcels, of which no neighbours are taken."""
TEXT = """\
name: bench
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {{paths: [{scenes}], verify: false}}
grid: {grid}
cube: {{bands: [B04, B08, SCL@60m], extent: zones, keep: {keep}}}
reductions:
  - &first
    name: centres
    zones: zones.gpkg
    id: name
    bands: [B04, B08]
    indices: {{NDVI: (B08 - B04) / (B08 + B04)}}
    mask: {{band: SCL@60m}}
  - {{<<: *first, name: fractions, coverage: fraction}}
"""


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--dates", type=int, default=4)
    parser.add_argument("--zones", type=int, default=30_000)
    parser.add_argument("--only", action="append", help="granule, area, scattered or grid; may be repeated.")
    parser.add_argument("--products", type=Path, help="Keep the products here, and use those that are there.")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hpckit-bench-"))
    scenes = (options.products or folder / "scenes").absolute()
    try:
        scenes.mkdir(exist_ok=True)
        if not any(scenes.glob("*.SAFE")):
            make_products(scenes, options.dates)
        every = parcels(options.zones)
        corner = shapely.box(630_000, 5_640_000, 630_000 + AREA_M, 5_640_000 + AREA_M)
        parts = {"granule": every, "area": every[shapely.within(every, corner)]}
        parts |= dict.fromkeys(("scattered", "grid"), every[::SCATTERED])
        result = {
            name: measure(folder / name, scenes, zones, "utm:20460@10" if name == "grid" else "mgrs")
            for name, zones in parts.items()
            if name in (options.only or parts)
        }
        show(result, as_json=options.json)
    finally:
        shutil.rmtree(folder)


def measure(folder: Path, scenes: Path, zones: np.ndarray, grid: str) -> dict[str, float]:
    """Wall times, bytes and memory of both ways."""
    folder.mkdir()
    found: dict[str, float] = {"zones": len(zones)}
    for keep in (True, False):
        name = "kept" if keep else "none"
        path = write(folder / name, scenes, zones, grid, keep=keep)
        campaign, quiet = load_campaign(path), Console(quiet=True)
        estimate = plan_campaign(campaign, quiet, WORKERS)[1]
        with peak_of_workers() as peak:
            done = run_campaign(campaign, quiet, workers=WORKERS, with_sync=False)
        assert done.exit_code == 0, done.failed
        entries = read_journal(campaign.run_dir)
        for stage in ("ingest", "signatures"):
            mine = [entry for entry in entries if entry.stage == stage]
            found[f"{name}_{stage}"] = sum(entry.seconds for entry in mine) / WORKERS
            found[f"{name}_decoded"] = max(
                found.get(f"{name}_decoded", 0), sum(entry.metrics.get("decoded_pixels", 0) for entry in mine)
            )
        found[f"{name}_bytes"] = written(path.parent, "cube.zarr") + written(campaign.run_dir, "spool")
        found[f"{name}_memory"], found[f"{name}_estimate"] = peak[0], estimate.peak_memory / WORKERS
    return found


def write(folder: Path, scenes: Path, zones: np.ndarray, grid: str, *, keep: bool) -> Path:
    """Campaign file and layer."""
    folder.mkdir()
    names = np.array([f"z{number}" for number in range(len(zones))], dtype=object)
    pyogrio.raw.write(
        folder / "zones.gpkg",
        geometry=shapely.to_wkb(zones),
        field_data=[names],
        fields=["name"],
        geometry_type="Polygon",
        crs="EPSG:32631",
        driver="GPKG",
    )
    path = folder / "campaign.yaml"
    path.write_text(TEXT.format(scenes=scenes, grid=grid, keep=str(keep).lower()))
    return path


def written(folder: Path, name: str) -> int:
    """Bytes of all files in a folder; 0 if there is none."""
    return sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file())


@contextmanager
def peak_of_workers() -> Iterator[list[float]]:
    """Peak memory in bytes of any process that this one has started, and these in turn; in a list of one number."""
    peak, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            peak[0] = max([peak[0], *map(_peak, _descendants())])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _descendants() -> set[int]:
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found and pid not in found}:
        found |= more
    return found - {os.getpid()}


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0.0)
    except OSError:
        return 0.0


def show(result: dict[str, dict[str, float]], *, as_json: bool) -> None:
    """Print figures and ratios."""
    for found in result.values():
        kept, none = found["kept_ingest"] + found["kept_signatures"], found["none_signatures"]
        found["time_none_over_kept"] = none / kept
        found["decoded_none_over_kept"] = found["none_decoded"] / found["kept_decoded"]
    if as_json:
        print(json.dumps(result, indent=1))
        return
    for name, found in result.items():
        print(f"{name}: {found['zones']:.0f} zones, two reductions")
        print(f"  kept: ingest {found['kept_ingest']:.1f} s, signatures {found['kept_signatures']:.1f} s")
        print(f"  none: signatures {found['none_signatures']:.1f} s")
        print(f"  time of keep: false / true, ingest and signatures {found['time_none_over_kept']:.2f}")
        print(f"  pixels decoded, keep: false / true {found['decoded_none_over_kept']:.2f}")
        print(f"  bytes written {found['kept_bytes'] / 1e6:.0f} MB and {found['none_bytes'] / 1e6:.1f} MB")
        memory = [found[f"{kind}_{what}"] / 2**20 for kind in ("kept", "none") for what in ("memory", "estimate")]
        print("  peak memory of a worker {:.0f} MiB (estimated {:.0f}) and {:.0f} MiB ({:.0f})".format(*memory))


if __name__ == "__main__":
    main()
