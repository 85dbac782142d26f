"""Energy and emissions of a run: measured by the scheduler where it measures, else estimated by the site's figures.

Nothing is assumed: without a figure in the site file (`energy`) the answer is unknown. Energy of a job that the
scheduler measured is that of its nodes, so it contains that of neighbours where nodes are shared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from hpckit.base.quantities import format_count
from hpckit.runs.journal import Entry
from hpckit.sites.parts import Energy
from hpckit.sites.site import scheduler_of
from hpckit.submissions.follow import ElementState, remembered
from hpckit.submissions.submission import StageLayout, Submission

_J_PER_KWH: Final = 3.6e6
_OF_ELEMENT: Final = re.compile(r"s\d{4,}-.+/")
"""Writers that are elements of a submission: see `attempts.writer_name`."""
_MOST_W_PER_NODE: Final = 20_000.0
"""No node draws more: a larger number is a counter that was reset, or no number."""


@dataclass(frozen=True, slots=True)
class EnergyUse:
    """What a run consumed, as far as that is known."""

    measured_kwh: float
    """Of jobs that the scheduler measured; without cooling."""
    measured: int
    """Number of these jobs."""
    estimated_kwh: float
    """Of the rest, by the site's figures; without cooling."""
    estimated: int
    """Number of jobs that were estimated."""
    unknown: int
    """Jobs that are in neither, since nobody measured them and the site has no figures."""
    core_hours: float
    """That the estimate rests on."""
    gpu_hours: float
    kwh: float | None
    """Measured and estimated, times `pue` where the site gives it; None if any part is unknown."""
    kg_co2: float | None
    """None where the energy or the site's emissions are unknown."""
    pue: float | None = None
    by: str = ""
    """Who measured."""
    here: Literal["none", "estimated", "unknown"] = "none"
    """Units that were computed outside of jobs."""

    @property
    def begun(self) -> bool:
        """Whether a job ended or a unit was computed, so that there is something to tell."""
        return bool(self._jobs) or self.here != "none"

    @property
    def text(self) -> str:
        """In words, with what it rests on."""
        return f"{self.amount} ({self.basis})"

    @property
    def amount(self) -> str:
        """Energy and emissions in words."""
        if self.kwh is None:
            return "unknown"
        emitted = "emissions unknown" if self.kg_co2 is None else f"{self.kg_co2:.3g} kg CO2e"
        return f"{self.kwh:.3g} kWh, {emitted}"

    @property
    def basis(self) -> str:
        """What the number rests on."""
        parts = [*self._measured(), *self._estimated(), *self._unknown()]
        if self.kwh is not None:
            parts.append("without cooling: the site file has no `pue`" if self.pue is None else f"PUE {self.pue:g}")
        return "; ".join(parts) or "no work yet"

    @property
    def _jobs(self) -> int:
        return self.measured + self.estimated + self.unknown

    def _measured(self) -> list[str]:
        jobs = format_count(self._jobs, "job")
        return [f"measured by {self.by} for {self.measured} of {jobs}"] if self.measured else []

    def _estimated(self) -> list[str]:
        of = [f"{self.estimated} of {format_count(self._jobs, 'job')}"] if self.estimated else []
        of += ["work outside of jobs"] if self.here == "estimated" else []
        gpus = f" and {self.gpu_hours:.3g} GPU-hours" if self.gpu_hours else ""
        return [f"estimated from {self.core_hours:.3g} core-hours{gpus} for {' and '.join(of)}"] if of else []

    def _unknown(self) -> list[str]:
        of = [f"{self.unknown} of {format_count(self._jobs, 'job')}"] if self.unknown else []
        of += ["work outside of jobs"] if self.here == "unknown" else []
        return [f"{' and '.join(of)} not measured, and no site file has figures (`energy`)"] if of else []


