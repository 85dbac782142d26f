"""Outputs of a unit: exact names, and patterns for names that nobody knows before the command chose them."""

from __future__ import annotations

import glob
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from hpckit.campaign.words import expand

_MAGIC: Final = "*?["


class Listing:
    """Finds files by names or patterns; each folder is listed once, however many units are looked for in it."""

    def __init__(self) -> None:
        self._names: dict[str, list[str]] = {}

    def find(self, folder: Path, text: str, words: Mapping[str, str]) -> Iterator[Path]:
        """Yield what the text of an output stands for, and is there.

        Parameters
        ----------
        text : str
            With words in braces; `*`, `?` and `[` in it make a pattern, those in what a word stands for do not.
            Patterns find hidden files only if they begin with a dot.
        """
        yield from self._find(folder, _parts(text), words)

    def _find(self, folder: Path, parts: tuple[str, ...], words: Mapping[str, str]) -> Iterator[Path]:
        if not parts:
            if folder.exists():
                yield folder
        elif is_pattern(parts[0]):
            for name in self._fitting(folder, parts[0], words):
                yield from self._find(folder / name, parts[1:], words)
        else:
            yield from self._find(folder / expand(parts[0], words), parts[1:], words)

    def _fitting(self, folder: Path, pattern: str, words: Mapping[str, str]) -> Iterator[str]:
        first = min(pattern.find(sign) for sign in _MAGIC if sign in pattern)
        prefix = expand(pattern[:first], words)
        names = self._list(folder)
        for at in range(bisect_left(names, prefix), len(names)):
            if not names[at].startswith(prefix):
                return
            if _fits(names[at], pattern, words) and (prefix or not names[at].startswith(".")):
                yield names[at]

    def _list(self, folder: Path) -> list[str]:
        known = self._names.get(str(folder))
        if known is None:
            try:
                known = sorted(path.name for path in Path(folder).iterdir())
            except (FileNotFoundError, NotADirectoryError):
                known = []
            self._names[str(folder)] = known
        return known


@lru_cache
def _parts(text: str) -> tuple[str, ...]:
    return PurePosixPath(text).parts


def is_pattern(text: str) -> bool:
    """Whether the text of an output is a pattern."""
    return any(sign in text for sign in _MAGIC)


def _fits(name: str, pattern: str, words: Mapping[str, str]) -> bool:
    if "?" in pattern or "[" in pattern:
        return fnmatchcase(name, expand(pattern, {word: glob.escape(value) for word, value in words.items()}))
    # Without a regular expression, which would be compiled for each of 100,000 units.
    first, *middle, last = (expand(piece, words) for piece in pattern.split("*"))
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in middle:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
