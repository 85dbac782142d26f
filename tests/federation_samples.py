"""A campaign over four tiles in a row, whose scenes lie at two sites; sites are folders, with whatever scheduler."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import shapely

from tests import products
from tests.small_campaign import write_zones

EDGE = 600
"""Pixels of 10 m of a tile."""
STEP_M = 4000
"""From one tile to the next: they overlap by 2 km."""
TILES = ("31UFU", "31UGU", "31UFT", "31UGT")
"""From west to east. The last two share a zone that none of them holds whole, so they stay together."""
DATES = 3
LEFT = 600000


def zones() -> list[shapely.Geometry]:
    """Fields in each tile, in each overlap, and one across the last overlap."""
    shapes = [shapely.Point(LEFT + 700 + 900 * n, 5699000 - 350 * n).buffer(150, 4) for n in range(16)]
    shapes += [shapely.Point(LEFT + STEP_M * k + 1000, 5696000).buffer(200, 4) for k in (1, 2, 3)]
    start = LEFT + STEP_M * 3
    shapes.append(shapely.box(start - 300, 5695000, start + 2300, 5695400))
    return shapes


COMPOSITE = "  - {name: means, kind: composite, methods: [median], bands: [B04], period: month}\n"


def make(folder: Path, *, composite: bool = False) -> None:
    """Write `west` and `east` with the products of two tiles each, `all` with all, zones and the campaign file."""
    for place, tile in enumerate(TILES):
        for number in range(DATES):
            if (place, number) == (1, 2):
                continue  # others answer for its zones on this date
            where, pixels = folder / ("west" if place < 2 else "east"), products.arrays(10 * place + number, EDGE)
            products.write(where, number, pixels, tile=tile, ulx=LEFT + STEP_M * place)
    for name in ("west", "east"):
        shutil.copytree(folder / name, folder / "all", dirs_exist_ok=True)
    write_zones(folder / "zones.gpkg", zones())
    bands = "bands: [B04, B08, SCL]"
    cube = f"{bands}, dates_per_block: 2" if composite else f"keep: false, {bands}"
    (folder / "campaign.yaml").write_text(
        f"""\
name: shared
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {{paths: [all]}}
cube: {{{cube}}}
reductions:
  - {{name: fields, zones: zones.gpkg, id: name, bands: [B04, SCL], indices: {{NDVI: (B08 - B04) / (B08 + B04)}}}}
{COMPOSITE if composite else ""}"""
    )


def write_site(
    folder: Path,
    name: str,
    *,
    scenes: Path | None,
    base: Path,
    scheduler: str = "local",
    command: str | None = None,
    cost: float = 1,
    more: str = "",
) -> Path:
    """Write the file of a site whose folder this machine sees, and make that folder."""
    base.mkdir(parents=True, exist_ok=True)
    facts = [f"folder: {base}", f"cost: {cost}"]
    facts += [] if scenes is None else [f"scenes: [{scenes}]"]
    facts += [] if command is None else [f"command: {command}"]
    path = folder / f"{name}.yaml"
    path.write_text(
        f"name: {name}\nscheduler: {scheduler}\nfederation: {{{', '.join(facts)}}}\n"
        f"poll: {{first_s: 1, submit_pause_s: 0, timeout_s: 60}}\n{more}"
    )
    return path


def write_program(path: Path, environment: Mapping[str, str], body: str = "") -> str:
    """A program `hpckit` with an environment of its own; Python in `body` runs before the command."""
    lines = [f"os.environ[{name!r}] = {value!r}" for name, value in environment.items()]
    text = "\n".join(["import os, sys", *lines, body, "from hpckit.cli import main", "main()"])
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)
    return str(path)


def hpckit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line at home."""
    return subprocess.run(
        [sys.executable, "-m", "hpckit", *words], cwd=folder, capture_output=True, text=True, check=False
    )
