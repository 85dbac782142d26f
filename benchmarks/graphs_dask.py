"""Peer of `graphs.py`: openeo-processes-dask computes a process graph on the same Zarr cube, by xarray.

    PYTHON graphs_dask.py JOB

JOB is a file of JSON: `graph`, `cube` (the group of a tile), `bands` by name with their group, `threads`, `result` (a
file of NumPy) and `zarr` (what the result is written to; it is only computed if this is empty). Prints seconds.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
STARTED = time.perf_counter(), time.process_time()


def main() -> None:
    """Run."""
    job = json.loads(Path(sys.argv[1]).read_text())
    import dask
    import numpy as np
    from openeo_pg_parser_networkx import OpenEOProcessGraph

    dask.config.set(scheduler="threads" if job["threads"] > 1 else "synchronous", num_workers=job["threads"])
    graph = OpenEOProcessGraph(pg_data={"process_graph": job["graph"]})
    start, spent = time.perf_counter(), time.process_time()
    found = graph.to_callable(registry(job))()
    if job["zarr"]:
        found.astype("float32").rename("values").to_dataset().to_zarr(job["zarr"], mode="w", consolidated=False)
    else:
        found = found.compute()
    figures = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - spent,
        "dims": list(map(str, found.dims)),
    }
    if job["result"]:
        np.save(job["result"], np.asarray(found))
    print(json.dumps(figures))


def registry(job: dict[str, Any]) -> Any:
    """Processes of the package, and a `load_collection` that reads the cube in chunks of a window with all dates."""
    import inspect

    import openeo_processes_dask.process_implementations as implementations
    from openeo_pg_parser_networkx import ProcessRegistry
    from openeo_pg_parser_networkx.process_registry import Process
    from openeo_processes_dask import specs
    from openeo_processes_dask.process_implementations.core import process

    def load_collection(id: str, bands: list[str], **others: Any) -> Any:
        return cube(job, bands)

    known = ProcessRegistry(wrap_funcs=[process])
    for name, function in inspect.getmembers(implementations, inspect.isfunction):
        known[name] = Process(spec=getattr(specs, name, None), implementation=function)
    known["load_collection"] = Process(spec=specs.load_collection, implementation=load_collection)
    return known


def cube(job: dict[str, Any], names: list[str]) -> Any:
    """Bands as a cube `t, bands, y, x` of float32, NaN where there are no data; 20 m are repeated."""
    import numpy as np
    import rioxarray  # noqa: F401
    import xarray as xr

    found = []
    for name in names:
        group = xr.open_zarr(
            job["cube"], group=job["bands"][name], chunks={}, consolidated=False, mask_and_scale=True
        )
        band = group[name].chunk({"time": -1, "y": 1024, "x": 1024}).astype("float32")
        if job["bands"][name] != job["bands"]["B04"]:
            fine = xr.open_zarr(job["cube"], group=job["bands"]["B04"], chunks={}, consolidated=False)
            values = band.data.repeat(2, axis=1).repeat(2, axis=2)
            band = xr.DataArray(values, dims=band.dims, coords={**fine.coords})
            band = band.chunk({"time": -1, "y": 1024, "x": 1024})
        found.append(band)
    joined = xr.concat(found, dim="bands").assign_coords(bands=np.array(names)).rename(time="t")
    joined = joined.transpose("t", "bands", "y", "x").drop_vars("spatial_ref", errors="ignore")
    if job["dates"]:
        joined = joined.isel(t=slice(0, job["dates"]))
    if job["edge"]:
        joined = joined.isel(y=slice(0, job["edge"]), x=slice(0, job["edge"]))
    return joined.rio.write_crs(job["crs"])


if __name__ == "__main__":
    main()
