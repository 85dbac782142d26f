"""Markers of a campaign: events of its rules, found in the series of the store and kept beside them.

The markers of a rule have the digest of the rule, of the zones, and of the inputs of all results that its series
have. Where it differs from what the store has, they are made again; rules that the campaign has no longer are
removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from hpckit.base.console import Console
from hpckit.base.files import digest_json
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.markers import MarkerRule
from hpckit.reduce.markers.detect import EDITION, Observations, detect
from hpckit.runs.run import Run
from hpckit.store import Store, open_store
from hpckit.store.blocks import RecordBlock
from hpckit.store.markerrows import MarkerRows, joined
from hpckit.store.owner import StoreOwner, require_own
from hpckit.store.upgrade import require_asked


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
        identities = _identities(store, name, layers[name], wanted)
        report.known += [rule.name for rule in wanted if known.get(rule.name) == identities[rule.name]]
        due = [rule for rule in wanted if known.get(rule.name) != identities[rule.name]]
        if due:
            for rule, rows in _markers(store, name, due, console):
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
        if (known or wanted) and known != _identities(store, name, layers[name], wanted):
            return False
    return True


def _identities(store: Store, reduction: str, layer: str, rules: Sequence[MarkerRule]) -> Mapping[str, str]:
    """Digest by rule of all that its markers are made from."""
    series = digest_json([EDITION, layer, sorted(store.made_from(reduction).items())]) if rules else ""
    return {rule.name: digest_json([series, rule.model_dump(mode="json")]) for rule in rules}


def _markers(
    store: Store, reduction: str, rules: Sequence[MarkerRule], console: Console
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
                for rule in rules_of_bands:
                    parts[rule.name].append(_of_block(block, rule, places))
                progress(places[block.names[-1]] + 1, len(ids))
    return ((rule, joined(parts[rule.name])) for rule in rules)


def _of_block(block: RecordBlock, rule: MarkerRule, places: Mapping[str, int]) -> MarkerRows:
    found = detect(_observations(block, rule), rule)
    zones = np.array([places[name] for name in block.names], np.int64)
    return MarkerRows(
        zone=zones[found.zone],
        orbit=found.orbit,
        time=found.time,
        value=found.value,
        confidence=found.confidence,
        names=block.origins.provenance["acquisition"],
        used=block.origin[found.used],
        offsets=found.offsets,
    )


def _observations(block: RecordBlock, rule: MarkerRule) -> Observations:
    place, origins = block.layout.bands.index(rule.band), block.origins
    orbit = np.array([number or 0 for number in origins.provenance["relative_orbit"]], np.int64)
    if rule.statistic in block.layout.statistics:
        value = block.values[block.layout.statistics.index(rule.statistic), :, place]
    else:
        value = np.full(len(block.zone), np.nan)
    return Observations(
        block.zone,
        origins.time[block.origin],
        orbit[block.origin],
        block.valid[:, place],
        block.total[:, place],
        value,
    )
