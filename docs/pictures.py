"""Pictures for the documentation. The docs build draws them from the data of `hpckit demo`.

mkdocs runs this file as a hook. Data and results lie below `.cache/docs`, in a folder that is named by the source code
they were made with: a build that follows a change of the text only draws nothing again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
import pyogrio
import pyproj
import shapely
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from PIL import Image

from hpckit.demo.lessons import LESSONS

ROOT: Final = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "docs"), str(ROOT)]

from graph_pictures import draw_crops, draw_water  # mkdocs imports this file alone
from map_pictures import draw_buffers, draw_coverage, draw_latest, draw_tiles
from terminal_pictures import Shown, Terminal, environment_of_commands, logged

from tests import small_campaign, stac_samples
from tests.doc_commands import as_written, read
from tests.servers.files import FileServer, serve

COMPOSITE: Final = """\
  - name: seasons
    kind: composite
    bands: [B02, B03, B04, B08]
    indices: {NDVI: (B08 - B04) / (B08 + B04)}
    methods: [median, count]
    period: season
    mask: {dilate: 60m}
"""

MARKERS: Final = """\
markers:
  - {name: green, band: NDVI, above: 0.6}
  - {name: harvest, preset: harvest}
"""

STEPS: Final = """\
steps:
  - name: amplitude
    each: tile
    after: ingest
    inputs: {script: amplitude.py}
    command: "{python} {script} {cube} {tile} {epsg} {west} {north} {map}"
    outputs: {map: "{tile}.tif"}
    memory_mib: 2048
"""

CAMPAIGN: Final = "demo/campaign.yaml"
WINDOW: Final = ("--window", "643000,5668000,648000,5673000")
DRAWN: Final = {
    "quicklook": ("quicklook", "--date", "2024-05-03", "-o"),
    "ndvi": ("quicklook", "--date", "2024-05-03", "--index", "NDVI", *WINDOW, "-o"),
    "cloudy": ("quicklook", "--date", "2024-08-11", "--no-zones", "-o"),
    "composite": ("quicklook", "--composite", "seasons", "--period", "2024-JJA", "--no-zones", "-o"),
    "series": ("series", "--zone", "P0009", "--plot"),
    "crops": ("series", "--zone", "P0176", "--zone", "P0477", "--zone", "P0418", "--plot"),
}
HOW_TO: Final = "docs/how-to"
# Commands whose output a page shows as a terminal, as the page has them where it can be. They run in the folder of the
# campaign; each finds what it needs, and none runs twice.
BEFORE: Final = {
    "install": [Shown(as_written(f"{HOW_TO}/install.md", "hpckit doctor"), without="PYTHONPATH")],
    "sites": [Shown(as_written(f"{HOW_TO}/sites.md", "hpckit site show snellius"))],
    "login": [Shown(["hpckit", "login", "show", "sram-slurm", "--co", "mycrop", "--uid", "jdoe"])],
    "scenes": [
        Shown(["hpckit", "scenes", "scan", "scenes", "-o", "scenes.parquet"]),
        Shown(as_written(f"{HOW_TO}/scenes.md", "hpckit scenes list scenes.parquet --aoi"), lines=10),
    ],
    "learn": [Shown(as_written("docs/learn.md", "hpckit notebooks course"))],
    "campaign": [Shown(as_written(f"{HOW_TO}/agency-year.md", "hpckit check campaign.yaml"))],
    "clusters": [Shown(as_written(f"{HOW_TO}/clusters.md", "hpckit plan campaign.yaml --site snellius"))],
}
AFTER: Final = {
    "update": [Shown(as_written(f"{HOW_TO}/update.md", "hpckit update campaign.yaml"))],
    "export": [
        Shown(as_written(f"{HOW_TO}/export.md", "hpckit export campaign.yaml wheat.csv")),
        Shown(["cut", "-d,", "-f1-5", "wheat.csv"], lines=6),
    ],
    "store": [Shown(as_written(f"{HOW_TO}/store.md", "hpckit store show campaign.yaml"))],
    "agency-year": [
        Shown(as_written(f"{HOW_TO}/agency-year.md", "hpckit quality campaign.yaml"), lines=7),
        Shown(as_written(f"{HOW_TO}/agency-year.md", "hpckit clean campaign.yaml --older-than 0")),
    ],
    "operate": [
        Shown(["hpckit", "metrics", "campaign.yaml", "--no-scheduler", "-o", "hpckit.prom"]),
        Shown(["grep", "hpckit_run_units", "hpckit.prom"]),
    ],
}
SESSION: Final = [
    Shown(["hpckit", "plan", CAMPAIGN]),
    Shown(["hpckit", "run", CAMPAIGN], logged=True),
    Shown(["hpckit", "status", CAMPAIGN]),
]
DAMAGED: Final = [
    Shown(as_written("docs/tutorial.md", "hpckit verify demo/campaign.yaml"), code=1),
    Shown(as_written("docs/tutorial.md", "hpckit run demo/campaign.yaml"), logged=True),
]
STEP: Final = [Shown(["hpckit", "plan", "campaign.yaml"])]
RASTERS: Final = f"{HOW_TO}/rasters.md"
RASTER_COMMANDS: Final = [
    Shown(as_written(RASTERS, "hpckit check campaign.yaml")),
    Shown(as_written(RASTERS, "hpckit run campaign.yaml"), logged=True),
    Shown(as_written(RASTERS, 'hpckit series campaign.yaml --zone "field 3" --band crop')),
]
ITEMS: Final = """\
name: fields
aoi: zones.gpkg
period: 2024-04-01/2024-12-31
scenes: {paths: [scenes], hosts: [127.0.0.1]}
cube: {keep: false, bands: [red, SCL]}
reductions:
  - {name: parcels, zones: zones.gpkg, id: name, bands: [red]}
