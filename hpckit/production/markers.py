"""Markers of a campaign: events of its rules, found in the series of the store and kept beside them.

The markers of a rule have the digest of the rule, of the zones, and of the inputs of all results that its series
have. Where it differs from what the store has, they are made again; rules that the campaign has no longer are
removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from hpckit.base.console import Console
from hpckit.base.files import digest, digest_json
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.markers import MarkerRule
from hpckit.errors import StoreError
from hpckit.reduce.markers.detect import EDITION, Observations, detect
from hpckit.runs.run import Run
from hpckit.store import Store, open_store
from hpckit.store.blocks import RecordBlock
from hpckit.store.markerrows import MarkerRows, joined
from hpckit.store.owner import StoreOwner, require_own
from hpckit.store.upgrade import require_asked

Chosen = npt.NDArray[np.bool_]
"""Of each zone of a layer: whether a rule looks at it."""


@dataclass(slots=True)
class MarkerReport:
    """What was done to the markers of a store."""

    made: dict[str, int] = field(default_factory=dict)
    """Markers by rule that were computed now."""
    known: list[str] = field(default_factory=list)
    """Rules whose markers were there."""
    removed: list[str] = field(default_factory=list)
    """Rules that the campaign has no longer."""
    waiting: list[str] = field(default_factory=list)
    """Rules without series in the store."""

    @property
    def is_empty(self) -> bool:
        """Whether nothing was to be done."""
        return not self.made and not self.removed

    def describe(self) -> str:
        """One line for people."""
        parts = [f"{name} {count:,}" for name, count in self.made.items()]
        parts += [f"{name} unchanged" for name in self.known]
        parts += [f"{name} removed" for name in self.removed]
        parts += [f"{name} has no series yet" for name in self.waiting]
        return "markers: " + (", ".join(parts) or "the campaign has no rules")


def refresh(store: Store, rules: Sequence[MarkerRule], reductions: Collection[str], console: Console) -> MarkerReport:
    """Bring the markers of reductions up to date.

    Parameters
    ----------
    store : Store
        Its schema is that of this version.
    rules : sequence of MarkerRule
        All of the campaign.
    reductions : collection of str
        Reductions of the campaign in the store: markers of other rules are removed from these, and from no others.

    Raises
    ------
    StoreError
        If results are loaded while they are read; what was made until then stays.
    """
    report = MarkerReport()
    layers = store.layers()
    report.waiting = [rule.name for rule in rules if rule.reduction not in set(reductions) & layers.keys()]
    for name in [name for name in reductions if name in layers]:
        wanted = [rule for rule in rules if rule.reduction == name]
        known = store.marker_rules(name)
        removed = sorted(known.keys() - {rule.name for rule in wanted})
        if removed:
            store.drop_markers(name, removed)
            report.removed += removed
        zones = _zones(store, name, wanted)
        identities = _identities(store, name, layers[name], wanted, zones)
        report.known += [rule.name for rule in wanted if known.get(rule.name) == identities[rule.name]]
        due = [rule for rule in wanted if known.get(rule.name) != identities[rule.name]]
        if due:
            for rule, rows in _markers(store, name, due, zones, console):
                store.load_markers(name, rule, identities[rule.name], layers[name], rows)
                report.made[rule.name] = len(rows)
    return report


def refresh_campaign(campaign: Campaign, run: Run, console: Console) -> MarkerReport:
    """Bring the markers of a campaign up to date, in its store.

    Raises
    ------
    StoreError
        If the store has results of another campaign under these names, or cannot be written.
    """
    store = open_store(campaign, console.warn)
    try:
        require_asked(store, StoreOwner.of(run, campaign))
        store.prepare()
        require_own(run, campaign, store.owners())
        return refresh(store, campaign.markers, [item.name for item in run.campaign.signatures], console)
    finally:
        store.close()


def is_campaign_current(campaign: Campaign) -> bool:
    """Whether the markers of a campaign are up to date; changes nothing, and needs no run directory."""
    store = open_store(campaign)
    try:
        return are_current(store, campaign.markers, [item.name for item in campaign.signatures])
    finally:
        store.close()


def are_current(store: Store, rules: Sequence[MarkerRule], reductions: Collection[str]) -> bool:
    """Whether `refresh` would change nothing."""
    layers = store.layers()
    for name in set(reductions) & layers.keys():
        wanted = [rule for rule in rules if rule.reduction == name]
        known = store.marker_rules(name)
        if known or wanted:
            zones = _zones(store, name, wanted)
            if known != _identities(store, name, layers[name], wanted, zones):
                return False
    return True


def _zones(store: Store, reduction: str, rules: Sequence[MarkerRule]) -> Mapping[str, Chosen]:
    """Which zones rules look at, by rule; rules for all zones are left out.

    Raises
    ------
    StoreError
        If zones have no attribute that a rule names.
    """
    limited = [rule for rule in rules if rule.where]
    values = store.attribute_values(reduction) if limited else {}
    found: dict[str, Chosen] = {}
    for rule in limited:
        missing = [name for name in rule.where if name not in values]
        if missing:
            raise StoreError(
                f"marker rule {rule.name!r}: zones of reduction {reduction!r} have no attribute {missing[0]!r}",
                hint=f"they have {', '.join(values) or 'none'}; `attributes` of the reduction says which are read",
            )
        rows = zip(*(values[name] for name in rule.where), strict=True)
        found[rule.name] = np.array([rule.applies_to(dict(zip(rule.where, row, strict=True))) for row in rows], bool)
    return found


def _identities(
    store: Store, reduction: str, layer: str, rules: Sequence[MarkerRule], zones: Mapping[str, Chosen]
) -> Mapping[str, str]:
    """Digest by rule of all that its markers are made from."""
    series = digest_json([EDITION, layer, sorted(store.made_from(reduction).items())]) if rules else ""
    chosen = {name: [digest(mask.tobytes())] for name, mask in zones.items()}
    return {
        rule.name: digest_json([series, rule.model_dump(mode="json"), *chosen.get(rule.name, ())]) for rule in rules
    }


def _markers(
    store: Store, reduction: str, rules: Sequence[MarkerRule], zones: Mapping[str, Chosen], console: Console
) -> Iterator[tuple[MarkerRule, MarkerRows]]:
    """Markers of some rules: the series are read once for all of them."""
    held, ids = set(store.bands(reduction)), store.zone_ids(reduction)
    rules_of_bands = [rule for rule in rules if rule.band in held]
    parts: dict[str, list[MarkerRows]] = {rule.name: [] for rule in rules}
    if rules_of_bands:
        bands = {rule.band for rule in rules_of_bands}
        places = {name: row for row, name in enumerate(ids)}
        with console.progress(f"markers {reduction}", total=len(ids)) as progress:
            for block in store.blocks(reduction, bands.pop() if len(bands) == 1 else None):
                rows = np.array([places[name] for name in block.names], np.int64)
                for rule in rules_of_bands:
                    parts[rule.name].append(_of_block(block, rule, rows, zones.get(rule.name)))
                progress(places[block.names[-1]] + 1, len(ids))
    return ((rule, joined(parts[rule.name])) for rule in rules)


def _of_block(block: RecordBlock, rule: MarkerRule, rows: npt.NDArray[np.int64], chosen: Chosen | None) -> MarkerRows:
    """Markers of the zones of a block.

    Parameters
    ----------
    rows : array of int
        Rows of its zones in the layer.
    chosen : array of bool, optional
        Of all zones of the layer: those that the rule looks at.
    """
    kept = np.arange(len(block.zone)) if chosen is None else np.flatnonzero(chosen[rows][block.zone])
    found = detect(_observations(block, rule, kept), rule)
    return MarkerRows(
        zone=rows[found.zone],
        orbit=found.orbit,
        time=found.time,
        value=found.value,
        confidence=found.confidence,
        names=block.origins.provenance["acquisition"],
        used=block.origin[kept[found.used]],
        offsets=found.offsets,
    )


def _observations(block: RecordBlock, rule: MarkerRule, kept: npt.NDArray[np.intp]) -> Observations:
    place, origins = block.layout.bands.index(rule.band), block.origins
    orbit = np.array([number or 0 for number in origins.provenance["relative_orbit"]], np.int64)
    if rule.statistic in block.layout.statistics:
        value = block.values[block.layout.statistics.index(rule.statistic), :, place]
    else:
        value = np.full(len(block.zone), np.nan)
    return Observations(
        block.zone[kept],
        origins.time[block.origin[kept]],
        orbit[block.origin[kept]],
        block.valid[kept, place],
        block.total[kept, place],
        value[kept],
    )
