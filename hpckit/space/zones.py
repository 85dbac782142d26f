"""Zone layers: polygons with identifiers, from any format and CRS that OGR reads, and from GeoParquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.base.card import card
from hpckit.base.files import atomic_path, digest
from hpckit.base.quantities import format_count
from hpckit.base.reading import WatchedFile, parsed, read_table
from hpckit.errors import VectorError, ZoneError
from hpckit.space.attributes import NO_ATTRIBUTES, Attributes, Names, Wanted, describe_notes, read_attributes
from hpckit.space.buffer import buffered
from hpckit.space.vector.features import Features
from hpckit.space.vector.identifiers import read_identifiers
from hpckit.space.vector.layers import read_features
from hpckit.space.vector.shapes import read_shapes

Invalid = Literal["drop", "refuse"]
"""What becomes of features that are no usable polygons."""


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
    """Zones whose geometry was invalid and was repaired."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Features that were left out, and why."""
    dropped_fids: tuple[int, ...] = ()
    """Their feature numbers in the file."""
    vanished: tuple[str, ...] = ()
    """Zones of which the buffer left nothing; they are left out, too."""
    attributes: Attributes = NO_ATTRIBUTES
    """What the layer says of each zone; no part of the digest, since no pixel depends on it."""

    def __repr__(self) -> str:
        """One line, however many zones there are."""
        first = f", {self.ids[0]!r} to {self.ids[-1]!r}" if self.ids else ""
        return f"<ZoneLayer: {format_count(len(self), 'zone')}{first}, {pyproj.CRS(self.crs).name}>"

    def _repr_html_(self) -> str:
        rows = [("zones", format_count(len(self), "zone")), ("CRS", pyproj.CRS(self.crs).name)]
        if self.ids:
            bounds = ", ".join(f"{number:g}" for number in shapely.total_bounds(self.geometries))
            rows += [("first, last", f"{self.ids[0]}, {self.ids[-1]}"), ("bounds", bounds)]
        rows += [("repaired", f"{len(self.repaired):,}")] if self.repaired else []
        rows += [("left out", left_out(self))] if self.dropped else []
        rows += [("vanished by the buffer", f"{len(self.vanished):,}")] if self.vanished else []
        rows += [("attributes", ", ".join(self.attributes.columns))] if self.attributes else []
        return card("Zone layer", rows)

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


def read_zones(
    path: Path,
    id_field: str,
    layer: str | None = None,
    *,
    crs: str | None = None,
    encoding: str | None = None,
    invalid: Invalid = "drop",
    buffer_m: float = 0.0,
    attributes: Wanted = (),
    taken: Names = Names(),  # noqa: B008
) -> ZoneLayer:
    """Read a zone layer.

    Invalid geometries are repaired: a zone is what its polygons cover together. What is no polygon with an area, or
    is damaged beyond repair, is left out. Both are listed in the result.

    Parameters
    ----------
    layer : str, optional
        Needed where the file has several.
    crs : str, optional
        CRS of the layer, where the file has none or a wrong one.
    encoding : str, optional
        Encoding of text, where the file says none or a wrong one.
    invalid : {"drop", "refuse"}
        Whether features without a usable polygon are left out, or are an error.
    buffer_m : float
        Metres by which zones are widened, or narrowed if negative. Zones of which nothing is left are left out.
    attributes : "all", sequence of str, or mapping
        Fields that are read beside the identifier; a mapping gives them other names.
    taken : Names
        Names that no attribute may have.

    Raises
    ------
    ZoneError
        If the file or layer cannot be read, has no CRS or no polygons, or the identifiers are missing,
        empty or not unique.
    """
    if not path.exists():
        raise ZoneError(f"{path}: no such zone layer")
    try:
        features = read_features(path, layer, id_field, crs=crs)
        ids = read_identifiers(features, id_field, encoding)
        known = read_attributes(features, attributes, id_field, taken, encoding) if attributes else NO_ATTRIBUTES
    except VectorError as error:
        raise ZoneError(error.message, hint=error.hint) from error.__cause__
    shapes = read_shapes(features.wkb)
    reasons = dict(sorted(shapes.reasons.items()))
    _require_polygons(features, ids, reasons, invalid)
    sound = np.array([row for row in range(len(ids)) if row not in reasons], dtype=np.intp)
    geometries = buffered(shapes.geometries[sound], features.crs, buffer_m)
    gone = shapely.is_empty(geometries)
    if gone.all():
        raise ZoneError(
            f"{features.what}: a buffer of {buffer_m:g} m leaves nothing of any zone", hint="write a smaller `buffer`"
        )
    kept = sound[~gone].tolist()
    return ZoneLayer(
        tuple(ids[row] for row in kept),
        geometries[~gone],
        features.crs.to_wkt(),
        tuple(ids[row] for row in np.flatnonzero(shapes.repaired).tolist()),
        tuple((ids[row], reason) for row, reason in reasons.items()),
        tuple(features.fids[list(reasons)].tolist()),
        tuple(ids[row] for row in sound[gone].tolist()),
        known.kept(kept) if known else known,
    )


