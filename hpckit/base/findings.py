"""What a test of a cluster, a login or an image found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One question, its answer, and what to do about a no."""

    what: str
    ok: bool | None
    """None if this is unknown, not testable, or for information only."""
    says: str
    remedy: str = ""
    needed: bool = True
    """Whether nothing works without it."""


def failed(findings: Iterable[Finding]) -> bool:
    """Whether something that is needed is missing."""
    return any(finding.needed and finding.ok is False for finding in findings)
