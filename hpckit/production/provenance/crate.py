"""A crate on the disk: a folder or a zip file, with a list of digests that shows whether it is as it was written.

::

    demo.crate/
      ro-crate-metadata.json      RO-Crate 1.1, Workflow Run Crate 0.5, with terms of W3C PROV
      ro-crate-preview.html       the same for people
      campaign.json               the campaign as it was frozen
      run.json                    times, software, sites, resources, energy
      inputs.json                 products and other files by id and digest
      outputs.json                what was made, with digests of content
      inputs/                     area, zones, graphs and code
      manifest-sha256.txt         digest of each file above

A crate of the same run is the same to the byte whenever it is written, unless the scheduler has more to say.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from hpckit.base.files import write_bytes
from hpckit.errors import CrateError

METADATA: Final = "ro-crate-metadata.json"
PREVIEW: Final = "ro-crate-preview.html"
CAMPAIGN: Final = "campaign.json"
RUN: Final = "run.json"
INPUTS: Final = "inputs.json"
OUTPUTS: Final = "outputs.json"
MANIFEST: Final = "manifest-sha256.txt"
BY_HAND: Final = "run the campaign by hand; the crate holds it as it was frozen, in campaign.json"
_OLDEST: Final = (1980, 1, 1, 0, 0, 0)
"""Time stamp of members of zip files, which have none before."""
_MOST_BYTES: Final = 4 * 2**30
"""Of all files of a crate that is read: more is no crate of ours."""


@dataclass(frozen=True, slots=True)
class Crate:
    """A crate that was read, and is as it was written."""

    path: Path
    digest: str
    """SHA-256 of its list of digests: it names the crate."""
    files: Mapping[str, bytes]

    def document(self, name: str) -> dict[str, Any]:
        """A file of JSON.

        Raises
        ------
        CrateError
            If it is missing, or no object of JSON.
        """
        try:
            found = json.loads(self.files[name])
        except (KeyError, ValueError, RecursionError) as error:
            raise CrateError(f"{self.path}: {name} is missing or no JSON", hint=_NOT_OURS) from error
        if not isinstance(found, dict):
            raise CrateError(f"{self.path}: {name} holds no object of JSON", hint=_NOT_OURS)
        return found


_NOT_OURS: Final = "`hpckit crate CAMPAIGN` writes crates that can be read"


def as_json(value: Any) -> bytes:
    """JSON as crates have it."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def write(path: Path, files: Mapping[str, bytes]) -> str:
    """Write a crate; return its digest. One of ours that is there already is replaced.

    Parameters
    ----------
    path : Path
        Folder, or `.zip` file.

    Raises
    ------
    CrateError
        If there is something else.
    """
    manifest = _manifest(files)
    whole = {**files, MANIFEST: manifest}
    _require_free(path)
    try:
        if path.suffix.lower() == ".zip":
            write_bytes(path, _zipped(whole))
        else:
            _write_folder(path, whole)
    except OSError as error:
        raise CrateError(f"{path}: the crate cannot be written") from error
    return hashlib.sha256(manifest).hexdigest()


def _manifest(files: Mapping[str, bytes]) -> bytes:
    """As `sha256sum` writes and checks it."""
    lines = (f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files))
    return "".join(lines).encode()


def _require_free(path: Path) -> None:
    """Refuse a path at which something lies that is no crate, whole or damaged."""
    if path.suffix.lower() == ".zip":
        foreign = path.exists() and not _is_zipped_crate(path)
    else:
        foreign = path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / MANIFEST).is_file())
    if foreign:
        raise CrateError(f"{path}: there is something else that is no crate", hint="give another place with -o")


def _is_zipped_crate(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return {METADATA, MANIFEST} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def _write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """The list of digests goes first and comes last, so that a crate which was cut is none."""
    known = _listed((path / MANIFEST).read_bytes()) if (path / MANIFEST).is_file() else {}
    (path / MANIFEST).unlink(missing_ok=True)
    for name in known.keys() - files.keys():
        (path / name).unlink(missing_ok=True)
    for name, content in files.items():
        write_bytes(path / name, content)


def _zipped(files: Mapping[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, _OLDEST)
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(info, files[name])
    return content.getvalue()


def read(path: Path) -> Crate:
    """Read a crate, and compare all its files with its list of digests.

    Raises
    ------
    CrateError
        If it is none, or was changed since it was written: the message names the files.
    """
    try:
        files = _unzipped(path) if path.is_file() else _of_folder(path)
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise CrateError(f"{path}: the crate cannot be read: {error}", hint=_NOT_OURS) from None
    manifest = files.pop(MANIFEST, None)
    if manifest is None or METADATA not in files:
        raise CrateError(f"{path}: not a crate of hpckit: no {MANIFEST} or {METADATA}", hint=_NOT_OURS)
    known = _listed(manifest)
    changed = [name for name, digest in known.items() if _digest(files.get(name)) != digest]
    if changed:
        names = ", ".join(changed[:3]) + (", …" if len(changed) > 3 else "")
        raise CrateError(
            f"{path}: the crate was changed since it was written: {names}",
            hint="get it again from where it was published, or make it again with `hpckit crate`",
        )
    return Crate(path, hashlib.sha256(manifest).hexdigest(), {name: files[name] for name in known})


def _digest(content: bytes | None) -> str:
    return "" if content is None else hashlib.sha256(content).hexdigest()


def _of_folder(path: Path) -> dict[str, bytes]:
    """Files that the list names; others may lie beside them, and count for nothing."""
    if not path.is_dir():
        raise ValueError("no such file or folder")
    manifest = (path / MANIFEST).read_bytes()
    there = {name: path / name for name in _listed(manifest) if (path / name).is_file()}
    return {name: file.read_bytes() for name, file in there.items()} | {MANIFEST: manifest}


def _unzipped(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        members = [info for info in archive.infolist() if not info.is_dir()]
        if sum(info.file_size for info in members) > _MOST_BYTES:
            raise ValueError("larger than any crate")
        return {info.filename: archive.read(info) for info in members}


def _listed(manifest: bytes) -> dict[str, str]:
    """Digests by name; a name that leads out of the crate is refused.

    Raises
    ------
    ValueError
        If it is no such list.
    """
    found = {}
    for line in manifest.decode().splitlines():
        digest, separator, name = line.partition("  ")
        parts = PurePosixPath(name).parts
        if not separator or not parts or ".." in parts or PurePosixPath(name).is_absolute():
            raise ValueError(f"{MANIFEST} is no list of digests")
        found[name] = digest
    return found


def unpack(crate: Crate, prefix: str, folder: Path) -> None:
    """Write the files below a path of a crate to a folder, without that path."""
    for name, content in crate.files.items():
        if name.startswith(prefix):
            write_bytes(folder / name.removeprefix(prefix), content)
