"""Zones of a campaign's reductions, which tiles answer for them, and the files of their indexes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyproj

from hpckit.base.files import digest, digest_json
from hpckit.base.quantities import format_count
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.expression import Expression
from hpckit.campaign.signatures import SignatureReduction
from hpckit.cubes.held import Held
from hpckit.cubes.tiles import Tiles
from hpckit.reduce.signatures import index
from hpckit.reduce.signatures.assignment import Assignment, TileBox, assign, project
from hpckit.runs.run import Run
from hpckit.sensors.model import Acquisition
from hpckit.space.aoi import read_aoi
from hpckit.space.frame import Frame
from hpckit.space.vector.project import to_degrees
from hpckit.space.windows import Windows, holding, within
from hpckit.space.zones import ZoneLayer, findings, load_zones, write_zones


class ZoneInputs:
    """Zone layers and assignments of all reductions: frozen here, or read from where they were frozen."""

    def __init__(self) -> None:
        self._layers: dict[str, ZoneLayer] = {}
        self._assignments: dict[str, Assignment] = {}

    def freeze(self, tiles: Tiles) -> Iterable[str]:
        """Read the layers, assign zones to tiles, and write both to the draft of frozen inputs.

        Returns
        -------
        iterable of str
            What is left out of the layers.
        """
        campaign, warnings = tiles.campaign, []
        for reduction in campaign.signatures:
            layer = reduction.read_zones(campaign.resolve(reduction.zones))
            write_zones(tiles.run.zones(reduction.name), layer)
            inside = zones_within(campaign, layer)
            assignment = _assign(tiles, layer, inside)
            assignment.save(tiles.run.assignment(reduction.name))
            self._layers[reduction.name], self._assignments[reduction.name] = layer, assignment
            warnings += [f"{reduction.zones}: {text}" for text in findings(layer, reduction.buffer)]
            warnings += [f"{reduction.zones}: {beyond(layer, inside)}; {REMEDY}"] if not inside.all() else []
        return warnings

    def hold(self, tiles: Tiles) -> Held:
        """Windows of the zones, in every tile that may have to answer for them."""
        held, campaign = tiles.held, tiles.campaign
        for reduction in campaign.signatures if not held.is_whole else ():
            layer, assignment = self.layer(tiles.run, reduction.name), self.assignment(tiles.run, reduction.name)
            pieces = [piece for group in assignment.groups().values() for piece in group]
            for tile in tiles.acquisitions:
                frame, rows = tiles.frame(tile), assignment.candidates_of(tile)
                whole = project(layer.geometries[rows], pyproj.CRS(layer.crs), frame.epsg)
                cut = np.array([piece.geometry for piece in pieces if piece.tile == tile], dtype=object)
                find = partial(_windows_of, frame, np.concatenate([whole, cut]), campaign, reduction)
                held = held.with_asked(frame, find)
        return held

    def layer(self, run: Run, reduction: str) -> ZoneLayer:
        """Zone layer of a reduction."""
        if reduction not in self._layers:
            self._layers[reduction] = load_zones(run.zones(reduction))
        return self._layers[reduction]

    def assignment(self, run: Run, reduction: str) -> Assignment:
        """Which tile answers for which zone of a reduction."""
        if reduction not in self._assignments:
            self._assignments[reduction] = Assignment.load(run.assignment(reduction))
        return self._assignments[reduction]

    def groups(self, tiles: Tiles, reduction: SignatureReduction) -> list[tuple[str, ...]]:
        """Tiles, alone or together, that answer for some zone."""
        assignment = self.assignment(tiles.run, reduction.name)
        single = [(tile,) for tile in sorted(tiles.acquisitions) if len(assignment.candidates_of(tile))]
        return [*single, *sorted(assignment.groups())]

    def zones_of(self, run: Run, reduction: SignatureReduction, group: Sequence[str]) -> npt.NDArray[np.int32]:
        """Zones of a group: what a tile may have to answer for, or what several tiles hold together."""
        assignment = self.assignment(run, reduction.name)
        if len(group) == 1:
            return assignment.candidates_of(group[0])
        zones = {piece.zone for piece in assignment.groups()[tuple(group)]}
        return np.array(sorted(zones), dtype=np.int32)

    def index_files(
        self, tiles: Tiles, reduction: SignatureReduction, group: Sequence[str]
    ) -> dict[tuple[str, int], Path]:
        """File of each zone index of a group, by tile and resolution; its name contains a digest of its inputs."""
        folder = tiles.run.path / "index" / reduction.name / "+".join(group)
        rows = digest(self.zones_of(tiles.run, reduction, group).tobytes())
        zones = self.layer(tiles.run, reduction.name).digest
        files = {}
        for tile in group:
            frame = tiles.frame(tile)
            for resolution_m in index_resolutions(tiles.campaign, reduction):
                grid = [frame.epsg, list(frame.transform(resolution_m)), frame.shapes[resolution_m]]
                made_from = [index.VERSION, zones, rows, reduction.coverage, grid]
                files[tile, resolution_m] = folder / f"{tile}-r{resolution_m}m-{digest_json(made_from)[:16]}.npz"
        return files


def needed_indexes(tiles: Tiles) -> set[Path]:
    """Files of the zone indexes of a plan."""
    known = ZoneInputs()
    return {
        path
        for reduction in tiles.campaign.signatures
        for group in known.groups(tiles, reduction)
        for path in known.index_files(tiles, reduction, group).values()
    }


def index_resolutions(campaign: Campaign, reduction: SignatureReduction) -> list[int]:
    """Resolutions at which zones are laid over a tile: those of the bands, and the finest of each derived band."""
    found = {campaign.ref(band).resolution_m for band in reduction.bands}
    for text in reduction.indices.values():
        found.add(min(campaign.ref(band).resolution_m for band in Expression.parse(text).bands))
    return sorted(found)


REMEDY: Final = "`cube.extent: granule` or a larger `aoi` takes them in"
"""For zones outside of the area of interest."""


def zones_within(campaign: Campaign, layer: ZoneLayer) -> npt.NDArray[np.bool_]:
    """Zones that a campaign reduces over: all, or, with the extent of the AOI, those that share area with it."""
    if campaign.cube.extent != "aoi":
        return np.ones(len(layer), np.bool_)
    area = read_aoi(campaign.aoi, campaign.folder)
    return within(area, to_degrees(layer.geometries, pyproj.CRS(layer.crs)))


def beyond(layer: ZoneLayer, inside: npt.NDArray[np.bool_], shown: int = 3) -> str:
    """Which zones lie outside of the area of interest: one sentence."""
    rows = np.flatnonzero(~inside)
    names = ", ".join(repr(layer.ids[row]) for row in rows[:shown].tolist())
    more = ", …" if len(rows) > shown else ""
    return f"{format_count(len(rows), 'zone')} left out that share no area with the area of interest: {names}{more}"


def _windows_of(
    frame: Frame,
    shapes: npt.NDArray[np.object_],
    campaign: Campaign,
    reduction: SignatureReduction,
    resolution_m: int,
) -> Windows:
    """Windows that hold a pixel of some shape, or the centre of a pixel of the zone index."""
    edge_m = frame.edges[resolution_m] * resolution_m
    # Pixels of the index that windows of another pixel size cut in two have their centre in one of them.
    cut = [size / 2 for size in index_resolutions(campaign, reduction) if edge_m % size]
    return holding(frame, resolution_m, shapes, max([campaign.cube.reach_m, *cut]))


def acquisition_ids(by_tile: Mapping[str, Sequence[Acquisition]], group: Sequence[str]) -> list[str]:
    """Acquisitions that any of the tiles has, sorted."""
    return sorted({acquisition.id for tile in group for acquisition in by_tile.get(tile, ())})


def _assign(tiles: Tiles, layer: ZoneLayer, inside: npt.NDArray[np.bool_]) -> Assignment:
    frames = [tiles.frame(tile) for tile in sorted(tiles.acquisitions)]
    boxes = [TileBox(frame.tile, frame.epsg, frame.bounds) for frame in frames]
    return assign(layer.geometries, pyproj.CRS(layer.crs), boxes, inside)
