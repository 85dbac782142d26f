"""Layers of pixels by the names that they have in addresses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from starlette.requests import Request

from hpckit.errors import CubeError
from hpckit.look.choices import Choice, days, layers
from hpckit.look.layers import Layer
from hpckit.serve.answers import day_of, text_of
from hpckit.serve.dataset import Dataset, Edition

_LOOK_S: Final = 20.0
"""How old the list may be: colours of layers are measured in the cube, which may grow."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a data set can show."""

    choices: Mapping[str, Choice]
    """By name in addresses."""
    days: list[dict[str, Any]]


def shown(dataset: Dataset) -> Shown:
    """What a data set can show now."""
    return _shown(dataset.edition, int(time.monotonic() / _LOOK_S))


@lru_cache(64)
def _shown(edition: Edition, _turn: int) -> Shown:
    found = {key_of(choice.layer): choice for choice in layers(edition.view)}
    listed = [
        {"day": item.day.isoformat(), "cloud": item.cloud, "tiles": len(item.tiles)} for item in days(edition.view)
    ]
    return Shown(found, listed)


def key_of(layer: Layer) -> str:
    """Name of a layer in addresses: `rgb:B04,B03,B02`, `index:NDVI`, `index:NDVI:monthly:median`."""
    place = f":{layer.composite}:{layer.method}" if layer.composite is not None else ""
    return f"{layer.kind}:{','.join(layer.names)}{place}"


def described(key: str, choice: Choice) -> dict[str, Any]:
    """A layer for the pages."""
    return {
        "key": key,
        "title": choice.title,
        "kind": choice.layer.kind,
        "unit": choice.unit,
        "legend": [list(stop) for stop in choice.legend],
        "periods": list(choice.periods),
        "composite": choice.layer.composite,
    }


def layer_of(request: Request, dataset: Dataset) -> Layer:
    """Layer that a request names, with its day or period.

    Raises
    ------
    CubeError
        If the data set has no such layer.
    Problem
        400 if the day is none.
    """
    known = shown(dataset).choices
    key = text_of(request, "layer", next(iter(known), ""))
    if key not in known:
        raise CubeError(f"there is no layer {key!r}", hint=f"there is {', '.join(known) or 'none'}")
    layer = known[key].layer
    return replace(layer, day=day_of(request, "day"), period=request.query_params.get("period") or None)
