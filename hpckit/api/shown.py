"""Where functions of the door show their progress."""

from __future__ import annotations

from typing import Final

from hpckit.base.console import Console

QUIET: Final = Console(quiet=True)
"""The default: quiet, except in the kernel of a notebook. `Console(quiet=True)` is quiet there as well."""


def shown(console: Console) -> Console:
    """The console that was given; in a notebook, instead of the default, the output of the cell."""
    if console is not QUIET:
        return console
    from hpckit.look.notebook.progress import NotebookConsole, in_notebook

    return NotebookConsole() if in_notebook() else console
