"""Who makes an index: this process, or for a large catalogue one of its own, so that requests are not slowed down."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Final

from hpckit.base.processes import without_main
from hpckit.errors import CatalogueError
from hpckit.serve.stac.building import build
from hpckit.serve.stac.sources import Source

_NICE: Final = 10
_LEFT_S: Final = 86_400.0
"""Age from which a folder that a killed process left is removed."""


class Indexer:
    """Makes indexes; many threads may ask."""

    def __init__(self) -> None:
        self._running: set[SpawnProcess] = set()
        self._lock = threading.Lock()

    def make(self, folder: Path, source: Source) -> None:
        """Make an index.

        Raises
        ------
        CatalogueError
            If the process that makes it ends without it.
        """
        _remove_left(folder.parent)
        if not source.is_large:
            build(folder, source.items())
            return
        process = multiprocessing.get_context("spawn").Process(
            target=_work, args=(folder, source.items), name=f"stac-index-{source.collection}", daemon=True
        )
        with self._lock:
            with without_main():
                process.start()
            self._running.add(process)
        process.join()
        with self._lock:
            self._running.discard(process)
        if process.exitcode != 0:
            raise CatalogueError(f"{source.collection}: the process for its index ended with {process.exitcode}")

    def close(self) -> None:
        """End processes that are at work."""
        with self._lock:
            for process in self._running:
                process.terminate()


def _work(folder: Path, items: Callable[[], Iterator[dict[str, Any]]]) -> None:
    os.nice(_NICE)
    build(folder, items())


def _remove_left(folder: Path) -> None:
    for path in folder.glob(".index-*"):
        try:
            is_left = time.time() - path.stat().st_mtime > _LEFT_S
        except FileNotFoundError:
            continue
        if is_left:
            shutil.rmtree(path, ignore_errors=True)
