"""Names of a run for those who type them: zones, bands, tiles, read fast from its frozen inputs.

A shell asks at each press of a key, so nothing here checks the campaign file, and nothing reads pixels or a database.
Whatever cannot be read has no names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_RUN: Final = "run.json"
_FROZEN: Final = "frozen"
_MOST: Final = 200
"""Names that are worth showing."""


@dataclass(frozen=True, slots=True)
class Names:
    """Frozen inputs of a run, as far as they are names."""

    folder: Path
    """Of the frozen inputs."""
    campaign: dict[str, Any]
    """The campaign, as it was frozen."""

    def bands(self) -> list[str]:
        """Bands of the cube, and indices of its reductions."""
        indices = [name for item in self._reductions() for name in item.get("indices") or {}]
        return list(dict.fromkeys([*(self.campaign.get("cube", {}).get("bands") or []), *indices]))

    def reductions(self, kind: str | None = None) -> list[str]:
        """Names of the reductions, of all kinds or of one."""
        return [item["name"] for item in self._reductions() if kind in (None, item.get("kind"))]

    def methods(self) -> list[str]:
        """Methods of composites."""
        return list(dict.fromkeys(str(name) for item in self._reductions() for name in item.get("methods") or []))

    def tiles(self) -> list[str]:
        """Names of the tiles."""
        return sorted(set(_column(self.folder / "tiles.parquet", "tile")))

    def zones(self, begin: str) -> list[str]:
        """Identifiers of zones that begin with a text; not more than some."""
        found: list[str] = []
        for path in sorted((self.folder / "zones").glob("*.parquet")):
            found += [name for name in _column(path, "id", begin) if name not in found]
        return found[:_MOST]

    def _reductions(self) -> list[dict[str, Any]]:
        return [item for item in self.campaign.get("reductions") or [] if isinstance(item, dict)]


def names_of(path: Path) -> Names | None:
    """Names of a campaign file that has a run, or of a run directory; None if there is no run.

    Runs that lie elsewhere than beside the campaign file are not found.
    """
    for folder in [path] if (path / _RUN).is_file() else sorted(path.parent.glob("*.run")):
        try:
            run = json.loads((folder / _RUN).read_text())
            frozen = folder / _FROZEN / (run.get("planned") or run["frozen"])
            told = json.loads((frozen / "campaign.json").read_text())
            if folder == path or told["file"] == path.name:
                return Names(frozen, told["campaign"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return None


def _column(path: Path, name: str, begin: str = "") -> Iterator[str]:
    """Distinct texts of a column that begin so, without those after the first few hundred."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    found: dict[str, None] = {}
    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches(columns=[name]):
                found |= dict.fromkeys(
                    text for value in batch[0].to_pylist() if (text := str(value)).startswith(begin)
                )
                if len(found) >= _MOST:
                    break
    except (OSError, ValueError, KeyError, ArrowException):
        return
    yield from list(found)[:_MOST]
