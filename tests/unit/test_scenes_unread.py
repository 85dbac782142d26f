"""What the file system refuses just now during a scan: told, never taken for "nothing there", and never forgotten."""

from __future__ import annotations

import errno
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from hpckit.base.reading import WatchedFile
from hpckit.catalogue import catalogue
from hpckit.catalogue.catalogue import ScanReport
from hpckit.catalogue.discover import find_products
from hpckit.cli import cli
from hpckit.errors import FileUnavailableError
from tests.faulty import faulty, hpckit, needs_cc
from tests.products import write

pytestmark = pytest.mark.slow

SMALL = {"B04@10m": np.full((60, 60), 2000, np.uint16), "SCL@20m": np.full((30, 30), 4, np.uint8)}
PASSING = pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Four products: two in a folder each, one deeper, one in a zip file of an odd name."""
    folder = tmp_path / "archive"
    for number, place in enumerate(("a", "b", "b/deep")):
        write(folder / place, number, SMALL)
    product = write(tmp_path / "other", 3, SMALL)
    with zipfile.ZipFile(folder / "download (1).zip", "w") as packed:
        for path in sorted(product.rglob("*")):
            packed.write(path, path.relative_to(product.parent))
    return folder


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let reads and listings at a path fail."""

    def make(at: Path, number: int) -> None:
        real_open: Any = Path.open
        real_list: Any = os.scandir
        real_watched: Any = WatchedFile.__init__

        def judge(path: object) -> None:
            if Path(str(path)).is_relative_to(at):
                raise OSError(number, os.strerror(number), str(path))

        def opened(path: Path, *arguments: Any, **options: Any) -> Any:
            judge(path)
            return real_open(path, *arguments, **options)

        def listed(path: Any = ".") -> Any:
            judge(path)
            return real_list(path)

        def watched(file: WatchedFile, path: Any, *arguments: Any) -> None:
            judge(path)
            real_watched(file, path, *arguments)

        monkeypatch.setattr(Path, "open", opened)
        monkeypatch.setattr(os, "scandir", listed)
        monkeypatch.setattr(WatchedFile, "__init__", watched)

    return make


def scan(archive: Path, *options: str) -> Result:
    path = str(archive.parent / "c.parquet")
    return CliRunner().invoke(cli, ["scenes", "scan", str(archive), "-o", path, *options])


def listed(archive: Path) -> int:
    return len(catalogue.read(archive.parent / "c.parquet"))


def unread(report: ScanReport) -> list[Path]:
    return [failure.path for failure in report.unread]


PLACES = {"a": 3, "b": 2, "b/deep": 3, "download (1).zip": 3}
"""How many products can be read while a place cannot."""


