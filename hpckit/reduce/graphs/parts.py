"""Results that are no rasters, in parts: `<name>.zarr/<output>/parts/000012.npy`, geometries of a group; or JSON."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.files import digest
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.cubes.objects import Objects, get
from hpckit.errors import DamagedFileError
from hpckit.processgraph.cube import Cube
from hpckit.processgraph.process import Asked, Value
from hpckit.space.box import Box

_AGAIN: Final = "`hpckit verify` marks it, and the next run computes it again"


@dataclass(frozen=True)
class PartResult:
    """A result in parts.

    Parameters
    ----------
    objects : Objects
        Of the hierarchy.
    key : str
        Its folder.
    type : Cube or JSON
        The result without geometries; any JSON for one that is no vector cube, which has one part.
    groups : sequence of sequence of int
        Geometries of each part.
    """

    objects: Objects
    key: str
    type: Value
    groups: Sequence[Sequence[int]]
    _known: dict[int, Any] = field(default_factory=dict)

    def part_key(self, part: int) -> str:
        """Key of a part."""
        return f"{self.key}/parts/{part:06d}.{'npy' if self._is_numbers else 'json'}"

    @property
    def _is_numbers(self) -> bool:
        return isinstance(self.type, Cube) and self.type.values.dtype.kind in "biuf"

    def write(self, part: int, found: Value, inputs: str) -> ShardRecord:
        """Write a part.

        Parameters
        ----------
        found : Cube or JSON
            The result for its geometries.
        inputs : str
            Digest of what it was made from.
        """
        data, key = self._encoded(found), self.part_key(part)
        self.objects.put(key, data)
        return ShardRecord(key, len(data), digest(data), (inputs,), mtime=self.objects.status(key).st_mtime_ns)

    def _encoded(self, found: Value) -> bytes:
        if self._is_numbers:
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(found.values), allow_pickle=False)
            return buffer.getvalue()
        return json.dumps(_plain(found.values.tolist() if isinstance(found, Cube) else found)).encode()

    def read(self, asked: Asked, manifest: Manifest) -> Value:
        """Geometries, or all of the result.

        Raises
        ------
        DamagedFileError
            If a part is gone, or is not the one that was written.
        """
        if not isinstance(self.type, Cube):
            return self._part(0, manifest)
        if self.type.geometries is None:
            return self.type.with_values(self._part(0, manifest))
        wanted = self._wanted(asked)
        axis = next(place for place, dim in enumerate(self.type.dims) if dim.kind == "geometry")
        shape = list(self.type.values.shape)
        shape[axis] = len(wanted)
        values = np.empty(shape, self.type.values.dtype)
        parts, places = self._places[:, np.asarray(wanted, np.int64)]
        into = np.moveaxis(values, axis, 0)
        for part in np.unique(parts).tolist():
            here = parts == part
            into[here] = np.moveaxis(self._part(part, manifest), axis, 0)[places[here]]
        features = asked if isinstance(asked, (range, tuple)) else range(len(wanted))
        return replace(self.type, values=values, features=features)

    @cached_property
    def _places(self) -> npt.NDArray[np.int64]:
        """Of each geometry its part, and its position in it; shape (2, geometries)."""
        found = np.zeros((2, sum(map(len, self.groups))), np.int64)
        for part, group in enumerate(self.groups):
            found[0, list(group)] = part
            found[1, list(group)] = np.arange(len(group))
        return found

    def _wanted(self, asked: Asked) -> Sequence[int]:
        if isinstance(asked, Box):
            return ()
        return range(sum(map(len, self.groups))) if asked is None else asked

    def _part(self, part: int, manifest: Manifest) -> Any:
        if part not in self._known:
            self._known[part] = self._decoded(self.part_key(part), manifest)
        return self._known[part]

    def _decoded(self, key: str, manifest: Manifest) -> Any:
        record = manifest.get(key)
        try:
            data = get(self.objects, key)
        except FileNotFoundError:
            raise DamagedFileError(f"{self.objects.path / key}: the file is gone", hint=_AGAIN) from None
        if record is None or digest(data) != record.digest:
            raise DamagedFileError(f"{self.objects.path / key}: not the file that was written", hint=_AGAIN)
        if self._is_numbers:
            return np.load(io.BytesIO(data), allow_pickle=False)
        found = json.loads(data)
        return _objects(found, self.type) if isinstance(self.type, Cube) else found


def _plain(value: Any) -> Any:
    """JSON: what is not a number in it becomes null."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _objects(found: Any, known: Cube) -> npt.NDArray[Any]:
    """Nested lists as an array of objects with one axis for each dimension."""
    shape, inner = [], found
    for _ in known.dims:
        shape.append(len(inner))
        inner = inner[0] if inner else []
    made = np.empty(shape, object)
    made[...] = np.array(found, object).reshape(shape) if made.size else made
    return made
