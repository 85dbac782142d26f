"""Series of chosen zones as files: CSV, and GeoPackage with outlines."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import shapely
from starlette.requests import Request
from starlette.responses import Response

from hpckit.serve.answers import bytes_answer
from hpckit.serve.dataset import Dataset
from hpckit.serve.problems import bad_value
from hpckit.serve.seriesdata import read_series
from hpckit.serve.service import Service
from hpckit.serve.viewer.marks import read_marks

if TYPE_CHECKING:
    import pandas as pd

    from hpckit.serve.zonemap import ZoneMap

_MOST_ZONES: Final = 500
_TYPES: Final = {"csv": "text/csv", "gpkg": "application/geopackage+sqlite3"}
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


def answer(request: Request, service: Service, dataset: Dataset) -> Response:
    """Answer with a file of the zones `zone` (may be repeated), or of all that are marked (`marked`)."""
    names = request.query_params.getlist("zone")
    reduction = request.query_params.get("reduction")
    zones = dataset.edition.zones(reduction)
    if "marked" in request.query_params:
        names += [name for name in read_marks(dataset, reduction) if zones.find_row(name) is not None]
    names = list(dict.fromkeys(names))
    if not 1 <= len(names) <= _MOST_ZONES:
        raise bad_value("zone", f"name 1 to {_MOST_ZONES} zones")
    form = request.query_params.get("format", "csv")
    if form not in _TYPES:
        raise bad_value("format", "is csv or gpkg")
    rows = [zones.row(name) for name in names]
    service.note(request, "export", dataset, zones=names, format=form)
    table = _table(dataset, names, reduction)
    body = (
        table.to_csv(index=False).encode()
        if form == "csv"
        else _geopackage(zones, rows, table, read_marks(dataset, reduction))
    )
    stem = _UNSAFE.sub("_", f"{dataset.name}-{names[0]}" if len(names) == 1 else dataset.name)
    return bytes_answer(
        request, body, _TYPES[form], headers={"Content-Disposition": f'attachment; filename="{stem}.{form}"'}
    )


def _table(dataset: Dataset, names: list[str], reduction: str | None) -> pd.DataFrame:
    """One row per zone, acquisition and band."""
    import pandas as pd

    frames = []
    for name in names:
        columns = read_series(dataset, name, reduction)
        found = columns.columns(columns.records.layout.bands)
        common = {"zone": name} | {key: value for key, value in found.items() if key != "bands"}
        for band, values in found["bands"].items():
            frames.append(pd.DataFrame(common | {"band": band} | values))
    frames = [frame for frame in frames if not frame.empty]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"zone": names})


def _geopackage(
    zones: ZoneMap, rows: list[int], table: pd.DataFrame, marks: Mapping[str, Mapping[str, Any]]
) -> bytes:
    """Layer `zones` with outlines, labels and marks, and table `series`."""
    from hpckit.base.ogr import pyogrio

    ids = [zones.ids[row].as_py() for row in rows]
    fields = {
        "id": np.array(ids, dtype=object),
        "label": zones.labels[rows],
        "mark": np.array([marks.get(name, {}).get("state") for name in ids], dtype=object),
        "note": np.array([marks.get(name, {}).get("note") for name in ids], dtype=object),
    }
    with tempfile.TemporaryDirectory(prefix="hpckit-export-") as folder:
        path = Path(folder) / "export.gpkg"
        pyogrio.raw.write(
            path,
            shapely.to_wkb(zones.outlines(np.array(rows))),
            list(fields.values()),
            list(fields),
            layer="zones",
            driver="GPKG",
            geometry_type="MultiPolygon",
            promote_to_multi=True,
            crs=zones.crs,
        )
        columns = {str(name): table[name].to_numpy() for name in table}
        pyogrio.raw.write(
            path,
            None,
            [column.astype(object) if column.dtype.kind not in "fiub" else column for column in columns.values()],
            list(columns),
            layer="series",
            driver="GPKG",
            geometry_type=None,
            crs=None,
            append=True,
        )
        return path.read_bytes()
