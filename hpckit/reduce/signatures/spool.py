"""Spool segments: results on their way to the store, as immutable HDF5 files.

HDF5 files do not survive a `kill -9` while they are written, so a worker collects records in memory and
*seals* them from time to time: one complete file, written under a temporary name, flushed and renamed. The
units in it count as done from then on.

Layout, one file::

    512 bytes          `hpckit spool FORMAT ID DIGEST`, zeros: HDF5's user block. The digest is that of all that
                       follows: HDF5 gets nothing to read that is not as it was written, since damage can crash it
    /                  attributes: format, spool_id
    /description       uint8, JSON: header, bands, statistics, batches
    /zone              int32   [rows]            row of the zone layer
    /valid, /total     float32 [rows, bands]     pixels, or covered pixels
    /values            float32 [rows, bands, statistics]
    /classes/<band>    float32 [rows, codes]     pixels per class; attribute `codes`

Rows of a batch (one unit: one acquisition, some zones) stand together, at the positions in `batches`. Every dataset
has the attribute `digest` (BLAKE2b of its bytes, uncompressed, little-endian). Formats 1 and 2 have no user block.
"""

from __future__ import annotations

import io
import json
import re
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.base.files import atomic_open, digest
from hpckit.base.quantities import format_count
from hpckit.base.reading import WatchedFile, files_below, parsed, unavailable
from hpckit.errors import SpoolError, SpoolFormatError

