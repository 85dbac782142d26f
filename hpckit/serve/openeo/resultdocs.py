"""Results of a job as STAC: an Item for each file, and a Collection over them, with addresses that are signed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from hpckit.base.version import __version__
from hpckit.serve.openeo.collections import STAC_VERSION
from hpckit.serve.openeo.jobfolder import Job, State

FileFacts = Mapping[str, Any]
"""Fields of `ResultFile`."""
Address = Callable[[str], str]
"""Makes the address of a file below the job's folder, or of a document."""
COLLECTION: Final = "collection.json"
ITEMS: Final = "items/"
GRAPH: Final = "process.json"
_EXTENSIONS: Final = (
    "https://stac-extensions.github.io/projection/v1.1.0/schema.json",
    "https://stac-extensions.github.io/raster/v1.1.0/schema.json",
    "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
)
_EVERYWHERE: Final = (-180.0, -90.0, 180.0, 90.0)
_JSON: Final = "application/json"
_GEOJSON: Final = "application/geo+json"


def names_of(files: Sequence[FileFacts]) -> dict[str, FileFacts]:
    """Files by the names of their assets: the file's name, or its path where two have one name."""
    last = [PurePosixPath(item["path"]).name for item in files]
    return {
        name if last.count(name) == 1 else item["path"].replace("/", "_"): item
        for name, item in zip(last, files, strict=True)
    }


def item_of(job: Job, state: State, name: str, files: Sequence[FileFacts], address: Address) -> dict[str, Any]:
    """An Item with one file, or with all of a job."""
    shown = names_of(files) if len(files) > 1 or not name else {name: files[0]}
    boxes = [item["bbox"] for item in files if item.get("bbox")]
    first = next((item for item in files if item.get("bbox")), None)
    found: dict[str, Any] = {
        "stac_version": STAC_VERSION,
        "stac_extensions": list(_EXTENSIONS),
        "type": "Feature",
        "id": job.id if not name or len(files) > 1 else f"{job.id}_{PurePosixPath(name).stem}",
        "geometry": None,
        "properties": {**_times(job, files), **_about(job, state), **_projection(files)},
        "assets": assets_of(shown, address),
        "links": _links(job, address),
    }
    if first is not None:
        box = _union(boxes)
        found["bbox"] = box
        found["geometry"] = (first.get("geometry") if len(boxes) == 1 else None) or _polygon(box)
    return found


def collection_of(job: Job, state: State, files: Sequence[FileFacts], address: Address) -> dict[str, Any]:
    """A Collection with all files, and links to an Item for each."""
    times = _times(job, files)
    start = times.get("start_datetime") or times["datetime"]
    end = times.get("end_datetime") or times["datetime"]
    boxes = [item["bbox"] for item in files if item.get("bbox")]
    shown = names_of(files)
    links = _links(job, address)
    for name in shown:
        links.append({"rel": "item", "href": address(f"{ITEMS}{name}.json"), "type": _GEOJSON, "title": name})
    return {
        "stac_version": STAC_VERSION,
        "stac_extensions": list(_EXTENSIONS),
        "type": "Collection",
        "id": job.id,
        "title": job.title or f"Results of {job.id}",
        "description": job.description or f"Results of the batch job {job.id}.",
        "license": "proprietary",
        "extent": {
            "spatial": {"bbox": [_union(boxes) if boxes else list(_EVERYWHERE)]},
            "temporal": {"interval": [[start, end]]},
        },
        "summaries": {},
        **_about(job, state),
        "assets": assets_of(shown, address),
        "links": links,
    }


def assets_of(files: Mapping[str, FileFacts], address: Address) -> dict[str, Any]:
    """Assets of files, by their names."""
    return {name: _asset(item, address) for name, item in files.items()}


def _asset(item: FileFacts, address: Address) -> dict[str, Any]:
    found: dict[str, Any] = {
        "href": address(item["path"]),
        "type": item["media_type"],
        "title": item["title"],
        "roles": list(item["roles"]),
    }
    bands = item.get("bands") or ()
    if bands:
        found["eo:bands"] = [_eo(band) for band in bands]
        found["bands"] = [{"name": band["name"]} for band in bands]
    if bands and item.get("shape"):
        found["raster:bands"] = [_raster(band) for band in bands]
    return found | _placed(item)


