"""The campaign file: one YAML file that describes a production.

Paths in it are relative to the file's own folder. `load_campaign` names file, line, field and remedy of
whatever is wrong with it.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    PrivateAttr,
    Tag,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from hpckit.campaign_radar import COLLECTIONS
from hpckit.campaign_scenes import Scenes
from hpckit.composites.settings import Composite
from hpckit.document import read_document
from hpckit.errors import CampaignError, GridError
from hpckit.frame import GridSpec
from hpckit.reduce.expression import Expression, ExpressionError
from hpckit.scenes.bands import CLOUDY_CLASSES, BandRef
from hpckit.steps.settings import Step, require_order


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, use_attribute_docstrings=True)


class Period(_Model):
    """First and last day, both included, UTC."""

    start: dt.date
    end: dt.date

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Text `START/END`, or the two fields."""
        text = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}/\d{4}-\d{2}-\d{2}$"}
        return {"anyOf": [text, handler(schema)], "description": cls.__doc__}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        start, slash, end = value.partition("/")
        if not slash:
            raise ValueError("write START/END, for example 2024-03-01/2024-10-31")
        return {"start": start.strip(), "end": end.strip()}

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.end < self.start:
            raise ValueError(f"the period ends ({self.end}) before it starts ({self.start}); swap the dates")
        return self

    def __str__(self) -> str:
        """ISO 8601 interval of days."""
        return f"{self.start}/{self.end}"


class Cube(_Model):
    """How the cube is laid out."""

    path: Path = Path("cube.zarr")
    bands: Annotated[list[str], Field(min_length=1)]
    """`B04` at its native resolution, `B04@60m` for another one that the products carry."""
    dates_per_block: Annotated[int, Field(ge=1, le=1000)] = 16
    """Dates in one shard: the unit of writing. Appending later scenes rewrites the last block only."""
    sharding: bool = True
    """Off: one chunk per file, for readers without the sharding codec (GDAL before 3.13)."""
    compression: Annotated[int, Field(ge=1, le=9)] = 3
    """Zstandard level inside Blosc with bit shuffle."""
    skip_cloudy: Annotated[float, Field(gt=0, le=1)] | None = None
    """Windows with at least this fraction of cloud or nodata in SCL stay nodata and are never decoded."""
    resampling: Literal["nearest", "bilinear", "cubic", "average"] = "bilinear"
    """How pixels come onto a grid other than mgrs; classes and probabilities are always `nearest`."""
    overlaps: Literal["newest", "least_cloudy"] = "newest"
    """Which granule of a pass wins where several cover a tile of a grid other than mgrs."""


class Mask(_Model):
    """Which pixels a signature leaves out, by class band."""

    band: str = "SCL"
    exclude: list[Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=lambda: list(CLOUDY_CLASSES))


class Signatures(_Model):
    """Statistics of zones, per acquisition and band."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["signatures"] = "signatures"
    zones: Path
    """Polygon layer in any format and CRS that OGR reads."""
    layer: str | None = None
    id: str
    """Field of the layer that identifies a zone; any type, unique."""
    bands: Annotated[list[str], Field(min_length=1)]
    indices: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,30}$")], str] = Field(default_factory=dict)
    """Derived bands by name: expressions over bands, `(B08 - B04) / (B08 + B04)`, in reflectance."""
    mask: Mask | None = Field(default_factory=Mask)
    coverage: Literal["centre", "fraction"] = "centre"
    percentiles: list[Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=lambda: [25.0, 50.0, 75.0])
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("percentiles")
    @classmethod
    def _sorted_percentiles(cls, values: list[float]) -> list[float]:
        return sorted(set(values))

    @field_validator("indices")
    @classmethod
    def _expressions(cls, indices: dict[str, str]) -> dict[str, str]:
        for name, text in indices.items():
            try:
                Expression.parse(text)
            except ExpressionError as error:
                raise ValueError(f"index {name}: {error}") from error
        return indices

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics of a continuous band, in the order in which they are stored."""
        return ("mean", "std", "min", "max", *(f"p{value:g}" for value in self.percentiles))

    def source_bands(self) -> list[str]:
        """Every band that must be in the cube, as written: bands, those of indices, that of the mask."""
        names = list(self.bands)
        for text in self.indices.values():
            names += sorted(Expression.parse(text).bands)
        if self.mask is not None:
            names.append(self.mask.band)
        return list(dict.fromkeys(names))


