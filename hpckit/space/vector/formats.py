"""Formats of vector files: found by name and content before OGR opens them; no file makes it read another.

OGR finds a format by content. A VRT under the name of a GeoJSON file would read any file of the machine and send
requests to any address.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

from hpckit.base.reading import refusal
from hpckit.errors import VectorError

KNOWN: Final = (
    "GeoPackage, Shapefile (also zipped), GeoJSON, FlatGeobuf, GeoParquet, GML, KML, File Geodatabase, CSV with WKT "
    "and SQLite"
)
"""Formats of areas and zones, for messages."""

_HEAD: Final = 1 << 20
_SQLITE: Final = b"SQLite format 3\0"
_ZIP: Final = b"PK\x03\x04"
_JSON: Final = (".geojson", ".json", ".geojsonl", ".geojsons", ".geojsonseq", ".ndjson", ".jsonl", ".topojson")
_STARTS: Final = {
    **dict.fromkeys((".gpkg", ".sqlite", ".sqlite3", ".db"), (_SQLITE,)),
    ".shp": (b"\0\0\x27\x0a",),
    ".fgb": (b"fgb",),
    **dict.fromkeys(_JSON, (b"{", b"\x1e")),
    **dict.fromkeys((".gml", ".xml", ".kml"), (b"<",)),
    **dict.fromkeys((".csv", ".tsv"), (b"",)),
    **dict.fromkeys((".zip", ".shz", ".kmz"), (_ZIP,)),
}
"""First bytes of a file, by the ending of its name."""

DRIVERS: Final = frozenset(
    {"GPKG", "SQLite", "ESRI Shapefile", "FlatGeobuf", "GeoJSON", "GeoJSONSeq", "ESRIJSON", "TopoJSON", "JSONFG"}
    | {"GML", "KML", "LIBKML", "OpenFileGDB", "CSV"}
)
"""OGR's drivers of these formats."""

_ELSEWHERE: Final = re.compile(
    rb"<\s*OGR(VRT|WFS|CSW)DataSource|<VRTDataset|<GDAL_W[MC]|gdal_streamed_alg|WFS_Capabilities", re.IGNORECASE
)
"""Texts by which OGR finds formats that name other files and addresses."""
_ENTITIES: Final = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
_SCHEMAS: Final = re.compile(rb"""chemaLocation\s*=\s*(?:"([^"]*)"|'([^']*)')""")
_FUNCTIONS: Final = re.compile(
    r"\b(?!gdal_aspatial\b)"
    r"((ogr|gdal)_\w+|load_extension|readfile|writefile|BlobFromFile|BlobToFile|XB_LoadXML|eval|(Import|Export)\w+)",
    re.IGNORECASE,
)
_MODULE: Final = re.compile(r"CREATE\s+VIRTUAL\s+TABLE\b.*?\bUSING\s+[\"'`\[]?(\w+)", re.IGNORECASE | re.DOTALL)
_MODULES: Final = frozenset(
    {"rtree", "fts3", "fts4", "fts5", "virtualspatialindex", "virtualelementary", "virtualknn", "virtualknn2"}
)
_ALONE: Final = {
    "GML_DOWNLOAD_SCHEMA": "NO",
    "GML_SKIP_RESOLVE_ELEMS": "ALL",
    "OGR_SQLITE_LOAD_EXTENSIONS": None,
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
    "GDAL_HTTP_PROXY": "http://127.0.0.1:1",
    "GDAL_HTTPS_PROXY": "http://127.0.0.1:1",
    "GDAL_HTTP_MAX_RETRY": "0",
}
"""No requests, and no schemas or extensions from elsewhere."""


@contextmanager
def ogr_alone() -> Iterator[None]:
    """Let OGR send no requests while the block lasts."""
    from hpckit.base.ogr import pyogrio

    before = {name: pyogrio.get_gdal_config_option(name) for name in _ALONE}
    pyogrio.set_gdal_config_options(_ALONE)
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options(before)


