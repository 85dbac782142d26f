"""Which remote files a campaign will open, and what the folder for their copies notes of them.

The folder holds `<product>/<file>-<version>.<ending>`, and `fetched.jsonl`: a line for each copy found right. Jobs
that fetch together write `fetched-<writer>.jsonl` each.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hpckit.base.files import append_line, write_text
from hpckit.base.reading import read_bytes, typed, unavailable
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.stage import Planning, Stage
from hpckit.cubes.tiles import Tiles
from hpckit.inputs.download import digest_of, is_comparable, require_digest
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import is_remote
from hpckit.runs.journal import read_journal
from hpckit.sensors.bands import BandRef
from hpckit.sensors.copies import name_of_copy
from hpckit.sensors.items import addresses
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.needs import files_beside, files_read

NOTES: Final = "fetched.jsonl"
_NOTE_FILE: Final = re.compile(r"fetched(-[^/]+)?\.jsonl")
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.-]*")
"""Of a copy: notes of other names lead out of the folder, and are nobody's."""
_OWN_DIGEST: Final = "sha256"
"""Noted of files whose provider gives none."""


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A remote file."""

    uri: str
    nbytes: int
    digest: str
    """As `Asset.digest`."""
    name: str
    """Of its copy, relative to the folder."""


@dataclass(frozen=True, slots=True)
class Note:
    """A copy that was found right."""

    name: str
    nbytes: int
    digest: str
    """The one that its metadata state, or that it had when it came; `sha256:` and hexadecimal digits."""
    run: str
    """Id of the run for which it came."""
    moved: bool = False
    """A data mover, or somebody else, brought it; hpckit found it right."""


def fetchable(tiles: Tiles, stages: Sequence[Stage]) -> list[Fetchable]:
    """Remote files that are still to be opened, by name; those whose dates are in the cube, or reduced, are none."""
    if not any(map(_is_on_servers, _scenes(tiles))):
        return []  # without a look at the journal
    planning = Planning(tiles, read_journal(tiles.run.path))
    return _by_name(file for files in files_by_date(planning, stages).values() for file in files)


def lost_bands(tiles: Tiles, stages: Sequence[Stage]) -> list[tuple[Scene, BandRef]]:
    """Bands that are still to be decoded and of which the server of a product had no file when it was scanned."""
    if not any(scene.missing and _is_on_servers(scene) for scene in _scenes(tiles)):
        return []
    return [
        (scene, ref)
        for (tile, position), refs in _undone(tiles, stages)
        for scene in tiles.acquisitions[tile][position].scenes
        for ref in refs
        if _is_on_servers(scene) and tiles.spec.sensor.is_lost(scene, ref.name)
    ]


def of_arrays(tiles: Tiles, stages: Sequence[Stage]) -> list[Scene]:
    """Scenes that are still to be decoded, and whose bands are arrays on servers, which are not copied."""
    if not any(map(_has_remote_arrays, _scenes(tiles))):
        return []
    found = {
        scene.href: scene
        for (tile, position), _ in _undone(tiles, stages)
        for scene in tiles.acquisitions[tile][position].scenes
        if _has_remote_arrays(scene)
    }
    return list(found.values())


def _has_remote_arrays(scene: Scene) -> bool:
    return _is_on_servers(scene) and any(asset.array and asset.is_remote for asset in scene.assets.values())


def _undone(tiles: Tiles, stages: Sequence[Stage]) -> Iterator[tuple[tuple[str, int], Set[BandRef]]]:
    """Bands that stages have still to decode, by tile and position on its time axis."""
    planning = Planning(tiles, read_journal(tiles.run.path))
    for stage in stages:
        yield from stage.decodes(planning).items()


def files_by_date(planning: Planning, stages: Sequence[Stage]) -> dict[tuple[str, int], list[Fetchable]]:
    """Remote files that stages have still to open, by tile and position on its time axis."""
    tiles, found = planning.tiles, dict[tuple[str, int], dict[str, Fetchable]]()
    if not any(map(_is_on_servers, _scenes(tiles))):
        return {}
    for stage in stages:
        for (tile, position), refs in stage.decodes(planning).items():
            for scene in tiles.acquisitions[tile][position].scenes:
                for file in _files(tiles.spec, scene, refs):
                    found.setdefault((tile, position), {})[file.name] = file
    return {key: [files[name] for name in sorted(files)] for key, files in sorted(found.items())}


def _is_on_servers(scene: Scene) -> bool:
    return any(map(is_remote, addresses(scene)))


def all_files(spec: CubeSpec, scenes: Iterable[Scene]) -> list[Fetchable]:
    """Remote files of scenes that a cube is made from, by name, whatever it has already."""
    return _by_name(file for scene in scenes for file in _files(spec, scene, spec.bands))


def _by_name(files: Iterable[Fetchable]) -> list[Fetchable]:
    """Each once: a scene may lie on several tiles."""
    found = {file.name: file for file in files}
    return [found[name] for name in sorted(found)]


def _files(spec: CubeSpec, scene: Scene, refs: Iterable[BandRef]) -> Iterator[Fetchable]:
    keys = files_read(scene, refs, spec.sensor.mask, spec.reading)
    assets = {**{key: scene.assets[key] for key in keys}, **files_beside(scene, keys)}
    return (file for file in (_file(scene, *item) for item in assets.items()) if file is not None)


def _scenes(tiles: Tiles) -> Iterator[Scene]:
    return (scene for items in tiles.acquisitions.values() for item in items for scene in item.scenes)


def _file(scene: Scene, key: str, asset: Asset) -> Fetchable | None:
    """A remote file; None for one of this machine, or of which the size is not known."""
    if not asset.is_remote or asset.nbytes is None:
        return None
    name = name_of_copy(scene, key, asset)
    return Fetchable(asset.uri, asset.nbytes, asset.digest, name)


def read_notes(folder: Path) -> dict[str, Note]:
    """Notes of a folder by name of the copy; a line that was cut by a kill is left out."""
    notes = {}
    for line in (line for path in _note_files(folder) for line in read_bytes(path).splitlines()):
        try:
            note = typed(Note, json.loads(line))
        except ValueError:
            continue
        if _NAME.fullmatch(note.name):
            notes[note.name] = note
    return notes


def _note_files(folder: Path) -> list[Path]:
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unavailable(folder, error) from None
    return [folder / name for name in names if _NOTE_FILE.fullmatch(name)]


def add_note(folder: Path, note: Note, file: str = NOTES) -> None:
    """Note a copy, in a file that nobody else writes: `NOTES` only under the folder's claim."""
    append_line(folder / file, json.dumps(asdict(note)))