class Store(_Model):
    """Where results end: a GeoPackage file, or a PostgreSQL database with PostGIS."""

    path: Path | None = None
    """GeoPackage file; the default is `<name>.gpkg` beside the campaign file."""
    dsn: str | None = None
    """`postgresql://user@host/database`; the password comes from ~/.pgpass or PGPASSWORD."""
    db_schema: Annotated[str, Field(alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,50}$")] = "hpckit"
    """Schema of the database."""

    @model_validator(mode="after")
    def _one_kind(self) -> Store:
        if self.path is not None and self.dsn is not None:
            raise ValueError("give either path (GeoPackage) or dsn (PostgreSQL), not both")
        if self.dsn is not None:
            if not re.match(r"^postgres(ql)?://", self.dsn):
                raise ValueError("dsn must look like postgresql://user@host/database")
            if re.match(r"^[a-z]+://[^/@]*:[^/@]+@", self.dsn) or re.search(r"[?&]password=", self.dsn):
                raise ValueError("a password must not stand in the campaign file; put it into ~/.pgpass")
        return self


def _kind(reduction: Any) -> str:
    kind = reduction.get("kind", "signatures") if isinstance(reduction, dict) else getattr(reduction, "kind", "")
    return str(kind)


Reduction = Annotated[
    Annotated[Signatures, Tag("signatures")] | Annotated[Composite, Tag("composite")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="kind must be signatures (which it is where it is not given) or composite",
    ),
]
"""A reduction of the cube; which one, its `kind` tells."""


class Campaign(_Model):
    """One production: area, period, scenes, grid, cube, reductions and store."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")]
    """Letters, digits, `_`, `.` and `-`; it names files and database rows."""
    aoi: str | list[float]
    """A vector file that OGR reads, WKT in longitude and latitude, or `[west, south, east, north]` in degrees."""
    period: Period
    scenes: Scenes
    grid: Annotated[str, Field(pattern=r"(?i)^mgrs$|^(utm|epsg:\d+):\d+@\d+m?$")] = "mgrs"
    """`mgrs`: Sentinel-2's own granules, without resampling. `utm:10240@10`, `EPSG:3035:10000@20`: squares of so many
    metres, resampled onto pixels of so many metres."""
    cube: Cube
    reductions: list[Reduction] = Field(default_factory=list)
    steps: list[Step] = Field(default_factory=list)
    """Further stages: command lines of your own, for each scene or tile."""
    store: Store = Field(default_factory=Store)

    _path: Path = PrivateAttr(default=Path())
    _lines: dict[tuple[str | int, ...], int] = PrivateAttr(default_factory=dict)

    @field_validator("aoi")
    @classmethod
    def _four_numbers(cls, value: str | list[float]) -> str | list[float]:
        if isinstance(value, list) and len(value) != 4:
            raise ValueError("a bounding box has four numbers: [west, south, east, north]")
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_clouds_in_radar(cls, values: Any) -> Any:
        """Sentinel-1 has no scene classification: its reductions mask nothing unless told."""
        try:
            if values["scenes"]["collection"] in COLLECTIONS:
                reductions = [
                    {"mask": None, **item} if isinstance(item, dict) else item for item in values["reductions"]
                ]
                return {**values, "reductions": reductions}
        except (KeyError, TypeError):
            pass  # what is missing or of another type is found later
        return values

    @field_validator("grid", mode="before")
    @classmethod
    def _grid_makes_sense(cls, value: Any) -> Any:
        if not isinstance(value, str) or value.strip().lower() == "mgrs":
            return "mgrs" if isinstance(value, str) else value
        try:
            return str(GridSpec.parse(value))
        except GridError as error:
            raise ValueError(f"{error}; {error.hint}" if error.hint else str(error)) from error

    @model_validator(mode="after")
    def _bands_fit_the_tiles(self) -> Campaign:
        for ref in self.cube_bands() if self.grid_spec else ():
            try:
                self.grid_spec.pixels(ref.resolution_m)  # type: ignore[union-attr]
            except GridError as error:
                raise ValueError(f"band {self._name(ref)}: {error}; {error.hint}") from error
        return self

    @model_validator(mode="after")
    def _bands_known(self) -> Campaign:
        for text in self.cube.bands:
            self.ref(text)
        held = {self._name(ref) for ref in self.cube_bands()}
        for composite in self.composites:
            if self.grid_spec is not None:
                composite.put_on_grid()
            composite.require_one_resolution(self.ref)
        for reduction in self.reductions:
            for text in reduction.source_bands():
                reference = self._name(self.ref(text))
                if reference not in held:
                    raise ValueError(
                        f"reduction {reduction.name!r} needs band {reference}, which cube.bands lacks; add it there"
                    )
        names = [reduction.name for reduction in self.reductions]
        if len(set(names)) != len(names):
            raise ValueError("two reductions have the same name; rename one")
        return self

    @model_validator(mode="after")
    def _one_direction(self) -> Campaign:
        radar = self.scenes.radar
        if self.composites and self.scenes.is_radar and radar.orbit is None and radar.relative_orbits is None:
            raise ValueError(
                f"composite {self.composites[0].name!r} would mix ascending and descending passes, which look at the "
                "land from two sides: set scenes.radar.orbit, or relative_orbits, and make a campaign for each"
            )
        return self

    @model_validator(mode="after")
    def _steps_in_order(self) -> Campaign:
        stages = ["ingest", *(["reduce"] if self.signatures else [])]
        if self.composites:
            stages += ["composite", *(["export"] if any(item.outputs.cog for item in self.composites) else [])]
        require_order(self.steps, stages)
        return self

    @property
    def grid_spec(self) -> GridSpec | None:
        """Grid that scenes are resampled onto; None for Sentinel-2's own granules."""
        return None if self.grid == "mgrs" else GridSpec.parse(self.grid)

    def ref(self, text: str) -> BandRef:
        """Band of the cube that a text names: `B11` is B11 at 20 m in granules, at 10 m on a grid of 10 m."""
        grid = self.grid_spec
        return BandRef.parse(text, level=self.scenes.level, pixel_m=grid.pixel_m if grid else None)

    def _name(self, ref: BandRef) -> str:
        """Band as a campaign file has it; on a grid with its pixels, which `B11` alone leaves to the grid."""
        return ref.key if self.grid_spec else str(ref)

    def cube_bands(self) -> list[BandRef]:
        """Bands of the cube, parsed, without repetitions, finest resolution first."""
        refs = {self.ref(text) for text in self.cube.bands}
        return sorted(refs, key=lambda ref: (ref.resolution_m, ref.name))

    @property
    def signatures(self) -> list[Signatures]:
        """Reductions to statistics of zones."""
        return [reduction for reduction in self.reductions if isinstance(reduction, Signatures)]

    @property
    def composites(self) -> list[Composite]:
        """Reductions of pixels over time."""
        return [reduction for reduction in self.reductions if isinstance(reduction, Composite)]

    def step(self, stage: str) -> Step | None:
        """Step of a stage; None for hpckit's own stages."""
        return next((step for step in self.steps if step.stage == stage), None)

    @property
    def path(self) -> Path:
        """The file that it was read from."""
        return self._path

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self._path.parent

    @property
    def run_dir(self) -> Path:
        """Run directory: plan, journals, logs and spool files."""
        return self.folder / f"{self.name}.run"

    @property
    def cube_path(self) -> Path:
        """Absolute path of the cube."""
        return self.resolve(self.cube.path)

    @property
    def store_path(self) -> Path:
        """Absolute path of the GeoPackage."""
        return self.resolve(self.store.path or Path(f"{self.name}.gpkg"))

    def resolve(self, path: Path) -> Path:
        """Absolute form of a path of the campaign file; `~` is the home folder."""
        return (self.folder / path.expanduser()).absolute()

    def line(self, *location: str | int) -> int | None:
        """Line in the file of a field, counted from 1; of the nearest enclosing one if it is not written."""
        for length in range(len(location), 0, -1):
            if location[:length] in self._lines:
                return self._lines[location[:length]]
        return None


def load_campaign(path: Path) -> Campaign:
    """Read and validate a campaign file.

    Raises
    ------
    CampaignError
        If the file cannot be read, is no YAML, or a field is unknown, missing or wrong. The message has one
        line per fault: `file:line: field: what is wrong`.
    """
    path = path.absolute()
    campaign, lines = read_document(
        path,
        Campaign,
        CampaignError,
        what="campaign",
        missing="`hpckit init DIR` writes a campaign file",
        hint="`hpckit init` writes a commented example; `hpckit schema campaign` the JSON schema for editors",
    )
    campaign._path = path
    campaign._lines = lines
    return campaign
