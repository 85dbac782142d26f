"""A scene as the catalogue has it, to change as a test needs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel2.details import Details
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from hpckit.space.frame import Frame

DAY = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC)
FULL = {10: (10980, 10980), 20: (5490, 5490), 60: (1830, 1830)}


def granule(
    tile: str = "31UFU",
    epsg: int = 32631,
    ulx: float = 600000.0,
    uly: float = 5700000.0,
    shapes: Mapping[int, tuple[int, int]] = FULL,
) -> Frame:
    """A tile of Sentinel-2."""
    return Frame(tile, epsg, ulx, uly, shapes, {})


def assets_of(
    frame: Frame,
    files: Mapping[str, str],
    *,
    folder: str = "/x.SAFE",
    quantification: float = 10000.0,
    offsets: Mapping[str, int] | None = None,
) -> dict[str, Asset]:
    """Files of bands of a product of Sentinel-2, by `BandRef.key`."""
    found = {}
    for key, file in files.items():
        ref = BandRef.from_key(key, SENTINEL2.bands)
        a, b, c, d, e, f = frame.transform(ref.resolution_m)[:6]
        found[key] = Asset(
            f"{folder}/{file}",
            f"EPSG:{frame.epsg}",
            (a, b, c, d, e, f),
            frame.shapes[ref.resolution_m],
            scale=1 / quantification,
            offset=(offsets or {}).get(ref.name, 0) / quantification,
        )
    return found


def scene(**changes: Any) -> Scene:
    """A scene of tile 31UFU; `place` has what is different of its frame."""
    frame = granule(**changes.pop("place", {}))
    values: dict[str, Any] = {
        "id": "S2A_MSIL2A_20240501T105031_N0510_R051_T31UFU_20240501T115031",
        "href": "/x.SAFE",
        "level": "L2A",
        "platform": "S2A",
        "sensed": DAY,
        "datatake": "GS2A_20240501T105031_046000_N05.10",
        "part": "S2A_OPER_MSI_L2A_DS_2APS_20240501T115031_S20240501T105331_N05.10",
        "details": Details("g"),
        "frame": frame,
        "baseline": "05.10",
        "relative_orbit": 51,
        "cloud_cover": 10.0,
        "nodata": 0.0,
        "assets": assets_of(frame, {"B04@10m": "b04.jp2"}, offsets={"B04": -1000}),
        "sensor": "sentinel-2",
    }
    return Scene(**{**values, **changes})
