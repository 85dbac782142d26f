"""STAC items of scenes: one frozen form for all sensors.

What hpckit needs of a scene is one property of JSON text, `hpckit:scene`, since the columns of a catalogue have one
type each; everything else in an item is for other readers. Sensors add the properties that are usual for them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

import shapely
import shapely.geometry

from hpckit.base.frozendict import LateDict
from hpckit.sensors.model import Asset, Scene
from hpckit.space.footprint import bbox, geojson
from hpckit.space.frame import Frame

SCENE: Final = "hpckit:scene"
_EXTENSIONS: Final = [
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
]
_PLAIN: Final = (
    "id",
    "href",
    "level",
    "platform",
    "datatake",
    "part",
    "baseline",
    "relative_orbit",
    "cloud_cover",
    "nodata",
    "missing",
    "content",
)
"""Fields of a scene that are JSON values as they are."""
_rest_of: Final = attrgetter(*(field.name for field in fields(Asset)[4:]))
"""Fields of an asset after its address and its place."""


def plain_item(scene: Scene, *, code: str, instrument: str, details: object = None) -> dict[str, Any]:
    """STAC item of a scene of a sensor that has no properties of its own.

    Parameters
    ----------
    code : str
        Name of the tiling in `grid:code`.
    instrument : str
        As STAC has it; empty if it is not known.
    details : JSON value
        `Scene.details`.
    """
    properties = {
        "datetime": stamp(scene.sensed),
        "platform": scene.platform.lower() or None,
        "instruments": [instrument] if instrument else None,
        "eo:cloud_cover": scene.cloud_cover,
        "proj:code": None if scene.frame is None else f"EPSG:{scene.frame.epsg}",
        "grid:code": None if scene.frame is None else f"{code}-{scene.tile}",
    }
    assets = {
        key.replace("@", "_"): {"href": asset.uri, "roles": ["data"]} for key, asset in sorted(scene.assets.items())
    }
    return feature(scene, properties, assets, _EXTENSIONS, details=details)


def feature(
    scene: Scene,
    properties: Mapping[str, Any],
    assets: Mapping[str, Any],
    extensions: Sequence[str],
    *,
    name: str | None = None,
    details: object = None,
) -> dict[str, Any]:
    """STAC item of a scene, from which `scene_of` makes it again.

    What is not known is left out, since extensions allow no nulls.

    Parameters
    ----------
    assets : mapping
        Those of bands; the product itself is added.
    name : str, optional
        Id of the item; that of the scene if not given.
    details : JSON value
        `Scene.details`.
    """
    shape = scene.footprint
    described = {**properties, "constellation": scene.sensor, SCENE: json.dumps(_frozen(scene, details))}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": list(extensions),
        "id": name or scene.id,
        "geometry": None if shape is None else geojson(shape),
        **({} if shape is None else {"bbox": bbox(shape)}),
        "properties": {key: value for key, value in described.items() if value is not None},
        "links": [],
        "assets": {"product": {"href": scene.href, "roles": ["archive"]}, **assets},
    }


def scene_of(item: Mapping[str, Any], details: Callable[[Any], Hashable] = lambda _: None) -> Scene:
    """Scene of an item that `feature` made.

    Parameters
    ----------
    details : callable
        Makes `Scene.details` from the JSON value of it.

    Raises
    ------
    KeyError
        If the item is of another origin.
    """
    properties, geometry = item["properties"], item.get("geometry")
    told = json.loads(properties[SCENE])
    # A catalogue has thousands of scenes with 30 assets each, of which a plan looks at few.
    boxes = [(crs, tuple(transform), (rows, columns)) for crs, transform, (rows, columns) in told["boxes"]]
    assets = LateDict(told["assets"], lambda asset: Asset(asset[0], *boxes[asset[1]], *asset[2:]))
    return Scene(
        **{name: told[name] for name in _PLAIN} | {"missing": tuple(told["missing"])},
        sensor=properties["constellation"],
        sensed=datetime.fromisoformat(told["sensed"]),
        frame=_frame(told["frame"]),
        assets=assets,
        beside={
            name: Asset(uri, nbytes=nbytes, digest=digest, chunks="".join(chunks))
            for name, (uri, nbytes, digest, *chunks) in told.get("beside", {}).items()
        },
        footprint=geometry if isinstance(geometry, shapely.Geometry) else _outline(geometry),
        details=details(told["details"]),
    )


def addresses(scene: Scene) -> Iterator[str]:
    """Addresses of all assets of a scene; assets of catalogues that nobody asked for yet are not made for that."""
    if isinstance(scene.assets, LateDict):
        return (str(told[0]) for told in scene.assets.told.values())
    return (asset.uri for asset in scene.assets.values())


def _outline(geometry: Mapping[str, Any] | None) -> shapely.Geometry | None:
    return shapely.geometry.shape(geometry) if geometry else None


def stamp(moment: datetime) -> str:
    """Time of an item, UTC."""
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _frozen(scene: Scene, details: object) -> dict[str, Any]:
    """All of a scene but its outline; assets name the place that they share by a number."""
    boxes: dict[tuple[Any, ...], int] = {}
    assets = {}
    for key, asset in sorted(scene.assets.items()):
        place = asset.crs, asset.transform, asset.shape
        assets[key] = [asset.uri, boxes.setdefault(place, len(boxes)), *_rest_of(asset)]
    frame = scene.frame
    beside = {
        name: [asset.uri, asset.nbytes, asset.digest, *([asset.chunks] if asset.chunks else [])]
        for name, asset in sorted(scene.beside.items())
    }
    return {
        **{name: getattr(scene, name) for name in _PLAIN},
        "sensed": scene.sensed.isoformat(),
        "frame": frame and [frame.tile, frame.epsg, frame.ulx, frame.uly, sorted(frame.shapes.items())],
        "boxes": list(boxes),
        "assets": assets,
        **({"beside": beside} if beside else {}),
        "details": details,
    }


def _frame(told: Any) -> Frame | None:
    if told is None:
        return None
    tile, epsg, ulx, uly, shapes = told
    return Frame(tile, epsg, ulx, uly, {size: (rows, columns) for size, (rows, columns) in shapes}, {})
