"""Home folder and login name where containers and batch systems give none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpckit.base import account
from hpckit.errors import HpckitError
from hpckit.sites.places import site_files, user_folder

pytestmark = pytest.mark.slow

PICTURE = """
import logging, os
logging.basicConfig(level=logging.WARNING)
from hpckit.look.style import house_style, new_figure
with house_style():
    new_figure(2, 2).savefig("a.png")
print(os.environ.get("MPLCONFIGDIR", ""))
"""


def unlisted(*_: object) -> None:
    raise KeyError("uid not found")


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unlisted)


@pytest.mark.usefixtures("nobody")
def test_a_user_whom_no_list_knows() -> None:
    assert account.login_name() == str(os.getuid())
    assert account.listed_home() is None
    assert not account.home().exists()
    assert not user_folder().exists()
    assert site_files()
    for path in ("~", "~/a.gpkg", Path("~/a/b.yaml"), "~nobody-of-this-name/a"):
        with pytest.raises(HpckitError, match=r"^~.*home folder is not known"):
            account.expand(path)
    assert account.expand("a/~") == Path("a/~")


@pytest.mark.parametrize("named", ["", "relative"])
def test_a_home_that_is_no_path_is_that_of_the_list(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("HOME", named)
    assert account.home() == account.listed_home()
    assert account.expand("~/a") == account.home() / "a"


def test_paths_of_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert account.expand("~/a/b") == tmp_path / "a/b"
    assert account.folder("XDG_CACHE_HOME", ".cache") == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert account.folder("XDG_CACHE_HOME", ".cache") == Path("/c")


@pytest.mark.parametrize("usable", [True, False])
def test_pictures_without_a_home_that_can_be_written(tmp_path: Path, usable: bool) -> None:
    home = tmp_path / "home"
    home.mkdir() if usable else home.write_text("no folder")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    done = subprocess.run(
        [sys.executable, "-c", PICTURE], env={**kept, "HOME": str(home)}, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, "Matplotlib created" in done.stderr) == (0, False), done.stderr
    given = done.stdout.strip()
    assert bool(given) is not usable
    assert not given or not Path(given).exists()
