"""Reports: one HTML page about a run that needs nothing beside itself."""

from __future__ import annotations

import base64
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from hpckit.base.files import write_text
from hpckit.base.quantities import format_bytes, format_count, format_duration, format_large
from hpckit.errors import HpckitError
from hpckit.look.cubefacts import CubeFacts, cube_facts
from hpckit.look.observed import never_observed
from hpckit.look.style import Picture
from hpckit.look.timeline import busy_seconds, draw_timeline
from hpckit.look.view import CampaignView
from hpckit.production.stages import stages_of
from hpckit.runs.journal import Entry, outcomes, read_journal
from hpckit.runs.plan import Unit, read_plan
from hpckit.runs.run import Run
from hpckit.sites.parts import Energy
from hpckit.submissions.energy import EnergyUse, by_writer, energy
from hpckit.submissions.submission import submissions
from hpckit.submissions.usage import StageUsage, usage

_TEMPLATE: Final = "report.html.j2"
_UNITS_SHOWN: Final = 20
_SCENES_SHOWN: Final = 200
_SERIES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class StageRow:
    """How the units of a stage went."""

    name: str
    total: int
    done: int
    failed: int
    wall_s: float
    """Time in which at least one of its units was worked on."""
    seconds: tuple[float, float, float]
    """Median, 95th percentile and maximum of the seconds of its done units."""
    busy: float
    """Part of the workers' time that they spent on units."""
    rates: tuple[str, ...]
    """Throughput as text."""

    @property
    def waiting(self) -> int:
        """Units that were not tried yet."""
        return self.total - self.done - self.failed


