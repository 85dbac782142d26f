"""How hpckit is started on the nodes of a cluster."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hpckit.sites.site import Site


def hpckit_command(site: Site) -> list[str]:
    """How hpckit is started on the nodes: as the site file says, or as here."""
    if site.command is not None:
        return [site.command]
    if site.runtime == "apptainer":
        return ["hpckit"]
    beside = Path(sys.executable).with_name("hpckit")
    found = str(beside) if beside.exists() else shutil.which("hpckit")
    return [found] if found else [sys.executable, "-m", "hpckit"]
