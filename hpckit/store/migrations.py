"""Schema changes: numbered SQL files, applied in order, each once."""

from __future__ import annotations

from importlib import resources


def migrations(kind: str) -> list[str]:
    """Scripts of a kind of store (`geopackage`, `postgis`), in order; the first one makes version 1."""
    folder = resources.files("hpckit.store") / "schema" / kind
    files = sorted((item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name)
    return [item.read_text(encoding="utf-8") for item in files]
