"""What a campaign has produced: its cube as xarray, its series as pandas, its pictures."""

from __future__ import annotations

import difflib
from bisect import bisect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, overload

from hpckit.base.quantities import format_count
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.cubeless import REMEDY
from hpckit.campaign.signatures import SignatureReduction
from hpckit.errors import CampaignError, CubeError, HpckitError, RunError, StoreError, ZoneError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import shapely
    import xarray

    from hpckit.cubes.read import Chunks
    from hpckit.look.exports.chosen import Form
    from hpckit.look.pixels import Bounds
    from hpckit.look.quality import Bounds as QualityBounds
    from hpckit.look.quality import Quality
    from hpckit.look.style import Picture
    from hpckit.runs.status import Status
    from hpckit.space.zones import ZoneLayer
    from hpckit.store import Store

    Area: TypeAlias = shapely.Geometry | Sequence[float] | str
    """Polygons or a box in degrees, or the identifier of a zone."""

Signatures = Literal["pandas", "arrow", "batches"]
"""What signatures of all zones are given as."""
_NEIGHBOURS: Final = 500
"""Identifiers on either side, in alphabetical order, among which close ones are sought."""


@dataclass(frozen=True, slots=True)
class CampaignView:
    """What a campaign has produced, to read and to look at; nothing here changes anything."""

    campaign: Campaign

    def __repr__(self) -> str:
        """One line."""
        return f"<hpckit campaign {self.campaign.name!r}: {self.campaign.path}>"

    def _repr_html_(self) -> str:
        from hpckit.look.card import campaign_card

        zones: dict[str, int] = {}
        for reduction in self.campaign.signatures:
            with suppress(HpckitError):
                zones[reduction.name] = len(self.zones(reduction.name))
        state: Status | str
        try:
            state = self.status()
        except HpckitError as error:
            state = error.message
        picture = None
        with suppress(HpckitError):
            shown = bool(zones) and self.campaign.signatures[0].name in zones
            picture = self.quicklook(self.tiles[0] if self.tiles else None, zones=shown)
        return campaign_card(self.campaign, self.tiles, zones, state, picture)

    @property
    def tiles(self) -> list[str]:
        """Tiles of the cube, `31UFU`; none if the campaign keeps no cube."""
        from hpckit.cubes.read import tiles

        return tiles(self.campaign.cube_path) if self.campaign.cube.keep else []

    def cube(
        self,
        tile: str | None = None,
        resolution_m: int | None = None,
        chunks: Chunks = "auto",
        *,
        area: Area | None = None,
        decode: bool = True,
    ) -> xarray.Dataset:
        """Open a tile of the cube, or an area across its tiles, lazily.

        Parameters
        ----------
        tile : str, optional
            May be left out where the cube has one tile only.
        resolution_m : int, optional
            10, 20 or 60; by default the finest of the tile.
        chunks : "auto", mapping of str to int, or None
            Chunks of dask by dimension; -1 is all. By default, where dask is installed, whole windows with all their
            dates; above 256 MiB parts of windows, and then some of the dates. None reads when pixels are asked for,
            without dask.
        area : shapely.Geometry, four float, or str, optional
            Instead of a tile: polygons, or west, south, east and north, in degrees; or the identifier of a zone of
            the first reduction. The dataset is the rectangle of pixels around it. A pixel is that of the first tile,
            by name, that has data, and times are the acquisitions of all these tiles.
        decode : bool
            False leaves integers as they are stored (uint16), with `scale_factor`, `add_offset` and `_FillValue`.

        Returns
        -------
        xarray.Dataset
            Reflectance (float32; NaN where there are no data) by `time`, `y` and `x`, in the tile's UTM zone; with
            `acquisition`, `platform`, `relative_orbit`, `processing_baseline` and `cloud_cover` by `time`.
            Arrays have the shape of the whole tile. Where a cube holds a part of it only (`cube.extent`), the
            attribute `hpckit:windows` of each band has a text for each row of windows, from the north, with 1 for a
            window that is held; NaN in other windows means that they were not ingested.

        Raises
        ------
        CubeError
            If the cube has no such tile or resolution, or dask is asked for and not installed; if the area touches no
            tile, or only tiles of several UTM zones cover it.
        ZoneError
            If there is no such zone.
        """
        if area is not None:
            return self._cube_of(area, tile, resolution_m, chunks, decode)
        from hpckit.cubes.layout import ACQUISITIONS
        from hpckit.cubes.read import bands, open_tile

        tile = self.tile(tile)
        finest = min((ref.resolution_m for ref in bands(self.campaign.cube_path, tile)), default=10)
        dataset = open_tile(self.campaign.cube_path, tile, resolution_m or finest, chunks, decode=decode)
        made = dataset.attrs.pop(ACQUISITIONS)
        return dataset.assign_coords(
            acquisition=("time", [item["id"] for item in made]),
            platform=("time", [item["platform"] for item in made]),
        )

    def _cube_of(
        self, area: Area, tile: str | None, resolution_m: int | None, chunks: Chunks, decode: bool
    ) -> xarray.Dataset:
        from hpckit.cubes.mosaic import open_area

        known = (
            [self.tile(self.tiles[0] if self.tiles else None), *self.tiles[1:]] if tile is None else [self.tile(tile)]
        )
        return open_area(self.campaign.cube_path, known, self._polygons(area), resolution_m, chunks, decode=decode)

    def _polygons(self, area: Area) -> shapely.Geometry:
        """An area in longitude and latitude."""
        import pyproj
        import shapely

        from hpckit.space.aoi import read_aoi
        from hpckit.space.vector.project import to_degrees

        if isinstance(area, shapely.Geometry):
            return read_aoi(area.wkt)
        if not isinstance(area, str):
            return read_aoi(area)
        layer = self.zones()
        if area not in layer.rows:
            raise ZoneError(f"no zone {area!r}", hint=_close_ids(area, sorted(layer.ids)))
        return to_degrees(layer.geometries[[layer.rows[area]]], pyproj.CRS(layer.crs))[0]

    def series(self, zone: str | int, band: str | None = None, reduction: str | None = None) -> pd.DataFrame:
        """Read the signatures of one zone from the store.

        Parameters
        ----------
        zone : str or int
            Identifier of the zone.
        band : str, optional
            Band or index; NDVI if the reduction has it, else its first band.
        reduction : str, optional
            By default the first one of the campaign.

        Returns
        -------
        pandas.DataFrame
            One row per acquisition, sorted by time: `time`, `valid` and `total` pixels, the statistics in
            reflectance or the index' own unit, where the observation comes from, and `observed`: False where the
            zone has no data (outside the swath), missing where no pixel is valid and the reason is unknown.
            No rows for a zone that was never observed.

        Raises
        ------
        ZoneError
            If there is no such zone; the hint names close ones.
        StoreError
            If the store cannot be read.
        CampaignError
            If there is no such reduction or band.
        """
        chosen = self.reduction(reduction)
        return self._read([str(zone)], self.band(band, chosen.name), chosen)[str(zone)]

    def markers(
        self, zone: str | int | None = None, reduction: str | None = None, rules: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Read the markers that the rules of the campaign found, from the store.

        Parameters
        ----------
        zone : str or int, optional
            Of all zones if not given.
        reduction : str, optional
            Of all reductions to signatures if not given.
        rules : sequence of str
            Names of rules; all if none is given.

        Returns
        -------
        pandas.DataFrame
            One row per marker, in the order of zones and times, in the columns of JRC's table of markers: `foi_id`
            (the zone), `marker` (the rule), `marker_type`, `date_start`, `date_main`, `date_end`, `duration_days`,
            `value_1` to `value_3`, `pid`, `practice`; then `confidence`, `band`, `statistic`, `relative_orbit`,
            times, and `observations`, the acquisitions that it rests on.

        Raises
        ------
        ZoneError
            If no reduction has such a zone.
        StoreError
            If the store cannot be read.
        HpckitError
            If there is no such rule.
        """
        from hpckit.look.markers import read_markers
        from hpckit.store import open_store

        names = [self.reduction(reduction).name] if reduction or not self.campaign.signatures else []
        names = names or [item.name for item in self.campaign.signatures]
        frame = read_markers(self.campaign, names, None if zone is None else str(zone), rules)
        if zone is not None and frame.empty:
            store = open_store(self.campaign)
            try:
                if not any(str(zone) in set(store.zone_ids(name)) for name in names):
                    _require_zone(store, names[0], str(zone))
            finally:
                store.close()
        return frame

    def composite(
        self,
        name: str | None = None,
        tile: str | None = None,
        resolution_m: int | None = None,
        chunks: Chunks = "auto",
    ) -> xarray.Dataset:
        """Open a tile of a composite, lazily.

        Parameters
        ----------
        name : str, optional
            The first composite of the campaign if not given.
        tile : str, optional
            May be left out where the cube has one tile only.
        resolution_m : int, optional
            The finest that the composite has if not given.
        chunks : "auto", mapping of str to int, or None
            As of `cube`.

        Returns
        -------
        xarray.Dataset
            Layers such as `B04_median` (decoded, NaN without data) by `time`, the first day of each period,
            `y` and `x`.

        Raises
        ------
        CampaignError
            If there is no such composite.
        CubeError
            If it has no such tile or resolution yet.
        """
        from hpckit.cubes.read import open_tile
        from hpckit.reduce.composites.products import groups
        from hpckit.reduce.composites.units import zarr_path

        known = {item.name: item for item in self.campaign.composites}
        if not known or (name is not None and name not in known):
            raise CampaignError(
                f"{self.campaign.path}: there is no composite {name or ''}".rstrip(),
                hint=f"there is {', '.join(known) or 'none: add a reduction with `kind: composite`'}",
            )
        chosen = known[name] if name is not None else self.campaign.composites[0]
        finest = min(group.resolution_m for group in groups(chosen, self.campaign.ref))
        return open_tile(zarr_path(self.campaign, chosen), self.tile(tile), resolution_m or finest, chunks)

    def class_band(self, band: str | None = None, reduction: str | None = None) -> str | None:
        """Band of classes or bits that a name means in a reduction; without a name, the first one if it has no other.

        None if the name means a band with statistics, or nothing.
        """
        chosen = self.reduction(reduction)
        known = [text for text in chosen.bands if self.campaign.ref(text).band.is_categorical]
        if band is None:
            return known[0] if known and len(known) == len(chosen.bands) and not chosen.indices else None
        return next((text for text in known if text.upper() == band.upper()), None)

    def class_counts(self, zone: str | int, band: str | None = None, reduction: str | None = None) -> pd.DataFrame:
        """Read how many pixels of one zone have each class (or bit) from the store.

        Parameters
        ----------
        zone, reduction
            As in `series`.
        band : str, optional
            Band of classes or bits; may be left out where the reduction has no other bands.

        Returns
        -------
        pandas.DataFrame
            One row per acquisition, sorted by time: `time`, `acquisition`, and a column for each code.

        Raises
        ------
        CampaignError
            If the reduction has no such band of classes.
        """
        from hpckit.store import open_store

        chosen, classes = self.reduction(reduction), self.class_band(band, reduction)
        if classes is None:
            raise CampaignError(f"reduction {chosen.name!r} has no band of classes {band or ''}".rstrip())
        store = open_store(self.campaign)
        try:
            frame = store.class_counts(chosen.name, str(zone), classes)
            if frame.empty:
                _require_zone(store, chosen.name, str(zone))
        finally:
            store.close()
        return frame.sort_values("time", ignore_index=True)

    def _plot_shares(self, zones: Sequence[str | int], band: str, reduction: str | None) -> Picture:
        from hpckit.look.classes import draw_shares

        if len(zones) != 1:
            raise HpckitError(f"shares of classes are drawn of one zone, not of {len(zones)}", hint="name one")
        counts = self.class_counts(zones[0], band, reduction)
        (label,) = self.labels([str(zones[0])], reduction)
        facts = [label or "", format_count(len(counts), "acquisition"), self.campaign.name]
        return draw_shares(counts, self.campaign.ref(band).band, title=f"Zone {zones[0]}", facts=facts)

    @overload
    def signatures(
        self, band: str | None = None, reduction: str | None = None, *, format: Literal["pandas"] = "pandas"
    ) -> pd.DataFrame: ...

    @overload
    def signatures(
        self, band: str | None = None, reduction: str | None = None, *, format: Literal["arrow"]
    ) -> pa.Table: ...

    @overload
    def signatures(
        self, band: str | None = None, reduction: str | None = None, *, format: Literal["batches"]
    ) -> pa.RecordBatchReader: ...

    def signatures(
        self, band: str | None = None, reduction: str | None = None, *, format: Signatures = "pandas"
    ) -> pd.DataFrame | pa.Table | pa.RecordBatchReader:
        """Read the signatures of all zones from the store.

        Parameters
        ----------
        band : str, optional
            Band or index; NDVI if the reduction has it, else its first band. `"all"` for all bands and indices.
        reduction : str, optional
            The first one of the campaign if not given.
        format : {"pandas", "arrow", "batches"}
            A table of pandas; one of Arrow, which needs a fraction of its memory; or a reader of Arrow's record
            batches, of which only some are in memory at a time, however many rows there are.

        Returns
        -------
        pandas.DataFrame, pyarrow.Table or pyarrow.RecordBatchReader
            As `series` gives for one zone, with the column `zone` first: zones in the order of their layer, each
            sorted by time and band. In Arrow text is dictionary-encoded, and what `series` has as NaN is null.

        Raises
        ------
        StoreError
            If the store cannot be read, or results are loaded while it is read.
        CampaignError
            If there is no such reduction, band or format.
        HpckitError
            If the table would take more memory than this process may have.
        """
        from hpckit.look.frames import gathered, read_signatures
        from hpckit.store.batches import to_frame

        if format not in ("pandas", "arrow", "batches"):
            raise CampaignError(f"there is no format {format!r} of signatures", hint="pandas, arrow or batches")
        chosen = self.reduction(reduction)
        reader = read_signatures(self.campaign, chosen, self._bands(band, chosen.name))
        if format == "batches":
            return reader
        table = gathered(reader, format)
        return table if format == "arrow" else to_frame(table)

    def export_signatures(
        self, path: str | Path, band: str | None = "all", reduction: str | None = None, *, geometry: bool = True
    ) -> int:
        """Write the signatures of all zones to a Parquet file; memory does not grow with their number.

        Parameters
        ----------
        path : str or Path
            `.parquet`; replaced when the new file is complete.
        band, reduction
            As in `signatures`; all bands if not given.
        geometry : bool
            Add the polygon of the zone to each row, in the CRS of its layer: the file is GeoParquet.

        Returns
        -------
        int
            Rows that were written.

        Raises
        ------
        StoreError, CampaignError
            As `signatures`.
        HpckitError
            If the file cannot be written.
        """
        name = self.reduction(reduction).name
        chosen = self._bands(band, name)
        bands = None if chosen is None else [chosen]
        return self.export(path, name, bands=bands, geometry=geometry, overwrite=True)

    def export(
        self,
        path: str | Path,
        reduction: str | None = None,
        *,
        bands: Sequence[str] | None = None,
        statistics: Sequence[str] | None = None,
        start: date | None = None,
        end: date | None = None,
        zones: Sequence[str | int] | None = None,
        where: Mapping[str, Sequence[str]] | None = None,
        form: Form = "tall",
        attributes: bool = True,
        geometry: bool = False,
        overwrite: bool = False,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> int:
        """Write signatures to a file; memory does not grow with their number.

        Parameters
        ----------
        path : str or Path
            `.parquet` (GeoParquet with `geometry`), `.csv` or `.gpkg`. The file is there when it is whole.
        reduction : str, optional
            May be left out where the campaign has one.
        bands, statistics : sequence of str, optional
            All if not given; statistics include `valid`, `total` and `valid_fraction`.
        start, end : date, optional
            First and last day, UTC, both included.
        zones : sequence of str or int, optional
            Identifiers.
        where : mapping of str to sequence of str, optional
            By attribute of zones the values that are wanted, as text; an empty text is no value.
        form : {"tall", "wide"}
            A row for each zone, acquisition and band, or bands and statistics as columns.
        attributes : bool
            Add the attributes that the campaign names for the zones.
        geometry : bool
            Add the polygon of the zone to each row, in the CRS of its layer.
        overwrite : bool
            Replace a file of this name.
        progress : callable
            Called with the number of zones that are done, and of all.

        Returns
        -------
        int
            Rows that were written.

        Raises
        ------
        StoreError, CampaignError
            As `signatures`.
        ZoneError
            If there is no such zone, attribute or value.
        HpckitError
            If there is such a file, or it cannot be written; nothing is left of it then.
        """
        from hpckit.look.exports.chosen import Chosen
        from hpckit.look.exports.export import export

        if reduction is None and len(known := self.campaign.signatures) > 1:
            names = ", ".join(item.name for item in known)
            raise CampaignError("the campaign has several reductions with zones", hint=f"name one: {names}")
        kept = self.reduction(reduction)
        chosen = None if bands is None else [self._any_band(band, kept, form) for band in bands]
        named = None if zones is None else [str(zone) for zone in zones]
        wanted = Chosen(chosen, statistics, start, end, named, where or {}, form)
        needs = geometry or zones is not None or bool(where) or (attributes and bool(kept.attributes))
        layer = self.zones(kept.name) if needs else None
        options = {"attributes": attributes, "geometry": geometry, "overwrite": overwrite}
        return export(self.campaign, Path(path), kept, wanted, layer, **options, progress=progress)

    def zones(self, reduction: str | None = None) -> ZoneLayer:
        """Zones of a reduction, as the run has frozen them, or else as the layer has them now.

        Raises
        ------
        ZoneError
            If the layer cannot be read.
        """
        from hpckit.runs.run import find_run
        from hpckit.space.zones import load_zones

        chosen = self.reduction(reduction)
        with suppress(RunError):
            frozen = find_run(self.campaign.run_dir).zones(chosen.name)
            if frozen.exists():
                return load_zones(frozen)
        return chosen.read_zones(self.campaign.resolve(chosen.zones))

    def quality(
        self,
        band: str | None = None,
        reduction: str | None = None,
        *,
        start: date | None = None,
        end: date | None = None,
        bounds: QualityBounds | None = None,
    ) -> Quality:
        """Assess the observations of all zones: clear ones, gaps, and what is small, outside or heterogeneous.

        Parameters
        ----------
        band : str, optional
            Band or index; NDVI if the reduction has it, else its first band.
        reduction : str, optional
            The first one of the campaign if not given.
        start, end : date, optional
            First and last day; those of the campaign's period if not given.
        bounds : hpckit.look.quality.Bounds, optional
            From when on something is flagged.

        Returns
        -------
        hpckit.look.quality.Quality
            Its `table()` is a pandas.DataFrame with one row per zone.
        """
        from hpckit.look.quality import areas_m2, assess, period_of, pixel_m2
        from hpckit.store import open_store

        chosen = self.reduction(reduction)
        band, layer = self.band(band, chosen.name), self.zones(chosen.name)
        areas = dict(zip(layer.ids, areas_m2(layer.geometries, layer.crs).tolist(), strict=True))
        pixel, days = pixel_m2(self.campaign, chosen, band), period_of(self.campaign, start, end)
        store = open_store(self.campaign)
        try:
            return assess(store, chosen.name, band, areas, pixel, *days, bounds)
        finally:
            store.close()

    def status(self) -> Status:
        """How far the run is: units done, failed and waiting.

        Raises
        ------
        RunError
            If the campaign was never run.
        """
        from hpckit.runs.run import find_run
        from hpckit.runs.status import read_status

        return read_status(find_run(self.campaign.run_dir))

    def plot_series(
        self, zones: str | int | Iterable[str | int], band: str | None = None, reduction: str | None = None
    ) -> Picture:
        """Draw the series of one zone, or of up to eight; parameters and errors as for `series`.

        Zones that were never observed are left out, unless none was observed, which is an error.
        """
        from hpckit.look.series import ZoneSeries, draw_series

        classes = self.class_band(band, reduction)
        if classes is not None:
            return self._plot_shares([zones] if isinstance(zones, (str, int)) else list(zones), classes, reduction)
        names = [str(name) for name in ([zones] if isinstance(zones, (str, int)) else zones)]
        chosen = self.reduction(reduction)
        band = self.band(band, chosen.name)
        frames = self._read(names, band, chosen)
        names = [name for name in names if not frames[name].empty] or names
        labels = self.labels(names, chosen.name)
        events = self._markers_of(names[0], band, chosen.name) if len(names) == 1 else None
        return draw_series(
            [
                ZoneSeries(
                    name,
                    band,
                    self.campaign.name,
                    frames[name],
                    label,
                    markers=events,
                    sensor=self.campaign.sensor,
                )
                for name, label in zip(names, labels, strict=True)
            ]
        )

    def _markers_of(self, zone: str, band: str, reduction: str) -> pd.DataFrame:
        """Markers of a zone that rest on a band."""
        from hpckit.look.markers import read_markers

        found = read_markers(self.campaign, [reduction], zone)
        return found[found["band"] == band]

    def quicklook(
        self,
        tile: str | None = None,
        *,
        when: date | int | None = None,
        rgb: Sequence[str] | None = None,
        index: str | None = None,
        zones: bool = True,
        clouds: bool = False,
        window: Bounds | None = None,
        stretch: Literal["fixed", "percentile"] = "fixed",
    ) -> Picture:
        """Draw one date of a tile.

        Parameters
        ----------
        tile : str, optional
            May be left out where the cube has one tile only.
        when : date or int, optional
            Day, or position on the time axis; by default the clearest date.
        rgb : sequence of three str, optional
            Bands as red, green and blue; true colour if the cube has it, else NDVI, another index, or a band.
        index : str, optional
            NDVI, an index of a reduction, or a band, instead of `rgb`.
        zones : bool
            Outline the zones of the first reduction.
        clouds : bool
            Outline what the scene classification takes for cloud.
        window : four float, optional
            West, south, east, north: metres in the tile's CRS, or degrees.
        stretch : {"fixed", "percentile"}
            Visible bands from 0 to 0.3, or between the date's own percentiles.

        Raises
        ------
        CubeError
            If the cube lacks the tile, date or band.
        """
        from hpckit.cubes.read import bands, geometry
        from hpckit.look import pixels, quicklook

        tile, cube = self.tile(tile), self.campaign.cube_path
        indices = {name: text for reduction in self.campaign.signatures for name, text in reduction.indices.items()}
        shown = quicklook.compose(self.campaign.sensor, bands(cube, tile), indices, rgb, index)
        refs = [pixels.find_band(cube, tile, band) for band in shown.bands]
        if when is None:
            when = pixels.clearest(cube, tile, self.campaign.sensor, window)
        elif isinstance(when, date):
            when = pixels.find_date(geometry(cube, tile, refs[0].resolution_m), when)
        snapshot = pixels.read_snapshot(cube, tile, when, refs, self.campaign.sensor, window, with_classes=clouds)
        layer = self.zones() if zones and self.campaign.signatures else None
        name, classes = self.campaign.name, shown.classes(self.campaign.sensor)
        if classes is not None:
            from hpckit.look.classes import draw_class_map

            place = when % len(geometry(cube, tile, refs[0].resolution_m).acquisitions)
            codes = pixels.read_classes(cube, tile, refs[0], place, snapshot.extent)
            return draw_class_map(snapshot, classes, codes, zones=layer, name=name)
        if shown.index is not None and shown.expression is not None:
            return quicklook.draw_index(snapshot, shown.index, shown.expression, zones=layer, name=name)
        return quicklook.draw_rgb(snapshot, [ref.name for ref in refs], zones=layer, stretch=stretch, name=name)

    def tile(self, tile: str | None = None) -> str:
        """Check the name of a tile; the only one, if none is given.

        Raises
        ------
        CubeError
            If the cube has no such tile, or several and none is named; or no cube is kept.
        """
        if not self.campaign.cube.keep:
            raise CubeError(
                f"{self.campaign.path}: there is no cube to look at, since `cube.keep: false` keeps none",
                hint=f"{REMEDY}, and `hpckit run CAMPAIGN` makes it",
            )
        known = self.tiles
        if not known:
            raise CubeError(f"{self.campaign.cube_path}: no cube there yet", hint="`hpckit run CAMPAIGN` makes it")
        if tile is None and len(known) == 1:
            return known[0]
        if tile is None:
            raise CubeError(f"the cube has {len(known)} tiles", hint=f"choose one of {', '.join(known)}")
        named = {name.upper(): name for name in known}
        wanted = named.get(tile.upper()) or named.get(tile.upper().removeprefix("T"))
        if wanted is None:
            raise CubeError(f"the cube has no tile {tile}", hint=f"it has {', '.join(known)}")
        return wanted

    def reduction(self, name: str | None = None) -> SignatureReduction:
        """Find a reduction by name; the first one, if none is given.

        Raises
        ------
        CampaignError
            If there is none of that name, or none at all.
        """
        known = {reduction.name: reduction for reduction in self.campaign.signatures}
        if not known:
            raise CampaignError(f"{self.campaign.path}: the campaign has no reductions, so there are no series")
        if name is None:
            return self.campaign.signatures[0]
        if name not in known:
            raise CampaignError(f"no reduction {name!r}", hint=f"the campaign has {', '.join(known)}")
        return known[name]

    def band(self, band: str | None = None, reduction: str | None = None) -> str:
        """Check the name of a band or index of a reduction; NDVI or the first one, if none is given.

        Raises
        ------
        CampaignError
            If the reduction has no such band.
        """
        chosen = self.reduction(reduction)
        bands = [text for text in chosen.bands if not self.campaign.ref(text).band.is_categorical]
        known = {name.upper(): name for name in [*chosen.indices, *bands]}
        if not known:
            raise CampaignError(
                f"reduction {chosen.name!r} has classes only, which have no statistics",
                hint="`class_counts` gives the pixels of each class",
            )
        if band is None:
            return known.get("NDVI") or [*bands, *chosen.indices][0]
        if band.upper() not in known:
            raise CampaignError(
                f"reduction {chosen.name!r} has no band or index {band!r}", hint=f"it has {', '.join(known.values())}"
            )
        return known[band.upper()]

    def _any_band(self, band: str, reduction: SignatureReduction, form: Form) -> str:
        """Checked name of a band that is exported; classes only have columns in the wide form."""
        classes = self.class_band(band, reduction.name)
        if classes is None:
            return self.band(band, reduction.name)
        if form == "tall":
            raise CampaignError(
                f"{classes} has classes, which have no statistics", hint="`--wide` writes the pixels of each class"
            )
        return classes

    def _bands(self, band: str | None, reduction: str) -> str | None:
        """Checked name of a band; None for all of them."""
        return None if band == "all" else self.band(band, reduction)

    def labels(
        self, zones: Sequence[str], reduction: str | None = None, *, kinds_only: bool = False
    ) -> list[str | None]:
        """What the zone layer says that zones are, for titles; None where it says nothing.

        Parameters
        ----------
        kinds_only : bool
            Their crops alone, without the attributes that the campaign names.
        """
        from hpckit.space.crops import zone_labels

        chosen = self.reduction(reduction)
        if chosen.attributes and not kinds_only and (layer := self.zones(chosen.name)).attributes:
            rows = [layer.rows.get(zone) for zone in zones]
            return [None if row is None else layer.attributes.describe(row) for row in rows]
        return zone_labels(self.campaign.resolve(chosen.zones), chosen.id, chosen.layer, zones)

    def _read(self, zones: Sequence[str], band: str, reduction: SignatureReduction) -> dict[str, pd.DataFrame]:
        from hpckit.store import open_store

        store = open_store(self.campaign)
        try:
            return {zone: self._read_one(store, reduction, zone, band) for zone in zones}
        finally:
            store.close()

    def _read_one(self, store: Store, reduction: SignatureReduction, zone: str, band: str) -> pd.DataFrame:
        from hpckit.look.observed import with_observed

        frame = store.series(reduction.name, zone, band)
        if frame.empty:
            _require_zone(store, reduction.name, zone)
        names = [text for text in reduction.bands if self.campaign.ref(text).band.kind == "class"]
        counts = None
        if names and (frame["valid"] <= 0).any():
            with suppress(StoreError):  # a store from before the reduction had classes
                counts = store.class_counts(reduction.name, zone, names[0])
        return with_observed(frame, counts, masked=reduction.mask is not None)


def _require_zone(store: Store, reduction: str, zone: str) -> None:
    ids = sorted(store.zone_ids(reduction))
    if zone not in set(ids):
        raise ZoneError(f"no zone {zone!r} in reduction {reduction!r}", hint=_close_ids(zone, ids))


def _close_ids(zone: str, ids: Sequence[str]) -> str | None:
    """Name the closest of a sorted list: of its alphabetical neighbours only, for the list may be long."""
    if not ids:
        return None
    place = bisect(ids, zone)
    near = ids[max(0, place - _NEIGHBOURS) : place + _NEIGHBOURS]
    close = difflib.get_close_matches(zone, near, n=5)
    if close:
        return f"did you mean {', '.join(close)}?"
    return f"it has {format_count(len(ids), 'zone')}, {ids[0]} to {ids[-1]}"
