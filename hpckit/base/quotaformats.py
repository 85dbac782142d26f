"""What commands say of quotas: `lfs quota -q`, `mmlsquota -Y`, `quota -w -p -v` and `xfs_quota -c 'quota -N'`.

Sizes are in KiB in all of them, and a limit of 0 is none. Formats: lfs-quota(1) of Lustre, the description of
mmlsquota of IBM Storage Scale, quota(1), xfs_quota(8).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit on what somebody may store, and how much of it is used."""

    what: str
    """`user quota`, `group quota`, `project 42`, `fileset data`."""
    used_bytes: int
    soft_bytes: int | None
    hard_bytes: int | None
    """None where there is no limit."""
    used_files: int
    soft_files: int | None
    hard_files: int | None

    @property
    def limit_bytes(self) -> int | None:
        """The hard limit, or the soft one where that is all there is; None if there is no limit."""
        return self.soft_bytes if self.hard_bytes is None else self.hard_bytes

    @property
    def limit_files(self) -> int | None:
        """The same of files."""
        return self.soft_files if self.hard_files is None else self.hard_files

    @property
    def free_bytes(self) -> int | None:
        """Bytes up to the limit; None if there is none."""
        return None if self.limit_bytes is None else max(0, self.limit_bytes - self.used_bytes)

    @property
    def free_files(self) -> int | None:
        """Files up to the limit; None if there is none."""
        return None if self.limit_files is None else max(0, self.limit_files - self.used_files)

    def is_over_soft(self, more_bytes: int = 0, more_files: int = 0) -> bool:
        """Whether so much more would lie beyond a soft limit, which holds for some days only."""
        return (self.soft_bytes is not None and self.used_bytes + more_bytes > self.soft_bytes) or (
            self.soft_files is not None and self.used_files + more_files > self.soft_files
        )


def read_lfs(text: str, what: str) -> Quota:
    """Quota of `lfs quota -q`: the eight numbers after the file system's name, which may be on a line of its own.

    Raises
    ------
    ValueError
        If they are not there; if a server of the file system did not answer, so that usage is a guess (numbers in
        brackets); or if the limit is a default one, which this command does not show.
    """
    rows, _, rest = text.partition("is using default")
    lines = [line for line in rows.splitlines() if not line.startswith(("pid ", "uid ", "gid "))]
    words = " ".join(lines).split()
    if len(words) < 9:
        raise ValueError("no numbers in the answer")
    if any(word.startswith("[") for word in words[1:9]):
        raise ValueError("a server of the file system does not answer, so the usage is not known")
    found = _quota(what, words[1:4], words[5:8])
    if rest and found.hard_bytes is None and found.soft_bytes is None:
        raise ValueError("a default quota applies, whose size is not shown")
    return found


def read_mmlsquota(text: str, device: str, fileset: str | None) -> list[Quota]:
    """Quotas of `mmlsquota -Y`: fields between colons, named by the row HEADER, with special characters as `%3A`.

    Raises
    ------
    ValueError
        If there is no HEADER with these fields.
    """
    names: list[str] = []
    found = []
    for line in text.splitlines():
        fields = [unquote(field) for field in line.split(":")]
        if len(fields) > 2 and fields[2] == "HEADER":
            names = fields
        elif names and fields[0] == names[0]:
            row = dict(zip(names, fields, strict=False))
            of = row.get("filesetname", "")
            if row["filesystemName"] == device and (row["quotaType"] == "FILESET" or of in ("", fileset or of)):
                found.append(_gpfs(row))
    if not {"quotaType", "blockUsage", "blockLimit", "filesLimit"} <= set(names):
        raise ValueError("no HEADER with the fields of quotas")
    return found


def _gpfs(row: dict[str, str]) -> Quota:
    name, kind = row.get("name", ""), row["quotaType"]
    whose = {"USR": "user quota", "GRP": f"quota of group {name}", "FILESET": f"quota of fileset {name}"}
    # What is in doubt may be in use: the limit holds for the sum.
    sizes, counts = (
        [
            str(int(row[f"{of}Usage"]) + int(row.get(f"{of}InDoubt") or 0)),
            row.get(f"{of}Quota") or "0",
            row[f"{of}Limit"],
        ]
        for of in ("block", "files")
    )
    return _quota(whose.get(kind, kind), sizes, counts)


def read_quota(text: str) -> list[Quota]:
    """Quotas of `quota -w -p -v`: a title for each user, group or project, then a row for each file system.

    Raises
    ------
    ValueError
        If a row has other columns.
    """
    return list(_rows_of_quota(text))


def _rows_of_quota(text: str) -> Iterator[Quota]:
    what = "quota"
    for line in text.splitlines():
        title = re.match(r"Disk quotas for (user|group|project) (\S+)", line)
        if title is not None:
            what = "user quota" if title[1] == "user" else f"quota of {title[1]} {title[2]}"
        words = line.split()
        if title is not None or not words or words[0] == "Filesystem":
            continue
        if len(words) != 9:
            raise ValueError("rows of other columns")
        yield _quota(what, words[1:4], words[5:8])


def read_xfs(blocks: str, files: str, what: str) -> Quota:
    """Quota of `xfs_quota -c 'quota -N -n -b …'` and the same with `-i`: device, usage, soft and hard limit.

    Raises
    ------
    ValueError
        If they are not there.
    """
    words = [text.split() for text in (blocks, files)]
    if any(len(row) < 4 for row in words):
        raise ValueError("no numbers in the answer")
    return _quota(what, words[0][1:4], words[1][1:4])


def _quota(what: str, sizes: list[str], counts: list[str]) -> Quota:
    # A star marks what is beyond the soft limit.
    nbytes, files = ([int(word.rstrip("*")) for word in words] for words in (sizes, counts))
    return Quota(
        what,
        nbytes[0] * _KIB,
        nbytes[1] * _KIB or None,
        nbytes[2] * _KIB or None,
        files[0],
        files[1] or None,
        files[2] or None,
    )
