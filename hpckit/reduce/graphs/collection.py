"""Campaigns as collections of process graphs: what a campaign's cube and products hold, under a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hpckit.catalogue.holdings import holds
from hpckit.catalogue.stac import to_item
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.tiles import Tiles, read_tiles
from hpckit.errors import GraphError, HpckitError
from hpckit.reduce.graphs.ondemand.lost import LOST, by_tile, read_lost
from hpckit.reduce.graphs.ondemand.version import at_home, is_on_demand, version_of
from hpckit.runs.run import find_run
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Acquisition
from hpckit.space.frame import Frame


@dataclass(frozen=True)
class Collection:
    """A campaign as a collection.

    Parameters
    ----------
    name : str
        By which graphs name it.
    tiles : Tiles
        What its products came down to when it was last planned, or ran.
    """

    name: str
    tiles: Tiles
    lost: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """By tile, digests of what dates are made from that cannot be decoded: the collection does not have them."""

    @cached_property
    def bands(self) -> tuple[BandRef, ...]:
        """Bands of its cube, in the order of the campaign file."""
        campaign = self.tiles.campaign
        return tuple(dict.fromkeys(map(campaign.ref, campaign.cube.bands)))

    def renamed(self, name: str) -> Collection:
        """The collection under another name."""
        return replace(self, name=name)

    def spec(self, refs: Sequence[BandRef]) -> CubeSpec:
        """Layout of the cube, with the pixel sizes of bands that are decoded from products, too."""
        own = self.tiles.spec
        return replace(own, bands=tuple(dict.fromkeys([*own.bands, *refs])))

    def frame(self, tile: str, refs: Sequence[BandRef]) -> Frame:
        """Where the rasters of a tile lie, at the pixel sizes of some bands."""
        return self.spec(refs).frame(tile, self.tiles.acquisitions[tile])

    def find(self, text: str) -> list[tuple[str, BandRef]]:
        """Labels and bands that a name stands for: `B04`, `B04@20m`, or a common name, `red`.

        Bands of the cube come first; others that the products have are decoded from these.

        Raises
        ------
        GraphError
            If there is none.
        """
        name, _, size = text.partition("@")
        same = [ref for ref in self.bands if ref.name == name and (not size or ref.key == text)]
        if same:
            return [(text, min(same, key=lambda ref: ref.resolution_m))]
        common = list(dict.fromkeys(ref.name for ref in self.bands if ref.band.common_name == text))
        if common:
            return [self.find(one)[0] for one in common]
        try:
            found = self.tiles.campaign.ref(text)
        except ValueError as error:
            raise GraphError(
                f"collection {self.name!r} has no band {text!r}",
                hint=f"its bands are {', '.join(self._labels())}",
                fault="BandNotFound",
            ) from error
        if not self._is_in_products(found):
            raise GraphError(
                f"collection {self.name!r}: none of its products has band {found}",
                hint=f"its bands are {', '.join(self._labels())}",
                fault="BandNotFound",
            )
        return [(text if size else found.name, found)]

    def _is_in_products(self, ref: BandRef) -> bool:
        resampled = self.tiles.campaign.grid.resampled
        scenes = (scene for items in self.tiles.acquisitions.values() for item in items for scene in item.scenes)
        return any(holds(scene, ref, resampled=resampled) for scene in scenes)

    @cached_property
    def meaning(self) -> dict[str, str]:
        """What the numbers of all products mean, in openEO's words; empty if they differ."""
        spec = self.tiles.spec
        scenes = (scene for items in self.tiles.acquisitions.values() for item in items for scene in item.scenes)
        found = {tuple(sorted(spec.sensor.meaning(scene, spec.reading).items())) for scene in scenes}
        return dict(found.pop()) if len(found) == 1 else {}

    def all_bands(self) -> list[tuple[str, BandRef]]:
        """Labels and bands of the cube."""
        return list(self._labels().items())

    def _labels(self) -> dict[str, BandRef]:
        names = [ref.name for ref in self.bands]
        return {ref.name if names.count(ref.name) == 1 else ref.key: ref for ref in self.bands}


def open_collection(name: str, path: Path) -> Collection:
    """Open a campaign as a collection.

    Parameters
    ----------
    path : Path
        Campaign file, or run directory.

    Raises
    ------
    GraphError
        `CollectionNotFound`, if it was never planned, or cannot be read; the reason is in the message.
    """
    try:
        run = at_home(find_run(path))
        lost = by_tile(read_lost(version_of(run.path) / LOST)) if is_on_demand(run.path) else {}
        return Collection(name, read_tiles(run), lost)
    except HpckitError as error:
        raise GraphError(
            f"collection {name!r} cannot be opened: {error.message}",
            hint=error.hint or f"`hpckit plan {path}` chooses its products, `hpckit run {path}` makes its cube",
            fault="CollectionNotFound",
        ) from error


def properties(acquisition: Acquisition) -> Iterator[Mapping[str, Any]]:
    """STAC properties of the products of an acquisition of a tile."""
    for scene in acquisition.scenes:
        known = to_item(scene)["properties"]
        yield {name: value for name, value in known.items() if not name.startswith("hpckit:")}
