"""Result files of a graph, and the note that says what they were made from and what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.files import digest_json, write_json
from hpckit.base.reading import files_below, read_json, typed
from hpckit.campaign.blocks import OfWindows
from hpckit.campaign.campaign import Campaign
from hpckit.cubes.tiles import Tiles
from hpckit.errors import DamagedFileError
from hpckit.reduce.graphs.formats import Result, ResultFile, write
from hpckit.reduce.graphs.job import Output
from hpckit.reduce.graphs.work import files_path

_VERSION: Final = 1
"""Grows when the same result gives other files."""
Damage = tuple[Literal["missing", "corrupt", "unread"], str]


def note_path(campaign: Campaign, reduction: OfWindows, output: Output) -> Path:
    """Note of the files of a result; written last, so it says that they are whole."""
    return files_path(campaign, reduction) / f".{output.key}.json"


def made_from(inputs: str, output: Output) -> str:
    """Digest of what files are made from.

    Parameters
    ----------
    inputs : str
        Digest of what the result is made from.
    """
    return digest_json([_VERSION, inputs, output.format, output.options])[:16]


def write_files(result: Result, output: Output, folder: Path) -> list[ResultFile]:
    """Write a result in the format of its `save_result`.

    Raises
    ------
    GraphError
        `FormatUnsuitable`, if the format cannot hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    return list(write(result, output.format, output.options, folder, output.key))


def note(path: Path, files: Sequence[ResultFile], inputs: str) -> None:
    """Write the note of files."""
    known = [
        {
            **asdict(replace(file, path=file.path.relative_to(path.parent))),
            "path": str(file.path.relative_to(path.parent)),
        }
        for file in files
    ]
    facts = {str(each.relative_to(path.parent)): _facts(each) for file in files for each in _all(file.path)}
    write_json(path, {"inputs": inputs, "files": known, "facts": facts})


def noted(path: Path) -> tuple[str, list[ResultFile]]:
    """What files were made from, and the files; nothing if there is no sound note."""
    try:
        known = read_json(path)
        return str(known["inputs"]), [_file(path.parent, item) for item in known["files"]]
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError, ValueError):
        return "", []


def _file(folder: Path, values: Mapping[str, Any]) -> ResultFile:
    return replace(typed(ResultFile, values), path=folder / str(values["path"]))


def are_there(path: Path) -> bool:
    """Whether all files of a note are there, with their size."""
    try:
        known = read_json(path)["facts"]
        return all((path.parent / name).stat().st_size == size for name, (size, _) in known.items())
    except (OSError, DamagedFileError, KeyError, TypeError, ValueError, AttributeError):
        return False


def damaged(path: Path) -> list[tuple[Path, Damage]]:
    """Files of a note that are gone, or are not those that were written."""
    found: list[tuple[Path, Damage]] = []
    try:
        known = read_json(path)["facts"].items()
    except (FileNotFoundError, DamagedFileError, KeyError, AttributeError):
        return [(path, ("missing", "never written, or found faulty before"))]
    for name, facts in known:
        file = path.parent / name
        try:
            if _facts(file) != list(facts):
                found.append((file, ("corrupt", "not the bytes that were written")))
        except FileNotFoundError:
            found.append((file, ("missing", "the file is gone")))
        except OSError as error:
            found.append((file, ("unread", error.strerror or str(error))))
    return found


def facts(path: Path) -> dict[str, tuple[int, str]]:
    """Bytes and SHA-256 of each file of a note, by its path below the note's folder; nothing if there is no note."""
    try:
        return {name: (int(size), str(digest)) for name, (size, digest) in read_json(path)["facts"].items()}
    except (FileNotFoundError, DamagedFileError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _all(path: Path) -> list[Path]:
    return files_below(path, "") if path.is_dir() else [path]


def _facts(path: Path) -> list[Any]:
    """Bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()]


def results_of(tiles: Tiles) -> list[ResultFile]:
    """Files of all results of a campaign's graphs that are whole."""
    found: list[ResultFile] = []
    for reduction in tiles.campaign.graphs:
        for path in sorted(files_path(tiles.campaign, reduction).glob(".*.json")):
            if are_there(path):
                found += noted(path)[1]
    return found
