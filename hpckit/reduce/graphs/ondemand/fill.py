"""Filling a cube on demand: windows of dates that it lacks are decoded once, whoever asks for them first.

Each window of each date is a shard of its own that is written whole, and whoever writes it writes the same bytes. So
jobs may fill one cube together, may be killed, and need not wait for each other to be right. A claim keeps two jobs
from decoding the same windows at the same time: the second waits, and finds them. Claims of the dead are no
obstacle (`hpckit.base.claims`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hpckit.base import claims
from hpckit.base.files import digest_json
from hpckit.base.reading import is_there
from hpckit.cubes.arrays import shard_key
from hpckit.cubes.ingest import IngestUnit, ingest
from hpckit.cubes.manifest import Manifest
from hpckit.errors import BusyError, SceneError, is_temporary
from hpckit.reduce.graphs.collection import Collection
from hpckit.reduce.graphs.job import Job
from hpckit.reduce.graphs.ondemand.lost import LOST, Lost, note_lost
from hpckit.reduce.graphs.ondemand.version import version_of
from hpckit.reduce.graphs.ondemand.wants import Want, lacking, wants_of
from hpckit.sensors.bands import BandRef

DATES: Final = 16
"""Positions on the time axis that one piece covers: claims of all jobs have the same names."""
_PAUSE_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class Piece:
    """Windows in one row of windows of a band, of some of `DATES` dates."""

    collection: str
    tile: str
    ref: BandRef
    row: int
    block: int
    columns: Mapping[int, Sequence[int]]
    """By position on the time axis."""

    @property
    def name(self) -> str:
        """In units, and of the claim."""
        return f"{self.tile}/{self.ref.group}/{self.ref.name}/w{self.row:02d}/b{self.block:04d}"

    @property
    def count(self) -> int:
        """Windows of dates."""
        return sum(len(columns) for columns in self.columns.values())

    def to_args(self) -> dict[str, Any]:
        """As JSON."""
        columns = [[date, *self.columns[date]] for date in sorted(self.columns)]
        return {
            "collection": self.collection,
            "tile": self.tile,
            "band": self.ref.key,
            "row": self.row,
            "block": self.block,
            "windows": columns,
        }

    @classmethod
    def from_args(cls, args: Mapping[str, Any], collection: Collection) -> Piece:
        """A piece of a collection, from its JSON."""
        columns = {int(date): tuple(map(int, found)) for date, *found in args["windows"]}
        ref = collection.tiles.campaign.ref(str(args["band"]))
        return cls(collection.name, str(args["tile"]), ref, int(args["row"]), int(args["block"]), columns)


def pieces(want: Want) -> list[Piece]:
    """Cut what is wanted of a band of a tile; pieces are the same for all jobs that want the same."""
    found: dict[tuple[int, int], dict[int, list[int]]] = {}
    for date, row, column in want.places():
        found.setdefault((row, date // DATES), {}).setdefault(date, []).append(column)
    return [
        Piece(want.collection.name, want.tile, want.ref, row, block, columns)
        for (row, block), columns in sorted(found.items())
    ]


def made_from(piece: Piece, inputs: Sequence[str]) -> str:
    """Digest of what a piece is made from; `inputs` are those of all dates."""
    return digest_json([[inputs[date], *piece.columns[date]] for date in sorted(piece.columns)])[:16]


def lacks(piece: Piece, inputs: Sequence[str], manifest: Manifest) -> dict[int, list[int]]:
    """Columns of a piece that a cube lacks, by date."""
    found: dict[int, list[int]] = {}
    for date, columns in piece.columns.items():
        for column in columns:
            record = manifest.get(_key(piece, date, column))
            if record is None or record.inputs != (inputs[date],):
                found.setdefault(date, []).append(column)
    return found


@dataclass(slots=True)
class Filled:
    """What was decoded for a piece."""

    decoded_pixels: int = 0
    shards: int = 0
    written_bytes: int = 0
    lost: dict[str, SceneError] = field(default_factory=dict)
    """Why acquisitions cannot be decoded."""
    failed: dict[str, SceneError] = field(default_factory=dict)
    """Why others could not be decoded just now."""


class Filler:
    """Fills the cube of one collection.

    Parameters
    ----------
    collection : Collection
    writer : str
        Name of this process in manifests.
    """

    def __init__(self, collection: Collection, writer: str) -> None:
        self.collection = collection
        self.writer = writer
        self._version = version_of(collection.tiles.run.path)
        self._manifests: dict[str, Manifest] = {}

    def fill(self, want: Want, piece: Piece) -> Filled:
        """Decode what the cube lacks of a piece; waits while another process does.

        Raises
        ------
        OSError
            If the file system refuses; what was written before is whole.
        """
        while True:
            left = lacks(piece, want.inputs, self._manifest(piece.tile))
            if not left:
                return Filled()
            with ExitStack() as claimed:
                try:
                    claimed.enter_context(claims.hold(self._version / "claims" / piece.name, f"windows {piece.name}"))
                except BusyError:
                    self._manifests.pop(piece.tile, None)
                else:
                    return self._decode(want, piece)
            time.sleep(_PAUSE_S)

    def _decode(self, want: Want, piece: Piece) -> Filled:
        left = lacks(piece, want.inputs, self._manifest(piece.tile))
        if any(is_there(want.spec.path / _key(piece, date, column)) for date in left for column in left[date]):
            self._manifests.pop(piece.tile, None)  # others have written since it was loaded
            left = lacks(piece, want.inputs, self._manifest(piece.tile))
        made, acquisitions = Filled(), self.collection.tiles.acquisitions[piece.tile]
        for date, columns in sorted(left.items()):
            unit = IngestUnit(piece.tile, piece.ref, date, piece.row, tuple(columns))
            found = ingest(want.spec, unit, acquisitions, self._manifest(piece.tile), self.writer)
            made.decoded_pixels += found.decoded_pixels
            made.shards += found.shards
            made.written_bytes += found.written_bytes
            for name, error in found.failures:
                (made.failed if is_temporary(error) else made.lost)[name] = error
        return made

    def note_lost(self, want: Want, made: Filled, run_dir: Path | None = None) -> None:
        """Note dates that cannot be decoded, for this run and for all that is planned afterwards."""
        at = {item.id: date for date, item in enumerate(self.collection.tiles.acquisitions[want.tile])}
        found = [
            Lost(self.collection.name, want.tile, name, want.inputs[at[name]], str(error))
            for name, error in made.lost.items()
        ]
        note_lost(self._version / LOST, found, self.writer)
        if run_dir is not None:
            note_lost(run_dir / LOST, found, self.writer)

    def _manifest(self, tile: str) -> Manifest:
        if tile not in self._manifests:
            self._manifests[tile] = Manifest.load(self.collection.tiles.spec.path, [tile])
        return self._manifests[tile]


def _key(piece: Piece, date: int, column: int) -> str:
    return shard_key(piece.tile, piece.ref, date, piece.row, column)


def fill_here(job: Job) -> None:
    """Fill the cubes on demand with what a graph wants, in this process; what fails, the graph will say."""
    fillers: dict[str, Filler] = {}
    for want in lacking(wants_of(job)):
        name = want.collection.name
        if name not in fillers:
            fillers[name] = Filler(want.collection, f"at-once-{uuid.uuid4().hex[:12]}")
        for piece in pieces(want):
            fillers[name].note_lost(want, fillers[name].fill(want, piece))
