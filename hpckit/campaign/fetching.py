"""The part of a campaign file that says how jobs fetch images from servers: `scenes.fetch`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from hpckit.base.quantities import parse_bytes
from hpckit.campaign.model import Model

Size = Annotated[int, BeforeValidator(parse_bytes, json_schema_input_type=str | int), Field(ge=1)]
"""Bytes; written `2TB`, `500 GB`, `1.5TiB`."""


class Fetching(Model):
    """How images on servers are fetched before the stages that decode them."""

    quota: Size | None = None
    """What copies may take in `scenes.fetched`: before more are fetched, those that are not needed any more are
    removed, the longest unused first. No limit if not given."""
    connections: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests at a time, of all jobs together: the Copernicus Data Space permits 4 for an account."""
    requests_per_minute: Annotated[int, Field(ge=1)] = 2000
    """Requests in any minute, of all jobs together."""
