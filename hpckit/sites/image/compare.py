"""Do two images hold the same, and if not, why? Every difference is found, and put down to a cause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.sites.image.contents import (
    Contents,
    ImageEntry,
    count_entries,
    definition_of,
    read_contents,
    system_digest,
)

Kind = Literal["only in the first", "only in the second", "content", "kind", "mode", "owner", "time"]

_PLACES: Final = (
    (r"\.singularity\.d/", "definition, labels and scripts of Apptainer"),
    (r"(var/log|var/cache|tmp|var/tmp|run)/|.*/__pycache__/", "caches and logs"),
    (r"var/lib/(dpkg|apt)/|opt/hpckit/debian-packages\.txt", "Debian's lists of packages"),
    (r"etc/(hostname|hosts|resolv\.conf|machine-id|localtime|timezone)$", "settings of the machine that built"),
    (r"etc/(passwd|group|g?shadow|subuid|subgid)-?$", "users and groups that packages made"),
    (r"etc/(ssl|alternatives|ld\.so\.cache|rc.\.d)", "what packages wrote when they were set up"),
    (r".*\.dist-info/", "records of pip"),
    (r"opt/hpckit/share/hpckit/kernels/", "machine code of kernels"),
)
"""Causes of files that no package lists."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is not the same in both."""

    path: str
    kind: Kind
    cause: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """What two images have in common."""

    same_bytes: bool
    """The file systems are the same, to the byte."""
    files: int
    """Files, folders, links and devices of both together."""
    differences: tuple[Difference, ...]
    labels: tuple[str, ...]
    """Labels and packages whose values differ: `name: first -> second`."""
    definition: bool
    """Whether both were built from the same definition file."""

    @property
    def same(self) -> bool:
        """Whether programs find the same in both; times do not count."""
        return not any(difference.kind != "time" for difference in self.differences)

    @property
    def causes(self) -> Mapping[str, list[Difference]]:
        """Differences by cause, without those of times; the most frequent cause first."""
        found: dict[str, list[Difference]] = {}
        for difference in self.differences:
            if difference.kind != "time":
                found.setdefault(difference.cause, []).append(difference)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))

    @property
    def times(self) -> int:
        """How many files differ by their times alone."""
        return sum(difference.kind == "time" for difference in self.differences)

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "same": self.same,
            "same_bytes": self.same_bytes,
            "same_definition": self.definition,
            "files": self.files,
            "times_only": self.times,
            "values": list(self.labels),
            "causes": {
                cause: [{"path": item.path, "kind": item.kind} for item in found]
                for cause, found in self.causes.items()
            },
        }


def compare_images(first: Path, second: Path) -> Comparison:
    """Compare two images by what is in them.

    Raises
    ------
    ImageError
        If one is no whole image, or cannot be unpacked here.
    """
    if system_digest(first) == system_digest(second):
        return Comparison(True, count_entries(first), (), (), definition_of(first) == definition_of(second))
    return compare(read_contents(first), read_contents(second))


def compare(first: Contents, second: Contents) -> Comparison:
    """Compare the contents of two images, file by file."""
    paths = sorted(first.entries.keys() | second.entries.keys())
    differences = []
    for path in paths:
        kind = _kind(first.entries.get(path), second.entries.get(path))
        if kind is not None:
            differences.append(Difference(path, kind, _cause(path, first, second)))
    labels = (*_values("label", first.labels, second.labels), *_packages(first, second))
    return Comparison(False, len(paths), tuple(differences), labels, first.definition == second.definition)


def _kind(first: ImageEntry | None, second: ImageEntry | None) -> Kind | None:
    if first is None or second is None:
        return "only in the second" if first is None else "only in the first"
    if first.mode[0] != second.mode[0]:
        return "kind"
    if first.content != second.content:
        return "content"
    if first.mode != second.mode:
        return "mode"
    if first.owner != second.owner:
        return "owner"
    return "time" if first.time != second.time else None


def _cause(path: str, first: Contents, second: Contents) -> str:
    origin = first.origin(path) or second.origin(path)
    if origin:
        kind, _, name = origin.partition(" ")
        versions = [(image.debian if kind == "debian" else image.python).get(name) for image in (first, second)]
        system = {"debian": "Debian's", "python": "Python's"}[kind]
        if versions[0] == versions[1]:
            return f"{system} {name}, {versions[0]} in both"
        return f"{system} {name}, {versions[0] or 'none'} -> {versions[1] or 'none'}"
    return next((cause for pattern, cause in _PLACES if re.match(pattern, path)), "not explained")


def _packages(first: Contents, second: Contents) -> Iterator[str]:
    yield from _values("Debian's", first.debian, second.debian)
    yield from _values("Python's", first.python, second.python)


def _values(what: str, first: Mapping[str, str], second: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(first.keys() | second.keys()):
        if first.get(name) != second.get(name):
            yield f"{what} {name}: {first.get(name, 'none')} -> {second.get(name, 'none')}"
