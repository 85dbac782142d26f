"""Which tile answers for which zone.

Granules overlap their neighbours by 9.8 km, and those of the next UTM zone by far more, so that most zones
lie in several tiles; each must get one signature per acquisition all the same. A zone belongs to the first
of its *candidates*, the tiles that hold it whole, that has the acquisition. A zone that no tile holds whole
is cut into *pieces*, each of which one tile answers for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from hpckit.base.files import atomic_open
from hpckit.base.reading import WatchedFile, parsed
from hpckit.errors import ZoneError
from hpckit.space.vector import project as vector

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class TileBox:
    """Extent of a tile's rasters."""

    tile: str
    epsg: int
    bounds: Box
    """xmin, ymin, xmax, ymax in metres."""


@dataclass(frozen=True, slots=True)
class Piece:
    """The part of a zone that one tile answers for."""

    zone: int
    """Row of the zone layer."""
    tile: str
    geometry: shapely.Geometry
    """In the CRS of the tile."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Result of `assign`."""

    tiles: tuple[str, ...]
    zone: npt.NDArray[np.int32]
    """Zone of each (zone, candidate) pair; sorted, the pairs of a zone stand best candidate first."""
    candidate: npt.NDArray[np.int32]
    """Position in `tiles` of the candidate of each pair: a tile that holds the zone whole, or the only one that
    holds some of it."""
    pieces: tuple[Piece, ...]
    """Pieces of the zones that several tiles hold together, sorted by zone."""
    outside: npt.NDArray[np.int32]
    """Zones that no tile touches, or that were not chosen."""

    def zones_of(self, tile: str, present: frozenset[str]) -> npt.NDArray[np.int32]:
        """Zones that `tile` answers for in an acquisition that the tiles `present` have."""
        usable = np.array([name in present for name in self.tiles], dtype=bool)
        pairs = np.flatnonzero(usable[self.candidate])
        _, first = np.unique(self.zone[pairs], return_index=True)
        best = pairs[first]
        zones: npt.NDArray[np.int32] = self.zone[best[self.candidate[best] == self.tiles.index(tile)]]
        return zones

    def candidates_of(self, tile: str) -> npt.NDArray[np.int32]:
        """Zones that `tile` may have to answer for in some acquisition."""
        zones: npt.NDArray[np.int32] = self.zone[self.candidate == self.tiles.index(tile)]
        return zones

    def groups(self) -> dict[tuple[str, ...], tuple[Piece, ...]]:
        """Pieces by the set of tiles that the pieces of their zone lie in."""
        of_zone: dict[int, list[Piece]] = {}
        for piece in self.pieces:
            of_zone.setdefault(piece.zone, []).append(piece)
        groups: dict[tuple[str, ...], tuple[Piece, ...]] = {}
        for pieces in of_zone.values():
            tiles = tuple(sorted(piece.tile for piece in pieces))
            groups[tiles] = groups.get(tiles, ()) + tuple(pieces)
        return groups

    def save(self, path: Path) -> None:
        """Write to an `.npz` file, atomically."""
        with atomic_open(path) as file:
            np.savez(
                file,
                tiles=np.array(self.tiles, dtype=str),
                zone=self.zone,
                candidate=self.candidate,
                outside=self.outside,
                piece_zone=np.array([piece.zone for piece in self.pieces], dtype=np.int32),
                piece_tile=np.array([piece.tile for piece in self.pieces], dtype=str),
                piece_wkb=np.array([piece.geometry.wkb_hex for piece in self.pieces], dtype=str),
            )

    @classmethod
    def load(cls, path: Path) -> Assignment:
        """Read what `save` wrote.

        Raises
        ------
        ZoneError
            If it is missing or damaged.
        """
        remedy = "`hpckit plan CAMPAIGN` writes it again"
        try:
            return parsed(path, cls._parse, lambda _: ZoneError(f"{path}: damaged", hint=remedy))
        except FileNotFoundError:
            raise ZoneError(f"{path}: missing", hint=remedy) from None

    @classmethod
    def _parse(cls, file: WatchedFile) -> Assignment:
        with np.load(file) as data:
            pieces = tuple(
                Piece(int(zone), str(tile), shapely.from_wkb(str(wkb)))
                for zone, tile, wkb in zip(data["piece_zone"], data["piece_tile"], data["piece_wkb"], strict=True)
            )
            tiles = tuple(str(tile) for tile in data["tiles"])
            zone, candidate = data["zone"], data["candidate"]
            known = not len(candidate) or 0 <= candidate.min() <= candidate.max() < len(tiles)
            if zone.shape != candidate.shape or not known:
                raise ValueError("candidates do not fit the tiles")
            return cls(tiles, zone, candidate, pieces, data["outside"])


