"""What a product holds is known by a digest that copies share, and that a product which is replaced does not."""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from hpckit.catalogue import catalogue
from hpckit.cubes.ingest import date_inputs
from hpckit.errors import CatalogueError, SceneError
from hpckit.sensors.content import stamp_files, state_of_folder
from hpckit.sensors.model import Scene
from hpckit.sensors.verified import keep_notes, verify_file
from hpckit.testing.radar import RadarSpec, write_card_bs
from tests import products
from tests.products import read_product
from tests.unit.test_cube import cube_spec

EDGE = 120


def write(folder: Path, seed: int = 0, *, as_zip: bool = False, **changed: np.ndarray) -> Path:
    """The same product in name and metadata, whatever its pixels."""
    pixels = products.arrays(0, EDGE) if changed else products.arrays(seed, EDGE)
    return products.write(folder, 0, {**pixels, **{f"{b}@10m": a for b, a in changed.items()}}, as_zip=as_zip)


def without_manifest(root: Path) -> Path:
    (root / "manifest.safe").unlink()
    return root


def folder_of(folder: Path, seed: int) -> Path:
    return write(folder, seed)


def zip_of(folder: Path, seed: int) -> Path:
    return write(folder, seed, as_zip=True)


def bare_folder(folder: Path, seed: int) -> Path:
    return without_manifest(write(folder, seed))


def bare_zip(folder: Path, seed: int) -> Path:
    root = without_manifest(write(folder, seed))
    path = root.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(folder))
    shutil.rmtree(root)
    return path


KINDS = [folder_of, zip_of, bare_folder, bare_zip]


@pytest.mark.parametrize("make", KINDS)
def test_a_replaced_product_is_scanned_again_and_is_another(
    tmp_path: Path, make: Callable[[Path, int], Path]
) -> None:
    path = make(tmp_path / "s", 0)
    first = catalogue.scan([tmp_path / "s"])
    catalogue.write(tmp_path / "c.parquet", first.scenes)
    assert catalogue.read(tmp_path / "c.parquet")[0].content == first.scenes[0].content != ""
    assert catalogue.scan([tmp_path / "s"], previous=tmp_path / "c.parquet").reused == 1
    states = {file: file.stat() for file in [path, *path.rglob("*")]}
    make(tmp_path / "s", 1)
    for file, status in states.items():  # as `rsync -t` and unpackers leave them
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = catalogue.scan([tmp_path / "s"], previous=tmp_path / "c.parquet")
    assert again.reused == 0
    assert again.scenes[0].id == first.scenes[0].id and again.scenes[0].content != first.scenes[0].content
    assert inputs(tmp_path, again.scenes[0]) != inputs(tmp_path, first.scenes[0])


@pytest.mark.parametrize("make", KINDS)
def test_copies_and_time_stamps_change_nothing(tmp_path: Path, make: Callable[[Path, int], Path]) -> None:
    path = make(tmp_path / "s", 0)
    first = read_product(path)
    copied = tmp_path / "elsewhere" / path.name
    copied.parent.mkdir()
    (shutil.copytree if path.is_dir() else shutil.copyfile)(path, copied)
    for file in [copied, *copied.rglob("*")]:
        os.utime(file, (1, 1))
    (copied if copied.is_dir() else copied.parent).joinpath("B04.aux.xml").write_text("<statistics/>")
    assert read_product(copied).content == first.content
    assert inputs(tmp_path, read_product(copied)) == inputs(tmp_path, first)


def test_a_zip_file_and_its_folder_agree(tmp_path: Path) -> None:
    packed = read_product(write(tmp_path / "z", as_zip=True))
    assert packed.content == read_product(write(tmp_path / "f")).content


def test_one_changed_band_is_enough(tmp_path: Path) -> None:
    other = products.arrays(0, EDGE)["B08@10m"]
    other[3, 3] += 1
    assert read_product(write(tmp_path / "a")).content != read_product(write(tmp_path / "b", B08=other)).content


def test_rasters_without_checksums_are_sampled(tmp_path: Path) -> None:
    """CARD-BS: replaced with the same size, under the same name."""
    spec, shape = RadarSpec(), (400, 500)
    pixels = {pol: np.random.default_rng(1).random(shape, np.float32) for pol in ("VV", "VH")}
    header = write_card_bs(tmp_path / "a", spec, pixels)
    first = read_product(header)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert read_product(next((tmp_path / "b").rglob(header.name))).content == first.content
    catalogue.write(tmp_path / "c.parquet", [first])
    raster = next((tmp_path / "a").rglob("*VV.img"))
    (2 * np.fromfile(raster, ">f4")).astype(">f4").tofile(raster)
    again = catalogue.scan([tmp_path / "a"], previous=tmp_path / "c.parquet")
    assert again.reused == 0 and again.scenes[0].content != first.content


def test_products_in_catalogues_of_an_earlier_form_are_read_again(tmp_path: Path) -> None:
    write(tmp_path / "s")
    old = tmp_path / "c.parquet"
    catalogue.write(old, catalogue.scan([tmp_path / "s"]).scenes)
    pq.write_table(pq.read_table(old).drop_columns(["hpckit:scene"]), old)
    with pytest.raises(CatalogueError, match="earlier version"):
        catalogue.read(old)
    again = catalogue.scan([tmp_path / "s"], previous=old)
    assert again.reused == 0 and again.scenes[0].content


def test_notes_of_the_old_bytes_say_nothing_of_the_new(tmp_path: Path) -> None:
    """Neither right nor wrong: with one size and time stamp, too."""
    keep_notes(tmp_path / "seen", "test")
    root = write(tmp_path / "s")
    image, manifest = next(root.rglob("*B04_10m.jp2")), root / "manifest.safe"
    status, bytes_before, listed = image.stat(), image.read_bytes(), manifest.read_text()
    data = bytearray(bytes_before)
    data[len(data) // 2] ^= 1
    image.write_bytes(data)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SceneError, match="digest of"):
        verify_file(read_product(root), "B04@10m")
    old, new = (hashlib.sha3_256(content).hexdigest() for content in (bytes_before, bytes(data)))
    manifest.write_text(listed.replace(old, new))
    verify_file(read_product(root), "B04@10m")
    image.write_bytes(bytes_before)
    os.utime(image, ns=(status.st_atime_ns, status.st_mtime_ns))
    manifest.write_text(listed)
    verify_file(read_product(root), "B04@10m")


def inputs(folder: Path, scene: Scene) -> str:
    found, _ = catalogue.acquisitions([scene])
    return date_inputs(cube_spec(folder), found[0])


def test_the_state_of_a_folder_is_that_of_its_files(tmp_path: Path) -> None:
    root = write(tmp_path / "a")
    scene = read_product(root)
    for change in (
        lambda: None,
        lambda: (root / "INSPIRE.xml").write_text("<more/>"),
        lambda: (root / "B04.jp2.aux.xml").write_text("<statistics/>"),
        lambda: (root / "folder.xml").mkdir(),
        lambda: (root / "link.json").symlink_to(root / "INSPIRE.xml"),
        lambda: (root / "GRANULE" / "another").mkdir(),
    ):
        change()
        found = state_of_folder(str(root))
        assert found == [path.stat() for path in stamp_files(scene)] and len(found) >= 3
    without_manifest(root)
    assert state_of_folder(str(root)) is None, "its images are looked at"
