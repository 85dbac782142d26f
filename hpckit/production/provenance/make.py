"""Make the crate of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpckit.base.reading import read_bytes
from hpckit.cubes.made import Made
from hpckit.inputs.uri import is_remote, public
from hpckit.production.provenance import crate
from hpckit.production.provenance.beside import write_beside
from hpckit.production.provenance.entities import About
from hpckit.production.provenance.inputs import described, files
from hpckit.production.provenance.metadata import metadata
from hpckit.production.provenance.places import without_home
from hpckit.production.provenance.preview import preview
from hpckit.production.provenance.record import Record, record
from hpckit.runs.run import CAMPAIGN_JSON, Run
from hpckit.sites.parts import Energy


@dataclass(frozen=True, slots=True)
class Written:
    """A crate that was written."""

    path: Path
    digest: str
    """SHA-256 of its list of digests."""
    record: Record
    beside: tuple[Path, ...]
    """Metadata that were written into folders of result files."""


def make(run: Run, path: Path, about: About, figures: Mapping[str, Energy] | None = None) -> Written:
    """Write the crate of a run, and metadata beside its result files.

    Parameters
    ----------
    path : Path
        Folder, or `.zip` file.
    figures : mapping of str to Energy, optional
        As of `hpckit.submissions.energy.energy`.

    Raises
    ------
    CrateError
        If no unit is done, an input is not what the run used, or something else lies at `path`.
    """
    found = record(run, figures)
    content = _documents(found) | dict(files(run))
    content[crate.PREVIEW] = preview(found, content)
    content[crate.METADATA] = crate.as_json(metadata(found, content, about))
    digest = crate.write(path, content)
    return Written(path, digest, found, tuple(write_beside(found, about)))


def _documents(found: Record) -> dict[str, bytes]:
    campaign = json.loads(read_bytes(found.run.inputs / CAMPAIGN_JSON))
    _hide(campaign["campaign"])
    inputs = described(found.products, found.others, found.campaigns, found.loaded)
    return {
        crate.CAMPAIGN: crate.as_json(without_home(campaign)),
        crate.RUN: crate.as_json(found.described()),
        crate.INPUTS: crate.as_json(inputs),
        crate.OUTPUTS: crate.as_json({"outputs": [_made(item) for item in found.outputs]}),
    }


def _hide(campaign: dict[str, Any]) -> None:
    """Take out what is nobody else's business and changes no output: the database, signatures of addresses."""
    campaign["store"] = {key: value for key, value in campaign["store"].items() if key != "dsn"}
    scenes = campaign["scenes"]
    scenes["paths"] = [public(path) if is_remote(path) else path for path in scenes["paths"]]


def _made(item: Made) -> dict[str, Any]:
    values = asdict(item)
    del values["path"]
    return values
