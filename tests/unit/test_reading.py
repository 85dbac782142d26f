"""Damage and a file system that fails for a moment are told apart."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hpckit.base.reading import WatchedFile, files_below, is_there, parsed, read_below, read_json
from hpckit.errors import FileUnavailableError, RunError
from tests.faulty import PASSING


def damaged(_: Exception) -> RunError:
    return RunError("damaged")


def failing(number: int) -> type[WatchedFile]:
    class Failing(WatchedFile):
        def readall(self) -> bytes:
            self.fault = OSError(number, os.strerror(number))
            raise self.fault

    return Failing


@pytest.mark.parametrize("number", PASSING)
def test_a_read_that_fails_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "a.json"
    path.write_text("{}")
    monkeypatch.setattr("hpckit.base.reading.WatchedFile", failing(number))

    def parse(file: WatchedFile) -> bytes:
        try:
            return file.readall()
        except OSError as error:
            raise ValueError("what parsers make of it") from error

    with pytest.raises(FileUnavailableError, match=r"a\.json cannot be read at the moment") as caught:
        parsed(path, parse, damaged)
    assert caught.value.exit_code == 75


def test_content_that_is_bad_once_is_read_again(tmp_path: Path) -> None:
    path, readings = tmp_path / "a.json", list[int]()
    path.write_text('{"a": 1}')

    def parse(file: WatchedFile) -> dict[str, int]:
        readings.append(1)
        content = file.readall()[: None if len(readings) > 1 else 4]  # half a page of a network file system
        value: dict[str, int] = json.loads(content)
        return value

    assert parsed(path, parse, damaged) == {"a": 1}


@pytest.mark.parametrize("content", ["", "{", "[1]", "null", "\x00\xff", "[" * 100_000])
def test_damage_is_damage(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match="damaged"):
        read_json(path, damaged)


def test_absent_is_neither(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "a.json", damaged)
    assert not is_there(tmp_path / "a.json")
    assert files_below(tmp_path / "no folder", ".jsonl") == []


def test_a_folder_in_place_of_a_file_is_damage(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="damaged"):
        read_json(tmp_path, damaged)


def test_a_folder_that_cannot_be_listed_is_not_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "journal" / "000"
    folder.mkdir(parents=True)
    (folder / "1.jsonl").write_text("x\n")
    (folder / ".nfs0001.jsonl").write_text("kept by NFS\n")
    assert files_below(tmp_path, ".jsonl") == [folder / "1.jsonl"]
    real = os.scandir

    def scandir(path: str) -> object:
        if path == str(folder):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(FileUnavailableError, match="000"):
        files_below(tmp_path, ".jsonl")


def test_a_file_that_is_joined_with_others_meanwhile_is_read_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.jsonl").write_text("one\n")

    def opened(name: str, *arguments: Any, **options: Any) -> Any:
        """The first file is joined with others after it was listed."""
        if (tmp_path / "a").exists():
            (tmp_path / "a" / "1.jsonl").rename(tmp_path / "a.jsonl")
            (tmp_path / "a").rmdir()
        return open(name, *arguments, **options)  # noqa: PTH123

    monkeypatch.setattr("hpckit.base.reading.open", opened, raising=False)
    assert read_below(tmp_path, ".jsonl") == {str(tmp_path / "a.jsonl"): b"one\n"}
