"""Where and when a result is, as STAC says it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyproj
import shapely

from hpckit.processgraph.cube import Cube, Dimension, Geometries, Grid, Label
from hpckit.reduce.graphs.formats.arrange import moment, rfc3339
from hpckit.space import footprint


def of_grid(grid: Grid) -> dict[str, Any]:
    """Fields of a `ResultFile` that say where the pixels of a grid lie."""
    transform = (grid.dx, 0.0, grid.left, 0.0, grid.dy, grid.top)
    found = {**of_crs(grid.crs), "shape": grid.shape, "transform": transform}
    try:
        outline = footprint.outline(grid.crs, transform, grid.shape)
    except (ValueError, pyproj.exceptions.ProjError):
        return found  # beyond what the projection knows
    return {**found, "geometry": footprint.geojson(outline), "bbox": tuple(footprint.bbox(outline))}


def of_geometries(geometries: Geometries, features: range | None = None) -> dict[str, Any]:
    """Fields of a `ResultFile` that say where geometries lie; the box around all of them is its geometry."""
    shapes = in_degrees(geometries)
    if features is not None:
        shapes = shapes[features.start : features.stop]
    boxes = shapely.bounds(shapes)
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    if not len(boxes):
        return of_crs(geometries.crs)
    bbox = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)]
    bbox = [float(edge) for edge in bbox]
    return {**of_crs(geometries.crs), "bbox": tuple(bbox), "geometry": footprint.geojson(shapely.box(*bbox))}


def in_degrees(geometries: Geometries) -> Any:
    """Shapes in longitude and latitude of WGS 84, as GeoJSON has them."""
    crs = pyproj.CRS.from_user_input(geometries.crs)
    if crs.to_epsg() == 4326 or crs.equals("OGC:CRS84"):
        return geometries.shapes
    to_degrees = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    return shapely.transform(
        geometries.shapes, lambda points: np.column_stack(to_degrees.transform(points[:, 0], points[:, 1]))
    )


def of_crs(crs: str) -> dict[str, Any]:
    """Code of a CRS, or its WKT if it has none."""
    known = pyproj.CRS.from_user_input(crs)
    epsg = known.to_epsg()
    return {"epsg": epsg} if epsg is not None else {"wkt": known.to_wkt()}


def of_labels(labels: Sequence[Label | None]) -> dict[str, Any]:
    """First and last moment of labels of time."""
    moments = sorted((found, label) for label in labels if (found := moment(label)) is not None)
    if not moments:
        return {}
    return {"start": rfc3339(moments[0][1]), "end": rfc3339(moments[-1][1])}


def dimensions(kind: Cube) -> dict[str, Any]:
    """`cube:dimensions` of a cube (datacube extension of STAC, version 2)."""
    return {dim.name: _dimension(kind, dim) for dim in kind.dims}


def _dimension(kind: Cube, dim: Dimension) -> dict[str, Any]:
    if dim.kind == "geometry":
        crs = dim.crs or (kind.geometries.crs if kind.geometries else "")
        return {"type": "geometry", "axes": ["x", "y"], **_reference_system(crs)}
    if dim.kind == "spatial" and kind.grid is not None and dim.axis in ("x", "y"):
        west, south, east, north = kind.grid.bounds
        edges, step = ([west, east], kind.grid.dx) if dim.axis == "x" else ([south, north], kind.grid.dy)
        described = {"type": "spatial", "axis": dim.axis, "extent": edges, "step": abs(step)}
        return {**described, **_reference_system(kind.grid.crs)}
    if dim.kind == "temporal":
        moments = sorted(found for label in dim.labels if (found := rfc3339(label)))
        extent = [moments[0], moments[-1]] if moments else [None, None]
        return {"type": "temporal", "extent": extent, "values": list(dim.labels)}
    if dim.kind == "spatial":
        return {"type": "spatial", "axis": dim.axis or "z", "values": list(dim.labels)}
    return {"type": dim.kind, "values": list(dim.labels)}


def _reference_system(crs: str) -> dict[str, Any]:
    if not crs:
        return {}
    found = of_crs(crs)
    return {"reference_system": found.get("epsg") or found["wkt"]}
