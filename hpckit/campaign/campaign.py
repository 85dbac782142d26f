"""The campaign file: one YAML file that describes a production.

Paths in it are relative to the file's own folder. `load_campaign` names file, line, field and remedy of
whatever is wrong with it.
"""

from __future__ import annotations

import codecs
import datetime as dt
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    GetPydanticSchema,
    PrivateAttr,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from hpckit.base.account import expand
from hpckit.base.credentials import check_dsn, find_secret
from hpckit.base.document import read_document
from hpckit.campaign.blocks import BlockReduction, FunctionReduction, OfWindows, PredictReduction
from hpckit.campaign.composite import Composite
from hpckit.campaign.cubeless import require_no_cube_needed
from hpckit.campaign.graph import GraphReduction, graph_faults, with_own_data
from hpckit.campaign.indices import bands_named, require_indices, require_no_band, resolved
from hpckit.campaign.markers import MarkerRule, settled
from hpckit.campaign.metres import Metres
from hpckit.campaign.scenes import Scenes
from hpckit.campaign.step import Step, require_order
from hpckit.errors import CampaignError, GridError, VectorError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.registry import MASK, SENSORS
from hpckit.sensors.sensor import Sensor
from hpckit.space.areafile import Area
from hpckit.space.attributes import Names, require_names
from hpckit.space.grid import NATIVE, PATTERN, Grid, parse_grid

if TYPE_CHECKING:
    from hpckit.space.zones import ZoneLayer


class _Model(BaseModel):
    model_config = ConfigDict(
        defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )


class Period(_Model):
    """First and last day, both included, UTC; `2024-03-01/..` has no end."""

    start: dt.date
    end: dt.date | None = None
    """None: what comes later belongs to it, too."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Text `START/END`, or the two fields."""
        text = {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}/(\d{4}-\d{2}-\d{2}|\.\.)$"}
        return {"anyOf": [text, handler(schema)], "description": cls.__doc__}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        start, slash, end = value.partition("/")
        if not slash:
            raise ValueError("write START/END, for example 2024-03-01/2024-10-31, or 2024-03-01/.. without an end")
        return {"start": start.strip(), "end": None if end.strip() == ".." else end.strip()}

    @model_validator(mode="after")
    def _ordered(self) -> Period:
        if self.end is not None and self.end < self.start:
            raise ValueError(f"the period ends ({self.end}) before it starts ({self.start}); swap the dates")
        return self

    def __str__(self) -> str:
        """Interval of days as STAC and OGC write it: ISO 8601, or `..` for no end."""
        return f"{self.start}/{self.end or '..'}"


class Cube(_Model):
    """How the cube is laid out, and what it is made from."""

    keep: bool = True
    """Off: no cube is written, and statistics of zones, the same numbers, are computed straight from the products.
    Composites, pictures of the cube, and steps that work on it need one."""
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
    """Windows with at least this fraction of cloud or nodata in the mask of the products (SCL) stay nodata and are
    never decoded."""
    resampling: Literal["nearest", "bilinear", "cubic", "average"] = "bilinear"
    """How pixels come onto a grid other than mgrs; classes and probabilities are always `nearest`."""
    overlaps: Literal["newest", "least_cloudy"] = "newest"
    """Which granule of a pass wins where several cover a tile of a grid other than mgrs."""
    extent: Literal["aoi", "zones", "granule"] = "aoi"
    """Windows of a tile that are ingested: those that the area of interest touches and those of the zones that share
    area with it; only those that hold a zone of a reduction; or all. Later changes add windows, and remove none."""
    margin_m: Annotated[float, Field(ge=0, le=1_000_000)] = 0.0
    """Metres by which the area, or with `extent: zones` the zones, are widened to find the windows."""

    @property
    def windows_by(self) -> Literal["aoi", "zones", "granule"]:
        """What chooses the windows that are decoded: without a cube nothing but zones needs any."""
        return self.extent if self.keep else "zones"

    @property
    def reach_m(self) -> float:
        """Metres around the area or the zones at which windows are decoded, too."""
        return self.margin_m if self.keep else 0.0

    @model_validator(mode="after")
    def _margin_of_something(self) -> Cube:
        if self.margin_m and self.extent == "granule":
            raise ValueError("`margin_m` has no meaning with `extent: granule`, which holds all windows; remove it")
        return self