"""
ITEM_COMMANDS: Final = {
    "stac": [Shown(["hpckit", "check", "campaign.yaml"])],
    "fetch": [
        Shown(as_written(f"{HOW_TO}/fetch.md", "hpckit fetch campaign.yaml")),
        Shown(as_written(f"{HOW_TO}/fetch.md", "hpckit fetch campaign.yaml --verify")),
    ],
}
SERVE: Final = """\
listen: 127.0.0.1:PORT
state: state
datasets:
  - {campaign: demo/campaign.yaml, name: nl2024, aoi: nl, year: 2024}
doors: [stac, jrc, openeo]
grants:
  - {users: [anyone]}
openeo: {site: localhost, jobs: jobs}
"""
SERVED: Final = {
    "serve-stac": [
        "curl -s URL/stac/collections | jq -r '.collections[]|.id,.description'",
        "curl -sG URL/stac/search -d collections=nl2024-products -d limit=4 "
        "--data-urlencode 'filter=eo:cloud_cover < 20' | jq -r '.numberMatched,.features[].id'",
    ],
    "serve-jrc": [
        "curl -sG URL/query/parcelByID -d aoi=nl -d year=2024 -d pid=P0009 | jq -c '{cropname,area}'",
        "curl -sG URL/query/parcelTimeSeries -d aoi=nl -d year=2024 -d pid=P0009 -d band=NDVI "
        "-d tsformat=csv -d scl=False | cut -d, -f1-5,7-9 | head -n 8",
    ],
    "serve-openeo": [
        "curl -s URL/openeo/1.2/collections | jq -r '.collections[]|.id,.description'",
        "curl -s URL/openeo/1.2/collections/nl2024 | jq -c '.\"cube:dimensions\"|.bands.values,.t.extent'",
        "curl -s URL/openeo/1.2/processes | jq '.processes|length'",
    ],
}
"""Questions to a server of the campaign; curl and jq ask them."""
BOX: Final = as_written(f"{HOW_TO}/tile.md", "hpckit tile 5.5")[:-2]  # without the file that it writes
WIDTH: Final = 1200
WATER: Final = (
    as_written("docs/how-to/graphs.md", "hpckit demo"),
    as_written("docs/how-to/graphs.md", "hpckit plan"),
    as_written("docs/how-to/graphs.md", "hpckit graph check water-change.json"),
    as_written("docs/how-to/graphs.md", "hpckit graph run water-change.json"),
    as_written("docs/how-to/graphs.md", "hpckit graph run docs/examples/graphs/water-change.json"),
)
CROPS: Final = as_written("docs/how-to/graphs.md", "hpckit graph run docs/examples/graphs/crop-growth.json")
"""The page's commands, in an order in which each finds what it needs."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the demonstration and draw what is not drawn yet."""
    folder = folder_of_build()
    if not (folder / "pictures").exists():
        for old in folder.parent.glob("*"):
            shutil.rmtree(old)
        folder.mkdir(parents=True)
        _draw(folder)
    # Data of the teaching notebooks, which the first of them makes.
    os.environ[LESSONS] = str(folder / "lessons")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pictures to the pages."""
    for path in sorted((folder_of_build() / "pictures").iterdir()):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


@cache
def folder_of_build() -> Path:
    """Where this build keeps what it makes, by the source code that makes it."""
    digest = hashlib.sha256()
    for path in sorted(
        [
            *ROOT.glob("hpckit/**/*.py"),
            *ROOT.glob("hpckit/**/*.j2"),
            *ROOT.glob("docs/*.py"),
            *ROOT.glob("docs/examples/graphs/*"),
            ROOT / "docs/examples/greening/amplitude.py",
            ROOT / "site-configs/snellius.yaml",
            ROOT / RASTERS,
        ]
    ):
        digest.update(path.read_bytes())
    digest.update(repr((WATER, CROPS, BEFORE, AFTER, DAMAGED, RASTER_COMMANDS, ITEM_COMMANDS, SERVED, BOX)).encode())
    return ROOT / ".cache" / "docs" / digest.hexdigest()[:16]


def _draw(folder: Path) -> None:
    work = folder / "pictures.part"
    work.mkdir()
    _hpckit(folder, "demo", "--only-data", "demo")
    campaign = folder / CAMPAIGN
    text = campaign.read_text().replace("store:\n", f"{COMPOSITE}store:\n")
    campaign.write_text(text.replace("    id: parcel_id\n", "    id: parcel_id\n    attributes: [crop]\n"))
    _draw_terminals(BEFORE, folder / "demo", work)
    (work / "terminal.svg").write_text(Terminal(folder).picture(*SESSION))
    _draw_terminals(AFTER, folder / "demo", work)
    _draw_maps(folder, work)
    _draw_damage(folder, work)
    for name, (command, *words) in DRAWN.items():
        _hpckit(folder, command, CAMPAIGN, *words, folder / f"{name}.png")
        _shrink(folder / f"{name}.png", work / f"{name}.webp")
    _hpckit(folder, "report", CAMPAIGN, "-o", work / "report.html")
    _draw_graphs(folder, work)
    campaign.write_text(campaign.read_text() + MARKERS)
    _hpckit(folder, "markers", CAMPAIGN)
    _hpckit(folder, "series", CAMPAIGN, "--zone", "P0537", "--plot", folder / "markers.png")
    _shrink(folder / "markers.png", work / "markers.webp")
    _draw_step(folder, work)
    _draw_rasters(folder / "rasters", work)
    _draw_items(folder / "items", work)
    _draw_served(folder, work)
    work.rename(folder / "pictures")


def _draw_terminals(pages: Mapping[str, Sequence[Shown]], folder: Path, work: Path) -> None:
    for page, commands in pages.items():
        (work / f"terminal-{page}.svg").write_text(Terminal(folder).picture(*commands))


def _draw_maps(folder: Path, work: Path) -> None:
    """Draw tiles of grids over an area, zones with a buffer, pixels of a zone, and the map of the store."""
    files = {}
    for grid in ("mgrs", "utm:10240", BOX[-1]):
        files[grid] = folder / f"{grid.replace(':', '-')}.geojson"
        files[grid].write_text(_hpckit(folder, *BOX[1:-1], grid).partition("\n")[0])
    box = [float(degrees) for degrees in BOX[2].split(",")]
    draw_tiles({BOX[-1]: files.pop(BOX[-1])}, box, work / "tile.webp")
    draw_tiles(files, box, work / "grids.webp")
    draw_buffers(folder / "demo/parcels.gpkg", work / "buffers.webp")
    draw_coverage(folder / "demo/parcels.gpkg", work / "coverage.webp")
    draw_latest(folder / "demo/demo.gpkg", work / "latest.webp")


def _draw_damage(folder: Path, work: Path) -> None:
    """Overwrite some bytes of the cube, as the tutorial does, and see them found and made again."""
    shard = min(path for path in (folder / "demo/cube.zarr/31UFT/r10m/B08/c").rglob("*") if path.is_file())
    with shard.open("r+b") as file:
        file.seek(2000)
        file.write(b"damage")
    _draw_terminals({"recover": DAMAGED}, folder, work)


def _draw_step(folder: Path, work: Path) -> None:
    """Plan a script of docs/examples as a step on the cube."""
    shutil.copy(ROOT / "docs/examples/greening/amplitude.py", folder / "demo")
    campaign = folder / CAMPAIGN
    campaign.write_text(campaign.read_text() + STEPS)
    _draw_terminals({"steps": STEP}, folder / "demo", work)


def _draw_rasters(folder: Path, work: Path) -> None:
    """Make the images of the page about them, and a picture of their cube, by the page's commands."""
    folder.mkdir()
    (first, *_) = read(ROOT / RASTERS).commands
    environment = {**environment_of_commands(), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in first.before:  # they write the files of the page, and run its script
        subprocess.run(["bash", "-c", line], cwd=folder, env=environment, check=True)
    _draw_terminals({"rasters": RASTER_COMMANDS}, folder, work)
    _hpckit(folder, *as_written(RASTERS, "hpckit quicklook")[1:])
    _shrink(folder / "map.png", work / "rasters.webp")


def _draw_items(folder: Path, work: Path) -> None:
    """Check and fetch a small campaign whose images are on a web server."""
    for number in range(2):
        pixels = {ref: small_campaign.pixels_of(number)[ref] for ref in ("B04@10m", "SCL@20m")}
        sensed = stac_samples.SENSED + timedelta(days=5 * number)
        stac_samples.write_item(folder / "scenes", pixels, "stactools", sensed=sensed)
    small_campaign.write_zones(folder / "zones.gpkg", small_campaign.zones(8))
    (folder / "campaign.yaml").write_text(ITEMS)
    (folder / "scenes").rename(folder.parent / "served")
    with serve(FileServer(folder.parent / "served")) as server:
        for path in (folder.parent / "served").glob("*/*.json"):
            item = json.loads(path.read_text())
            for asset in item["assets"].values():
                asset["href"] = f"{server.url}/{path.parent.name}/{Path(asset['href']).name}"
            (folder / "scenes").mkdir(exist_ok=True)
            (folder / "scenes" / path.name).write_text(json.dumps(item))
        _draw_terminals(ITEM_COMMANDS, folder, work)


def _draw_served(folder: Path, work: Path) -> None:
    """Serve the campaign, and ask for collections, parcels and products."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "serve.yaml").write_text(SERVE.replace("PORT", str(port)))
    command = [sys.executable, "-m", "hpckit", "serve", "--config", "serve.yaml"]
    server = subprocess.Popen(command, cwd=folder, env=environment_of_commands(), stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        if not server.stdout.readline():  # the address, when it answers
            raise RuntimeError("hpckit serve did not start")
        shown = Terminal(folder, called={f"127.0.0.1:{port}": "127.0.0.1:8642"})
        for page, lines in SERVED.items():
            commands = [Shown(["sh", "-c", line.replace("URL", f"http://127.0.0.1:{port}")]) for line in lines]
            (work / f"terminal-{page}.svg").write_text(shown.picture(*commands))
    finally:
        server.terminate()
        server.wait()


def _draw_graphs(folder: Path, work: Path) -> None:
    """Run the examples of process graphs as their page has them, and draw their results."""
    (folder / "docs").symlink_to(ROOT / "docs")
    shutil.copy(ROOT / "docs/examples/graphs/water-change.json", folder)
    for _, *words in WATER:
        _hpckit(folder, *words)
    draw_water(folder / "water/results/result/water.tif", work / "water-change.png")
    _, _, shapes, fields = pyogrio.raw.read(folder / "demo/parcels.gpkg", columns=["parcel_id", "crop"])
    to_degrees = pyproj.Transformer.from_crs(32631, 4326, always_xy=True)
    outlines = shapely.transform(shapely.from_wkb(shapes), lambda at: np.column_stack(to_degrees.transform(*at.T)))
    features = [
        {"type": "Feature", "id": name, "properties": {}, "geometry": json.loads(shapely.to_geojson(outline))}
        for name, outline in zip(fields[0], outlines, strict=True)
    ]
    (folder / "parcels.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    _hpckit(folder, *CROPS[1:])
    parcels = pd.DataFrame({"parcel_id": fields[0], "crop": fields[1]})
    draw_crops(folder / "growth/results/result/openEO.csv", parcels, work / "crop-growth.png")


def _shrink(path: Path, smaller: Path) -> None:
    with Image.open(path) as picture:
        picture.thumbnail((WIDTH, 2 * WIDTH))
        picture.convert("RGB").save(smaller, quality=85)


def _hpckit(folder: Path, *words: object) -> str:
    """Output of a command that is not on a terminal."""
    return logged(folder, ["hpckit", *map(str, words)])
