"""Answers of programs into which sites print their own words: banners, notes of plugins, colours of a terminal."""

from __future__ import annotations

import re
from typing import Final

_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\r")


def only_line(text: str, pattern: re.Pattern[str]) -> re.Match[str] | None:
    """The one line that is wholly of a pattern; None where no line is, or several unlike ones are.

    >>> only_line("Welcome to cluster 7!\\n1234;rome\\n", re.compile(r"(\\d+)(;\\w+)?")).group()
    '1234;rome'
    >>> only_line("2026\\n1234\\n", re.compile(r"\\d+")) is None
    True
    """
    lines = (line.strip() for line in _ESCAPES.sub("", text).splitlines())
    found = {match.group(): match for line in lines if (match := pattern.fullmatch(line)) is not None}
    return next(iter(found.values())) if len(found) == 1 else None


def shortened(text: str, most: int = 200) -> str:
    """What a program printed, on one line of a message."""
    line = " ".join(_ESCAPES.sub("", text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