@PASSING
@pytest.mark.parametrize("place", PLACES)
def test_an_incomplete_scan_writes_no_catalogue_unless_that_is_asked_for(
    archive: Path, refuse: Callable[..., None], place: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse(archive / place, number)
    report = catalogue.scan([archive])
    assert (len(report.scenes), unread(report), report.kept) == (PLACES[place], [archive / place], [])
    told = scan(archive)
    assert isinstance(told.exception, FileUnavailableError) and told.exception.exit_code == 75
    assert "c.parquet is not written: 1 folder or product cannot be read" in told.exception.message
    assert not (archive.parent / "c.parquet").exists()
    accepted = scan(archive, "--partial", "--json")
    said = json.loads(accepted.stdout)
    assert accepted.exit_code == 0 and (said["complete"], said["written"]) == (False, True)
    assert [(item["path"], item["temporary"]) for item in said["failures"]] == [(str(archive / place), True)]
    assert listed(archive) == PLACES[place]
    monkeypatch.undo()
    assert scan(archive).exit_code == 0 and listed(archive) == 4


@PASSING
@pytest.mark.parametrize("place", PLACES)
def test_what_a_catalogue_lists_at_a_place_that_cannot_be_seen_stays(
    archive: Path, refuse: Callable[..., None], place: str, number: int
) -> None:
    assert scan(archive).exit_code == 0
    before = (archive.parent / "c.parquet").read_bytes()
    gone = "b" if place == "a" else "a"
    shutil.rmtree(archive / gone)
    refuse(archive / place, number)
    assert scan(archive, "--json").exit_code == 1, "an error that the command line turns into 75"
    assert (archive.parent / "c.parquet").read_bytes() == before, "nothing is lost by a scan that saw half"
    left = {"a": 3, "b": 2}[gone]
    said = json.loads(scan(archive, "--partial", "--json").stdout)
    assert said["kept"] == 4 - PLACES[place] and listed(archive) == left, "what was seen to be gone is gone"


def test_a_scan_of_nothing_but_what_cannot_be_seen(archive: Path, refuse: Callable[..., None]) -> None:
    refuse(archive, errno.ESTALE)
    told = scan(archive, "--partial")
    assert isinstance(told.exception, FileUnavailableError)
    assert not (archive.parent / "c.parquet").exists()


def test_a_product_whose_metadata_cannot_be_read(archive: Path, refuse: Callable[..., None]) -> None:
    product = next((archive / "a").iterdir())
    refuse(product / "MTD_MSIL2A.xml", errno.EIO)
    report = catalogue.scan([archive])
    assert (len(report.scenes), unread(report)) == (3, [product])


@needs_cc
@pytest.mark.parametrize(("calls", "place"), [("read", "download"), ("scandir", "/b/deep"), ("read", "MTD_")])
def test_calls_that_fail_in_the_system_make_a_scan_incomplete(archive: Path, calls: str, place: str) -> None:
    """`zipfile` says "not a zip file" where a read fails, for example."""
    path = archive.parent / "c.parquet"
    told = hpckit("scenes", "scan", archive, "-o", path, "--json", env=faulty(calls, place, errno.EIO))
    assert told.returncode == 75 and not path.exists() and "cannot be read at the moment" in told.stderr
    assert all(item["temporary"] for item in json.loads(told.stdout)["failures"])


@pytest.mark.parametrize("size", [0, 100, -100])
def test_a_damaged_zip_file_of_any_name_is_told(archive: Path, size: int) -> None:
    odd = archive / "download (1).zip"
    odd.write_bytes(odd.read_bytes()[:size])
    report = catalogue.scan([archive])
    (failure,) = report.failures
    assert (failure.path, failure.passes) == (odd, False) and "damaged or truncated" in failure.reason
    assert scan(archive).exit_code == 0 and listed(archive) == 3


def test_other_zip_files_are_no_products(archive: Path) -> None:
    with zipfile.ZipFile(archive / "readme.zip", "w") as packed:
        packed.writestr("readme.txt", "nothing")
    assert not catalogue.scan([archive]).failures


def test_a_link_that_leads_nowhere_does_not_hide_its_neighbours(archive: Path) -> None:
    (archive / "loop").symlink_to("loop")
    (archive / "nowhere").symlink_to("missing")
    report = catalogue.scan([archive])
    assert (len(report.scenes), report.unread) == (4, [])


def test_folders_of_file_systems_are_not_entered(archive: Path, refuse: Callable[..., None]) -> None:
    (archive / "lost+found").mkdir()
    refuse(archive / "lost+found", errno.EACCES)
    assert not catalogue.scan([archive]).failures


def test_a_broken_product_does_not_pass(archive: Path) -> None:
    product = next((archive / "a").iterdir())
    (product / "MTD_MSIL2A.xml").write_text("<broken")
    report = catalogue.scan([archive])
    assert (len(report.failures), report.unread) == (1, [])
    told = scan(archive, "--json")
    assert told.exit_code == 0 and json.loads(told.stdout)["complete"]


def test_a_folder_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    told = scan(tmp_path / "missing")
    assert told.exit_code == 2 and "no such folder" in told.output


def test_a_folder_that_cannot_be_looked_at_is_not_missing(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Any = Path.stat

    def look(path: Path, **options: Any) -> Any:
        if path == archive:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return real(path, **options)

    monkeypatch.setattr(Path, "stat", look)
    with pytest.raises(FileUnavailableError):
        catalogue.scan([archive])
    assert isinstance(scan(archive).exception, FileUnavailableError)


def test_finding_alone_says_nothing(archive: Path) -> None:
    assert len(list(find_products([archive]))) == 4
