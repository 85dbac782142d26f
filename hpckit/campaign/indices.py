"""Derived bands of a reduction: what they may be called, and which bands of the cube their expressions mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from hpckit.campaign.expression import FUNCTIONS, Expression, ExpressionError
from hpckit.sensors.bands import BandRef

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_PERCENTILE: Final = re.compile(r"p\d+", re.IGNORECASE)
_COLUMNS: Final = (
    *("zone", "time", "band", "valid", "total", "valid_fraction", "acquisition", "platform", "tile", "baseline"),
    *("relative_orbit", "run_id", "fid", "ogc_fid", "id", "geom", "geometry", "observation", "reduction", "classes"),
)
"""Of tables and views of results."""
_STATISTICS: Final = ("mean", "std", "min", "max", "median", "count")


def require_indices(indices: Mapping[str, str], *, taken: Collection[str] = (), underscores: bool = True) -> None:
    """Refuse names that results could not distinguish, and texts that are not expressions.

    Parameters
    ----------
    taken : collection of str
        Further names that mean something else.
    underscores : bool
        Whether names may have them.

    Raises
    ------
    ValueError
        Names the index.
    """
    reserved = {name.lower() for name in (*_COLUMNS, *_STATISTICS, *FUNCTIONS, *taken)}
    known: dict[str, str] = {}
    for name, text in indices.items():
        _require_name(name, reserved, underscores=underscores)
        twin = known.setdefault(name.lower(), name)
        if twin != name:
            raise ValueError(f"index {name} and index {twin} differ in case only, which databases take for equal")
        try:
            Expression.parse(text)
        except ExpressionError as error:
            raise ValueError(f"index {name}: {error}") from error


def _require_name(name: str, reserved: Collection[str], *, underscores: bool) -> None:
    if not _NAME.fullmatch(name) or ("_" in name and not underscores):
        allowed = "letters, digits and _" if underscores else "letters and digits"
        raise ValueError(f"index {name!r} is no name: a letter, then {allowed}, 31 characters at most")
    if name.lower() in reserved or _PERCENTILE.fullmatch(name):
        raise ValueError(f"index {name} has a name that results use for something else; give it another")


def require_no_band(name: str, parse: Callable[[str], BandRef]) -> None:
    """Refuse an index that has the name of a band.

    Parameters
    ----------
    parse : callable
        Band of the sensor that a text names.

    Raises
    ------
    ValueError
        If it is one.
    """
    try:
        band = parse(name).band
    except ValueError:
        return
    if band.common_name != name.lower():
        raise ValueError("has the name of a band; give it another")


def resolved(text: str, held: Iterable[BandRef], ref: Callable[[str], BandRef], *, at_one: bool) -> str:
    """Expression that says at which resolution each band is meant, where that is not what its name says anyway.

    A band without a resolution is the one that its name means everywhere, at its native resolution, if the cube has
    it; else the only one of that name that the cube has.

    Parameters
    ----------
    held : iterable of BandRef
        Bands of the cube.
    ref : callable
        What a band's name means in the campaign: `Campaign.ref`.
    at_one : bool
        Whether all bands must have one resolution. Then other bands of the cube are meant where these have it, and
        only these.

    Raises
    ------
    ValueError
        If a band is none, holds classes, or may be several.
    """
    expression = Expression.parse(text)
    meant = {name: _meant(name, list(held), ref) for name in sorted(expression.bands)}
    first = {name: refs[0] for name, refs in meant.items()}
    shared = set.intersection(*({band.resolution_m for band in refs} for refs in meant.values()))
    if at_one and len(shared) == 1 and len({band.resolution_m for band in first.values()}) > 1:
        chosen = {name: next(b for b in refs if b.resolution_m in shared) for name, refs in meant.items()}
    else:
        chosen = {name: _first(name, refs, ref) for name, refs in meant.items()}
    return expression.renamed({name: band.key for name, band in chosen.items() if band != ref(name)})


def _meant(name: str, held: list[BandRef], ref: Callable[[str], BandRef]) -> list[BandRef]:
    """Bands of the cube that a name may mean, the one that it means by itself first."""
    own = ref(name)
    if own.band.is_categorical:
        raise ValueError(f"{name} holds classes, with which there is no arithmetic")
    if "@" in name:
        return [own]
    others = [band for band in held if band.name == own.name and band != own]
    return [own, *others] if own in held or not others else others


def _first(name: str, refs: list[BandRef], ref: Callable[[str], BandRef]) -> BandRef:
    """The one that a name means."""
    if len(refs) > 1 and refs[0] != ref(name):
        raise ValueError(f"{name} may be {' or '.join(band.key for band in refs)} of the cube; write which")
    return refs[0]


def bands_named(bands: Iterable[str], indices: Mapping[str, str], mask: str | None) -> list[str]:
    """Every band that a reduction names, as written: bands, those of indices, that of the mask."""
    within = (name for text in indices.values() for name in sorted(Expression.parse(text).bands))
    return list(dict.fromkeys([*bands, *within, *([] if mask is None else [mask])]))
