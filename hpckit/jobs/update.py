"""Keep a campaign up to date: work on what is new, and do nothing where nothing is. Made for cron.

Each update that found or did something is one line of `updates.jsonl` in the run directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.console import Console
from hpckit.base.files import append_line
from hpckit.base.quantities import format_count
from hpckit.base.reading import is_there, read_bytes
from hpckit.campaign.campaign import Campaign
from hpckit.catalogue.catalogue import read_stamps
from hpckit.errors import (
    EX_FAILED,
    EX_TEMPFAIL,
    BusyError,
    CatalogueError,
    FileUnavailableError,
    MemberUnavailableError,
    RunError,
)
from hpckit.jobs.federation.update import share_again
from hpckit.jobs.jobarrays import Request
from hpckit.jobs.retry import planned_outcomes
from hpckit.jobs.submit import submit_campaign
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import Entry
from hpckit.runs.run import Run, find_run
from hpckit.sites.site import Site
from hpckit.submissions.submission import latest

State = Literal["current", "done", "submitted", "working", "failed", "unread"]
_LOG: Final = "updates.jsonl"
_AGAIN: Final = timedelta(days=1)
"""After which units that failed are submitted once more, though no file of a product was changed."""


@dataclass(frozen=True, slots=True)
class Update:
    """What an update found and did."""

    state: State
    """`current`: nothing is new; `done`: the results are up to date now; `submitted`: jobs will do it; `working`:
    jobs or another process still work on the run, and nothing was begun; `failed`: units failed, or results are
    damaged; `unread`: products or results could not be read at the moment."""
    new: tuple[str, ...] = ()
    """Products that are used now and were not before."""
    gone: Mapping[str, str] = field(default_factory=dict)
    """Products that were used before and are no longer, with the reason."""
    done: Mapping[str, int] = field(default_factory=dict)
    """Units done on this machine, by stage."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why units failed, by id."""
    rows: int = 0
    """Zones times acquisitions that were loaded into the store."""
    removed: int = 0
    """Results that were removed from the store, since they are outdated."""
    markers: Mapping[str, int] = field(default_factory=dict)
    """Markers that were computed, by rule."""
    unread: int = 0
    """Products that could not be read at the moment."""
    submission: int | None = None
    """Number of the submission that was made, or that still works."""
    ended: int | None = None
    """Number of the submission that the update before made, if it is over now."""
    reason: str = ""
    """Why nothing was begun."""

    @property
    def exit_code(self) -> int:
        """1 if units failed, 75 if something could not be read, else 0: that jobs still work is no failure."""
        return EX_FAILED if self.state == "failed" else EX_TEMPFAIL if self.state == "unread" or self.unread else 0

    def describe(self) -> str:
        """Lines for people."""
        lines = [_SENTENCES[self.state] + (f" (submission {self.submission})" if self.submission else "")]
        if self.reason:
            lines.append(self.reason)
        if self.ended is not None:
            lines.append(f"submission {self.ended} is over")
        if self.new:
            lines.append(f"{format_count(len(self.new), 'new product')}: {_some(self.new)}")
        if self.gone:
            lines.append(f"{format_count(len(self.gone), 'product')} no longer used: {_some(list(self.gone))}")
        if self.done:
            lines.append("units done: " + ", ".join(f"{stage} {count}" for stage, count in self.done.items()))
        if self.rows or self.removed:
            lines.append(
                f"store: {format_count(self.rows, 'record')} loaded, "
                f"{format_count(self.removed, 'outdated result')} removed"
            )
        if self.markers:
            lines.append("markers: " + ", ".join(f"{name} {count:,}" for name, count in self.markers.items()))
        if self.unread:
            lines.append(
                f"{format_count(self.unread, 'product')} not readable at the moment; the next update tries again"
            )
        if self.failed:
            unit, reason = next(iter(self.failed.items()))
            lines.append(f"{format_count(len(self.failed), 'unit')} failed; {unit}: {reason}")
        return "\n".join(lines)


_SENTENCES: Final[dict[State, str]] = {
    "current": "up to date: nothing is new",
    "done": "updated",
    "submitted": "jobs were submitted",
    "working": "not updated: the run is busy",
    "failed": "units failed",
    "unread": "not everything could be read at the moment",
}


def update_here(campaign: Campaign, console: Console, workers: int | None = None) -> Update:
    """Bring cube, results and store up to date on this machine.

    Parameters
    ----------
    workers : int, optional
        Processes; the cores of this machine if not given.
    """
    before = _used(campaign.run_dir)
    try:
        result = run_campaign(campaign, console, workers=workers)
    except BusyError as error:
        return Update("working", reason=str(error))
    synced = result.sync
    failed = {entry.unit: entry.reason or "" for entry in result.failed}
    failed |= dict.fromkeys(synced.failures if synced is not None else (), "damaged or gone")
    unread = result.unread + (len(synced.unread) if synced is not None else 0)
    rows, removed = (synced.rows, synced.removed) if synced is not None else (0, 0)
    markers = synced.markers if synced is not None else None
    changes = _changes(before, campaign.run_dir) | {"markers": markers.made if markers is not None else {}}
    changed = markers is not None and not markers.is_empty
    busy = bool(result.done or rows or removed or changed or changes["new"] or changes["gone"])
    state: State = "failed" if failed else "unread" if unread else "done" if busy else "current"
    made = Update(state, done=result.done, failed=failed, rows=rows, removed=removed, unread=unread, **changes)
    return _logged(campaign.run_dir, made)


