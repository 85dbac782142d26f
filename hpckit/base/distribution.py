"""Under which name hpckit is installed, and whether another project was installed over it.

The name `hpckit` on the Python package index belongs to another project, whose package and command are called
`hpckit` too. Its files go into the same folder as ours.
"""

from __future__ import annotations

import os
from typing import Final

DISTRIBUTION: Final = "hpckit-eo"
"""Name on the package index; package and command are called `hpckit`."""
_FOREIGN: Final = "cli.py"
"""A file of the other project where this one has a folder, `cli`."""


def pip_install(extra: str) -> str:
    """Command that installs an optional part: `pip install 'hpckit-eo[mpi]'`."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def namesake(package: str) -> str | None:
    """Sentence on the other project, if it is installed in the folder of this package; else None.

    Parameters
    ----------
    package : str
        Folder of the package `hpckit`.
    """
    if not os.path.exists(f"{package}/{_FOREIGN}"):  # noqa: PTH110 (at every start; pathlib takes 20 times as long)
        return None
    return (
        f"another project called hpckit is installed in the same folder, {package}, and may have replaced files "
        f"of this one: `pip uninstall hpckit`, then `pip install --force-reinstall --no-deps {DISTRIBUTION}`"
    )
