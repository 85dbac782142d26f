"""Files of products are compared with their checksums before they become pixels: by default, and each once."""

from __future__ import annotations

import multiprocessing
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hpckit.campaign.scenes import Scenes
from hpckit.catalogue import catalogue
from hpckit.errors import SceneError
from hpckit.sensors import verified
from hpckit.sensors.model import Scene
from hpckit.sensors.verified import keep_notes, verify_file
from tests import products
from tests.products import stored
from tests.unit.test_cube import B04, cube_spec, fill, plane

pytestmark = pytest.mark.slow

KEY = "B04@10m"


@pytest.fixture(autouse=True)
def fresh(tmp_path):
    keep_notes(tmp_path / "seen", "test")
    verified._notes.wrong.clear()


def small(seed: int = 0) -> dict[str, np.ndarray]:
    return products.arrays(seed, 240)


def scene_of(folder: Path) -> Scene:
    return catalogue.scan([folder]).scenes[0]


def image(folder: Path) -> Path:
    return next(folder.rglob("*B04_10m.jp2"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def pack(root: Path, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(root.with_suffix(".zip"), "w", method) as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, file.relative_to(root.parent))
            if file.is_file():
                file.unlink()
    return root.with_suffix(".zip")


def rewrite(root: Path, pattern: str, text: str) -> None:
    manifest = root / "manifest.safe"
    changed = re.sub(pattern, text, manifest.read_text())
    assert changed != manifest.read_text()
    manifest.write_text(changed)


def test_it_is_on_unless_it_is_turned_off():
    assert Scenes(paths=["x"]).verify and not Scenes(paths=["x"], verify=False).verify


def test_each_file_is_read_once_by_all_processes_and_later_runs(tmp_path, monkeypatch):
    products.write(tmp_path / "s", 0, small())
    scene, read = scene_of(tmp_path / "s"), []
    monkeypatch.setattr(verified, "_compare", lambda scene, key: read.append(key))
    verify_file(scene, KEY)
    verify_file(scene, KEY)
    assert read == [KEY]
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(_elsewhere, (tmp_path / "seen", scene))
    verify_file(scene, "SCL@20m")
    assert read == [KEY], "another process had looked at it"
    keep_notes(tmp_path / "seen", "later")
    verify_file(scene, KEY)
    assert read == [KEY]
    os.utime(image(tmp_path / "s"))
    verify_file(scene, KEY)
    assert read == [KEY, KEY]


def _elsewhere(folder: Path, scene: Scene) -> None:
    keep_notes(folder, "other")
    verify_file(scene, "SCL@20m")


def test_a_bad_file_is_named_each_time_and_read_once(tmp_path, monkeypatch):
    root = products.write(tmp_path / "s", 0, small())
    flip(image(root))
    scene, read = scene_of(tmp_path / "s"), []
    compare = verified._compare
    monkeypatch.setattr(verified, "_compare", lambda scene, key: read.append(key) or compare(scene, key))
    for _ in range(3):
        with pytest.raises(SceneError, match=image(root).name):
            verify_file(scene, KEY)
    assert read == [KEY]
    verify_file(scene, "SCL@20m")


@pytest.mark.parametrize("as_zip", [False, True])
def test_a_bad_file_costs_its_date_only(tmp_path, as_zip):
    first, second = products.arrays(0), products.arrays(1)
    root = products.write(tmp_path / "s", 0, first)
    products.write(tmp_path / "s", 1, second)
    name = image(root).name
    flip(image(root))
    if as_zip:
        pack(root)
    spec = cube_spec(tmp_path / "c.zarr", bands=(B04,), verify=True)
    results = fill(spec, products.acquisitions(tmp_path / "s"))
    reasons = {str(reason) for result in results for _, reason in result.failures}
    assert len(reasons) == 1 and name in reasons.pop()
    assert not plane(spec, B04, 0).any()
    np.testing.assert_array_equal(plane(spec, B04, 1), stored(second[KEY], -1000))


@pytest.mark.parametrize("change", [("SHA3-256", "CRC-8"), ("B04_10m.jp2", "B99_10m.jp2"), None])
@pytest.mark.parametrize("as_zip", [False, True])
def test_products_without_checksums_are_read_and_zip_files_have_their_own(tmp_path, change, as_zip):
    root = products.write(tmp_path / "s", 0, small())
    if change is None:
        (root / "manifest.safe").unlink()
    else:
        rewrite(root, *change)
    if not as_zip:
        verify_file(scene_of(tmp_path / "s"), KEY)
        return
    whole = image(root).read_bytes()
    packed = pack(root)
    verify_file(scene_of(tmp_path / "s"), KEY)
    data = packed.read_bytes()
    place = data.index(whole) + len(whole) // 2
    packed.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(SceneError, match="B04_10m"):
        verify_file(scene_of(tmp_path / "s"), KEY)


@pytest.mark.parametrize("name", ["MD5", "md5", "SHA-256", "SHA512"])
def test_checksums_of_other_kinds_are_compared(tmp_path, name):
    import hashlib

    root = products.write(tmp_path / "s", 0, small())
    found = hashlib.new(name.replace("-", "").lower(), image(root).read_bytes()).hexdigest()
    manifest = (root / "manifest.safe").read_text()
    before = hashlib.sha3_256(image(root).read_bytes()).hexdigest()
    part = re.search(rf'checksumName="SHA3-256"[^<]*>{before}', manifest, re.IGNORECASE)
    assert part is not None
    changed = part[0].replace("SHA3-256", name).replace(part[0].rpartition(">")[2], found)
    (root / "manifest.safe").write_text(manifest.replace(part[0], changed))
    verify_file(scene_of(tmp_path / "s"), KEY)
    flip(image(root))
    with pytest.raises(SceneError, match="digest"):
        verify_file(scene_of(tmp_path / "s"), KEY)
