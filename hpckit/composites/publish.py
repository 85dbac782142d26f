"""What stands over all tiles of a composite: the STAC collection, and mosaics of each period.

Made from the items that are there; a mosaic is made anew when the items under it changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpckit.campaign import Campaign
from hpckit.composites import checksums, stac
from hpckit.composites.geotiff import in_order
from hpckit.composites.mosaic import write_mosaic, write_vrts
from hpckit.composites.products import Layer, of_files
from hpckit.composites.settings import Composite, Mosaic
from hpckit.composites.units import all_layers, files_path, store_path
from hpckit.cube.manifest import Manifest
from hpckit.files import digest_json, write_json

_VERSION: Final = 1
"""Grows when the same files give other mosaics."""

Items = Sequence[tuple[Path, Mapping[str, Any]]]


def publish(campaign: Campaign) -> list[Path]:
    """Write collections and mosaics of all composites of a campaign; return the collections.

    Composites without any finished tile are left out.
    """
    written = []
    for composite in campaign.composites:
        Manifest.load(store_path(campaign, composite)).compact()
        folder = files_path(campaign, composite)
        items = stac.read_items(folder)
        if items:
            list(_mosaics(campaign, composite, folder, items))
            written.append(stac.write_collection(folder, composite, items))
    return written


def _mosaics(campaign: Campaign, composite: Composite, folder: Path, items: Items) -> Iterator[Path]:
    wanted = composite.outputs.mosaic
    if wanted == "none":
        return
    files = {key: in_order(layers) for key, layers in of_files(all_layers(campaign, composite)).items()}
    for period, mine in by_period(items).items():
        mark, made_from = mosaic_mark(folder, period), mosaic_inputs(composite, mine)
        known = read_mark(mark)
        there = all((mark.parent / name).exists() for name in known.get("files", ()))
        if there and known.get("made_from") == made_from:
            continue
        written: list[Path] = []
        for key, layers in files.items():
            written += _mosaic(composite, folder / "mosaic", f"{composite.name}_{period}_{key}", key, layers, mine)
        yield from written
        write_json(mark, {"made_from": made_from, "files": {path.name: checksums.facts(path) for path in written}})


def by_period(items: Items) -> dict[str, list[tuple[Path, Mapping[str, Any]]]]:
    """Items of each period, in order of both."""
    found: dict[str, list[tuple[Path, Mapping[str, Any]]]] = {}
    for path, item in sorted(items, key=lambda one: (str(one[1]["properties"]["hpckit:period"]), one[0])):
        found.setdefault(str(item["properties"]["hpckit:period"]), []).append((path, item))
    return found


def mosaic_mark(folder: Path, period: str) -> Path:
    """File that is written last, when the mosaics of a period are whole."""
    return folder / "mosaic" / f".{period}.json"


def read_mark(path: Path) -> dict[str, Any]:
    """What mosaics were made from, and their checksums; empty if they are not there."""
    try:
        content = json.loads(path.read_text())
        return {"made_from": content["made_from"], "files": dict(content["files"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def mosaic_inputs(composite: Composite, items: Items) -> str:
    """Digest of what the mosaics of a period are made from."""
    made_from = [item["properties"]["hpckit:inputs"] for _, item in items]
    return digest_json([_VERSION, made_from, composite.outputs.model_dump(mode="json")])


def _mosaic(
    composite: Composite, folder: Path, stem: str, key: str, layers: Sequence[Layer], items: Items
) -> Iterator[Path]:
    paths = [path.parent / item["assets"][key]["href"] for path, item in items if key in item["assets"]]
    sources = [path.resolve() for path in paths if path.exists()]
    if not sources:
        return
    if isinstance(composite.outputs.mosaic, Mosaic):
        target = folder / f"{stem}.tif"
        write_mosaic(target, sources, layers, composite.outputs.mosaic, composite.outputs.compress)
        yield target
    else:
        yield from write_vrts(folder.resolve(), stem, sources, layers)
