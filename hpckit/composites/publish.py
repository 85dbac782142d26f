"""What stands over all tiles of a composite: the STAC collection, and mosaics of each period.

Made from the items that are there; a mosaic is made anew when the items under it changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hpckit.campaign import Campaign
from hpckit.composites import stac
from hpckit.composites.export import by_file
from hpckit.composites.geotiff import in_order
from hpckit.composites.mosaic import write_mosaic, write_vrts
from hpckit.composites.products import Layer
from hpckit.composites.settings import Composite, Mosaic
from hpckit.composites.units import all_layers, files_path, store_path
from hpckit.cube.manifest import Manifest
from hpckit.files import digest_json, write_json

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
    files = {key: in_order(layers) for key, layers in by_file(all_layers(campaign, composite)).items()}
    for period in sorted({item["properties"]["hpckit:period"] for _, item in items}):
        mine = [(path, item) for path, item in items if item["properties"]["hpckit:period"] == period]
        made_from = digest_json(
            [[item["properties"]["hpckit:inputs"] for _, item in mine], composite.outputs.model_dump(mode="json")]
        )
        mark = folder / "mosaic" / f".{period}.json"
        if mark.exists() and json.loads(mark.read_text()) == made_from:
            continue
        for key, layers in files.items():
            yield from _mosaic(composite, folder / "mosaic", f"{composite.name}_{period}_{key}", key, layers, mine)
        write_json(mark, made_from)


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
