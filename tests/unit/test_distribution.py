"""The package index has another project of this name; installed over this one, it is named at the start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hpckit.base.distribution import DISTRIBUTION, pip_install

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the package, as pip would install it."""
    shutil.copytree(PROJECT / "hpckit", tmp_path / "hpckit", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def version(folder: Path) -> subprocess.CompletedProcess[str]:
    """Start the command as its script does."""
    program = "import sys; from hpckit.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [sys.executable, "-c", program, "--version"],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )


def test_the_other_project_is_named_where_it_was_installed_over_this_one(installed: Path) -> None:
    alone = version(installed)
    assert (alone.stdout.startswith("hpckit, version"), alone.stderr) == (True, "")
    # What its wheel holds: an empty __init__, a __main__, and a module where this package has a folder.
    for name in ("__init__.py", "__main__.py", "cli.py"):
        (installed / "hpckit" / name).write_text("")
    beside = version(installed)
    assert beside.stdout == alone.stdout
    assert beside.stderr.startswith("hpckit: another project called hpckit is installed in the same folder")
    assert f"--no-deps {DISTRIBUTION}" in beside.stderr
    assert beside.stderr.count("\n") == 1


def test_programs_are_warned_too(installed: Path) -> None:
    (installed / "hpckit" / "cli.py").write_text("")
    program = "import hpckit; hpckit.open_campaign"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=installed, capture_output=True, text=True, check=True
    )
    assert "another project called hpckit" in done.stderr


def test_the_name_on_the_index_is_that_of_the_project_file() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["name"] == DISTRIBUTION
    assert project["scripts"] == {"hpckit": "hpckit.cli:main"}
    for extra in ("mpi", "dask", "ldap", "postgis"):
        assert extra in project["optional-dependencies"]
        assert pip_install(extra) == f"pip install '{DISTRIBUTION}[{extra}]'"


def test_no_text_tells_to_install_the_other_project() -> None:
    folders = [PROJECT / name for name in ("hpckit", "docs", "containers", "jobscripts", "site-configs")]
    texts = [
        path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".j2", ".yaml")
    ]
    wrong = [path for path in [*texts, PROJECT / "README.md"] if "hpckit[" in path.read_text().replace("-eo[", "")]
    assert [path for path in wrong if "install" in path.read_text()] == []
