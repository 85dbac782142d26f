"""Of the products of one pass over one tile, those that are used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from hpckit.sensors.model import Dropped, Scene


def newest(
    scenes: Sequence[Scene],
    strip: Callable[[Scene], str],
    *,
    part: str,
    one_baseline: bool,
    produced: Callable[[Scene], str] = lambda scene: scene.id.rpartition("_")[2],
) -> tuple[list[Scene], list[Dropped]]:
    """Keep the newest processing, and of each part of the pass one product.

    Parameters
    ----------
    strip : callable
        Name of the part of the pass that a scene is, the same for every processing of it.
    part : str
        What such a part is called: `datastrip`, `frame`.
    one_baseline : bool
        Whether all parts must be of the newest baseline.
    produced : callable
        Time of processing, as text that sorts by time: the end of the product's name if not given.

    Returns
    -------
    kept : list of Scene
        Fullest first.
    dropped : list of Dropped
        The others, with the reason.
    """

    def rank(scene: Scene) -> tuple[bool, float, bool, str, int, bool, str, str]:
        """Preference: real baselines before N9999, newer, complete, later production, then by form.

        Folders come before zip files, and both before arrays, which have no checksums; what is on this machine comes
        before what is on servers.
        """
        baseline, is_zip = float(scene.baseline), scene.href.lower().endswith(".zip")
        form = 0 if any(asset.array for asset in scene.assets.values()) else 1 if is_zip else 2
        is_here = not any(asset.is_remote for asset in scene.assets.values())
        return (baseline < 99, baseline, not scene.missing, produced(scene), form, is_here, scene.id, scene.href)

    if len(scenes) == 1:
        return list(scenes), []
    best = max(scenes, key=rank)
    kept: dict[str, Scene] = {}
    dropped = []
    for scene in sorted(scenes, key=rank, reverse=True):
        if one_baseline and scene.baseline != best.baseline:
            dropped.append(Dropped(scene.id, f"superseded by baseline {best.baseline} ({best.id})"))
        elif (same := _same(scene, kept, strip)) is not None:
            dropped.append(Dropped(scene.id, _same_part(scene, same, part)))
        else:
            kept[strip(scene)] = scene
    return sorted(kept.values(), key=lambda scene: (scene.nodata or 0.0, scene.id, scene.href)), dropped


def _same(scene: Scene, kept: Mapping[str, Scene], strip: Callable[[Scene], str]) -> Scene | None:
    """The scene that is kept of the same part, or of the same product where one form of it does not tell the part."""
    alike = (other for other in kept.values() if other.id == scene.id and not (other.part and scene.part))
    return kept.get(strip(scene)) or next(alike, None)


def _same_part(scene: Scene, kept: Scene, part: str) -> str:
    if scene.id == kept.id:
        return f"{scene.href} is the same product as {kept.href}"
    return f"the same {part} as {kept.id}"
