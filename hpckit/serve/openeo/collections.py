"""Collections: the campaigns that are served, as openEO and STAC describe data cubes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import Request

from hpckit import api
from hpckit.errors import GraphError
from hpckit.serve.dataset import Dataset
from hpckit.serve.openeo.errors import OpenEoError
from hpckit.serve.openeo.jobfolder import stamp
from hpckit.serve.openeo.ondemand import OnDemand
from hpckit.serve.service import Service

if TYPE_CHECKING:
    from hpckit.reduce.graphs.describe import BandInfo, CollectionInfo

STAC_VERSION: Final = "1.0.0"
_EXTENSIONS: Final = (
    "https://stac-extensions.github.io/datacube/v2.2.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
)
_SCHEMAS: Final[dict[str, dict[str, Any]]] = {
    "eo:cloud_cover": {"type": "number", "minimum": 0, "maximum": 100, "title": "Cloud cover in percent"},
    "sat:relative_orbit": {"type": "integer", "title": "Relative orbit"},
}


class Collections:
    """What clients see of the data sets.

    Parameters
    ----------
    service : Service
        Data sets, and who may read them.
    on_demand : OnDemand
        Those whose cube jobs fill.
    """

    def __init__(self, service: Service, on_demand: OnDemand) -> None:
        self.service = service
        self._on_demand = on_demand
        self._known: dict[str, tuple[str, CollectionInfo]] = {}
        self._lock = Lock()

    def listed(self, request: Request) -> list[dict[str, Any]]:
        """All collections that the reader may know of, in short."""
        found = []
        for dataset in self.service.readable(request):
            try:
                info = self._info(dataset)
            except GraphError:
                continue  # never planned: there is nothing to describe
            whole = self._described(request, dataset, info)
            found.append(
                {name: value for name, value in whole.items() if name not in ("cube:dimensions", "summaries")}
            )
            found[-1]["stac_extensions"] = []
        return found

    def described(self, request: Request, name: str) -> dict[str, Any]:
        """A collection (GET /collections/{id})."""
        dataset, info = self._find(request, name)
        return self._described(request, dataset, info)

    def queryables(self, request: Request, name: str) -> dict[str, Any]:
        """What conditions of `load_collection` may use (JSON Schema)."""
        dataset, info = self._find(request, name)
        return {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "$id": f"{self.service.address(request)}/openeo/1.2/collections/{name}/queryables",
            "type": "object",
            "title": dataset.title,
            "properties": {known: _schema(known, info) for known in info.properties},
            "additionalProperties": False,
        }

    def paths(self, request: Request) -> Mapping[str, Path]:
        """Campaigns from which the reader of a request may compute, by the names of the collections."""
        names = [name for name in self.service.datasets if self._may_compute(request, name)]
        return {name: self._on_demand.path(name) for name in names}

    def _may_compute(self, request: Request, name: str) -> bool:
        return self.service.may(request, name, "export")

    def _find(self, request: Request, name: str) -> tuple[Dataset, CollectionInfo]:
        dataset = self.service.datasets.get(name)
        if dataset is None or not self.service.may(request, name, "info"):
            raise OpenEoError("CollectionNotFound", f"there is no collection {name!r}")
        try:
            return dataset, self._info(dataset)
        except GraphError as fault:
            raise OpenEoError("CollectionNotFound", fault.message.replace(f"{dataset.path}", name)) from None

    def _info(self, dataset: Dataset) -> CollectionInfo:
        """Description of a data set; read again when its run has other inputs."""
        digest = dataset.edition.digest
        with self._lock:
            known = self._known.get(dataset.name)
        if known is not None and known[0] == digest:
            return known[1]
        info = api.describe_collection(dataset.path, name=dataset.name)
        with self._lock:
            self._known[dataset.name] = digest, info
        return info

    def _described(self, request: Request, dataset: Dataset, info: CollectionInfo) -> dict[str, Any]:
        root = f"{self.service.address(request)}/openeo/1.2"
        address = f"{root}/collections/{dataset.name}"
        links = [
            {"rel": "self", "href": address, "type": "application/json"},
            {"rel": "root", "href": f"{root}/", "type": "application/json"},
            {"rel": "parent", "href": f"{root}/collections", "type": "application/json"},
            {
                "rel": "http://www.opengis.net/def/rel/ogc/1.0/queryables",
                "href": f"{address}/queryables",
                "type": "application/schema+json",
            },
        ]
        return {
            "stac_version": STAC_VERSION,
            "stac_extensions": list(_EXTENSIONS),
            "type": "Collection",
            "id": dataset.name,
            "title": dataset.title,
            "description": _sentence(info, is_filled=dataset.name in self._on_demand),
            "license": "proprietary",
            "keywords": [info.mission, info.level],
            "providers": [],
            "extent": {
                "spatial": {"bbox": [list(info.bbox)]},
                "temporal": {"interval": [[_moment(info.start), _moment(info.end)]]},
            },
            "cube:dimensions": _dimensions(info),
            "summaries": _summaries(info),
            "links": links,
        }


def _sentence(info: CollectionInfo, *, is_filled: bool) -> str:
    held = (
        "in a cube that jobs fill" if is_filled else "in a cube" if info.keeps_cube else "decoded from the products"
    )
    count = (
        f"{info.dates} date{'s' if info.dates != 1 else ''} on {len(info.tiles)} tile{'s'[: len(info.tiles) != 1]}"
    )
    return f"{info.mission} {info.level}, {count}, {held}; period of the campaign: {info.period}."


def _dimensions(info: CollectionInfo) -> dict[str, Any]:
    west, south, east, north = info.bbox
    # In degrees, since tiles may lie in several zones of UTM; cubes are in the CRS of the tiles.
    horizontal = {"type": "spatial", "reference_system": 4326}
    return {
        "x": {**horizontal, "axis": "x", "extent": [west, east]},
        "y": {**horizontal, "axis": "y", "extent": [south, north]},
        "t": {"type": "temporal", "extent": [_moment(info.start), _moment(info.end)]},
        "bands": {"type": "bands", "values": [band.name for band in info.bands]},
    }


def _summaries(info: CollectionInfo) -> dict[str, Any]:
    codes = [int(crs.rpartition(":")[2]) for crs in info.crs if crs.startswith("EPSG:")]
    return {
        # A range is also a JSON Schema, so by openEO's schema of collections it would be neither; queryables have it.
        **{name: value for name, value in info.summaries.items() if value and not isinstance(value, Mapping)},
        "constellation": info.summaries.get("constellation") or [info.mission],
        "gsd": list(info.resolutions_m),
        "proj:epsg": codes,
        "eo:bands": [_band(band) for band in info.bands],
    }


def _band(band: BandInfo) -> dict[str, Any]:
    found: dict[str, Any] = {"name": band.name, "gsd": band.resolution_m}
    if band.common_name:
        found["common_name"] = band.common_name
    if band.description:
        found["description"] = band.description
    if band.wavelength_um is not None:
        found["center_wavelength"] = band.wavelength_um
    if band.unit:
        found["unit"] = band.unit
    if band.classes:
        found["classification:classes"] = [{"value": value, "name": name} for value, name in band.classes.items()]
    return found


def _schema(name: str, info: CollectionInfo) -> dict[str, Any]:
    if name in _SCHEMAS:
        return _SCHEMAS[name]
    values = info.summaries.get(name)
    if isinstance(values, list) and values:
        kind = "string" if all(isinstance(value, str) for value in values) else "number"
        return {"title": name, "type": kind, "enum": values}
    return {"title": name}


def _moment(at: Any) -> str:
    return stamp(at.timestamp())