@dataclass(frozen=True, slots=True)
class FailureRow:
    """Units that failed for one reason."""

    reason: str
    units: tuple[str, ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The first of them."""
        return self.units[:_UNITS_SHOWN]


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """What became of the zones of a reduction."""

    reduction: str
    count: int
    repaired: tuple[str, ...]
    dropped: tuple[tuple[str, str], ...]
    slivers: int
    """Zones in which no pixel lies."""


@dataclass(slots=True)
class Report:
    """Everything that the page shows."""

    run: Run
    facts: Mapping[str, Any]
    """The run's own description, `run.json`."""
    stages: list[StageRow]
    failures: list[FailureRow]
    selection: Mapping[str, Any]
    zones: list[ZoneRow]
    cube: CubeFacts | None
    spool: tuple[int, int]
    """Segments and bytes."""
    store: Mapping[str, Mapping[str, int]]
    """Counts by reduction."""
    created: datetime
    pictures: list[tuple[str, str]] = field(default_factory=list)
    """Caption, and PNG in base64."""
    usage: list[StageUsage] = field(default_factory=list)
    """Of jobs of a cluster."""
    energy: EnergyUse | None = None
    timeline: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> tuple[str, str]:
        """One word for the style, and one sentence on how the run stands."""
        failed, waiting = sum(stage.failed for stage in self.stages), sum(stage.waiting for stage in self.stages)
        if failed:
            return "failed", f"{format_count(failed, 'unit')} failed"
        if not self.stages:
            return "waiting", "not started"
        return ("waiting", f"{format_count(waiting, 'unit')} to do") if waiting else ("done", "complete")


def write_report(run: Run, path: Path | None = None, figures: Mapping[str, Energy] | None = None) -> Path:
    """Write the report of a run; return where it lies.

    Parameters
    ----------
    path : Path, optional
        By default `report.html` in the run directory.
    figures : mapping of str to Energy, optional
        As of `hpckit.submissions.energy.energy`.

    Raises
    ------
    HpckitError
        If the file cannot be written.
    """
    path = path or run.path / "report.html"
    try:
        write_text(path, render(collect(run, figures)))
    except OSError as error:
        raise HpckitError(f"{path}: the report cannot be written") from error
    return path


def collect(run: Run, figures: Mapping[str, Energy] | None = None) -> Report:
    """Read everything from the run directory, the cube and the store; what cannot be read becomes a warning."""
    entries, units = read_journal(run.path), read_plan(run.plan) if run.plan.exists() else []
    known = outcomes(entries, {unit.id: unit.inputs for unit in units})
    segments = list(run.spool.glob("*.h5"))
    report = Report(
        run=run,
        facts=_read_json(run.path / "run.json"),
        stages=list(_stages(units, entries, known)),
        failures=_failures(known.values(), list(dict.fromkeys(unit.stage for unit in units))),
        selection=_read_json(run.selection),
        zones=[],
        cube=None,
        spool=(len(segments), sum(path.stat().st_size for path in segments)),
        store={},
        created=datetime.now(UTC),
    )
    with _noting(report, "cube"):
        report.cube = cube_facts(run.campaign.cube_path) if run.campaign.cube.keep else None
    with _noting(report, "zones"):
        report.zones = list(_zones(run, known.values()))
    with _noting(report, "jobs"):
        report.usage = [item for submission in submissions(run.path) for item in usage(submission, entries)]
        report.energy = energy(submissions(run.path), by_writer(entries), figures)
    with _noting(report, "store"):
        report.store = _store_summary(run)
    if entries:
        colours = {stage.name: stage.colour for stage in stages_of(run.campaign)}
        report.timeline = _encode(draw_timeline(entries, colours))
    _add_pictures(report)
    return report


def render(report: Report) -> str:
    """Fill the page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {
        "bytes": format_bytes,
        "duration": format_duration,
        "large": format_large,
        "brief": lambda seconds: f"{seconds * 1000:.0f} ms" if seconds < 1 else format_duration(seconds),
        "count": lambda number: f"{number:,.0f}".replace(",", " "),
        "when": lambda text: f"{datetime.fromisoformat(str(text)):%-d %B %Y, %H:%M} UTC",
    }
    return environment.get_template(_TEMPLATE).render(
        report=report, campaign=report.run.campaign, shown=_SCENES_SHOWN
    )


def _stages(units: Sequence[Unit], entries: Sequence[Entry], known: Mapping[str, Entry]) -> Iterator[StageRow]:
    for name in dict.fromkeys(unit.stage for unit in units):
        mine = [known[unit.id] for unit in units if unit.stage == name and unit.id in known]
        done = [entry for entry in mine if entry.state == "done"]
        attempts = [entry for entry in entries if entry.stage == name]
        seconds = np.percentile([entry.seconds for entry in done], [50, 95, 100]) if done else [0.0] * 3
        wall_s, workers = busy_seconds(attempts), len({entry.writer for entry in attempts})
        worked = sum(entry.seconds for entry in attempts)
        median, high, most = (float(value) for value in seconds)
        yield StageRow(
            name,
            total=sum(unit.stage == name for unit in units),
            done=len(done),
            failed=len(mine) - len(done),
            wall_s=wall_s,
            seconds=(median, high, most),
            busy=worked / (wall_s * workers) if wall_s else 0.0,
            rates=tuple(_rates(attempts, wall_s)),
        )


def _rates(entries: Sequence[Entry], wall_s: float) -> Iterator[str]:
    """Throughput over the time in which the stage was worked on, of all its workers together."""

    def total(metric: str) -> float:
        return sum(entry.metrics.get(metric, 0.0) for entry in entries)

    if wall_s <= 0:
        return
    pixels = total("decoded_pixels") or total("pixels")
    if pixels:
        yield f"{pixels / wall_s / 1e6:.1f} Mpx/s"
    if total("written_bytes"):
        yield f"{total('written_bytes') / wall_s / 1e6:.1f} MB/s"
    if not pixels and total("zones"):
        yield f"{total('zones') / wall_s:,.0f} zones/s".replace(",", " ")


def _failures(entries: Iterable[Entry], stages: Sequence[str]) -> list[FailureRow]:
    """Failed units by reason: causes before what follows from them, since a unit lacks those of an earlier stage."""
    by_reason: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.state == "failed":
            by_reason[entry.reason or "no reason given"].append(entry)
    ranks = {reason: min(stages.index(entry.stage) for entry in mine) for reason, mine in by_reason.items()}
    groups = [FailureRow(reason, tuple(sorted(entry.unit for entry in mine))) for reason, mine in by_reason.items()]
    return sorted(groups, key=lambda group: (ranks[group.reason], -len(group.units), group.reason))


def _zones(run: Run, entries: Iterable[Entry]) -> Iterator[ZoneRow]:
    view = CampaignView(run.campaign)
    laid = [entry for entry in entries if "slivers" in entry.metrics]
    for reduction in run.campaign.signatures:
        if not run.zones(reduction.name).exists():
            continue
        layer = view.zones(reduction.name)
        mine = [entry for entry in laid if f"/{reduction.name}/" in f"{entry.unit}/"]
        slivers = sum(entry.metrics.get("slivers", 0) for entry in mine)
        gone = f"a buffer of {reduction.buffer:g} m leaves nothing of it"
        dropped = (*layer.dropped, *((name, gone) for name in layer.vanished))
        yield ZoneRow(reduction.name, len(layer), layer.repaired, dropped, int(slivers))


def _store_summary(run: Run) -> Mapping[str, Mapping[str, int]]:
    from hpckit.store import open_store

    if run.campaign.store.is_file and not run.campaign.store_path.exists():
        return {}
    store = open_store(run.campaign)
    try:
        return store.summary()
    finally:
        store.close()


def _add_pictures(report: Report) -> None:
    view = CampaignView(report.run.campaign)
    if view.tiles:
        tile = view.tiles[0]
        _add_picture(report, f"Clearest date of tile {tile}", lambda: view.quicklook(tile))
    if report.store:
        _add_picture(report, "Series of large zones", lambda: _draw_series(view))


def _draw_series(view: CampaignView) -> Picture:
    """Series of some large zones; of a reduction with classes alone, their shares in the largest one."""
    names = _large_zones(view)
    return view.plot_series(names[0] if view.class_band() else _telling_zones(view, names))


def _large_zones(view: CampaignView) -> list[str]:
    import shapely

    layer = view.zones()
    order = np.argsort(-shapely.area(layer.geometries), kind="stable")[:60]
    return [layer.ids[row] for row in order.tolist()]


def _telling_zones(view: CampaignView, names: Sequence[str]) -> list[str]:
    """Zones that were observed, of different kinds where the layer distinguishes kinds."""
    labels = view.labels(names, kinds_only=True)
    first_of_kind = [names[labels.index(label)] for label in dict.fromkeys(labels)]
    telling = list(dict.fromkeys([*first_of_kind, *names]))
    seen = (name for name in telling if never_observed(name, view.series(name)) is None)
    return list(islice(seen, _SERIES_SHOWN)) or telling[:_SERIES_SHOWN]


def _add_picture(report: Report, caption: str, draw: Callable[[], Picture]) -> None:
    with _noting(report, caption):
        report.pictures.append((caption, _encode(draw())))


@contextmanager
def _noting(report: Report, what: str) -> Iterator[None]:
    """Turn an error into a warning of the report: a run that went wrong must have a report, too."""
    try:
        yield
    except (HpckitError, OSError, ValueError) as error:
        report.warnings.append(f"{what}: {error}")


def _read_json(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        value = json.loads(path.read_text(encoding="utf-8"))
        return value if isinstance(value, dict) else {}
    return {}


def _encode(picture: Picture) -> str:
    return base64.b64encode(picture.png).decode()
