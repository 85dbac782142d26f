"""Sync: load sealed spool segments into the store, exactly once."""

from __future__ import annotations

from dataclasses import dataclass, field

from hpckit.campaign import Campaign
from hpckit.console import Console
from hpckit.errors import SpoolError
from hpckit.reduce.zones import load_zones
from hpckit.run import Run
from hpckit.spool import read_segment, segments
from hpckit.store import open_store


@dataclass(slots=True)
class SyncReport:
    """What a sync did."""

    loaded: int = 0
    """Segments loaded now."""
    known: int = 0
    """Segments that were loaded before."""
    rows: int = 0
    """Zones times acquisitions loaded now."""
    failures: list[str] = field(default_factory=list)
    """Segments that are damaged."""


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
        for reduction in campaign.reductions:
            if run.zones(reduction.name).exists():
                store.load_zones(reduction.name, load_zones(run.zones(reduction.name)))
        digests = {
            r.name: load_zones(run.zones(r.name)).digest for r in campaign.reductions if run.zones(r.name).exists()
        }
        known = store.loaded_ids()
        paths = list(segments(run.spool))
        with console.progress("sync") as progress:
            for done, path in enumerate(paths, 1):
                try:
                    segment = read_segment(path)
                except SpoolError as error:
                    report.failures.append(str(error))
                    console.warn(str(error))
                    continue
                if segment.spool_id in known or digests.get(segment.header.reduction) != segment.header.zones_digest:
                    report.known += 1
                else:
                    report.rows += store.load_segment(segment)
                    report.loaded += 1
                progress(done, len(paths))
    finally:
        store.close()
    return report