def assign(
    geometries: npt.NDArray[np.object_],
    crs: pyproj.CRS,
    tiles: Sequence[TileBox],
    chosen: npt.NDArray[np.bool_] | None = None,
) -> Assignment:
    """Find the tiles of each zone.

    Parameters
    ----------
    geometries : ndarray of shapely geometries, shape (zones,)
        Valid polygons or multipolygons.
    crs : pyproj.CRS
        Theirs.
    tiles : sequence of TileBox
    chosen : ndarray of bool, shape (zones,), optional
        Only these are given tiles; the others count as `outside`.

    Notes
    -----
    Candidates are ordered by: the tile's UTM zone is the zone's own, distance to the tile's border (far is
    good, in kilometres), name. The order depends on the zone and on the set of tiles alone.
    """
    ranked: dict[int, list[tuple[bool, int, str]]] = {}
    touched: dict[int, list[TileBox]] = {}
    home = _utm_zones(geometries, crs)
    for tile in tiles:
        rows, bounds = _near(geometries, crs, tile)
        if chosen is not None:
            rows, bounds = rows[chosen[rows]], bounds[chosen[rows]]
        inner = _margin(bounds, tile.bounds)
        for row, margin in zip(rows.tolist(), inner.tolist(), strict=True):
            if margin >= 0:
                ranked.setdefault(row, []).append((home[row] != tile.epsg % 100, -int(margin // 1000), tile.tile))
            else:
                touched.setdefault(row, []).append(tile)
    pieces: list[Piece] = []
    for row in sorted(touched.keys() - ranked.keys()):
        cut = _cut(row, geometries[row], crs, touched[row], int(home[row]))
        if len(cut) == 1:  # it sticks out of all tiles, but only one holds some of it: that one answers for it
            ranked[row] = [(False, 0, cut[0].tile)]
        pieces += cut if len(cut) > 1 else ()
    names = tuple(tile.tile for tile in tiles)
    pairs = [(row, names.index(name)) for row in sorted(ranked) for *_, name in sorted(ranked[row])]
    zone, candidate = np.array(pairs, dtype=np.int32).reshape(-1, 2).T.copy()
    inside = [*ranked, *(piece.zone for piece in pieces)]
    outside = np.setdiff1d(np.arange(len(geometries)), inside).astype(np.int32)
    return Assignment(names, zone, candidate, tuple(pieces), outside)


def project(geometries: npt.NDArray[np.object_], source: pyproj.CRS, epsg: int) -> npt.NDArray[np.object_]:
    """Polygons transformed from `source` to the CRS `EPSG:epsg`: long edges bend there as they must."""
    return vector.project(geometries, source, pyproj.CRS.from_epsg(epsg))


def _near(
    geometries: npt.NDArray[np.object_], crs: pyproj.CRS, tile: TileBox
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Zones that touch the tile, and their bounds in its CRS."""
    transformer = pyproj.Transformer.from_crs(f"EPSG:{tile.epsg}", crs, always_xy=True)
    # A tile's box in a far CRS: its edges are curved there, which the densified bounds allow for.
    west, south, east, north = transformer.transform_bounds(*tile.bounds, densify_pts=21)
    boxes = shapely.bounds(geometries)
    # Between the points that were transformed they reach out a little further.
    slack = (north - south) / 1000
    near = (boxes[:, 1] <= north + slack) & (boxes[:, 3] >= south - slack)
    if west <= east:
        near &= (boxes[:, 0] <= east + slack) & (boxes[:, 2] >= west - slack)
    else:  # geographic CRS, tile across the antimeridian
        near &= (boxes[:, 0] <= east + slack) | (boxes[:, 2] >= west - slack)
    rows = np.flatnonzero(near)
    bounds = shapely.bounds(project(geometries[rows], crs, tile.epsg)).reshape(-1, 4)
    xmin, ymin, xmax, ymax = tile.bounds
    hit = (bounds[:, 0] < xmax) & (bounds[:, 2] > xmin) & (bounds[:, 1] < ymax) & (bounds[:, 3] > ymin)
    return rows[hit], bounds[hit]


def _margin(bounds: npt.NDArray[np.float64], box: Box) -> npt.NDArray[np.float64]:
    """Distance from each bounds to the border of the box, metres; negative where it sticks out."""
    xmin, ymin, xmax, ymax = box
    sides = (bounds[:, 0] - xmin, bounds[:, 1] - ymin, xmax - bounds[:, 2], ymax - bounds[:, 3])
    margin: npt.NDArray[np.float64] = np.minimum.reduce(sides)
    return margin


def _utm_zones(geometries: npt.NDArray[np.object_], crs: pyproj.CRS) -> npt.NDArray[np.int64]:
    boxes = shapely.bounds(geometries)
    to_degrees = pyproj.Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    longitude, _ = to_degrees.transform((boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2)
    zones: npt.NDArray[np.int64] = np.clip(np.floor((np.asarray(longitude) + 180) / 6) + 1, 1, 60).astype(np.int64)
    return zones


def _cut(
    row: int, geometry: shapely.Geometry, crs: pyproj.CRS, tiles: Sequence[TileBox], home: int
) -> tuple[Piece, ...]:
    """Cut a zone along tile borders: each tile takes what the tiles before it have left."""
    pieces: list[Piece] = []
    taken: list[TileBox] = []
    for tile in sorted(tiles, key=lambda tile: (tile.epsg % 100 != home, tile.tile)):
        local = project(np.array([geometry]), crs, tile.epsg)[0]
        rest = shapely.intersection(shapely.make_valid(local), shapely.box(*tile.bounds))
        for other in taken:
            rest = shapely.difference(rest, _box_in(other, tile.epsg))
        polygons = [part for part in shapely.get_parts(rest) if part.geom_type == "Polygon" and part.area > 0]
        taken.append(tile)
        if polygons:
            pieces.append(Piece(row, tile.tile, shapely.MultiPolygon(polygons)))
    return tuple(pieces)


def _box_in(tile: TileBox, epsg: int) -> shapely.Geometry:
    """Box of a tile in another CRS, where its edges bend."""
    return project(np.array([shapely.box(*tile.bounds)]), pyproj.CRS.from_epsg(tile.epsg), epsg)[0]
