"""Zone layers: polygons with identifiers, from any format and CRS that OGR reads."""

from __future__ import annotations

import difflib
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.errors import ZoneError
from hpckit.files import atomic_path, digest

_POLYGONAL = {"Polygon", "MultiPolygon"}


@dataclass(frozen=True)
class ZoneLayer:
    """Polygons to reduce over."""

    ids: tuple[str, ...]
    """Identifiers as text, unique."""
    geometries: npt.NDArray[np.object_]
    """Valid MultiPolygons, two-dimensional; shape (zones,)."""
    crs: str
    """WKT of the coordinate reference system."""
    repaired: tuple[str, ...] = ()
    """Zones whose geometry was invalid and was mended."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Zones that were left out, and why."""

    def __len__(self) -> int:
        """Number of zones."""
        return len(self.ids)

    @cached_property
    def digest(self) -> str:
        """Digest of identifiers, geometries and CRS."""
        parts = [self.crs.encode(), *(name.encode() for name in self.ids), *shapely.to_wkb(self.geometries)]
        return digest(b"\0".join(parts))

    @cached_property
    def rows(self) -> dict[str, int]:
        """Row by identifier."""
        return {name: row for row, name in enumerate(self.ids)}


def read_zones(path: Path, id_field: str, layer: str | None = None) -> ZoneLayer:
    """Read a zone layer.

    Invalid geometries are mended (their polygonal part counts); empty ones are left out; both are listed
    in the result.

    Raises
    ------
    ZoneError
        If the file or layer cannot be read, has no CRS or no polygons, or the identifiers are missing,
        empty or not unique.
    """
    import pyogrio

    if not path.exists():
        raise ZoneError(f"{path}: no such zone layer")
    try:
        name = _layer(path, layer)
        info = pyogrio.read_info(path, layer=name)
        fields = list(info["fields"])
        _check_field(path, id_field, fields, info)
        columns = [] if id_field == info["fid_column"] else [id_field]
        meta, fids, wkb, values = pyogrio.raw.read(path, layer=name, columns=columns, return_fids=True, force_2d=True)
    except pyogrio.errors.DataSourceError as error:
        raise ZoneError(f"{path}: not a vector file that OGR reads") from error
    if meta["crs"] is None:
        raise ZoneError(f"{path}: the layer has no CRS", hint="write it again with one: ogr2ogr -a_srs EPSG:… OUT IN")
    ids = _ids(path, id_field, values[0] if columns else fids)
    return _clean(path, ids, np.asarray(shapely.from_wkb(wkb)), pyproj.CRS(meta["crs"]).to_wkt())


