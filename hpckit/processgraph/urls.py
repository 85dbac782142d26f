"""Vector files at addresses that a graph names: only from hosts that are allowed, and only small ones."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import numpy as np
import shapely

from hpckit.base.distribution import pip_install
from hpckit.base.files import write_bytes
from hpckit.errors import GraphError, VectorError
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.web import REDIRECTS, is_private
from hpckit.processgraph.cube import Geometries
from hpckit.processgraph.geojson import LONGITUDE_LATITUDE, from_geojson

LONGEST_S: Final = 30.0
"""Seconds that an answer may take, all redirects included."""
MOST_BYTES: Final = 50 * 10**6
"""Of a file."""
ANY_HOST: Final = "*"
"""Stands for all hosts whose addresses are public."""
_FORMATS: Final = {"geojson": "geojson", "json": "geojson", "parquet": "parquet", "geoparquet": "parquet"}


def read_url(url: str, format: str, hosts: Collection[str], folder: Path | None = None) -> Geometries:
    """Geometries of a vector file.

    Parameters
    ----------
    url : str
    format : str
        `GeoJSON` or `Parquet` (GeoParquet), in letters of any case.
    hosts : collection of str
        Names of hosts that may be asked; `*` allows all with public addresses. A host whose address is not public
        must be named, and may be asked without encryption.
    folder : Path, optional
        Where a copy is kept under a name made from the address: all units of a job read the same one.

    Raises
    ------
    GraphError
        `FormatUnsuitable`: if the file has another format. `ProcessParameterInvalid`: if the address is not allowed
        or cannot be read.
    """
    kind = _FORMATS.get(format.lower())
    if kind is None:
        raise _unsuitable(f"vector files of the format {format!r} are not read", "formats are GeoJSON and Parquet")
    if folder is None:
        return _parsed(fetched(url, hosts), kind, url)
    copy = folder / f"{hashlib.blake2b(url.encode(), digest_size=16).hexdigest()}.{kind}"
    if not copy.exists():
        content = fetched(url, hosts)
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(copy, content)
    return _parsed(copy.read_bytes(), kind, url)


def fetched(url: str, hosts: Collection[str]) -> bytes:
    """Content of an address; redirects are followed one by one, since each may lead where nobody may be sent.

    Raises
    ------
    GraphError
        `ProcessParameterInvalid`.
    """
    try:
        import httpx
    except ImportError as error:
        raise GraphError("files on web servers need the library httpx", hint=pip_install("remote")) from error
    end = time.monotonic() + LONGEST_S
    here = url
    try:
        with httpx.Client(timeout=LONGEST_S) as client:
            for _ in range(REDIRECTS + 1):
                _require_allowed(here, hosts)
                with client.stream("GET", here) as answer:
                    if answer.is_redirect:
                        here = urljoin(here, answer.headers["location"])
                        continue
                    if answer.status_code != httpx.codes.OK:
                        raise _refused(f"{without_secrets(url)}: HTTP status {answer.status_code}")
                    return b"".join(_parts(answer.iter_bytes(), url, end))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _refused(f"{without_secrets(url)} cannot be read: {type(error).__name__}") from error
    raise _refused(f"{without_secrets(url)}: more than {REDIRECTS} redirects in a row")


def _parts(parts: Iterator[bytes], url: str, end: float) -> Iterator[bytes]:
    size = 0
    for part in parts:
        size += len(part)
        if size > MOST_BYTES:
            raise _refused(f"{without_secrets(url)} has more than {MOST_BYTES // 10**6} MB")
        if time.monotonic() > end:
            raise _refused(f"{without_secrets(url)} takes more than {LONGEST_S:g} seconds")
        yield part


def _require_allowed(url: str, hosts: Collection[str]) -> None:
    parts = urlsplit(url)
    host, what = (parts.hostname or "").lower(), without_secrets(url)
    known = {each.lower() for each in hosts}
    if not host or parts.scheme not in ("http", "https"):
        raise _refused(f"{what} is no address of a web server")
    if host not in known and (ANY_HOST not in known or is_private(host)):
        listed = ", ".join(sorted(known)) or "none"
        raise _refused(f"{what} is refused: {host} is not among the hosts that may be asked", f"these are {listed}")
    if parts.scheme != "https" and not (host in known and is_private(host)):
        raise _refused(f"{what} is refused: it is not encrypted", "give an address that begins with https://")


def is_allowed(url: str, hosts: Collection[str]) -> bool:
    """Whether an address may be read."""
    try:
        _require_allowed(url, hosts)
    except (GraphError, ValueError):
        return False
    return True


def _parsed(content: bytes, kind: str, url: str) -> Geometries:
    what = without_secrets(url)
    if kind == "parquet":
        return _of_parquet(content, what)
    try:
        return from_geojson(json.loads(content), what)
    except ValueError as error:
        if isinstance(error, GraphError):
            raise
        raise _unsuitable(f"{what} is no GeoJSON", "is the format right?") from error


def _of_parquet(content: bytes, what: str) -> Geometries:
    import pyarrow.parquet as pq

    from hpckit.space.vector.geoparquet import read_geoparquet

    with TemporaryDirectory() as folder:
        path = Path(folder) / "file.parquet"
        path.write_bytes(content)
        try:
            features = read_geoparquet(path, None, None, None)
            shapes = np.asarray(shapely.force_2d(shapely.from_wkb(features.wkb)), dtype=object)
        except (VectorError, shapely.errors.GEOSException) as error:
            words = str(getattr(error, "message", error)).replace(str(path), what)
            raise _unsuitable(words, getattr(error, "hint", None)) from error
        table = pq.read_table(path)
    shapes[shapely.is_missing(shapes)] = shapely.GeometryCollection()
    plain = [field.name for field in table.schema if _is_plain(field.type)]
    properties = tuple({name: _json(value) for name, value in row.items()} for row in table.select(plain).to_pylist())
    code = features.crs.to_epsg()
    degrees = features.crs.to_authority() == ("OGC", "CRS84")
    crs = LONGITUDE_LATITUDE if degrees else f"EPSG:{code}" if code else features.crs.to_wkt()
    return Geometries(shapes, crs, (), properties)


def _is_plain(dtype: Any) -> bool:
    """Whether a column can be a property: no geometry, and no box of one."""
    from pyarrow import types

    return not (types.is_binary(dtype) or types.is_large_binary(dtype) or types.is_nested(dtype))


def _json(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _refused(message: str, hint: str | None = None) -> GraphError:
    return GraphError(message, hint=hint, fault="ProcessParameterInvalid")


def _unsuitable(message: str, hint: str | None) -> GraphError:
    return GraphError(message, hint=hint, fault="FormatUnsuitable")
