"""Which programs this machine has for building and running images, and what to do about those that are missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.base.account import login_name
from hpckit.base.quantities import format_bytes
from hpckit.errors import ImageError

_OLDEST: Final = {"apptainer": (1, 1), "singularity": (3, 10)}
"""Unprivileged builds without root's help, and `--mount`, begin here."""
_NEEDED_BYTES: Final = 6 * 2**30
"""Of a temporary folder: two unpacked stages, wheels and the image."""
_BAD_FILE_SYSTEMS: Final = ("lustre", "nfs", "gpfs", "beegfs", "ceph")
"""Unpacking there fails: no user namespaces, or no extended attributes."""


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that building or running needs."""

    name: str
    ok: bool
    says: str
    remedy: str = ""
    needed: bool = True
    """Without it there is no build; otherwise it is only slower, or less complete."""


def command_of(name: str = "apptainer") -> tuple[str, str, tuple[int, ...]]:
    """Path, program and version of Apptainer or Singularity.

    Raises
    ------
    ImageError
        If it is missing, does not start, or is too old.
    """
    found = shutil.which(name) or (shutil.which("singularity") if name == "apptainer" else None)
    if found is None:
        raise ImageError(
            f"{name} is not found",
            hint="load its module, or install it; images can also be built elsewhere and pushed: `hpckit image push`",
        )
    try:
        text = subprocess.run([found, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise ImageError(f"{found} does not start: {error}") from error
    match = re.search(r"(apptainer|singularity)\S* (?:version )?(\d+)\.(\d+)", text, re.IGNORECASE)
    if match is None:
        raise ImageError(f"{found} --version says {text.strip()!r}, which is neither Apptainer nor Singularity")
    program, version = match.group(1).lower(), (int(match.group(2)), int(match.group(3)))
    if version < _OLDEST[program]:
        oldest = ".".join(map(str, _OLDEST[program]))
        raise ImageError(
            f"{found} is {program} {version[0]}.{version[1]}, which is too old: {oldest} is the oldest that will do",
            hint="load a newer module, or build on another machine and push the image",
        )
    return found, program, version


def look_for_tools(command: str, *, debootstrap: bool, temporary: Path) -> list[Tool]:
    """What a build needs, and what there is."""
    tools = [_apptainer(command)]
    if debootstrap:
        there = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        tools.append(
            Tool("debootstrap", there is not None, there or "not found", "install it, or give another --base")
        )
    tools += [*_user_namespaces(), *_mapping(), *_squashfs(), _space(temporary), _place(temporary)]
    return tools


def require_tools(tools: list[Tool]) -> None:
    """Refuse where something that is needed is missing.

    Raises
    ------
    ImageError
        Names everything that is missing.
    """
    missing = [tool for tool in tools if tool.needed and not tool.ok]
    if missing:
        raise ImageError(
            "an image cannot be built here: " + "; ".join(f"{tool.name}: {tool.says}" for tool in missing),
            hint="; ".join(dict.fromkeys(tool.remedy for tool in missing)),
        )


def has_fuse() -> bool:
    """Whether images are mounted; where not, each run unpacks them to a temporary folder."""
    program = shutil.which("squashfuse_ll") or shutil.which("squashfuse")
    return program is not None and os.access("/dev/fuse", os.R_OK | os.W_OK)


def run(
    words: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, 124 if it comes to none in time.

    Raises
    ------
    ImageError
        If there is no such program.
    """
    try:
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"no end within {timeout_s:.0f} s")
    except OSError as error:
        raise ImageError(f"{words[0]}: {error}") from error


def last_line(done: subprocess.CompletedProcess[str]) -> str:
    """The last that a program said, errors before results; without colours."""
    # Launchers of MPI frame what they say by lines of dashes.
    lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip(" -")]
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[-1].strip())[:300] if lines else f"exit code {done.returncode}"


def _apptainer(command: str) -> Tool:
    try:
        found, program, version = command_of(command)
    except ImageError as error:
        return Tool("apptainer", False, str(error), error.hint or "")
    return Tool("apptainer", True, f"{program} {'.'.join(map(str, version))} ({found})")


def _user_namespaces() -> Iterator[Tool]:
    limit = _number(Path("/proc/sys/user/max_user_namespaces"))
    off = _number(Path("/proc/sys/kernel/unprivileged_userns_clone")) == 0
    if limit == 0 or off:
        remedy = "ask for kernel.unprivileged_userns_clone=1 and user.max_user_namespaces>0, or build elsewhere"
        yield Tool("user namespaces", False, "switched off on this machine", remedy)
    else:
        yield Tool("user namespaces", True, "allowed")


def _mapping() -> Iterator[Tool]:
    if os.geteuid() == 0:
        return
    user = login_name()
    remedy = f"ask for lines `{user}:100000:65536` in /etc/subuid and /etc/subgid, and for newuidmap (Debian: uidmap)"
    for name in ("subuid", "subgid"):
        there = _is_listed(Path("/etc") / name, user)
        # Without a mapping one user is root inside: enough for many builds, not for debootstrap's owners of files.
        yield Tool(name, there, "mapped" if there else f"no line for {user} in /etc/{name}", remedy)
    there = shutil.which("newuidmap") is not None and shutil.which("newgidmap") is not None
    yield Tool("newuidmap", there, "found" if there else "not found", remedy)


def _squashfs() -> Iterator[Tool]:
    there = shutil.which("mksquashfs", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None
    yield Tool("mksquashfs", there, "found" if there else "not found", "install squashfs-tools")
    fuse = has_fuse()
    yield Tool(
        "squashfuse",
        fuse,
        "found" if fuse else "not found, or /dev/fuse is closed to you: each run will unpack the image first",
        "install squashfuse, and open /dev/fuse",
        needed=False,
    )


def _space(folder: Path) -> Tool:
    free = shutil.disk_usage(folder).free
    says = f"{format_bytes(free)} free in {folder}"
    return Tool(
        "space", free >= _NEEDED_BYTES, says, f"set TMPDIR to a local disk with {format_bytes(_NEEDED_BYTES)}"
    )


def _place(folder: Path) -> Tool:
    from hpckit.sites.probe.here import parallel_file_systems, shared_kind

    kind = shared_kind(folder, parallel_file_systems(Path("/proc/mounts").read_text(errors="replace")))
    ok = kind not in _BAD_FILE_SYSTEMS
    return Tool("temporary folder", ok, f"{folder} ({kind or 'local'})", "set TMPDIR to a folder on a local disk")


def _is_listed(path: Path, user: str) -> bool:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    return any(line.split(":")[0] in (user, str(os.getuid())) for line in lines)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
