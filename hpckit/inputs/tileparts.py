"""Where the tiles of a JPEG 2000 file on a server lie: found by few small readings, and remembered.

Most files do not list their tile parts; each part only tells where the next one begins, so that the last of 121 tiles
would cost 121 requests. But coded data never hold the marker with which a part begins, and parts of one band have
similar lengths: a tile is looked for where it should be.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hpckit.errors import SceneError
from hpckit.inputs.codestream import EOC, SOT, SOT_BYTES, Layout, Part, Read, Start, find_start, read_start

_STEPS: Final = 3
"""Tile parts that are passed from one to the next rather than looked for further on."""
_TRIES: Final = 12
"""Looks for one tile; after these it is walked to."""
_LEAST_LOOK, _MOST_LOOK = 2**12, 2**20
"""Bytes of a look."""
_SHARE: Final = 0.75
"""Of a tile part that a look reads: more than the rest of one in which it lands."""
_MOST_PARTS: Final = 4096
"""Of a file whose tiles come in several parts, or in another order; more are not walked over."""


class _OtherOrderError(Exception):
    """Tiles come in several parts, or in another order than from left to right and downwards."""


@dataclass(slots=True)
class TileParts:
    """Tile parts of a file, as far as they are known."""

    layout: Layout
    known: dict[int, list[Part]] = field(default_factory=dict)
    """By tile: all of its parts."""
    learnt: list[int] = field(default_factory=list)
    """Tiles that were found since this was last emptied."""

    def __post_init__(self) -> None:
        """Take over what the header lists."""
        for tile, parts in (self.layout.listed or {}).items():
            self.known[tile] = list(parts)

    def locate(self, tiles: Sequence[int], read: Read) -> list[tuple[int, Part]]:
        """Parts of some tiles, in the order of the file.

        Parameters
        ----------
        read : callable
            Reads the file.

        Raises
        ------
        SceneError
            If they are not to be found.
        """
        try:
            for tile in sorted(tiles):
                if tile not in self.known:
                    self._find(tile, read)
        except _OtherOrderError:
            self._walk(read)
        if not self.known.keys() >= set(tiles):
            raise SceneError("it is truncated or damaged: its tile parts do not follow one another")
        return sorted(((tile, part) for tile in tiles for part in self.known[tile]), key=lambda found: found[1])

    def note(self, tile: int, offset: int, length: int) -> None:
        """Remember a tile that is a single part."""
        if tile not in self.known:
            self.known[tile] = [Part(offset, length)]
            self.learnt.append(tile)

    def _find(self, tile: int, read: Read) -> None:
        """Find a tile of a file whose tiles are one part each, in order."""
        empty = self.layout.end  # nothing begins from here to the next known tile
        for look in range(_TRIES):
            before, begin = self._before(tile)
            if tile - before <= _STEPS:
                break
            after, end = self._after(tile)
            reach = empty if begin < empty < end else end
            length = (reach - begin) / (after - before)
            # To land in the tile before it leaves the least to read; where lengths differ much, halving helps.
            guess = int(begin + (tile - before - 0.6) * length) if look % 2 == 0 else (begin + reach) // 2
            nbytes = max(_LEAST_LOOK, min(int(_SHARE * length), _MOST_LOOK))
            if not self._look(guess, nbytes, (before, begin), (after, end), read):
                empty = guess
        while tile not in self.known:
            following, position = self._before(tile)
            if not self._follow(read(position, position + _LEAST_LOOK), position, following):
                raise SceneError("it is truncated or damaged: its tile parts do not follow one another")

    def _follow(self, data: bytes, position: int, tile: int) -> bool:
        """Note tile parts of which one begins where some bytes do, as long as their headers are in these bytes."""
        origin = position
        while (start := read_start(data[position - origin :])) is not None:
            if start.tile != tile or not start.is_whole:
                raise _OtherOrderError
            length = start.length or self.layout.end - position
            self.note(tile, position, length)
            position, tile = position + length, tile + 1
        return position > origin

    def _look(self, guess: int, nbytes: int, least: tuple[int, int], most: tuple[int, int], read: Read) -> bool:
        """Read on from a position until a tile part begins, between known ones; False if none is found."""
        position, rest = max(guess, least[1]), b""
        while position < most[1]:
            data = rest + read(position, min(position + nbytes, most[1]))
            origin = position - len(rest)
            found = find_start(data)
            while found >= 0:
                start = read_start(data[found : found + SOT_BYTES])
                if start is not None and self._fits(start, origin + found, least[0], most):
                    return self._follow(data[found:], origin + found, start.tile)
                found = find_start(data, found + 1)
            rest, position, nbytes = data[-SOT_BYTES:], position + nbytes, min(2 * nbytes, _MOST_LOOK)
        return False

    @staticmethod
    def _fits(start: Start, offset: int, least: int, most: tuple[int, int]) -> bool:
        """Whether what looks like a tile part can be one, between known ones."""
        if not start.is_whole or not start.length or not least <= start.tile < most[0]:
            return False
        stop = offset + start.length
        return stop == most[1] if start.tile + 1 == most[0] else stop < most[1]

    def _before(self, tile: int) -> tuple[int, int]:
        """The tile after the last known one before a tile, and where it begins."""
        tiles = sorted(self.known)
        place = bisect_right(tiles, tile) - 1
        if place < 0:
            return 0, self.layout.first
        parts = self.known[tiles[place]]
        if len(parts) != 1:
            raise _OtherOrderError
        (part,) = parts
        return tiles[place] + 1, part.offset + part.length

    def _after(self, tile: int) -> tuple[int, int]:
        """The first known tile after a tile, and where it begins; if none is, the number of tiles, and the end."""
        tiles = sorted(self.known)
        place = bisect_right(tiles, tile)
        if place < len(tiles):
            return tiles[place], self.known[tiles[place]][0].offset
        down, across = self.layout.tiles
        return down * across, self.layout.end

    def _walk(self, read: Read) -> None:
        """Pass over all tile parts."""
        found: dict[int, list[Part]] = {}
        position, count = self.layout.first, 0
        while position < self.layout.end:
            start = read_start(read(position, position + SOT_BYTES))
            count += 1
            if start is None or count > _MOST_PARTS:
                raise SceneError("it is truncated or damaged: its tile parts do not follow one another")
            length = start.length or self.layout.end - position
            found.setdefault(start.tile, []).append(Part(position, length))
            position += length
        self.known = found
        self.learnt = sorted(found)


def span_of(part: Part) -> tuple[int, int]:
    """Bytes to read of a part: those of the part, and some of what follows it."""
    return part.offset, part.offset + part.length + len(EOC)


def contents(found: Sequence[tuple[int, Part]], data: Mapping[Part, bytes]) -> list[tuple[Part, bytes]]:
    """Parts with their bytes.

    Parameters
    ----------
    data : mapping
        Bytes of `span_of` each part.

    Raises
    ------
    SceneError
        If some do not begin as a part of their tile does, are shorter, or not followed by another one or the end.
    """
    for tile, part in found:
        start, following = read_start(data[part]), data[part][part.length :]
        if start is None or start.tile != tile or following not in (SOT, EOC):
            raise SceneError("it is truncated or damaged: a tile part is not where it was")
    return [(part, data[part][: part.length]) for _, part in found]
