"""Words of Apptainer's and Singularity's command lines."""

from __future__ import annotations

from pathlib import Path


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