def write_zones(path: Path, zones: ZoneLayer) -> None:
    """Freeze a zone layer in a Parquet file (columns id and WKB geometry), atomically."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    notes = {"crs": zones.crs, "repaired": zones.repaired, "dropped": zones.dropped}
    table = pa.table(
        {
            "id": pa.array(zones.ids, pa.string()),
            "geometry": pa.array(shapely.to_wkb(zones.geometries), pa.binary()),
        }
    ).replace_schema_metadata({"hpckit": json.dumps(notes)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def load_zones(path: Path) -> ZoneLayer:
    """Read a frozen zone layer.

    Raises
    ------
    ZoneError
        If it is missing or damaged.
    """
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        notes = json.loads(table.schema.metadata[b"hpckit"])
        geometries = np.asarray(shapely.from_wkb(table["geometry"].to_numpy(zero_copy_only=False)))
    except FileNotFoundError:
        raise ZoneError(f"{path}: no frozen zone layer", hint="`hpckit run` makes it") from None
    except (OSError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise ZoneError(
            f"{path}: the frozen zone layer is damaged", hint="delete it; `hpckit run` makes it"
        ) from error
    dropped = tuple((name, reason) for name, reason in notes["dropped"])
    return ZoneLayer(tuple(table["id"].to_pylist()), geometries, notes["crs"], tuple(notes["repaired"]), dropped)


def _layer(path: Path, wanted: str | None) -> str:
    import pyogrio

    layers = [(str(name), kind) for name, kind in pyogrio.list_layers(path)]
    names = [name for name, _ in layers]
    if wanted is not None:
        if wanted not in names:
            raise ZoneError(f"{path}: no layer {wanted!r}; it has {', '.join(map(repr, names))}")
        return wanted
    spatial = [name for name, kind in layers if kind is not None]
    if not spatial:
        raise ZoneError(f"{path}: no layer with geometries")
    if len(spatial) > 1:
        raise ZoneError(
            f"{path}: several layers, {', '.join(map(repr, spatial))}",
            hint="say which one in the field `layer`",
        )
    return spatial[0]


def _check_field(path: Path, id_field: str, fields: list[str], info: dict[str, Any]) -> None:
    if id_field in fields or (id_field == info["fid_column"] and id_field):
        return
    close = difflib.get_close_matches(id_field, fields, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else "set `id` to one of them"
    raise ZoneError(f"{path}: no field {id_field!r}; fields are {', '.join(fields) or 'none'}", hint=hint)


def _ids(path: Path, id_field: str, values: npt.NDArray[Any]) -> tuple[str, ...]:
    if len(values) == 0:
        raise ZoneError(f"{path}: the layer is empty")
    missing = [row for row, value in enumerate(values) if value is None or value != value or str(value).strip() == ""]
    if missing:
        raise ZoneError(
            f"{path}: {len(missing)} zones have no {id_field!r} (the first is feature number {missing[0] + 1})",
            hint="give each zone an identifier, or choose another field for `id`",
        )
    ids = tuple(_text(value) for value in values)
    twice = [name for name, count in Counter(ids).items() if count > 1]
    if twice:
        shown = ", ".join(map(repr, twice[:5])) + (", …" if len(twice) > 5 else "")
        raise ZoneError(
            f"{path}: {len(twice)} values of {id_field!r} occur more than once: {shown}",
            hint="dissolve the parts of a zone into one multipolygon, or choose another field for `id`",
        )
    return ids


def _text(value: Any) -> str:
    # Integers arrive as floats where the column has nulls or is a wide numeric of a shapefile.
    return str(int(value)) if isinstance(value, (float, np.floating)) and float(value).is_integer() else str(value)


def _clean(path: Path, ids: tuple[str, ...], shapes: npt.NDArray[np.object_], crs: str) -> ZoneLayer:
    valid = np.asarray(shapely.is_valid(shapes))
    kept: list[tuple[str, shapely.Geometry]] = []
    repaired: list[str] = []
    dropped: list[tuple[str, str]] = []
    for name, shape, sound in zip(ids, shapes, valid.tolist(), strict=True):
        if shape is None or shape.is_empty:
            dropped.append((name, "no geometry"))
            continue
        polygons = _polygons(shape if sound else shapely.make_valid(shape))
        if not polygons:
            dropped.append((name, f"{shape.geom_type} without area"))
            continue
        whole = shapely.MultiPolygon(polygons)
        if not (sound and (len(polygons) == 1 or whole.is_valid)):
            repaired.append(name)
            whole = _united(whole)
        kept.append((name, whole))
    if not kept:
        raise ZoneError(f"{path}: none of its {len(ids)} features is a polygon", hint="zones must be polygons")
    geometries = np.empty(len(kept), dtype=object)
    geometries[:] = [shape for _, shape in kept]
    return ZoneLayer(tuple(name for name, _ in kept), geometries, crs, tuple(repaired), tuple(dropped))


def _united(shape: shapely.Geometry) -> shapely.Geometry:
    """Parts of a collection may overlap, or share a border; those of a zone may not."""
    if shape.is_valid:
        return shape
    return shapely.MultiPolygon(_polygons(shapely.union_all(shapely.get_parts(shape))))


def _polygons(shape: shapely.Geometry) -> list[shapely.Geometry]:
    return [
        part
        for whole in shapely.get_parts(shape)
        for part in shapely.get_parts(whole)
        if part.geom_type in _POLYGONAL and part.area > 0
    ]
