"""Rows beside the records: zones, layouts, acquisitions and observations, inside a transaction of the caller."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import shapely

from hpckit.base.files import digest_json
from hpckit.reduce.signatures.spool import AcquisitionInfo, SignatureBatch, SpoolHeader
from hpckit.sensors.registry import band_known
from hpckit.space.vector.crs import is_longitude_latitude
from hpckit.space.vector.project import to_degrees
from hpckit.space.zones import ZoneLayer
from hpckit.store.frames import RowLayout, as_utc, baseline_rank
from hpckit.store.styles import shown_band

_WGS84: Final = 4326
_JRC_REFLECTANCE: Final = 10_000.0
_NAMED: Final = ("mean", "std", "min", "max", "p25", "p50", "p75")


@dataclass(frozen=True, slots=True)
class Keys:
    """What observations of one segment share."""

    reduction: int
    layout: int
    segment: str


def copy_zones(cursor: Any, reduction: int, first: int, zones: ZoneLayer) -> None:
    """Copy a zone layer, in longitude and latitude of WGS 84."""
    shapes = shapely.set_srid(_in_degrees(zones), _WGS84)
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    hexes = shapely.to_wkb(shapes, hex=True, include_srid=True).tolist()
    writer.writerows((first + row, reduction, zones.ids[row], shape) for row, shape in enumerate(hexes))
    text.seek(0)
    cursor.copy_expert("COPY zone (id, reduction, name, geom) FROM STDIN (FORMAT csv)", text, size=1 << 20)


def change_crops(cursor: Any, reduction: str, crops: Sequence[str | None]) -> bool:
    """Make the crops of the zones of a reduction these; whether any was another."""
    query = "SELECT z.id, z.crop FROM zone z JOIN reduction p ON p.id = z.reduction WHERE p.name = %s ORDER BY z.id"
    cursor.execute(query, [reduction])
    changed = [(zone, new) for (zone, old), new in zip(cursor.fetchall(), crops, strict=True) if new != old]
    if not changed:
        return False
    ids, names = map(list, zip(*changed, strict=True))
    cursor.execute(
        "UPDATE zone z SET crop = n.crop FROM unnest(%s::integer[], %s::text[]) AS n (id, crop) WHERE z.id = n.id",
        [ids, names],
    )
    return True


def _in_degrees(zones: ZoneLayer) -> npt.NDArray[np.object_]:
    """Zones in longitude and latitude, true to their edges; empty where a zone has no place there."""
    import pyproj

    crs = pyproj.CRS(zones.crs)
    if is_longitude_latitude(crs):
        return zones.geometries
    shapes = to_degrees(zones.geometries, crs)
    bounds = shapely.bounds(shapes).reshape(-1, 4)
    shapes[~np.isfinite(bounds).all(axis=1)] = shapely.MultiPolygon()
    return shapes


def find_layout(cursor: Any, batch: SignatureBatch) -> int:
    """Id of the layout of a batch; it is made if it is new."""
    classes = [[band, codes.tolist()] for band, (codes, _) in batch.classes.items()]
    shown = shown_band(batch.bands) if batch.bands else None
    digest = digest_json([batch.bands, batch.statistics, classes])
    cursor.execute(
        "INSERT INTO layout (digest, bands, statistics, classes, shown) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING RETURNING id",
        [digest, list(batch.bands), list(batch.statistics), json.dumps(classes), shown],
    )
    row = cursor.fetchone()
    if row is None:
        cursor.execute("SELECT id FROM layout WHERE digest = %s", [digest])
        return int(cursor.fetchone()[0])
    layout = RowLayout(batch.bands, batch.statistics, {band: tuple(codes) for band, codes in classes})
    _describe(cursor, int(row[0]), layout)
    return int(row[0])


def read_layouts(cursor: Any, reduction: str) -> dict[int, RowLayout] | None:
    """Layouts that the observations of a reduction have, by id; None if there is no such reduction."""
    cursor.execute("SELECT id FROM reduction WHERE name = %s", [reduction])
    row = cursor.fetchone()
    if row is None:
        return None
    cursor.execute(
        "SELECT id, bands, statistics, classes FROM layout"
        " WHERE id IN (SELECT layout FROM observation WHERE reduction = %s) ORDER BY id",
        row,
    )
    return {
        number: RowLayout(tuple(bands), tuple(statistics), {band: tuple(codes) for band, codes in classes})
        for number, bands, statistics, classes in cursor.fetchall()
    }


def add_observation(cursor: Any, keys: Keys, header: SpoolHeader, batch: SignatureBatch) -> tuple[int, int]:
    """Ids of the acquisition of a batch, which is made if it is new, and of a new observation."""
    from psycopg2 import sql

    info = batch.acquisition
    acquisition = _find_or_insert(
        cursor,
        "acquisition",
        {"name": info.id, "level": info.level},
        {"time": as_utc(info.time), "platform": info.platform, "relative_orbit": info.relative_orbit},
    )
    values = {
        "acquisition": acquisition,
        "reduction": keys.reduction,
        "layout": keys.layout,
        "unit": batch.unit,
        "inputs": batch.inputs,
        "segment": keys.segment,
        "tile": info.tile,
        "baseline": info.baseline,
        "baseline_rank": baseline_rank(info.baseline),
        "products": list(info.products),
        "cloud_cover": info.cloud_cover,
        "footprint": _footprint(info),
        "campaign": header.campaign,
        "campaign_digest": header.campaign_digest,
        "run_id": header.run_id,
        "hpckit": header.hpckit,
    }
    insert = sql.SQL("INSERT INTO observation ({}) VALUES ({}) RETURNING id").format(
        sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join([sql.Placeholder()] * len(values))
    )
    cursor.execute(insert, list(values.values()))
    return acquisition, int(cursor.fetchone()[0])


def _find_or_insert(cursor: Any, table: str, key: dict[str, Any], rest: dict[str, Any]) -> int:
    from psycopg2 import sql

    values = {**key, **rest}
    insert = sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT DO NOTHING RETURNING id").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, values)),
        sql.SQL(", ").join([sql.Placeholder()] * len(values)),
    )
    where = sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(n), sql.Placeholder()) for n in key)
    select = sql.SQL("SELECT id FROM {} WHERE {}").format(sql.Identifier(table), where)
    # Looked for first: a refused insert would still use up a number of the sequence.
    cursor.execute(select, list(key.values()))
    row = cursor.fetchone()
    if row is None:
        cursor.execute(insert, list(values.values()))
        row = cursor.fetchone()
    if row is None:
        cursor.execute(select, list(key.values()))
        row = cursor.fetchone()
    return int(row[0])


def _describe(cursor: Any, number: int, layout: RowLayout) -> None:
    """Places of the numbers of a layout, for the views."""
    count, width = len(layout.bands), len(layout.statistics)
    for position, band in enumerate(layout.bands):
        first = layout.counts_width + position * width
        places = {name: first + k + 1 for k, name in enumerate(layout.statistics)}
        known = band_known(band)
        scale = _JRC_REFLECTANCE if known is not None and known.kind == "reflectance" else 1.0
        cursor.execute(
            "INSERT INTO layout_band VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [
                number,
                band,
                position + 1,
                position + 1,
                count + position + 1,
                *(places.get(name) for name in _NAMED),
                scale,
            ],
        )
    for band in layout.classes or {}:
        for code, place in layout.class_places(band).items():
            cursor.execute("INSERT INTO layout_class VALUES (%s, %s, %s, %s)", [number, band, code, place + 1])


def _footprint(info: AcquisitionInfo) -> str | None:
    if not info.footprint:
        return None
    shape = shapely.from_geojson(json.dumps(info.footprint))
    return str(shapely.to_wkb(shapely.set_srid(np.asarray(shape), _WGS84), hex=True, include_srid=True))