class Mask(_Model):
    """Which pixels a signature leaves out, by a band of classes or bits; the defaults are those of the sensor."""

    band: str = MASK.name
    exclude: list[Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=lambda: list(MASK.hide))
    """Codes of classes, or numbers of bits, of which the lowest is 0."""


class SignatureReduction(_Model):
    """Statistics of zones, per acquisition and band."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["signatures"] = "signatures"
    zones: Path
    """Polygon layer in any format and CRS that OGR reads, or GeoParquet."""
    layer: str | None = None
    """Needed where the file has several."""
    id: str
    """Field of the layer that identifies a zone; any type, unique. `fid`: the number of the feature."""
    crs: str | None = None
    """CRS of the layer, where the file has none or a wrong one: `EPSG:25832`."""
    encoding: str | None = None
    """Encoding of text, where the file says none or a wrong one: `cp1252`, `UTF-8`."""
    invalid: Literal["drop", "refuse"] = "drop"
    """Features without a usable polygon (none at all, damaged, lines, points) are left out and listed, or refused."""
    buffer: Metres = 0.0
    """By how much zones are widened, or narrowed: `-5m`. Zones of which nothing is left are listed, and left out."""
    attributes: Literal["all"] | list[str] | dict[str, str] = Field(default_factory=list)
    """Fields of the layer that go with the zones into store, views and exports: `[crop, holding]`, with other names
    `{holding: OBJ_ID}`, or `all`. By default none, since they may be personal data. They change no result."""
    bands: Annotated[list[str], Field(min_length=1)]
    indices: dict[str, str] = Field(default_factory=dict)
    """Derived bands by name: expressions over bands, `(B08 - B04) / (B08 + B04)`, in reflectance. `B04@20m` is a band
    at that resolution; without, its native one, or the only one that the cube has."""
    mask: Mask | None = Field(default_factory=Mask)
    coverage: Literal["centre", "fraction"] = "centre"
    percentiles: list[Annotated[float, Field(ge=0, le=100)]] = Field(default_factory=lambda: [25.0, 50.0, 75.0])
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @field_validator("crs", "encoding")
    @classmethod
    def _known(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.field_name == "crs":
            from hpckit.space.vector.crs import parse_crs

            try:
                parse_crs(value)
            except VectorError as error:
                raise ValueError(f"{error.message}; {error.hint}") from error
        if value is not None and info.field_name == "encoding":
            try:
                codecs.lookup(value)
            except LookupError:
                raise ValueError("no known encoding of text; write it like cp1252 or UTF-8") from None
        return value

    @field_validator("percentiles")
    @classmethod
    def _sorted_percentiles(cls, values: list[float]) -> list[float]:
        return sorted(set(values))

    @field_validator("indices")
    @classmethod
    def _expressions(cls, indices: dict[str, str]) -> dict[str, str]:
        require_indices(indices)
        return indices

    @model_validator(mode="after")
    def _attributes_have_free_names(self) -> SignatureReduction:
        if self.attributes != "all":
            require_names(list(self.attributes), self._taken)
            if self.id in self.attributes:
                raise ValueError(f"`attributes`: {self.id!r} is the identifier of the zones, which is there anyway")
        return self

    @property
    def _taken(self) -> Names:
        return Names((*self.bands, *self.indices))

    def read_zones(self, path: Path) -> ZoneLayer:
        """The zones, of the file that `zones` names.

        Raises
        ------
        ZoneError
            If they cannot be read.
        """
        from hpckit.space.zones import read_zones

        return read_zones(
            path,
            self.id,
            self.layer,
            crs=self.crs,
            encoding=self.encoding,
            invalid=self.invalid,
            buffer_m=self.buffer,
            attributes=self.attributes,
            taken=self._taken,
        )

    @property
    def statistics(self) -> tuple[str, ...]:
        """Names of the statistics of a continuous band, in the order in which they are stored."""
        return ("mean", "std", "min", "max", *(f"p{value:g}" for value in self.percentiles))

    def named_bands(self) -> list[str]:
        """Every band that must be in the cube, as written: bands, those of indices, that of the mask."""
        return bands_named(self.bands, self.indices, None if self.mask is None else self.mask.band)


class StoreSettings(_Model):
    """Where results end: a GeoPackage file, or a PostgreSQL database with PostGIS."""

    path: Path | None = None
    """GeoPackage file; the default is `<name>.gpkg` beside the campaign file."""
    dsn: str | None = None
    """`postgresql://user@host/database`; the password comes from ~/.pgpass or PGPASSWORD."""
    db_schema: Annotated[str, Field(alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,50}$")] = "hpckit"
    """Schema of the database."""

    @field_validator("path")
    @classmethod
    def _file(cls, path: Path | None) -> Path | None:
        if path is not None and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(path)):
            raise ValueError("path is a GeoPackage file; a database is given as dsn")
        return path

    @field_validator("dsn")
    @classmethod
    def _sound_dsn(cls, dsn: str | None) -> str | None:
        if dsn is not None:
            check_dsn(dsn)
            if find_secret(dsn) is not None:
                raise ValueError("a password must not stand in the campaign file; put it into ~/.pgpass")
        return dsn

    @model_validator(mode="after")
    def _one_kind(self) -> StoreSettings:
        if self.path is not None and self.dsn is not None:
            raise ValueError("give either path (GeoPackage) or dsn (PostgreSQL), not both")
        return self

    @property
    def is_file(self) -> bool:
        """Whether results end in a file, and not on a server."""
        return self.dsn is None


def _read_grid(value: Any, info: ValidationInfo) -> Grid:
    if not isinstance(value, str):
        raise ValueError("a grid is a text like mgrs, utm:10240@10 or EPSG:3035:10000@20")
    scenes = info.data.get("scenes")
    native = (SENSORS[0] if scenes is None else scenes.sensor).grid
    try:
        return parse_grid(value, native)
    except GridError as error:
        raise ValueError(f"{error}; {error.hint}" if error.hint else str(error)) from error


_TextOfGrid = GetPydanticSchema(
    lambda _source, _handler: core_schema.with_info_plain_validator_function(
        _read_grid, serialization=core_schema.to_string_ser_schema()
    ),
    lambda _schema, _handler: {"type": "string", "pattern": PATTERN},
)


def _masked(reduction: dict[str, Any], sensor: Sensor) -> dict[str, Any]:
    """A reduction with the mask of a sensor where the file does not say another one."""
    own, said = sensor.mask, reduction.get("mask", {})
    if reduction.get("kind") in ("graph", "function", "predict"):
        return reduction
    if own is None:
        return {"mask": None, **reduction}
    if not isinstance(said, dict):
        return reduction
    mask = {"band": own.name, "exclude": list(own.hide), **said}
    if reduction.get("kind") == "composite":
        mask = {"dilate_classes": list(own.spread), **mask}
    return {**reduction, "mask": mask}


def _kind(reduction: Any) -> str:
    kind = reduction.get("kind", "signatures") if isinstance(reduction, dict) else getattr(reduction, "kind", "")
    return str(kind)


Reduction = Annotated[
    Annotated[SignatureReduction, Tag("signatures")]
    | Annotated[Composite, Tag("composite")]
    | Annotated[GraphReduction, Tag("graph")]
    | Annotated[FunctionReduction, Tag("function")]
    | Annotated[PredictReduction, Tag("predict")],
    Discriminator(
        _kind,
        custom_error_type="kind",
        custom_error_message="kind must be signatures (which it is where it is not given), composite, graph, "
        "function or predict",
    ),
]
"""A reduction of the cube, selected by `kind`."""


def _own_data_or_graphs(schema: dict[str, Any]) -> None:
    """Products are required, unless all reductions are graphs."""
    graphs = {"items": {"properties": {"kind": {"const": "graph"}}, "required": ["kind"]}, "minItems": 1}
    own = [name for name in schema["required"] if name != "name"]
    schema["required"] = ["name"]
    schema["anyOf"] = [{"required": own}, {"properties": {"reductions": graphs}, "required": ["reductions"]}]


class Campaign(_Model):
    """One production: area, period, scenes, grid, cube, reductions and store."""

    model_config = ConfigDict(json_schema_extra=_own_data_or_graphs)

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")]
    """Letters, digits, `_`, `.` and `-`; it names files and database rows."""
    aoi: Area
    """A vector file that OGR reads, or GeoParquet, alone or with its layer and CRS (`path`, `layer`, `crs`), WKT in
    longitude and latitude, or `[west, south, east, north]` in degrees."""
    period: Period
    scenes: Scenes
    grid: Annotated[Grid, _TextOfGrid] = Field(default=NATIVE, validate_default=True)
    """`native` (for Sentinel also `mgrs`): the products' own tiles, without resampling. `utm:10240@10`,
    `EPSG:3035:10000@20`: squares of this many metres, resampled onto pixels of this many metres."""
    cube: Cube
    reductions: list[Reduction] = Field(default_factory=list)
    markers: list[MarkerRule] = Field(default_factory=list)
    """Events to look for in the series of zones: mowing, ploughing, harvest, or rules of your own."""
    steps: list[Step] = Field(default_factory=list)
    """Further stages: command lines of your own, for each scene or tile."""
    extensions: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")], dict[str, Any]] = Field(
        default_factory=dict
    )
    """Stages that installed packages add, by name, each with its settings."""
    store: StoreSettings = Field(default_factory=StoreSettings)
    group: bool = False
    """Whether the group of the folders may change what hpckit writes there, so that several people continue one run;
    the folders must be setgid."""

    _path: Path = PrivateAttr(default=Path())
    _contents: Mapping[str, str] = PrivateAttr(default_factory=dict)
    _lines: dict[tuple[str | int, ...], int] = PrivateAttr(default_factory=dict)

    @field_validator("aoi")
    @classmethod
    def _four_numbers(cls, value: Area) -> Area:
        if isinstance(value, list) and len(value) != 4:
            raise ValueError("a bounding box has four numbers: [west, south, east, north]")
        return value

    @model_validator(mode="before")
    @classmethod
    def _masks_of_the_sensor(cls, values: Any) -> Any:
        """By default, reductions use the mask of the sensor; without one they mask nothing."""
        values = with_own_data(values)
        try:
            sensor = Scenes.model_validate(values["scenes"]).sensor
            reductions = [_masked(item, sensor) if isinstance(item, dict) else item for item in values["reductions"]]
        except (KeyError, TypeError, ValueError):
            return values  # what is missing, unknown or of another type is found later
        return {**values, "reductions": reductions}

    @model_validator(mode="after")
    def _bands_fit_the_tiles(self) -> Campaign:
        for ref in self.cube_bands():
            try:
                self.grid.require_pixels(ref.resolution_m)
            except GridError as error:
                raise ValueError(f"band {self._name(ref)}: {error}; {error.hint}") from error
        return self

    @model_validator(mode="after")
    def _bands_known(self) -> Campaign:
        held = {self._name(ref) for ref in self.cube_bands()}
        for reduction in self._of_bands:
            self._require_bands_once(reduction)
            self._settle_indices(reduction)
        for composite in self.composites:
            composite.require_no_classes(self.ref)
            composite.require_one_resolution(self.ref)
        for reduction in self._of_bands:
            for reference in map(self._name, self._sources(reduction)):
                if reference not in held:
                    raise ValueError(
                        f"reduction {reduction.name!r} needs band {reference}, which cube.bands lacks; add it there"
                    )
        names = [reduction.name for reduction in self.reductions]
        if len(set(names)) != len(names):
            raise ValueError("two reductions have the same name; rename one")
        return self

    @model_validator(mode="after")
    def _markers_of_series(self) -> Campaign:
        names = [rule.name for rule in self.markers]
        if len(set(names)) != len(names):
            raise ValueError("two marker rules have the same name; rename one")
        series = {item.name: (self._with_statistics(item), item.statistics) for item in self.signatures}
        is_radar = any(band.kind in ("power", "coherence") for band in self.sensor.bands.values())
        for number, rule in enumerate(self.markers):
            try:
                self.markers[number] = settled(rule, series, "each" if is_radar else "all")
            except ValueError as error:
                raise ValueError(f"marker rule {rule.name!r}: {error}") from error
        return self

    def _with_statistics(self, reduction: SignatureReduction) -> list[str]:
        """Bands and indices of a reduction that have statistics, by the names that they have in the store."""
        return [*(text for text in reduction.bands if not self.ref(text).band.is_categorical), *reduction.indices]

    def _require_bands_once(self, reduction: SignatureReduction | Composite) -> None:
        """Refuse two names of one band: results would have its columns twice."""
        known: dict[BandRef, str] = {}
        for text in reduction.bands:
            ref = self._source(reduction, text)
            if ref in known:
                raise ValueError(f"reduction {reduction.name!r}: {known[ref]} and {text} are one band; leave one out")
            known[ref] = text

    def _held(self, text: str) -> BandRef:
        """Band that `cube.bands` names."""
        try:
            return self.ref(text)
        except ValueError as error:
            chosen = self.scenes.collection
            raise ValueError(f"cube.bands: {error} (`scenes.collection` is {chosen})") from error

    def _source(self, reduction: SignatureReduction | Composite, text: str) -> BandRef:
        """Band that a reduction uses."""
        try:
            return self.ref(text)
        except ValueError as error:
            if reduction.mask is not None and text == reduction.mask.band:
                raise ValueError(
                    f"reduction {reduction.name!r} masks by {text}, which {self.scenes.collection} does not have: "
                    "write `mask: null` in the reduction"
                ) from error
            raise ValueError(f"reduction {reduction.name!r}: {error}") from error

    def _sources(self, reduction: SignatureReduction | Composite) -> list[BandRef]:
        """Every band that a reduction needs, with those that its methods choose dates by."""
        named = [self._source(reduction, text) for text in reduction.named_bands()]
        return named if isinstance(reduction, SignatureReduction) else [*named, *reduction.source_bands(self.ref)]

    def _settle_indices(self, reduction: SignatureReduction | Composite) -> None:
        """Write into each index at which resolution its bands are meant: what it is computed from stands in it."""
        for name, text in reduction.indices.items():
            try:
                require_no_band(name, self.sensor.parse)
                settled = resolved(text, self.cube_bands(), self.ref, at_one=isinstance(reduction, Composite))
            except ValueError as error:
                raise ValueError(f"reduction {reduction.name!r}: index {name}: {error}") from error
            reduction.indices[name] = settled

    @model_validator(mode="after")
    def _zones_for_the_extent(self) -> Campaign:
        if self.cube.extent == "zones" and not self.signatures:
            raise ValueError(
                "`cube.extent: zones` needs a reduction with zones; add one, or write `aoi` or `granule`"
            )
        return self

    @model_validator(mode="after")
    def _nothing_needs_the_cube(self) -> Campaign:
        if not self.cube.keep:
            require_no_cube_needed(
                self.composites, self.steps, has_work=bool(self.signatures or self.extensions or self.graphs)
            )
        return self

    @model_validator(mode="after")
    def _blocks_have_a_source(self) -> Campaign:
        known = [composite.name for composite in self.composites]
        for reduction in self.of_blocks:
            if reduction.collection is None and not self.has_products:
                raise ValueError(
                    f"reduction {reduction.name!r}: this campaign has no products; name another one in `collection`"
                )
            if reduction.collection is None and reduction.composite is not None and reduction.composite not in known:
                raise ValueError(
                    f"reduction {reduction.name!r}: there is no composite {reduction.composite!r}; "
                    f"there is {', '.join(known) or 'none'}"
                )
        return self

    @model_validator(mode="after")
    def _products_named(self) -> Campaign:
        if not self.has_products and (not self.graphs or len(self.graphs) < len(self.reductions) or self.cube.keep):
            raise ValueError("`scenes.paths` names no folder; name at least one")
        return self

    @model_validator(mode="after")
    def _one_view(self) -> Campaign:
        if self.composites:
            try:
                self.scenes.options.require_one_view()
            except ValueError as error:
                raise ValueError(f"composite {self.composites[0].name!r} {error}") from error
        return self

    @model_validator(mode="after")
    def _steps_in_order(self) -> Campaign:
        stages = [*(["ingest"] if self.cube.keep else []), *(["zones", "signatures"] if self.signatures else [])]
        if self.composites:
            stages += ["composites", *(["export"] if any(item.outputs.cog for item in self.composites) else [])]
        if self.graphs:
            stages += ["graph", "results"]
        require_order(self.steps, [*stages, *self.extensions])
        return self

    @property
    def sensor(self) -> Sensor:
        """Sensor that measured the products."""
        return self.scenes.sensor

    def ref(self, text: str) -> BandRef:
        """Band of the cube that a text names: `B11` is B11 at 20 m in granules, at 10 m on a grid of 10 m."""
        return self.sensor.parse(text, level=self.scenes.level, pixel_m=self.grid.pixel_m)

    def _name(self, ref: BandRef) -> str:
        """Band as a campaign file has it; on a grid with its pixels, which `B11` alone leaves to the grid."""
        return ref.key if self.grid.resampled else str(ref)

    def cube_bands(self) -> list[BandRef]:
        """Bands of the cube, parsed, without repetitions, finest resolution first."""
        refs = {self._held(text) for text in self.cube.bands}
        return sorted(refs, key=lambda ref: (ref.resolution_m, ref.name))

    @property
    def _of_bands(self) -> list[SignatureReduction | Composite]:
        """Reductions of bands of the cube that they name."""
        return [*self.signatures, *self.composites]

    @property
    def graphs(self) -> list[OfWindows]:
        """Process graphs, functions and models: what is computed window by window."""
        return [item for item in self.reductions if isinstance(item, GraphReduction | BlockReduction)]

    @property
    def of_blocks(self) -> list[BlockReduction]:
        """Functions and models."""
        return [reduction for reduction in self.reductions if isinstance(reduction, BlockReduction)]

    @property
    def of_pixels(self) -> list[Composite | OfWindows]:
        """Reductions whose results are files."""
        return [*self.composites, *self.graphs]

    @property
    def has_products(self) -> bool:
        """Whether it reads products of its own; else it only computes graphs of other campaigns."""
        return bool(self.scenes.paths)

    @property
    def signatures(self) -> list[SignatureReduction]:
        """Reductions to statistics of zones."""
        return [reduction for reduction in self.reductions if isinstance(reduction, SignatureReduction)]

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
    def contents(self) -> Mapping[str, str]:
        """Digests of the files that options of the sensor name, by option; known once a plan has frozen them."""
        return self._contents

    def with_contents(self, contents: Mapping[str, str]) -> Campaign:
        """The campaign, with digests of the files that options of the sensor name."""
        campaign = self.model_copy()
        campaign._contents = dict(contents)
        return campaign

    @property
    def folder(self) -> Path:
        """The folder that relative paths start from."""
        return self._path.parent

    @property
    def run_dir(self) -> Path:
        """Run directory: plan, journals, logs and spool files."""
        return self.folder / f"{self.name}.run"

    @property
    def aoi_path(self) -> Path | None:
        """Absolute path of the file of the area of interest; None for WKT and a bounding box."""
        from hpckit.space.aoi import aoi_file

        path = aoi_file(self.aoi, self.folder)
        return None if path is None else path.absolute()

    @property
    def cube_path(self) -> Path:
        """Absolute path of the cube."""
        return self.resolve(self.cube.path)

    @property
    def fetched_path(self) -> Path:
        """Absolute path of the folder for copies of images on servers."""
        return self.resolve(self.scenes.fetched)

    @property
    def store_path(self) -> Path:
        """Absolute path of the GeoPackage."""
        return self.resolve(self.store.path or Path(f"{self.name}.gpkg"))

    def resolve(self, path: Path) -> Path:
        """Absolute form of a path of the campaign file; `~` is the home folder."""
        return (self.folder / expand(path)).absolute()

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
    _require_sound_graphs(campaign)
    return campaign


def _require_sound_graphs(campaign: Campaign) -> None:
    """Refuse graphs with faults of form; those of types need collections, and are found when it is planned."""
    found = []
    for number, reduction in enumerate(campaign.reductions):
        if isinstance(reduction, GraphReduction):
            place = f"{campaign.path}:{campaign.line('reductions', number, 'graph')}: reductions.{number}.graph"
            text = reduction.text(campaign.folder)
            file = "" if isinstance(reduction.graph, dict) else f"{reduction.graph}: "
            found += [f"{place}: {file}{fault}" for fault in graph_faults(text, reduction.parameters)]
    if found:
        raise CampaignError("\n".join(found), hint="`hpckit graph check` shows all faults of a graph")
