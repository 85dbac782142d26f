"""A stage that tells how much of each tile is clear on each date."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from hpckit.base.files import digest_json, write_text
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.ingest import date_inputs
from hpckit.cubes.read import open_tile
from hpckit.cubes.stage import Context, Outcome, Planning, Stage
from hpckit.cubes.tiles import Tiles
from hpckit.errors import CampaignError
from hpckit.runs.plan import Unit
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows


class Clearness(Stage):
    """Count the pixels of classes that are clear."""

    name = "clearness"
    follows = ("ingest",)
    colour = "#e0a030"

    def __init__(self, campaign: Campaign) -> None:
        settings = campaign.extensions[self.name]
        if set(settings) != {"classes"}:
            raise CampaignError(f"{campaign.path}: extensions.clearness: give classes", hint="classes: [4, 5]")
        self.classes = settings["classes"]

    def units(self, planning: Planning) -> Iterable[tuple[Unit, bool]]:
        tiles = planning.tiles
        for tile, acquisitions in tiles.acquisitions.items():
            made_of = [date_inputs(tiles.spec, item) for item in acquisitions]
            inputs = digest_json([self.classes, made_of, _windows(tiles, tile).tolist()])[:16]
            unit = Unit(f"{self.name}/{tile}", self.name, 0.1, inputs, {"tile": tile})
            yield unit, _made_from(_file(tiles.campaign, tile)) == inputs

    def execute(self, context: Context, unit: Unit) -> Outcome:
        tile, campaign = unit.args["tile"], context.run.campaign
        classes = open_tile(campaign.cube_path, tile, 20)["SCL"]
        held = _pixels(_windows(context.tiles, tile), context.tiles.frame(tile))
        shares = [
            float(np.isin(classes.isel(time=n).values[held], self.classes).mean())
            for n in range(classes.sizes["time"])
        ]
        path = _file(campaign, tile)
        path.parent.mkdir(exist_ok=True)
        write_text(path, json.dumps({"inputs": unit.inputs, "shares": shares}))
        return Outcome({"dates": len(shares)})


def stages(campaign: Campaign) -> Sequence[Stage]:
    """The stage of campaigns that name it."""
    return [Clearness(campaign)]


def _windows(tiles: Tiles, tile: str) -> Windows:
    """Windows of classes that the cube holds: others were not ingested."""
    return tiles.windows(tile, tiles.campaign.ref("SCL@20m"))


def _pixels(windows: Windows, frame: Frame) -> np.ndarray:
    """Pixels of these windows, of the whole tile."""
    rows, columns = frame.shapes[20]
    return windows.repeat(frame.edges[20], axis=0).repeat(frame.edges[20], axis=1)[:rows, :columns]


def _file(campaign: Campaign, tile: str) -> Path:
    return campaign.folder / "clearness" / f"{tile}.json"


def _made_from(path: Path) -> str | None:
    return json.loads(path.read_text())["inputs"] if path.exists() else None
