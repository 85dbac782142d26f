"""Which files of a Sentinel-2 product are its metadata and its images, however mirrors and tools have stored it.

The metadata say what a product is and which images it has; where these lie below its folder is looked up by their
names, since folders are renamed, nested and flattened on the way. Before December 2016 (PSD 13), a product has
several granules, and the names of files are longer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Final

from hpckit.errors import SceneError
from hpckit.inputs.files import Files
from hpckit.sensors.model import Level
from hpckit.sensors.sentinel2.bands import BANDS, L1C_RESOLUTION
from hpckit.sensors.sentinel2.metadata import Product

_MAIN: Final = re.compile(r"MTD_MSIL(1C|2A)\.xml", re.IGNORECASE)
_LONG_NAMED: Final = re.compile(r"S2[A-Z]_(?:OPER|USER)_MTD_SAFL(1C|2A)_.*\.xml", re.IGNORECASE)
_GRANULE: Final = re.compile(r"MTD_TL\.xml|S2[A-Z]_(?:OPER|USER)_MTD_L(?:1C|2A)_TL_.*\.xml", re.IGNORECASE)
_IMAGE_ENDINGS: Final = (".jp2", ".tif", ".tiff")
_L2A_IMAGE: Final = re.compile(r"_(B\d\d|B8A|SCL|AOT|WVP)_(?:L2A_TL_[^/]*_)?(\d\d)m\.(?:jp2|tiff?)$", re.IGNORECASE)
_L1C_IMAGE: Final = re.compile(r"_(B\d\d|B8A)\.(?:jp2|tiff?)$", re.IGNORECASE)
_PROBABILITY: Final = re.compile(
    r"(?:^|/)(?:MSK_(CLD|SNW)PRB|[^/]*_(CLD|SNW)|(CLD|SNW))_(\d\d)m\.jp2$", re.IGNORECASE
)
OLD_NAME: Final = re.compile(r"S2[A-Z]_(?:USER|OPER)_PRD_")


def is_top(names: Iterable[str]) -> bool:
    """Whether a folder with these entries is one that the metadata of a product lie in."""
    return any(_MAIN.fullmatch(name) or _LONG_NAMED.fullmatch(name) for name in names)


def has_granule(names: Iterable[str]) -> bool:
    """Whether a folder with these entries holds a granule, too: as a folder, or flattened."""
    return any(
        name.upper() == "GRANULE" or _GRANULE.fullmatch(name) or name.lower().endswith(_IMAGE_ENDINGS)
        for name in names
    )


def product_metadata(files: Files) -> tuple[str, Level]:
    """File that describes the product, and its level.

    Raises
    ------
    SceneError
        If there is none.
    """
    for pattern in (_MAIN, _LONG_NAMED):
        found = {match[1].upper(): name for name in files.names() if (match := pattern.fullmatch(name))}
        if "2A" in found:
            return found["2A"], "L2A"
        if "1C" in found:
            return found["1C"], "L1C"
    if OLD_NAME.match(files.name):
        raise SceneError("incomplete: no S2A_OPER_MTD_SAFL1C_….xml, the metadata of a product before December 2016")
    raise SceneError("incomplete: no MTD_MSIL1C.xml or MTD_MSIL2A.xml")


def product_name(metadata: str) -> str:
    """Name of the product that a metadata file of a long name is of; empty for other files."""
    if not _LONG_NAMED.fullmatch(metadata):
        return ""
    return metadata.rpartition(".")[0].replace("_MTD_SAF", "_PRD_MSI")


def granule_metadata(files: Files, product: Product) -> list[str]:
    """Files that describe the granules, one for each.

    Copies are passed over: of several files, those beside images that the product lists count.

    Raises
    ------
    SceneError
        If there is none, or there are more granules than the product lists.
    """
    found = [name for name in files.names() if _GRANULE.fullmatch(name.rpartition("/")[2])]
    if not found:
        raise SceneError("incomplete: no GRANULE/*/MTD_TL.xml")
    beside = [
        name for name in found if any(image.startswith(f"{folder_of(name)}/IMG_DATA/") for image in product.images)
    ]
    if len(beside) == 1 or len(found) == 1:
        return beside or found
    distinct: dict[bytes, str] = {}
    with_images = {name.partition("/IMG_DATA/")[0] for name in files.names() if "/IMG_DATA/" in name}

    def rank(name: str) -> tuple[bool, bool, int, str]:
        """Copies lie elsewhere than the images, outside of GRANULE, or deeper."""
        return folder_of(name) not in with_images, not name.startswith("GRANULE/"), len(name), name

    for name in sorted(beside or found, key=rank):
        distinct.setdefault(hashlib.sha256(files.read(name)).digest(), name)
    most = max(1, len(product.granules))
    if len(distinct) > most:
        raise SceneError(
            f"{len(distinct)} granules in one product, whose metadata list {most}",
            hint="unpack each product into a folder of its own",
        )
    return sorted(distinct.values())


def folder_of(name: str) -> str:
    """Folder of a file, relative to the product's."""
    return name.rpartition("/")[0]