def write_notes(folder: Path, notes: Iterable[Note]) -> None:
    """Replace all notes. Only under the folder's claim."""
    lines = "".join(f"{json.dumps(asdict(note))}\n" for note in notes)
    if lines:
        write_text(folder / NOTES, lines)
    for path in _note_files(folder):
        if not lines or path.name != NOTES:
            path.unlink(missing_ok=True)


def discard(folder: Path, notes: Mapping[str, Note], gone: Collection[str]) -> None:
    """Remove copies, with their notes. Only under the folder's claim."""
    for name in gone:
        (folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # others lie there
            (folder / name).parent.rmdir()
    write_notes(folder, (note for name, note in notes.items() if name not in gone))


def checked(path: Path, file: Fetchable, run: str) -> Note:
    """Compare a whole file with its digest, and say what to note of it.

    Raises
    ------
    SceneError
        If it has another one.
    """
    require_digest(path, file.uri, file.digest)
    digest = file.digest if is_comparable(file.digest) else f"{_OWN_DIGEST}:{digest_of(path, _OWN_DIGEST)}"
    return Note(file.name, file.nbytes, digest, run)


def is_whole(folder: Path, file: Fetchable, notes: Mapping[str, Note]) -> bool:
    """Whether a copy is there, with its size, and was found right."""
    try:
        return file.name in notes and (folder / file.name).stat().st_size == file.nbytes
    except FileNotFoundError:
        return False


def missing_files(folder: Path, files: Iterable[Fetchable]) -> list[Fetchable]:
    """Files of which no copy is there that was found right."""
    notes = read_notes(folder)
    return [file for file in files if not is_whole(folder, file, notes)]


def describe(file: Fetchable) -> str:
    """Address of a file without signatures, for messages."""
    return without_secrets(file.uri)