def energy(
    submissions: Sequence[Submission], worked: Mapping[str, float], figures: Mapping[str, Energy] | None = None
) -> EnergyUse:
    """Energy of a run.

    Parameters
    ----------
    submissions : sequence of Submission
        With what was last seen of their elements (`follow.look` with details).
    worked : mapping of str to float
        Seconds of all attempts at units, by writer.
    figures : mapping of str to Energy, optional
        Of site files as they are now, by site, instead of those that submissions were made with. The empty name is
        this machine, for units that were computed outside of jobs.
    """
    now = figures or {}
    parts = [
        _of_element(item, submission, now.get(submission.site.name, submission.site.energy))
        for submission in submissions
        for item in _used(submission)
    ]
    alone_h = sum(seconds for writer, seconds in worked.items() if not _OF_ELEMENT.match(writer)) / 3600
    if alone_h:
        parts.append(replace(_estimate(now.get("", Energy()), alone_h, 0.0), is_job=False))
    return _sum(parts)


def by_writer(entries: Iterable[Entry]) -> dict[str, float]:
    """Seconds of all attempts, by writer, of a journal that was read."""
    found: dict[str, float] = {}
    for entry in entries:
        found[entry.writer] = found.get(entry.writer, 0.0) + entry.seconds
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """Energy of a job."""

    figures: Energy
    measured_kwh: float | None = None
    estimated_kwh: float | None = None
    core_hours: float = 0.0
    """That the estimate rests on."""
    gpu_hours: float = 0.0
    by: str = ""
    is_job: bool = True


def _used(submission: Submission) -> list[tuple[ElementState, StageLayout]]:
    known = {stage.stage: stage for stage in submission.stages}
    return [
        (item, known[item.stage])
        for item in remembered(submission)
        if item.stage in known and item.sighting.elapsed_s
    ]


def _of_element(found: tuple[ElementState, StageLayout], submission: Submission, figures: Energy) -> _Part:
    item, stage = found
    seen = item.sighting
    hours = (seen.elapsed_s or 0.0) / 3600
    most = _MOST_W_PER_NODE * stage.resources.nodes * (seen.elapsed_s or 0.0)
    if seen.energy_j is not None and seen.energy_j <= most:
        return _Part(figures, seen.energy_j / _J_PER_KWH, by=scheduler_of(submission.site).title)
    cores = seen.cores or stage.resources.cores_in_all
    return _estimate(figures, hours * cores, hours * stage.resources.gpus * stage.resources.nodes)


def _estimate(figures: Energy, core_hours: float, gpu_hours: float) -> _Part:
    known = figures.watt_per_core is not None and (not gpu_hours or figures.watt_per_gpu is not None)
    if not known:
        return _Part(figures)
    watt_h = core_hours * (figures.watt_per_core or 0.0) + gpu_hours * (figures.watt_per_gpu or 0.0)
    return _Part(figures, None, watt_h / 1000, core_hours, gpu_hours)


def _sum(parts: Sequence[_Part]) -> EnergyUse:
    jobs, alone = [part for part in parts if part.is_job], [part for part in parts if not part.is_job]
    measured = [part.measured_kwh for part in jobs if part.measured_kwh is not None]
    estimated = [part.estimated_kwh for part in parts if part.estimated_kwh is not None]
    of_jobs = sum(part.estimated_kwh is not None for part in jobs)
    whole = [_whole(part) for part in parts]
    emitted = [_emitted(part) for part in parts]
    pues = {part.figures.pue for part in parts}
    return EnergyUse(
        measured_kwh=sum(measured, 0.0),
        measured=len(measured),
        estimated_kwh=sum(estimated, 0.0),
        estimated=of_jobs,
        unknown=len(jobs) - len(measured) - of_jobs,
        core_hours=sum(part.core_hours for part in parts),
        gpu_hours=sum(part.gpu_hours for part in parts),
        kwh=None if not parts or None in whole else sum(value for value in whole if value is not None),
        kg_co2=None if not parts or None in emitted else sum(value for value in emitted if value is not None),
        pue=pues.pop() if len(pues) == 1 else None,
        by=", ".join(sorted({part.by for part in parts if part.by})),
        here="none" if not alone else "unknown" if alone[0].estimated_kwh is None else "estimated",
    )


def _whole(part: _Part) -> float | None:
    """With cooling, where the site says how much that is."""
    kwh = part.measured_kwh if part.measured_kwh is not None else part.estimated_kwh
    return None if kwh is None else kwh * (part.figures.pue or 1.0)


def _emitted(part: _Part) -> float | None:
    kwh, grams = _whole(part), part.figures.g_co2_per_kwh
    return None if kwh is None or grams is None else kwh * grams / 1000
