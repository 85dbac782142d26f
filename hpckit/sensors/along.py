"""Attributes of coordinates that cubes of several sensors have on their time axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hpckit.sensors.model import Acquisition
from hpckit.sensors.sensor import AlongTime

RELATIVE_ORBIT: Final = {"long_name": "relative orbit number"}
BASELINE: Final = {"long_name": "processing baseline times 100 (509 is 05.09)"}
CLOUD_COVER: Final = {"long_name": "cloud cover of the granule by its metadata", "units": "percent"}


def common_along_time(acquisitions: Sequence[Acquisition]) -> AlongTime:
    """Orbit, baseline and cloud cover of the first scene of each acquisition."""
    scenes = [acquisition.scenes[0] for acquisition in acquisitions]
    clouds = [np.nan if scene.cloud_cover is None else scene.cloud_cover for scene in scenes]
    baselines = [round(float(scene.baseline) * 100) for scene in scenes]
    return {
        "relative_orbit": (np.array([scene.relative_orbit for scene in scenes], "<i2"), RELATIVE_ORBIT),
        "processing_baseline": (np.array(baselines, "<i2"), BASELINE),
        "cloud_cover": (np.array(clouds, "<f4"), CLOUD_COVER),
    }
