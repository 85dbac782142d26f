"""Dates that cannot be decoded: noted by whoever finds that, and left out by all that is planned afterwards.

A result must not count missing pixels as no data, and must not claim to be made of what it lacks. So such a date is
no date of the collection any more, until its product is another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hpckit.base.files import append_line, make_folder
from hpckit.base.reading import read_below, typed

LOST: Final = "lost"
"""Name of the folder, in a version and in the run directory of a job."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A date of a tile that cannot be decoded."""

    collection: str
    tile: str
    acquisition: str
    inputs: str
    """Digest of what it is made from."""
    reason: str


def note_lost(folder: Path, found: Iterable[Lost], writer: str) -> None:
    """Note dates in a folder; each writer has a file of its own."""
    lines = [json.dumps(asdict(item), separators=(",", ":")) for item in found]
    if lines:
        make_folder(folder)
        append_line(folder / f"{writer}.jsonl", "\n".join(lines))


def read_lost(folder: Path) -> list[Lost]:
    """All dates that were noted in a folder, each once; lines that were cut are left out."""
    found: dict[tuple[str, str], Lost] = {}
    for content in read_below(folder, ".jsonl").values():
        for line in content.splitlines():
            try:
                item = typed(Lost, json.loads(line))
            except (ValueError, TypeError, KeyError):
                continue
            found.setdefault((item.tile, item.inputs), item)
    return [found[key] for key in sorted(found)]


def by_tile(found: Iterable[Lost]) -> Mapping[str, frozenset[str]]:
    """Digests of the inputs of lost dates, by tile."""
    tiles: dict[str, set[str]] = {}
    for item in found:
        tiles.setdefault(item.tile, set()).add(item.inputs)
    return {tile: frozenset(inputs) for tile, inputs in tiles.items()}
