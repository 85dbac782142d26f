"""Names of result files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from hpckit.processgraph.cube import Label
from hpckit.reduce.graphs.formats.arrange import moment, text


def dated(labels: Sequence[Label | None]) -> list[str]:
    """Parts of file names for labels of time: `_2022-06-01Z`, with the time of day where days are not unique."""
    if list(labels) == [None]:
        return [""]
    moments = [moment(label) for label in labels]
    days = Counter(found.date() for found in moments if found)
    names = []
    for label, found in zip(labels, moments, strict=True):
        if found is None:
            names.append(f"_{safe(text(label or ''))}")
        elif days[found.date()] == 1:
            names.append(f"_{found:%Y-%m-%d}Z")
        else:
            names.append(f"_{found:%Y%m%dT%H%M%S}Z")
    return unique(names)


def safe(word: str) -> str:
    """A word without what file names should not have."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", word)[:100] or "_"


def unique(names: Iterable[str]) -> list[str]:
    """Names with a number added to those that were there before."""
    taken: set[str] = set()
    found = []
    for name in names:
        choice, number = name, 1
        while choice in taken:
            number += 1
            choice = f"{name}-{number}"
        taken.add(choice)
        found.append(choice)
    return found
