"""Which bands a product has, and which it was made without."""

from __future__ import annotations

from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Scene
from hpckit.sensors.registry import sensor_of


def holds(scene: Scene, ref: BandRef, *, resampled: bool) -> bool:
    """Whether a product has what a band of the cube is made from.

    Parameters
    ----------
    resampled : bool
        Whether scenes are resampled onto a grid: any file of the band will do then.
    """
    return sensor_of(scene).holds(scene, ref, resampled=resampled)


def is_without(scene: Scene, ref: BandRef, *, resampled: bool) -> bool:
    """Whether a product was made without a band; not, if its metadata list a file of it that is gone."""
    return not holds(scene, ref, resampled=resampled) and not sensor_of(scene).is_lost(scene, ref.name)


def instead(scene: Scene, ref: BandRef) -> str:
    """What to do about a band that a scene lacks."""
    others = scene.sizes(ref.name)
    if not others:
        return f"see {scene.id}; take {ref} out of `cube.bands` if none is to have it"
    return f"{scene.id} has it at {others[0]} m: write `{ref.at(others[0])}` in `cube.bands`"
