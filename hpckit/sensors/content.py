"""What a product holds, as one short digest: a product that is replaced under its name is noticed by it.

It is that of the checksums which the product has of its files, so that a scan stays quick: those of `manifest.safe`,
or of a zip file's directory. Other products are sampled, of Zarr hierarchies the heads of some chunks. Neither paths
nor time stamps enter: copies have the same.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from hpckit.base.files import digest_json
from hpckit.base.reading import may_pass
from hpckit.errors import SceneError
from hpckit.inputs.files import Files, LocalFiles
from hpckit.inputs.hierarchy import Hierarchy, documents, sample
from hpckit.inputs.uri import Place
from hpckit.sensors.integrity import MANIFEST, listed_files
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.stac.files import file_of

_Listed = tuple[int, str, str]
"""Size, algorithm and digest of a file."""

_GRANULES: Final = "GRANULE"
_METADATA: Final = (".xml", ".json", ".dim", ".hdr")
_ENVI: Final = ".img"
"""Ending of rasters whose header is a file beside them."""
_PIECE: Final = 16 * 2**10
_PIECES: Final = 8
_MOST_METADATA: Final = 16 * 2**20


def content_of(scene: Scene, files: Files | None = None) -> str:
    """Digest of what a product holds; empty if its list of files is damaged.

    Parameters
    ----------
    files : Files, optional
        Those of the product, if they are listed already.

    Raises
    ------
    SceneError
        If a file cannot be read at the moment.
    """
    path = Path(scene.href)
    try:
        if any(asset.array for asset in scene.assets.values()):
            return digest_json(list(_of_arrays(scene)))[:16]
        if file_of(scene.href) is not None:
            return digest_json(list(_of_item(scene)))[:16]
        if files is not None or path.suffix.lower() == ".zip" or path.is_dir():
            found = _of_files(scene, files or LocalFiles(path))
        else:
            found = list(_samples(scene))
    except OSError as error:
        raise SceneError(f"{path.name}: cannot be read") from error
    except (SceneError, ValueError) as error:
        if may_pass(error):
            raise
        return ""
    return digest_json(found)[:16]


def stamp_files(scene: Scene) -> list[Path]:
    """Files on this machine whose state tells whether a product is what it was: few, where it lists its files."""
    item = file_of(scene.href)
    if item is None and not _is_array(scene):
        return _by_name(_stamp_files_of(Path(scene.href), scene))
    here = [asset for asset in scene.assets.values() if not asset.is_remote]
    arrays = {asset.file / asset.array for asset in here if asset.array}
    if not arrays:
        return _by_name({*([item] if item is not None else []), *(asset.file for asset in here)})
    found = {*arrays, *(document for folder in (here[0].file, *arrays) for document in documents(folder))}
    return _by_name(found | ({item} if item is not None else set()))


def _is_array(scene: Scene) -> bool:
    """Whether a product is a hierarchy of arrays: then all of its assets are arrays."""
    first = next(iter(scene.assets.values()), None)
    return first is not None and bool(first.array)


def _stamp_files_of(top: Path, scene: Scene) -> set[Path]:
    """Those of a product in a folder or zip file; its images only where it has no list of them."""
    if top.suffix.lower() == ".zip":
        return {top}
    manifest, granules = top / MANIFEST, top / _GRANULES
    if manifest.exists():
        found = {manifest, *_metadata(top, ())}
    else:
        bands = {asset.file for asset in scene.assets.values()}
        found = bands | _metadata(top, bands)
    return found | ({granules} if granules.is_dir() else set())  # another granule may be added


def state_of_folder(folder: str) -> list[os.stat_result] | None:
    """State of the files that `stamp_files` names, of a product in a folder that lists its files; None of others.

    The same as to ask each of these, in a tenth of the time: an update does it for thousands of products.

    Raises
    ------
    OSError
        If they cannot be looked at.
    """
    found: dict[str, os.stat_result] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if _is_metadata(name) or name == MANIFEST:
                if entry.is_file():
                    found[name] = entry.stat()
            elif name == _GRANULES and entry.is_dir():
                found[name] = entry.stat()
    return [found[name] for name in sorted(found)] if MANIFEST in found else None


def _of_item(scene: Scene) -> Iterator[list[object]]:
    """Files, and what their numbers mean: of an item nothing else matters."""
    for key, asset in sorted(scene.assets.items()):
        yield [key, *_sample(asset), asset.scale, asset.offset, asset.nodata]


def _sample(asset: Asset) -> list[object]:
    if asset.digest:
        return [asset.digest]
    return [asset.nbytes] if asset.is_remote else [asset.file.stat().st_size, _pieces(asset.file)]


def _of_arrays(scene: Scene) -> Iterator[list[object]]:
    """What a hierarchy tells of itself, what the numbers of its arrays mean, and heads of chunks."""
    place = next(asset.hierarchy for asset in scene.assets.values())
    yield [digest_json(dict(Hierarchy(place).attributes))]
    if not isinstance(place, Path):
        yield [place.version]  # heads of chunks would be hundreds of requests
    for key, asset in sorted(scene.assets.items()):
        meaning = [asset.crs, list(asset.transform), list(asset.shape), asset.dtype, asset.nodata]
        yield [key, asset.array, *meaning, asset.scale, asset.offset, *_heads(place, asset.array)]


def _heads(place: Place, array: str) -> list[object]:
    """Checksums of the heads of some chunks, of a hierarchy on this machine."""
    return [sample(place, array)] if isinstance(place, Path) else []


def _of_files(scene: Scene, files: Files) -> list[list[object]]:
    if MANIFEST in files and (listed := listed_files(scene.id, files.read(MANIFEST))):
        own = _without_other_granules(scene, files, listed)
        return [[name, algorithm.upper(), text.lower()] for name, (_, algorithm, text) in sorted(own.items())]
    return files.checksums() or list(_samples(scene))


def _without_other_granules(scene: Scene, files: Files, listed: dict[str, _Listed]) -> dict[str, _Listed]:
    """Files of a product without those of granules beside the scene's own, which have scenes of their own."""
    own = {_granule_of(files.name_of(asset.uri)) for asset in scene.assets.values()} - {""}
    if not any(_granule_of(name) in own for name in listed):
        return listed
    return {name: what for name, what in listed.items() if _granule_of(name) in (*own, "")}


