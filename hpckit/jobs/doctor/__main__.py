"""`python -m hpckit.jobs.doctor MODULE`: one probe, with its findings as JSON on stdout."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from importlib import import_module


def main(module: str) -> None:
    """Run a probe; whatever libraries print goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    findings = import_module(module).examine()
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump([asdict(finding) for finding in findings], stream)


if __name__ == "__main__":
    main(sys.argv[1])
