"""Functions and models as jobs: a graph of three nodes, which load, call, and save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.campaign.blocks import BlockReduction, FunctionReduction, PredictReduction
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.tiles import Tiles
from hpckit.processgraph.graph import FromNode, Graph, Node
from hpckit.processgraph.process import Request
from hpckit.reduce.blocks.composites import open_composite
from hpckit.reduce.blocks.function import FunctionBlocks
from hpckit.reduce.blocks.predict import PredictBlocks
from hpckit.reduce.graphs import frozen
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.job import SAVE, Job
from hpckit.reduce.graphs.source import CollectionSource

LOAD: Final = "load"
BLOCKS: Final = "blocks"
"""The nodes of all these graphs."""
Blocks = FunctionBlocks | PredictBlocks


@dataclass(eq=False)
class BlockEnvironment(GraphEnvironment):
    """Collections of a reduction: cubes, or a composite of them."""

    composite: str | None = None

    def load_collection(self, name: str, request: Request) -> CollectionSource:
        """Open the cube, or the composite, for a period and bands."""
        if self.composite is None:
            return super().load_collection(name, request)
        found = open_composite(self.open(name), self.composite, request)
        self.sources.append(found)
        return found


def block_job_of(tiles: Tiles, reduction: BlockReduction) -> Job:
    """The job of a reduction, on collections and code that were frozen.

    Raises
    ------
    PlanError
        If frozen inputs are missing.
    """
    known = frozen.collections(tiles, reduction)
    environment = BlockEnvironment({}, opened=dict(known), composite=reduction.composite)
    if isinstance(reduction, FunctionReduction):
        blocks: Blocks = FunctionBlocks(reduction, frozen.code(tiles.run, reduction))
    else:
        assert isinstance(reduction, PredictReduction)
        digest = str(frozen.document(tiles.run, reduction)["digest"])
        blocks = PredictBlocks(reduction, tiles.campaign.resolve(reduction.model), digest)
    return job_with(blocks, environment, _source(tiles.campaign, reduction))


def block_job_on(campaign: Campaign, reduction: BlockReduction, collections: Mapping[str, Path]) -> Job:
    """The job of a reduction, on campaigns and code as they are now.

    Raises
    ------
    CampaignError
        If code or model is missing.
    """
    document = reduction.document(campaign.folder)
    environment = BlockEnvironment(collections, composite=reduction.composite)
    if isinstance(reduction, FunctionReduction):
        blocks: Blocks = FunctionBlocks(reduction, campaign.folder)
    else:
        assert isinstance(reduction, PredictReduction)
        blocks = PredictBlocks(reduction, campaign.resolve(reduction.model), str(document["digest"]))
    return job_with(blocks, environment, _source(campaign, reduction))


def job_with(blocks: Blocks, environment: GraphEnvironment, source: str) -> Job:
    """The job of a function or model on a collection."""
    reduction = blocks.reduction
    arguments = {
        "id": source,
        "spatial_extent": None,
        "temporal_extent": None if reduction.period is None else list(reduction.period),
        "bands": reduction.bands,
    }
    nodes = {
        LOAD: Node(LOAD, "load_collection", arguments, LOAD),
        BLOCKS: Node(BLOCKS, f"hpckit:{reduction.name}", {"data": FromNode(LOAD)}, reduction.name),
    }
    outputs = reduction.outputs
    if outputs.format is not None:
        saved = {"data": FromNode(BLOCKS), "format": outputs.format, "options": dict(outputs.options)}
        nodes[SAVE] = Node(SAVE, SAVE, saved, "outputs")
    result = SAVE if outputs.format is not None else BLOCKS
    return Job(Graph(nodes, result), environment, lower=False, blocks={BLOCKS: blocks})


def _source(campaign: Campaign, reduction: BlockReduction) -> str:
    """Name of the collection that a reduction reads."""
    return next(iter(reduction.collections), campaign.name)
