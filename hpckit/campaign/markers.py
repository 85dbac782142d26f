"""Marker rules: which events in the series of zones a campaign looks for.

A rule is one change or one threshold of one statistic of one band. What is found with it is a marker, in the sense of
JRC's Checks by Monitoring. Presets are starting points: `data/markers.yaml` says where the numbers of each come from,
and numbers without a source are examples that have to be calibrated with fields whose dates are known.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Collection, Mapping
from functools import cache
from importlib import resources
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_serializer,
    model_validator,
)

from hpckit.base.yamltext import read_yaml

Kind = Literal["drop", "rise", "above", "below"]
Orbits = Literal["each", "all"]
Preset = Literal["mowing", "ploughing", "harvest", "coherence_rise"]

AttributeValue = StrictBool | StrictInt | StrictFloat | StrictStr | None
"""Of an attribute of a zone, in a rule."""

_SEASON: Final = re.compile(r"(\d\d)-(\d\d)/(\d\d)-(\d\d)")
_LEAP: Final = 2024


@cache
def presets() -> Mapping[str, Mapping[str, Any]]:
    """Fields of a rule that a preset gives, where the rule does not say them itself; by name of the preset."""
    text = resources.files("hpckit").joinpath("data/markers.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Mapping[str, Any]] = read_yaml(text)[0]
    return found


class MarkerRule(BaseModel):
    """An event to look for in the series of each zone."""

    model_config = ConfigDict(defer_build=True, extra="forbid", frozen=True, allow_inf_nan=False)

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,30}$")]
    preset: Preset | None = None
    """Starting point: its numbers count where the rule does not say its own. They must be calibrated."""
    reduction: str | None = None
    """Reduction with the series; needed where several of the campaign have the band."""
    band: str
    """Band or index of the reduction."""
    statistic: str = "mean"
    """`mean`, `std`, `min`, `max`, or a percentile of the reduction, `p50`."""
    decibels: bool = False
    """Compare 10 log10 of the value, for backscatter and its ratios."""
    drop: Annotated[float, Field(gt=0)] | None = None
    """By how much the value falls between two observations; with `below`, also to less than that."""
    rise: Annotated[float, Field(gt=0)] | None = None
    """By how much the value rises between two observations; with `above`, also to more than that."""
    above: float | None = None
    """The value crosses this threshold upward."""
    below: float | None = None
    """The value crosses this threshold downward."""
    within: Annotated[int, Field(ge=1, le=3660)] | None = None
    """Days between the observation before the event and the one that shows it, at most; 30 for `drop` and `rise`,
    no limit for thresholds."""
    season: str | None = None
    """Days of the year in which an event may be seen, `MM-DD/MM-DD`; `11-01/02-28` lies over New Year."""
    min_pixels: Annotated[float, Field(ge=0)] = 1.0
    """Valid pixels that an observation must have."""
    min_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Valid pixels over all pixels of the zone that an observation must have."""
    hold: Annotated[int, Field(ge=1, le=1000)] = 1
    """Observations in sequence that must show the event, the first one included."""
    hold_days: Annotated[int, Field(ge=0, le=3660)] = 0
    """Days for which all observations must show it; there must be one at their end or later."""
    apart: Annotated[int, Field(ge=0, le=3660)] = 0
    """Days between two events of a zone, at least."""
    events: Literal["first", "all"] = "first"
    """`first`: the first one in each season; without a season, in each year."""
    orbits: Orbits | None = None
    """`each`: series of each relative orbit by itself, which is the default for Sentinel-1: another view has other
    values. `all`: one series."""
    practice: Annotated[str, Field(max_length=100)] | None = None
    """What the event stands for, in the column `practice`."""
    where: dict[str, Annotated[list[AttributeValue], Field(min_length=1)]] = Field(default_factory=dict)
    """Only zones whose attributes have one of these values each: `{crop: [maize, 110], organic: [true]}`. `null` is
    a zone without a value; such zones are left out unless it is listed."""

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, dict) else None
        known = presets().get(preset, {}) if isinstance(preset, str) else {}
        return {**known, **values} if known else values

    @field_validator("season")
    @classmethod
    def _days_of_the_year(cls, value: str | None) -> str | None:
        if value is not None:
            found = _SEASON.fullmatch(value)
            if found is None:
                raise ValueError("write MM-DD/MM-DD, for example 04-01/10-31")
            first, last = ((int(found[k]), int(found[k + 1])) for k in (1, 3))
            for month, day in (first, last):
                try:
                    dt.date(_LEAP, month, day)
                except ValueError:
                    raise ValueError(f"{month:02d}-{day:02d} is no day of a year") from None
        return value

    @model_validator(mode="after")
    def _one_event(self) -> MarkerRule:
        if self.drop is not None and self.rise is not None:
            raise ValueError("give either drop or rise, not both")
        if self.above is not None and self.below is not None:
            raise ValueError("give either above or below, not both")
        wrong = "above" if self.drop is not None and self.above is not None else None
        wrong = "below" if self.rise is not None and self.below is not None else wrong
        if wrong:
            raise ValueError(f"{wrong} does not fit {self.kind}; remove one of them")
        if {self.drop, self.rise, self.above, self.below} == {None}:
            raise ValueError("give one of drop, rise, above, below, or a preset")
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what a rule does not use, so that the digests of rules from before do not change."""
        written: dict[str, Any] = write(self)
        return written if self.where else {name: value for name, value in written.items() if name != "where"}

    def applies_to(self, values: Mapping[str, Any]) -> bool:
        """Whether a rule looks at a zone.

        Parameters
        ----------
        values : mapping
            Attributes of the zone that the rule names. Numbers and text of the same digits are equal: layers have
            codes of crops as either.
        """
        return all(_plain(values[name]) in map(_plain, wanted) for name, wanted in self.where.items())

    @property
    def kind(self) -> Kind:
        """What is looked for."""
        if self.drop is not None:
            return "drop"
        if self.rise is not None:
            return "rise"
        return "above" if self.above is not None else "below"

    @property
    def days_between(self) -> int | None:
        """Days between the observation before and the one that shows the event, at most."""
        return 30 if self.within is None and self.kind in ("drop", "rise") else self.within

    @property
    def season_days(self) -> tuple[int, int]:
        """First and last day of the season as 100 times the month, plus the day."""
        found = _SEASON.fullmatch(self.season or "01-01/12-31")
        assert found is not None
        return 100 * int(found[1]) + int(found[2]), 100 * int(found[3]) + int(found[4])


def _plain(value: Any) -> str | None:
    """An attribute's value as text, equal for equal values of any type."""
    if value is None:
        return None
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def settled(
    rule: MarkerRule, series: Mapping[str, tuple[Collection[str], Collection[str]]], orbits: Orbits
) -> MarkerRule:
    """A rule that says all that it leaves to the campaign: the reduction, and how orbits are treated.

    Parameters
    ----------
    series : mapping of str to two collections of str
        Bands with statistics, and names of the statistics, of each reduction to signatures.
    orbits : str
        How orbits are treated where the rule does not say it.

    Raises
    ------
    ValueError
        If there is no such reduction, band or statistic, or the reduction is not clear.
    """
    having = [name for name, (bands, _) in series.items() if rule.band in bands]
    name = rule.reduction or (having[0] if len(having) == 1 else None)
    if name is None and having:
        raise ValueError(f"several reductions have band {rule.band}; add `reduction: {having[0]}` or another one")
    if name is None or (name in series and name not in having):
        held = [band for bands, _ in series.values() for band in bands] if name is None else series[name][0]
        known = ", ".join(dict.fromkeys(held)) or "nothing"
        if name is None:
            raise ValueError(f"no reduction has statistics of band {rule.band}; there are those of {known}")
        raise ValueError(f"reduction {name!r} has no statistics of band {rule.band}; it has those of {known}")
    if name not in series:
        raise ValueError(f"there is no reduction {name!r} to signatures; there is {', '.join(series) or 'none'}")
    statistics = series[name][1]
    if rule.statistic not in statistics:
        raise ValueError(f"reduction {name!r} has no statistic {rule.statistic!r}; it has {', '.join(statistics)}")
    return rule.model_copy(update={"reduction": name, "orbits": rule.orbits or orbits})
