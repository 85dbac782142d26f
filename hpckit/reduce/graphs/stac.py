"""Products of STAC items at an address as a collection, which a graph loads without a campaign file (`load_stac`).

Items are listed once, when a graph is checked or planned; a run freezes what they came down to, as of every other
collection, and workers ask nobody for items again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely

from hpckit.base.files import digest_json, write_json
from hpckit.base.reading import read_json
from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import catalogue, tiling
from hpckit.cubes import held
from hpckit.cubes.held import WHOLE
from hpckit.cubes.tiles import Tiles
from hpckit.errors import DamagedFileError, FileUnavailableError, GraphError, HpckitError, is_temporary
from hpckit.inputs.httpfiles import permit
from hpckit.inputs.transfer import without_secrets
from hpckit.processgraph.process import Request
from hpckit.processgraph.urls import ANY_HOST
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.stacimages import images_of, is_plain
from hpckit.reduce.graphs.stacitems import Bounds, items_at
from hpckit.runs.run import CAMPAIGN_JSON, Run
from hpckit.sensors.bands import split_key
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.sensors.stac.dialects import dialect_of

_log: Final = logging.getLogger(__name__)
_DEGREES: Final = "EPSG:4326"
_ITEMS: Final = "items.json"
_CAMPAIGN: Final = "campaign.yaml"
"""Name of a file that is never written: the campaign is made of the items."""


def key_of(url: str, request: Request) -> str:
    """Name of a collection: of the address, and of the extents that its items are listed in."""
    period = request.period
    times = None if period is None else [str(period.start), str(period.end)]
    return f"stac-{digest_json([url, _bounds(request), times])[:16]}"


def open_stac(url: str, request: Request, hosts: Names[str], folder: Path) -> Collection:
    """List the items of an address, and open their products.

    Parameters
    ----------
    request : Request
        Its area and period limit the items.
    hosts : collection of str
        That may be asked; `*` for all with public addresses.
    folder : Path
        For the items.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`: if the address is not allowed, cannot be read, or has no product that hpckit
        knows. `NoDataAvailable`: if it has none in the extents.
    """
    what = without_secrets(url)
    items = items_at(url, _bounds(request), request.period, hosts)
    path = folder / key_of(url, request) / _ITEMS
    _keep(path, {"type": "FeatureCollection", "features": items})
    private = sorted(set(hosts) - {ANY_HOST})
    permit(private)
    try:
        report = catalogue.scan([path])
    except HpckitError as error:
        raise _refused(f"{what}: {error.message}", error.hint) from error
    passing = next((one for one in report.failures if one.passes), None)
    if passing is not None:
        raise GraphError(f"{what}: {passing.reason}", hint="try again", fault="Timeout") from FileUnavailableError(
            passing.reason
        )
    scenes = _alike([scene for scene in report.scenes if scene.sensor == SENTINEL2.name])
    plain = [item for item in items if dialect_of(item) is None and is_plain(item)]
    if not scenes and plain:
        try:
            images = images_of(plain, path)
        except HpckitError as error:
            if is_temporary(error):
                raise GraphError(f"{what}: {error.message}", hint="try again", fault="Timeout") from error
            raise _refused(f"{what}: {error}", error.hint) from None
        return Collection(what, _tiles(images.scenes, private, path.parent, {"rasters": images.rasters}))
    if not scenes:
        reason = report.failures[0].reason if report.failures else "its items have no images that may be read"
        raise _refused(
            f"{what}: {reason}",
            "load_stac reads items of Sentinel-2 and of GeoTIFF files, on allowed hosts",
        )
    for failure in report.failures:
        _log.warning("%s: an item is left out: %s", what, failure.reason)
    level = {"collection": f"sentinel-2-{scenes[0].level.lower()}"}
    return Collection(what, _tiles(scenes, private, path.parent, level))


def _keep(path: Path, items: dict[str, Any]) -> None:
    """Write items, unless they are there: frozen inputs have the time of the file, and equal items are the same."""
    try:
        known = read_json(path)
    except (FileNotFoundError, DamagedFileError):
        known = None
    if known != items:
        write_json(path, items)


def _alike(scenes: Sequence[Scene]) -> list[Scene]:
    """Scenes of the processing level that most have."""
    levels = [scene.level for scene in scenes]
    most = max(sorted(set(levels)), key=levels.count, default=None)
    return [scene for scene in scenes if scene.level == most]


def _tiles(scenes: Sequence[Scene], private: Sequence[str], folder: Path, kind: Mapping[str, Any]) -> Tiles:
    """What the products come down to, as those of a campaign do.

    Parameters
    ----------
    kind : mapping
        Fields of `scenes` that say what products they are.
    """
    around = [shapely.bounds(scene.footprint) for scene in scenes if scene.footprint is not None]
    corners = np.asarray(around or [(-180.0, -80.0, 180.0, 84.0)])
    aoi = [*corners[:, :2].min(axis=0).tolist(), *corners[:, 2:].max(axis=0).tolist()]
    days = sorted(scene.sensed.date() for scene in scenes)
    campaign = Campaign.model_validate(
        {
            "name": "stac",
            "aoi": aoi,
            "period": f"{days[0]}/{days[-1]}",
            "scenes": {"paths": [_ITEMS], "hosts": list(private), **kind},
            "cube": {"bands": _bands(scenes), "extent": "granule"},
        }
    )
    campaign._path = folder / _CAMPAIGN
    by_tile, _ = tiling.group(campaign, scenes)
    return Tiles(Run(folder, "", campaign), by_tile, tiling.presence(by_tile))


def _bands(scenes: Sequence[Scene]) -> list[str]:
    """Bands of any product, each at its finest pixel size."""
    finest: dict[str, int] = {}
    for key in {key for scene in scenes for key in scene.assets}:
        name, size = split_key(key)
        finest[name] = min(size, finest.get(name, size))
    return [f"{name}@{size}m" for name, size in sorted(finest.items())]


def write_frozen(folder: Path, tiles: Tiles) -> None:
    """Write the files from which the collection is opened again, as a run of a campaign freezes them."""
    campaign = tiles.campaign.model_dump(mode="json", by_alias=True)
    write_json(folder / CAMPAIGN_JSON, {"file": _CAMPAIGN, "campaign": campaign, "contents": {}})
    scenes = {
        (scene.href, scene.id, scene.tile): scene
        for acquisitions in tiles.acquisitions.values()
        for acquisition in acquisitions
        for scene in acquisition.scenes
    }
    catalogue.write(folder / "selected.parquet", scenes.values())
    tiling.write(folder / "tiles.parquet", tiles.acquisitions)
    held.write(folder / "windows.parquet", WHOLE)


def _bounds(request: Request) -> Bounds | None:
    return None if request.area is None else request.area.bounds(_DEGREES)


def _refused(message: str, hint: str | None = None) -> GraphError:
    return GraphError(message, hint=hint, fault="ProcessParameterInvalid")
