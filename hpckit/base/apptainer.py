"""Words of Apptainer's and Singularity's command lines."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

APPTAINER: Final = "HPCKIT_APPTAINER"
"""Variable with the name of the Apptainer command on a node."""


def find_program() -> str | None:
    """The program that starts images here."""
    return os.environ.get(APPTAINER) or shutil.which("apptainer") or shutil.which("singularity")


def mount(source: str, target: str, options: str = "") -> list[str]:
    """Words that bind a folder, whatever characters are in its name.

    >>> mount("/a,b", "/b", "ro")
    ['--mount', 'type=bind,"source=/a,b","destination=/b",ro']
    """
    fields = (f"source={source}", f"destination={target}")
    quoted = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    return ["--mount", f"type=bind,{quoted}{',' + options if options else ''}"]


def split_bind(text: str) -> tuple[str, str, str]:
    """Source, target and options of `SOURCE[:TARGET[:ro]]`.

    >>> split_bind("/scratch"), split_bind("/a:/b:ro")
    (('/scratch', '/scratch', ''), ('/a', '/b', 'ro'))
    """
    source, _, rest = text.partition(":")
    target, _, options = rest.partition(":")
    return source, target or source, options


def variable_prefix(command: str) -> str:
    """What the names of variables begin with that get into an image which this command starts."""
    return "SINGULARITYENV_" if "singularity" in Path(command).name else "APPTAINERENV_"
