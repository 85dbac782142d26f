"""The zones of a reduction, by identifier and by place: vector tiles, search, one zone's outline.

Half a million zones take some 150 MB: their outlines stay in the compact form of the frozen layer (WKB), and only
their boxes are unpacked.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.base.reading import WatchedFile, parsed, read_table
from hpckit.errors import ZoneError
from hpckit.space.attributes import Attributes
from hpckit.space.crops import zone_crops
from hpckit.space.vector.project import transformer

if TYPE_CHECKING:
    import pyarrow as pa
    import pyproj

    from hpckit.look.view import CampaignView
    from hpckit.runs.run import Run

_BATCH: Final = 50_000
_MERCATOR: Final = 3857
_WIDEST_SEARCH: Final = 5000
_NATURAL: Final = re.compile(r"(\d+)")


@dataclass(frozen=True)
class ZoneMap:
    """Zones of one reduction."""

    reduction: str
    ids: pa.Array
    """Identifiers, as text."""
    wkb: pa.Array
    """Outlines in the layer's CRS."""
    crs: str
    """WKT of the layer's CRS."""
    boxes: npt.NDArray[np.float64]
    """West, south, east, north in EPSG:3857; shape (zones, 4)."""
    labels: npt.NDArray[np.object_]
    """What each zone is, a crop for example; None where the layer does not say; shape (zones,)."""
    codes: npt.NDArray[np.object_] | None = None
    """The code of that, as text; shape (zones,)."""
    attributes: Mapping[str, pa.Array] = field(default_factory=dict)
    """Attributes that are shown, by name."""

    def __len__(self) -> int:
        """Number of zones."""
        return len(self.ids)

    @cached_property
    def _order(self) -> npt.NDArray[np.int64]:
        """Rows by identifier, in the order of their characters."""
        return np.argsort(np.asarray(self.ids.to_numpy(zero_copy_only=False)), kind="stable")

    @cached_property
    def _sorted(self) -> list[str]:
        return list(self.ids.take(self._order).to_pylist())

    @cached_property
    def bounds(self) -> tuple[float, float, float, float]:
        """West, south, east, north of all zones, in degrees."""
        west, south = self.boxes[:, :2].min(axis=0).tolist()
        east, north = self.boxes[:, 2:].max(axis=0).tolist()
        back = transformer(_MERCATOR, 4326)
        (left, right), (bottom, top) = back.transform([west, east], [south, north])
        return (left, bottom, right, top)

    @property
    def middle(self) -> tuple[float, float]:
        """Middle of the box of all zones, in EPSG:3857."""
        low, high = self.boxes[:, :2].min(axis=0), self.boxes[:, 2:].max(axis=0)
        east, north = ((low + high) / 2).tolist()
        return east, north

    @property
    def to_mercator(self) -> pyproj.Transformer:
        """From the layer's CRS to EPSG:3857."""
        return transformer(self.crs, _MERCATOR)

    def find_row(self, zone: str) -> int | None:
        """Row of a zone; None if there is none."""
        place = bisect_left(self._sorted, zone)
        return int(self._order[place]) if place < len(self._sorted) and self._sorted[place] == zone else None

    def row(self, zone: str) -> int:
        """Row of a zone.

        Raises
        ------
        ZoneError
            If there is none.
        """
        found = self.find_row(zone)
        if found is None:
            raise ZoneError(f"there is no zone {zone!r}")
        return found

    def geometry(self, row: int) -> shapely.Geometry:
        """Outline of a zone in the layer's CRS."""
        return shapely.from_wkb(self.wkb[row].as_py())

    def outlines(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.object_]:
        """Outlines of zones in the layer's CRS."""
        return np.asarray(shapely.from_wkb(self.wkb.take(rows).to_numpy(zero_copy_only=False)))

    def within(self, west: float, south: float, east: float, north: float) -> npt.NDArray[np.int64]:
        """Rows of the zones whose boxes touch a box in EPSG:3857."""
        boxes = self.boxes
        touching = (boxes[:, 0] <= east) & (boxes[:, 2] >= west) & (boxes[:, 1] <= north) & (boxes[:, 3] >= south)
        return np.flatnonzero(touching)

    def at(self, lon: float, lat: float) -> list[int]:
        """Rows of the zones that contain a place, smallest first."""
        x, y = transformer(4326, _MERCATOR).transform(lon, lat)
        rows = self.within(x, y, x, y)
        if not len(rows):
            return []
        here = transformer(4326, self.crs).transform(lon, lat)
        shapes = self.outlines(rows)
        inside = shapely.intersects(shapes, shapely.Point(*here))
        order = np.argsort(shapely.area(shapes[inside]), kind="stable")
        return [int(row) for row in rows[inside][order]]

    def find(self, text: str, most: int) -> list[int]:
        """Rows of the zones whose identifier begins with a text; then of those whose label contains it."""
        start = bisect_left(self._sorted, text)
        rows = []
        for place in range(start, min(len(self._sorted), start + _WIDEST_SEARCH)):
            if not self._sorted[place].startswith(text):
                break
            rows.append(int(self._order[place]))
        rows.sort(key=lambda row: (len(self.ids[row].as_py()), _natural(self.ids[row].as_py())))
        if len(rows) < most and len(text) >= 2:
            wanted = text.casefold()
            for label in [label for label in self.kinds if wanted in label.casefold()]:
                rows += np.flatnonzero(self.labels == label)[:most].tolist()
        return list(dict.fromkeys(rows))[:most]

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Number of zones by label, most frequent first."""
        counted: dict[str, int] = {}
        for label in self.labels:
            if label is not None:
                counted[label] = counted.get(label, 0) + 1
        return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))

    def area_m2(self, row: int) -> float:
        """Area of a zone on the ellipsoid, in square metres."""
        from pyproj import Geod

        return abs(Geod(ellps="WGS84").geometry_area_perimeter(self.in_degrees(row))[0])

    def in_degrees(self, row: int) -> shapely.Geometry:
        """Outline of a zone in longitude and latitude."""
        return shapely.transform(self.geometry(row), transformer(self.crs, 4326).transform, interleaved=False)


def open_zones(
    view: CampaignView,
    run: Run | None,
    reduction: str,
    crop_name: str | None = None,
    crop_code: str | None = None,
    shown: Collection[str] = (),
) -> ZoneMap:
    """Open the zones of a reduction: those that the run has frozen, or else those of the layer now.

    Parameters
    ----------
    crop_name, crop_code : str, optional
        Fields of the layer with name and code of the crop; found by their names if not given.
    shown : collection of str
        Attributes that are shown, where the reduction has them.

    Raises
    ------
    ZoneError
        If they cannot be read.
    """
    import pyarrow as pa

    frozen = None if run is None else run.zones(reduction)
    if frozen is not None and frozen.exists():
        damaged = ZoneError(f"{frozen}: the frozen zone layer is damaged", hint="delete it; `hpckit run` makes it")
        ids, wkb, crs, attributes = parsed(frozen, _frozen, lambda _: damaged)
    else:
        layer = view.zones(reduction)
        attributes = layer.attributes
        ids, wkb, crs = pa.array(layer.ids, pa.string()), pa.array(shapely.to_wkb(layer.geometries)), layer.crs
    if not len(ids):
        raise ZoneError(f"reduction {reduction!r} has no zones")
    chosen = view.reduction(reduction)
    layer_path = view.campaign.resolve(chosen.zones)
    labels, codes = zone_crops(layer_path, chosen.id, chosen.layer, ids.to_pylist(), crop_name, crop_code)
    return ZoneMap(
        reduction,
        ids,
        wkb,
        crs,
        _boxes(wkb, crs),
        np.array(labels, dtype=object),
        np.array(codes, dtype=object),
        {name: attributes.columns[name] for name in shown if name in attributes.columns},
    )


def _frozen(file: WatchedFile) -> tuple[pa.Array, pa.Array, str, Attributes]:
    import json

    table = read_table(file)
    notes = json.loads(table.schema.metadata[b"hpckit"])
    attributes = Attributes.of_frozen(table, ())
    return table["id"].combine_chunks(), table["geometry"].combine_chunks(), str(notes["crs"]), attributes


def _boxes(wkb: pa.Array, crs: str) -> npt.NDArray[np.float64]:
    """Boxes in EPSG:3857: of the corners and edge middles of the boxes in the layer's CRS."""
    forward = transformer(crs, _MERCATOR)
    found = np.empty((len(wkb), 4))
    for start in range(0, len(wkb), _BATCH):
        shapes = shapely.from_wkb(wkb.slice(start, _BATCH).to_numpy(zero_copy_only=False))
        west, south, east, north = shapely.bounds(shapes).T
        middle_x, middle_y = (west + east) / 2, (south + north) / 2
        xs = np.stack([west, middle_x, east, east, east, middle_x, west, west])
        ys = np.stack([south, south, south, middle_y, north, north, north, middle_y])
        x, y = forward.transform(xs, ys)
        found[start : start + _BATCH] = np.stack([x.min(0), y.min(0), x.max(0), y.max(0)], axis=1)
    return found


def _natural(name: str) -> list[Any]:
    return [int(part) if part.isdecimal() else part for part in _NATURAL.split(name)]
