"""Features of a layer, as they lie in a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa
    import pyproj


@dataclass(frozen=True)
class Features:
    """Features of a layer, as they lie in the file."""

    path: Path
    layer: str
    fids: npt.NDArray[np.int64]
    """Feature numbers, as OGR and QGIS have them."""
    wkb: npt.NDArray[np.object_]
    """Geometries; None where there is none."""
    crs: pyproj.CRS
    column: pa.ChunkedArray | None
    """The field that was asked for; None if it is the feature number."""
    driver: str
    """OGR's name of the format; `Parquet` for what hpckit reads itself."""
    raw_text: bool = False
    """Whether text is as the file has it; else it is UTF-8, if OGR knew its encoding."""
    renumbered: bool = False
    """Whether feature numbers of the file were not unique, so that `fids` has others."""

    @property
    def what(self) -> str:
        """File and layer, for messages."""
        return describe(self.path, self.layer)


def describe(path: Path, layer: str) -> str:
    """File and layer, for messages; the layer's name only where the file's does not say it."""
    return str(path) if layer == path.stem else f"{path}, layer {layer!r}"
