"""Printing series: CSV and JSON for scripts, a table for people."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = ("time", "valid", "mean", "std", "p25", "p50", "p75", "platform", "baseline")

_TEXT = ("time", "platform", "baseline")


def print_series(frames: Mapping[str, pd.DataFrame], band: str, form: str | None) -> None:
    """Print series on stdout.

    Parameters
    ----------
    frames : mapping of str to DataFrame
        Series by zone.
    band : str
        What they are of.
    form : {"csv", "json", None}
        None is a table on a terminal and CSV elsewhere.
    """
    if form is None and sys.stdout.isatty():
        for zone, frame in frames.items():
            _print_table(zone, band, frame)
    else:
        whole = _joined(frames, band)
        text = _json(whole) if form == "json" else whole.to_csv(index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
        click.echo(text, nl=form == "json")


def _joined(frames: Mapping[str, pd.DataFrame], band: str) -> pd.DataFrame:
    import pandas as pd

    parts = [
        frame.drop(columns=["zone", "band"], errors="ignore").assign(zone=zone, band=band)
        for zone, frame in frames.items()
    ]
    # Without columns of zones that were never observed, whose types are not known.
    whole = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return _shortest(whole[["zone", "band", *(name for name in whole.columns if name not in ("zone", "band"))]])


def _shortest(frame: pd.DataFrame) -> pd.DataFrame:
    """Single-precision numbers as the shortest text that stands for them: 0.3, and not 0.30000001192."""
    columns = {}
    for name, column in frame.items():
        if column.dtype.kind != "f":
            continue
        single = column.astype("float32")
        if ((single == column) | column.isna()).all():
            columns[str(name)] = [float(str(value)) for value in single.to_numpy()]
    return frame.assign(**columns)


def _json(frame: pd.DataFrame) -> str:
    times = frame["time"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return str(frame.assign(time=times).to_json(orient="records", indent=1))


def _print_table(zone: str, band: str, frame: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=f"{escape(band)} of zone {escape(zone)}", title_justify="left", box=None, pad_edge=False)
    columns = [name for name in _SHOWN if name in frame]
    if "valid" not in frame:  # pixels of classes, in a column for each
        columns = ["time", *(str(name) for name in frame if name not in ("time", "acquisition"))]
    for name in columns:
        table.add_column(name, justify="left" if name in _TEXT else "right", no_wrap=True)
    for row in frame.to_dict("records"):
        style = None if "valid" not in row or (row["valid"] >= 0.5 * row["total"] and row["valid"]) else "dim"
        table.add_row(*(_cell(name, row) for name in columns), style=style)
    Console().print(table)


def _cell(name: str, row: Mapping[Any, Any]) -> str:
    value = row[name]
    if value is None or value != value:
        return "·"
    if name == "time":
        return f"{value:%Y-%m-%d %H:%M}"
    if name == "valid":
        if row.get("observed") is False:
            return "no data"
        return f"{value:g}/{row['total']:g}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
