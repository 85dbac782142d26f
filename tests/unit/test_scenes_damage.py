"""Products that are damaged, odd or hostile: a failure by name, never a traceback."""

from __future__ import annotations

import shutil
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.catalogue.stac import from_item, to_item
from hpckit.errors import SceneError
from hpckit.sensors.integrity import check_files
from hpckit.sensors.model import Scene
from hpckit.testing.safe import ProductSpec, write_product
from tests.products import read_safe as read_product

DAY = datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC)
JUNK = ["", " ", "x", "-1", "NaN", "1e999", "99", "0", "EPSG:4326", "2024", "B04", "½", "1 2 3 4"]


def product(folder: Path, *, as_zip: bool = False, **spec) -> Path:
    pixels = {"B04@10m": np.full((60, 60), 2000, np.uint16), "SCL@20m": np.full((30, 30), 4, np.uint8)}
    return write_product(folder, ProductSpec(**{"sensed": DAY, **spec}), pixels, as_zip=as_zip)


@pytest.fixture(scope="module")
def safe(tmp_path_factory) -> Path:
    return product(tmp_path_factory.mktemp("safe"))


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> bytes:
    return product(tmp_path_factory.mktemp("zip"), as_zip=True).read_bytes()


def read_or_refuse(path: Path) -> Scene | None:
    """A scene that a catalogue can keep, or an error that names the product."""
    try:
        scene = read_product(path)
    except SceneError as error:
        assert path.name in error.message
        return None
    assert from_item(to_item(scene)) == scene
    return scene


@given(
    st.sampled_from(["MTD_MSIL2A.xml", "GRANULE/*/MTD_TL.xml"]), st.integers(0, 200), st.sampled_from([None, *JUNK])
)
@settings(max_examples=150)
def test_metadata_with_one_wrong_element_are_read_or_refused(safe, name, number, text):
    path = next(safe.glob(name))
    whole = path.read_bytes()
    root = etree.fromstring(whole)
    elements = list(root.iter(etree.Element))[1:]
    element = elements[number % len(elements)]
    if text is None:
        element.getparent().remove(element)
    else:
        element.text = text
    path.write_bytes(etree.tostring(root))
    try:
        read_or_refuse(safe)
    finally:
        path.write_bytes(whole)


@given(st.integers(0, 10**6), st.integers(1, 255), st.booleans())
@settings(max_examples=150)
def test_zip_files_with_a_flipped_byte_or_cut_are_read_or_refused(packed, tmp_path_factory, where, flip, cut):
    path = tmp_path_factory.mktemp("flip") / "S2A_MSIL2A_20240501T105031_x.zip"
    data = bytearray(packed)
    where %= len(data)
    data[where] ^= flip
    path.write_bytes(data[:where] if cut else data)
    assert read_or_refuse(path) is None or not cut
    for _ in find_products([path.parent]):
        pass


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_a_truncated_zip_is_refused(packed, tmp_path, cut):
    path = tmp_path / "S2A_MSIL2A_20240501T105031_x.zip"
    path.write_bytes(packed[:-cut])
    with pytest.raises(SceneError, match="damaged or truncated"):
        read_product(path)


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:\\evil", "\\\\host\\evil"])
def test_zip_members_that_point_outside_are_refused(packed, tmp_path, member):
    path = tmp_path / "S2A_MSIL2A_20240501T105031_x.zip"
    path.write_bytes(packed)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(member, "x")
    report = catalogue.scan([tmp_path])
    assert not report.scenes and "points outside" in report.failures[0].reason


def repack(source: Path, target: Path, prefix: str) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for file in sorted(source.rglob("*")):
            archive.write(file, f"{prefix}{file.relative_to(source)}")
    return target


@pytest.mark.parametrize("inside", ["", "{safe}/", "download/today/{safe}/"])
def test_zip_files_of_any_name_and_layout_are_found_and_read(safe, tmp_path, inside):
    path = repack(safe, tmp_path / "my 'download'.zip", inside.format(safe=safe.name))
    repack(safe / "GRANULE", tmp_path / "parcels.zip", "")
    (scene,) = catalogue.scan([tmp_path]).scenes
    assert scene.id == safe.stem and scene.href == str(path) and set(scene.assets) == set(read_product(safe).assets)
    check_files(scene, scene.assets)
    import rasterio

    with rasterio.open(scene.assets["B04@10m"].uri) as image:
        assert (image.read(1) == 2000).all()


