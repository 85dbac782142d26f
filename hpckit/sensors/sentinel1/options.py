"""What a campaign file says of Sentinel-1 only: `scenes.radar`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, model_validator

from hpckit.base.seen import Seen
from hpckit.errors import CatalogueError
from hpckit.sensors.model import Dropped, Scene
from hpckit.sensors.options import SensorOptions
from hpckit.sensors.sentinel1.model import radar_of
from hpckit.sensors.sentinel1.reading import RadarReading

if TYPE_CHECKING:
    import shapely


class RadarOptions(SensorOptions):
    """How Sentinel-1 products are brought onto the grid."""

    orbit: Literal["ascending", "descending"] | None = None
    """Only passes of this direction; both if not given, kept apart in the results by acquisition."""
    relative_orbits: list[Annotated[int, Field(ge=1, le=175)]] | None = None
    """Only these tracks."""
    resampling: Literal["nearest", "bilinear", "cubic", "average"] = "bilinear"
    """How product pixels come to the grid's, in linear power."""
    erode: Annotated[int, Field(ge=0, le=100)] = 1
    """Product pixels beside nodata that are left out: lines between frames are often half empty."""
    radiometry: Literal["gamma0", "sigma0"] = "gamma0"
    """Raw GRD: what it is calibrated to."""
    noise: bool = True
    """Raw GRD: take the thermal noise off."""
    terrain: Literal["dem", "ellipsoid"] = "dem"
    """Raw GRD: with heights from `dem`; or, knowingly, without: up to kilometres off in mountains."""
    dem: Path | None = None
    """Raw GRD: raster of heights in any CRS, a VRT for example, that covers the area."""
    geoid: float | Path | None = None
    """Raw GRD: metres to add to the DEM to get heights above the ellipsoid: 0 for a DEM that has them, a raster of
    the geoid's undulation (EGM2008 for the Copernicus DEM), or one number for a small area."""

    @model_validator(mode="after")
    def _heights_known(self) -> RadarOptions:
        if self.terrain == "dem" and self.dem is not None and self.geoid is None:
            raise ValueError(
                "dem needs geoid, the height of its zero above the ellipsoid: 0 for ellipsoidal heights, else a "
                "raster (EGM2008 for the Copernicus DEM) or one number, about 45 in western Europe"
            )
        if self.terrain == "ellipsoid" and self.dem is not None:
            raise ValueError("give either dem or `terrain: ellipsoid`, not both")
        return self

    def require(self, level: str) -> None:
        """Refuse raw GRD without heights, unless it is to be corrected on the ellipsoid."""
        if level == "GRD" and self.terrain == "dem" and self.dem is None:
            raise ValueError(
                "raw GRD is in radar geometry: give radar.dem (and radar.geoid) for terrain correction, or, for flat "
                "land and rough positions, `radar: {terrain: ellipsoid}`; or let a step of this campaign (`steps`) "
                "make gamma0 with SNAP or another processor, and use that as sentinel-1-card-bs or sentinel-1-rtc"
            )

    def require_one_view(self) -> None:
        """Refuse composites of both directions of flight."""
        if self.orbit is None and self.relative_orbits is None:
            raise ValueError(
                "would mix ascending and descending passes, which look at the land from two sides: set "
                "scenes.radar.orbit, or relative_orbits, and make a campaign for each"
            )

    def files(self) -> dict[str, Path]:
        """Heights and geoid."""
        return {name: value for name in ("dem", "geoid") if isinstance(value := getattr(self, name), Path)}

    def look(self, resolve: Callable[[Path], Path], area: shapely.Geometry) -> Iterator[tuple[str, str, str]]:
        """Heights and geoid: what they are, and whether they reach over the area."""
        from hpckit.sensors.sentinel1.dem import describe

        for name, path in self.files().items():
            found = describe(resolve(path))
            lacks = "" if found.outline.covers(area) else "it does not reach over the whole area of interest"
            yield name, str(found), lacks

    def contents(self, resolve: Callable[[Path], Path], seen: Seen) -> dict[str, str]:
        """Digests of heights and geoid."""
        from hpckit.inputs.heights import content_of

        return {name: content_of(resolve(path), seen) for name, path in self.files().items()}

    def reading(self, level: str, resolve: Callable[[Path], Path], contents: Mapping[str, str]) -> RadarReading:
        """How products are brought to the cube: of the options of raw GRD, only where products are raw."""
        if level != "GRD":
            return RadarReading(self.resampling, self.erode)
        geoid = self.geoid
        return RadarReading(
            resampling=self.resampling,
            erode_px=self.erode,
            radiometry=self.radiometry,
            noise=self.noise,
            ellipsoid=self.terrain == "ellipsoid",
            dem=None if self.dem is None else str(resolve(self.dem)),
            geoid=str(resolve(geoid)) if isinstance(geoid, Path) else geoid or 0.0,
            contents=tuple(sorted(contents.items())),
        )

    def choose(self, scenes: Sequence[Scene]) -> tuple[list[Scene], list[Dropped]]:
        """Scenes of the tracks, and of one kind of backscatter.

        Raises
        ------
        CatalogueError
            If products are of several kinds.
        """
        chosen: list[Scene] = []
        dropped: list[Dropped] = []
        for scene in scenes:
            if self.orbit is not None and radar_of(scene).orbit_state != self.orbit:
                dropped.append(Dropped(scene.id, "another direction of flight", "scenes.radar.orbit"))
            elif self.relative_orbits is not None and scene.relative_orbit not in self.relative_orbits:
                reason = f"relative orbit {scene.relative_orbit}"
                dropped.append(Dropped(scene.id, reason, "scenes.radar.relative_orbits"))
            else:
                chosen.append(scene)
        kinds = {radar_of(scene).radiometry for scene in chosen}
        if len(kinds) > 1:
            raise CatalogueError(
                f"the products are of several kinds: {', '.join(sorted(kinds))}",
                hint="a cube holds one kind; give each its own campaign with its own scenes.paths",
            )
        return chosen, dropped
