"""Words in braces: what a step's command line, inputs and outputs say of the unit that they are for.

`{id}.tif` is the name of a file of each scene; `{{` and `}}` are braces.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final

_TOKEN: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}|[{}]")

OF_ALL: Final = ("folder", "out", "python", "cores", "memory_mib")
"""Campaign folder; where outputs are written; hpckit's own Python; cores and memory of the unit."""
OF_SCENE: Final = ("scene", "id", "platform", "level", "tile", "start", "date", "relative_orbit")
"""Path of the product, its name, and what its metadata say; `start` is 20240601T103021."""
OF_TILE: Final = ("tile", "cube", "epsg", "west", "south", "east", "north")
"""Name of the tile, path of the Zarr cube, and the tile's extent in the units of its CRS."""
PATHS: Final = frozenset({"folder", "out", "python", "scene", "cube"})
"""Words that stand for paths, which no name of an output is made from."""


def words_in(text: str) -> list[str]:
    """Words of a text, in their order.

    >>> words_in("{id}_{tile}.tif, {{not this}}")
    ['id', 'tile']

    Raises
    ------
    ValueError
        If a brace stands alone.
    """
    found = []
    for match in _TOKEN.finditer(text):
        if match[0] in "{}":
            raise ValueError(f"{text!r}: a brace stands alone; write {{{{ and }}}} for braces that are meant as such")
        if match[1]:
            found.append(match[1])
    return found


def expand(text: str, values: Mapping[str, str]) -> str:
    """Text with its words replaced.

    >>> expand("{id}.{{x}}", {"id": "S2A"})
    'S2A.{x}'
    """
    if "{" not in text and "}" not in text:
        return text
    return _TOKEN.sub(lambda match: values[match[1]] if match[1] else match[0][0], text)


def require_known(text: str, known: Collection[str], where: str) -> None:
    """Refuse words that nobody knows.

    Raises
    ------
    ValueError
        Names the word, and the one that is most like it.
    """
    for word in words_in(text):
        if word not in known:
            close = difflib.get_close_matches(word, known, n=1)
            remedy = f"did you mean {{{close[0]}}}?" if close else f"there are {', '.join(sorted(known))}"
            raise ValueError(f"{where}: unknown word {{{word}}}; {remedy}")