FORMAT: Final = 3
_READABLE: Final = (1, 2, 3)
"""Format 1 does not say what its batches were made from; the journal does."""
_HEAD_BYTES: Final = 512
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
"""How files of formats 1 and 2 begin."""
_HEAD: Final = re.compile(rb"hpckit spool ([0-9]{1,9}) ([0-9a-f]{32}) [0-9a-f]{32}\n")
_REPAIR: Final = "`hpckit sync` sets it aside; the next `hpckit run` computes its units again"
DAMAGED: Final = ".damaged"
"""Suffix of segments that were set aside."""
_COMPRESSION: Final = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_CHUNK_BYTES: Final = 4 * 2**20
_BEST_COMPRESSION: Final = 1100
"""Bytes that a byte of deflate can stand for, and some more."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AcquisitionInfo:
    """What the store keeps of an acquisition."""

    id: str
    """Datatake without its baseline, `GS2A_20221005T115411_038058`."""
    time: datetime
    """UTC."""
    platform: str
    level: str
    tile: str
    """Tile, or tiles joined by `+`, that the zones were reduced on."""
    baseline: str
    relative_orbit: int
    products: tuple[str, ...]
    cloud_cover: float | None = None
    """Percent."""
    footprint: Mapping[str, Any] = field(default_factory=dict)
    """GeoJSON geometry in WGS 84."""


@dataclass(frozen=True, slots=True)
class SignatureBatch:
    """Signatures of some zones in one acquisition."""

    unit: str
    acquisition: AcquisitionInfo
    zone: npt.NDArray[np.int32]
    """Row of the zone layer; shape (rows,)."""
    bands: tuple[str, ...]
    """Bands and derived bands."""
    statistics: tuple[str, ...]
    """`mean`, `std`, `min`, `max`, `p25`, …"""
    valid: Floats
    """Pixels that count; shape (rows, bands)."""
    total: Floats
    """Pixels of the zone; shape (rows, bands)."""
    values: Floats
    """Shape (rows, bands, statistics); NaN where no pixel counts."""
    classes: Mapping[str, tuple[npt.NDArray[np.uint8], Floats]] = field(default_factory=dict)
    """By class band: the codes, shape (codes,), and pixels of each, shape (rows, codes)."""
    inputs: str = ""
    """Digest of all that the unit depends on; empty in segments of format 1."""


@dataclass(frozen=True, slots=True)
class SpoolHeader:
    """Where a segment comes from."""

    campaign: str
    campaign_digest: str
    run_id: str
    reduction: str
    zones_digest: str
    hpckit: str
    """Version that computed it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment, read and verified."""

    path: Path
    spool_id: str
    header: SpoolHeader
    batches: tuple[SignatureBatch, ...]

    @property
    def rows(self) -> int:
        """Zones times acquisitions in it."""
        return sum(len(batch.zone) for batch in self.batches)


def write_segment(path: Path, header: SpoolHeader, batches: Sequence[SignatureBatch]) -> str:
    """Seal batches of one reduction in a segment.

    Returns
    -------
    str
        The segment's id, which the store remembers.

    Raises
    ------
    SpoolError
        If the batches differ in bands, statistics or classes.
    OSError
        If the file system refuses; nothing is left then.
    """
    import h5py

    _check_alike(path, batches)
    identifier = uuid.uuid4().hex
    first = batches[0]
    # In memory first: where the disk is full, HDF5 can neither write nor close its file.
    content = io.BytesIO()
    with h5py.File(content, "w", userblock_size=_HEAD_BYTES) as file:
        file.attrs.update(format=FORMAT, spool_id=identifier)
        # No attribute: those hold 64 KiB at most, which is some fifty batches.
        _write(file, "description", np.frombuffer(_description(header, batches), dtype=np.uint8))
        for name in ("zone", "valid", "total", "values"):
            _write(file, name, np.concatenate([getattr(batch, name) for batch in batches]))
        for band, (codes, _) in first.classes.items():
            dataset = _write(file, f"classes/{band}", np.concatenate([b.classes[band][1] for b in batches]))
            dataset.attrs["codes"] = codes
    data = content.getbuffer()
    with atomic_open(path) as target:
        target.write(_head(FORMAT, identifier, data))
        target.write(data[_HEAD_BYTES:])
    return identifier


def _head(number: int, identifier: str, data: bytes | memoryview) -> bytes:
    """What stands before the HDF5 content of a file."""
    words = f"hpckit spool {number} {identifier}"
    whole = digest(f"{words} {digest(memoryview(data)[_HEAD_BYTES:])}".encode())
    return f"{words} {whole}\n".encode().ljust(_HEAD_BYTES, b"\0")


def _read_head(data: bytes) -> tuple[int, str] | None:
    """Format and id that a file names; None if it has no head that can be read."""
    found = _HEAD.match(data)
    return (int(found[1]), found[2].decode()) if found else None


def read_segment(path: Path) -> Segment:
    """Read a segment and verify every digest.

    Raises
    ------
    SpoolError
        If it is damaged or of another format.
    FileUnavailableError
        If the file system refuses; that says nothing about the segment.
    """
    try:
        return parsed(
            path,
            lambda file: _parse(path, file),
            lambda _: SpoolError(f"{path}: the spool file is damaged", hint=_REPAIR),
        )
    except FileNotFoundError as error:
        # It was listed: its file system went away, or somebody removes the run.
        raise unavailable(path, error) from None


def spool_id(path: Path) -> str | None:
    """Id of a segment, without reading its data; None if it cannot be read, and `read_segment` says why."""
    import h5py

    try:
        with path.open("rb") as start:
            data = start.read(_HEAD_BYTES)
        if not data.startswith(_HDF5):
            head = _read_head(data)
            return head and head[1]
        with h5py.File(path, "r", locking=False) as file:
            return str(file.attrs["spool_id"])
    except (OSError, KeyError, ValueError, RuntimeError):
        return None


def _parse(path: Path, file: WatchedFile) -> Segment:
    import h5py

    # From memory: HDF5 neither locks the file, which some file systems refuse, nor meets an error of the disk.
    data = file.readall()
    number = _verified_format(data)
    _require_readable(path, number)
    with h5py.File(io.BytesIO(data), "r") as content:
        _require_readable(path, content.attrs.get("format"))
        _check_size(content, len(data))
        columns = {name: _read(path, content, name) for name in ("zone", "valid", "total", "values")}
        classes = {band: _read_classes(path, content, band) for band in content.get("classes", ())}
        description = json.loads(_read(path, content, "description").tobytes())
        return _segment(path, str(content.attrs["spool_id"]), description, columns, classes)


def _verified_format(data: bytes) -> int:
    """Format that a file names, once it is certain that all of it is as it was written."""
    if data.startswith(_HDF5):
        return 2
    head = _read_head(data)
    if head is None or data[:_HEAD_BYTES] != _head(*head, data):
        raise ValueError("the file does not match its digest")
    return head[0]


def _require_readable(path: Path, number: object) -> None:
    if number not in _READABLE:
        raise SpoolFormatError(
            f"{path}: spool format {number}, this hpckit reads {FORMAT}",
            hint="load it with the version that wrote it",
        )


def _check_size(content: Any, nbytes: int) -> None:
    """Refuse a damaged shape before memory is asked for it: no compression gains more than that."""
    names = ["description", "zone", "valid", "total", "values", *(f"classes/{b}" for b in content.get("classes", ()))]
    for name in names:
        if content[name].nbytes > _BEST_COMPRESSION * nbytes:
            raise ValueError(f"{name} cannot have {content[name].nbytes} bytes")


def _check_alike(path: Path, batches: Sequence[SignatureBatch]) -> None:
    shapes = {(b.bands, b.statistics, tuple((n, c.tobytes()) for n, (c, _) in b.classes.items())) for b in batches}
    if len(shapes) != 1:
        raise SpoolError(f"{path}: batches of {len(shapes)} different shapes cannot share a segment")


def _description(header: SpoolHeader, batches: Sequence[SignatureBatch]) -> bytes:
    content = {
        "header": asdict(header),
        "bands": batches[0].bands,
        "statistics": batches[0].statistics,
        "batches": [_describe(batch) for batch in batches],
    }
    return json.dumps(content).encode()


def _describe(batch: SignatureBatch) -> dict[str, Any]:
    acquisition = {**asdict(batch.acquisition), "time": batch.acquisition.time.isoformat()}
    return {"unit": batch.unit, "inputs": batch.inputs, "rows": len(batch.zone), "acquisition": acquisition}


def _write(file: Any, name: str, data: npt.NDArray[Any]) -> Any:
    little = np.ascontiguousarray(data.astype(data.dtype.newbyteorder("<"), copy=False))
    options: dict[str, Any] = {}
    if little.size:
        rows = max(1, _CHUNK_BYTES * len(little) // little.nbytes)
        options = {**_COMPRESSION, "chunks": (min(rows, len(little)), *little.shape[1:])}
    dataset = file.create_dataset(name, data=little, **options)
    dataset.attrs["digest"] = digest(little.tobytes())
    return dataset


def _read(path: Path, file: Any, name: str) -> npt.NDArray[Any]:
    dataset = file[name]
    data = _decompress(dataset)
    if digest(np.ascontiguousarray(data).tobytes()) != dataset.attrs["digest"]:
        raise SpoolError(f"{path}: the data of {name} do not match their digest", hint=_REPAIR)
    return data


def _decompress(dataset: Any) -> npt.NDArray[Any]:
    """All of a dataset. h5py would hold the interpreter's lock meanwhile; sync reads ahead in a thread."""
    if dataset.chunks is None:
        return np.asarray(dataset[()])
    data: npt.NDArray[Any] = np.empty(dataset.shape, dataset.dtype)
    rest = (0,) * (data.ndim - 1)
    for start in range(0, len(data), dataset.chunks[0]):
        skipped, raw = dataset.id.read_direct_chunk((start, *rest))
        # HDF5 leaves a chunk uncompressed that would not get smaller: bit 1 is the second filter.
        plain = raw if skipped & 2 else zlib.decompress(raw)
        # The shuffle filter keeps first bytes of all numbers together, then the second bytes, …
        planes = np.frombuffer(plain, dtype=np.uint8).reshape(data.itemsize, -1)
        chunk = np.ascontiguousarray(planes.T).view(data.dtype).reshape(dataset.chunks)
        data[start : start + len(chunk)] = chunk[: len(data) - start]
    return data


