"""Integrity of products: sizes and digests of `manifest.safe`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from lxml import etree

from hpckit.errors import SceneError
from hpckit.scenes.files import Files
from hpckit.scenes.model import Scene

_ALGORITHMS: Final = {"MD5": "md5", "SHA3-256": "sha3_256", "SHA256": "sha256", "SHA-256": "sha256"}


def check_files(scene: Scene, keys: Iterable[str]) -> None:
    """Compare files of a product with the sizes and digests that its manifest lists.

    Parameters
    ----------
    keys : iterable of str
        `BandRef.key` of the files to check.

    Raises
    ------
    SceneError
        If the manifest is missing or cut, or a file is missing, or differs.
    """
    files = Files(Path(scene.href))
    listed = _listed(scene, files.read("manifest.safe"))
    for key in keys:
        name = scene.assets[key]
        if name not in listed:
            raise SceneError(f"{scene.id}: manifest.safe does not list {name}")
        _check(scene, files, name, *listed[name])


def _listed(scene: Scene, manifest: bytes) -> dict[str, tuple[int, str, str]]:
    """Size, algorithm and digest by file name."""
    try:
        root = etree.fromstring(manifest, etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError as error:
        raise SceneError(f"{scene.id}: manifest.safe is no complete XML") from error
    listed = {}
    for stream in root.iterfind(".//{*}byteStream"):
        location, checksum = stream.find("{*}fileLocation"), stream.find("{*}checksum")
        if location is not None and checksum is not None and checksum.text:
            name = str(location.get("href")).removeprefix("./")
            listed[name] = (int(stream.get("size", -1)), str(checksum.get("checksumName")), checksum.text.strip())
    return listed


def _check(scene: Scene, files: Files, name: str, size: int, algorithm: str, expected: str) -> None:
    short = name.rpartition("/")[2]
    if algorithm not in _ALGORITHMS:
        raise SceneError(f"{scene.id}: {short} has a checksum of unknown kind {algorithm!r}")
    if name not in files:
        raise SceneError(f"{scene.id}: {short} is missing")
    if size >= 0 and files.size(name) != size:
        raise SceneError(f"{scene.id}: {short} has {files.size(name)} bytes, manifest.safe says {size}")
    found = hashlib.new(_ALGORITHMS[algorithm])
    with files.open(name) as chunks:
        for chunk in chunks:
            found.update(chunk)
    if found.hexdigest().lower() != expected.lower():
        raise SceneError(
            f"{scene.id}: the {algorithm} digest of {short} is not that of manifest.safe",
            hint="the file was damaged in transfer or storage; fetch the product again",
        )
