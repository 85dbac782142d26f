"""Check a campaign and everything that it points to; one fault does not hide the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import pyproj
import shapely

from hpckit import tiling
from hpckit.aoi import read_aoi
from hpckit.campaign import Campaign, Signatures
from hpckit.errors import HpckitError
from hpckit.quantities import format_bytes
from hpckit.reduce.assignment import project
from hpckit.reduce.zones import read_zones
from hpckit.scenes import catalogue
from hpckit.scenes.bands import BandRef
from hpckit.scenes.model import Scene
from hpckit.selection import fitting
from hpckit.steps.settings import Step
from hpckit.steps.units import find, unit_settings
from hpckit.store import open_store

Verdict = Literal["ok", "warning", "error"]

_LONGEST_PERIOD_DAYS = 3653


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the answer."""

    what: str
    """Field of the campaign file."""
    verdict: Verdict
    text: str
    """What was found."""
    remedy: str = ""


def check_campaign(campaign: Campaign) -> list[Finding]:
    """Check each part of a campaign by itself.

    Returns
    -------
    list of Finding
        In the order of the campaign file; nothing is written.
    """
    scenes: list[Scene] = []
    return [
        *_guard("period", lambda: _period(campaign)),
        *_guard("aoi", lambda: _aoi(campaign)),
        *(found for step in campaign.steps for found in _guard(f"steps.{step.name}", partial(_step, campaign, step))),
        *_guard("scenes", lambda: _scenes(campaign, scenes)),
        *_guard("cube", lambda: _cube(campaign, scenes)),
        *(
            finding
            for reduction in campaign.signatures
            for finding in _guard(f"reductions.{reduction.name}", lambda r=reduction: _zones(campaign, r, scenes))  # type: ignore[misc]
        ),
        *_guard("store", lambda: _store(campaign)),
    ]


def _guard(what: str, look: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """Turn an error into a finding."""
    found: list[Finding] = []
    try:
        found.extend(look())  # keeps what was found before an error
    except HpckitError as error:
        found.append(Finding(what, "error", str(error), error.hint or ""))
    except OSError as error:
        found.append(Finding(what, "error", str(error)))
    return found


def _period(campaign: Campaign) -> Iterator[Finding]:
    period, today = campaign.period, datetime.now(UTC).date()
    days = (period.end - period.start).days + 1
    text = f"{period}, {days} days"
    if period.start > today:
        yield Finding("period", "warning", f"{text}; it lies in the future", "no scene can be there yet")
    elif days > _LONGEST_PERIOD_DAYS:
        yield Finding("period", "warning", f"{text}; more than ten years", "is a year mistyped?")
    elif period.end < date(2015, 6, 23):
        yield Finding("period", "warning", f"{text}; before the launch of Sentinel-2", "is a year mistyped?")
    else:
        yield Finding("period", "ok", text)


def _aoi(campaign: Campaign) -> Iterator[Finding]:
    area = read_aoi(campaign.aoi, campaign.folder)
    west, south, east, north = area.bounds
    km2 = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(area)[0]) / 1e6
    yield Finding("aoi", "ok", f"{km2:,.0f} km², {west:.3f} {south:.3f} {east:.3f} {north:.3f}")


def _step(campaign: Campaign, step: Step) -> Iterator[Finding]:
    what = f"steps.{step.name}"
    if step.scenes is not None:
        report = find(campaign, step.scenes)
        chosen, _ = fitting(campaign, report.scenes, step.scenes)
        fits = f"{len(chosen)} of {len(report.scenes)} products fit"
        yield Finding(what, "ok" if chosen else "error", fits, "" if chosen else "mend aoi, period or paths")
    unit_settings(campaign, step)
    if step.image is not None:
        yield Finding(what, "ok", f"{step.command[0]} in {step.image}")
    elif "{" not in step.command[0] and shutil.which(step.command[0]) is None:
        text = f"{step.command[0]} is not on the PATH here"
        yield Finding(what, "warning", text, "that of the nodes counts: load its module in the site file")
    else:
        yield Finding(what, "ok", step.command[0])


