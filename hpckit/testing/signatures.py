"""Zone layers and signatures made to measure, for tests of spool and stores."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely

from hpckit.reduce.signatures.spool import (
    AcquisitionInfo,
    Segment,
    SignatureBatch,
    SpoolHeader,
    read_segment,
    write_segment,
)
from hpckit.space.zones import ZoneLayer

BANDS = ("B04", "B08@60m", "NDVI")
STATISTICS = ("mean", "std", "min", "max", "p25", "p50", "p75")
REDUCTION = "parcels"
INJECTIONS = (
    "'); DROP TABLE zone; --",
    '"; DROP TABLE record; --',
    "a'b\"c",
    "%s %(x)s",
    "naïve – ü",
    "\\",
    "a\nb,c",
    " ",
)


def zone_layer(ids: Sequence[str] = INJECTIONS, epsg: int = 32631, size: float = 100) -> ZoneLayer:
    """Squares in a row."""
    boxes = [
        [shapely.box(400_000 + 2 * size * k, 5e6, 400_000 + 2 * size * k + size, 5e6 + size)] for k in range(len(ids))
    ]
    return ZoneLayer(tuple(ids), shapely.multipolygons(boxes), pyproj.CRS(epsg).to_wkt())


def batch(
    number: int = 0, zones: Sequence[int] = range(8), *, seed: int = 0, empty: Sequence[int] = (), **changes: Any
) -> SignatureBatch:
    """Random signatures of an acquisition; those at the positions `empty` have no valid pixel."""
    bands, statistics = changes.pop("bands", BANDS), changes.pop("statistics", STATISTICS)
    generator = np.random.default_rng((number, seed))
    count = len(zones)
    values = generator.normal(0.3, 0.1, (count, len(bands), len(statistics))).astype(np.float32)
    total = generator.integers(50, 100, (count, len(bands))).astype(np.float32)
    valid = np.floor(total * 0.75)
    values[list(empty)], valid[list(empty)] = np.nan, 0
    described: dict[str, Any] = {
        "id": f"GS2A_{number:05d}",
        "time": datetime(2024, 3, 1, 10, 30, 31, 24000, tzinfo=UTC) + timedelta(days=5 * number),
        "platform": "S2A",
        "level": "L2A",
        "tile": "31UFU",
        "baseline": "05.10",
        "relative_orbit": 51,
        "products": (f"S2A_MSIL2A_{number}",),
        "cloud_cover": 12.5,
        "footprint": {"type": "Polygon", "coordinates": [[[2, 45], [3, 45], [3, 46], [2, 46], [2, 45]]]},
    } | changes
    counts = generator.integers(0, 30, (count, 3)).astype(np.float32)
    classes = {"SCL": (np.array([4, 5, 9], dtype=np.uint8), counts)}
    info = AcquisitionInfo(**described)
    return SignatureBatch(
        f"signatures/{REDUCTION}/{number}",
        info,
        np.array(zones, np.int32),
        bands,
        statistics,
        valid,
        total,
        values,
        classes,
        f"inputs {number} {seed} {sorted(changes.items(), key=str)} {list(zones)} {bands}",
    )


def header(layer: ZoneLayer, run_id: str = "run-1", campaign: str = "odd'na\"me; --") -> SpoolHeader:
    """Header of segments of a zone layer."""
    return SpoolHeader(campaign, "c" * 32, run_id, REDUCTION, layer.digest, "0.1")


def segment(folder: Path, batches: Sequence[SignatureBatch], layer: ZoneLayer, run_id: str = "run-1") -> Segment:
    """A segment that went through a file."""
    path = folder / f"{len(list(folder.glob('*.h5')))}.h5"
    write_segment(path, header(layer, run_id), batches)
    return read_segment(path)