def test_two_products_in_one_zip_file_are_refused(safe, tmp_path):
    path = repack(safe, tmp_path / f"{safe.stem}.zip", f"{safe.name}/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("S2B_other.SAFE/MTD_MSIL2A.xml", "<a/>")
    with pytest.raises(SceneError, match="2 products in one zip"):
        read_product(path)


def test_metadata_of_an_absurd_size_are_not_read(safe, tmp_path):
    path = repack(safe, tmp_path / f"{safe.stem}.zip", "")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("GRANULE/x/MTD_TL.xml", bytes(2**20) * 80)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / f"b{safe.name}.zip", "w", 8) as new:
        for info in old.infolist():
            if "MTD_TL" not in info.filename or info.filename.startswith("GRANULE/x/"):
                new.writestr(info.filename, old.read(info))
    with pytest.raises(SceneError, match="no metadata are that large"):
        read_product(tmp_path / f"b{safe.name}.zip")


def test_renamed_folders_keep_the_name_of_the_product(safe, tmp_path):
    moved = Path(shutil.copytree(safe, tmp_path / 'S2 (copy) of "today\'s".SAFE'))
    scene = read_product(moved)
    assert scene.id == safe.stem and scene.href == str(moved)


def test_empty_images_and_links_to_nowhere_are_missing_images(tmp_path):
    path = product(tmp_path)
    image = next(path.rglob("*B04_10m.jp2"))
    image.write_bytes(b"")
    assert read_product(path).missing == (image.name,)
    image.unlink()
    image.symlink_to(tmp_path / "gone.jp2")
    scene = read_product(path)
    assert scene.missing == (image.name,) and list(scene.assets) == ["SCL@20m"]


def test_a_folder_that_cannot_be_read_is_reported_and_the_rest_goes_on(tmp_path, monkeypatch):
    good, closed = product(tmp_path / "good"), tmp_path / "closed"
    inner = product(tmp_path / "half", sensed=DAY + timedelta(days=1))
    closed.mkdir()
    import os

    scandir = os.scandir

    def refuse(path="."):
        if str(path).startswith((str(closed), str(inner / "GRANULE"))):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr("os.scandir", refuse)
    report = catalogue.scan([tmp_path])
    assert [scene.href for scene in report.scenes] == [str(good)]
    reasons = sorted(failure.reason for failure in report.failures)
    assert len(reasons) == 2 and any(f"{closed}: Permission denied" in reason for reason in reasons)
    assert any(inner.name in reason and "GRANULE cannot be read" in reason for reason in reasons)


def test_a_manifest_that_does_not_list_a_file_or_names_an_unknown_digest_is_refused(tmp_path):
    path = product(tmp_path)
    scene = read_product(path)
    manifest = path / "manifest.safe"
    whole = manifest.read_text()
    for old, new, words in [
        ("B04_10m.jp2", "B99_10m.jp2", "does not list"),
        ("SHA3-256", "CRC-8", "unknown kind 'CRC-8'"),
        ("</xfdu:XFDU>", "", "no complete XML"),
    ]:
        manifest.write_text(whole.replace(old, new))
        with pytest.raises(SceneError, match=words):
            check_files(scene, ["B04@10m"])
    manifest.write_text(whole)
    scene.assets["B04@10m"].file.unlink()
    with pytest.raises(SceneError, match="is missing"):
        check_files(scene, ["B04@10m"])


@pytest.mark.parametrize("baseline", ["02.08", "05.10"])
def test_digests_of_both_kinds_are_checked_in_zip_files_too(tmp_path, baseline):
    scene = read_product(product(tmp_path, baseline=baseline, as_zip=True))
    check_files(scene, scene.assets)
    path = Path(scene.href)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "new.zip", "w") as new:
        for info in old.infolist():
            data = bytearray(old.read(info))
            if info.filename.endswith("B04_10m.jp2"):
                data[-9] ^= 1
            new.writestr(info, bytes(data))
    (tmp_path / "new.zip").replace(path)
    with pytest.raises(SceneError, match="MD5 digest" if baseline < "04" else "SHA3-256 digest"):
        check_files(scene, ["B04@10m"])
    check_files(scene, ["SCL@20m"])
