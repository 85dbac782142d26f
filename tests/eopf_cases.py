"""What tests of EOPF Zarr products share."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from hpckit.catalogue import catalogue
from hpckit.sensors.model import Scene
from hpckit.sensors.reader import Treatment, WindowRequest
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests import products

EDGE = 360
SPEC = products.spec(0)
B04 = "measurements/reflectance/r10m/b04"


def pixels(level: str = "L2A", edge: int = EDGE) -> dict[str, np.ndarray]:
    """Digital numbers, without data on the left and in one corner."""
    random = np.random.default_rng(3)
    made = {
        "B04@10m": random.integers(1, 12000, (edge, edge)).astype(np.uint16),
        "B08@10m": random.integers(1, 65536, (edge, edge)).astype(np.uint16),
        "B8A@20m": random.integers(1, 12000, (edge // 2, edge // 2)).astype(np.uint16),
        "B09@60m": random.integers(1, 12000, (edge // 6, edge // 6)).astype(np.uint16),
    }
    if level == "L2A":
        half = (edge // 2, edge // 2)
        made |= {
            "SCL@20m": random.choice([4, 5, 6, 8], half).astype(np.uint8),
            "AOT@20m": random.integers(1, 500, half).astype(np.uint16),
            "WVP@10m": random.integers(1, 4000, (edge, edge)).astype(np.uint16),
            "CLD@20m": random.integers(0, 101, half).astype(np.uint8),
            "SNW@20m": np.zeros(half, np.uint8),
        }
    for array in made.values():
        array[:, : array.shape[1] // 3] = 0
    return made


def only(path: Path) -> Scene:
    report = catalogue.scan([path])
    assert not report.failures and len(report.scenes) == 1, report.failures
    return report.scenes[0]


def refused(path: Path) -> str:
    report = catalogue.scan([path])
    assert not report.scenes
    (failure,) = report.failures
    assert "\n" not in failure.reason
    return failure.reason


def windows(scene: Scene, key: str, onto: str | None = None, edge: int = 100) -> dict[Any, np.ndarray]:
    """What a cube holds of a band, in windows that chunks cut."""
    ref = SENTINEL2.parse(key, level=scene.level)
    frame = replace(scene.frame, edges={10: edge, 20: edge, 60: edge})
    ((acquisition,), _) = catalogue.acquisitions([scene])
    rows, columns = frame.windows(ref.resolution_m)
    found = {}
    for row in range(rows):
        treatment = Treatment(verify=True, onto=onto)
        request = WindowRequest(frame, ref, row, range(columns), acquisition, treatment)
        found |= {(row, column): window for column, window in SENTINEL2.read_windows(request).windows.items()}
    return found


def same(one: dict[Any, np.ndarray], other: dict[Any, np.ndarray]) -> None:
    assert one.keys() == other.keys() and one
    for place, window in one.items():
        assert window.dtype == other[place].dtype
        np.testing.assert_array_equal(window, other[place], err_msg=str(place))


def change(path: Path, alter: Callable[[dict[str, Any]], None], array: str = "") -> None:
    """Change attributes, consolidated ones too."""
    node: Any = zarr.open_group(path, mode="r+", use_consolidated=False)
    told = json.loads(json.dumps((node[array] if array else node).attrs.asdict()))
    alter(told)
    (node[array] if array else node).attrs.put(told)
    if (path / ".zmetadata").exists():
        zarr.consolidate_metadata(path, zarr_format=2)


def chunk_files(path: Path, array: str = B04) -> list[Path]:
    return sorted(file for file in (path / array).rglob("*") if file.is_file() and file.name[0].isdigit())
