"""A server of a small campaign with results, as a process of its own, and a browser."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import until

CHROMIUM = shutil.which("chromium")
PICTURES = Path(__file__).parents[2] / ".cache" / "pictures"
"""Pictures of pages, kept after a run."""


@contextmanager
def server(state: Path, *arguments: str | Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address that `hpckit serve` prints, and its process."""
    state.mkdir(parents=True, exist_ok=True)
    out = (state / "out.txt").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "hpckit", "serve", *map(str, arguments)],
        stdout=out,
        stderr=(state / "err.txt").open("w"),
        text=True,
        env=os.environ | {"XDG_STATE_HOME": str(state), "PYTHONUNBUFFERED": "1"},
    )
    try:
        until(
            lambda: (state / "out.txt").read_text().endswith("\n") or process.poll() is not None, 60, "for the server"
        )
        assert process.poll() is None, (state / "err.txt").read_text()
        yield (state / "out.txt").read_text().strip(), process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        print((state / "err.txt").read_text(), file=sys.stderr)  # shown where a test fails


@contextmanager
def browser_page(width: int = 1440, height: int = 900, **options: Any) -> Iterator[Any]:
    """A page of Chromium that notes faults of scripts and requests to elsewhere in `page.faults`."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian package chromium)")
    sync_playwright = pytest.importorskip("playwright.sync_api").sync_playwright
    with sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"],
        )
        page = chromium.new_context(viewport={"width": width, "height": height}, **options).new_page()
        page.faults = []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda said: page.faults.append(said.text) if said.type == "error" else None)
        page.on(
            "request",
            lambda asked: (
                page.faults.append(f"elsewhere: {asked.url}")
                if not asked.url.startswith(("http://127.0.0.1:", "blob:http://127.0.0.1:", "data:"))
                else None
            ),
        )
        try:
            yield page
        finally:
            chromium.close()


def picture(page: Any, name: str) -> None:
    """Keep a picture of a page."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(PICTURES / f"{name}.png"))
