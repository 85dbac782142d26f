"""Check a campaign and everything that it points to; one fault does not hide the others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import pyproj
import shapely

from hpckit.base.disks import existing
from hpckit.base.quantities import format_area, format_bytes, format_count
from hpckit.campaign import owner
from hpckit.campaign.blocks import BlockReduction, OfWindows
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.graph import described
from hpckit.campaign.paths import clashes
from hpckit.campaign.signatures import SignatureReduction
from hpckit.campaign.step import Step
from hpckit.catalogue import tiling
from hpckit.catalogue.holdings import holds, instead, is_without
from hpckit.catalogue.selection import find, fitting, misfit
from hpckit.cubes.layout import CubeSpec
from hpckit.errors import HpckitError, is_temporary
from hpckit.production.fetchable import has_arrays, missing_files, plain_files
from hpckit.production.stages import stages_of
from hpckit.reduce.blocks.job import block_job_on
from hpckit.reduce.graphs.job import job_on
from hpckit.reduce.signatures.inputs import REMEDY, beyond
from hpckit.runs.group import group_faults
from hpckit.runs.run import RUN_JSON, Run, read_run_json
from hpckit.sensors.model import Scene
from hpckit.space.aoi import read_aoi
from hpckit.space.attributes import describe_notes
from hpckit.space.vector.project import to_degrees
from hpckit.space.windows import within
from hpckit.space.zones import left_out, vanished
from hpckit.steps.units import unit_settings
from hpckit.store import open_store
from hpckit.store.free import require_free

Verdict = Literal["ok", "warning", "error"]

_LONGEST_PERIOD_DAYS = 3653
_FETCH = "for nodes without a network, `hpckit fetch` brings what is still needed"


@dataclass(frozen=True, slots=True)
class FieldCheck:
    """One line of the answer."""

    what: str
    """Field of the campaign file."""
    verdict: Verdict
    text: str
    """What was found."""
    remedy: str = ""
    temporary: bool = False
    """A file system or a server does not answer at the moment; the verdict may be another one later."""


def check_campaign(campaign: Campaign) -> list[FieldCheck]:
    """Check each part of a campaign by itself.

    Returns
    -------
    list of FieldCheck
        In the order of the campaign file; nothing is written.
    """
    if not campaign.has_products:
        return [*_graphs(campaign), *_places(campaign)]
    scenes: list[Scene] = []
    return [
        *_guard("period", lambda: _period(campaign)),
        *_guard("aoi", lambda: _aoi(campaign)),
        *(found for step in campaign.steps for found in _guard(f"steps.{step.name}", partial(_step, campaign, step))),
        *_guard("scenes", lambda: _scenes(campaign, scenes)),
        *_guard(f"scenes.{campaign.sensor.option}", lambda: _options(campaign)),
        *_guard("cube", lambda: _cube(campaign, scenes)),
        *_guard("extensions", lambda: _extensions(campaign)),
        *(
            finding
            for reduction in campaign.signatures
            for finding in _guard(f"reductions.{reduction.name}", lambda r=reduction: _zones(campaign, r, scenes))  # type: ignore[misc]
        ),
        *_graphs(campaign),
        *_markers(campaign),
        *_guard("store", lambda: _store(campaign)),
        *_places(campaign),
    ]


def _places(campaign: Campaign) -> list[FieldCheck]:
    return [
        *(FieldCheck(clash.field, "error", clash.text, clash.remedy) for clash in clashes(campaign)),
        *_guard("owner", lambda: _owners(campaign)),
        *_guard("group", lambda: _group(campaign)),
    ]


def _group(campaign: Campaign) -> Iterator[FieldCheck]:
    if campaign.group:
        faults = group_faults(campaign)
        yield from (FieldCheck("group", "warning", fault) for fault in faults)
        if not faults:
            yield FieldCheck("group", "ok", "what is written can be changed by the group of the folders")


def _graphs(campaign: Campaign) -> list[FieldCheck]:
    """Faults of graphs, on collections as they are now; what loads the campaign's own is known when it is planned."""
    return [
        finding
        for reduction in campaign.graphs
        for finding in _guard(f"reductions.{reduction.name}", lambda r=reduction: _graph(campaign, r))  # type: ignore[misc]
    ]


