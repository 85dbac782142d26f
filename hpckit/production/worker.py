"""What runs inside a worker: draw a unit, do it, write down what became of it.

The same for a local process, an MPI rank or an array element; only where units are drawn from differs.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hpckit.base.allocator import keep_freed_memory
from hpckit.base.compiled import keep_numba_threads, limit_threads
from hpckit.base.quantities import tight_address_space
from hpckit.campaign.blocks import FunctionReduction
from hpckit.cubes.stage import Outcome
from hpckit.errors import HpckitError, is_temporary
from hpckit.inputs import tileraster
from hpckit.inputs.fetched import look_in
from hpckit.inputs.httpfiles import permit
from hpckit.production.stages import execute, execute_bundle, load_context
from hpckit.production.stop import GiveBack, Stop
from hpckit.runs.journal import Entry, Journal, flat
from hpckit.runs.part import is_fenced, read_part, require_unfenced
from hpckit.runs.plan import Bundle, shares
from hpckit.sensors.verified import keep_notes

_SEAL_BYTES: Final = 128 * 2**20
_SEAL_AFTER_S: Final = 300

_log = logging.getLogger(__name__)


class Worker:
    """Works through units; keeps records in memory until a spool segment is worth sealing."""

    def __init__(
        self,
        run_dir: Path,
        name: str,
        threads: int,
        stop: Stop | None = None,
        tiles: Sequence[str] | None = None,
        frozen: str | None = None,
    ) -> None:
        _set_up_logging(run_dir, name)
        _limit_threads(threads)
        self.stop = stop or Stop()
        self.context = load_context(run_dir, flat(name), threads, tiles, frozen)
        campaign = self.context.run.campaign
        if any(isinstance(reduction, FunctionReduction) for reduction in campaign.reductions):
            keep_freed_memory()
        permit(campaign.scenes.hosts)
        look_in([campaign.fetched_path])
        keep_notes(run_dir / "seen" / "products", flat(name))
        tileraster.keep_notes(self.context.run.tile_parts, flat(name))
        self.journal = Journal(run_dir, name)
        self._is_part = read_part(run_dir) is not None
        self._unsealed = _Unsealed()

    def work(self, drawn: Iterable[Bundle], report: Callable[[Entry], None]) -> None:
        """Do all units of the bundles that are drawn; call `report` with each entry once it stands in the journal.

        Asked to stop, it seals what is done and returns; the bundle in work is finished or given back.
        """
        for bundle in drawn:
            if self._is_part and is_fenced(self.context.run.path):
                break
            start, clock = datetime.now(UTC), time.perf_counter()
            try:
                with self.stop.unit():
                    outcomes = self._attempt(bundle)
            except GiveBack:
                break
            seconds = time.perf_counter() - clock
            for unit, outcome, share in zip(bundle, outcomes, shares(bundle), strict=True):
                entry = Entry(
                    unit=unit.id,
                    stage=unit.stage,
                    state="done" if outcome.reason is None else "failed",
                    inputs=unit.inputs,
                    start=start.isoformat(timespec="milliseconds"),
                    seconds=round(seconds * share, 3),
                    writer=self.journal.writer,
                    reason=outcome.reason,
                    temporary=outcome.temporary or None,
                    metrics=outcome.metrics,
                )
                self._note(entry, outcome.records, report)
            if self._unsealed.is_due():
                self._seal(report)
        self._seal(report)

    def _note(self, entry: Entry, records: Sequence[Any], report: Callable[[Entry], None]) -> None:
        """Write an entry down, or keep it until its records are sealed."""
        if records:
            stage = self.context.stages[entry.stage]
            self._unsealed.add(entry, records, sum(map(stage.nbytes, records)))
        else:
            self._settle([entry], report)

    def _attempt(self, bundle: Bundle) -> Sequence[Outcome]:
        passes = False
        try:
            return self._execute(bundle)
        except HpckitError as error:
            _log.error("%s: %s", bundle[0].id, error)
            reason, passes = str(error), is_temporary(error)
        except MemoryError:
            reason = "out of memory; run with fewer workers"
        except OSError as error:
            _log.error("%s: %s", bundle[0].id, traceback.format_exc())
            reason, passes = str(error), is_temporary(error)
        except Exception as error:
            _log.error("%s: %s", bundle[0].id, traceback.format_exc())
            reason = f"{type(error).__name__}: {error} (see the log of {self.journal.writer})"
        if limit := tight_address_space():
            reason += f" ({limit}, which may be why; raise it, or run on a compute node)"
        return [Outcome(reason=reason, temporary=passes) for _ in bundle]

    def _execute(self, bundle: Bundle) -> Sequence[Outcome]:
        if not bundle[0].bundle:
            return [execute(self.context, bundle[0])]
        return execute_bundle(self.context, bundle)

    def _seal(self, report: Callable[[Entry], None]) -> None:
        """Write one spool segment; only then do its units count as done."""
        if not self._unsealed.entries:
            return
        unsealed, self._unsealed = self._unsealed, _Unsealed()
        entries = unsealed.entries
        try:
            require_unfenced(self.context.run.path)
            segment_of: dict[str, str] = {}
            for name, records in unsealed.records.items():
                segment_of |= self.context.stages[name].seal(self.context, records)
            entries = [replace(entry, segment=segment_of[entry.unit]) for entry in entries]
        except (HpckitError, OSError) as error:
            _log.error("%s", traceback.format_exc())
            reason, passes = f"its results could not be spooled: {error}", is_temporary(error)
            entries = [replace(entry, state="failed", reason=reason, temporary=passes or None) for entry in entries]
        self._settle(entries, report)

    def _settle(self, entries: Iterable[Entry], report: Callable[[Entry], None]) -> None:
        for entry in entries:
            self.journal.append(entry)
            report(entry)


@dataclass(slots=True)
class _Unsealed:
    """Results that are in memory only."""

    entries: list[Entry] = field(default_factory=list)
    records: dict[str, list[Any]] = field(default_factory=dict)
    """By stage."""
    nbytes: int = 0
    since: float = field(default_factory=time.monotonic)

    def add(self, entry: Entry, records: Sequence[Any], nbytes: int) -> None:
        if not self.entries:
            self.since = time.monotonic()
        self.entries.append(entry)
        self.records.setdefault(entry.stage, []).extend(records)
        self.nbytes += nbytes

    def is_due(self) -> bool:
        return bool(self.entries) and (self.nbytes > _SEAL_BYTES or time.monotonic() - self.since > _SEAL_AFTER_S)


def _set_up_logging(run_dir: Path, name: str) -> None:
    path = run_dir / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, delay=True, encoding="utf-8")
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)


def _limit_threads(threads: int) -> None:
    """Pin the libraries to the cores that this worker was given."""
    os.environ["GDAL_NUM_THREADS"] = str(threads)
    os.environ.setdefault("GDAL_CACHEMAX", "64")
    os.environ["BLOSC_NTHREADS"] = "1"
    limit_threads(threads)
    keep_numba_threads()  # it came with the server that forks workers, which an earlier run may have started
