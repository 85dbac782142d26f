"""The space of a cube on demand: a quota, who needs which windows, and which of the others go first.

::

    <folder>/
      lock                     claim of who admits
      current.json             the version that new jobs read
      uses/<name>.json         what a job needs, from its admission on
      uses/past/<time>-<name>.json   what jobs needed that have ended

A job is admitted if what the cube holds, and what jobs that wait or run still add to it, fits into the quota. Where
it does not, windows that no such job needs are removed, those first that were used longest ago. Whoever has been
admitted keeps all windows it needs until it ends. Sizes of windows that are not there yet are upper estimates.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from hpckit.base import claims
from hpckit.base.files import make_folder, remove_tree, write_json
from hpckit.base.quantities import format_bytes
from hpckit.base.reading import read_json, typed
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.errors import BusyError, DamagedFileError, GraphError, HpckitError
from hpckit.reduce.graphs.ondemand.version import make_version, run_of
from hpckit.reduce.graphs.ondemand.wants import Want
from hpckit.runs.run import Run, find_run

Shard = tuple[str, str]
"""Path of a window below the cube without its date, and digest of what it is made from: the same in all versions."""
Ended = Callable[[str], float | None]
"""When the job of a name last ended, 0 if it never did; None while it waits or runs."""
_CURRENT: Final = "current.json"
_USES: Final = "uses"
_PAST: Final = "past"
_MOST_PAST: Final = 2000
"""Uses that are remembered; windows of earlier ones were used longest ago."""
_WAIT_S: Final = 60.0
_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class UsedBand:
    """Windows of a band of a tile that a use needs."""

    array: str
    inputs: tuple[str, ...]
    """Of its dates."""
    shape: tuple[int, int, int]
    """Dates, rows, columns."""
    bits: str
    """Packed, as Base64."""
    cell_bytes: float
    """Of one window in the cube, at most."""

    @classmethod
    def of(cls, want: Want) -> UsedBand:
        """What is wanted of a band."""
        dates = np.flatnonzero(want.cells.any(axis=(1, 2)))
        cells = want.cells[dates]
        bits = base64.b64encode(np.packbits(cells).tobytes()).decode()
        rows, columns = cells.shape[1:]
        inputs = tuple(want.inputs[date] for date in dates.tolist())
        return cls(want.array, inputs, (len(dates), rows, columns), bits, want.cell_bytes)

    def shards(self) -> Iterator[Shard]:
        """All windows."""
        count = int(np.prod(self.shape))
        flat = np.unpackbits(np.frombuffer(base64.b64decode(self.bits), np.uint8), count=count)
        for date, row, column in np.argwhere(flat.reshape(self.shape)).tolist():
            yield f"{self.array}/{row}/{column}", self.inputs[date]


@dataclass(frozen=True, slots=True)
class Use:
    """What a job or a synchronous result needs."""

    name: str
    version: str
    time: float
    until: float
    """It counts as in use until then, although its job does not wait or run yet."""
    bands: tuple[UsedBand, ...]

    def shards(self) -> Iterator[tuple[Shard, float]]:
        """All windows, with their sizes at most."""
        for band in self.bands:
            yield from ((shard, band.cell_bytes) for shard in band.shards())


@dataclass(frozen=True, slots=True)
class Balance:
    """What a use would do to the space."""

    needed: float
    """Bytes of windows that the cube lacks and nobody else adds."""
    free: float
    """Bytes that neither the cube nor what others add takes; negative if there are fewer than none."""
    evictable: float
    """Bytes of windows that nobody needs."""

    @property
    def fits(self) -> bool:
        """Whether there is room, once windows were removed."""
        return self.needed <= 0 or self.needed <= self.free + self.evictable


class Space:
    """The folder of one collection on demand.

    Parameters
    ----------
    name : str
        Of the collection.
    folder : Path
        With all its versions.
    quota : int
        Bytes of shards.
    """

    def __init__(self, name: str, folder: Path, quota: int) -> None:
        self.name = name
        self.folder = folder
        self.quota = quota
        self._lock = threading.Lock()

    def collection(self, base: Run) -> Path:
        """Run directory of the version for the last plan of a campaign, which is made if it is not there."""
        known = self._current()
        if known == base.frozen:
            return run_of(self.folder, known)
        with self._alone():
            made = make_version(base, self.folder, self._current())
            write_json(self.folder / _CURRENT, {"version": base.frozen})
        return made

    def balance(self, wants: Sequence[Want], ended: Ended) -> Balance:
        """What a use would do; nothing is changed."""
        uses = [use for use in self._uses() if _is_active(use, ended)]
        return _Ledger(self.folder, self._versions()).balance(self._use("", wants, 0.0), uses, self.quota)

    def require_room(self, wants: Sequence[Want], ended: Ended) -> None:
        """Refuse what does not fit into the quota.

        Raises
        ------
        GraphError
            `StorageQuotaExceeded`, with what is needed, what is free, and the quota.
        """
        if wants:
            self._require(self.balance(wants, ended))

    def admit(self, name: str, wants: Sequence[Want], ended: Ended, seconds: float = 120.0) -> int:
        """Keep what a job needs until it ends; remove what nobody needs, where there is no room otherwise.

        Parameters
        ----------
        name : str
            Of the job, for `ended`; another use of that name is replaced.
        wants : sequence of Want
        ended : callable
        seconds : float
            For which it counts as in use, whatever `ended` says: a job is admitted before it is started.

        Returns
        -------
        int
            Bytes that were removed.

        Raises
        ------
        GraphError
            As `require_room`; the cube is as it was then.
        """
        with self._alone():
            uses = self._fold(ended, name)
            versions = self._drop_versions(uses)
            use = self._use(name, wants, seconds)
            ledger = _Ledger(self.folder, versions)
            balance = ledger.balance(use, uses, self.quota)
            self._require(balance)
            write_json(self.folder / _USES / f"{name}.json", asdict(use))  # first: what it needs is kept from now on
            excess = balance.needed - balance.free
            removed = ledger.evict(excess, [use, *uses], self._past()) if balance.needed > 0 and excess > 0 else 0
            if not uses:
                ledger.compact()
        return removed

    def release(self, name: str) -> None:
        """Keep no longer what was admitted under a name; nothing happens if there is no such use."""
        with suppress(FileNotFoundError):
            self._end(name, time.time())

    def _end(self, name: str, at: float) -> None:
        """Make a use a past one."""
        uses = self.folder / _USES
        (uses / f"{name}.json").replace(uses / _PAST / f"{at:017.3f}-{name}.json")

    def _require(self, balance: Balance) -> None:
        if not balance.fits:
            free = max(0.0, balance.free + balance.evictable)
            raise GraphError(
                f"collection {self.name!r}: about {format_bytes(balance.needed)} of it are not in the cube yet, and "
                f"{format_bytes(free)} of {format_bytes(self.quota)} can be free",
                hint="take a smaller area, a shorter period or fewer bands, or wait until other jobs have ended",
                fault="StorageQuotaExceeded",
            )

    # -- files -------------------------------------------------------------------------------------------------------
    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Change the folder alone: of all threads of this process, and of all processes."""
        make_folder(self.folder / _USES / _PAST)
        end = time.monotonic() + _WAIT_S
        with self._lock, ExitStack() as claimed:
            while True:
                try:
                    claimed.enter_context(claims.hold(self.folder / "lock", f"the cube on demand of {self.name}"))
                    break
                except BusyError:
                    if time.monotonic() > end:
                        raise
                    time.sleep(_PAUSE_S)
            yield

    def _current(self) -> str:
        try:
            return str(read_json(self.folder / _CURRENT)["version"])
        except FileNotFoundError:
            return ""

    def _versions(self) -> list[str]:
        """All versions; the current one first."""
        current = self._current()
        others = sorted(path.parent.parent.name for path in self.folder.glob("*/collection.run/run.json"))
        return [current, *(name for name in others if name != current)] if current else others

    def _use(self, name: str, wants: Sequence[Want], seconds: float) -> Use:
        now = time.time()
        return Use(name, self._current(), now, now + seconds, tuple(map(UsedBand.of, wants)))

    def _uses(self) -> list[Use]:
        return _read_uses(self.folder / _USES)

    def _past(self) -> list[Use]:
        """Uses that have ended; those that ended first come first."""
        return _read_uses(self.folder / _USES / _PAST)

    def _fold(self, ended: Ended, name: str) -> list[Use]:
        """Uses that have not ended; the others become past ones."""
        past, active = self.folder / _USES / _PAST, []
        for use in self._uses():
            if _is_active(use, ended) and use.name != name:
                active.append(use)
                continue
            with suppress(FileNotFoundError):  # it was released at this moment
                self._end(use.name, ended(use.name) or use.time)
        for path in sorted(past.glob("*.json"))[:-_MOST_PAST]:
            path.unlink(missing_ok=True)
        return active

    def _drop_versions(self, uses: Sequence[Use]) -> list[str]:
        """Versions that are left, once those were removed that no job reads."""
        known = self._versions()
        read = {known[0], *(use.version for use in uses)} if known else set()
        for version in known:
            if version not in read:
                with suppress(OSError):
                    (run_of(self.folder, version) / "run.json").unlink()
                    remove_tree(self.folder / version)
        return [version for version in known if version in read]


