"""Sync: load sealed spool segments into the store, exactly once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hpckit.campaign import Campaign
from hpckit.console import Console
from hpckit.errors import SpoolError, SpoolFormatError
from hpckit.reduce.zones import load_zones
from hpckit.run import Run
from hpckit.spool import DAMAGED, Segment, read_segment, segments, spool_id
from hpckit.store import Store, open_store


@dataclass(slots=True)
class SyncReport:
    """What a sync did."""

    loaded: int = 0
    """Segments loaded now."""
    known: int = 0
    """Segments that were loaded before."""
    stale: int = 0
    """Segments of zone layers that the campaign no longer uses; they are left alone."""
    rows: int = 0
    """Zones times acquisitions loaded now."""
    failures: list[str] = field(default_factory=list)
    """Segments that are damaged."""

    def describe(self) -> str:
        """One line for people."""
        parts = [f"{self.loaded} spool files loaded ({self.rows:,} zone observations)"]
        counts = {"known already": self.known, "of earlier zone layers": self.stale, "damaged": len(self.failures)}
        return ", ".join([*parts, *(f"{count} {what}" for what, count in counts.items() if count)])


def sync(campaign: Campaign, run: Run, console: Console) -> SyncReport:
    """Load all segments of a run that the store does not have.

    A damaged segment is reported and does not keep the others back.

    Raises
    ------
    StoreUnavailableError
        If the store cannot be reached, or breaks off; what was loaded stays, the rest stays spooled.
    StoreError
        If the store refuses.
    """
    report = SyncReport()
    store = open_store(campaign)
    try:
        store.prepare()
        digests = _load_zones(store, campaign, run)
        paths = _unknown(store, list(segments(run.spool)), report)
        with console.progress("sync", total=len(paths)) as progress:
            for done, item in enumerate(read_ahead(paths), 1):
                _load(store, item, digests, report)
                progress(done, len(paths))
    finally:
        store.close()
    for failure in report.failures:
        console.warn(failure)
    return report


def _load_zones(store: Store, campaign: Campaign, run: Run) -> dict[str, str]:
    """Load the zone layers of the run; their digests by reduction."""
    digests = {}
    for reduction in campaign.signatures:
        if run.zones(reduction.name).exists():
            zones = load_zones(run.zones(reduction.name))
            store.load_zones(reduction.name, zones)
            digests[reduction.name] = zones.digest
    return digests


def _unknown(store: Store, paths: Sequence[Path], report: SyncReport) -> list[Path]:
    """Segments that the ledger lacks, and damaged ones; to know a segment, its first bytes are enough."""
    known = store.loaded_ids()
    unknown = []
    for path in paths:
        try:
            if spool_id(path) in known:
                report.known += 1
                continue
        except SpoolError:
            pass
        unknown.append(path)
    return unknown


def read_ahead(paths: Sequence[Path]) -> Iterator[Segment | SpoolError]:
    """Read and verify segments, one while the store is busy with the one before; errors stand in their place."""
    with ThreadPoolExecutor(1) as pool:
        waiting = [pool.submit(_read, path) for path in paths[:1]]
        for path in [*paths[1:], None]:
            if waiting:
                ready = waiting.pop().result()
                if path is not None:
                    waiting.append(pool.submit(_read, path))
                yield ready


def _read(path: Path) -> Segment | SpoolError:
    try:
        return read_segment(path)
    except SpoolFormatError as error:
        return error
    except SpoolError as error:
        # Set aside, it tells the next plan that its units are to be done again.
        with suppress(OSError):
            path.rename(path.with_name(path.name + DAMAGED))
        return error


def _load(store: Store, item: Segment | SpoolError, digests: dict[str, str], report: SyncReport) -> None:
    if isinstance(item, SpoolError):
        report.failures.append(str(item))
    elif digests.get(item.header.reduction) != item.header.zones_digest:
        report.stale += 1
    else:
        try:
            report.rows += store.load_segment(item)
            report.loaded += 1
        except SpoolError as error:
            report.failures.append(str(error))