def _granule_of(name: str) -> str:
    """Folder of the granule that a file is of; empty for one of the whole product."""
    top, _, rest = name.partition("/")
    folder, is_within, _ = rest.partition("/")
    return folder if top == _GRANULES and is_within else ""


def _samples(scene: Scene) -> Iterator[list[object]]:
    """Size and some pieces of each file of a band, and the metadata."""
    bands = {asset.file for asset in scene.assets.values()}
    for path in _by_name(bands):
        if path.exists():  # else the product is incomplete
            yield [path.name, path.stat().st_size, _pieces(path)]
    for path in _by_name(_metadata(Path(scene.href), bands)):
        if path.stat().st_size <= _MOST_METADATA:
            yield [path.name, path.stat().st_size, zlib.crc32(path.read_bytes())]


def _metadata(top: Path, bands: Iterable[Path]) -> set[Path]:
    """Metadata of a product: in its folder, or the headers of its rasters. Statistics that GDAL leaves are none."""
    found = set(top.iterdir()) if top.is_dir() else {top}
    found |= {band.with_suffix(".hdr") for band in bands if band.suffix.lower() == _ENVI}
    return {path for path in found if _is_metadata(path.name) and path.is_file()}


def _is_metadata(name: str) -> bool:
    return name.lower().endswith(_METADATA) and not name.endswith(".aux.xml")


def _pieces(path: Path) -> int:
    """Checksum of pieces all over a file: of the whole, if it is small."""
    size, checksum = path.stat().st_size, 0
    with path.open("rb") as file:
        for number in range(_PIECES):
            file.seek(max(0, size - _PIECE) * number // (_PIECES - 1))
            checksum = zlib.crc32(file.read(_PIECE), checksum)
    return checksum


def _by_name(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: (path.name, str(path)))
