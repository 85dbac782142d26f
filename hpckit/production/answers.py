"""What servers answered to a data mover: which objects they do not have, and which came whole.

Zarr leaves chunks out that hold nothing but the fill value. A data mover that has only curl cannot say so by a file:
it writes a line for each answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from hpckit.base.reading import read_bytes
from hpckit.errors import RunError
from hpckit.inputs.fetched import ABSENT, object_name
from hpckit.production.fetchable import Fetchable

_LINE: Final = re.compile(r"(?P<status>\d{3}) (?:(?P<code>\d*) )?(?P<target>/.*)")
_GONE: Final = ("404", "410")
QUESTION: Final = ".asked"
"""End of the target of a chunk of which curl asks only whether it is there."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Answers by the path of the target."""

    gone: frozenset[str] = field(default_factory=frozenset)
    """Targets that their servers do not have."""
    whole: frozenset[str] = field(default_factory=frozenset)
    """Targets that came to their end."""

    def may_be_absent(self, folder: Path, file: Fetchable) -> str:
        """Why an object that its server does not have cannot be one that was left out; empty if it is one."""
        what = file.stored
        if what is None or what.empty_with is None:
            return "is missing on its server: the product is damaged there"
        alike, others = (
            [folder / object_name(what.place, f"{array}/{what.name}") for array in arrays]
            for arrays in (what.empty_with, (*what.empty_with, *what.witnesses))
        )
        if any(_holds_data(path) or f"{path}{QUESTION}" in self.whole for path in alike):
            return "is missing on its server, and other bands have data there: the product is damaged"
        told = (str(path) in self.gone or f"{path}{QUESTION}" in self.gone or _is_absent(path) for path in others)
        if alike and not any(told):
            return (
                "is missing on its server, and nothing that was fetched tells whether it is lost or holds no data: "
                "`hpckit fetch` asks its server, where there is a network"
            )
        return ""


def read_answers(path: Path) -> Answers:
    """Read a line `<status> <exit code> <target>` for each answer; without an exit code, 200 tells of a whole file.

    Raises
    ------
    RunError
        If there is no such file, or a line is none of that form.
    """
    found: dict[str, Mapping[str, str | None]] = {}
    try:
        content = read_bytes(path).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise RunError(f"{path}: no such file", hint="`curl --config list > answers` writes it") from None
    for number, line in enumerate(content.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise RunError(
                f"{path}: line {number} is no answer: it must have status, exit code and target",
                hint="`curl --config list > answers` writes such lines",
            )
        found[match["target"]] = match.groupdict()
    gone = (target for target, told in found.items() if told["status"] in _GONE)
    whole = (
        target for target, told in found.items() if told["status"] in ("200", "206") and told["code"] in ("0", None)
    )
    return Answers(frozenset(gone), frozenset(whole))


def _holds_data(path: Path) -> bool:
    return path.is_file() and not _is_absent(path)


def _is_absent(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == len(ABSENT) and path.read_bytes() == ABSENT