def require_known(path: Path) -> None:
    """Refuse what is no vector file of a known format, or names other files or addresses to be read.

    Raises
    ------
    VectorError
        If it is refused.
    """
    if path.absolute().parts[1:2] and path.absolute().parts[1].startswith("vsi"):
        raise _refused(path, "it is an address of GDAL, and no file")
    if path.is_dir():
        if path.suffix.lower() != ".gdb" or not (path / "a00000001.gdbtable").is_file():
            raise _refused(path, "it is a folder, and no File Geodatabase")
        return
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise VectorError(f"{path}: cannot be read: {error.strerror}") from error
    _require_content(path, path.name, head)
    if path.suffix.lower() == ".shp" and not any(path.with_suffix(end).exists() for end in (".shx", ".SHX")):
        raise VectorError(
            f"{path}: {path.stem}.shx is missing beside it",
            hint="copy all files of the Shapefile: .shp, .shx, .dbf, .prj",
        )
    if head.startswith(_SQLITE):
        _require_plain_database(path, path)
    if head.startswith(_ZIP):
        _require_plain_archive(path)


def _refused(path: Path, why: str) -> VectorError:
    return VectorError(f"{path} is refused: {why}", hint=f"areas and zones are {KNOWN}; convert it with ogr2ogr")


def _require_content(path: Path, name: str, head: bytes) -> None:
    ending = Path(name).suffix.lower()
    if _ELSEWHERE.search(head):
        raise _refused(path, "it names other files or addresses to be read in its place")
    if ending not in _STARTS:
        raise _refused(path, f"names of vector files do not end in {ending or 'nothing'!r}")
    if not head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n").startswith(_STARTS[ending]) and not head.startswith(
        _STARTS[ending]
    ):
        raise _refused(path, f"its content is not what its name, ending in {ending}, says")
    if _STARTS[ending] == (b"<",):
        _require_plain_xml(path, head)


def _require_plain_xml(path: Path, head: bytes) -> None:
    if _ENTITIES.search(head):
        raise _refused(path, "its XML declares entities")
    for double, single in _SCHEMAS.findall(head):
        for place in (double or single).decode(errors="replace").split():
            if not re.match(r"(https?:|urn:)", place) and ("/" in place or "\\" in place or ":" in place):
                raise _refused(path, f"it names another file, {place!r}, as its schema")


def _require_plain_database(path: Path, database_file: Path) -> None:
    """No views, tables or triggers that read files, send requests or load libraries."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database_file.absolute()))}?mode=ro", uri=True)) as database:
            found = database.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise VectorError(f"{path}: the file is damaged, or cannot be read as a database: {error}") from error
    for name, sql in found:
        called = _FUNCTIONS.search(sql)
        if called:
            raise _refused(path, f"{name!r} in it calls {called[0]}")
        module = _MODULE.match(sql)
        if module and module[1].lower() not in _MODULES:
            raise _refused(path, f"{name!r} in it is a virtual table of {module[1]}")


def _require_plain_database_in(archive: zipfile.ZipFile, item: zipfile.ZipInfo, path: Path) -> None:
    """SQLite opens files only, so the member is unpacked for the time of the look."""
    with tempfile.NamedTemporaryFile(suffix=".sqlite") as unpacked, archive.open(item) as packed:
        shutil.copyfileobj(packed, unpacked, _HEAD)
        unpacked.flush()
        _require_plain_database(path, Path(unpacked.name))


def _require_plain_archive(path: Path) -> None:
    """Of zip files: only vector files of these formats and what lies beside them."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if not item.is_dir()]
            heads = {}
            for item in members:
                with archive.open(item) as file:
                    heads[item.filename] = file.read(_HEAD)
                if heads[item.filename].startswith(_SQLITE):
                    _require_plain_database_in(archive, item, path)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, OSError, EOFError) as error:
        raise VectorError(f"{path}: the zip file is damaged or cannot be read: {error}") from (refusal(path) or error)
    vectors = [name for name in heads if Path(name).suffix.lower() in _STARTS or name.lower().endswith(".gdbtable")]
    if not vectors:
        raise _refused(path, "no vector file lies in it")
    # OGR looks no deeper; a File Geodatabase is a folder.
    if len(heads) > 1 and all("/" in name and not name.lower().endswith(".gdbtable") for name in vectors):
        raise VectorError(f"{path}: {min(vectors)} lies in a folder of the zip file", hint="unpack it")
    for name, head in heads.items():
        if head.startswith(_ZIP):
            raise _refused(path, f"{name} in it must be unpacked first")
        if _ELSEWHERE.search(head):
            raise _refused(path, f"{name} in it names other files or addresses to be read")
        if name in vectors and Path(name).suffix.lower() in _STARTS and Path(name).suffix.lower() != ".xml":
            _require_content(path, name, head)
