"""What an image says of itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpckit.errors import ImageError
from hpckit.sites.image.sif import Header, read_header


@dataclass(frozen=True, slots=True)
class Info:
    """An image."""

    path: Path
    header: Header
    labels: Mapping[str, str]
    signature: str
    """What `verify` says, in a word or a sentence."""

    @property
    def version(self) -> str:
        """Of the hpckit in it; empty if there is none."""
        return self.labels.get("org.opencontainers.image.version", "")

    @property
    def mpi(self) -> str:
        """`openmpi`, `mpich` or `none`."""
        return self.labels.get("org.hpckit.mpi", "")

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "path": str(self.path),
            "bytes": self.header.size,
            "processor": self.header.processor,
            "created": self.header.created.isoformat(),
            "id": self.header.id,
            "signature": self.signature,
            "labels": dict(self.labels),
        }


def read_info(path: Path, command: str) -> Info:
    """Read head, labels and signature of an image.

    Parameters
    ----------
    command : str
        Path of Apptainer.

    Raises
    ------
    ImageError
        If it is no whole image.
    """
    header = read_header(path)
    return Info(path, header, read_labels(path, command), _signature(path, command))


def read_labels(path: Path, command: str) -> Mapping[str, str]:
    """Labels of an image.

    Raises
    ------
    ImageError
        If they cannot be read.
    """
    done = _run(command, "inspect", "--json", "--labels", str(path))
    try:
        found = json.loads(done.stdout)["data"]["attributes"].get("labels") or {}
    except (ValueError, KeyError, TypeError):
        raise ImageError(
            f"{path}: its labels cannot be read: {(done.stderr or done.stdout).strip()[-300:]}",
            hint="it may be damaged: build it again, or copy it again",
        ) from None
    return {str(name): str(value) for name, value in found.items()}


def _signature(path: Path, command: str) -> str:
    done = _run(command, "verify", str(path))
    if done.returncode == 0:
        return "verified"
    return "none" if "signature not found" in done.stderr.lower() else done.stderr.strip().splitlines()[-1][:200]


def _run(command: str, *words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run([command, *words], capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ImageError(f"{command} {words[0]}: {error}") from error