def _read_classes(path: Path, file: Any, band: str) -> tuple[npt.NDArray[np.uint8], Floats]:
    name = f"classes/{band}"
    return np.asarray(file[name].attrs["codes"], dtype=np.uint8), _read(path, file, name)


def _segment(
    path: Path,
    spool_id: str,
    description: Mapping[str, Any],
    columns: Mapping[str, npt.NDArray[Any]],
    classes: Mapping[str, tuple[npt.NDArray[np.uint8], Floats]],
) -> Segment:
    bands, statistics = tuple(description["bands"]), tuple(description["statistics"])
    batches = []
    start = 0
    for described in description["batches"]:
        rows = slice(start, start + described["rows"])
        start = rows.stop
        batches.append(
            SignatureBatch(
                unit=described["unit"],
                inputs=str(described.get("inputs", "")),
                acquisition=_acquisition(described["acquisition"]),
                bands=bands,
                statistics=statistics,
                classes={band: (codes, counts[rows]) for band, (codes, counts) in classes.items()},
                **{name: data[rows] for name, data in columns.items()},
            )
        )
    if start != len(columns["zone"]):
        raise SpoolError(f"{path}: its batches list {format_count(start, 'row')}, it holds {len(columns['zone'])}")
    return Segment(path, spool_id, SpoolHeader(**description["header"]), tuple(batches))


def _acquisition(described: Mapping[str, Any]) -> AcquisitionInfo:
    time, products = datetime.fromisoformat(described["time"]), tuple(described["products"])
    return AcquisitionInfo(**{**described, "time": time, "products": products})


def segments(folder: Path) -> list[Path]:
    """Sealed segments of a run, oldest first: by the clock of the file server, which all writers share.

    Raises
    ------
    FileUnavailableError
        If the folder cannot be read: that does not mean that it is empty.
    """
    return sorted(files_below(folder, ".h5"), key=lambda path: (_time(path), path.name))


def _time(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise unavailable(path, error) from None
