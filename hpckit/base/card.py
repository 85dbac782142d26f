"""Short descriptions in HTML that notebooks show: without scripts and colours, so readable on light and dark."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

_CELL: Final = "text-align: left; padding: 0 1em 0 0; vertical-align: top"


def card(title: str, rows: Iterable[tuple[str, str]], picture: str = "") -> str:
    """HTML of a title and a table; all texts are escaped."""
    cells = "".join(
        f'<tr><th style="{_CELL}; font-weight: normal; opacity: 0.7">{html.escape(name)}</th>'
        f'<td style="{_CELL}">{html.escape(text)}</td></tr>'
        for name, text in rows
    )
    body = f"<strong>{html.escape(title)}</strong><table>{cells}</table>"
    return f'<div style="display: flex; gap: 1.5em; flex-wrap: wrap"><div>{body}</div>{picture}</div>'
