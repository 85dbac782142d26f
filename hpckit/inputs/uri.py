"""Where a raster lies, as one text: `/data/b.tif`, `zip:///data/a.zip!/A.SAFE/b.jp2`, `zarr:///data/a.zarr!/r10m/b02`.

Arrays of hierarchies on servers are `https://host/a.zarr!/r10m/b02` and `s3://bucket/a.zarr!/r10m/b02`.

The second is a member of a zip file, as rasterio and others write it, too; the third is an array of a Zarr hierarchy.
Only this module knows how GDAL names them. Files on servers are `https://host/b.tif` and `s3://bucket/b.tif`; they
have no `Location` on this machine.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from hpckit.errors import SceneError

_MEMBER: Final = re.compile(r"zip://(?P<path>/.*?\.zip)!/(?P<member>.+)", re.IGNORECASE | re.DOTALL)
_ARRAY: Final = re.compile(r"zarr://(?P<path>/.*)!/(?P<array>.+)", re.DOTALL)
_REMOTE: Final = re.compile(r"(?:https?|s3)://", re.IGNORECASE)
_REMOTE_ARRAY: Final = re.compile(r"(?P<place>(?:https?|s3)://.*?)!/(?P<array>.+)", re.IGNORECASE | re.DOTALL)
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class Location(NamedTuple):
    """Where a file lies."""

    path: Path
    """The file, the zip file that holds it, or the folder of the Zarr hierarchy."""
    member: str = ""
    """Path in the zip file; empty for a file of its own."""
    array: str = ""
    """Path of the array in the Zarr hierarchy; empty for a file."""

    @property
    def uri(self) -> str:
        """As one text; `locate` reads it."""
        if self.array:
            return f"zarr://{self.path}!/{self.array}"
        return f"zip://{self.path}!/{self.member}" if self.member else str(self.path)

    @property
    def name(self) -> str:
        """Name of the file without its folder; of an array, its path in the hierarchy."""
        return self.array or PurePosixPath(self.member or self.path).name

    @property
    def gdal_path(self) -> str:
        """Path under which GDAL opens it."""
        if self.array:
            return f'ZARR:"{self.path}":/{self.array}'
        # Braces keep GDAL from guessing where the archive's name ends.
        return f"/vsizip/{{{self.path}}}/{self.member}" if self.member else str(self.path)


class RemotePlace(NamedTuple):
    """A Zarr hierarchy on a server, in the version that was scanned."""

    address: str
    version: str
    """What told versions apart when it was scanned (`hierarchy.state_of`); empty if its server gives no tags."""
    zarr_format: int
    """2 or 3; 0 if it was not noted."""


Place = Path | str | RemotePlace
"""Where a Zarr hierarchy lies: a folder, an address, or an address and what was scanned there."""


def is_remote(uri: str) -> bool:
    """Whether a file is on a web server or in an object store rather than on this machine."""
    return _REMOTE.match(uri) is not None


def public(address: str) -> str:
    """An address without its signature and without names of users."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def array_uri(place: Path | str, array: str) -> str:
    """Where an array of a hierarchy lies; `split_array` reads it.

    Parameters
    ----------
    place : Path or str
        Of the hierarchy: a folder, or an address.
    """
    return f"{place}!/{array}" if isinstance(place, str) else Location(place.absolute(), array=array).uri


def split_array(uri: str) -> tuple[Path | str, str] | None:
    """Place of a hierarchy and path of an array in it; None for what is no array."""
    if is_remote(uri):
        match = _REMOTE_ARRAY.fullmatch(uri)
        return (match["place"], match["array"]) if match else None
    if not _SCHEME.match(uri):
        return None  # a file of its own, as most are: quick, since a campaign asks this of all its rasters
    location = locate(uri)
    return (location.path, location.array) if location.array else None


def within(address: str, name: str) -> str:
    """Address of what lies below another one; a signature stays at the end."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def is_below(place: str, folder: str) -> bool:
    """Whether a place is a folder, or lies in it at any depth: both on this machine, or both in one store."""
    if is_remote(folder) or is_remote(place):
        return f"{place.rstrip('/')}/".startswith(f"{folder.rstrip('/')}/")
    return Path(place).is_relative_to(folder)


def name_of(uri: str) -> str:
    """Name of a file without its folder, wherever it lies."""
    if not _SCHEME.match(uri):
        return PurePosixPath(uri).name
    if not is_remote(uri):
        return locate(uri).name
    match = _REMOTE_ARRAY.fullmatch(uri)
    return match["array"] if match else PurePosixPath(unquote(urlsplit(uri).path)).name


def locate(uri: str) -> Location:
    """Read a URI.

    Raises
    ------
    SceneError
        If it is neither a path, nor a member of a zip file, nor an array of a Zarr hierarchy.
    """
    array = _ARRAY.fullmatch(uri)
    if array:
        return Location(Path(array["path"]), array=array["array"])
    match = _MEMBER.fullmatch(uri)
    if match:
        return Location(Path(match["path"]), match["member"])
    if _SCHEME.match(uri):
        raise SceneError(f"{uri}: only files can be read", hint="copy it to a file system of this machine")
    return Location(Path(uri))
