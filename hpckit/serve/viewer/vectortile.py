"""Mapbox Vector Tiles (version 2.1) of polygons: all commands of a tile are encoded at once in numpy.

Source of the format: Mapbox Vector Tile Specification 2.1 (CC BY 3.0), sections 4.3 (geometry) and 4.4 (attributes).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.look.mercator import Bounds

EXTENT: Final = 4096
"""Units along the edge of a tile."""
BUFFER: Final = 64
"""Units beyond the edge, so that outlines are not drawn along it."""
_MOVE_TO, _LINE_TO, _CLOSE = 1, 2, 7
_POLYGON: Final = 3

_Bytes = npt.NDArray[np.uint8]


def buffered(box: Bounds) -> Bounds:
    """A tile's box with the buffer around it."""
    margin = (box[2] - box[0]) * BUFFER / EXTENT
    return (box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin)


def encode_polygons(
    name: str, box: Bounds, shapes: npt.NDArray[np.object_], attributes: Mapping[str, Sequence[Any]]
) -> bytes:
    """Encode polygons as a tile with one layer.

    Parameters
    ----------
    name : str
        Name of the layer.
    box : tuple of float
        West, south, east, north of the tile, in the CRS of the shapes.
    shapes : ndarray of Polygon or MultiPolygon, shape (features,)
        What lies beyond the buffer is cut off; shapes that become too small to see are left out.
    attributes : mapping of str to sequence
        Values by name, one for each feature: str, int, float or None.

    Returns
    -------
    bytes
        The tile; empty where no shape is left.
    """
    edge = box[2] - box[0]
    cut = shapely.clip_by_rect(shapes, *buffered(box))
    parts, owner = shapely.get_parts(cut, return_index=True)
    areal = (shapely.get_type_id(parts) == _POLYGON) & (shapely.area(parts) > (edge / EXTENT) ** 2)
    parts, owner = shapely.orient_polygons(parts[areal], exterior_cw=True), owner[areal]
    rings, part = shapely.get_rings(parts, return_index=True)
    coordinates, ring = shapely.get_coordinates(rings, return_index=True)
    if not len(coordinates):
        return b""
    units = np.rint((coordinates - (box[0], box[3])) / edge * (EXTENT, -EXTENT)).astype(np.int32)
    features, geometry = _geometries(units, ring, owner[part])
    return _tile(name, features, geometry, attributes)


def _geometries(
    units: npt.NDArray[np.int32], ring: npt.NDArray[np.int64], feature: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], list[bytes]]:
    """Features that have a geometry, and its encoded commands.

    Parameters
    ----------
    units : ndarray of int32, shape (points, 2)
        Points in units of the tile; the last one of a ring repeats the first one.
    ring : ndarray of int64, shape (points,)
        Number of each point's ring.
    feature : ndarray of int64, shape (rings,)
        Number of each ring's feature.
    """
    keep = np.ones(len(units), np.bool_)
    # Points that fall together after rounding, and the last point of a ring, which ClosePath stands for.
    keep[1:] = (units[1:] != units[:-1]).any(axis=1) | (ring[1:] != ring[:-1])
    keep[np.append(ring[1:] != ring[:-1], True)] = False
    units, ring = units[keep], ring[keep]
    count = np.bincount(ring, minlength=len(feature))
    whole = count >= 3
    units, ring, count = units[whole[ring]], ring[whole[ring]], count[whole]
    feature = feature[whole]
    if not len(units):
        return np.empty(0, np.int64), []
    first = np.concatenate([[0], np.cumsum(count)[:-1]])
    # A feature's cursor starts at 0, 0 and stays where the last ring ended.
    before = np.vstack([[0, 0], units[:-1]])
    begins = np.concatenate([[True], feature[1:] != feature[:-1]])
    before[first[begins]] = 0
    steps = units - before
    zigzag = ((steps << 1) ^ (steps >> 31)).astype(np.uint32)
    # Of each ring: MoveTo(1), x, y, LineTo(n - 1), x, y, …, ClosePath.
    words = 2 * count + 3
    start = np.concatenate([[0], np.cumsum(words)[:-1]])
    commands = np.zeros(int(words.sum()), np.uint32)
    within = np.arange(len(units)) - np.repeat(first, count)
    place = np.repeat(start, count) + 1 + 2 * within + (within > 0)
    commands[place], commands[place + 1] = zigzag[:, 0], zigzag[:, 1]
    commands[start] = _MOVE_TO | 1 << 3
    commands[start + 3] = _LINE_TO | (count - 1).astype(np.uint32) << 3
    commands[start + words - 1] = _CLOSE | 1 << 3
    encoded, ends = _varints(commands)
    borders = np.append(start[begins], len(commands))
    offsets = np.concatenate([[0], ends])[borders]
    data = encoded.tobytes()
    return feature[begins], [data[a:b] for a, b in itertools.pairwise(offsets)]


def _varints(values: npt.NDArray[np.uint32]) -> tuple[_Bytes, npt.NDArray[np.int64]]:
    """Values in seven bits a byte, lowest first, and where each one ends."""
    sizes: npt.NDArray[np.int64] = np.ones(len(values), np.int64)
    sizes += np.sum([values >= np.uint32(1 << 7 * k) for k in range(1, 5)], axis=0, dtype=np.int64)
    ends = np.cumsum(sizes)
    encoded = np.zeros(int(ends[-1]), np.uint8)
    starts = ends - sizes
    for k in range(5):
        has = sizes > k
        bits = (values[has] >> np.uint32(7 * k)) & np.uint32(0x7F)
        encoded[starts[has] + k] = bits | np.where(sizes[has] > k + 1, 0x80, 0)
    return encoded, ends


def _tile(
    name: str, features: npt.NDArray[np.int64], geometry: Sequence[bytes], attributes: Mapping[str, Sequence[Any]]
) -> bytes:
    keys = list(attributes)
    values: dict[Any, int] = {}
    body = [_field(15, 0, _varint(2)), _text(1, name)]
    for number, commands in zip(features.tolist(), geometry, strict=True):
        tags = bytearray()
        for key, column in enumerate(attributes.values()):
            value = column[number]
            if value is not None:
                tags += _varint(key) + _varint(values.setdefault((type(value), value), len(values)))
        feature = _field(1, 0, _varint(number + 1)) + _bytes(2, bytes(tags)) + _field(3, 0, _varint(_POLYGON))
        body.append(_bytes(2, feature + _bytes(4, commands)))
    body += [_text(3, key) for key in keys]
    body += [_bytes(4, _value(value)) for _, value in values]
    body.append(_field(5, 0, _varint(EXTENT)))
    return _bytes(3, b"".join(body)) if geometry else b""


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return _text(1, value)
    if isinstance(value, bool):
        return _field(7, 0, _varint(int(value)))
    if isinstance(value, int):
        return _field(6, 0, _varint((value << 1) ^ (value >> 63)))
    return _field(3, 1, np.float64(value).tobytes())


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _field(number: int, kind: int, data: bytes) -> bytes:
    return _varint(number << 3 | kind) + data


def _bytes(number: int, data: bytes) -> bytes:
    return _field(number, 2, _varint(len(data)) + data)


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode())
