"""Spool segments: results on their way to the store, as immutable HDF5 files.

HDF5 files do not survive a `kill -9` while they are written, so a worker collects records in memory and
*seals* them from time to time: one complete file, written under a temporary name, flushed and renamed. The
units in it count as done from then on.

Layout, one file::

    /                  attributes: format, spool_id
    /description       uint8, JSON: header, bands, statistics, batches
    /zone              int32   [rows]            row of the zone layer
    /valid, /total     float32 [rows, bands]     pixels, or covered pixels
    /values            float32 [rows, bands, statistics]
    /classes/<band>    float32 [rows, codes]     pixels per class; attribute `codes`

Rows of a batch (one unit: one acquisition, some zones) stand together; `batches` tells where. Every dataset
has the attribute `digest` (BLAKE2b of its bytes, uncompressed, little-endian).
"""

from __future__ import annotations

import io
import json
import uuid
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hpckit.errors import SpoolError, SpoolFormatError
from hpckit.files import atomic_open, digest

FORMAT: Final = 1
_REPAIR: Final = "`hpckit sync` sets it aside; the next `hpckit run` computes its units anew"
DAMAGED: Final = ".damaged"
"""Suffix of segments that were set aside."""
_COMPRESSION: Final = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
_CHUNK_BYTES: Final = 4 * 2**20

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
    with h5py.File(content, "w") as file:
        file.attrs.update(format=FORMAT, spool_id=identifier)
        # No attribute: those hold 64 KiB at most, which is some fifty batches.
        _write(file, "description", np.frombuffer(_description(header, batches), dtype=np.uint8))
        for name in ("zone", "valid", "total", "values"):
            _write(file, name, np.concatenate([getattr(batch, name) for batch in batches]))
        for band, (codes, _) in first.classes.items():
            dataset = _write(file, f"classes/{band}", np.concatenate([b.classes[band][1] for b in batches]))
            dataset.attrs["codes"] = codes
    with atomic_open(path) as target:
        target.write(content.getbuffer())
    return identifier


def read_segment(path: Path) -> Segment:
    """Read a segment and verify every digest.

    Raises
    ------
    SpoolError
        If it is damaged or of another format.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("format") != FORMAT:
                raise SpoolFormatError(
                    f"{path}: spool format {file.attrs.get('format')}, this hpckit reads {FORMAT}",
                    hint="load it with the version that wrote it",
                )
            columns = {name: _read(path, file, name) for name in ("zone", "valid", "total", "values")}
            classes = {band: _read_classes(path, file, band) for band in file.get("classes", ())}
            description = json.loads(_read(path, file, "description").tobytes())
            return _segment(path, str(file.attrs["spool_id"]), description, columns, classes)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError, zlib.error) as error:
        raise SpoolError(f"{path}: the spool file is damaged", hint=_REPAIR) from error


def spool_id(path: Path) -> str:
    """Id of a segment, without reading its data.

    Raises
    ------
    SpoolError
        If it is damaged.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs["spool_id"])
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise SpoolError(f"{path}: the spool file is damaged", hint=_REPAIR) from error


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
    return {"unit": batch.unit, "rows": len(batch.zone), "acquisition": acquisition}


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
                acquisition=_acquisition(described["acquisition"]),
                bands=bands,
                statistics=statistics,
                classes={band: (codes, counts[rows]) for band, (codes, counts) in classes.items()},
                **{name: data[rows] for name, data in columns.items()},
            )
        )
    if start != len(columns["zone"]):
        raise SpoolError(f"{path}: its batches list {start} rows, it holds {len(columns['zone'])}")
    return Segment(path, spool_id, SpoolHeader(**description["header"]), tuple(batches))


def _acquisition(described: Mapping[str, Any]) -> AcquisitionInfo:
    time, products = datetime.fromisoformat(described["time"]), tuple(described["products"])
    return AcquisitionInfo(**{**described, "time": time, "products": products})


def segments(folder: Path) -> list[Path]:
    """Sealed segments of a run, oldest first: by the clock of the file server, which all writers share."""
    # Files whose writer was killed begin with a dot, which does not hide them from `glob`.
    sealed = [path for path in folder.glob("*.h5") if not path.name.startswith(".")]
    return sorted(sealed, key=lambda path: (path.stat().st_mtime_ns, path.name))
