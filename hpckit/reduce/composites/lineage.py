"""What composites are made from, in STAC: links to products, and a file that describes products without an address.

Products of this machine have no address that others can follow. One file for each tile, `products.json`, lists all
that it is made from, without paths; links name a product in it by a fragment.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

from hpckit.base.quantities import format_count
from hpckit.campaign.composite import Composite
from hpckit.catalogue.stac import to_item
from hpckit.inputs.uri import is_remote, public
from hpckit.reduce.composites.periods import Interval
from hpckit.sensors.items import SCENE
from hpckit.sensors.model import Acquisition, Scene

PRODUCTS: Final = "products.json"
"""In the folder of a tile."""
_GEOJSON: Final = "application/geo+json"
_PROCESSING: Final = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"


def derived_from(acquisitions: Sequence[Acquisition]) -> Iterator[dict[str, Any]]:
    """Links to the products of a tile, from the folder of a period."""
    for scene in _scenes(acquisitions):
        address = public(scene.href) if is_remote(scene.href) else f"../{PRODUCTS}#{quote(scene.id)}"
        link = {"rel": "derived_from", "href": address, "type": _GEOJSON, "title": scene.id}
        yield link | ({"hpckit:content": scene.content} if scene.content else {})


def lineage(composite: Composite, period: Interval, acquisitions: Sequence[Acquisition]) -> str:
    """How it was made, in a sentence."""
    scenes = _scenes(acquisitions)
    count, levels = format_count(len(scenes), "product"), ", ".join(sorted({scene.level for scene in scenes}))
    what = ", ".join([*composite.bands, *composite.indices])
    return (
        f"{', '.join(composite.methods)} of {what} for each pixel, from {count} ({levels}) of "
        f"{period.start} to {period.end}"
    )


def products(acquisitions: Sequence[Acquisition]) -> dict[str, Any]:
    """Items of all products of a tile, without assets: the files may be anywhere."""
    return {"type": "FeatureCollection", "features": [_item(scene) for scene in _scenes(acquisitions)]}


def _scenes(acquisitions: Sequence[Acquisition]) -> list[Scene]:
    return list({scene.id: scene for item in acquisitions for scene in item.scenes}.values())


def _item(scene: Scene) -> dict[str, Any]:
    item = to_item(scene)
    known = {name: value for name, value in item["properties"].items() if name != SCENE and value is not None}
    return {
        **item,
        "stac_extensions": list(dict.fromkeys([*item.get("stac_extensions", []), _PROCESSING])),
        "properties": {**known, "processing:level": scene.level, "hpckit:content": scene.content},
        "links": [{"rel": "via", "href": public(scene.href)}] if is_remote(scene.href) else [],
        "assets": {},
    }
