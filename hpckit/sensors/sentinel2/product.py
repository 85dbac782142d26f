"""Sentinel-2 products, Level-1C and 2A: folders and zip files, of any name, as AWS stores them, and EOPF Zarr."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import shapely

from hpckit.errors import SceneError
from hpckit.inputs.files import Files, LocalFiles, member_path, names_in, open_zip
from hpckit.inputs.hierarchy import is_hierarchy
from hpckit.sensors.bands import BandRef
from hpckit.sensors.model import Asset, Level, Scene
from hpckit.sensors.sentinel2 import aws, parts
from hpckit.sensors.sentinel2.bands import BANDS
from hpckit.sensors.sentinel2.details import Details
from hpckit.sensors.sentinel2.eopf import product as eopf
from hpckit.sensors.sentinel2.metadata import Granule, Product, parse_granule, parse_product
from hpckit.space import footprint
from hpckit.space.frame import Frame

_NAME: Final = re.compile(r"S2[A-Z]_MSIL(1C|2A)_\d{8}T\d{6}_")
_URI: Final = re.compile(r"S2[A-Z]_(?:(?:OPER|USER)_PRD_)?MSIL(1C|2A)_[0-9A-Z_]+")
_MADE: Final = re.compile(r"_TL_.{4}_(\d{8}T\d{6})_")
"""Time of processing in the identifier of a granule."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A granule of a product, and its files."""

    granule: Granule
    folder: str
    assets: dict[str, str]
    missing: tuple[str, ...] = ()


def read_scenes(path: Path) -> list[Scene]:
    """Read what the metadata of a product tell, and which of its files are there: one scene for each granule.

    Parameters
    ----------
    path : Path
        SAFE folder, zip file, tile in the layout of AWS, or Zarr hierarchy.

    Raises
    ------
    SceneError
        If it is broken or of an unsupported kind; the message names product and reason. A product that lacks some
        granules is no error, nor is one that lacks some image files: `Scene.missing` lists them.
    """
    with _named(path.name):
        return _read(path)


