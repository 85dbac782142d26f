"""Items of products, from catalogues of hpckit and of others (stac-geoparquet)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from hpckit.base.files import digest_json
from hpckit.catalogue.items import items_of
from hpckit.sensors.items import SCENE
from hpckit.serve.dataset import Dataset, Edition
from hpckit.serve.files import product_folders
from hpckit.serve.stac.sources import FILE, PROCESSING, Source, licence, state_of

_BATCH: Final = 500
_LARGE: Final = 8 * 2**20
"""Bytes of a file: some ten thousand items."""
_PLAIN: Final = re.compile(r"[A-Za-z0-9._-]+")
_MOST_FOLDERS: Final = 10_000
_HIDDEN: Final = (SCENE, "hpckit:stamp")
"""Properties with places of files, which are nobody's business."""


def catalogue(name: str, title: str, path: Path, roots: Mapping[str, Path]) -> Source:
    """Items of a stac-geoparquet file as one collection.

    Parameters
    ----------
    roots : mapping
        Folders whose files may be served, by name; local files elsewhere are left out.
    """
    description = "Products in a catalogue of this site."
    items = partial(_catalogued, path, name, dict(roots))
    return Source(name, name, title, description, state_of(path), items, is_large=_is_large(path))


def products(dataset: Dataset, edition: Edition) -> Source | None:
    """Products that a campaign is made from; None before its first run."""
    run = edition.run
    if run is None or not run.frozen or not run.selected.is_file():
        return None
    roots, name = product_folders(dataset), f"{dataset.name}-products"
    return Source(
        dataset.name,
        name,
        f"{dataset.title}: products",
        f"{edition.campaign.sensor.origin.mission} products that the results are made from.",
        digest_json([run.frozen, state_of(run.selected)]),
        partial(_catalogued, run.selected, name, roots),
        licence(edition),
        _is_large(run.selected),
    )


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size > _LARGE
    except OSError:
        return False


def _catalogued(path: Path, collection: str, roots: Mapping[str, Path]) -> Iterator[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    places = _Places(roots)
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH):
            for item in items_of(pa.Table.from_batches([batch])):
                yield _shown({**item, "collection": collection}, places)


def _shown(item: dict[str, Any], places: _Places) -> dict[str, Any]:
    """An item of a catalogue without what it lacks, and without places of files."""
    properties = _filled(item["properties"])
    known = properties.get(SCENE)
    if known is not None:
        told = _scene(known)
        properties.setdefault("processing:level", told.get("level"))
        properties.setdefault("processing:version", told.get("baseline"))
        item["stac_extensions"] = [*(item.get("stac_extensions") or []), PROCESSING]
    properties = {name: value for name, value in properties.items() if name not in _HIDDEN and value is not None}
    properties.setdefault("datetime", None)
    assets = {key: _filled(asset) for key, asset in (item.get("assets") or {}).items() if asset}
    links = [_filled(link) for link in item.get("links") or [] if link and link.get("rel") in ("derived_from", "via")]
    return {
        **{name: value for name, value in item.items() if value is not None},
        "type": "Feature",
        "stac_version": "1.1.0",
        "geometry": item.get("geometry"),
        "properties": properties,
        "assets": {key: asset for key, asset in ((k, places.placed(a)) for k, a in assets.items()) if asset},
        "links": [link for link in links if str(link.get("href", "")).startswith(("https://", "http://"))],
    }


def _scene(text: str) -> dict[str, Any]:
    import orjson

    try:
        found = orjson.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _filled(value: Any) -> Any:
    """A value without the empty fields that a table has for all items."""
    if isinstance(value, dict):
        return {
            name: _filled(inner) if isinstance(inner, (dict, list)) else inner
            for name, inner in value.items()
            if inner is not None
        }
    if isinstance(value, list):
        return [_filled(inner) if isinstance(inner, (dict, list)) else inner for inner in value]
    return value


@dataclass(slots=True)
class _Places:
    """Addresses for the web of local files, as far as they lie in folders that may be served."""

    roots: Mapping[str, Path]
    _known: dict[str, str | None] = field(default_factory=dict)
    """By folder, since a product has many files in few."""

    def placed(self, asset: dict[str, Any]) -> dict[str, Any] | None:
        """An asset with an address for the web; None if its file lies where no reader may look."""
        href = str(asset.get("href", ""))
        if not href.startswith("/"):
            return asset if href.startswith(("https://", "http://", "s3://")) else None
        folder, _, name = href.rpartition("/")
        if folder not in self._known:
            if len(self._known) > _MOST_FOLDERS:
                self._known.clear()
            self._known[folder] = self._address(folder)
        address = self._known[folder]
        if address is None or name in ("", ".", ".."):
            return None
        return {**asset, "href": f"{address}/{name if _PLAIN.fullmatch(name) else quote(name)}"}

    def _address(self, folder: str) -> str | None:
        path = f"{os.path.normpath(folder)}/"
        for root, served in self.roots.items():
            if not folder.startswith("/vsi") and path.startswith(f"{served}/"):
                return f"{FILE}{root}/{quote(path[len(str(served)) + 1 :])}".rstrip("/")
        return None
