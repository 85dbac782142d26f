"""Versions of packages: what hpckit and its dependencies say that they work with."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion

from hpckit.base.distribution import DISTRIBUTION
from hpckit.base.findings import Finding
from hpckit.base.quantities import format_count

_EXTRAS: Final = {
    "postgis": "results to PostgreSQL",
    "mpi": "MPI ranks",
    "serve": "`hpckit serve`",
    "search": "searching catalogues",
    "remote": "images on servers",
    "learn": "classification",
    "dask": "Dask workers",
    "ldap": "members from LDAP",
}
"""What each optional part is for."""


def examine() -> Iterator[Finding]:
    """Packages that are missing or of a version that does not fit, and optional parts."""
    try:
        wanted = [Requirement(text) for text in requires(DISTRIBUTION) or []]
    except PackageNotFoundError:
        yield Finding(
            "packages",
            None,
            f"{DISTRIBUTION} is not installed here; hpckit runs from its sources",
            "`pip install -e .` in the sources, so that versions are compared",
            needed=False,
        )
        return
    ours = [each for each in wanted if _applies(each)]
    wrong = list(_unsatisfied(DISTRIBUTION, ours))
    for name in sorted({each.name for each in ours}):
        wrong += _unsatisfied(name, _requirements_of(name), needed=False)
    yield from wrong
    if not wrong:
        yield Finding("packages", True, f"{format_count(len(ours), 'package')} and what they require fit together")
    yield _optional(wanted)


def _requirements_of(name: str) -> list[Requirement]:
    try:
        return [each for text in requires(name) or [] if _applies(each := Requirement(text))]
    except (PackageNotFoundError, InvalidRequirement):
        return []


def _applies(requirement: Requirement, extra: str = "") -> bool:
    environment = {**default_environment(), "extra": extra}
    return requirement.marker is None or requirement.marker.evaluate({str(k): str(v) for k, v in environment.items()})


def _unsatisfied(by: str, requirements: list[Requirement], *, needed: bool = True) -> Iterator[Finding]:
    for requirement in requirements:
        there = _version_of(requirement.name)
        if there is not None and _fits(requirement, there):
            continue
        says = f"{there or 'not installed'}; {by} needs {requirement.name}{requirement.specifier}"
        yield Finding(
            requirement.name, False, says, f"`pip install '{requirement.name}{requirement.specifier}'`", needed
        )


def _version_of(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _fits(requirement: Requirement, there: str) -> bool:
    try:
        return requirement.specifier.contains(there, prereleases=True)
    except InvalidVersion:
        return True


def _optional(wanted: list[Requirement]) -> Finding:
    def there(extra: str) -> bool:
        only = [each for each in wanted if not _applies(each) and _applies(each, extra)]
        return all((found := _version_of(each.name)) is not None and _fits(each, found) for each in only)

    missing = {extra: purpose for extra, purpose in _EXTRAS.items() if not there(extra)}
    if not missing:
        return Finding("optional parts", True, "all are installed", needed=False)
    says = "not installed: " + ", ".join(f"{extra} ({purpose})" for extra, purpose in missing.items())
    remedy = f"`pip install '{DISTRIBUTION}[{','.join(missing)}]'` adds them where they are needed"
    return Finding("optional parts", None, says, remedy, needed=False)
