"""Lines and files on disks that are full, slow, cut off, or mounted over NFS."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from hpckit.base import files
from hpckit.base.files import append_line, atomic_open, flush_tree, remove_tree
from hpckit.cubes.manifest import Manifest, ShardRecord
from hpckit.errors import FileUnavailableError
from hpckit.runs.journal import Entry, Journal, compact, read_journal

REAL_WRITE = os.write


def entry(unit: str) -> Entry:
    return Entry(unit, "ingest", "done", "x", "2024-01-01T00:00:00+00:00", 1.0, "w")


@pytest.mark.parametrize("most", [1, 7, 60])
def test_short_writes_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    journal = Journal(tmp_path, "w")
    monkeypatch.setattr(os, "write", lambda descriptor, data: REAL_WRITE(descriptor, bytes(data)[:most]))
    for unit in "abc":
        journal.append(entry(unit))
    assert [item.unit for item in read_journal(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize("truncates", [True, False])
def test_a_full_disk_is_an_error_and_costs_no_other_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, truncates: bool
) -> None:
    journal = Journal(tmp_path, "w")
    journal.append(entry("a"))
    left = [20]

    def write(descriptor: int, data: bytes) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= (taken := min(left[0], len(data)))
        return REAL_WRITE(descriptor, bytes(data)[:taken])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write)
        if not truncates:
            patched.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error")))
        with pytest.raises(OSError, match="No space"):
            journal.append(entry("b"))
    assert (tmp_path / "journal" / "w.jsonl").read_bytes().endswith(b"\n") is truncates
    journal.append(entry("c"))
    journal.append(entry("d"))
    assert [item.unit for item in read_journal(tmp_path)] == ["a", "c", "d"]


def test_a_manifest_line_after_a_cut_one_counts(tmp_path: Path) -> None:
    record = ShardRecord("31UFU/r10m/B04/c/0/0/0", 10, "d", ("i",))
    Manifest.load(tmp_path).append([record], "w")
    path = tmp_path / ".manifest" / "31UFU" / "w.jsonl"
    path.write_bytes(path.read_bytes() + b'{"key": "31UFU/r10m')
    other = ShardRecord("31UFU/r10m/B04/c/0/0/1", 10, "d", ("i",))
    Manifest.load(tmp_path).append([other], "w")
    assert Manifest.load(tmp_path).records() == [record, other]


def test_folders_are_flushed_after_a_name_was_given_in_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[str, list[str]]] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed.append((path.name, sorted(item.name for item in path.iterdir()) if path.is_dir() else []))

    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_open(tmp_path / "new" / "deep" / "a.bin") as file:
        file.write(b"x")
    assert ("new", ["deep"]) in flushed
    assert flushed[-1] == ("deep", ["a.bin"])
    append_line(tmp_path / "new" / "lines", "one")
    assert flushed[-1] == ("new", ["deep", "lines"])
    count = len(flushed)
    append_line(tmp_path / "new" / "lines", "two")
    assert [name for name, _ in flushed[count:]] == ["lines"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EIO])
def test_folders_that_cannot_be_flushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().is_dir():
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            files.write_text(tmp_path / "a", "x")
    else:
        files.write_text(tmp_path / "a", "x")


def test_what_nfs_keeps_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS renames a removed file that somebody has open to .nfs…, and refuses to remove its folder."""
    folder = tmp_path / "journal" / "s0001-ingest-000"
    Journal(tmp_path, "s0001-ingest-000/1").append(entry("a"))
    kept = folder / ".nfs000000000001"
    kept.write_text("in use")
    real = os.unlink

    def unlink(path: str, **options: int | None) -> None:
        if str(path).startswith(".nfs") or path == str(kept):
            raise OSError(errno.EBUSY, "Device or resource busy")
        real(path, **options)

    monkeypatch.setattr(os, "unlink", unlink)
    for _ in range(2):
        compact(tmp_path)
        assert [item.unit for item in read_journal(tmp_path)] == ["a"]
    assert list(folder.iterdir()) == [kept]
    assert flush_tree(folder) == 0


def test_what_else_stays_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_text("x")

    def unlink(path: str, **_: int | None) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "unlink", unlink)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path / "a")


def test_a_journal_that_cannot_be_read_is_not_compacted_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        Journal(tmp_path, f"s0001-ingest-000/{number}").append(entry(str(number)))

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.endswith("/1.jsonl"):
            raise OSError(errno.EIO, "Input/output error")
        return open(name, *arguments, **options)  # noqa: PTH123

    with monkeypatch.context() as patched:
        patched.setattr("hpckit.base.reading.open", refuse, raising=False)
        for reader in (read_journal, compact):
            with pytest.raises(FileUnavailableError, match=r"1\.jsonl"):
                reader(tmp_path)
    assert [item.unit for item in read_journal(tmp_path)] == ["0", "1", "2"]
