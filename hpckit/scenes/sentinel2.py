"""Sentinel-2 products: SAFE folders and zip files that hold one, Level-1C and Level-2A."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from hpckit.errors import SceneError
from hpckit.scenes.bands import L1C_RESOLUTION
from hpckit.scenes.metadata import Granule, Product, parse_granule, parse_product
from hpckit.scenes.model import Level, Scene

_NAME: Final = re.compile(r"S2[A-Z]_MSIL(1C|2A)_\d{8}T\d{6}_")
_OLD_NAME: Final = re.compile(r"S2[A-Z]_(USER|OPER)_PRD_")
_L2A_IMAGE: Final = re.compile(r"_(B\d\d|B8A|SCL|AOT|WVP)_(\d\d)m\.jp2$")
_L1C_IMAGE: Final = re.compile(r"_(B\d\d|B8A)\.jp2$")
_PROBABILITY: Final = re.compile(r"MSK_(CLD|SNW)PRB_(\d\d)m\.jp2$")


class Files:
    """Files of a product, in a folder or in a zip file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_zip = path.is_file()
        self.root = ""
        self._sizes = self._list_zip() if self.is_zip else self._list_folder()

    def __contains__(self, name: str) -> bool:
        """Whether there is a file of that name, relative to the SAFE folder."""
        return name in self._sizes

    def names(self) -> list[str]:
        """All files, relative to the SAFE folder."""
        return sorted(self._sizes)

    def size(self, name: str) -> int:
        """Bytes of a file."""
        return self._sizes[name]

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises
        ------
        SceneError
            If it is missing or cannot be read.
        """
        with self.open(name) as chunks:
            return b"".join(chunks)

    @contextmanager
    def open(self, name: str) -> Iterator[Iterator[bytes]]:
        """Content of a file in blocks of a mebibyte."""
        if name not in self._sizes:
            raise SceneError(f"{self.path.name}: {name} is missing")
        try:
            if self.is_zip:
                with zipfile.ZipFile(self.path) as archive, archive.open(self._member(name)) as file:
                    yield iter(lambda: file.read(2**20), b"")
            else:
                with (self.path / name).open("rb") as file:
                    yield iter(lambda: file.read(2**20), b"")
        except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
            raise SceneError(f"{self.path.name}: {name} cannot be read") from error

    def _member(self, name: str) -> str:
        return f"{self.root}/{name}" if self.root else name

    def _list_folder(self) -> dict[str, int]:
        sizes = {}
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder) / name
                sizes[path.relative_to(self.path).as_posix()] = path.stat().st_size
        return sizes

    def _list_zip(self) -> dict[str, int]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                members = {info.filename: info.file_size for info in archive.infolist() if not info.is_dir()}
        except (OSError, zipfile.BadZipFile) as error:
            raise SceneError(f"{self.path.name}: the zip file is damaged or truncated") from error
        for member in members:
            parts = PurePosixPath(member.replace("\\", "/")).parts
            if ".." in parts or member.startswith(("/", "\\")):
                raise SceneError(f"{self.path.name}: refused, since its member {member!r} points outside of it")
        self.root = next((m.split("/", 1)[0] for m in sorted(members) if ".SAFE/" in m), "")
        prefix = f"{self.root}/" if self.root else ""
        return {m.removeprefix(prefix): size for m, size in members.items() if m.startswith(prefix)}


def find_products(paths: Iterable[Path]) -> Iterator[Path]:
    """Find SAFE folders and zip files that hold one, at any depth below `paths`, sorted, each once.

    Folders named as products are not entered; links to folders are followed once.
    """
    seen: set[str] = set()
    for path in paths:
        yield from _find(path.absolute(), seen)


def read_product(path: Path) -> Scene:
    """Read what the metadata of a product tell, and which of its files are there.

    Parameters
    ----------
    path : Path
        SAFE folder, or zip file.

    Raises
    ------
    SceneError
        If it is broken or of an unsupported kind; the message names product and reason. A product that
        lacks some image files is no error: `Scene.missing` lists them.
    """
    try:
        return _read(path)
    except SceneError as error:
        if path.name in error.message:
            raise
        raise SceneError(f"{path.name}: {error.message}", hint=error.hint) from error.__cause__
    except OSError as error:
        raise SceneError(f"{path.name}: cannot be read") from error


def _find(path: Path, seen: set[str]) -> Iterator[Path]:
    if _is_product(path):
        yield path
        return
    if not path.is_dir():
        return
    real = str(path.resolve())
    if real in seen:
        return
    seen.add(real)
    try:
        entries = sorted(path.iterdir())
    except OSError:
        return
    for entry in entries:
        yield from _find(entry, seen)


def _is_product(path: Path) -> bool:
    known = _NAME.match(path.name) or _OLD_NAME.match(path.name)
    if path.is_dir():
        return (path.suffix == ".SAFE" and path.name.startswith("S2")) or (bool(known) and _has_metadata(path))
    return bool(known) and path.suffix == ".zip"


def _has_metadata(path: Path) -> bool:
    return any(path.glob("MTD_MSIL*.xml"))


def _read(path: Path) -> Scene:
    if _OLD_NAME.match(path.name):
        raise SceneError("unsupported: the long product names of 2015 and 2016", hint="get the Collection-1 version")
    if not path.exists():
        raise SceneError("no such product")
    files = Files(path)
    product_name, level = _product_metadata(files)
    granule_name = _granule_metadata(files)
    product = parse_product(product_name, files.read(product_name))
    granule = parse_granule(granule_name, files.read(granule_name))
    folder = granule_name.rpartition("/")[0]
    return _scene(path, files, level, product, granule, folder)


def _scene(path: Path, files: Files, level: Level, product: Product, granule: Granule, folder: str) -> Scene:
    name = files.root or path.name
    listed = [image if image.endswith(".jp2") else f"{image}.jp2" for image in product.images]
    assets = _assets(files, listed, folder, level)
    bands = {key.partition("@")[0] for key in assets}
    return Scene(
        id=name.removesuffix(".zip").removesuffix(".SAFE"),
        href=str(path.absolute()),
        root=files.root,
        level=level,
        platform=product.platform,
        sensed=granule.sensed,
        datatake=product.datatake,
        datastrip=granule.datastrip,
        granule=folder.rpartition("/")[2],
        tile=granule.tile,
        epsg=granule.epsg,
        baseline=product.baseline,
        relative_orbit=product.relative_orbit,
        cloud_cover=product.cloud_cover if product.cloud_cover is not None else granule.cloud_cover,
        nodata=granule.nodata,
        quantification=product.quantification,
        offsets={band: offset for band, offset in product.offsets.items() if band in bands},
        ulx=granule.ulx,
        uly=granule.uly,
        shapes=granule.shapes,
        assets=assets,
        footprint=product.footprint,
        missing=tuple(name.rpartition("/")[2] for name in listed if name not in files),
    )


def _product_metadata(files: Files) -> tuple[str, Level]:
    levels: tuple[Level, ...] = ("L2A", "L1C")
    for level in levels:
        if f"MTD_MSI{level}.xml" in files:
            return f"MTD_MSI{level}.xml", level
    raise SceneError("incomplete: no MTD_MSIL1C.xml or MTD_MSIL2A.xml")


def _granule_metadata(files: Files) -> str:
    found = [name for name in files.names() if re.fullmatch(r"GRANULE/[^/]+/MTD_TL\.xml", name)]
    if not found:
        raise SceneError("incomplete: no GRANULE/*/MTD_TL.xml")
    if len(found) > 1:
        raise SceneError(f"unsupported: {len(found)} granules in one product")
    return found[0]


def _assets(files: Files, listed: list[str], folder: str, level: Level) -> dict[str, str]:
    """Files by band and resolution: those that the metadata list, or those that are there if they list none."""
    images = listed or [name for name in files.names() if name.startswith(f"{folder}/IMG_DATA/")]
    assets = dict(filter(None, (_asset(name, level) for name in images if name in files)))
    for name in files.names():
        match = _PROBABILITY.search(name)
        if match:
            assets[f"{match[1]}@{match[2]}m"] = name
    if not assets:
        raise SceneError("incomplete: none of its image files is there")
    return assets


def _asset(name: str, level: Level) -> tuple[str, str] | None:
    match = (_L2A_IMAGE if level == "L2A" else _L1C_IMAGE).search(name)
    if match is None:
        return None
    resolution = match[2] if level == "L2A" else L1C_RESOLUTION[match[1]]
    return f"{match[1]}@{resolution}m", name
