"""Sentinel-2 products as mirrors and tools store them: read with the values of the product as it was delivered."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from hpckit.catalogue import catalogue
from hpckit.catalogue.stac import from_item, to_item
from hpckit.errors import SceneError
from hpckit.sensors.integrity import check_files
from hpckit.sensors.model import Scene
from hpckit.space import footprint
from hpckit.testing.safe import ProductSpec, write_product
from tests.products import read_safe as read_product

pytestmark = pytest.mark.slow

PIXELS = {
    "B04@10m": np.arange(3600, dtype=np.uint16).reshape(60, 60) + 1001,
    "B04@20m": np.full((30, 30), 2000, np.uint16),
    "SCL@20m": np.full((30, 30), 4, np.uint8),
    "CLD@20m": np.full((30, 30), 50, np.uint8),
}
L1C_PIXELS = {
    "B02@10m": PIXELS["B04@10m"],
    "B11@20m": PIXELS["B04@20m"],
    "B01@60m": np.full((10, 10), 3000, np.uint16),
}
OLD_NAMES = {
    "TILE_ID": "TILE_ID_2A",
    "DATASTRIP_ID": "DATASTRIP_ID_2A",
    "Image_Content_QI": "L2A_Image_Content_QI",
    "Product_Info": "L2A_Product_Info",
    "Product_Organisation": "L2A_Product_Organisation",
    "IMAGE_FILE": "IMAGE_FILE_2A",
    "PRODUCT_URI": "PRODUCT_URI_2A",
    "QUANTIFICATION_VALUES_LIST": "L1C_L2A_Quantification_Values_List",
    "BOA_QUANTIFICATION_VALUE": "L2A_BOA_QUANTIFICATION_VALUE",
    "AOT_QUANTIFICATION_VALUE": "L2A_AOT_QUANTIFICATION_VALUE",
    "WVP_QUANTIFICATION_VALUE": "L2A_WVP_QUANTIFICATION_VALUE",
}


def rename_elements(path: Path, names: dict[str, str]) -> None:
    text = path.read_text()
    for old, new in names.items():
        for before, after in ((f"<{old}>", f"<{new}>"), (f"<{old} ", f"<{new} "), (f"</{old}>", f"</{new}>")):
            text = text.replace(before, after)
    path.write_text(text)


def psd_14_2(safe: Path) -> Path:
    """Element names, and prefixes of image files, as Level-2A had them until March 2018."""
    rename_elements(next(safe.rglob("MTD_TL.xml")), OLD_NAMES)
    rename_elements(safe / "MTD_MSIL2A.xml", OLD_NAMES)
    metadata = safe / "MTD_MSIL2A.xml"
    metadata.write_text(metadata.read_text().replace("m/T31", "m/L2A_T31"))
    for image in safe.rglob("IMG_DATA/*/T31*.jp2"):
        image.rename(image.with_name(f"L2A_{image.name}"))
    for image in safe.rglob("MSK_CLDPRB_20m.jp2"):
        image.rename(image.with_name("L2A_T31UFU_20240501T105031_CLD_20m.jp2"))
    return safe


def without_quantification(safe: Path) -> Path:
    metadata = safe / "MTD_MSIL2A.xml"
    listed = r"<QUANTIFICATION_VALUES_LIST>.*</QUANTIFICATION_VALUES_LIST>"
    metadata.write_text(re.sub(listed, "", metadata.read_text()))
    return safe


def without_image_list(safe: Path) -> Path:
    metadata = safe / "MTD_MSIL2A.xml"
    metadata.write_text("\n".join(line for line in metadata.read_text().splitlines() if "<IMAGE_FILE>" not in line))
    return safe


def without_suffix(safe: Path) -> Path:
    return safe.rename(safe.with_suffix(""))


def renamed(safe: Path) -> Path:
    return safe.rename(safe.parent / "field trip, may")


def nested(safe: Path) -> Path:
    inner = safe.parent / "a" / safe.name / safe.name
    inner.parent.mkdir(parents=True)
    return safe.rename(inner)


def flattened(safe: Path) -> Path:
    for path in sorted(path for path in safe.rglob("*") if path.is_file() and path.parent != safe):
        path.rename(safe / path.name)
    for path in sorted((path for path in safe.rglob("*") if path.is_dir()), reverse=True):
        path.rmdir()
    return safe


def granule_moved_up(safe: Path) -> Path:
    granule = next(safe.glob("GRANULE/*"))
    granule.rename(safe / granule.name)
    return safe


def copied_granule_metadata(safe: Path) -> Path:
    metadata = next(safe.rglob("MTD_TL.xml"))
    shutil.copy(metadata, safe)
    (safe / "GRANULE" / "another (1)").mkdir()
    shutil.copy(metadata, safe / "GRANULE" / "another (1)")
    return safe


def lower_case(safe: Path) -> Path:
    (safe / "MTD_MSIL2A.xml").rename(safe / "mtd_msil2a.xml")
    granule = next(safe.rglob("MTD_TL.xml"))
    granule.rename(granule.with_name("mtd_tl.xml"))
    return safe


def littered(safe: Path) -> Path:
    (safe / "._MTD_MSIL2A.xml").write_bytes(b"\0\5\26\7")
    for image in list(safe.rglob("*.jp2")):
        image.with_name(f"._{image.name}").write_bytes(b"\0\5\26\7")
    (safe.parent / "__MACOSX").mkdir()
    shutil.copytree(safe, safe.parent / "__MACOSX" / safe.name)
    return safe


def outer_shell(safe: Path) -> Path:
    """What unpacking beside a download that failed leaves: an outer folder with some files, the whole one in it."""
    inner = safe.rename(safe.parent / "kept")
    safe.mkdir()
    shutil.copy(inner / "manifest.safe", safe)
    shutil.copy(inner / "MTD_MSIL2A.xml", safe)
    return inner.rename(safe / safe.name)


FOLDERS: list[Callable[[Path], Path]] = [
    without_suffix,
    renamed,
    nested,
    flattened,
    granule_moved_up,
    copied_granule_metadata,
    lower_case,
    littered,
    outer_shell,
    without_image_list,
    without_quantification,
]


def comparable(scene: Scene) -> Scene:
    """What is the same wherever the files lie."""
    assets = {key: replace(asset, uri="") for key, asset in scene.assets.items()}
    return replace(scene, href="", content="", details=None, assets=assets)


def require_pixels(scene: Scene, pixels: dict[str, np.ndarray] = PIXELS) -> None:
    assert set(scene.assets) == set(pixels)
    for key, values in pixels.items():
        with rasterio.open(scene.assets[key].uri) as image:
            np.testing.assert_array_equal(image.read(1), values)
    assert from_item(to_item(scene)) == scene


def only(folder: Path) -> Scene:
    report = catalogue.scan([folder])
    assert not report.failures
    (scene,) = report.scenes
    return scene


@pytest.mark.parametrize("baseline", ["02.04", "02.05", "02.07", "02.12", "04.00", "05.10"])
@pytest.mark.parametrize("store", [*FOLDERS, psd_14_2], ids=lambda f: f.__name__)
def test_folders_of_any_name_and_layout(tmp_path, store, baseline):
    safe = write_product(tmp_path / "in", ProductSpec(baseline=baseline), PIXELS)
    delivered = read_product(safe)
    stored = store(safe)
    scene = only(tmp_path)
    assert scene.href == str(stored) and comparable(scene) == comparable(delivered)
    assert scene.assets["B04@10m"].offset == (-0.1 if baseline >= "04" else 0)
    require_pixels(scene)


def test_what_is_flattened_is_checked_against_the_manifest(tmp_path):
    scene = read_product(flattened(write_product(tmp_path, ProductSpec(), PIXELS)))
    check_files(scene, scene.assets)
    image = Path(scene.assets["B04@10m"].uri)
    image.write_bytes(image.read_bytes()[:-3] + b"xxx")
    with pytest.raises(SceneError, match="not that of manifest"):
        check_files(scene, ["B04@10m"])


def zipped(target: Path, safe: Path, name: Callable[[str], str], *, compression: int, wide: bool) -> Path:
    with zipfile.ZipFile(target, "w", compression, allowZip64=True) as archive:
        for path in sorted(path for path in safe.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo("x")
            member.filename = name(path.relative_to(safe).as_posix())
            member.compress_type = compression
            with archive.open(member, "w", force_zip64=wide) as file:
                file.write(path.read_bytes())
            apple = zipfile.ZipInfo(f"__MACOSX/{safe.name}/{path.parent.name}/._{path.name}")
            archive.writestr(apple, b"\0\5\26\7")
    return target


@pytest.mark.parametrize("wide", [False, True], ids=["zip", "zip64"])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED], ids=["stored", "deflated"])
@pytest.mark.parametrize(
    "top", ["", "{name}/", "./{name}/", "my data/", "./", "a/b/{name}/", "{name}\\", "{name}/{name}/", "x.SAFE\\y\\"]
)
def test_zip_files_made_elsewhere(tmp_path, top, compression, wide):
    safe = write_product(tmp_path / "in", ProductSpec(), PIXELS)
    delivered, top = read_product(safe), top.format(name=safe.name)

    def member(path: str) -> str:
        return f"{top}{path}".replace("/", "\\") if "\\" in top else f"{top}{path}"

    path = zipped(tmp_path / "archive of may.zip", safe, member, compression=compression, wide=wide)
    scene = only(path)
    assert scene.href == str(path) and comparable(scene) == comparable(delivered)
    require_pixels(scene)
    check_files(scene, scene.assets)


def test_two_products_in_one_folder_are_refused_in_one_sentence(tmp_path):
    first = flattened(write_product(tmp_path / "a", ProductSpec(), PIXELS))
    second = flattened(write_product(tmp_path / "b", ProductSpec(tile="31UFT"), PIXELS))
    shutil.copy(second / "MTD_TL.xml", first)
    with pytest.raises(SceneError, match="metadata are of two products"):
        read_product(first)


def test_more_granules_than_the_product_has_are_refused_in_one_sentence(tmp_path):
    safe = write_product(tmp_path / "a", ProductSpec(), PIXELS)
    other = write_product(tmp_path / "b", ProductSpec(tile="31UFT"), PIXELS)
    shutil.copytree(next(other.glob("GRANULE/*")), safe / "GRANULE" / next(other.glob("GRANULE/*")).name)
    without_image_list(safe)
    with pytest.raises(SceneError, match="2 granules in one product, whose metadata list 1"):
        read_product(safe)


def as_on_aws(safe: Path, target: Path, spec: ProductSpec, *, told: str) -> Path:
    """The tile of a product in the layout of the open data on AWS."""
    target.mkdir(parents=True)
    shutil.copy(next(safe.rglob("MTD_TL.xml")), target / "metadata.xml")
    (target / "tileInfo.json").write_text(json.dumps({"productName": spec.name if told == "tile" else None}))
    if told == "product":
        content = {"name": spec.name, "datatakeIdentifier": spec.datatake}
        (target / "productInfo.json").write_text(json.dumps(content))
    if told == "xml":
        shutil.copy(next(safe.glob("MTD_MSIL*.xml")), target / "product_metadata.xml")
    for image in safe.rglob("IMG_DATA/**/*.jp2"):
        band = image.stem.split("_")[2]
        place = target / image.parent.name if spec.level == "L2A" else target
        place.mkdir(exist_ok=True)
        shutil.copy(image, place / f"{band}.jp2")
    for image in safe.rglob("MSK_CLDPRB_20m.jp2"):
        (target / "qi").mkdir()
        shutil.copy(image, target / "qi" / "CLD_20m.jp2")
    return target


@pytest.mark.parametrize("told", ["tile", "product", "xml"])
@pytest.mark.parametrize("baseline", ["02.09", "05.10"])
@pytest.mark.parametrize("level", ["L1C", "L2A"])
def test_tiles_in_the_layout_of_aws(tmp_path, level, baseline, told):
    spec, pixels = ProductSpec(level=level, baseline=baseline), PIXELS if level == "L2A" else L1C_PIXELS
    safe = write_product(tmp_path / "safe", spec, pixels)
    tile = as_on_aws(safe, tmp_path / "aws" / "tiles" / "31" / "U" / "FU" / "2024" / "5" / "1" / "0", spec, told=told)
    scene, delivered = only(tmp_path / "aws"), read_product(safe)
    assert scene.href == str(tile)
    unknown = {"cloud_cover": 0.0, "footprint": None}
    assert replace(comparable(scene), **unknown) == replace(comparable(delivered), **unknown)
    require_pixels(scene, pixels)
    check_files(scene, scene.assets)  # this layout has no manifest to compare with


def test_a_tile_on_aws_that_names_no_product_is_refused(tmp_path):
    spec = ProductSpec()
    tile = as_on_aws(write_product(tmp_path / "safe", spec, PIXELS), tmp_path / "t", spec, told="")
    with pytest.raises(SceneError, match=r"tileInfo\.json names no product of tile 31UFU"):
        read_product(tile)


SQUARE = footprint.square(32631, 600000, 5700000, (10980, 10980))
PARTS = st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.02, 0.4))


@given(
    part=PARTS,
    height=st.sampled_from([None, "0", "12.5", "{n}"]),
    closed=st.booleans(),
    cut=st.booleans(),
    zone=st.sampled_from([(32631, 600000, 5700000), (32701, 300000, 8200000), (32601, 399960, 7400040)]),
)
@settings(max_examples=80, deadline=None)
def test_lists_of_positions_with_and_without_heights(part, height, closed, cut, zone):
    """Any outline on the granule comes out as it is, however it is written, also across the antimeridian."""
    epsg, ulx, uly = zone
    granule = footprint.square(epsg, ulx, uly, (10980, 10980))
    x, y, size = part
    edge = size * 10980
    wanted = footprint.square(epsg, ulx + x * 6e4, uly - y * 6e4, (int(edge / 2) + 1, int(edge / 2) + 1))
    ring = [point for shape in shapely.get_parts(shapely.geometry.shape(wanted)) for point in shape.exterior.coords]
    if len(shapely.get_parts(shapely.geometry.shape(wanted))) > 1:
        ring = list(shapely.geometry.shape(granule).geoms[0].exterior.coords)
        wanted = footprint.polygon(ring)
    ring = ring if closed else ring[:-1]
    words = [
        f"{latitude!r} {longitude!r}" + ("" if height is None else f" {height.format(n=n)}")
        for n, (longitude, latitude) in enumerate(ring)
    ]
    if height is not None and cut:
        words[-1] = words[-1].rpartition(" ")[0]
    found = shapely.geometry.shape(footprint.of_positions(" ".join(words), granule))
    assert found.symmetric_difference(shapely.geometry.shape(wanted)).area < 1e-9


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "1", "1 2", "1 2 3 4", "nan nan nan nan nan nan", "1e999 2 3 4 5 6", "51 5 51 5 51 5"),
        *("0 0 0 0 0 0 0 0", "10 10 10 11 11 11 10 10", "91 181 92 182 93 183", "51,5 51,6 52,6"),
    ],
)
def test_an_unreadable_outline_gives_way_to_the_granule(tmp_path, text):
    safe = write_product(tmp_path, ProductSpec(), PIXELS)
    metadata = safe / "MTD_MSIL2A.xml"
    first, _, rest = metadata.read_text().partition("<EXT_POS_LIST>")
    metadata.write_text(f"{first}<EXT_POS_LIST>{text}<{rest.partition('<')[2]}")
    scene = read_product(safe)
    assert scene.footprint == footprint.square(32631, 600000, 5700000, (60, 60))
