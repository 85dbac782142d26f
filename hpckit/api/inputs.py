"""Areas, tiles and scenes: what a campaign is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpckit.api.shown import QUIET, shown

if TYPE_CHECKING:
    import shapely

    from hpckit.base.console import Console
    from hpckit.catalogue.catalogue import ScanReport
    from hpckit.catalogue.federation import SearchResult
    from hpckit.sensors.model import Acquisition, Dropped, Scene
    from hpckit.space.tile import Tile


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of an area."""

    tiles: Sequence[Tile]

    def geojson(self) -> dict[str, Any]:
        """Outlines as a GeoJSON FeatureCollection."""
        from hpckit.space.tilefile import to_geojson

        return to_geojson(self.tiles)

    def write(self, path: Path) -> None:
        """Write the outlines as `.geojson`, `.gpkg` or `.parquet`."""
        from hpckit.space.tilefile import write_tiles

        write_tiles(path, self.tiles)


@dataclass(frozen=True, slots=True)
class Selection:
    """Scenes of a catalogue that match."""

    acquisitions: Sequence[Acquisition]
    dropped: Sequence[Dropped]
    """Scenes that are not used, and why."""

    @property
    def scenes(self) -> list[Scene]:
        """Scenes that are used."""
        return [scene for acquisition in self.acquisitions for scene in acquisition.scenes]

    def items(self) -> list[dict[str, Any]]:
        """STAC items of the scenes."""
        from hpckit.catalogue.stac import to_item

        return [to_item(scene) for scene in self.scenes]

    def described(self) -> list[tuple[Scene, Sequence[str]]]:
        """Scenes, each with what its sensor says of it in a list."""
        from hpckit.sensors.registry import sensor_of

        return [(scene, sensor_of(scene).describe(scene)) for scene in self.scenes]


def tile(
    aoi: str, grid: str = "mgrs", *, buffer_m: float = 0.0, layer: str | None = None, crs: str | None = None
) -> Tiling:
    """Cut an area of interest into the tiles of a grid.

    Parameters
    ----------
    aoi : str
        Vector file, WKT in longitude and latitude, or `W,S,E,N` in degrees.
    grid : str
        `mgrs`, `utm:SIZE` or `EPSG:CODE:SIZE`, metres.
    buffer_m : float
        Metres by which it is widened.
    layer, crs : str, optional
        Layer of the file, and its CRS where it has none or a wrong one.
    """
    from hpckit.sensors.native import MGRS
    from hpckit.space.grid import parse_tiling

    return Tiling(parse_tiling(grid, MGRS).tiles(area_of(aoi, layer, crs), buffer_m))


def scan(
    paths: Sequence[str | Path],
    catalogue: str | Path,
    *,
    partial: bool = False,
    period: tuple[date, date | None] | None = None,
    tiles: Sequence[str] = (),
    console: Console = QUIET,
) -> tuple[ScanReport, bool]:
    """Find products, and write those that can be read to a catalogue.

    Parameters
    ----------
    paths : sequence of str or Path
        Folders, searched at any depth, or products; folders of object stores, `s3://bucket/folder`.
    catalogue : str or Path
        Parquet file; if it exists, products that have not changed are taken from it.
    partial : bool
        Write it even if folders or products cannot be read now; those that it lists there are kept.
    period : tuple of date, optional
        First and last day; None for no end. In object stores only their folders and products are looked at.
    tiles : sequence of str
        In object stores only products of these tiles are looked at; of all if not given.

    Returns
    -------
    report : ScanReport
        What was found.
    written : bool
        Whether the catalogue was written: not if there is no usable product, nor if the scan is incomplete.

    Raises
    ------
    CatalogueError
        If one of the paths does not exist.
    FileUnavailableError
        If it cannot be seen whether one exists.
    """
    from hpckit.catalogue.catalogue import scan as scan_products
    from hpckit.catalogue.catalogue import write
    from hpckit.sensors.stored import Sought

    with shown(console).progress("scan products") as progress:
        first, last = period or (date.min, None)
        sought = Sought(first, last or date.max, frozenset(tiles) or None)
        report = scan_products(paths, previous=Path(catalogue), progress=progress, sought=sought)
    found = [*report.scenes, *report.kept]
    written = bool(found) and (partial or not report.unread)
    if written:
        write(Path(catalogue), found)
    return report, written


def scenes(
    catalogue: str | Path,
    *,
    aoi: str | None = None,
    layer: str | None = None,
    period: tuple[date, date | None] | None = None,
    max_cloud_cover: float = 100.0,
    tiles: Sequence[str] = (),
    level: str | None = None,
) -> Selection:
    """Scenes of a catalogue that match, with the newest baseline of each pass.

    Parameters
    ----------
    aoi, layer : str, optional
        As in `tile`.
    period : tuple of date, optional
        First and last day; None for no end.
    max_cloud_cover : float
        Percent.
    tiles : sequence of str
        Names of tiles as `tile_names` gives them; all if empty.
    level : str, optional
        Processing level, `L2A`.

    Raises
    ------
    CatalogueError
        If the catalogue is missing or damaged.
    """
    from hpckit.catalogue.catalogue import acquisitions, read, select

    chosen, unfit = select(
        read(Path(catalogue)),
        aoi=None if aoi is None else area_of(aoi, layer, None),
        period=period,
        max_cloud_cover=max_cloud_cover,
        tiles=tiles or None,
        level=level,
    )
    found, superseded = acquisitions(chosen)
    return Selection(found, [*superseded, *unfit])


def tile_names(text: str) -> set[str]:
    """Names of tiles that a text stands for, of whatever sensor.

    Raises
    ------
    ValueError
        If it is a tile of none.
    """
    from hpckit.sensors.registry import sensors

    found, faults = set(), []
    for sensor in sensors():
        try:
            found.add(sensor.tile(text))
        except ValueError as error:
            faults.append(str(error))
    if not found:
        raise ValueError(faults[0])
    return found


def search(
    output: str | Path,
    *,
    members: Sequence[str],
    collections: Sequence[str] = (),
    aoi: str | Path,
    period: tuple[date, date | None],
    cql2: str | None = None,
    console: Console = QUIET,
) -> SearchResult:
    """Search several STAC APIs at once, and freeze the items found as stac-geoparquet.

    Parameters
    ----------
    output : str or Path
        File to write, if something was found.
    members : sequence of str
        Addresses of STAC APIs, or names in `hpckit.catalogue.federation.MEMBERS`; of copies of a product the item of
        the first member is taken.
    collections : sequence of str
        Collections of the members; the one that campaigns have by default if none is given.
    aoi : str or Path
        Vector file, WKT or `W,S,E,N`.
    period : two dates
        First and last day, UTC, both included; a last day of None is no end.
    cql2 : str, optional
        Filter, `eo:cloud_cover < 40`.

    Returns
    -------
    SearchResult
        Items, and a report of each member; members that fail are in there.
    """
    from hpckit.catalogue import federation
    from hpckit.sensors.registry import DEFAULT

    with console.progress("search") as progress:
        area, names = area_of(str(aoi), None, None), collections or [DEFAULT]
        found = federation.search(members, names, area, period, cql2=cql2, progress=progress)
    if found.items:
        federation.write(Path(output), found.items)
    return found


def area_of(aoi: str, layer: str | None, crs: str | None) -> shapely.Geometry:
    """Area of interest of a text, or of a layer of a file."""
    from hpckit.space.aoi import read_aoi
    from hpckit.space.areafile import AreaFile

    return read_aoi(aoi if layer is None and crs is None else AreaFile(path=aoi, layer=layer, crs=crs))
