"""What stands over all tiles of a composite: the STAC collection, and mosaics of each period.

Made from the existing items; a mosaic is made again when its items changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import digest_json, write_json
from hpckit.base.reading import read_json
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.composite import Composite, Mosaic
from hpckit.cubes.manifest import Manifest
from hpckit.errors import DamagedFileError
from hpckit.reduce.composites import checksums, stac
from hpckit.reduce.composites.geotiff import in_order
from hpckit.reduce.composites.mosaic import write_mosaic, write_vrts
from hpckit.reduce.composites.products import Layer, of_files
from hpckit.reduce.composites.units import all_layers, files_path, zarr_path

_VERSION: Final = 1
"""Grows when the same files give other mosaics."""
_STAMP: Final = "mtime"
_COLLECTION: Final = "collection.json"

Items = Sequence[tuple[Path, Mapping[str, Any]]]


def publish(campaign: Campaign) -> list[Path]:
    """Write collections and mosaics of all composites of a campaign; return the collections.

    Composites without any finished tile are left out.
    """
    written = []
    for composite in campaign.composites:
        Manifest.load(zarr_path(campaign, composite)).compact()
        folder = files_path(campaign, composite)
        items = stac.read_items(folder)
        if items:
            list(_mosaics(campaign, composite, folder, items))
            path = folder / _COLLECTION
            write_json(path, stac.collection(folder, composite, items, campaign.sensor.origin))
            written.append(path)
    return written


def is_published(campaign: Campaign) -> bool:
    """Whether collections and mosaics are those of the existing items."""
    for composite in campaign.composites:
        folder = files_path(campaign, composite)
        items = stac.read_items(folder)
        if not items:
            continue
        if not (_is_collected(campaign, composite, folder, items) and _are_joined(composite, folder, items)):
            return False
    return True


def _is_collected(campaign: Campaign, composite: Composite, folder: Path, items: Items) -> bool:
    try:
        known = read_json(folder / _COLLECTION)
    except (FileNotFoundError, DamagedFileError):
        return False
    wanted = stac.collection(folder, composite, items, campaign.sensor.origin)
    return digest_json(known) == digest_json(wanted)


def _are_joined(composite: Composite, folder: Path, items: Items) -> bool:
    """Whether the mosaics of all periods are there, and made from these items."""
    return composite.outputs.mosaic == "none" or all(
        _is_joined(mosaic_mark(folder, period), mosaic_inputs(composite, mine))
        for period, mine in by_period(items).items()
    )


def _is_joined(mark: Path, made_from: str) -> bool:
    known = read_mark(mark)
    return known.get("made_from") == made_from and _are_there(mark, known["files"])


def _mosaics(campaign: Campaign, composite: Composite, folder: Path, items: Items) -> Iterator[Path]:
    wanted = composite.outputs.mosaic
    if wanted == "none":
        return
    files = {key: in_order(layers) for key, layers in of_files(all_layers(campaign, composite)).items()}
    for period, mine in by_period(items).items():
        mark, made_from = mosaic_mark(folder, period), mosaic_inputs(composite, mine)
        if _is_joined(mark, made_from):
            continue
        written: list[Path] = []
        for key, layers in files.items():
            written += _mosaic(composite, folder / "mosaic", f"{composite.name}_{period}_{key}", key, layers, mine)
        yield from written
        write_json(mark, {"made_from": made_from, "files": {path.name: _facts(path) for path in written}})


def _facts(path: Path) -> dict[str, Any]:
    return {**checksums.facts(path), _STAMP: path.stat().st_mtime_ns}


def _are_there(mark: Path, files: Mapping[str, Any]) -> bool:
    """Whether mosaics are those that were written: by content where they have another time stamp."""
    for name, wanted in files.items():
        path = mark.parent / name
        if not path.exists():
            return False
        known = wanted.get(_STAMP) == path.stat().st_mtime_ns and wanted.get(checksums.SIZE) == path.stat().st_size
        if not known and checksums.damage(path, wanted) is not None:
            return False
    return True


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
        content = read_json(path)
        return {"made_from": str(content["made_from"]), "files": {n: dict(f) for n, f in content["files"].items()}}
    except (FileNotFoundError, DamagedFileError, ValueError, KeyError, TypeError, AttributeError):
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
