"""Times of the teaching notebooks, measured by the docs build when it runs them, as a table on a page.

mkdocs runs this file as a hook. The table replaces a comment in the page. Processor time is that of the kernel and of
all processes that it started, so it depends little on other programs on the machine. A notebook whose page is taken
from the plugin's cache keeps the time of the build that ran it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

ROOT: Final = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "docs")]  # mkdocs imports this file alone

from pictures import folder_of_build

PLACE: Final = "<!-- times of the teaching notebooks -->"
CORES: Final = 2
MOST_S: Final = 120.0
"""On this many cores."""
_LEAST_S: Final = 1.0
"""Of processor time; a kernel needs more to start, so less means that nothing was run."""
_FILE: Final = "times.json"
_SUBREAPER: Final = 36
"""PR_SET_CHILD_SUBREAPER of Linux."""
_ENDING_S: Final = 5.0


class Times(NamedTuple):
    """Of a run of a notebook, in seconds."""

    processor: float
    wall: float


_begun: Final[dict[str, Times]] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Keep rendered notebooks beside the pictures: where the source code has changed, they run again."""
    _adopt()
    plugin = config.plugins["mkdocs-jupyter"]
    if "cache_dir" in plugin.config:  # from mkdocs-jupyter 0.26 on
        plugin.config["cache_dir"] = str(folder_of_build() / "notebooks")
    return config


def on_pre_page(page: Page, config: MkDocsConfig, files: Files) -> Page:
    """Note when a notebook begins."""
    if page.file.src_uri.endswith(".ipynb"):
        _begun[page.file.src_uri] = _now()
    return page


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Keep the times of a notebook that was run."""
    begun = _begun.get(page.file.src_uri)
    if begun is not None:
        _reap()
        took = Times(*(after - before for after, before in zip(_now(), begun, strict=True)))
        if took.processor > _LEAST_S:
            known = _known() | {Path(page.file.src_uri).stem: took}
            (folder_of_build() / _FILE).write_text(json.dumps(known))
    return html


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Put the table where the page has its comment; pages are written after all of them have their content."""
    return output.replace(PLACE, _table(_known())) if PLACE in output else output


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a notebook takes too long for a lesson."""
    for name, took in _known().items():
        if took.processor > CORES * MOST_S:
            raise PluginError(
                f"docs/notebooks/{name}.ipynb took {took.processor:.0f} s of processor time: more than "
                f"{MOST_S:.0f} s on {CORES} cores; make its example smaller"
            )


def _adopt() -> None:
    """Become the parent of processes that a kernel leaves behind, as it does with the one that forks workers."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _reap() -> None:
    """Wait for what a kernel left behind, so that its processor time is known."""
    until = time.monotonic() + _ENDING_S
    while time.monotonic() < until:
        try:
            ended, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not ended:
            time.sleep(0.05)


def _now() -> Times:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Times(used.ru_utime + used.ru_stime, time.monotonic())


def _known() -> dict[str, Times]:
    path = folder_of_build() / _FILE
    return {name: Times(*took) for name, took in json.loads(path.read_text()).items()} if path.exists() else {}


def _table(known: dict[str, Times]) -> str:
    rows = "".join(
        f"<tr><td>{name}</td><td>{took.processor:.0f} s</td><td>{took.wall:.0f} s</td></tr>"
        for name, took in sorted(known.items())
    )
    head = "<tr><th>notebook</th><th>processor time</th><th>wall time</th></tr>"
    return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
