"""Pages that JRC's interface answers with where it has no JSON: chips in a table, a background."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

_MOST_COLUMNS: Final = 8
_HEAD: Final = (
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>'
    "body{{font:14px sans-serif;margin:1em}}td{{padding:4px;text-align:center;vertical-align:top}}"
    "img{{image-rendering:pixelated;max-width:100%}}</style></head><body><h1>{title}</h1>"
)


def chips_page(title: str, chips: Sequence[tuple[str, str]], pixels: int) -> str:
    """A table of chips, at most eight in a row.

    Parameters
    ----------
    chips : sequence of (str, str)
        Text and address of each.
    pixels : int
        Edge of a chip on the page.
    """
    cells = [
        f'<td><img src="{escape(address, quote=True)}" alt="{escape(text)}" width="{pixels}" height="{pixels}"><br>'
        f"{escape(text)}</td>"
        for text, address in chips
    ]
    rows = [f"<tr>{''.join(cells[k : k + _MOST_COLUMNS])}</tr>" for k in range(0, len(cells), _MOST_COLUMNS)]
    return f"{_HEAD.format(title=escape(title))}<table>{''.join(rows)}</table></body></html>"


def picture_page(title: str, address: str, pixels: int, overlay: str = "") -> str:
    """One picture.

    Parameters
    ----------
    overlay : str, optional
        Outline of a parcel as an SVG path in pixels of the picture.
    """
    picture = f'<image href="{escape(address, quote=True)}" width="{pixels}" height="{pixels}"/>'
    path = (
        f'<path d="{escape(overlay, quote=True)}" fill="none" stroke="yellow" stroke-width="2"/>' if overlay else ""
    )
    drawn = f'<svg width="{pixels}" height="{pixels}" viewBox="0 0 {pixels} {pixels}">{picture}{path}</svg>'
    return f"{_HEAD.format(title=escape(title))}{drawn}</body></html>"
