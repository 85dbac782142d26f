"""STAC items in files, and what they refer to: files of this machine, or on servers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from hpckit.errors import SceneError
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import is_remote

ENDINGS: Final = (".json", ".geojson")
PARQUET: Final = ".parquet"
_BETWEEN: Final = "#"
"""Between the path of a file and the id of an item in it."""
_HREF: Final = re.compile(rf"(.+?\.(?:json|geojson|parquet)){_BETWEEN}.", re.IGNORECASE | re.DOTALL)
_ZARR: Final = "zarr"
"""In the media type of an array or hierarchy; a geometry in version 3 with levels is another product."""
_ZIP: Final = re.compile(r"application/(?:x-)?zip(?:-compressed)?\b.*", re.IGNORECASE | re.DOTALL)
_IMAGE: Final = re.compile(r".*(?:tiff|jp2|zarr).*", re.IGNORECASE | re.DOTALL)
"""Media types."""
_IMAGE_NAME: Final = re.compile(r".*\.(?:tiff?|jp2|zarr)", re.IGNORECASE | re.DOTALL)
_ROOT: Final = re.compile(r".*?\.zarr(?=/|$|\?)", re.IGNORECASE)
_MOST: Final = 512 * 2**20


def href_of(path: Path, name: str) -> str:
    """`Scene.href` of an item in a file."""
    return f"{path.absolute()}{_BETWEEN}{name}"


def file_of(href: str) -> Path | None:
    """File that holds the item of a scene; None for a product that is none."""
    match = _HREF.match(href)
    return Path(match[1]) if match else None


def may_hold_items(path: Path) -> bool:
    """Whether the name of a file is that of one with items."""
    return path.name.lower().endswith((*ENDINGS, PARQUET))


def items_in(path: Path) -> Iterator[Mapping[str, Any]]:
    """Items of a file: one, or those of a collection of items.

    Raises
    ------
    SceneError
        If it is no JSON, or too large.
    OSError
        If it cannot be read.
    """
    if path.stat().st_size > _MOST:
        raise SceneError(f"{path.name}: more than {_MOST // 2**20} MiB of JSON", hint="write it as stac-geoparquet")
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise SceneError(f"{path.name} is no complete JSON") from None
    listed = content.get("features") if isinstance(content, dict) else None
    found = listed if isinstance(listed, list) else [content]
    yield from (item for item in found if isinstance(item, dict) and item.get("type") == "Feature")


def uri_of(asset: Mapping[str, Any], folder: Path) -> str | None:
    """Where the file of an asset lies: on this machine, if any of its addresses is here; else on a server.

    Parameters
    ----------
    folder : Path
        Where relative names begin.

    Returns
    -------
    str or None
        None if no address can be read. A file that should be on this machine may be missing.
    """
    alternate = asset.get("alternate")
    others = alternate.values() if isinstance(alternate, Mapping) else ()
    told = [asset, *(other for other in others if isinstance(other, Mapping))]
    hrefs = [str(one["href"]) for one in told if one.get("href")]
    here = [path for href in hrefs if (path := local_path(href, folder)) is not None]
    there = [href for href in hrefs if is_remote(href)]
    found = next((path for path in here if path.is_file()), None)
    if found is None and not there:
        found = next(iter(here), None)
    return str(found.absolute()) if found is not None else next(iter(there), None)


def hierarchy_of(item: Mapping[str, Any], folder: Path) -> Path | str | None:
    """Place of the product of EOPF Zarr that an item refers to, if its bands are arrays of one.

    Parameters
    ----------
    folder : Path
        Where relative names begin.

    Raises
    ------
    SceneError
        If its assets are of several.
    """
    assets = item.get("assets")
    found = set()
    for asset in assets.values() if isinstance(assets, Mapping) else ():
        if isinstance(asset, Mapping) and isinstance(asset.get("href"), str) and _ZARR in str(asset.get("type")):
            uri = uri_of(asset, folder)
            match = None if uri is None else _ROOT.match(uri)
            found |= {match[0]} if match else set()
    if len(found) > 1:
        raise SceneError(
            f"its assets are of several products: {' and '.join(map(without_secrets, sorted(found)[:2]))}"
        )
    place = next(iter(found), None)
    return place if place is None or is_remote(place) else Path(place)


def zip_of(item: Mapping[str, Any], folder: Path) -> str | None:
    """Zip file of the whole product that an item refers to, if it refers to no image; None if it is not so.

    Parameters
    ----------
    folder : Path
        Where relative names begin.
    """
    assets = item.get("assets")
    told = [asset for asset in assets.values() if isinstance(asset, Mapping)] if isinstance(assets, Mapping) else []
    if any(_IMAGE.fullmatch(str(one.get("type"))) or _IMAGE_NAME.fullmatch(_path_of(one)) for one in told):
        return None
    zips = (one for one in told if _ZIP.fullmatch(str(one.get("type"))) or _path_of(one).lower().endswith(".zip"))
    return next((uri for one in zips if (uri := uri_of(one, folder)) is not None), None)


def _path_of(asset: Mapping[str, Any]) -> str:
    return urlsplit(str(asset.get("href"))).path


def local_path(href: str, folder: Path) -> Path | None:
    """File that an asset names; None if it is not on this machine.

    Parameters
    ----------
    folder : Path
        Where relative names begin.
    """
    parts = urlsplit(href)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if parts.scheme or href.startswith("//"):
        return None
    return Path(os.path.normpath(folder / href))
