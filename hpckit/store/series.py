"""What both stores share: the series table, the order of baselines, help with names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas


def baseline_rank(baseline: str) -> float:
    """Order of baselines: newer is greater; 99.99, made by a reprocessing tool, comes before all."""
    number = float(baseline)
    return number if number < 99 else -1.0


def to_frame(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> pandas.DataFrame:
    """Series as a data frame, with `time` as datetimes in UTC and `valid_fraction` after `total`."""
    import pandas as pd

    frame = pd.DataFrame.from_records(list(rows), columns=list(columns))
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    if "total" in frame:
        frame = frame.astype(
            {
                name: "float64"
                for name in frame.columns
                if name in _NUMERIC or name.startswith("p") and name[1:2].isdigit()
            }
        )
        frame.insert(
            list(columns).index("total") + 1,
            "valid_fraction",
            frame["valid"] / frame["total"].where(frame["total"] > 0),
        )
    return frame


_NUMERIC = {"valid", "total", "mean", "std", "min", "max"}


def close_names(name: str, known: Sequence[str]) -> str:
    """Hint with names like the one that was not found."""
    close = difflib.get_close_matches(name, known[:200_000], n=3, cutoff=0.4)
    return f"did you mean {', '.join(close)}?" if close else f"zones are {', '.join(known[:5])}, …"
