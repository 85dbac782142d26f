"""Overviews of all that a campaign has produced."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Final

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.owner import stores
from hpckit.cubes.overviews import Built, build
from hpckit.cubes.read import tiles
from hpckit.errors import CubeError, HpckitError

_REFUSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


def make(campaign: Campaign, cache: Path | None, console: Console) -> Built:
    """Make overviews of a campaign's cube and composites; see `hpckit.api.overviews`."""
    made, found = Built(), [store for _, store in stores(campaign) if tiles(store)]
    if not found:
        raise CubeError(
            f"{campaign.path}: there is no cube and no composite to make overviews of", hint="`hpckit run` makes them"
        )
    for store in found:
        try:
            built = build(store, cache=cache, told=console.say)
        except OSError as error:
            if error.errno not in _REFUSED:
                raise
            raise HpckitError(
                f"{cache or store}: overviews cannot be written there", hint="name another folder with --cache"
            ) from error
        made.planes += built.planes
        made.kept += built.kept
        made.faults.shards += built.faults.shards
    return made
