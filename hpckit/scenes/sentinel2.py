"""Sentinel-2 products: SAFE folders and zip files that hold one, Level-1C and Level-2A."""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import shapely

from hpckit.errors import SceneError
from hpckit.scenes import footprint
from hpckit.scenes.bands import L1C_RESOLUTION
from hpckit.scenes.files import UNREADABLE, Files
from hpckit.scenes.metadata import Granule, Product, parse_granule, parse_product
from hpckit.scenes.model import Level, Scene

_NAME: Final = re.compile(r"S2[A-Z]_MSIL(1C|2A)_\d{8}T\d{6}_")
_URI: Final = re.compile(r"S2[A-Z]_MSIL(1C|2A)_[0-9A-Z_]+")
_OLD_NAME: Final = re.compile(r"S2[A-Z]_(USER|OPER)_PRD_")
_L2A_IMAGE: Final = re.compile(r"_(B\d\d|B8A|SCL|AOT|WVP)_(\d\d)m\.jp2$")
_L1C_IMAGE: Final = re.compile(r"_(B\d\d|B8A)\.jp2$")
_PROBABILITY: Final = re.compile(r"MSK_(CLD|SNW)PRB_(\d\d)m\.jp2$")


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
    except (ValueError, LookupError, OverflowError, shapely.errors.ShapelyError) as error:
        raise SceneError(f"{path.name}: its metadata are malformed") from error


def entries(folder: Path) -> Iterator[Path]:
    """Folders and zip files of a folder; nothing else can be a product. Hidden ones are half written."""
    with os.scandir(folder) as found:
        for entry in found:
            if entry.name.startswith("."):
                continue
            if entry.name.lower().endswith(".zip") or entry.is_dir():
                yield folder / entry.name


def is_product(path: Path, is_folder: bool) -> bool:
    """Whether a folder or file is a Sentinel-2 product."""
    known = bool(_NAME.match(path.name) or _OLD_NAME.match(path.name))
    if is_folder:
        is_safe = path.suffix == ".SAFE"
        return (is_safe and path.name.startswith("S2")) or ((is_safe or known) and _has_metadata(path))
    return path.suffix.lower() == ".zip" and (known or _holds_metadata(path))


def _holds_metadata(path: Path) -> bool:
    """Whether a zip file of any name, as downloads may have, holds a product."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(re.search(r"(^|/)MTD_MSIL(1C|2A)\.xml$", name) for name in archive.namelist())
    except (*UNREADABLE, ValueError):
        return False


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
    listed = [image if image.endswith(".jp2") else f"{image}.jp2" for image in product.images]
    assets = _assets(files, listed, folder, level)
    bands = {key.partition("@")[0] for key in assets}
    return Scene(
        id=_identifier(path, files, product),
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
        footprint=product.footprint or footprint.square(granule.epsg, granule.ulx, granule.uly, granule.shapes[10]),
        missing=tuple(name.rpartition("/")[2] for name in listed if not _is_there(files, name)),
    )


def _identifier(path: Path, files: Files, product: Product) -> str:
    """Name of the product as its metadata tell: people rename folders and zip files."""
    told = product.uri.removesuffix(".SAFE")
    name = (files.root or path.name).rpartition("/")[2]
    return told if _URI.fullmatch(told) else name.removesuffix(".zip").removesuffix(".SAFE")


def _is_there(files: Files, name: str) -> bool:
    """Whether there is an image; downloads that failed leave empty files."""
    return name in files and files.size(name) > 0


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
    assets = dict(filter(None, (_asset(name, level) for name in images if _is_there(files, name))))
    for name in files.names():
        match = _PROBABILITY.search(name)
        if match and _is_there(files, name):
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
