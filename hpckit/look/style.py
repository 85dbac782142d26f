"""How our pictures look: one palette, one type face, no global state left behind."""

from __future__ import annotations

import atexit
import io
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hpckit.base import account
from hpckit.base.files import atomic_path, can_write_in
from hpckit.errors import HpckitError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK: Final = "#1d2733"
"""Titles and values."""
MUTED: Final = "#66717e"
"""Everything that explains."""
FAINT: Final = "#a3acb7"
"""Observations that count less: cloudy, masked."""
HAIRLINE: Final = "#e3e7ec"
"""Grid and frames."""
GREEN: Final = "#0b7a5e"
"""Vegetation indices; distinct from the others for every kind of colour vision."""
BLUE: Final = "#2166ac"
"""Reflectance, and work that is done."""

EVENT: Final = "#b34700"
"""Markers."""

DPI: Final = 200
"""Dots per inch: twice what a screen shows."""

FORMATS: Final = (".png", ".svg", ".pdf")
"""Formats in which a picture can be saved."""

_FACES: Final = ("Source Sans 3", "Inter", "Open Sans", "Liberation Sans", "Arial", "Helvetica")


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture; a notebook shows it by itself."""

    figure: Figure
    """The matplotlib figure, for those who want to change it."""

    @property
    def png(self) -> bytes:
        """The picture as PNG."""
        return self._render("png")

    def save(self, path: Path) -> None:
        """Write the picture as `.png`, `.svg` or `.pdf`, atomically.

        Raises
        ------
        HpckitError
            If the name ends otherwise, or the file cannot be written.
        """
        suffix = check_format(path)
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(self._render(suffix.removeprefix(".")))
        except OSError as error:
            raise HpckitError(f"{path}: cannot be written") from error

    def _render(self, kind: str) -> bytes:
        buffer = io.BytesIO()
        # No date in the file: equal pictures are equal bytes.
        metadata: dict[str, Any] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[kind]
        with house_style(), warnings.catch_warnings():
            # A script that no installed face has is shown as boxes; that is no reason to bother the user.
            warnings.filterwarnings("ignore", message="Glyph .* missing")
            self.figure.savefig(buffer, format=kind, dpi=DPI, metadata=metadata)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png


def check_format(path: Path) -> str:
    """Return the suffix of a picture's file name.

    Raises
    ------
    HpckitError
        If it is none of `FORMATS`.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise HpckitError(f"{path}: a picture is saved as {', '.join(FORMATS)}", hint=f"for example {path.stem}.png")
    return suffix


@contextmanager
def house_style() -> Iterator[None]:
    """Set matplotlib's defaults while a figure is drawn or saved, and restore them."""
    _give_folder()
    import matplotlib

    with matplotlib.rc_context(_settings()):
        yield


def _give_folder() -> None:
    """Give matplotlib a folder of its own where it cannot keep its list of fonts in the home folder."""
    if "matplotlib" in sys.modules or "MPLCONFIGDIR" in os.environ:
        return
    usual = [account.folder(f"XDG_{kind.upper()}_HOME", f".{kind}") / "matplotlib" for kind in ("config", "cache")]
    if not all(can_write_in(folder) for folder in usual):
        made = tempfile.mkdtemp(prefix="hpckit-matplotlib-")
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        os.environ["MPLCONFIGDIR"] = made


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make a figure that belongs to no window and no global list; size in inches."""
    _give_folder()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in), dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def _settings() -> Any:
    # Any: the type of rcParams differs between versions of matplotlib.
    return {
        # The second face fills in glyphs that the first one lacks.
        "font.family": [_face(), "DejaVu Sans"],
        "font.size": 9.5,
        # Identifiers may hold dollar signs.
        "text.parse_math": False,
        "text.color": INK,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": HAIRLINE,
        "grid.linewidth": 0.8,
        "xtick.color": FAINT,
        "ytick.color": FAINT,
        "xtick.labelcolor": MUTED,
        "ytick.labelcolor": MUTED,
        "xtick.labelsize": 9,
        "ytick.labelsize": 9,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
        "hatch.linewidth": 0.6,
        "svg.fonttype": "none",
        "svg.hashsalt": "hpckit",
    }


def _face() -> str:
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return next((face for face in _FACES if face in installed), "DejaVu Sans")
