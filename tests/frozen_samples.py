"""Runs whose inputs are frozen by hand, for tests of what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpckit.campaign.campaign import Campaign
from hpckit.runs.frozen import adopt, begin, seal
from hpckit.runs.plan import Unit, write_plan
from hpckit.runs.run import Run, open_run
from hpckit.space.zones import ZoneLayer, write_zones


def freeze(campaign: Campaign, zones: Mapping[str, ZoneLayer] | None = None, units: Sequence[Unit] = ()) -> Run:
    """A run that works from these zones and units."""
    draft = begin(open_run(campaign))
    for name, layer in (zones or {}).items():
        write_zones(draft.zones(name), layer)
    write_plan(draft.plan, units)
    run = seal(draft)
    adopt(run, works=True)
    return run
