"""Clean-up: what of a run is certainly ours and certainly needed no more; what is unknown, young or in use stays."""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, get_args

from hpckit.base.claims import holder
from hpckit.base.files import PARTIAL, server_time
from hpckit.base.reading import folders_in, is_there
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.tiles import read_tiles
from hpckit.errors import BusyError, HpckitError, StoreError
from hpckit.inputs.scratch import scratch
from hpckit.reduce.signatures.cleaned import note_cleaned
from hpckit.reduce.signatures.inputs import needed_indexes
from hpckit.reduce.signatures.spool import DAMAGED, segments
from hpckit.runs.frozen import unnamed
from hpckit.runs.journal import read_journal
from hpckit.runs.part import PART, is_home
from hpckit.runs.plan import read_inputs
from hpckit.runs.run import LOCK, Run, campaign_digest, claim, open_frozen, read_run_json
from hpckit.store import open_store
from hpckit.store.owner import StoreOwner, require_own
from hpckit.submissions.attempts import describe, working_in
from hpckit.submissions.idle import submitted
from hpckit.submissions.submission import submissions

Kind = Literal["spool", "outdated", "logs", "inputs", "indexes", "scratch", "run"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
DEFAULT: Final[tuple[Kind, ...]] = ("spool", "logs", "inputs")
"""Kinds that are cleaned if none are named: nothing that was computed is lost with them."""
_DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True)
class Item:
    """A file or folder that can go."""

    kind: Kind
    path: Path
    nbytes: int


@dataclass(slots=True)
class CleanReport:
    """What can go, or has gone."""

    items: list[Item] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    """Spool files that stay, by the reason."""
    failures: list[str] = field(default_factory=list)
    """What could not be removed."""
    stays: str = ""
    """Why the run directory stays, where it was to go."""
    unknown: list[str] = field(default_factory=list)
    """What could not be looked at, so that all of its kind stays."""
    removed: bool = False
    """Whether it was removed, or is only shown."""

    def of(self, kind: Kind) -> list[Item]:
        """Items of a kind."""
        return [item for item in self.items if item.kind == kind]


def clean(campaign: Campaign, run: Run, ages: Mapping[Kind, float], *, remove: bool) -> CleanReport:
    """Find what of a run is needed no more, and remove it if asked to.

    Parameters
    ----------
    campaign : Campaign
        Whose store counts.
    ages : mapping
        Kinds to look for, each with days: only what was not changed for so long. *spool*: spool files whose results
        the store holds. *outdated*: spool files with results of earlier settings, which an undone edit would need
        again, and damaged ones. *logs*: of the run, and of submissions that have ended, except the last one.
        *inputs*: frozen inputs that nothing names, and what killed writers left. *indexes*: zone indexes that neither
        the plan nor a later one names. *scratch*: whole remote files in the scratch folder of this machine. *run*:
        the run directory, if the period is over, all units are done, and the store holds all results; then nothing
        else is looked for.
    remove : bool
        Off: nothing is changed.

    Raises
    ------
    BusyError
        If somebody works on the run, or a submission may not have ended; nothing is removed then.
    """
    # To take the claim would write to the run directory, which a mere look does not.
    if not remove and (who := holder(run.path / LOCK)) is not None:
        raise BusyError(f"{run.path}: {who.get('user', 'somebody')} works on it", hint="clean when that has ended")
    with claim(run) if remove else nullcontext():
        _require_quiet(run)
        report = CleanReport(removed=remove)
        now = server_time(run.path) if remove else _now()
        before = {kind: now - days * _DAY_S for kind, days in ages.items()}
        held = {} if _find_run(campaign, run, before, report) else _find(campaign, run, before, report)
        if remove:
            note_cleaned(run, held)
            for item in report.items:
                _remove(item, before[item.kind], report)
    return report


def _find(campaign: Campaign, run: Run, before: Mapping[Kind, float], report: CleanReport) -> dict[str, str]:
    """Add what can go of a run that stays; returns results of spool files that can go, as `_find_spool` does."""
    held = _find_spool(campaign, run, before, report)
    if "logs" in before:
        report.items += _items("logs", _logs(run), before["logs"])
    if "inputs" in before:
        report.items += _items("inputs", _inputs(run), before["inputs"])
    if "indexes" in before:
        report.items += _items("indexes", _indexes(run, report), before["indexes"])
    if "scratch" in before:
        report.items += [Item("scratch", path, _size(path)) for path in scratch().unused(before["scratch"])]
    return held