def _require_polygons(features: Features, ids: Sequence[str], reasons: Mapping[int, str], invalid: Invalid) -> None:
    if not reasons or (invalid == "drop" and len(reasons) < len(ids)):
        return
    row, reason = next(iter(reasons.items()))
    first = f"the first is {ids[row]!r} (fid {features.fids[row]}): {reason}"
    if len(reasons) == len(ids):
        raise ZoneError(
            f"{features.what}: none of its {format_count(len(ids), 'feature')} is a polygon; {first}",
            hint="zones must be polygons",
        )
    raise ZoneError(
        f"{features.what}: {format_count(len(reasons), 'feature')} without a usable polygon; {first}",
        hint="repair them, or leave them out with `invalid: drop`",
    )


def left_out(layer: ZoneLayer, shown: int = 3) -> str:
    """Which features were left out, and why: one sentence."""
    fids = layer.dropped_fids or (None,) * len(layer.dropped)
    names = [
        f"{name!r}{f' (fid {fid})' if fid is not None else ''}: {reason}"
        for (name, reason), fid in zip(layer.dropped[:shown], fids, strict=False)
    ]
    more = "; …" if len(layer.dropped) > shown else ""
    count = format_count(len(layer.dropped), "zone")
    return f"{count} left out for want of a usable polygon: {'; '.join(names)}{more}"


def vanished(layer: ZoneLayer, buffer_m: float, shown: int = 3) -> str:
    """Which zones the buffer left nothing of: one sentence."""
    names = ", ".join(map(repr, layer.vanished[:shown])) + (", …" if len(layer.vanished) > shown else "")
    count = format_count(len(layer.vanished), "zone")
    return f"{count} left out of which a buffer of {buffer_m:g} m leaves nothing: {names}"


def findings(layer: ZoneLayer, buffer_m: float) -> list[str]:
    """What of a file is not in the layer, and attributes that have another name: a sentence for each kind."""
    found = [left_out(layer)] if layer.dropped else []
    found += [vanished(layer, buffer_m)] if layer.vanished else []
    return found + ([describe_notes(layer.attributes.notes)] if layer.attributes.notes else [])


def write_zones(path: Path, zones: ZoneLayer) -> None:
    """Freeze a zone layer in a Parquet file (columns id, WKB geometry and attributes), atomically."""
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    notes = {
        "crs": zones.crs,
        "repaired": zones.repaired,
        "dropped": zones.dropped,
        "dropped_fids": zones.dropped_fids,
    }
    notes |= {"vanished": zones.vanished} if zones.vanished else {}
    notes |= {"attributes": zones.attributes.notes} if zones.attributes.notes else {}
    table = pa.table(
        {
            "id": pa.array(zones.ids, pa.string()),
            "geometry": pa.array(shapely.to_wkb(zones.geometries), pa.binary()),
            **zones.attributes.frozen(),
        }
    ).replace_schema_metadata({"hpckit": json.dumps(notes)})
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)


def load_zones(path: Path) -> ZoneLayer:
    """Read a frozen zone layer.

    Raises
    ------
    ZoneError
        If it is missing or damaged.
    """
    damaged = ZoneError(f"{path}: the frozen zone layer is damaged", hint="delete it; `hpckit run` makes it")
    try:
        return parsed(path, _frozen, lambda _: damaged)
    except FileNotFoundError:
        raise ZoneError(f"{path}: no frozen zone layer", hint="`hpckit run` makes it") from None


def _frozen(file: WatchedFile) -> ZoneLayer:
    import json

    table = read_table(file)
    notes = json.loads(table.schema.metadata[b"hpckit"])
    geometries = np.asarray(shapely.from_wkb(table["geometry"].to_pylist()))
    ids = tuple(table["id"].to_pylist())
    if not all(isinstance(name, str) for name in ids) or not np.all(shapely.is_geometry(geometries)):
        raise TypeError("no zones")
    pyproj.CRS(notes["crs"])
    dropped = tuple((str(name), str(reason)) for name, reason in notes["dropped"])
    repaired, fids = tuple(map(str, notes["repaired"])), tuple(map(int, notes.get("dropped_fids", ())))
    attributes = Attributes.of_frozen(table, notes.get("attributes", ()))
    gone = tuple(map(str, notes.get("vanished", ())))
    return ZoneLayer(ids, geometries, str(notes["crs"]), repaired, dropped, fids, gone, attributes)