def _scenes(campaign: Campaign, found: list[Scene]) -> Iterator[Finding]:
    paths = [campaign.resolve(path) for path in campaign.scenes.paths]
    makers = [step.name for step in campaign.steps if step.makes_products]
    if makers and not any(path.is_dir() and any(path.iterdir()) for path in paths):
        yield Finding("scenes", "ok", f"none yet: {', '.join(makers)} makes them")
        return
    listed = [scene for path in paths if path.suffix == ".parquet" for scene in catalogue.read(path)]
    report = catalogue.scan([path for path in paths if path.suffix != ".parquet"], previous=None)
    scenes = [*listed, *report.scenes]
    for failure in report.failures:
        yield Finding("scenes", "warning", failure.reason, "it is left out")
    for scene in report.incomplete:
        yield Finding(
            "scenes", "warning", f"{scene.id}: {len(scene.missing)} image files are missing", "fetch it again"
        )
    chosen, dropped = fitting(campaign, scenes)
    if not chosen:
        reasons = ", ".join(sorted({item.reason for item in dropped})[:3]) or "no product found"
        yield Finding(
            "scenes", "error", f"none of {len(scenes)} products fits ({reasons})", "mend aoi, period or paths"
        )
        return
    by_tile, superseded = tiling.group(campaign, chosen)
    used = (scene for items in by_tile.values() for item in items for scene in item.scenes)
    found += {scene.href: scene for scene in used}.values()
    if not by_tile:
        yield Finding("scenes", "error", f"no cell of grid {campaign.grid} is touched by a scene", "mend aoi or grid")
        return
    acquisitions = sum(map(len, by_tile.values()))
    yield Finding(
        "scenes",
        "ok",
        f"{len(found)} of {len(scenes)} products, {acquisitions} acquisitions of {len(by_tile)} tiles "
        f"({', '.join(sorted(by_tile)[:4])}{', …' if len(by_tile) > 4 else ''}); {len(superseded)} superseded",
    )


def _cube(campaign: Campaign, scenes: Sequence[Scene]) -> Iterator[Finding]:
    refs = campaign.cube_bands()
    for ref in refs:
        lacking = [scene.id for scene in scenes if not _carries(scene, ref, campaign)]
        if lacking:
            verdict: Verdict = "error" if len(lacking) == len(scenes) else "warning"
            yield Finding("cube", verdict, f"band {ref} is not in {len(lacking)} of {len(scenes)} scenes", lacking[0])
    folder = _existing(campaign.cube_path)
    if not os.access(folder, os.W_OK):
        yield Finding("cube", "error", f"{folder} cannot be written", "choose another `cube.path`")
        return
    disk = os.statvfs(folder)
    free = format_bytes(disk.f_bavail * disk.f_frsize)
    yield Finding("cube", "ok", f"{', '.join(map(str, refs))} to {campaign.cube_path}; {free} free")


def _carries(scene: Scene, ref: BandRef, campaign: Campaign) -> bool:
    """Whether a product has what a band of the cube is made from; for a grid any of its resolutions will do."""
    if campaign.grid_spec is None:
        return ref.key in scene.assets
    return any(key.partition("@")[0] == ref.name for key in scene.assets)


def _zones(campaign: Campaign, reduction: Signatures, scenes: Sequence[Scene]) -> Iterator[Finding]:
    what = f"reductions.{reduction.name}"
    layer = read_zones(campaign.resolve(reduction.zones), reduction.id, reduction.layer)
    crs = pyproj.CRS(layer.crs)
    if layer.repaired:
        yield Finding(what, "warning", f"{len(layer.repaired)} invalid zones are mended ({layer.repaired[0]}, …)")
    if layer.dropped:
        yield Finding(what, "warning", f"{len(layer.dropped)} zones are left out: {layer.dropped[0][1]}")
    degrees = project(layer.geometries, crs, 4326)
    area = read_aoi(campaign.aoi, campaign.folder)
    inside = int(shapely.intersects(area, degrees).sum())
    text = f"{len(layer)} zones, {crs.name}; {inside} touch the area of interest"
    if scenes:
        footprints = shapely.union_all([shapely.geometry.shape(s.footprint) for s in scenes if s.footprint])
        seen = int(shapely.intersects(footprints, degrees).sum())
        text += f", {seen} the scenes"
        if seen == 0:
            yield Finding(what, "error", text, "zones and scenes lie apart; is the CRS of the layer right?")
            return
    yield Finding(what, "ok" if inside else "warning", text, "" if inside else "zones and area lie apart")


def _store(campaign: Campaign) -> Iterator[Finding]:
    store = open_store(campaign)
    try:
        if campaign.store.dsn is None:
            path = campaign.store_path
            if not path.parent.is_dir():
                yield Finding("store", "error", f"{path.parent}: no such folder", "make it, or mend `store.path`")
                return
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                yield Finding("store", "error", f"{path} cannot be written", "choose another `store.path`")
                return
            yield Finding("store", "ok", f"GeoPackage {path}{'' if path.exists() else ' (will be made)'}")
        else:
            store.loaded_ids()
            yield Finding("store", "ok", f"PostgreSQL, schema {campaign.store.db_schema}")
    finally:
        store.close()


def _existing(path: Path) -> Path:
    return path if path.exists() else _existing(path.parent)