def read_files(files: Files) -> list[Scene]:
    """Read a product whose files are listed already; see `read_scenes`."""
    with _named(files.name):
        return _read_files(files)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Name a product that cannot be read."""
    try:
        yield
    except SceneError as error:
        if name in error.message:
            raise
        raise SceneError(f"{name}: {error.message}", hint=error.hint) from error.__cause__
    except OSError as error:
        raise SceneError(f"{name}: cannot be read") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, shapely.errors.ShapelyError) as error:
        raise SceneError(f"{name}: its metadata are malformed") from error


def is_product(path: Path, is_folder: bool) -> bool:
    """Whether a folder or file is a Sentinel-2 product, by what it holds and not by its name.

    Raises
    ------
    OSError, SceneError
        If that cannot be seen.
    """
    if is_folder:
        names = names_in(path)
        return (parts.is_top(names) and parts.has_granule(names)) or aws.is_tile(names) or eopf.is_product(path)
    return path.suffix.lower() == ".zip" and (_claims(path) or _holds_metadata(path))


def is_remnant(path: Path) -> bool:
    """Whether a folder in which no product was found is what is left of one, or of a kind that is not supported."""
    return (
        (path.suffix == ".SAFE" and path.name.startswith("S2"))
        or eopf.is_remnant(path)
        or parts.is_top(names_in(path))
    )


def _claims(path: Path) -> bool:
    return bool(_NAME.match(path.name) or parts.OLD_NAME.match(path.name))


def _holds_metadata(path: Path) -> bool:
    """Whether a zip file of any name, as downloads may have, holds a product."""
    folders: dict[str, list[str]] = {}
    with open_zip(path) as archive:
        for member in archive.namelist():
            folder, _, name = member_path(member).rpartition("/")
            folders.setdefault(folder, []).append(name)
    return any(parts.is_top(names) or aws.is_tile(names) for names in folders.values())


def _read(path: Path) -> list[Scene]:
    if not path.exists():
        raise SceneError("no such product")
    if is_hierarchy(path) or eopf.is_remnant(path):
        return [eopf.read_scene(path)]
    return _read_files(LocalFiles(path))


def _read_files(files: Files) -> list[Scene]:
    if aws.is_tile(files.names()):
        return [_read_aws(files)]
    if files.is_zip and any(name.endswith(("/.zgroup", "/zarr.json")) for name in files.names()):
        raise SceneError("unsupported: a Zarr hierarchy in a zip file; unpack it")
    metadata, level = parts.product_metadata(files)
    product = parse_product(metadata, files.read(metadata))
    granules = {name: parse_granule(name, files.read(name)) for name in parts.granule_metadata(files, product)}
    product = replace(product, uri=_name(files, product, metadata))
    if len(granules) == 1:
        ((file, granule),) = granules.items()
        return [_scene(files, level, product, _part(files, level, product, granule, file))]
    area = shapely.union_all([_square(granule) for granule in granules.values()])
    scenes = []
    for file, granule in granules.items():
        own = replace(product, images=product.granules.get(granule.identifier, []), cloud_cover=None)
        scenes.append(_scene(files, level, own, _part(files, level, own, granule, file, alone=False), area))
    _require_different(scenes)
    return scenes


def _part(files: Files, level: Level, product: Product, granule: Granule, file: str, *, alone: bool = True) -> _Part:
    """The granule that a metadata file describes, of a product whose images are all its own."""
    _require_same_tile(product, granule)
    folder = parts.folder_of(file)
    images = parts.Images(files, product.images, folder, alone=alone)
    try:
        assets = images.assets(level, granule.tile)
    except SceneError as error:
        raise error if alone else SceneError(f"{error.message} (granule {granule.identifier})") from None
    return _Part(granule, folder, assets, images.missing())


def _read_aws(files: Files) -> Scene:
    granule = parse_granule(aws.GRANULE, files.read(aws.GRANULE))
    product, level = aws.read_parts(files, granule)
    _require_same_tile(product, granule)
    part = _Part(granule, granule.identifier, aws.assets(files, level))
    return _scene(files, level, replace(product, uri=_name(files, product, "")), part)


def _require_same_tile(product: Product, granule: Granule) -> None:
    """Refuse metadata of two products in one folder: pixels of one would get the place of the other."""
    listed = {match[1] for name in product.granules if (match := re.search(r"_T(\d{2}[A-Z]{3})(?:_|$)", name))}
    if listed and granule.tile not in listed:
        raise SceneError(
            f"its metadata are of two products: one of tile {', '.join(sorted(listed))}, a granule of {granule.tile}",
            hint="unpack each product into a folder of its own",
        )


def _require_different(scenes: Sequence[Scene]) -> None:
    """Refuse two granules that nothing distinguishes."""
    (name, count), *_ = Counter(scene.id for scene in scenes).most_common(1)
    if count > 1:
        raise SceneError(f"it has {count} granules {name}", hint="unpack each product into a folder of its own")


def _scene(
    files: Files,
    level: Level,
    product: Product,
    part: _Part,
    area: shapely.Geometry | None = None,
) -> Scene:
    """Scene of a granule.

    Parameters
    ----------
    area : geometry in longitude and latitude, optional
        Granules of the product, if it has several.
    """
    granule = part.granule
    frame = Frame(granule.tile, granule.epsg, granule.ulx, granule.uly, granule.shapes, {})
    return Scene(
        id=_identifier(product.uri, granule, alone=area is None),
        sensor="sentinel-2",
        href=files.href,
        level=level,
        platform=product.platform,
        sensed=granule.sensed,
        datatake=product.datatake,
        part=granule.datastrip,
        baseline=product.baseline,
        relative_orbit=product.relative_orbit,
        cloud_cover=product.cloud_cover if product.cloud_cover is not None else granule.cloud_cover,
        nodata=granule.nodata,
        frame=frame,
        assets={key: _asset(files.uri(name), key, frame, product) for key, name in part.assets.items()},
        footprint=footprint.of_positions(product.positions, _square(granule), area),
        missing=part.missing,
        details=Details(part.folder.rpartition("/")[2] or granule.identifier),
    )


def _asset(uri: str, key: str, frame: Frame, product: Product) -> Asset:
    """File of a band: reflectance as the product stores it, all else as cubes do."""
    ref = BandRef.from_key(key, BANDS)
    scale, offset = ref.coding
    if ref.band.kind == "reflectance":
        scale, offset = 1 / product.quantification, product.offsets.get(ref.name, 0) / product.quantification
    a, b, c, d, e, f = frame.transform(ref.resolution_m)[:6]
    shape = frame.shapes[ref.resolution_m]
    return Asset(uri, f"EPSG:{frame.epsg}", (a, b, c, d, e, f), shape, scale=scale, offset=offset)


def _square(granule: Granule) -> shapely.Geometry:
    return footprint.square(granule.epsg, granule.ulx, granule.uly, granule.shapes[10])


def _identifier(name: str, granule: Granule, *, alone: bool) -> str:
    """Name of the product, and of the granule where the product's name does not say which one it is."""
    if alone and not parts.OLD_NAME.match(name):
        return name
    made = _MADE.search(granule.identifier)
    return f"{name}_T{granule.tile}_{made[1] if made else f'{granule.sensed:%Y%m%dT%H%M%S}'}"


def _name(files: Files, product: Product, metadata: str) -> str:
    """Name of the product as its metadata tell: people rename folders and zip files."""
    for told in (product.uri.removesuffix(".SAFE"), parts.product_name(metadata)):
        if _URI.fullmatch(told):
            return told
    name = (files.root or files.name).rpartition("/")[2]
    return name.removesuffix(".zip").removesuffix(".SAFE")
