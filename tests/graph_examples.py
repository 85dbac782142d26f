"""Process graphs on the small campaign, and what numpy makes of its cube."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray

from hpckit import open_campaign

Graph = dict[str, Any]
BOX = {"west": 600500, "south": 5689500, "east": 609000, "north": 5699000, "crs": 32631}
"""Most of the granule: several windows."""


def node(process: str, /, **arguments: Any) -> dict[str, Any]:
    return {"process_id": process, "arguments": arguments}


def of(name: str) -> dict[str, str]:
    return {"from_node": name}


def calling(process: str, parameter: str = "data", **arguments: Any) -> dict[str, Any]:
    """A child process of one node."""
    given = {parameter: {"from_parameter": parameter}, **arguments}
    return {"process_graph": {"one": {**node(process, **given), "result": True}}}


def load(name: str = "test", **arguments: Any) -> dict[str, Any]:
    return node("load_collection", **{"id": name, "spatial_extent": None, "temporal_extent": None, **arguments})


def ending(graph: Graph, data: str, file_format: str = "GTiff", **options: Any) -> Graph:
    saved = node("save_result", data=of(data), format=file_format, options=options)
    return {**graph, "save": {**saved, "result": True}}


def masked_median(name: str = "test", **extents: Any) -> Graph:
    """The median of clear observations of two bands."""
    cloudy = {"process_graph": {"cloud": {**node("gte", x={"from_parameter": "x"}, y=8), "result": True}}}
    return ending(
        {
            "load": load(name, bands=["B04", "B08", "SCL"], **extents),
            "measured": node("filter_bands", data=of("load"), bands=["B04", "B08"]),
            "classes": node("filter_bands", data=of("load"), bands=["SCL"]),
            "flat": node("drop_dimension", data=of("classes"), name="bands"),
            "clouds": node("apply", data=of("flat"), process=cloudy),
            "clear": node("mask", data=of("measured"), mask=of("clouds")),
            "median": node("reduce_dimension", data=of("clear"), dimension="t", reducer=calling("median")),
        },
        "median",
    )


def mean_of_zones(geometries: Mapping[str, Any], name: str = "test") -> Graph:
    """The mean of a band in polygons, at each date."""
    return ending(
        {
            "load": load(name, bands=["B04"]),
            "means": node("aggregate_spatial", data=of("load"), geometries=geometries, reducer=calling("mean")),
        },
        "means",
        "CSV",
    )


def write_job(folder: Path, graph: Graph, collections: Mapping[str, Path], *, memory_mib: int = 768) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "graph.json").write_text(json.dumps(graph))
    named = json.dumps({name: str(path) for name, path in collections.items()})
    (folder / "campaign.yaml").write_text(
        "name: job\nreductions:\n"
        f"  - {{name: result, kind: graph, graph: graph.json, collections: {named}, memory_mib: {memory_mib}}}\n"
    )
    return folder / "campaign.yaml"


def cubes(campaign: Path) -> xarray.Dataset:
    """All bands of a campaign's cube at 10 m, as xarray reads them; classes are repeated."""
    view = open_campaign(campaign)
    fine, coarse = view.cube(resolution_m=10, chunks=None), view.cube(resolution_m=20, chunks=None)
    for band in coarse.data_vars:
        if coarse[band].ndim == 3:
            fine[band] = (("time", "y", "x"), coarse[band].values.repeat(2, 1).repeat(2, 2))
    return fine


def expected_median(campaign: Path) -> np.ndarray:
    """What `masked_median` gives, by xarray: shape (2, rows, columns)."""
    data = cubes(campaign)
    clear = data[["B04", "B08"]].where(~(data.SCL >= 8))
    with xarray.set_options(use_numbagg=False):  # which compiles for longer than all the rest takes
        return clear.median("time").to_array().values
