"""openEO's own clients, in an environment of their own (`.cache/openeo`, made by tests/services.sh)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "tests" / "stac_schemas_offline.py"
PYTHON = ROOT / ".cache" / "openeo" / "bin" / "python"


def require_clients() -> None:
    """Skip where they are not installed."""
    if not PYTHON.exists():
        pytest.skip("openEO's clients are not installed (bash tests/services.sh openeo)")


def run_client(script: str, *arguments: Any, folder: Path, timeout: float = 600, **environment: str) -> str:
    """Run Python code in the environment of the clients; gives what it printed."""
    require_clients()
    file = folder / "client.py"
    file.write_text(script)
    done = subprocess.run(
        [str(PYTHON), str(file), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        cwd=folder,
        env=_environment(folder) | environment,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout


def start_client(script: str, *arguments: Any, folder: Path, **environment: str) -> subprocess.Popen[str]:
    """Start Python code in the environment of the clients; what it prints is to be read from its `stdout`."""
    require_clients()
    file = folder / "client.py"
    file.write_text(script)
    return subprocess.Popen(
        [str(PYTHON), "-u", str(file), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=_environment(folder) | environment,
    )


SOURCES = Path("../ref")
"""Copies of openEO's repositories: the package of the test suite lacks its payloads and the OpenAPI document."""


def run_suite(url: str, tests: str, *arguments: str, folder: Path, **environment: str) -> str:
    """Run a part of openEO's test suite against a server; gives its report."""
    require_clients()
    package, assets = SOURCES / "openeo-test-suite" / "src" / "openeo_test_suite", {}
    for name, source in (("openeo-api", "openeo-api"), ("processes", "openeo-processes")):
        assets[name] = SOURCES / source
        if not assets[name].is_dir() or not package.is_dir():
            pytest.skip(f"no copies of openEO's repositories openeo-test-suite and {source} in {SOURCES}")
    # The suite looks for its assets beside the folder `src` that it lies in.
    suite = folder / "suite"
    if not suite.exists():
        (suite / "assets").mkdir(parents=True)
        (suite / "src").mkdir()
        (suite / "src" / "openeo_test_suite").symlink_to(package.absolute())
        for name, path in assets.items():
            (suite / "assets" / name).symlink_to(path.absolute())
        (suite / SCHEMAS.name).symlink_to(SCHEMAS)
        plugins = ["openeo_test_suite.lib.pytest_plugin", SCHEMAS.stem]
        (suite / "conftest.py").write_text(f"pytest_plugins = {plugins}\n")
        (suite / "pytest.ini").write_text(
            "[pytest]\naddopts = --import-mode=importlib\nmarkers =\n  optional: x\n  longrunning: x\n  vv: x\n"
        )
    command = [str(PYTHON), "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", "-rfs"]
    done = subprocess.run(
        [*command, f"src/openeo_test_suite/tests/{tests}", f"--openeo-backend-url={url}/", *arguments],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        cwd=suite,
        env=_environment(folder) | {"PYTHONPATH": f"{suite / 'src'}:{suite}"} | environment,
    )
    return done.stdout + done.stderr


def _environment(folder: Path) -> dict[str, str]:
    """Without tokens of other tests, and without addresses of proxies."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    return kept | {"HOME": str(folder), "OPENEO_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")}
