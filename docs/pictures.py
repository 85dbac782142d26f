"""Pictures for the documentation. The docs build draws them from the data of `hpckit demo`.

mkdocs runs this file as a hook. Data and results lie below `.cache/docs`, in a folder that is named by the source code
they were made with: a build that follows a change of the text only draws nothing again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from functools import cache
from io import StringIO
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
from rich.console import Console
from rich.text import Text

from hpckit.demo.lessons import LESSONS

ROOT: Final = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "docs"), str(ROOT)]

from graph_pictures import draw_crops, draw_water  # mkdocs imports this file alone

from tests.doc_commands import as_written

COLUMNS: Final = 100

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
    folder = _folder()
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
    for path in sorted((_folder() / "pictures").iterdir()):
        files.append(File.generated(config, f"pictures/{path.name}", abs_src_path=str(path)))
    return files


@cache
def _folder() -> Path:
    digest = hashlib.sha256()
    for path in sorted(
        [
            *ROOT.glob("hpckit/**/*.py"),
            *ROOT.glob("hpckit/**/*.j2"),
            *ROOT.glob("docs/*.py"),
            *ROOT.glob("docs/examples/graphs/*"),
        ]
    ):
        digest.update(path.read_bytes())
    digest.update(repr((WATER, CROPS)).encode())
    return ROOT / ".cache" / "docs" / digest.hexdigest()[:16]


def _draw(folder: Path) -> None:
    work = folder / "pictures.part"
    work.mkdir()
    _hpckit(folder, "demo", "--only-data", "demo")
    campaign = folder / CAMPAIGN
    campaign.write_text(campaign.read_text().replace("store:\n", f"{COMPOSITE}store:\n"))
    (work / "terminal.svg").write_text(_session(folder))
    for name, (command, *words) in DRAWN.items():
        _hpckit(folder, command, CAMPAIGN, *words, folder / f"{name}.png")
        _shrink(folder / f"{name}.png", work / f"{name}.webp")
    _hpckit(folder, "report", CAMPAIGN, "-o", work / "report.html")
    _draw_graphs(folder, work)
    campaign.write_text(campaign.read_text() + MARKERS)
    _hpckit(folder, "markers", CAMPAIGN)
    _hpckit(folder, "series", CAMPAIGN, "--zone", "P0537", "--plot", folder / "markers.png")
    _shrink(folder / "markers.png", work / "markers.webp")
    work.rename(folder / "pictures")


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
    command = [sys.executable, "-m", "hpckit", *map(str, words)]
    done = subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    return done.stdout + done.stderr


def _session(folder: Path) -> str:
    """A picture of the commands that run a campaign, and of their output."""
    text = Text()
    for words in (("plan",), ("run",), ("status",)):
        # The progress bar of `run` moves the cursor, so lines of its log are shown instead.
        output = _log(folder, *words) if words == ("run",) else _on_terminal(folder, *words, CAMPAIGN)
        text.append("$ ", "bold green").append(f"hpckit {' '.join(words)} {CAMPAIGN}\n", "bold")
        text.append_text(Text.from_ansi(output.strip("\r\n"))).append("\n\n")
    text.right_crop(2)
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    console.print(text)
    svg = console.export_svg(title="hpckit", unique_id="session")
    return re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from a server of others


def _log(folder: Path, *words: str) -> str:
    """Output of a command that is not on a terminal, without the lines about progress."""
    lines = _hpckit(folder, *words, CAMPAIGN).splitlines()
    return "\n".join(line for line in lines if not line.endswith((" left", ": started")))


def _on_terminal(folder: Path, *words: str) -> str:
    """Output of a command on a terminal, with its colours."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "hpckit", *words]
    process = subprocess.Popen(command, cwd=folder, env=_environment(), stdin=its, stdout=its, stderr=its)
    os.close(its)
    output = b"".join(_bytes_of(ours))
    if process.wait():
        raise RuntimeError(f"{' '.join(command)} failed:\n{output.decode()}")
    return output.decode().replace("\r\n", "\n")


def _bytes_of(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(terminal, 65536)
        except OSError:  # EIO: the command has ended
            os.close(terminal)
            return


def _environment() -> dict[str, str]:
    path: Sequence[str] = (str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": ":".join(path), "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