def _eo(band: Mapping[str, Any]) -> dict[str, Any]:
    found = {"name": band["name"]}
    if band.get("common_name"):
        found["common_name"] = band["common_name"]
    if band.get("wavelength") is not None:
        found["center_wavelength"] = band["wavelength"]
    return found


def _raster(band: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"name": band["name"], "data_type": band["dtype"]}
    nodata = band.get("nodata")
    if nodata is not None:
        found["nodata"] = nodata if nodata == nodata else "nan"
    known = band.get("statistics")
    if known:
        found["statistics"] = {name: value for name, value in known.items() if value is not None}
    return found


def _placed(item: FileFacts) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if item.get("epsg") is not None:
        found["proj:epsg"] = item["epsg"]
    elif item.get("wkt"):
        found["proj:epsg"], found["proj:wkt2"] = None, item["wkt"]
    if item.get("shape"):
        found["proj:shape"] = list(item["shape"])
    if item.get("transform"):
        found["proj:transform"] = list(item["transform"])
    return found


def _projection(files: Sequence[FileFacts]) -> dict[str, Any]:
    """What all files have in common of where they lie."""
    placed = [_placed(item) for item in files]
    return placed[0] if placed and placed[0] and all(each == placed[0] for each in placed) else {}


def _times(job: Job, files: Sequence[FileFacts]) -> dict[str, Any]:
    starts = sorted(item["start"] for item in files if item.get("start"))
    ends = sorted(item["end"] for item in files if item.get("end"))
    if not starts or not ends:
        return {"datetime": job.updated}
    if starts[0] == ends[-1]:
        return {"datetime": starts[0]}
    # `datetime` could be null, but validators of openEO refuse it.
    return {"datetime": starts[0], "start_datetime": starts[0], "end_datetime": ends[-1]}


def _about(job: Job, state: State) -> dict[str, Any]:
    found = {"title": job.title, "description": job.description}
    return {
        **{name: text for name, text in found.items() if text},
        "created": job.created,
        "updated": job.updated,
        "openeo:status": "finished" if state.status == "finished" else state.status,
        "processing:software": {"hpckit": __version__},
    }


def _links(job: Job, address: Address) -> list[dict[str, Any]]:
    return [
        {"rel": "canonical", "href": address(COLLECTION), "type": _JSON, "title": "This document, without a login"},
        {"rel": "processing-expression", "href": address(GRAPH), "type": _JSON, "title": "The process"},
    ]


def sources(job: Job, root: str) -> Iterator[dict[str, Any]]:
    """Links to the collections that a job loads."""
    for name in collections_in(job.process.get("process_graph", {})):
        yield {"rel": "derived_from", "href": f"{root}/collections/{name}", "type": _JSON, "title": name}


def collections_in(graph: Mapping[str, Any]) -> Iterator[str]:
    """Names of collections that a graph loads."""
    for node in graph.values():
        if isinstance(node, dict) and node.get("process_id") == "load_collection":
            arguments = node.get("arguments")
            if isinstance(arguments, dict) and isinstance(arguments.get("id"), str):
                yield arguments["id"]


def _union(boxes: Sequence[Sequence[float]]) -> list[float]:
    if len(boxes) == 1:
        return list(boxes[0])
    # Boxes across the antimeridian have a west that is greater than their east.
    crossing = any(box[0] > box[2] for box in boxes)
    west, south, east, north = zip(*boxes, strict=True)
    return [-180.0 if crossing else min(west), min(south), 180.0 if crossing else max(east), max(north)]


def _polygon(box: Sequence[float]) -> dict[str, Any]:
    west, south, east, north = box
    if west > east:
        parts = [_polygon((west, south, 180.0, north)), _polygon((-180.0, south, east, north))]
        return {"type": "MultiPolygon", "coordinates": [part["coordinates"] for part in parts]}
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}
