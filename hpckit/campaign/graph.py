"""What a campaign file says of a process graph, and campaigns that only compute graphs of other campaigns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator

from hpckit.campaign.model import Model
from hpckit.errors import CampaignError, GraphError
from hpckit.sensors.registry import SENSORS
from hpckit.sites.udf import Udf

_WITHOUT_PRODUCTS: Final = {
    "aoi": [-180.0, -90.0, 180.0, 90.0],
    "period": "1970-01-01/..",
    "scenes": {"paths": []},
    "cube": {"keep": False, "bands": [next(iter(SENSORS[0].bands))]},
}
"""What a campaign has that reads no products: no folder, no cube, and no limit."""
_OF_BLOCKS: Final = ("graph", "function", "predict")
"""Kinds of reductions that may read other campaigns alone."""
_MOST_BYTES: Final = 16 * 2**20


class GraphOutputs(Model):
    """Where results of a graph end."""

    path: Path = Path("graphs")
    """Folder: `<name>.zarr` in it holds what units computed, `<name>` the files of its `save_result`."""


class GraphReduction(Model):
    """A process graph of openEO, computed in blocks of pixels, or groups of geometries."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    kind: Literal["graph"]
    graph: Path | dict[str, Any]
    """File of JSON, or the process graph itself: `{node: {process_id: …, arguments: …}, …}`."""
    parameters: dict[str, Any] = Field(default_factory=dict)
    """Values of its parameters by name."""
    collections: dict[str, Path] = Field(default_factory=dict)
    """Campaign files, or run directories, by the names of the collections that the graph loads. The campaign's own
    cube has its `name`."""
    on_demand: list[str] = Field(default_factory=list)
    """Names of collections whose cube is filled with what the graph wants of it, before the graph is computed. The
    openEO door makes such collections (`openeo.on_demand` of its settings)."""
    hosts: list[str] = Field(default_factory=list)
    """Servers that `load_stac` and `load_url` may read, by name; `"*"` for all of public addresses. A server whose
    address is not public must be named."""
    outputs: GraphOutputs = Field(default_factory=GraphOutputs)
    udf: Udf | None = None
    """Images and limits for code of users (`run_udf`); those of the site where it is left out."""
    memory_mib: Annotated[int, Field(ge=1, le=2**20)] = 768
    """Memory that one block may take while it is computed: the size of blocks follows from it."""

    @field_validator("graph")
    @classmethod
    def _sound(cls, value: Path | dict[str, Any]) -> Path | dict[str, Any]:
        if isinstance(value, dict):
            faults = graph_faults(json.dumps(value, default=str).encode())
            if faults:
                raise ValueError("; ".join(faults))
        return value

    def files(self) -> Mapping[str, Path]:
        """What it reads, by field."""
        graph = {} if isinstance(self.graph, dict) else {"graph": self.graph}
        return {**graph, **{f"collections.{name}": path for name, path in self.collections.items()}}

    def document(self, folder: Path) -> Any:
        """The process graph as JSON; arguments and errors as of `text`."""
        if isinstance(self.graph, dict):
            return self.graph
        from hpckit.processgraph.document import load

        text = self.text(folder)
        try:
            return load(text)
        except GraphError as error:
            place = folder / self.graph.expanduser()
            raise CampaignError(f"{place}: {error.message}", hint=error.hint) from None

    def text(self, folder: Path) -> bytes:
        """The process graph as a text of JSON.

        Parameters
        ----------
        folder : Path
            That of the campaign file.

        Raises
        ------
        CampaignError
            If the file cannot be read.
        """
        if isinstance(self.graph, dict):
            return json.dumps(self.graph, default=str).encode()
        path = folder / self.graph.expanduser()
        try:
            with path.open("rb") as file:
                return file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            raise CampaignError(f"{path}: no such file", hint=f"correct `graph` of reduction {self.name!r}") from None
        except OSError as error:
            raise CampaignError(f"{path}: cannot be read: {error.strerror or error}") from error


def graph_faults(text: bytes, parameters: Mapping[str, Any] | None = None) -> list[str]:
    """What is wrong with the form of a process graph: one sentence for each fault, which names the node."""
    from hpckit.processgraph.parse import read_text

    return [described(fault) for fault in read_text(text, parameters or {})[1]]


def described(fault: GraphError) -> str:
    """A fault with its node and remedy, in one line."""
    where = f"node {fault.node}: " if fault.node else ""
    remedy = f" ({fault.hint})" if fault.hint else ""
    return f"{where}{fault.message}{remedy}"


def with_own_data(values: Any) -> Any:
    """A campaign file as it is; one that only computes graphs may leave out area, period, products and cube."""
    if not isinstance(values, dict) or not reads_no_products(values):
        return values
    return {**_WITHOUT_PRODUCTS, **values}


def reads_no_products(values: Mapping[str, Any]) -> bool:
    """Whether a campaign has nothing but graphs, functions and models, and names no products."""
    reductions = values.get("reductions")
    if not isinstance(reductions, list) or not reductions or "scenes" in values:
        return False
    return all(isinstance(item, dict) and item.get("kind") in _OF_BLOCKS for item in reductions)
