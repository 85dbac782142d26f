"""Stages of a campaign that has reductions to signatures."""

from __future__ import annotations

from collections.abc import Sequence

from hpckit.campaign.campaign import Campaign
from hpckit.cubes.stage import Stage
from hpckit.reduce.signatures.fused import FusedSignatures
from hpckit.reduce.signatures.inputs import ZoneInputs
from hpckit.reduce.signatures.stage import Signatures
from hpckit.reduce.signatures.zone_stage import Zones


def stages(campaign: Campaign) -> Sequence[Stage]:
    """Zones, and signatures from the cube or, where none is kept, straight from products."""
    if not campaign.signatures:
        return []
    inputs = ZoneInputs()
    return [Zones(inputs), Signatures(inputs) if campaign.cube.keep else FusedSignatures(inputs)]
