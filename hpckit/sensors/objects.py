"""Which objects of Zarr hierarchies on servers the windows of a band are made from: metadata documents and chunks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from hpckit.inputs.chunking import Chunking, parse_chunking
from hpckit.inputs.uri import RemotePlace
from hpckit.sensors.bands import Band, BandRef, with_same_pixels
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.needs import Window
from hpckit.sensors.registry import sensor_of

Form = Literal["json", "blosc", ""]

_DOCUMENT_BYTES: Final = 2**14
_ROOT_BYTES: Final = 2**21
"""Of metadata documents, as a guess: consolidated ones of real products have one or two MB."""
_OVERHEAD: Final = 2**10
"""Of a chunk that cannot be compressed."""
_ROOT: Final = {2: (".zmetadata", ".zgroup", ".zattrs"), 3: ("zarr.json",)}
_OPTIONAL: Final = ".zattrs"
"""Document that groups and arrays of version 2 need not have."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a Zarr hierarchy on a server. Only the server knows how many bytes it has."""

    place: RemotePlace
    array: str
    """Path of its array; empty for a document of the root."""
    name: str
    """Below the array."""
    most: int
    """Bytes that it has at most; of metadata a guess."""
    form: Form
    """What shows whether it is whole: `json`, `blosc`, or nothing before it is decoded."""
    empty_with: tuple[str, ...] | None = None
    """Arrays that must lack the chunk, too, if this one is absent (none if the tuple is empty); None: it must be
    there."""
    witnesses: tuple[str, ...] = ()
    """Other arrays whose chunk of that name covers the same ground."""

    @property
    def key(self) -> str:
        """In the hierarchy."""
        return f"{self.array}/{self.name}" if self.array else self.name


def objects_of(scene: Scene, key: str, windows: Sequence[Window] | None) -> Iterator[StoredObject]:
    """Objects of the array of a band.

    Parameters
    ----------
    key : str
        `BandRef.key`.
    windows : sequence of tuple of slice, optional
        Pixels that are read; all if not given.
    """
    asset = scene.assets[key]
    grid, place = parse_chunking(asset.chunks), asset.hierarchy
    assert isinstance(place, RemotePlace)
    for name in grid.documents:
        yield StoredObject(place, asset.array, name, _DOCUMENT_BYTES, "json", () if name == _OPTIONAL else None)
    bands = sensor_of(scene).bands
    ref = BandRef.from_key(key, bands)
    alike, witnesses = _empty_with(scene, ref, bands), _on_same_ground(scene, ref, bands)
    parts = grid.every() if windows is None else {part for window in windows for part in grid.meeting(*window)}
    for part in sorted(parts):
        yield _chunk(place, asset.array, grid, part, alike, witnesses)


def objects_beside(assets: Iterable[Asset]) -> Iterator[StoredObject]:
    """Objects of arrays that are read with bands (`Scene.beside`), and the documents that list them all."""
    roots = set()
    for asset in assets:
        grid, place = parse_chunking(asset.chunks), asset.hierarchy
        assert isinstance(place, RemotePlace)
        roots.add(place)
        for part in grid.every():
            # Writers of version 3 leave out chunks that hold nothing but the fill value.
            yield _chunk(place, asset.array, grid, part, () if grid.zarr_format == 3 else None)
    for place in roots:
        for name in _ROOT[place.zarr_format]:
            yield StoredObject(place, "", name, _ROOT_BYTES, "json", () if name == _OPTIONAL else None)


def _empty_with(scene: Scene, ref: BandRef, bands: Mapping[str, Band]) -> tuple[str, ...] | None:
    """Paths of the arrays whose chunk is absent, too, where one that is absent is empty; None if each must be there.

    By the catalogue, what the reader of arrays says of open ones: writers of version 3 leave out chunks that hold
    nothing but the fill value, and no data are no data in all bands of reflectance.
    """
    grid = parse_chunking(scene.assets[ref.key].chunks)
    if grid.zarr_format != 3:
        return None
    if ref.band.kind == "probability" and grid.fill == 0:
        return ()
    others = [scene.assets[other.key] for other in with_same_pixels(scene.assets, ref, bands)]
    return tuple(asset.array for asset in others if parse_chunking(asset.chunks).chunks == grid.chunks) or None


def _on_same_ground(scene: Scene, ref: BandRef, bands: Mapping[str, Band]) -> tuple[str, ...]:
    """Paths of other arrays of reflectance whose chunk at a place covers the ground of its own."""

    def ground(key: BandRef) -> tuple[str, list[int]]:
        chunking = parse_chunking(scene.assets[key.key].chunks)
        return chunking.keys, [size * key.resolution_m for size in chunking.chunks]

    others = (BandRef.from_key(key, bands) for key in scene.assets)
    others = (other for other in others if other != ref and other.band.kind == "reflectance")
    return tuple(scene.assets[other.key].array for other in others if ground(other) == ground(ref))


def _chunk(
    place: RemotePlace,
    array: str,
    grid: Chunking,
    part: tuple[int, ...],
    alike: tuple[str, ...] | None,
    witnesses: tuple[str, ...] = (),
) -> StoredObject:
    form: Form = "blosc" if grid.is_blosc else ""
    return StoredObject(place, array, grid.key(part), grid.nbytes + _OVERHEAD, form, alike, witnesses)
