"""What is in an image: every file with its digest, and which package it came with.

Read without Apptainer: the SIF file says where its file system lies, and `unsquashfs` lists and unpacks that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from hpckit.errors import ImageError
from hpckit.sites.image.sif import SifPart, parts

_LISTED: Final = re.compile(r"^(\S{10}) (\d+/\d+) +(\d+|\d+, *\d+) (\d{4}-\d\d-\d\d \d\d:\d\d) [^/]+/(.*)$")
"""A line of `unsquashfs -lln`: mode, owner, size or device, minute, path."""
_MERGED: Final = re.compile(r"^/(bin|sbin|lib|lib64)/")
"""Folders that are links into /usr; Debian's package lists name them without."""


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """A file, folder, link or device."""

    mode: str
    """As `ls -l` writes it; its first letter is the kind."""
    owner: str
    """Numbers of user and group."""
    content: str
    """Digest of a file, target of a link, number of a device; empty for a folder."""
    time: float
    """Last change; seconds since 1970."""


@dataclass(frozen=True, slots=True)
class Contents:
    """All that an image holds."""

    definition: str
    """Text of the definition file that it was built from."""
    entries: Mapping[str, ImageEntry]
    """By path, without the leading slash."""
    labels: Mapping[str, str]
    debian: Mapping[str, str]
    """Versions of Debian's packages."""
    python: Mapping[str, str]
    """Versions of Python's packages."""
    origins: Mapping[str, str]
    """`debian NAME` or `python NAME` by path."""

    def origin(self, path: str) -> str:
        """Package that a file came with, or was compiled from; empty if none did."""
        # Bytecode that is compiled after the installation stands in no list.
        match = re.fullmatch(r"(.*)/__pycache__/([^/]+?)\.[^/.]+(?:\.opt-\d)?\.pyc", path)
        return self.origins.get(path, "") or (self.origins.get(f"{match[1]}/{match[2]}.py", "") if match else "")


def read_contents(path: Path) -> Contents:
    """Unpack an image to a temporary folder and read all of it.

    Raises
    ------
    ImageError
        If it is no whole image, `unsquashfs` is missing, or the temporary folder is too small.
    """
    with tempfile.TemporaryDirectory(prefix="hpckit-image-") as folder:
        root = Path(folder) / "root"
        listing = _unsquashfs(path, _system(path), "-lln")
        unpack(path, root)
        _open_folders(root)
        entries = dict(_entries(listing, root))
        debian, python = _debian(root), _python(root)
        origins = dict([*_debian_origins(root), *_python_origins(root)])
        labels = _labels(root / ".singularity.d/labels.json")
    return Contents(definition_of(path), entries, labels, debian, python, origins)


def unpack(path: Path, folder: Path, names: Sequence[str] = ()) -> None:
    """Unpack an image, or only some of its files and folders, to a folder that is not there yet.

    Raises
    ------
    ImageError
        If it is no whole image, or there is no space.
    """
    _unsquashfs(path, _system(path), "-no-progress", "-no-xattrs", "-ignore-errors", "-d", str(folder), names=names)
    if not folder.is_dir():
        raise ImageError(f"{path}: its file system cannot be unpacked in {folder}", hint="is there enough space?")


def count_entries(path: Path) -> int:
    """Files, folders, links and devices of an image."""
    return sum(_LISTED.match(line) is not None for line in _unsquashfs(path, _system(path), "-lln").splitlines())


def system_digest(path: Path) -> str:
    """SHA-256 of the file system of an image, as it lies in the SIF file."""
    part, found = _system(path), hashlib.sha256()
    with path.open("rb") as file:
        file.seek(part.offset)
        left = part.size
        while left and (block := file.read(min(left, 2**20))):
            found.update(block)
            left -= len(block)
    return found.hexdigest()


def definition_of(path: Path) -> str:
    """The definition file that an image was built from; empty if it holds none."""
    for part in parts(path):
        if part.kind == "definition":
            with path.open("rb") as file:
                file.seek(part.offset)
                return file.read(part.size).decode(errors="replace")
    return ""


