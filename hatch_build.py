"""Adds manual pages and completion scripts to wheels, made from the commands themselves."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PLACES = {
    "bash": "share/bash-completion/completions/hpckit",
    "zsh": "share/zsh/site-functions/_hpckit",
    "fish": "share/fish/vendor_completions.d/hpckit.fish",
}


class CustomBuildHook(BuildHookInterface):
    """Runs hpckit from its sources; it needs nothing but click for this."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files, and tell where the wheel has them; editable installations have none."""
        if self.target_name != "wheel" or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        shared = build_data.setdefault("shared_data", {})
        seconds = os.environ.get("SOURCE_DATE_EPOCH", str(int(time.time())))
        self._python(
            "import sys; from hpckit.cli import manual as m; m.write(m.Path(sys.argv[1]), int(sys.argv[2]))",
            str(folder),
            seconds,
        )
        for path in sorted(folder.iterdir()):
            shared[str(path)] = f"share/man/man1/{path.name}"
        for shell, place in _PLACES.items():
            path = folder / shell
            path.write_text(
                self._python(
                    "import sys; from hpckit.cli.completion import script; print(script(sys.argv[1]), end='')", shell
                )
            )
            shared[str(path)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the files that the wheel has now."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def _python(self, code: str, *arguments: str) -> str:
        command = [sys.executable, "-c", code, *arguments]
        environment = {**os.environ, "PYTHONPATH": f"{self.root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        return subprocess.run(
            command, cwd=self.root, env=environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
