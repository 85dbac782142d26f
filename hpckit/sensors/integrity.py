"""Integrity of products: sizes and digests of `manifest.safe`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from hpckit.base.xmltext import parse_xml
from hpckit.errors import SceneError
from hpckit.inputs.files import Files
from hpckit.inputs.stored import files_at
from hpckit.inputs.uri import is_remote
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel2 import aws
from hpckit.sensors.stac.files import file_of

MANIFEST: Final = "manifest.safe"
_ALGORITHMS: Final = {
    "MD5": "md5",
    "SHA1": "sha1",
    "SHA-1": "sha1",
    "SHA256": "sha256",
    "SHA-256": "sha256",
    "SHA512": "sha512",
    "SHA-512": "sha512",
    "SHA3-256": "sha3_256",
    "SHA3-512": "sha3_512",
}


class UnverifiableError(SceneError):
    """A product has nothing that a file could be compared with."""


def check_files(scene: Scene, keys: Iterable[str]) -> None:
    """Compare files of a product with the sizes and digests that its manifest lists.

    Parameters
    ----------
    keys : iterable of str
        `BandRef.key` of the files to check.

    Raises
    ------
    UnverifiableError
        If there is no manifest, or it does not list the file or has a checksum of unknown kind.
    SceneError
        If the manifest is cut, or a file is missing, or differs. Tiles in the layout of AWS have no
        manifest: there is nothing to compare with.
    """
    if file_of(scene.href) is not None:
        for key in keys:
            _check_asset(scene, scene.assets[key])
        return
    if not is_remote(scene.href) and Path(scene.href).suffix.lower() != ".zip" and Path(scene.href).is_file():
        raise UnverifiableError(f"{scene.id}: single files have no checksums")
    files = files_at(scene.href)
    if MANIFEST not in files and aws.is_tile(files.names()):
        return
    if MANIFEST not in files:
        raise UnverifiableError(f"{scene.id}: {MANIFEST} is missing")
    listed = listed_files(scene.id, files.read(MANIFEST))
    for key in keys:
        name = files.name_of(scene.assets[key].uri)
        _check(scene, files, name, *_listing(scene, listed, name))


def check_archive(scene: Scene, key: str) -> None:
    """Read a file to its end where it is in a zip file, which keeps a checksum of each.

    Raises
    ------
    SceneError
        If it is damaged.
    """
    if not scene.assets[key].is_member:
        return
    files = files_at(scene.href)
    if files.is_zip:
        with files.open(files.name_of(scene.assets[key].uri)) as chunks:
            for _ in chunks:
                pass


def _check_asset(scene: Scene, asset: Asset) -> None:
    """Compare a file with the size and digest that a STAC item has of it, as far as it has some."""
    try:
        size = asset.file.stat().st_size
        if asset.nbytes is not None and size != asset.nbytes:
            raise SceneError(f"{scene.id}: {asset.name} has {size} bytes, its item says {asset.nbytes}")
        algorithm, _, expected = asset.digest.partition(":")
        if not expected:
            return
        with asset.file.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise SceneError(f"{scene.id}: {asset.name} cannot be read") from error
    if found != expected.lower():
        raise SceneError(
            f"{scene.id}: the {algorithm} digest of {asset.name} is not that of its item",
            hint="the file was damaged in transfer or storage; fetch it again",
        )


def _listing(scene: Scene, listed: dict[str, tuple[int, str, str]], name: str) -> tuple[int, str, str]:
    """What the manifest says of a file; by its name alone where a product has been flattened."""
    short = name.rpartition("/")[2]
    same = [entry for other, entry in listed.items() if other.rpartition("/")[2] == short]
    if name not in listed and len(same) != 1:
        raise UnverifiableError(f"{scene.id}: manifest.safe does not list {name}")
    return listed.get(name) or same[0]


def spelt_digest(algorithm: str, text: str) -> str:
    """Digest as `Asset.digest` has it, by what a manifest says; empty if its kind is unknown."""
    known = _ALGORITHMS.get(algorithm.upper())
    return f"{known}:{text.lower()}" if known and text else ""


def listed_files(product: str, manifest: bytes) -> dict[str, tuple[int, str, str]]:
    """Size, algorithm and digest by file name."""
    root = parse_xml(f"{product}: manifest.safe", manifest)
    listed = {}
    for stream in root.iterfind(".//{*}byteStream"):
        location, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
        if location is not None and checksum is not None and checksum.text:
            name = str(location.get("href")).removeprefix("./")
            listed[name] = (int(stream.get("size", -1)), str(checksum.get("checksumName")), checksum.text.strip())
    return listed


def _check(scene: Scene, files: Files, name: str, size: int, algorithm: str, expected: str) -> None:
    short = name.rpartition("/")[2]
    if name not in files:
        raise SceneError(f"{scene.id}: {short} is missing")
    if size >= 0 and files.size(name) != size:
        what = "is truncated: it" if files.size(name) < size else "is not as it was made: it"
        raise SceneError(f"{scene.id}: {short} {what} has {files.size(name)} bytes, manifest.safe says {size}")
    if algorithm.upper() not in _ALGORITHMS:
        raise UnverifiableError(f"{scene.id}: {short} has a checksum of unknown kind {algorithm!r}")
    found = hashlib.new(_ALGORITHMS[algorithm.upper()], usedforsecurity=False)
    with files.open(name) as chunks:
        for chunk in chunks:
            found.update(chunk)
    if found.hexdigest().lower() != expected.lower():
        raise SceneError(
            f"{scene.id}: the {algorithm} digest of {short} is not that of manifest.safe",
            hint="the file was damaged in transfer or storage; fetch the product again",
        )
