"""What a JPEG 2000 file tells of its tiles before the first of them, and files that hold only some of its tiles.

Source: ISO/IEC 15444-1, annex A (markers) and annex I (boxes). A tile is one or more tile parts, each of which begins
with a segment that says of which tile it is, and how many bytes it has.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_SIGNATURE: Final = bytes.fromhex("0000000c6a5020200d0a870a")
_SOC: Final = b"\xff\x4f"
SOT: Final = b"\xff\x90"
EOC: Final = b"\xff\xd9"
_SIZ, _TLM, _PLM, _PPM = 0xFF51, 0xFF55, 0xFF57, 0xFF60
_SIZES: Final = struct.Struct(">HHIIIIIIIIH")
"""Of the segment SIZ: length, capabilities, then width and height of the raster, its offset, width and height of a
tile, offset of the first tile, and number of components."""
_PART: Final = struct.Struct(">2sHHIBB")
"""Marker SOT, length of the segment, tile, bytes of the part (0: to the end), number of the part, number of parts."""
SOT_BYTES: Final = _PART.size
_LEAST_PART: Final = SOT_BYTES + 2
_MOST_HEADER: Final = 2**22

Read = Callable[[int, int], bytes]
"""Gives bytes of a file from a position to another one; fewer where it ends."""


class Part(NamedTuple):
    """A tile part."""

    offset: int
    """Of its first byte in the file."""
    length: int
    """Bytes, with its own header."""


class Start(NamedTuple):
    """What the header of a tile part tells."""

    tile: int
    length: int
    """0: to the end of the codestream."""
    number: int
    parts: int
    """Of its tile; 0: not told here."""

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its tile, as far as it tells."""
        return self.number == 0 and self.parts in (0, 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """A file up to its first tile part."""

    boxes: bytes
    """All before the box of the codestream."""
    header: bytes
    """Begin of the codestream, without lengths of tile parts."""
    first: int
    """Where the first tile part begins."""
    end: int
    """Where the last one ends."""
    shape: tuple[int, int]
    """Rows and columns of the raster."""
    tile: tuple[int, int]
    """Rows and columns of a tile."""
    listed: Mapping[int, Sequence[Part]] | None = None
    """Parts of each tile, where the header lists them."""

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.shape[0] // self.tile[0]), -(-self.shape[1] // self.tile[1])

    def of_window(self, rows: slice, columns: slice) -> list[int]:
        """Tiles that a window of the raster meets, in order."""
        across = self.tiles[1]
        down, along = (
            range(part.start // size, -(-part.stop // size))
            for part, size in zip((rows, columns), self.tile, strict=True)
        )
        return [row * across + column for row in down for column in along]

    def file(self, parts: Sequence[tuple[Part, bytes]]) -> bytes:
        """A file of some tiles.

        Parameters
        ----------
        parts : sequence
            Tile parts in the order of the whole file, and their bytes.
        """
        body = [self.header]
        for part, data in parts:
            # The last part of a file may say that it goes on to the end.
            body += [data[:6], struct.pack(">I", part.length), data[10:]]
        content = b"".join(body) + EOC
        return self.boxes + struct.pack(">I4s", len(content) + 8, b"jp2c") + content


def parse(read: Read, size: int) -> Layout | None:
    """Read a file up to its first tile part.

    Parameters
    ----------
    read : callable
        Reads the file.
    size : int
        Bytes of the file.

    Returns
    -------
    Layout or None
        None for a file of another format, or of a kind whose tiles cannot be taken out: with several components,
        offsets, or packet headers that stand before the tiles.
    """
    try:
        return _parse(read, size)
    except (struct.error, IndexError, ValueError, StopIteration):
        return None  # whoever decodes it as a whole says what is wrong


def read_start(data: bytes) -> Start | None:
    """Header of the tile part with which some bytes begin; None if there is none."""
    if len(data) < SOT_BYTES:
        return None
    marker, length, tile, nbytes, number, parts = _PART.unpack_from(data)
    if marker != SOT or length != SOT_BYTES - 2 or (nbytes and nbytes < _LEAST_PART):
        return None
    return Start(tile, nbytes, number, parts)


def find_start(data: bytes, begin: int = 0) -> int:
    """Position of the first header of a tile part in some bytes, -1 if there is none.

    Within a tile part, coded data never hold this marker.
    """
    while (found := data.find(SOT + b"\x00\x0a", begin)) >= 0:
        if read_start(data[found : found + SOT_BYTES]) is not None:
            return found
        begin = found + 1
    return -1


def _parse(read: Read, size: int) -> Layout | None:
    if read(0, len(_SIGNATURE)) != _SIGNATURE:
        return None
    box, begin, end = _codestream(read, size)
    if read(begin, begin + 2) != _SOC:
        return None
    found = _segments(read, begin + len(_SOC))
    if found is None:
        return None
    segments, position = found
    sizes = next(data for marker, data in segments if marker == _SIZ)
    lists = {data[4]: data[5:] for marker, data in segments if marker == _TLM}
    header = _SOC + b"".join(data for marker, data in segments if marker not in (_TLM, _PLM))
    width, height, *offset, across, down, left, top, components = _SIZES.unpack_from(sizes, 2)[2:]
    if components != 1 or any((*offset, left, top)) or not across or not down:
        return None
    if end - position < _LEAST_PART:
        return None
    layout = Layout(read(0, box), header, position, end, (height, width), (down, across))
    return _with_list(layout, [lists[number] for number in sorted(lists)]) if lists else layout


def _segments(read: Read, position: int) -> tuple[list[tuple[int, bytes]], int] | None:
    """Segments up to the first tile part, and where that begins; None if tiles cannot do without others."""
    found: list[tuple[int, bytes]] = []
    begin = position
    while position - begin < _MOST_HEADER:
        marker, length = struct.unpack(">HH", read(position, position + 4))
        if marker == int.from_bytes(SOT, "big"):
            return found, position
        if marker < 0xFF00 or marker == _PPM:
            return None
        found.append((marker, read(position, position + 2 + length)))
        position += 2 + length
    return None


def _codestream(read: Read, size: int) -> tuple[int, int, int]:
    """Where the box of the codestream begins, and where its content does and ends, without the marker of its end."""
    position = 0
    while position < size:
        head = read(position, position + 16)
        length, kind = struct.unpack_from(">I4s", head)
        within = 8
        if length == 1:
            (length,), within = struct.unpack_from(">Q", head, 8), 16
        elif length == 0:
            length = size - position
        if length < within or position > _MOST_HEADER:
            break
        if kind == b"jp2c":
            if position + length > size:
                break  # truncated
            return position, position + within, position + length - len(EOC)
        position += length
    raise ValueError("no codestream")


def _with_list(layout: Layout, lists: Sequence[bytes]) -> Layout:
    """A layout with the lengths of tile parts that its header lists; without them if they do not add up."""
    found: dict[int, list[Part]] = {}
    position, number = layout.first, 0
    for text in lists:
        kind, entries = text[0], text[1:]
        of_tile, of_length = (kind >> 4) & 3, 4 if kind & 0x40 else 2
        step = of_tile + of_length
        for start in range(0, len(entries) - step + 1, step):
            tile = int.from_bytes(entries[start : start + of_tile], "big") if of_tile else number
            length = int.from_bytes(entries[start + of_tile : start + step], "big")
            found.setdefault(tile, []).append(Part(position, length))
            position, number = position + length, number + 1
    down, across = layout.tiles
    if position != layout.end or found.keys() != set(range(down * across)):
        return layout
    return Layout(layout.boxes, layout.header, layout.first, layout.end, layout.shape, layout.tile, found)
