"""Parts of pages that notebooks show: shared look, and the widget that makes days clickable."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from hpckit.base.distribution import pip_install
from hpckit.errors import HpckitError

STYLE: Final = """<style>
.hpckit { font: 13px/1.4 system-ui, sans-serif; }
.hpckit h4 { margin: 0 0 6px; font-size: 14px; }
.hpckit .facts { opacity: .7; font-weight: normal; }
.hpckit ol { list-style: none; margin: 0 !important; padding: 0 !important; max-height: 640px; overflow-y: auto; }
.hpckit ol li { display: flex; gap: 10px; align-items: flex-start; margin: 0 0 6px; }
.hpckit li.pause { opacity: .6; padding-left: 120px; }
.hpckit .week { width: 110px; white-space: nowrap; flex: none; padding-top: 2px; opacity: .7; }
.hpckit .chips { display: flex; flex-wrap: wrap; gap: 8px; }
.hpckit .chip { margin: 0; padding: 3px; border: 2px solid transparent; border-radius: 5px; }
.hpckit .chip .pixels { position: relative; background-repeat: no-repeat; image-rendering: pixelated; }
.hpckit .chip.clouded .pixels, .hpckit .chip.none .pixels { opacity: .6; }
.hpckit .chip svg { position: absolute; inset: 0; overflow: visible; }
.hpckit .chip path { fill: none; stroke: #fff; stroke-width: 1.5px; vector-effect: non-scaling-stroke; }
.hpckit .chip path.halo { stroke: #0009; stroke-width: 3.5px; }
.hpckit .chip .when { display: block; font-size: 12px; }
.hpckit .chip i { font-style: normal; opacity: .65; margin-left: .5em; }
.hpckit .chart { width: 100%; max-width: 860px; height: auto; }
.hpckit .chart text { fill: currentColor; font-size: 11px; opacity: .75; }
.hpckit .chart .grid { stroke: currentColor; opacity: .14; }
.hpckit [role=button] { cursor: pointer; }
.hpckit .chip.chosen { border-color: #c8500a; }
.hpckit .chart .chosen .mark { stroke: #c8500a; stroke-width: 3px; }
</style>"""
_SCRIPT: Final = Path(__file__).with_name("days.js")


def widget(html: str) -> Any:
    """A widget that shows a page and knows which day was clicked.

    Returns
    -------
    anywidget.AnyWidget
        With the traits `html`, and `day`: `2024-05-03`, empty before a click.

    Raises
    ------
    HpckitError
        If anywidget is not installed.
    """
    return _widget_class()(html=html)


@lru_cache(1)
def _widget_class() -> Any:
    try:
        import anywidget
        import traitlets
    except ImportError:
        hint = pip_install("notebook")
        raise HpckitError("widgets need the package anywidget, which is not installed", hint=hint) from None

    class DaysWidget(anywidget.AnyWidget):
        _esm = _SCRIPT
        html = traitlets.Unicode().tag(sync=True)
        day = traitlets.Unicode().tag(sync=True)

    return DaysWidget
