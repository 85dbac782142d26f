"""Quotas of the file system that a folder lies on, asked of the programs that the cluster has.

What the kernel itself answers (`statvfs`) is bounded already by project quotas of XFS and ext4 and by quotas of Ceph.
Quotas of users and groups, and those of Lustre, GPFS and NFS servers are not in it. A program that does not answer
within seconds is given up, and what it would have said is unknown, which is never "enough".
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpckit.base.disks import existing
from hpckit.base.mounts import Mount, mount_of
from hpckit.base.processes import abandon
from hpckit.base.quotaformats import Quota, read_lfs, read_mmlsquota, read_quota, read_xfs

_PATIENCE_S: Final = 5.0
_GPFS: Final = "/usr/lpp/mmfs/bin"
"""Where GPFS puts its programs, which is in few people's PATH."""
_PLACES: Final = ("/usr/sbin", "/sbin", _GPFS)
_LOCAL: Final = ("xfs", "ext4")
_WITH_QUOTA: Final = ("quota", "usrquota", "grpquota", "uquota", "gquota", "usrjquota", "grpjquota")
"""Mount options of local file systems that count."""

Ask = Callable[[Sequence[str]], str]
"""Runs a command and returns what it prints; raises `UnknownError`."""


class UnknownError(Exception):
    """A command does not say what was asked; the reason in a few words."""


@dataclass(frozen=True, slots=True)
class Headroom:
    """What quotas leave in a folder."""

    folder: Path
    quotas: tuple[Quota, ...] = ()
    unknown: tuple[str, ...] = ()
    """Quotas that may exist and could not be read, and why."""

    def tightest_bytes(self) -> Quota | None:
        """The quota that leaves the fewest bytes; None if none is limited."""
        limited = (quota for quota in self.quotas if quota.free_bytes is not None)
        return min(limited, key=lambda quota: quota.free_bytes or 0, default=None)

    def tightest_files(self) -> Quota | None:
        """The quota that leaves the fewest files; None if none is limited."""
        limited = (quota for quota in self.quotas if quota.free_files is not None)
        return min(limited, key=lambda quota: quota.free_files or 0, default=None)


def headroom(folder: Path, *, patience_s: float = _PATIENCE_S, mounts: Path = Path("/proc/self/mounts")) -> Headroom:
    """Read the quotas that bound what this person can write in a folder.

    Parameters
    ----------
    folder : Path
        It need not exist yet.
    patience_s : float
        Seconds that each command may take.
    mounts : Path
        The kernel's list of mounts.
    """
    place = existing(folder.absolute())
    mount = mount_of(place, mounts)
    if mount is None:
        return Headroom(folder)
    quotas: list[Quota] = []
    unknown: list[str] = []
    for look in _looks(place, mount, lambda words: ask(words, patience_s)):
        try:
            quotas += look()
        except UnknownError as error:
            unknown.append(str(error))
        except (ValueError, KeyError, IndexError) as error:
            unknown.append(f"the answer is not understood: {error}")
    return Headroom(folder, tuple(quotas), tuple(dict.fromkeys(unknown)))


def _looks(folder: Path, mount: Mount, run: Ask) -> Iterator[Callable[[], list[Quota]]]:
    """Questions to ask, each by itself: one that fails takes no other down."""
    group = str(folder.stat().st_gid)
    user = str(os.getuid())
    if mount.kind == "lustre":
        yield lambda: [read_lfs(run(["lfs", "quota", "-q", "-u", user, mount.folder]), "user quota")]
        yield lambda: [read_lfs(run(["lfs", "quota", "-q", "-g", group, mount.folder]), f"quota of group {group}")]
        yield lambda: _lustre_project(folder, mount, run)
    elif mount.kind == "gpfs":
        yield lambda: _gpfs(folder, mount, run, group)
    elif mount.kind.startswith("nfs"):
        yield lambda: _linux(mount, run, "-u")
        yield lambda: _linux(mount, run, "-g")
    elif mount.kind in _LOCAL and any(option.partition("=")[0] in _WITH_QUOTA for option in mount.options):
        yield lambda: _local(folder, mount, run)


def _lustre_project(folder: Path, mount: Mount, run: Ask) -> list[Quota]:
    number = run(["lfs", "project", "-d", str(folder)]).split()[0]
    if number == "0":
        return []
    return [read_lfs(run(["lfs", "quota", "-q", "-p", number, mount.folder]), f"project {number}")]


def _gpfs(folder: Path, mount: Mount, run: Ask, group: str) -> list[Quota]:
    device = mount.source.rpartition("/")[2]
    told = run(["mmlsattr", "-L", str(folder)])
    fileset = next((line.partition(":")[2].strip() for line in told.splitlines() if "fileset name" in line), None)
    found = []
    questions = [["-v"], ["-v", "-g", group], *([["-v", "-j", fileset]] if fileset else [])]
    for words in questions:
        found += read_mmlsquota(run(["mmlsquota", "-Y", *words, device]), device, fileset)
    return found


def _local(folder: Path, mount: Mount, run: Ask) -> list[Quota]:
    """Quotas of users and groups by `quota`; by `xfs_quota` where there is no other program."""
    if _found("quota") is None and mount.kind == "xfs" and _found("xfs_quota") is not None:
        group = folder.stat().st_gid
        return [
            _xfs(mount, run, f"-u {os.getuid()}", "user quota"),
            _xfs(mount, run, f"-g {group}", f"quota of group {group}"),
        ]
    return [*_linux(mount, run, "-u"), *_linux(mount, run, "-g")]


def _linux(mount: Mount, run: Ask, of: str) -> list[Quota]:
    try:
        return read_quota(run(["quota", "-w", "-p", "-v", "-f", mount.folder, of]))
    except UnknownError as error:
        if "no quota enabled" in str(error):  # this is an answer
            return []
        raise


def _xfs(mount: Mount, run: Ask, of: str, what: str) -> Quota:
    blocks, files = (run(["xfs_quota", "-c", f"quota -N -n {kind} {of}", mount.folder]) for kind in ("-b", "-i"))
    return read_xfs(blocks, files, what)


def ask(words: Sequence[str], patience_s: float = _PATIENCE_S) -> str:
    """Run a command for some seconds at most.

    Raises
    ------
    UnknownError
        If it is not installed, fails, or does not answer in time.
    """
    program = _found(words[0])
    if program is None:
        raise UnknownError(f"`{words[0]}` is not installed here")
    process = subprocess.Popen(
        [program, *words[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=patience_s)
    except subprocess.TimeoutExpired:
        abandon(process)
        raise UnknownError(f"`{words[0]}` did not answer within {patience_s:g} s") from None
    # `quota` ends with 1 where a limit is exceeded, and says so on its standard output.
    if process.returncode != 0 and not (words[0] == "quota" and out.strip() and not err.strip()):
        said = (err.strip() or out.strip()).splitlines()
        raise UnknownError(f"`{words[0]}` failed: {said[0] if said else f'exit code {process.returncode}'}")
    return out


def _found(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_PLACES]))