def update_on_site(campaign: Campaign, site: Site, console: Console, request: Request) -> Update:
    """Submit what is new to a cluster; nothing, while jobs of the run still run or wait.

    Units that failed are submitted again when products were fetched again or changed, or a day later.
    """
    path = campaign.run_dir
    before, last = _used(path), _last(path)
    try:
        submission = submit_campaign(campaign, site, console, request=request, skipped=_hopeless(path))
    except BusyError as error:
        known = latest(path)
        return Update("working", reason=str(error), submission=known.number if known is not None else None)
    except FileUnavailableError as error:
        return _logged(path, Update("unread", reason=str(error)))
    ended = last.get("submission") if last.get("state") == "submitted" else None
    if submission is not None:
        left_out, changes = submission.unread, _changes(before, path)
        made = Update("submitted", submission=submission.number, ended=ended, unread=left_out, **changes)
        return _logged(path, made)
    failed = {entry.unit: entry.reason or "" for entry in _failures(find_run(path))}
    changes = _changes(before, path)
    busy = ended is not None or changes["new"] or changes["gone"]
    return _logged(
        path, Update("failed" if failed else "done" if busy else "current", failed=failed, ended=ended, **changes)
    )


def update_shared(campaign: Campaign, console: Console, request: Request) -> Update:
    """Hand what is new to the sites that share a campaign; nothing, while one of them still works."""
    path = campaign.run_dir
    before, last = _used(path), _last(path)
    try:
        handed = share_again(campaign, (), request, console)
    except BusyError as error:
        return Update("working", reason=str(error))
    except (FileUnavailableError, MemberUnavailableError) as error:
        return _logged(path, Update("unread", reason=str(error)))
    changes = _changes(before, path)
    failed = {entry.unit: entry.reason or "" for entry in _failures(find_run(path))}
    failed |= {f"site {number}": str(fault) for number, fault in enumerate(handed.faults, 1)}
    failed |= dict.fromkeys(handed.unplaced, "no site has its scenes")
    busy = changes["new"] or changes["gone"] or last.get("state") == "submitted"
    state: State = "submitted" if handed.submissions else "failed" if failed else "done" if busy else "current"
    return _logged(path, Update(state, failed=failed, **changes))


def is_news(update: Update, run_dir: Path) -> bool:
    """Whether somebody wants to hear of an update: something changed, or failed in another way than before."""
    if update.state in ("current", "working"):
        return False
    if update.state != "failed" or update.new or update.gone or update.done:
        return True
    lines = _log(run_dir)
    return len(lines) < 2 or lines[-2].get("failed") != dict(update.failed)


def _logged(run_dir: Path, update: Update) -> Update:
    """Append an update to the log, unless nothing happened."""
    if update.state != "current":
        line = {"time": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(update)}
        append_line(run_dir / _LOG, json.dumps(line, separators=(",", ":")))
    return update


def _log(run_dir: Path) -> list[dict[str, Any]]:
    """Earlier updates; a line that was cut is left out."""
    if not is_there(run_dir / _LOG):
        return []
    found = []
    for line in read_bytes(run_dir / _LOG).splitlines():
        with suppress(ValueError):
            made = json.loads(line)
            if isinstance(made, dict):
                found.append(made)
    return found


def _last(run_dir: Path) -> dict[str, Any]:
    lines = _log(run_dir)
    return lines[-1] if lines else {}


def _used(run_dir: Path) -> Mapping[str, str]:
    """Products that the run last worked from, with the digest of their content."""
    return _selection(run_dir)[0]


def _changes(before: Mapping[str, str], run_dir: Path) -> dict[str, Any]:
    """Products that are new, or whose files have changed, and those that are no longer used."""
    after, dropped = _selection(run_dir)
    gone = {
        name: dropped.get(name, "no longer there, or no longer asked for") for name in before if name not in after
    }
    return {"new": tuple(name for name, content in after.items() if before.get(name) != content), "gone": gone}


def _selection(run_dir: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Digest of the content by product that is used, and reason by product that is not."""
    try:
        told = json.loads(read_bytes(find_run(run_dir).selection))
    except (RunError, FileNotFoundError):
        return {}, {}  # never planned, or only steps that make products were
    used = dict(zip(told["used"], told["contents"], strict=True))
    return used, {str(item["scene"]): str(item["reason"]) for item in told["dropped"]}


def _failures(run: Run) -> list[Entry]:
    """Units of the plan whose last attempt failed."""
    return [entry for entry in planned_outcomes(run) if entry.state == "failed"]


def _hopeless(run_dir: Path) -> Callable[[Run], Collection[tuple[str, str]]]:
    """Ids and inputs of units that failed in the last day, unless files of products were touched since.

    Called before the run is claimed, so that only what a plan replaces is read here, and the journal later.
    """
    try:
        before = find_run(run_dir)
        stamps = read_stamps(before.catalogue)
    except (RunError, CatalogueError):
        return lambda run: ()

    def lately(run: Run) -> Collection[tuple[str, str]]:
        if read_stamps(run.catalogue) != stamps:
            return ()
        since = (datetime.now(UTC) - _AGAIN).isoformat()
        return frozenset((entry.unit, entry.inputs) for entry in _failures(before) if entry.start > since)

    return lately


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
