"""Tiles of a campaign: which acquisitions stand on the time axis of each, and where their rasters lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from hpckit.campaign.campaign import Campaign
from hpckit.catalogue import tiling
from hpckit.cubes import held as frozen
from hpckit.cubes.held import WHOLE, Held, pixels
from hpckit.cubes.layout import CubeSpec
from hpckit.runs.run import Run
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.space.frame import Frame
from hpckit.space.windows import Windows


@dataclass(frozen=True)
class Tiles:
    """What a campaign's products come down to: everything that is computed from pixels starts from these."""

    run: Run
    """With the frozen inputs."""
    acquisitions: Mapping[str, tuple[Acquisition, ...]]
    """By tile, sorted by time."""
    presence: Mapping[str, frozenset[str]]
    """Tiles of the whole campaign that have an acquisition, by its id."""
    held: Held = WHOLE
    """Windows of the tiles that the cube holds."""

    @property
    def campaign(self) -> Campaign:
        """The campaign, as it was frozen."""
        return self.run.campaign

    @cached_property
    def spec(self) -> CubeSpec:
        """Layout of the cube."""
        return CubeSpec.of(self.run.campaign)

    def frame(self, tile: str) -> Frame:
        """Where the rasters of a tile lie."""
        return self.spec.frame(tile, self.acquisitions[tile])

    def windows(self, tile: str, ref: BandRef) -> Windows:
        """Windows of a tile that the cube holds of a band."""
        return self.held.windows(self.frame(tile), ref)

    def pixels(self, tile: str, ref: BandRef) -> int:
        """Pixels of one date of these windows."""
        return pixels(self.frame(tile), self.windows(tile, ref), ref.resolution_m)


def read_tiles(run: Run, names: Iterable[str] | None = None) -> Tiles:
    """Tiles that were frozen in the run directory.

    Parameters
    ----------
    names : iterable of str, optional
        Only the acquisitions of these are read: a worker needs few of a continent's.
    """
    return Tiles(run, *tiling.read(run.tiles, run.selected, names), frozen.read(run.windows))