def _system(path: Path) -> SifPart:
    """Where the file system of an image lies."""
    found = next((part for part in parts(path) if part.kind == "file system"), None)
    if found is None:
        raise ImageError(f"{path}: holds no file system", hint="`hpckit image build` makes one that does")
    return found


def _unsquashfs(path: Path, system: SifPart, *words: str, names: Sequence[str] = ()) -> str:
    program = shutil.which("unsquashfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise ImageError("unsquashfs is not found", hint="install squashfs-tools")
    command = [program, "-o", str(system.offset), *words, str(path), *names]
    # Its listing has local times.
    environment = {**os.environ, "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=environment)
    # 2: an ordinary user can make no devices.
    if done.returncode not in (0, 2) or "No space left" in done.stderr:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise ImageError(
            f"{path}: its file system cannot be read: {lines[-1] if lines else f'exit code {done.returncode}'}",
            hint="is the file damaged (copy it again), or the disk full (set TMPDIR to a larger one)?",
        )
    return done.stdout


def _open_folders(root: Path) -> None:
    """Let their owner read what is closed to all: only root would need no such thing."""
    if os.geteuid() == 0:
        return
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = Path(folder) / name
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | stat.S_IRUSR | (stat.S_IXUSR if path.is_dir() else 0))


def _entries(listing: str, root: Path) -> Iterator[tuple[str, ImageEntry]]:
    for line in listing.splitlines():
        match = _LISTED.match(line)
        if match is None:
            continue
        mode, owner, size, _, name = match.groups()
        link = name.partition(" -> ")
        name = link[0] if mode[0] == "l" else name
        path = root / name
        time = path.lstat().st_mtime if os.path.lexists(path) else 0.0
        yield name, ImageEntry(mode, owner, _content(path, mode, size, link[2]), time)


def _content(path: Path, mode: str, size: str, target: str) -> str:
    if mode[0] == "l":
        return target
    if mode[0] in "cb":
        return size.replace(" ", "")
    if mode[0] != "-":
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _labels(path: Path) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in json.loads(path.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _debian(root: Path) -> dict[str, str]:
    path = root / "var/lib/dpkg/status"
    text = path.read_text(errors="replace") if path.is_file() else ""
    stanzas = re.findall(r"^Package: (\S+)$(.*?)(?=^Package: |\Z)", text, re.MULTILINE | re.DOTALL)
    versions = ((name, re.search(r"^Version: (\S+)$", rest, re.MULTILINE)) for name, rest in stanzas)
    return {name: version[1] for name, version in versions if version is not None}


def _debian_origins(root: Path) -> Iterator[tuple[str, str]]:
    for path in (root / "var/lib/dpkg/info").glob("*.list"):
        name = path.stem.partition(":")[0]
        for line in path.read_text(errors="replace").splitlines():
            yield _MERGED.sub(r"/usr/\1/", line).lstrip("/"), f"debian {name}"


def _python(root: Path) -> dict[str, str]:
    found = {}
    for folder in _distributions(root):
        name, _, version = folder.name.removesuffix(".dist-info").partition("-")
        found[name.lower()] = version
    return found


def _python_origins(root: Path) -> Iterator[tuple[str, str]]:
    for folder in _distributions(root):
        name, place = folder.name.partition("-")[0].lower(), folder.parent.relative_to(root)
        record = folder / "RECORD"
        for line in record.read_text(errors="replace").splitlines() if record.is_file() else ():
            file = PurePosixPath(os.path.normpath(place / line.rsplit(",", 2)[0].strip('"')))
            yield str(file), f"python {name}"


def _distributions(root: Path) -> Iterator[Path]:
    for place in ("opt/*/lib/python3*/site-packages", "usr/lib/python3/dist-packages", "usr/local/lib/python3*/*"):
        yield from root.glob(f"{place}/*.dist-info")
