"""The program that made a run: version, commit, packages, and the image in which jobs ran."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpckit.base.account import expand
from hpckit.base.reading import read_json
from hpckit.runs.run import RUN_JSON, Run
from hpckit.submissions.submission import Submission


@dataclass(frozen=True, slots=True)
class Image:
    """An image in which jobs ran."""

    name: str
    """Name of its file."""
    sha256: str
    """Empty where the file is not here, or was changed since."""


@dataclass(frozen=True, slots=True)
class Software:
    """What computed."""

    hpckit: str
    commit: str
    """Of hpckit's source; empty where the installation does not tell."""
    python: str
    packages: Mapping[str, str]
    jpeg2000: str
    """Driver of GDAL that decoded JPEG 2000."""
    images: tuple[Image, ...] = ()


def software(run: Run, submissions: Sequence[Submission], end: float) -> Software:
    """What the run directory says of the program.

    Parameters
    ----------
    end : float
        When the run ended, seconds since 1970: a later image is another one.
    """
    known: dict[str, Any] = read_json(run.path / RUN_JSON)
    files = [item.site.container.image for item in submissions if item.site.runtime == "apptainer"]
    return Software(
        hpckit=str(known.get("hpckit", "")),
        commit=str(known.get("commit", "")),
        python=str(known.get("python", "")),
        packages={str(name): str(version) for name, version in dict(known.get("packages", {})).items()},
        jpeg2000=str(known.get("jpeg2000", "")),
        images=tuple(_image(name, end) for name in dict.fromkeys(filter(None, files))),
    )


def _image(name: str, end: float) -> Image:
    path = Path(name) if "$" in name else expand(name)
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Image(path.name, digest if path.stat().st_mtime <= end else "")
    except OSError:
        return Image(path.name, "")


def differences(one: Software, other: Software) -> list[str]:
    """What another program has otherwise, one text for each part."""
    pairs = {"hpckit": (one.hpckit, other.hpckit), "Python": (one.python, other.python)}
    pairs |= {"commit of hpckit": (one.commit, other.commit)} if one.commit and other.commit else {}
    pairs |= {"JPEG 2000 driver": (one.jpeg2000, other.jpeg2000)}
    for name in sorted({*one.packages, *other.packages}):
        pairs[name] = one.packages.get(name, "none"), other.packages.get(name, "none")
    return [f"{name} {new} instead of {old}" for name, (old, new) in pairs.items() if old != new]


def read_software(values: Mapping[str, Any]) -> Software:
    """Software of a crate's `run.json`."""
    images = tuple(Image(str(item["name"]), str(item["sha256"])) for item in values.get("images", ()))
    texts = {name: str(values.get(name, "")) for name in ("hpckit", "commit", "python", "jpeg2000")}
    return Software(**texts, packages=json.loads(json.dumps(values.get("packages", {}))), images=images)
