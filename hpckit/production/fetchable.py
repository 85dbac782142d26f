"""Which remote files a campaign will open, and what the folder for their copies notes of them.

The folder holds `<product>/<file>-<version>.<ending>`, of Zarr hierarchies `<product>-<version>/<array>+<chunk>`, and
`fetched.jsonl`: a line for each copy found right. Jobs that fetch together write `fetched-<writer>.jsonl` each.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final

from hpckit.base.files import append_line, write_text
from hpckit.base.reading import read_bytes, typed, unavailable
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.stage import Planning, Stage
from hpckit.cubes.tiles import Tiles
from hpckit.errors import SceneError
from hpckit.inputs.blosc import compressed_bytes
from hpckit.inputs.download import digest_of, is_comparable, require_digest
from hpckit.inputs.fetched import ABSENT, group_of, object_name
from hpckit.inputs.transfer import without_secrets
from hpckit.inputs.uri import is_remote, within
from hpckit.runs.journal import read_journal
from hpckit.sensors.bands import BandRef
from hpckit.sensors.copies import lacks_files, name_of_copy
from hpckit.sensors.items import addresses
from hpckit.sensors.model import Scene
from hpckit.sensors.needs import files_beside, files_read, windows_read
from hpckit.sensors.objects import Form, StoredObject, objects_beside, objects_of

NOTES: Final = "fetched.jsonl"
_NOTE_FILE: Final = re.compile(r"fetched(-[^/]+)?\.jsonl")
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_-][A-Za-z0-9_.+-]*")
"""Of a copy: notes of other names lead out of the folder, and are nobody's."""
_OWN_DIGEST: Final = "sha256"
"""Noted of files whose provider gives none."""


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A remote file."""

    uri: str
    nbytes: int | None
    """None of an object of a Zarr hierarchy: only its server knows."""
    digest: str
    """As `Asset.digest`."""
    name: str
    """Of its copy, relative to the folder."""
    stored: StoredObject | None = None
    """The object of a Zarr hierarchy that it is."""

    @property
    def most(self) -> int:
        """Bytes that it has at most."""
        if self.nbytes is not None:
            return self.nbytes
        return 0 if self.stored is None else self.stored.most

    @property
    def group(self) -> str:
        """What it is counted with in plans: the array of a chunk; itself, if it is a file."""
        return group_of(self.name)


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


def not_listed(tiles: Tiles, stages: Sequence[Stage]) -> list[tuple[Scene, str]]:
    """Scenes on servers that are still to be decoded and of which the catalogue does not tell all files, and why."""
    if not any(map(lacks_files, _scenes(tiles))):
        return []
    found = {
        scene.href: (scene, reason)
        for (tile, position), _ in _undone(tiles, stages)
        for scene in tiles.acquisitions[tile][position].scenes
        if (reason := lacks_files(scene))
    }
    return list(found.values())


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
                for file in _files(tiles, tile, scene, refs):
                    found.setdefault((tile, position), {})[file.name] = file
    return {key: [files[name] for name in sorted(files)] for key, files in sorted(found.items())}


def _is_on_servers(scene: Scene) -> bool:
    return any(map(is_remote, addresses(scene)))


def all_files(tiles: Tiles, tile: str, scenes: Iterable[Scene]) -> list[Fetchable]:
    """Remote files of scenes that the cube of a tile is made from, by name, whatever it has already."""
    return _by_name(file for scene in scenes for file in _files(tiles, tile, scene, tiles.spec.bands))


def _by_name(files: Iterable[Fetchable]) -> list[Fetchable]:
    """Each once: a scene may lie on several tiles."""
    found = {file.name: file for file in files}
    return [found[name] for name in sorted(found)]


def plain_files(spec: CubeSpec, scenes: Iterable[Scene]) -> list[Fetchable]:
    """Remote files of scenes that a cube is made from, by name, without objects of Zarr hierarchies."""
    return _by_name(file for scene in scenes for file in _plain_files(spec, scene, spec.bands))


def _files(tiles: Tiles, tile: str, scene: Scene, refs: Iterable[BandRef]) -> Iterator[Fetchable]:
    spec = tiles.spec
    if not has_arrays(scene):
        yield from _plain_files(spec, scene, refs)
        return
    held = partial(tiles.windows, tile)
    windows = windows_read(scene, refs, spec.sensor.mask, spec.reading, tiles.frame(tile), held)
    for key, parts in windows.items():
        yield from map(_of_object, objects_of(scene, key, parts))
    yield from map(_of_object, objects_beside(files_beside(scene, windows).values()))


def has_arrays(scene: Scene) -> bool:
    """Whether a product is a Zarr hierarchy on a server, of which the catalogue tells the chunks."""
    first = next(iter(scene.assets.values()), None)
    return first is not None and first.is_remote and bool(first.chunks)


def _plain_files(spec: CubeSpec, scene: Scene, refs: Iterable[BandRef]) -> Iterator[Fetchable]:
    keys = files_read(scene, refs, spec.sensor.mask, spec.reading)
    for key, asset in {**{key: scene.assets[key] for key in keys}, **files_beside(scene, keys)}.items():
        if asset.is_remote and asset.nbytes is not None:
            yield Fetchable(asset.uri, asset.nbytes, asset.digest, name_of_copy(scene, key, asset))


def _of_object(stored: StoredObject) -> Fetchable:
    name = object_name(stored.place, stored.key)
    return Fetchable(within(stored.place.address, stored.key), None, "", name, stored)


def _scenes(tiles: Tiles) -> Iterator[Scene]:
    return (scene for items in tiles.acquisitions.values() for item in items for scene in item.scenes)


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
        If it has another one, or is damaged as far as that can be seen.
    """
    require_digest(path, file.uri, file.digest)
    if file.stored is not None:
        _require_whole(path, file, file.stored.form)
    digest = file.digest if is_comparable(file.digest) else f"{_OWN_DIGEST}:{digest_of(path, _OWN_DIGEST)}"
    return Note(file.name, path.stat().st_size, digest, run)


def _require_whole(path: Path, file: Fetchable, form: Form) -> None:
    content = read_bytes(path)
    if content == ABSENT:
        return
    fault = ""
    if not content:
        fault = "is empty"
    elif form == "blosc" and len(content) != (told := compressed_bytes(content)):
        fault = f"has {len(content)} bytes, and its header says {told}"
    elif form == "json":
        try:
            json.loads(content)
        except ValueError:
            fault = "is no complete JSON"
    if fault:
        raise SceneError(f"{describe(file)} {fault}", hint="it is damaged on its server, or was cut on its way")


def is_whole(folder: Path, file: Fetchable, notes: Mapping[str, Note]) -> bool:
    """Whether a copy is there, with its size, and was found right."""
    try:
        note = notes.get(file.name)
        nbytes = file.nbytes if note is None or file.nbytes is not None else note.nbytes
        return note is not None and (folder / file.name).stat().st_size == nbytes
    except FileNotFoundError:
        return False


def missing_files(folder: Path, files: Iterable[Fetchable]) -> list[Fetchable]:
    """Files of which no copy is there that was found right."""
    notes = read_notes(folder)
    return [file for file in files if not is_whole(folder, file, notes)]


def describe(file: Fetchable) -> str:
    """Address of a file without signatures, for messages."""
    return without_secrets(file.uri)
