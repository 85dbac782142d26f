"""The part of a campaign file that says which products to use: `scenes`, and that of steps which make some."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from hpckit.campaign.fetching import Fetching
from hpckit.sensors.model import Level
from hpckit.sensors.options import SensorOptions
from hpckit.sensors.rasters.options import RasterOptions
from hpckit.sensors.registry import DEFAULT, collections, sensor_with, sensors
from hpckit.sensors.sensor import Sensor
from hpckit.sensors.sentinel1.options import RadarOptions
from hpckit.sensors.stac.options import ItemOptions


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, Path)) else value


Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9+.-]+://")]
"""Of a folder that is not on this machine."""


class _Collections:
    """Tells editors which collections there are."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Names of collections, those of other packages too."""
        return {"enum": collections(), "type": "string"}


class Products(BaseModel):
    """Products of one kind."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    paths: Annotated[
        list[Annotated[Address | Path, Field(union_mode="left_to_right")]],
        BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
        Field(min_length=1),
    ]
    """Folders that are searched for products at any depth, products, or files of STAC items, also stac-geoparquet;
    and folders of object stores, `s3://eodata/Sentinel-2/MSI/L2A`, of which those of the period are searched."""
    collection: Annotated[str, _Collections] = DEFAULT
    max_cloud_cover: Annotated[float, Field(ge=0, le=100)] = 100
    """Percent of the whole granule, from its metadata."""
    tiles: list[str] | None = None
    """Only these tiles, `31UFU`."""
    items: ItemOptions = Field(default_factory=ItemOptions)
    """How STAC items are read whose catalogue is unknown, or whose offset is wrong."""

    hosts: list[str] = []
    """Servers of private addresses from which products may be read, by name; others are refused."""

    @property
    def folders(self) -> list[Path]:
        """Those of `paths` that are on this machine."""
        return [path for path in self.paths if isinstance(path, Path)]

    @property
    def addresses(self) -> list[str]:
        """Those of `paths` that are in object stores."""
        return [path for path in self.paths if isinstance(path, str)]

    @property
    def sensor(self) -> Sensor:
        """Sensor that measured the products."""
        return sensor_with(self.collection)

    @property
    def level(self) -> Level:
        """Processing level of the collection."""
        return self.sensor.collections[self.collection]

    @field_validator("paths")
    @classmethod
    def _can_be_listed(cls, paths: list[str | Path]) -> list[str | Path]:
        for path in paths:
            if isinstance(path, str) and not re.match(r"s3://[^/]+|https?://[^?]+\.zarr/?(?:\?.*)?$", path):
                raise ValueError(
                    f"{path}: only folders and object stores (`s3://bucket/folder`) can be searched; of a web "
                    "server, name products of EOPF Zarr (`https://host/a.zarr`), or STAC items"
                )
        return paths

    @field_validator("collection")
    @classmethod
    def _known(cls, collection: str) -> str:
        sensor_with(collection)
        return collection

    @field_validator("tiles")
    @classmethod
    def _tile_names(cls, tiles: list[str] | None, info: ValidationInfo) -> list[str] | None:
        collection = info.data.get("collection")
        if tiles is None or collection is None:  # a wrong collection has a message of its own
            return tiles
        sensor = sensor_with(collection)
        return [sensor.tile(tile) for tile in tiles] if sensor.bands else tiles  # else options make the sensor

    @model_validator(mode="after")
    def _sensor_known(self) -> Products:
        if not self.sensor.bands:
            raise ValueError(
                f"collection {self.collection} needs `{self.sensor.option}`, which says what its bands are and is a "
                "field of the campaign's own `scenes`"
            )
        return self


class Scenes(Products):
    """Which products to use."""

    paths: Annotated[
        list[Annotated[Address | Path, Field(union_mode="left_to_right")]],
        BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    ]
    """Folders that are searched for products at any depth, products, or files of STAC items, also stac-geoparquet;
    and folders of object stores, `s3://eodata/Sentinel-2/MSI/L2A`, of which those of the period are searched. None
    in a campaign that only computes graphs of other campaigns."""
    verify: bool = True
    """Compare each file with the size and checksum that its product has of it before it is decoded."""
    fetched: Path = Path("fetched")
    """Folder into which `hpckit fetch` copies images from servers, and where they are read then."""
    fetch: Fetching | None = None
    """Fetch images from servers by a stage of its own, before they are decoded; `fetch: {}` has no quota."""
    radar: RadarOptions = Field(default_factory=RadarOptions)
    """Of Sentinel-1 only."""
    rasters: RasterOptions | None = None
    """Of images of one's own: what names of files say, and which bands there are. It implies the collection."""

    @model_validator(mode="before")
    @classmethod
    def _collection_of_the_options(cls, values: Any) -> Any:
        """Options of a sensor with one collection name it."""
        if not isinstance(values, dict) or "collection" in values:
            return values
        for sensor in sensors():
            if sensor.option in values and len(sensor.collections) == 1:
                return {**values, "collection": next(iter(sensor.collections))}
        return values

    @property
    def options(self) -> SensorOptions:
        """What the file says of the sensor only."""
        option = sensor_with(self.collection).option
        options: SensorOptions | None = getattr(self, option) if option else None
        return options or SensorOptions()

    @property
    def sensor(self) -> Sensor:
        """Sensor that measured the products, with the bands that its options give it."""
        return self.options.sensor(sensor_with(self.collection))

    @model_validator(mode="after")
    def _options_fit(self) -> Scenes:
        if self.options is not self.radar and self.radar != RadarOptions():
            raise ValueError(f"radar is of Sentinel-1 only; the collection is {self.collection}")
        if self.options is not self.rasters and self.rasters is not None:
            raise ValueError(f"rasters is of images of one's own only; the collection is {self.collection}")
        if self.rasters is not None and self.addresses:
            raise ValueError(
                f"images of one's own are files of this machine; {self.addresses[0]} is in an object store"
            )
        for tile in self.tiles or ():
            self.sensor.tile(tile)
        self.options.require(self.level)
        return self