def _graph(campaign: Campaign, reduction: OfWindows) -> Iterator[FieldCheck]:
    what = f"reductions.{reduction.name}"
    collections = {name: campaign.resolve(path) for name, path in reduction.collections.items()}
    if campaign.has_products and (campaign.run_dir / RUN_JSON).exists():
        collections.setdefault(campaign.name, campaign.run_dir)
    if isinstance(reduction, BlockReduction):
        job = block_job_on(campaign, reduction, collections)
    else:
        text = reduction.text(campaign.folder)
        job = job_on(
            text, collections, reduction.parameters, udf=reduction.udf, hosts=reduction.hosts, reads_pixels=False
        )
    faults = [described(fault) for fault in job.evaluation.faults()]
    yield from (FieldCheck(what, "error", fault) for fault in faults)
    if not faults:
        yield FieldCheck(what, "ok", f"{format_count(len(job.graph.nodes), 'node')}")


def _owners(campaign: Campaign) -> Iterator[FieldCheck]:
    for field, store in owner.stores(campaign):
        fault = owner.stranger(campaign, store)
        if fault is not None:
            yield FieldCheck(field, "error", fault, owner.remedy(field))


def _guard(what: str, look: Callable[[], Iterator[FieldCheck]]) -> list[FieldCheck]:
    """Turn an error into a finding."""
    found: list[FieldCheck] = []
    try:
        found.extend(look())  # keeps what was found before an error
    except HpckitError as error:
        found.append(FieldCheck(what, "error", str(error), error.hint or "", is_temporary(error)))
    except OSError as error:
        found.append(FieldCheck(what, "error", str(error), temporary=is_temporary(error)))
    return found


def _period(campaign: Campaign) -> Iterator[FieldCheck]:
    period, today = campaign.period, datetime.now(UTC).date()
    days = ((period.end or today) - period.start).days + 1
    text = f"{period}, {format_count(days, 'day')}" if period.end else f"{period}, without an end"
    if period.start > today:
        yield FieldCheck("period", "warning", f"{text}; it lies in the future", "no scene can be there yet")
    elif period.end is not None and days > _LONGEST_PERIOD_DAYS:
        yield FieldCheck("period", "warning", f"{text}; more than ten years", "is a year mistyped?")
    elif period.end is not None and period.end < campaign.sensor.origin.since:
        mission = campaign.sensor.origin.mission
        yield FieldCheck("period", "warning", f"{text}; before the launch of {mission}", "is a year mistyped?")
    else:
        yield FieldCheck("period", "ok", text)


def _aoi(campaign: Campaign) -> Iterator[FieldCheck]:
    area = read_aoi(campaign.aoi, campaign.folder)
    west, south, east, north = area.bounds
    size = abs(pyproj.Geod(ellps="WGS84").geometry_area_perimeter(area)[0])
    yield FieldCheck("aoi", "ok", f"{format_area(size)}, {west:.3f} {south:.3f} {east:.3f} {north:.3f}")


def _step(campaign: Campaign, step: Step) -> Iterator[FieldCheck]:
    what = f"steps.{step.name}"
    if step.scenes is not None:
        report = find(campaign, step.scenes)
        chosen, dropped = fitting(campaign, report.scenes, step.scenes)
        fits, (why, remedy) = _fit(len(chosen), len(report.scenes)), misfit(dropped, f"{what}.")
        if chosen:
            yield FieldCheck(what, "ok", fits)
        else:
            yield FieldCheck(what, "error", f"{fits} ({why})", remedy)
    unit_settings(campaign, step)
    if step.image is not None:
        yield FieldCheck(what, "ok", f"{step.command[0]} in {step.image}")
    elif "{" not in step.command[0] and shutil.which(step.command[0]) is None:
        text = f"{step.command[0]} is not on the PATH here"
        yield FieldCheck(what, "warning", text, "that of the nodes counts: load its module in the site file")
    else:
        yield FieldCheck(what, "ok", step.command[0])


def _fit(chosen: int, found: int) -> str:
    return f"{chosen} of {format_count(found, 'product')} {'fits' if chosen == 1 else 'fit'}"


