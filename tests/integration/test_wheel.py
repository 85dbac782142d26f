"""The wheel, outside the repository: what it contains, and commands of an environment that has it installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

from tests.wheels import ROOT, build_wheel

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_all_files_are_in_it(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("jobscripts", "containers", "site-configs"):
        ours = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
        assert {f"hpckit/{folder}/{name}" for name in ours} <= names
    data = {name.partition(".data/data/")[2] for name in names if ".data/data/" in name}
    assert {"share/man/man1/hpckit.1", "share/man/man1/hpckit-site-check.1"} <= data
    shells = {
        "bash-completion/completions/hpckit",
        "zsh/site-functions/_hpckit",
        "fish/vendor_completions.d/hpckit.fish",
    }
    assert {f"share/{name}" for name in shells} <= data
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests/")]


def test_its_metadata(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    told = message_from_bytes(archive.read(name))
    assert (told["Name"], told["Requires-Python"], told["License-Expression"]) == (
        "hpckit-eo",
        ">=3.11",
        "BSD-3-Clause",
    )
    versions = {f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)}
    assert versions <= set(told.get_all("Classifier") or [])
    assert told.get_all("Project-URL") and told["Summary"] and told["Description-Content-Type"] == "text/markdown"


def test_commands_of_an_environment_that_has_it(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python, home = environment / "bin" / "python", tmp_path / "home"
    home.mkdir()
    install = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    # Dependencies are those of this environment, after what the new one has itself.
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HPCKIT_SITES")}
    ours |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "PATH": f"{environment / 'bin'}:{os.environ['PATH']}"}

    def run(*words: str) -> str:
        done = subprocess.run(words, cwd=home, env=ours, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    where = run("python", "-c", "import hpckit; print(hpckit.__file__)")
    assert where.startswith(str(environment))
    assert "Production" in run("hpckit", "--help")
    assert "snellius" in run("hpckit", "site", "list")
    run("hpckit", "image", "def", "-o", "image")
    assert (home / "image" / "hpckit.def").exists() and (home / "image" / "requirements.lock").exists()
    run("hpckit", "demo", "--dates", "1", "demo")
    assert (home / "demo" / "demo.gpkg").exists() and (home / "demo" / "report.html").exists()
    assert str(environment) in run("hpckit", "doctor", "--timeout", "120")
