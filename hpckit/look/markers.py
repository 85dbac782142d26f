"""Markers of a campaign as tables and files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base.files import atomic_path
from hpckit.campaign.campaign import Campaign
from hpckit.errors import HpckitError
from hpckit.store import open_store

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_DATES: Final = ("date_start", "date_main", "date_end")
_TIMES: Final = ("time_start", "time_main", "time_end")
_SHOWN: Final = ("foi_id", "marker", *_DATES, "value_1", "value_2", "confidence", "relative_orbit")
_SECONDS: Final = "%Y-%m-%dT%H:%M:%SZ"


def read_markers(
    campaign: Campaign, reductions: Sequence[str], zone: str | None = None, rules: Sequence[str] = ()
) -> pd.DataFrame:
    """Markers in the store, of one zone or of all, in the order of reductions, zones and times.

    Raises
    ------
    HpckitError
        If the campaign has no such rule.
    """
    import pandas as pd

    names = [rule.name for rule in campaign.markers]
    for unknown in [name for name in rules if name not in names]:
        raise HpckitError(
            f"{campaign.path}: there is no marker rule {unknown!r}",
            hint=f"there is {', '.join(names) or 'none: add one to `markers`'}",
        )
    store = open_store(campaign)
    try:
        frames = [store.markers(name, zone) for name in reductions]
    finally:
        store.close()
    found = [frame for frame in frames if len(frame)] or frames[:1]
    frame = pd.concat(found, ignore_index=True)
    return frame[frame["marker"].isin(rules)].reset_index(drop=True) if rules else frame


def as_csv(frame: pd.DataFrame) -> str:
    """Markers as CSV: dates and times in ISO 8601 (UTC), acquisitions separated by spaces."""
    return str(_as_text(frame, " ".join).to_csv(index=False))


def as_json(frame: pd.DataFrame) -> str:
    """Markers as a JSON list of objects."""
    return str(_as_text(frame, list).to_json(orient="records", indent=1))


def _as_text(frame: pd.DataFrame, seen: Callable[[Sequence[str]], Any]) -> pd.DataFrame:
    columns: dict[str, Any] = {name: frame[name].dt.strftime("%Y-%m-%d") for name in _DATES}
    columns |= {name: frame[name].dt.strftime(_SECONDS) for name in _TIMES}
    columns |= {name: frame[name].round(6) for name in ("value_1", "value_2", "value_3", "confidence")}
    columns["observations"] = [seen(names) for names in frame["observations"]]
    return frame.assign(**columns)


def as_arrow(frame: pd.DataFrame) -> pa.Table:
    """Markers as a table of Arrow: days are dates, acquisitions lists."""
    import pyarrow as pa

    text = ("reduction", "foi_id", "marker", "marker_type", "practice", "band", "statistic")
    kinds = dict.fromkeys(text, pa.string()) | dict.fromkeys(_DATES, pa.date32())
    kinds |= dict.fromkeys(_TIMES, pa.timestamp("us", tz="UTC"))
    kinds |= {"duration_days": pa.int32(), "pid": pa.int64(), "relative_orbit": pa.int32()}
    kinds |= {"observations": pa.list_(pa.string())}
    fields = [pa.field(str(name), kinds.get(str(name), pa.float64())) for name in frame]
    zoned = frame.assign(**{name: frame[name].dt.tz_localize("UTC") for name in _TIMES})
    return pa.Table.from_pandas(zoned, pa.schema(fields), preserve_index=False)


def write_markers(frame: pd.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Write markers to a file, `.csv` or `.parquet`, by its ending.

    Raises
    ------
    HpckitError
        If it exists and must not be replaced, has another ending, or cannot be written.
    """
    check_output(path, overwrite=overwrite)
    try:
        with atomic_path(path) as made:
            if path.suffix.lower() == ".csv":
                made.write_text(as_csv(frame), encoding="utf-8")
            else:
                import pyarrow.parquet as pq

                pq.write_table(as_arrow(frame), made, compression="zstd")
    except OSError as error:
        raise HpckitError(f"{path}: cannot be written") from error


def check_output(path: Path, *, overwrite: bool) -> None:
    """Refuse a file before markers are computed for it.

    Raises
    ------
    HpckitError
        If it exists and must not be replaced, or has another ending than `.csv` or `.parquet`.
    """
    if path.suffix.lower() not in (".csv", ".parquet"):
        raise HpckitError(
            f"{path}: markers are written as .csv or .parquet", hint="give the file one of these endings"
        )
    if path.exists() and not overwrite:
        raise HpckitError(f"{path}: exists already", hint="--overwrite replaces it")


def shown(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that a terminal has room for."""
    text = _as_text(frame, len)
    columns = [name for name in _SHOWN if name != "relative_orbit" or frame["relative_orbit"].notna().any()]
    return text[columns].rename(columns={"foi_id": "zone", "value_1": "before", "value_2": "after"})


def summary(frame: pd.DataFrame, campaign: Campaign) -> pd.DataFrame:
    """One row for each rule of the campaign: zones and markers, first and last day, median of the confidence."""
    import pandas as pd

    rows = []
    for rule in campaign.markers:
        mine = frame[(frame["marker"] == rule.name) & (frame["reduction"] == rule.reduction)]
        days = mine["date_main"].dt.strftime("%Y-%m-%d")
        rows.append(
            {
                "rule": rule.name,
                "reduction": rule.reduction,
                "zones": mine["foi_id"].nunique(),
                "markers": len(mine),
                "first": days.min() if len(mine) else "-",
                "last": days.max() if len(mine) else "-",
                "confidence": f"{mine['confidence'].median():.2f}" if len(mine) else "-",
            }
        )
    return pd.DataFrame(rows)