def _scenes(campaign: Campaign, found: list[Scene]) -> Iterator[FieldCheck]:
    paths = [campaign.resolve(path) for path in campaign.scenes.folders]
    makers = [step.name for step in campaign.steps if step.makes_products]
    if makers and not campaign.scenes.addresses and not any(path.is_dir() and any(path.iterdir()) for path in paths):
        yield FieldCheck("scenes", "ok", f"none yet: {', '.join(makers)} makes them")
        return
    report = find(campaign, campaign.scenes)
    scenes = list(report.scenes)
    for failure in report.failures:
        remedy = "check again later" if failure.passes else "it is left out"
        yield FieldCheck("scenes", "warning", failure.reason, remedy, failure.passes)
    for scene in report.incomplete:
        yield FieldCheck(
            "scenes",
            "warning",
            f"{scene.id}: {format_count(len(scene.missing), 'image file')} missing",
            "fetch it again",
        )
    chosen, dropped = fitting(campaign, scenes)
    if not chosen:
        why, remedy = misfit(dropped)
        yield FieldCheck("scenes", "error", f"{_fit(0, len(scenes))} ({why})", remedy)
        return
    by_tile, superseded = tiling.group(campaign, chosen)
    used = (scene for items in by_tile.values() for item in items for scene in item.scenes)
    found += {scene.id: scene for scene in used}.values()
    if not by_tile:
        yield FieldCheck(
            "scenes", "error", f"no cell of grid {campaign.grid} is touched by a scene", "correct `aoi` or `grid`"
        )
        return
    acquisitions = sum(map(len, by_tile.values()))
    yield FieldCheck(
        "scenes",
        "ok",
        f"{len(found)} of {format_count(len(scenes), 'product')}, {format_count(acquisitions, 'acquisition')} "
        f"of {format_count(len(by_tile), 'tile')} "
        f"({', '.join(sorted(by_tile)[:4])}{', …' if len(by_tile) > 4 else ''}); {len(superseded)} superseded",
    )
    yield from _remote(campaign, found)


def _remote(campaign: Campaign, scenes: Sequence[Scene]) -> Iterator[FieldCheck]:
    files = plain_files(CubeSpec.of(campaign), scenes)
    missing = missing_files(campaign.fetched_path, files)
    arrays = sum(map(has_arrays, scenes))
    if arrays:
        text = f"{format_count(arrays, 'product')} of EOPF Zarr on servers; `hpckit plan` counts the chunks"
        yield FieldCheck("scenes", "ok", text, _FETCH)
    if files:
        count, nbytes = format_count(len(files), "file"), format_bytes(sum(file.most for file in files))
        text = f"{count} of {nbytes} on servers; {len(files) - len(missing)} of them fetched"
        remedy = _FETCH if missing else ""
        yield FieldCheck("scenes", "ok", text, remedy)


def _options(campaign: Campaign) -> Iterator[FieldCheck]:
    """Files that options of the sensor name."""
    options = campaign.scenes.options
    if options.files():
        area = read_aoi(campaign.aoi, campaign.folder)
        for name, text, fault in options.look(campaign.resolve, area):
            verdict: Verdict = "warning" if fault else "ok"
            what = f"scenes.{campaign.sensor.option}.{name}"
            yield FieldCheck(what, verdict, f"{text}; {fault}" if fault else text, "extend it, or make `aoi` smaller")


def _cube(campaign: Campaign, scenes: Sequence[Scene]) -> Iterator[FieldCheck]:
    refs = campaign.cube_bands()
    for ref in refs:
        resampled = campaign.grid.resampled
        lacking = [scene for scene in scenes if not holds(scene, ref, resampled=resampled)]
        if lacking:
            text = f"{len(lacking)} of {format_count(len(scenes), 'scene')} without band {ref}"
            if len(lacking) == len(scenes):
                yield FieldCheck("cube", "error", text, instead(lacking[0], ref))
            elif all(is_without(scene, ref, resampled=resampled) for scene in lacking):
                yield FieldCheck(
                    "cube", "warning", f"{text}; it has no data on their dates", instead(lacking[0], ref)
                )
            else:
                yield FieldCheck("cube", "warning", f"{text}; their files were lost", f"fetch {lacking[0].id} again")
    if not campaign.cube.keep:
        yield FieldCheck("cube", "ok", f"{', '.join(map(str, refs))}; none is kept")
        return
    folder = existing(campaign.cube_path)
    if not os.access(folder, os.W_OK):
        yield FieldCheck("cube", "error", f"{folder} cannot be written", "choose another `cube.path`")
        return
    disk = os.statvfs(folder)
    free = format_bytes(disk.f_bavail * disk.f_frsize)
    yield FieldCheck("cube", "ok", f"{', '.join(map(str, refs))} to {campaign.cube_path}; {free} free")