def _find_run(campaign: Campaign, run: Run, before: Mapping[Kind, float], report: CleanReport) -> bool:
    """Add the run directory if it can go as a whole; else say why it stays."""
    if "run" not in before:
        return False
    try:
        why = _needs_run(campaign, run, before["run"])
    except HpckitError as error:
        report.unknown.append(f"the run directory stays: {error}")
        return False
    if why is not None:
        report.stays = why
        return False
    report.items.append(Item("run", run.path, _size(run.path)))
    return True


def _needs_run(campaign: Campaign, run: Run, before: float) -> str | None:
    """Why a run directory is needed; None if it is not."""
    end = campaign.period.end
    if end is None or end >= datetime.fromtimestamp(before, UTC).date():
        return "the period is not over for so long"
    if is_home(run.path) or is_there(run.path / PART):
        return "several sites share the campaign"
    if not campaign.signatures or campaign.of_pixels or campaign.steps or campaign.extensions:
        return "not all results are in the store: composites, graphs and steps are known by the run directory"
    if campaign_digest(campaign) != campaign_digest(run.campaign):
        return "the campaign file was edited since"
    done = {(entry.unit, entry.inputs) for entry in read_journal(run.path) if entry.state == "done"}
    if _planned(run) - done:
        return "units are not done"
    stored = _stored(campaign, run)
    if any(stored.get(unit) != inputs for unit, inputs in _planned(run) if unit.startswith("signatures/")):
        return "the store lacks results: `hpckit sync` loads them"
    # The folder itself, and the claim in it, are as young as this command.
    ages = (_changed(path) for path in run.path.iterdir() if path.name != LOCK)
    return "it is young: --older-than" if max(ages) >= before else None


def _now() -> float:
    import time

    return time.time()


def _require_quiet(run: Run) -> None:
    for submission in submissions(run.path):
        if not submission.is_over:
            raise BusyError(
                f"submission {submission.number} of this run has not ended, as far as is known",
                hint="`hpckit status` asks the scheduler; clean when it has ended",
            )
    if signs := working_in(run.path):
        raise BusyError(describe(signs), hint="clean when that has ended")


def _find_spool(campaign: Campaign, run: Run, before: Mapping[Kind, float], report: CleanReport) -> dict[str, str]:
    """Add spool files that can go; returns results of them that the store holds, by unit the digest of inputs."""
    if not {"spool", "outdated"} & set(before):
        return {}
    try:
        stored, present = _stored(campaign, run), _planned(run)
    except HpckitError as error:
        report.unknown.append(f"all spool files stay: {error}")
        return {}
    held: dict[str, str] = {}
    holds = _results_by_segment(run)
    for path in segments(run.spool):
        pairs = holds.get(path.name, set())
        kind = _judge(path, pairs, stored, present, before)
        if kind in before:
            report.items.append(Item(kind, path, _size(path)))  # type: ignore[arg-type]
            held |= {unit: inputs for unit, inputs in pairs if stored.get(unit) == inputs}
        else:
            report.kept[_REASONS.get(kind, kind)] += 1
    if "outdated" in before:
        damaged = [path for path in run.spool.glob(f"*{DAMAGED}") if path.is_file()]
        report.items += _items("outdated", damaged, before["outdated"])
    return held


_REASONS: Final = {
    "spool": "the store holds their results; they are left out by --what",
    "outdated": "they hold results of earlier settings, which an undone edit would need: `--what outdated`",
}


def _judge(
    path: Path,
    pairs: Collection[tuple[str, str]],
    stored: Mapping[str, str],
    present: Collection[tuple[str, str]],
    before: Mapping[Kind, float],
) -> str:
    """Kind of a spool file that can go; else why it stays."""
    if not pairs:
        return "no journal names them: what they hold is unknown"
    if any(pair in present and stored.get(pair[0]) != pair[1] for pair in pairs):
        return "the store lacks results of them: `hpckit sync` loads them"
    kind: Kind = "spool" if all(stored.get(unit) == inputs for unit, inputs in pairs) else "outdated"
    limit = before.get(kind, before.get("spool", float("inf")))
    return "they are young: --older-than" if path.stat().st_mtime >= limit else kind


