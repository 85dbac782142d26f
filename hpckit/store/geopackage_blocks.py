"""Records of many zones from a GeoPackage: GDAL reads them into Arrow, which takes an eighth of sqlite3's time."""

# ruff: noqa: S608
# Table and column names come from `quote`; values are numbers.

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hpckit.base.filelocks import gdal_without_locks
from hpckit.errors import StoreError
from hpckit.store.blocks import Origins, RecordBlock, read_origins, sorting
from hpckit.store.frames import RowLayout
from hpckit.store.geopackage_names import columns_of, quote


@dataclass(frozen=True, slots=True)
class Reading:
    """What readings of one table share."""

    path: Path
    reduction: str
    layout: RowLayout
    origins: Origins
    names: tuple[str, ...]
    """Identifiers of the zones; those of the table are numbered from 1."""
    has_locks: bool

    def block(self, zones: tuple[int, int]) -> RecordBlock:
        """Records of the zones from a first one up to another one.

        Raises
        ------
        StoreError
            If the file cannot be read.
        """
        columns = self._columns(zones)
        layout = self.layout
        count = len(columns["zone"])
        zone, origin = columns["zone"].astype(np.int64) - 1 - zones[0], self.origins.places(columns["observation"])
        order = sorting(zone, origin, self.origins)
        values = np.empty((len(layout.statistics), count, len(layout.bands)))
        valid, total = np.empty((count, len(layout.bands))), np.empty((count, len(layout.bands)))
        for position, band in enumerate(layout.bands):
            targets = (valid, total, *values)
            for target, name in zip(targets, columns_of(band, layout.statistics), strict=True):
                target[:, position] = columns[name][order]
        classes = {
            band: np.stack([columns[f"{band}_{code}"][order] for code in codes], axis=1)
            for band, codes in (layout.classes or {}).items()
        }
        return RecordBlock(
            layout,
            self.origins,
            self.names[slice(*zones)],
            zone[order],
            origin[order],
            valid,
            total,
            values,
            classes,
        )

    def _columns(self, zones: tuple[int, int]) -> dict[str, npt.NDArray[Any]]:
        import pyarrow as pa

        from hpckit.base.ogr import pyogrio

        layout, table = self.layout, f"record_{self.reduction}"
        wanted = ["zone", "observation"]
        wanted += [name for band in layout.bands for name in columns_of(band, layout.statistics)]
        wanted += [f"{band}_{code}" for band, codes in (layout.classes or {}).items() for code in codes]
        # Records lie by acquisition: in the order of their numbers each page is read once.
        within = f"zone BETWEEN {zones[0] + 1} AND {zones[1]}"
        where = f"fid IN (SELECT fid FROM {quote(table)} WHERE {within})"
        options = {"columns": wanted, "where": where, "read_geometry": False, "use_pyarrow": True}
        locking: AbstractContextManager[None] = nullcontext() if self.has_locks else gdal_without_locks(wanted=True)
        try:
            with locking, pyogrio.open_arrow(self.path, layer=table, **options) as (_, reader):
                found = reader.read_all()
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, pa.ArrowException, OSError) as error:
            raise StoreError(
                f"{self.path}: its records cannot be read: {error}", hint="look at the file and its folder"
            ) from error
        return {name: found[name].to_numpy() for name in wanted}


def origins_of(db: sqlite3.Connection, reduction: str, provenance: str) -> Origins:
    """Observations of a reduction, with the columns of their provenance."""
    query = (
        f"SELECT o.id, a.time, {provenance} FROM observation o JOIN acquisition a ON a.id = o.acquisition"
        " WHERE o.reduction IN (SELECT id FROM hpckit_reduction WHERE name = ?) ORDER BY a.time, a.id, o.id"
    )
    return read_origins(db.execute(query, [reduction]).fetchall())


def records_by_zone(db: sqlite3.Connection, reduction: str, zones: int) -> npt.NDArray[np.int64]:
    """Number of records of each zone, from the key alone."""
    counts = np.zeros(zones, np.int64)
    query = f"SELECT zone, COUNT(*) FROM {quote(f'record_{reduction}')} GROUP BY zone"
    found = np.array(db.execute(query).fetchall(), np.int64).reshape(-1, 2)
    counts[found[:, 0] - 1] = found[:, 1]
    return counts
