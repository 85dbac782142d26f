"""A linter of definition files: what Apptainer would stumble over after minutes, and what is not reproducible.

Format: `definition_files` of Apptainer's user guide: a header of `Key: value` lines, then sections, `%post`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "debootstrap": ("OSVersion", "MirrorURL"),
    "docker": ("From",),
    "oras": ("From",),
    "library": ("From",),
    "localimage": ("From",),
    "scratch": (),
}
_SECTIONS: Final = frozenset(
    [
        "arguments",
        "setup",
        "files",
        "post",
        "environment",
        "runscript",
        "startscript",
        "test",
        "labels",
        "help",
        "pre",
        "appinstall",
        "appfiles",
        "apphelp",
        "apprun",
        "applabels",
        "appenv",
        "apptest",
        "appstart",
    ]
)
_LABELS: Final = (
    "org.opencontainers.image.version",
    "org.opencontainers.image.revision",
    "org.opencontainers.image.licenses",
    "org.hpckit.lock",
    "org.hpckit.mpi",
)


@dataclass(frozen=True, slots=True)
class LintFault:
    """What is wrong, and where."""

    line: int
    text: str


def lint(definition: str) -> list[LintFault]:
    """Faults of a definition file, by line; none if it is sound."""
    lines = definition.splitlines()
    faults = [*_headers(lines), *_sections(lines), *_pins(lines), *_host(lines), *_labels(lines)]
    return sorted(faults, key=lambda fault: fault.line)


def _headers(lines: Sequence[str]) -> Iterator[LintFault]:
    starts = [number for number, line in enumerate(lines, 1) if line.startswith("Bootstrap:")]
    if not starts:
        yield LintFault(1, "no Bootstrap: line")
    stages = []
    for start in starts:
        header = _header(lines, start)
        agent = header["Bootstrap"]
        if agent not in _KEYS:
            yield LintFault(start, f"unknown bootstrap agent {agent!r}")
            continue
        for key in _KEYS[agent]:
            if not header.get(key):
                yield LintFault(start, f"bootstrap {agent} needs {key}:")
        stages.append(header.get("Stage", ""))
    if len(starts) > 1 and (len(set(stages)) < len(stages) or "" in stages):
        yield LintFault(starts[0], "several stages need a Stage: name each")


def _header(lines: Sequence[str], start: int) -> dict[str, str]:
    found = {}
    for line in lines[start - 1 :]:
        match = re.match(r"([A-Za-z]+):\s*(.*)", line)
        if match is None:
            break
        found[match[1]] = match[2].strip()
    return found


def _sections(lines: Sequence[str]) -> Iterator[LintFault]:
    stages = {line.partition(":")[2].strip() for line in lines if line.startswith("Stage:")}
    for number, line in enumerate(lines, 1):
        match = re.match(r"%(\w+)(.*)", line)
        if match is None:
            continue
        name, rest = match[1], match[2].split()
        if name not in _SECTIONS:
            yield LintFault(number, f"unknown section %{name}")
        if name == "setup":
            yield LintFault(number, "%setup runs on the host, outside of the image")
        if name == "files" and rest[:1] == ["from"] and rest[1:2] and rest[1] not in stages:
            yield LintFault(number, f"there is no stage {rest[1]!r}")


def _pins(lines: Sequence[str]) -> Iterator[LintFault]:
    for number, line in enumerate(lines, 1):
        source = re.match(r"From:\s*(\S+)", line)
        remote = source is not None and lines[number - 2].strip() in ("Bootstrap: docker", "Bootstrap: oras")
        if remote and "@sha256:" not in line:
            yield LintFault(number, f"base {source[1] if source else ''} is not pinned: write NAME@sha256:…")
        if re.search(r"pip3? install", line) and not re.search(
            r"--require-hashes|--no-index", _joined(lines, number)
        ):
            yield LintFault(number, "pip installs what no lock file names: use --require-hashes")
        if re.search(r"\b(curl|wget)\b", line) and not line.lstrip().startswith("#"):
            yield LintFault(number, "fetches something that nothing pins")


def _host(lines: Sequence[str]) -> Iterator[LintFault]:
    """Apptainer mounts the host's /tmp, /var/tmp and home during %post and %test."""
    for number, line in enumerate(lines, 1):
        if re.search(r"\brm\b[^#;]*\s[\"']?(/tmp|/var/tmp|/root|/home|~|\$HOME)\b(?!-)", line):
            yield LintFault(
                number, "removes files of the host: /tmp, /var/tmp and the home folder are mounted in a build"
            )


def _joined(lines: Sequence[str], number: int) -> str:
    """A command with the lines that a backslash joins to it."""
    text = lines[number - 1]
    while text.endswith("\\") and number < len(lines):
        text = text[:-1] + lines[number]
        number += 1
    return text


def _labels(lines: Sequence[str]) -> Iterator[LintFault]:
    said = {line.split()[0] for line in lines if line.startswith("    ") and len(line.split()) > 1}
    for label in _LABELS:
        if label not in said:
            yield LintFault(len(lines), f"no label {label}")
