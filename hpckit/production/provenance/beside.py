"""RO-Crate metadata beside result files: composites and graphs, for those who get only their folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from hpckit.base.files import write_bytes
from hpckit.cubes.made import Made
from hpckit.errors import CrateError
from hpckit.production.provenance import crate
from hpckit.production.provenance.entities import HPCKIT, About
from hpckit.production.provenance.metadata import of_folder
from hpckit.production.provenance.record import Record
from hpckit.reduce.composites.units import files_path as of_composite
from hpckit.reduce.graphs.work import files_path as of_graph


def write_beside(record: Record, about: About) -> list[Path]:
    """Write `ro-crate-metadata.json` into each folder of result files; return the files.

    Raises
    ------
    CrateError
        If one cannot be written. One that is not of hpckit is left as it is.
    """
    written = []
    for folder in _folders(record):
        made = dict(_files(record, folder))
        path = folder / crate.METADATA
        if made and _is_ours(path):
            try:
                write_bytes(path, crate.as_json(of_folder(record, about, made)))
            except OSError as error:
                raise CrateError(f"{path}: cannot be written") from error
            written.append(path)
    return written


def _folders(record: Record) -> Iterator[Path]:
    campaign = record.run.campaign
    yield from (of_composite(campaign, composite) for composite in campaign.composites if composite.outputs.cog)
    yield from (of_graph(campaign, reduction) for reduction in campaign.graphs)


def _files(record: Record, folder: Path) -> Iterator[tuple[str, Made]]:
    top = folder.resolve()
    for item in record.outputs:
        if item.path is not None and item.digest and item.path.resolve().is_relative_to(top):
            yield item.path.resolve().relative_to(top).as_posix(), item


def _is_ours(path: Path) -> bool:
    """Whether metadata are not there, or are those of an earlier crate."""
    try:
        return any(item.get("@id") == HPCKIT for item in json.loads(path.read_bytes())["@graph"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
