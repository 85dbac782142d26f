"""Which scenes lie at which site: one catalogue of all, and one for each site with the paths that hold there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from hpckit.sensors.model import Acquisition, Scene


class Holdings:
    """Scenes of several sites.

    Copies of a product have the same id and the same digest of their content. Where sites have other contents under
    an id, the complete copy counts, then the one that more sites have, then that of the site named first.

    Parameters
    ----------
    by_member : mapping of str to sequence of Scene
        Scenes that each site has, by its name.
    """

    def __init__(self, by_member: Mapping[str, Sequence[Scene]]) -> None:
        copies: dict[str, list[tuple[str, Scene]]] = {}
        for member, scenes in by_member.items():
            for scene in scenes:
                copies.setdefault(scene.id, []).append((member, scene))
        self._chosen = {identifier: _best([scene for _, scene in mine]) for identifier, mine in copies.items()}
        self._own = {member: dict[str, Scene]() for member in by_member}
        for identifier, mine in copies.items():
            for member, scene in mine:
                if _is_copy(scene, self._chosen[identifier]):
                    self._own[member][identifier] = scene

    def all(self) -> list[Scene]:
        """Each scene once, wherever it lies."""
        return list(self._chosen.values())

    def of(self, member: str) -> list[Scene]:
        """The same scenes; those that the site has, where they lie there."""
        own = self._own.get(member, {})
        return [own.get(identifier, scene) for identifier, scene in self._chosen.items()]

    def knows(self, member: str) -> bool:
        """Whether a site said what it has."""
        return member in self._own

    def lacking(self, member: str, wanted: Iterable[str]) -> list[str]:
        """Ids of scenes that a site has not."""
        return sorted(set(wanted) - self._own.get(member, {}).keys())


def wanted_of(tiles: Iterable[str], acquisitions: Mapping[str, Sequence[Acquisition]]) -> set[str]:
    """Ids of the scenes that tiles are made from."""
    return {scene.id for tile in tiles for item in acquisitions.get(tile, ()) for scene in item.scenes}


def _is_copy(one: Scene, other: Scene) -> bool:
    return one.content == other.content and one.missing == other.missing


def _best(copies: Sequence[Scene]) -> Scene:
    return min(copies, key=lambda scene: (len(scene.missing), -sum(_is_copy(scene, other) for other in copies)))
