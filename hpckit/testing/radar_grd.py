"""Writes what GRD products need to be calibrated: calibration and noise tables as ESA annotates them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpckit.sensors.sentinel1.grd import sidecars

Surface = Callable[[float, np.ndarray], np.ndarray]
"""Value of a table at a line, for an array of pixels."""

_PIXEL_STEP = 40
_LINE_STEP = 668


def write_tables(
    safe: Path,
    measurement: str,
    shape: tuple[int, int],
    *,
    sigma: Surface,
    gamma: Surface,
    noise: Surface,
    azimuth: Callable[[np.ndarray], np.ndarray] | None = None,
) -> None:
    """Write `calibration-….xml` and `noise-….xml` of a measurement file.

    Parameters
    ----------
    safe : Path
        SAFE folder.
    measurement : str
        `measurement/….tiff`.
    shape : tuple of int
        Lines and samples of the image.
    azimuth : callable, optional
        Azimuth noise by line, in one block that holds the whole image; without it the tables have the form of
        processors before 2.90.
    """
    names = sidecars(measurement)
    lines = [*range(-_LINE_STEP, shape[0] + _LINE_STEP, _LINE_STEP)]
    pixels = np.unique([*range(0, shape[1], _PIXEL_STEP), shape[1] - 1])
    calibration = "".join(
        f"<calibrationVector><azimuthTime>2021-04-01T05:26:23.794457</azimuthTime><line>{line}</line>"
        f'<pixel count="{len(pixels)}">{_text(pixels)}</pixel>'
        f'<sigmaNought count="{len(pixels)}">{_text(sigma(line, pixels))}</sigmaNought>'
        f'<betaNought count="{len(pixels)}">{_text(np.full(len(pixels), 474.0))}</betaNought>'
        f'<gamma count="{len(pixels)}">{_text(gamma(line, pixels))}</gamma>'
        f'<dn count="{len(pixels)}">{_text(np.full(len(pixels), 474.0))}</dn></calibrationVector>'
        for line in lines
    )
    listed = f'<calibrationVectorList count="{len(lines)}">{calibration}</calibrationVectorList>'
    _write(safe / names["calibration"], f"<calibration>{listed}</calibration>")
    new = azimuth is not None
    vector, table = ("noiseRangeVector", "noiseRangeLut") if new else ("noiseVector", "noiseLut")
    ranges = "".join(
        f"<{vector}><azimuthTime>2021-04-01T05:26:23.794457</azimuthTime><line>{line}</line>"
        f'<pixel count="{len(pixels)}">{_text(pixels)}</pixel>'
        f'<{table} count="{len(pixels)}">{_text(noise(line, pixels))}</{table}></{vector}>'
        for line in lines
    )
    blocks = ""
    if azimuth is not None:
        at = np.unique([*range(0, shape[0], 100), shape[0] - 1])
        blocks = (
            '<noiseAzimuthVectorList count="1"><noiseAzimuthVector><swath>IW1</swath>'
            f"<firstAzimuthLine>0</firstAzimuthLine><firstRangeSample>0</firstRangeSample>"
            f"<lastAzimuthLine>{shape[0] - 1}</lastAzimuthLine><lastRangeSample>{shape[1] - 1}</lastRangeSample>"
            f'<line count="{len(at)}">{_text(at)}</line>'
            f'<noiseAzimuthLut count="{len(at)}">{_text(azimuth(at))}</noiseAzimuthLut>'
            "</noiseAzimuthVector></noiseAzimuthVectorList>"
        )
    _write(
        safe / names["noise"], f'<noise><{vector}List count="{len(lines)}">{ranges}</{vector}List>{blocks}</noise>'
    )


def _text(values: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in values)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n', encoding="utf-8")
