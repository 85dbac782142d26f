"""The campaign file: one YAML file that describes a production.

Paths in it are relative to the file's own folder. `load_campaign` names file, line, field and remedy of
whatever is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    ConfigDict,
    Discriminator,
    Field,
    GetPydanticSchema,
    PrivateAttr,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import core_schema

from hpckit.base.account import expand
from hpckit.base.document import read_document
from hpckit.campaign.blocks import BlockReduction, FunctionReduction, OfWindows, PredictReduction
from hpckit.campaign.composite import Composite
from hpckit.campaign.cube import Cube
from hpckit.campaign.cubeless import require_no_cube_needed
from hpckit.campaign.graph import GraphReduction, graph_faults, with_own_data
from hpckit.campaign.indices import require_no_band, resolved
from hpckit.campaign.markers import MarkerRule, settled
from hpckit.campaign.model import Model
from hpckit.campaign.period import Period
from hpckit.campaign.retention import Retention
from hpckit.campaign.scenes import Scenes
from hpckit.campaign.signatures import SignatureReduction
from hpckit.campaign.step import Step, require_order
from hpckit.campaign.storesettings import StoreSettings
from hpckit.errors import CampaignError, GridError
from hpckit.sensors.bands import BandRef
from hpckit.sensors.registry import SENSORS
from hpckit.sensors.sensor import Sensor
from hpckit.space.areafile import Area
from hpckit.space.grid import NATIVE, PATTERN, Grid, parse_grid

if TYPE_CHECKING:
    pass


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


class Campaign(Model):
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
    retention: Retention = Field(default_factory=Retention)
    """How long `hpckit clean` keeps what a run does not need any more; it removes nothing without `--yes`."""
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
                self._require_attributes(self.markers[number])
            except ValueError as error:
                raise ValueError(f"marker rule {rule.name!r}: {error}") from error
        return self

    def _require_attributes(self, rule: MarkerRule) -> None:
        """Refuse a rule for zones whose attributes nobody reads; those of `all` are known when zones are read."""
        known = next(item.attributes for item in self.signatures if item.name == rule.reduction)
        missing = [name for name in rule.where if known != "all" and name not in known]
        if missing:
            raise ValueError(
                f"`where` names the attribute {missing[0]!r}, which reduction {rule.reduction!r} does not read; add "
                f"`attributes: [{missing[0]}]` to it"
            )

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
