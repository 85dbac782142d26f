"""The openEO Web Editor on loopback, from a folder that was built from its sources."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from tests.servers.pages import require_pages, serving_pages

VARIABLE = "HPCKIT_OPENEO_EDITOR"


def require_editor() -> Path:
    """Folder with the editor; the test is skipped where there is none."""
    return require_pages(VARIABLE, "openEO Web Editor")


def web_editor() -> AbstractContextManager[str]:
    """The editor while the block runs; yields its address without a slash at its end."""
    return serving_pages(require_editor())