def _is_active(use: Use, ended: Ended) -> bool:
    at = ended(use.name)
    return at is None or (at < use.time and time.time() < use.until)


def _read_uses(folder: Path) -> list[Use]:
    found = []
    for path in sorted(folder.glob("*.json")):
        with suppress(FileNotFoundError, DamagedFileError, ValueError):
            found.append(typed(Use, read_json(path)))
    return found


class _Ledger:
    """What the cubes of all versions hold; the first version is the current one."""

    def __init__(self, folder: Path, versions: Sequence[str]) -> None:
        self._stores = [path for version in versions if (path := _cube_of(run_of(folder, version))) is not None]
        self._manifests = [Manifest.load(store) for store in self._stores]
        self._held: dict[Shard, int] = {}
        for manifest in reversed(self._manifests):
            self._held |= {_shard(record): record.nbytes for record in manifest.records() if record.inputs[0]}

    def balance(self, use: Use, uses: Sequence[Use], quota: int) -> Balance:
        """What a use would do, beside others."""
        added = self._added(uses)
        needed = sum(size for shard, size in self._added([use]).items() if shard not in added)
        free = quota - sum(self._held.values()) - sum(added.values())
        if needed <= free:
            return Balance(needed, free, 0.0)
        kept = {shard for other in [use, *uses] for shard, _ in other.shards()}
        return Balance(needed, free, float(sum(record.nbytes for record in self._evictable(kept))))

    def evict(self, nbytes: float, uses: Sequence[Use], past: Sequence[Use]) -> int:
        """Remove windows that no use needs until bytes are free; those go first that were used longest ago."""
        kept = {shard for use in uses for shard, _ in use.shards()}
        last: dict[Shard, int] = {}
        for number, use in enumerate(past):
            last |= dict.fromkeys((shard for shard, _ in use.shards()), number)
        order = sorted(self._evictable(kept), key=lambda record: (last.get(_shard(record), -1), record.key))
        gone, freed = list[ShardRecord](), 0
        for record in order:
            if freed >= nbytes:
                break
            gone.append(record)
            freed += record.nbytes
        # Records first: a file without a record is no part of the cube, and is overwritten when it is filled again.
        self._manifests[0].disown((record.key for record in gone), "evicted")
        for record in gone:
            (self._stores[0] / record.key).unlink(missing_ok=True)
        return freed

    def compact(self) -> None:
        """Join the manifests of all writers; only while nobody fills."""
        for manifest in self._manifests:
            manifest.compact()

    def _added(self, uses: Sequence[Use]) -> Mapping[Shard, float]:
        """What uses add to the cube."""
        return {shard: size for use in uses for shard, size in use.shards() if shard not in self._held}

    def _evictable(self, kept: set[Shard]) -> list[ShardRecord]:
        records = self._manifests[0].records() if self._manifests else []
        return [record for record in records if record.nbytes and _shard(record) not in kept]


def _shard(record: ShardRecord) -> Shard:
    array, _, place = record.key.partition("/c/")
    return f"{array}/{place.partition('/')[2]}", record.inputs[0]


def _cube_of(run_dir: Path) -> Path | None:
    try:
        return find_run(run_dir).campaign.cube_path
    except HpckitError:
        return None
