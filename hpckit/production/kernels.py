"""Which kernels the units of a campaign call."""

from __future__ import annotations

from typing import Final

import numpy as np

from hpckit.campaign.campaign import Campaign
from hpckit.campaign.composite import Composite
from hpckit.campaign.signatures import SignatureReduction
from hpckit.production.tasks import FLOATS, TASKS

_SHARED: Final = {"events", "pixels centre", "pixels fraction", "gather uint16", "gather uint8", "classes"}

_OF_LOWERED: Final = {"percentiles uint16", "summary uint16"}
"""Of reductions over time that graphs are lowered to."""


def of_campaign(campaign: Campaign) -> list[str]:
    """Names of the tasks that compile what a campaign's units call."""
    names: set[str] = set()
    for reduction in campaign.signatures:
        names |= _of_signatures(campaign, reduction)
    for composite in campaign.composites:
        names |= _of_composite(composite)
    names |= set(of_graphs()) if campaign.graphs else set()
    names |= {"events"} if campaign.markers else set()
    return sorted(names)


def of_signatures() -> list[str]:
    """Names of the tasks of all that signatures may call."""
    return sorted({f"{how} {dtype}" for how in ("plain", "weighted") for dtype in ("uint16", FLOATS)} | _SHARED)


def of_graphs() -> list[str]:
    """Names of the tasks of all that process graphs may call."""
    return sorted({name for name in TASKS if name.startswith("graph ")} | _OF_LOWERED)


def _of_signatures(campaign: Campaign, reduction: SignatureReduction) -> set[str]:
    refs = [campaign.ref(text) for text in reduction.named_bands()]
    values = {np.dtype(campaign.ref(text).dtype).name for text in reduction.bands if not _is_class(campaign, text)}
    values |= {FLOATS} if reduction.indices else set()
    how = "weighted" if reduction.coverage == "fraction" else "plain"
    names = {f"pixels {reduction.coverage}", *(f"gather {np.dtype(ref.dtype).name}" for ref in refs)}
    if reduction.device != "cuda":
        names |= {f"{how} {dtype}" for dtype in values}
        names |= {"classes"} if any(_is_class(campaign, text) for text in reduction.bands) else set()
    return names


def _is_class(campaign: Campaign, text: str) -> bool:
    return campaign.ref(text).band.is_categorical


def _of_composite(composite: Composite) -> set[str]:
    dtypes = ["uint16", *([FLOATS] if composite.indices else [])]
    steps = {"percentiles" if composite.percentile(method) is not None else method for method in composite.methods}
    steps = {"summary" if method in ("mean", "min", "max", "count") else method for method in steps}
    names = {f"{step} {dtype}" for step in steps for dtype in dtypes} | {"nearness"}
    names |= {f"take {dtype}" for dtype in dtypes if steps & {"best", "max_ndvi", "medoid"}}
    return names & TASKS.keys()