def _markers(campaign: Campaign) -> Iterator[FieldCheck]:
    """Rules, and those whose numbers are all of a preset."""
    for rule in campaign.markers:
        what = f"markers.{rule.name}"
        given = [f"{name} {value:g}" for name in ("drop", "rise", "above", "below") if (value := getattr(rule, name))]
        text = f"{rule.band} of {rule.reduction}: {', '.join(given) or f'{rule.kind} 0'}"
        remedy = "calibrate them with fields whose dates are known" if rule.preset is not None else ""
        yield FieldCheck(what, "ok", f"{text}; numbers of a preset" if remedy else text, remedy)


def _extensions(campaign: Campaign) -> Iterator[FieldCheck]:
    if campaign.extensions:
        names = [stage.name for stage in stages_of(campaign)]
        yield FieldCheck("extensions", "ok", f"stages {', '.join(names)}")


def _zones(campaign: Campaign, reduction: SignatureReduction, scenes: Sequence[Scene]) -> Iterator[FieldCheck]:
    what = f"reductions.{reduction.name}"
    layer = reduction.read_zones(campaign.resolve(reduction.zones))
    crs = pyproj.CRS(layer.crs)
    if layer.repaired:
        more = ", …" if len(layer.repaired) > 1 else ""
        repaired = f"{format_count(len(layer.repaired), 'invalid zone')} repaired ({layer.repaired[0]}{more})"
        yield FieldCheck(what, "warning", f"{reduction.zones}: {repaired}")
    if layer.dropped:
        yield FieldCheck(what, "warning", f"{reduction.zones}: {left_out(layer)}", "`invalid: refuse` refuses them")
    if layer.vanished:
        text = vanished(layer, reduction.buffer)
        yield FieldCheck(what, "warning", f"{reduction.zones}: {text}", "a smaller `buffer` keeps them")
    if layer.attributes.notes:
        yield FieldCheck(what, "warning", f"{reduction.zones}: {describe_notes(layer.attributes.notes)}")
    degrees = to_degrees(layer.geometries, crs)
    shared = within(read_aoi(campaign.aoi, campaign.folder), degrees)
    inside = int(shared.sum())
    text = f"{format_count(len(layer), 'zone')}, {crs.name}; {inside} sharing area with the area of interest"
    if campaign.cube.extent == "aoi" and 0 < inside < len(layer):
        yield FieldCheck(what, "warning", f"{reduction.zones}: {beyond(layer, shared)}", REMEDY)
    if scenes:
        footprints = shapely.union_all([scene.footprint for scene in scenes if scene.footprint is not None])
        seen = int(shapely.intersects(footprints, degrees).sum())
        text += f", {seen} the scenes"
        if seen == 0:
            yield FieldCheck(what, "error", text, "zones and scenes lie apart; is the CRS of the layer right?")
            return
    yield FieldCheck(what, "ok" if inside else "warning", text, "" if inside else "zones and area lie apart")


def _store(campaign: Campaign) -> Iterator[FieldCheck]:
    known = (campaign.run_dir / RUN_JSON).exists()
    require_free(Run(campaign.run_dir, read_run_json(campaign.run_dir)["run_id"] if known else "", campaign))
    store = open_store(campaign)
    try:
        if campaign.store.is_file:
            path = campaign.store_path
            if not path.parent.is_dir():
                yield FieldCheck(
                    "store", "error", f"{path.parent}: no such folder", "make it, or correct `store.path`"
                )
                return
            if not os.access(path if path.exists() else path.parent, os.W_OK):
                yield FieldCheck("store", "error", f"{path} cannot be written", "choose another `store.path`")
                return
            yield FieldCheck("store", "ok", f"GeoPackage {path}{'' if path.exists() else ' (will be made)'}")
        else:
            made = "" if store.is_made() else " (will be made by the first `hpckit sync`)"
            yield FieldCheck("store", "ok", f"PostgreSQL, schema {campaign.store.db_schema}{made}")
    finally:
        store.close()
