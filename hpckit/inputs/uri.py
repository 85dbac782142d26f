"""Where a file lies, as one text: `/data/b.tif`, or `zip:///data/a.zip!/A.SAFE/b.jp2` for a member of a zip file.

rasterio and others write members of zip files like this, too. Only this module knows how GDAL names them.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from hpckit.errors import SceneError

_MEMBER: Final = re.compile(r"zip://(?P<path>/.*?\.zip)!/(?P<member>.+)", re.IGNORECASE | re.DOTALL)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Location(NamedTuple):
    """Where a file lies."""

    path: Path
    """The file, or the zip file that holds it."""
    member: str = ""
    """Path in the zip file; empty for a file of its own."""

    @property
    def uri(self) -> str:
        """As one text; `locate` reads it."""
        return f"zip://{self.path}!/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """Name of the file without its folder."""
        return PurePosixPath(self.member or self.path).name

    @property
    def gdal_path(self) -> str:
        """Path under which GDAL opens it."""
        # Braces keep GDAL from guessing where the archive's name ends.
        return f"/vsizip/{{{self.path}}}/{self.member}" if self.member else str(self.path)


def locate(uri: str) -> Location:
    """Read a URI.

    Raises
    ------
    SceneError
        If it is neither a path nor a member of a zip file.
    """
    match = _MEMBER.fullmatch(uri)
    if match:
        return Location(Path(match["path"]), match["member"])
    if _SCHEME.match(uri):
        raise SceneError(f"{uri}: only files can be read", hint="copy it to a file system of this machine")
    return Location(Path(uri))
