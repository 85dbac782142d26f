"""A scene as the catalogue has it, to change as a test needs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hpckit.scenes.model import Scene

DAY = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC)


def scene(**changes: Any) -> Scene:
    """A scene of tile 31UFU."""
    values: dict[str, Any] = {
        "id": "S2A_MSIL2A_20240501T105031_N0510_R051_T31UFU_20240501T115031",
        "href": "/x.SAFE",
        "root": "",
        "level": "L2A",
        "platform": "S2A",
        "sensed": DAY,
        "datatake": "GS2A_20240501T105031_046000_N05.10",
        "datastrip": "S2A_OPER_MSI_L2A_DS_2APS_20240501T115031_S20240501T105331_N05.10",
        "granule": "g",
        "tile": "31UFU",
        "epsg": 32631,
        "baseline": "05.10",
        "relative_orbit": 51,
        "cloud_cover": 10.0,
        "nodata": 0.0,
        "quantification": 10000.0,
        "offsets": {"B04": -1000},
        "ulx": 600000.0,
        "uly": 5700000.0,
        "shapes": {10: (10980, 10980), 20: (5490, 5490), 60: (1830, 1830)},
        "assets": {"B04@10m": "b04.jp2"},
    }
    return Scene(**{**values, **changes})