class Images:
    """Image files of a granule."""

    def __init__(self, files: Files, listed: Sequence[str], folder: str, *, alone: bool) -> None:
        self._files = files
        self._folder = folder
        self._by_stem: dict[str, list[str]] = {}
        within = "" if alone or not folder else f"{folder}/"  # beside others, what lies elsewhere is of another one
        for name in files.names():
            if name.lower().endswith(_IMAGE_ENDINGS) and name.startswith(within):
                self._by_stem.setdefault(_stem(name), []).append(name)
        self._listed = listed

    def missing(self) -> tuple[str, ...]:
        """Names of those that the metadata list and that are not there, or are empty, as failed downloads are."""
        lacking = [name for name in self._listed if self._find(name) is None]
        return tuple(f"{_stem(name)}.jp2" for name in lacking)

    def assets(self, level: Level, tile: str) -> dict[str, str]:
        """Files by band and resolution: those that the metadata list, or of the tile if they list none.

        Raises
        ------
        SceneError
            If there are none.
        """
        found = [path for path in map(self._find, self._listed) if path]
        if not self._listed:
            found = [path for stem in self._by_stem if f"{tile}_" in stem and (path := self._find(stem))]
        assets = dict(filter(None, (_asset(name, level) for name in found)))
        assets |= self._probabilities()
        if not assets:
            raise SceneError("incomplete: none of its image files is there")
        return assets

    def _find(self, name: str) -> str | None:
        """Path of an image that the metadata name, where it is now."""
        paths = [path for path in self._by_stem.get(_stem(name), ()) if self._files.size(path) > 0]
        return min(
            paths, key=lambda path: (_without_ending(path) != _without_ending(name), len(path), path), default=None
        )

    def _probabilities(self) -> dict[str, str]:
        found = {}
        for name in self._files.names():
            match = _PROBABILITY.search(name)
            if match and name.startswith(f"{self._folder}/" if self._folder else "") and self._files.size(name) > 0:
                band = (match[1] or match[2] or match[3]).upper()
                if int(match[4]) in BANDS[band].resolutions_m:
                    found[f"{band}@{match[4]}m"] = name
        return found


def _stem(name: str) -> str:
    return _without_ending(name).rpartition("/")[2]


def _without_ending(name: str) -> str:
    ending = next((ending for ending in _IMAGE_ENDINGS if name.lower().endswith(ending)), "")
    return name[: len(name) - len(ending)]


def _asset(name: str, level: Level) -> tuple[str, str] | None:
    match = (_L2A_IMAGE if level == "L2A" else _L1C_IMAGE).search(name)
    if match is None:
        return None
    band = match[1].upper()
    resolution = int(match[2]) if level == "L2A" else L1C_RESOLUTION.get(band, 0)
    known = BANDS[band].resolutions_m if band in BANDS and level == "L2A" else (resolution,)
    return (f"{band}@{resolution}m", name) if resolution in known else None
