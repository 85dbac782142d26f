"""Notes of where the tiles of remote files lie, for all processes of a run and its later runs.

One append-only file per writer in a folder of the run directory, as `hpckit.base.seen` has them. What is lost is
looked for once more. An address without its signature, size and entity tag say which file a note is of.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from hpckit.base.files import append_line, write_text
from hpckit.base.notes import NewLines
from hpckit.inputs.codestream import Layout, Part
from hpckit.inputs.tileparts import TileParts
from hpckit.inputs.transfer import without_secrets

_COMPACTED: Final = "0-compacted"


class Noted(NamedTuple):
    """What is known of a file."""

    tag: str
    """Entity tag of the version that it is true of."""
    parts: TileParts


class PartNotes:
    """Notes of all processes; of this one only, without a folder."""

    def __init__(self, folder: Path | None = None, writer: str = "") -> None:
        self._folder = folder
        self._writer = writer
        self._known: dict[tuple[str, int], Noted] = {}
        self._new: Iterable[bytes] = () if folder is None else NewLines(folder)

    def get(self, uri: str, size: int | None) -> Noted | None:
        """What is known of a file of a size; None if that is nothing."""
        key = (without_secrets(uri), size or 0)
        if key not in self._known:
            self.refresh()
        return self._known.get(key)

    def add(self, uri: str, size: int, tag: str, parts: TileParts) -> None:
        """Note what was learnt of a file, and what its header tells if that is new."""
        key = (without_secrets(uri), size)
        before = self._known.get(key)
        is_new = before is None or before.parts is not parts
        self._known[key] = Noted(tag, parts)
        if not parts.learnt and not is_new:
            return
        line = _line(key, tag, parts, parts.learnt, with_layout=is_new)
        parts.learnt.clear()
        if self._folder is not None:
            with suppress(OSError):  # a note that is lost costs another look
                self._folder.mkdir(parents=True, exist_ok=True)
                append_line(self._folder / f"{self._writer}.jsonl", line)

    def lines(self) -> Iterator[str]:
        """All that is known, as a file holds it."""
        for key, (tag, parts) in self._known.items():
            yield f"{_line(key, tag, parts, parts.known, with_layout=True)}\n"

    def refresh(self) -> None:
        """Read what others noted since."""
        for line in self._new:
            with suppress(ValueError, TypeError, LookupError, zlib.error):  # a line that was cut
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        uri, size, tag = line["file"]
        known = self._known.get((uri, size))
        if "layout" in line and (known is None or known.tag != tag):
            known = self._known[uri, size] = Noted(tag, TileParts(_unpacked(line["layout"])))
        if known is not None and known.tag == tag:
            _merge(known.parts, line["parts"])


def compact(folder: Path) -> None:
    """Join the notes of all writers. Only while nobody writes."""
    paths = sorted(folder.glob("*.jsonl"))
    if len(paths) < 2:
        return
    notes = PartNotes(folder)
    notes.refresh()
    write_text(folder / f"{_COMPACTED}.jsonl", "".join(notes.lines()))
    for path in paths:
        if path.stem != _COMPACTED:
            path.unlink()


def _line(key: tuple[str, int], tag: str, parts: TileParts, tiles: Iterable[int], *, with_layout: bool) -> str:
    found = [[tile, *part] for tile in tiles for part in parts.known[tile]]
    layout = {"layout": _packed(parts.layout)} if with_layout else {}
    return json.dumps({"file": [*key, tag], "parts": found, **layout})


def _merge(parts: TileParts, found: Iterable[tuple[int, int, int]]) -> None:
    by_tile: dict[int, list[Part]] = {}
    for tile, offset, length in found:
        by_tile.setdefault(int(tile), []).append(Part(int(offset), int(length)))
    parts.known.update(by_tile)


def _packed(layout: Layout) -> list[Any]:
    texts = [base64.b64encode(zlib.compress(data)).decode() for data in (layout.boxes, layout.header)]
    listed = [[tile, *part] for tile, parts in (layout.listed or {}).items() for part in parts]
    return [*texts, layout.first, layout.end, list(layout.shape), list(layout.tile), listed]


def _unpacked(told: list[Any]) -> Layout:
    boxes, header = (zlib.decompress(base64.b64decode(text)) for text in told[:2])
    first, end, shape, tile, listed = told[2:]
    by_tile: dict[int, list[Part]] = {}
    for number, offset, length in listed:
        by_tile.setdefault(number, []).append(Part(offset, length))
    return Layout(boxes, header, first, end, (shape[0], shape[1]), (tile[0], tile[1]), by_tile or None)