def _stored(campaign: Campaign, run: Run) -> dict[str, str]:
    """Results of this run that the store holds, by unit the digest of their inputs."""
    if campaign.store.is_file and not is_there(campaign.store_path):
        return {}
    store = open_store(campaign)
    try:
        if not store.is_made():
            return {}
        known = store.owners()
        require_own(run, campaign, known)
        mine = StoreOwner.of(run, campaign)
        names = [name for name, owner in known.items() if owner.campaign and owner.is_same(mine)]
        return {unit: inputs for name in names for unit, inputs in store.made_from(name).items()}
    finally:
        store.close()


def _planned(run: Run) -> set[tuple[str, str]]:
    """Units of the plan that the run works from, and of a later one, with the digests of their inputs."""
    known = read_run_json(run.path)
    digests = {known.get("frozen"), known.get("planned")} - {None, ""}
    if not digests:
        raise StoreError("nothing was planned yet")
    found: set[tuple[str, str]] = set()
    for digest in digests:
        units, _, inputs = (column.to_pylist() for column in read_inputs(open_frozen(run.path, str(digest)).plan))
        found |= set(zip(units, inputs, strict=True))
    return found


def _results_by_segment(run: Run) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    for entry in read_journal(run.path):
        if entry.state == "done" and entry.segment is not None:
            found.setdefault(entry.segment, set()).add((entry.unit, entry.inputs))
    return found


def _logs(run: Run) -> Iterator[Path]:
    """Messages of workers, and outputs of the jobs of submissions before the last one."""
    yield from sorted((run.path / "logs").glob("*.log"))
    for submission in submissions(run.path)[:-1]:
        if submission.is_over:
            yield from sorted(path for path in (submission.path / "logs").glob("*.out") if path.is_file())


def _inputs(run: Run) -> Iterator[Path]:
    """Frozen inputs that nothing names, and what killed writers left."""
    yield from unnamed(run, submitted(run))
    ours = re.compile(rf"\..*\.?[0-9a-f]{{12}}{re.escape(PARTIAL)}(\..*)?")
    for folder in (run.path, run.spool, *folders_in(run.path / "index")):
        yield from sorted(path for path in folder.glob(f".*{PARTIAL}*") if ours.fullmatch(path.name))


def _indexes(run: Run, report: CleanReport) -> list[Path]:
    """Zone indexes that no plan names; none, if that is not known."""
    known = read_run_json(run.path)
    try:
        frozen = [
            open_frozen(run.path, str(name)) for name in {known.get("frozen"), known.get("planned")} - {None, ""}
        ]
        needed = {path for one in frozen for path in needed_indexes(read_tiles(one))}
    except (HpckitError, OSError) as error:
        report.unknown.append(f"all zone indexes stay: {error}")
        return []
    return sorted(path for path in (run.path / "index").rglob("*.npz") if path not in needed)


def _items(kind: Kind, paths: Iterator[Path] | Collection[Path], before: float) -> list[Item]:
    return [Item(kind, path, _size(path)) for path in paths if _changed(path) < before]


def _changed(path: Path) -> float:
    """When a file, or the youngest file of a folder, was last changed; never, if that cannot be seen."""
    try:
        inner = path.rglob("*") if path.is_dir() and not path.is_symlink() else ()
        return max([path.lstat().st_mtime, *(item.lstat().st_mtime for item in inner)])
    except OSError:
        return float("inf")


def _size(path: Path) -> int:
    try:
        inner = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
        return sum(item.lstat().st_size for item in inner if item.is_file())
    except OSError:
        return 0


def _remove(item: Item, before: float, report: CleanReport) -> None:
    try:
        if item.kind == "scratch":
            scratch().remove(item.path, before)
        elif item.path.is_dir() and not item.path.is_symlink():
            # Under another name first: frozen inputs are whole or not there.
            aside = item.path.with_name(f".{item.path.name.strip('.')}.{os.urandom(6).hex()}{PARTIAL}")
            item.path.rename(aside)
            shutil.rmtree(aside)
        else:
            item.path.unlink()
    except FileNotFoundError:
        pass
    except OSError as error:
        report.failures.append(f"{item.path}: {error.strerror or error}")
