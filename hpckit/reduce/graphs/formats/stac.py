"""Results of a job as STAC 1.1: an Item if there is one file, else a Collection; and Items of its parts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from hpckit.base.version import __version__
from hpckit.reduce.graphs.formats.names import safe, unique
from hpckit.reduce.graphs.formats.result import BandOfFile, ResultFile
from hpckit.space.footprint import around

_PROJECTION: Final = "https://stac-extensions.github.io/projection/v2.0.0/schema.json"
_RASTER: Final = "https://stac-extensions.github.io/raster/v2.0.0/schema.json"
_EO: Final = "https://stac-extensions.github.io/eo/v2.0.0/schema.json"
_DATACUBE: Final = "https://stac-extensions.github.io/datacube/v2.2.0/schema.json"
_PROCESSING: Final = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
_WORLD: Final = (-180.0, -90.0, 180.0, 90.0)


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a job besides its files."""

    id: str
    created: str
    """When the results were made, by RFC 3339; the time of results that have none."""
    title: str = ""
    description: str = ""
    graph: Mapping[str, Any] | None = None
    """The process graph, as it was sent."""
    derived_from: Sequence[str] = ()
    """Addresses of collections, or of items."""
    interval: tuple[str | None, str | None] = (None, None)
    """Period of results whose files have no time."""
    links: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    """More links: `self`, `canonical`, `item`."""
    license: str = "other"


Address = Callable[[ResultFile], str]
"""Address of a file, which may be signed."""


def results_stac(files: Sequence[ResultFile], about: About, address: Address) -> dict[str, Any]:
    """The results of a job: an Item if there is one file, else a Collection whose assets are the files."""
    if len(files) == 1:
        return _item(about.id, files, about, address)
    boxes = [file.bbox for file in files if file.bbox]
    start, end = _period(files, about)
    assets = _assets(files, address)
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": _extensions(assets.values()) + ([_PROCESSING] if about.graph else []),
        "id": about.id,
        **({"title": about.title} if about.title else {}),
        "description": about.description or about.title or f"Results of job {about.id}",
        "license": about.license,
        "extent": {
            "spatial": {"bbox": [around(boxes) if boxes else list(_WORLD)]},
            "temporal": {"interval": [[start or about.created, end or about.created]]},
        },
        **_summaries(files),
        **_processing(about),
        "assets": assets,
        "links": _links(about),
    }


def result_items(files: Sequence[ResultFile], about: About, address: Address) -> list[dict[str, Any]]:
    """An Item for each place and time, with the files of it as assets."""
    groups: dict[tuple[Any, ...], list[ResultFile]] = {}
    for file in files:
        groups.setdefault((file.bbox, file.start, file.end, file.feature), []).append(file)
    names = unique(_name(about, group[0]) for group in groups.values())
    return [
        {**_item(name, group, about, address), "collection": about.id}
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _name(about: About, file: ResultFile) -> str:
    day = (file.start or "")[:10]
    return "_".join([about.id, *(safe(word) for word in (file.feature, day) if word)])


def _item(name: str, files: Sequence[ResultFile], about: About, address: Address) -> dict[str, Any]:
    located = [file for file in files if file.geometry and file.bbox]
    start, end = _period(files, about)
    assets = _assets(files, address)
    dimensions = next((file.dimensions for file in files if file.dimensions), {})
    # Clients refuse null for the time, which STAC allows beside start and end.
    times = {"start_datetime": start, "end_datetime": end} if start and end else {}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            *_extensions(assets.values()),
            *([_DATACUBE] if dimensions else []),
            *([_PROCESSING] if about.graph else []),
        ],
        "id": name,
        "geometry": located[0].geometry if located else None,
        **({"bbox": list(located[0].bbox or ())} if located else {}),
        "properties": {
            **({"title": about.title} if about.title else {}),
            **({"description": about.description} if about.description else {}),
            "datetime": start or end or about.created,
            **times,
            "created": about.created,
            **({"cube:dimensions": dimensions} if dimensions else {}),
            **_processing(about),
        },
        "links": _links(about),
        "assets": assets,
    }


def _processing(about: About) -> dict[str, Any]:
    if about.graph is None:
        return {}
    return {
        "processing:software": {"hpckit": __version__},
        "processing:expression": {"format": "openeo", "expression": dict(about.graph)},
    }


def _links(about: About) -> list[dict[str, Any]]:
    return [*map(dict, about.links), *({"rel": "derived_from", "href": href} for href in about.derived_from)]


def _period(files: Sequence[ResultFile], about: About) -> tuple[str | None, str | None]:
    starts = [file.start for file in files if file.start]
    ends = [file.end for file in files if file.end]
    return (min(starts) if starts else about.interval[0]), (max(ends) if ends else about.interval[1])


def _summaries(files: Sequence[ResultFile]) -> dict[str, Any]:
    codes = sorted({f"EPSG:{file.epsg}" for file in files if file.epsg is not None})
    return {"summaries": {"proj:code": codes}} if codes else {}


def _extensions(assets: Any) -> list[str]:
    keys = {key for asset in assets for key in asset}
    in_bands = {key for asset in assets for band in asset.get("bands", ()) for key in band}
    found = [_PROJECTION] if any(key.startswith("proj:") for key in keys) else []
    found += [_RASTER] if any(key.startswith("raster:") for key in in_bands | keys) else []
    return found + ([_EO] if any(key.startswith("eo:") for key in in_bands) else [])


def _assets(files: Sequence[ResultFile], address: Address) -> dict[str, Any]:
    return {file.path.name: _asset(file, address) for file in files}


def _asset(file: ResultFile, address: Address) -> dict[str, Any]:
    asset: dict[str, Any] = {
        "href": address(file),
        "type": file.media_type,
        "title": file.title,
        "roles": list(file.roles),
    }
    if file.epsg is not None:
        asset["proj:code"] = f"EPSG:{file.epsg}"
    elif file.wkt:
        asset["proj:wkt2"] = file.wkt
    if file.shape and file.transform:
        asset |= {"proj:shape": list(file.shape), "proj:transform": list(file.transform)}
        asset["raster:spatial_resolution"] = abs(file.transform[0])
    if file.bbox:
        asset["proj:bbox"] = _projected(file)
    if file.bands:
        asset["bands"] = [_band(band) for band in file.bands]
    return {key: value for key, value in asset.items() if value is not None}


def _projected(file: ResultFile) -> list[float] | None:
    """Bounds in the CRS of the raster."""
    if not file.shape or not file.transform:
        return None
    a, _, c, _, e, f = file.transform
    xs, ys = sorted((c, c + a * file.shape[1])), sorted((f, f + e * file.shape[0]))
    return [xs[0], ys[0], xs[1], ys[1]]


def _band(band: BandOfFile) -> dict[str, Any]:
    found: dict[str, Any] = {"name": band.name, "data_type": band.dtype}
    if band.nodata is not None:
        found["nodata"] = "nan" if math.isnan(band.nodata) else band.nodata
    if band.common_name:
        found["eo:common_name"] = band.common_name
    if band.wavelength is not None:
        found["eo:center_wavelength"] = band.wavelength
    if band.statistics is not None:
        numbers = {
            "minimum": band.statistics.minimum,
            "maximum": band.statistics.maximum,
            "mean": band.statistics.mean,
            "stddev": band.statistics.stddev,
            "valid_percent": band.statistics.valid_percent,
        }
        found["statistics"] = {name: number for name, number in numbers.items() if number is not None}
    return found
