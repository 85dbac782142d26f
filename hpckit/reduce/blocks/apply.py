"""A function applied from a notebook or script: tried on one window, then made a campaign of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import ValidationError

from hpckit.base.document import explain
from hpckit.base.files import write_text
from hpckit.campaign.blocks import BlockReduction, FunctionReduction, Makes
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.errors import UserCodeError
from hpckit.processgraph.cube import NODATA
from hpckit.reduce.blocks.block import as_block, no_array
from hpckit.reduce.blocks.function import FunctionBlocks, naming_faults
from hpckit.reduce.blocks.job import LOAD, BlockEnvironment, block_job_on, job_with
from hpckit.reduce.blocks.source import written
from hpckit.reduce.blocks.trial import centre, require_memory, tried
from hpckit.reduce.graphs.job import Job
from hpckit.reduce.graphs.work import zarr_path
from hpckit.space.box import Box

if TYPE_CHECKING:
    import xarray

FOLDER: Final = "functions"
"""Beside the campaign file: a folder for each function that was applied."""
_SIZE: Final = 512
"""Edge of the window of a trial."""
_LARGEST: Final = 1024
_TYPES: Final = {"f": "float32", "b": "uint8"}


@dataclass(frozen=True)
class Applied:
    """A function that was tried, and the campaign that computes it: give it to `hpckit.run` or `hpckit.submit`."""

    path: Path
    """The campaign file."""
    trial: xarray.DataArray
    """What the function made of one window: dimensions [`time`], `band`, `y`, `x`."""

    def __fspath__(self) -> str:
        """The campaign file, so that every function of hpckit that takes one takes this."""
        return str(self.path)

    def __repr__(self) -> str:
        """One line."""
        sizes = ", ".join(f"{dim}: {length}" for dim, length in self.trial.sizes.items())
        return f"<hpckit function, tried on ({sizes}); hpckit.run or hpckit.submit computes {self.path}>"

    def result(self) -> xarray.Dataset:
        """The result as xarray, lazily from its Zarr group.

        Raises
        ------
        UserCodeError
            If it is not computed yet.
        """
        campaign = load_campaign(self.path)
        return open_result(campaign, campaign.of_blocks[0])


def open_result(campaign: Campaign, reduction: BlockReduction) -> xarray.Dataset:
    """The result of a function or model as xarray, lazily from its Zarr group.

    Raises
    ------
    UserCodeError
        If it is not computed yet.
    """
    import xarray

    path = zarr_path(campaign, reduction)
    groups = sorted(item.name for item in path.glob("*/") if (item / "zarr.json").exists())
    if not groups:
        raise UserCodeError(f"{path} is not computed yet", hint="hpckit.run or hpckit.submit computes it")
    found: xarray.Dataset = xarray.open_zarr(path / groups[0], consolidated=False, chunks=None)
    return found[_in_order(found)]


def _in_order(result: xarray.Dataset) -> list[str]:
    """Names of its arrays, as the function or model gives the bands: a folder lists them in any order."""
    dims = result.attrs["hpckit:dimensions"]
    labels = [str(label) for dim in dims if dim["kind"] == "bands" for label in dim["labels"]]
    names = [str(name) for name in result.data_vars]
    bands = {result[name].attrs.get("long_name"): name for name in names}
    ordered = [bands[label] for label in labels if label in bands]
    return ordered + sorted(set(names) - set(ordered))


def apply(
    campaign: Campaign,
    function: Callable[..., Any],
    *,
    output: str | None = None,
    bands: Sequence[str] | None = None,
    composite: str | None = None,
    period: tuple[str, str] | None = None,
    halo: int = 0,
    options: Mapping[str, Any] | None = None,
    nodata: int | None = None,
    memory_mib: int = 768,
    format: str | None = "GTiff",
    window: tuple[int, int] | None = None,
) -> Applied:
    """Try a function on one window of a campaign, and write the campaign that computes it everywhere.

    See `hpckit.look.notebook.view.NotebookView.apply`.
    """
    name = output or _name(function)
    wanted = [bands] if isinstance(bands, str) else bands and list(bands)
    base: dict[str, Any] = {
        "name": name, "kind": "function", "bands": wanted, "composite": composite,
        "collection": str(campaign.path.absolute()), "period": period, "halo": halo, "options": dict(options or {}),
        "memory_mib": memory_mib, "outputs": {"format": format},
    }  # fmt: skip
    made = _made(campaign, function, base, window)
    folder = campaign.folder / FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    makes = {key: value for key, value in _makes(made, name, nodata).items() if value is not None}
    base |= {"function": written(function, folder, f"{name}_function"), "makes": makes}
    lines = [f"    {key}: {json.dumps(value)}" for key, value in base.items() if value is not None and key != "name"]
    text = "\n".join([f"name: {name}", "reductions:", f"  - name: {name}", *lines]) + "\n"
    path = folder / "campaign.yaml"
    write_text(path, text)
    return Applied(path, _tried(load_campaign(path), window))


def _name(function: object) -> str:
    """Name of a function, by which its result is called.

    Raises
    ------
    UserCodeError
        If it is no function, or has no name.
    """
    if not callable(function):
        raise UserCodeError(
            f"{function!r} is no function", hint="give the function itself: `campaign.apply(greenest)`"
        )
    name = str(getattr(getattr(function, "py_func", function), "__name__", type(function).__name__))
    if name == "<lambda>":
        raise UserCodeError("a lambda cannot be applied to a campaign", hint="write a function with `def`")
    return name


def _made(campaign: Campaign, function: Callable[..., Any], base: Mapping[str, Any], window: Any) -> object:
    """What a function makes of a window, whatever it is."""
    declared = {**base, "function": "notebook:function", "makes": {"bands": ["unknown"]}}
    try:
        reduction = FunctionReduction.model_validate(declared)
    except ValidationError as fault:
        hint = "see the arguments of `campaign.apply()`"
        raise UserCodeError(f"apply: {explain(fault, FunctionReduction)}", hint=hint) from None
    environment = BlockEnvironment({"other": campaign.path}, composite=reduction.composite)
    job = job_with(FunctionBlocks(reduction, Path(), function), environment, "other")
    data = job.evaluation.result_of(LOAD, _box(job, window).grown(reduction.halo))
    with naming_faults(str(base["name"])):
        return function(as_block(data), **base["options"])


def _makes(made: object, name: str, nodata: int | None) -> dict[str, Any]:
    """Bands, data type and dates of what a function made."""
    import xarray

    if not isinstance(made, xarray.DataArray):
        raise no_array(made, name)
    dtype = _TYPES.get(made.dtype.kind, made.dtype.name.replace("64", "32"))
    if dtype not in Makes.model_json_schema()["properties"]["dtype"]["enum"]:
        raise UserCodeError(f"{name} returned numbers of type {made.dtype}", hint="return integers or float32")
    bands = [name]
    if "band" in made.dims:
        named = "band" in made.coords and made["band"].dtype.kind in "UO"
        bands = [str(band) for band in made["band"].values] if named else _numbered(name, made.sizes["band"])
    return {"bands": bands, "dtype": dtype, "keeps_time": "time" in made.dims, NODATA: nodata}


def _numbered(name: str, count: int) -> list[str]:
    return [name] if count == 1 else [f"{name}_{number}" for number in range(1, count + 1)]


def _tried(campaign: Campaign, window: tuple[int, int] | None) -> xarray.DataArray:
    """What the function, as it was written down, makes of a window."""
    import xarray

    (reduction,) = campaign.of_blocks
    collections = {name: campaign.resolve(path) for name, path in reduction.collections.items()}
    job = block_job_on(campaign, reduction, collections)
    trial = tried(job, _box(job, window))
    assert isinstance(reduction, FunctionReduction)
    require_memory(trial, reduction.memory_mib * 2**20, _LARGEST**2, reduction.function)
    data, made = as_block(trial.data), trial.made
    assert made.grid is not None and made.box is not None
    coords: dict[str, Any] = {"time": data["time"]} if reduction.makes.keeps_time else {}
    coords |= {"band": reduction.makes.bands, "y": made.grid.ys(made.box), "x": made.grid.xs(made.box)}
    dims = [dim for dim in ("time", "band", "y", "x") if dim in coords]
    return xarray.DataArray(np.asarray(made.values), coords, dims, name=reduction.name, attrs=data.attrs)


def _box(job: Job, window: tuple[int, int] | None) -> Box:
    """The window of a trial: in the middle, or from a row and column on."""
    middle = centre(job, _SIZE)
    if window is None:
        return middle
    box = middle.moved(window[0] - middle.top, window[1] - middle.left).within(job.outputs[0].type.grid.shape)
    if box.is_empty:
        rows, columns = job.outputs[0].type.grid.shape
        raise UserCodeError(f"window {window} is not in the data", hint=f"their shape is {rows} × {columns}")
    return box
