"""Manual pages: one for each command, without a complaint of the programs that show them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hpckit.cli import _COMMANDS, _HIDDEN, manual


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("man1")
    manual.write(made, 1_796_000_000)
    return made


def test_each_command_has_a_page_with_an_example_and_its_options(folder: Path) -> None:
    names = {path.stem for path in folder.iterdir()}
    shown = {name for section in _COMMANDS.values() for name in section}
    assert {"hpckit", "hpckit-site-check", *(f"hpckit-{name}" for name in shown)} <= names
    assert not names & {f"hpckit-{name}" for name in _HIDDEN}
    for path in folder.iterdir():
        text = path.read_text()
        has_commands = ".SH COMMANDS" in text
        assert (".SH EXAMPLES" in text or has_commands) and "\\-h" in text, path.name
        for other in re.findall(r"^\.BR (\S+) \(1\)", text, re.MULTILINE):
            assert other.replace("\\-", "-") in names | {"hpckit"}, f"{path.name} names {other}"
    series = (folder / "hpckit-series.1").read_text()
    assert '"2026-11-30"' in series and "hpckit series campaign.yaml \\-\\-zone 17" in series


def test_pages_are_the_same_again(folder: Path) -> None:
    assert manual.pages("2026-11-30") == {path.name: path.read_text() for path in folder.iterdir()}


def test_programs_have_no_complaint(folder: Path) -> None:
    pages = sorted(map(str, folder.iterdir()))
    if shutil.which("mandoc"):
        done = subprocess.run(["mandoc", "-Tlint", *pages], capture_output=True, text=True, check=False)
        assert done.stdout == ""
    if shutil.which("groff"):
        words = ["groff", "-man", "-ww", "-Tutf8", "-Kutf8", *pages]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert "hpckit-series" in done.stdout
