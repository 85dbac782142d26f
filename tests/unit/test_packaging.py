"""Recipes for conda, EasyBuild and Spack, and module files: version and requirements are those of the project."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from hpckit.base.version import __version__

ROOT = Path(__file__).parents[2]
PACKAGING = ROOT / "packaging"
_FILE = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = _FILE["project"]
BUILDING = {
    canonicalize_name(item.name): item.specifier for item in map(Requirement, _FILE["build-system"]["requires"])
}
NEEDED = {canonicalize_name(item.name): item.specifier for item in map(Requirement, PROJECT["dependencies"])}
CONDA_NAMES = {"matplotlib-base": "matplotlib"}
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
CHECKERS = _CACHE / "hpckit" / "tests" / "checkers-1" / "bin" / "python"
"""Made by tests/services.sh."""


def spelled(specifier: SpecifierSet) -> set[str]:
    return {str(part) for part in specifier}


def test_the_conda_recipe() -> None:
    text = re.sub(r"\$\{\{ version \}\}", __version__, (PACKAGING / "conda" / "recipe.yaml").read_text())
    recipe: dict[str, Any] = YAML(typ="safe").load(text)
    assert str(recipe["context"]["version"]) == __version__ == recipe["package"]["version"]
    found = {}
    for line in recipe["requirements"]["run"]:
        name, _, asked = line.partition(" ")
        found[CONDA_NAMES.get(name, name)] = spelled(SpecifierSet(asked))
    python = found.pop("python")
    assert python == spelled(SpecifierSet(PROJECT["requires-python"]))
    assert {canonicalize_name(name): asked for name, asked in found.items()} == {
        name: spelled(asked) for name, asked in NEEDED.items()
    }
    host = {
        name: spelled(SpecifierSet(asked))
        for name, _, asked in (line.partition(" ") for line in recipe["requirements"]["host"])
    }
    assert host == {"python": python, "pip": set()} | {name: spelled(asked) for name, asked in BUILDING.items()}
    assert recipe["about"]["license"] == PROJECT["license"] and (ROOT / recipe["about"]["license_file"]).is_file()
    script = next(iter(PROJECT["scripts"].items()))
    assert recipe["build"]["python"]["entry_points"] == [" = ".join(script)]


RENDER = """\
import json, sys, rattler_build
(variant,) = rattler_build.Stage0Recipe.from_file(sys.argv[1]).render()
print(json.dumps(variant.recipe.to_dict(), default=str))
"""


@pytest.mark.skipif(not CHECKERS.exists(), reason="rattler-build is not installed (bash tests/services.sh)")
def test_rattler_build_reads_the_conda_recipe(tmp_path: Path) -> None:
    def rendered(path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run([CHECKERS, "-c", RENDER, path], capture_output=True, text=True, check=False)

    path = PACKAGING / "conda" / "recipe.yaml"
    read = rendered(path)
    assert read.returncode == 0, read.stderr
    found = json.loads(read.stdout)
    assert found["package"] == {"name": "hpckit-eo", "version": __version__}
    assert found["build"]["noarch"] == "python" and len(found["requirements"]["run"]) == len(NEEDED) + 1
    assert (path.parent / found["source"][0]["path"]).resolve() == ROOT
    wrong = tmp_path / "recipe.yaml"
    wrong.write_text(path.read_text().replace("zarr >=3.0.8,<4", "zarr >=3.0.8,,<4x!"))
    assert "unable to parse version spec" in rendered(wrong).stderr


def calls_of(path: Path) -> list[tuple[str, list[str]]]:
    """Calls with constant arguments, of a recipe that is Python."""
    tree = ast.parse(path.read_text(), path.name)
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return [
        (call.func.id, [str(item.value) for item in call.args if isinstance(item, ast.Constant)])
        for call in calls
        if isinstance(call.func, ast.Name)
    ]


def test_the_spack_recipe() -> None:
    calls = calls_of(PACKAGING / "spack" / "package.py")
    assert [arguments for name, arguments in calls if name == "version"] == [[__version__]]
    asked = dict(arguments[0].split("@") for name, arguments in calls if name == "depends_on")
    text = (PACKAGING / "spack" / "package.py").read_text()
    for name, specifier in BUILDING.items():
        low = asked[f"py-{name}"].removesuffix(":")
        assert spelled(specifier) == {f">={low}"}
        assert re.search(rf'"py-{name}@{re.escape(low)}:", type=\(?"build"', text), name
    assert asked.pop("py-hatchling")
    assert asked.pop("python") == f"{PROJECT['requires-python'].removeprefix('>=')}:"
    for name, specifier in NEEDED.items():
        low, _, high = asked[f"py-{name}"].partition(":")
        assert f">={low}" in spelled(specifier), name
        # Spack's ranges include their end: 3 is the newest version 3.
        above = {part for part in spelled(specifier) if part.startswith("<")}
        assert above == ({f"<{int(high) + 1}"} if high else set()), name
    extras = {item for group in ("mpi", "postgis") for item in PROJECT["optional-dependencies"][group]}
    assert "mpi4py>=" + asked["py-mpi4py"].strip(":") in extras
    assert "psycopg2-binary>=" + asked["py-psycopg2"].strip(":") in extras


def test_the_easyconfig() -> None:
    (path,) = (PACKAGING / "easybuild").glob("*.eb")
    names = {"SOURCE_TAR_GZ": "", "VERSION_TAR_GZ": ""}
    exec(compile(path.read_text(), path.name, "exec"), {"__builtins__": {}}, names)
    config: dict[str, Any] = dict(names)
    chain = config["toolchain"]
    assert path.name == f"{config['name']}-{config['version']}-{chain['name']}-{chain['version']}.eb"
    assert (config["name"], config["version"]) == (PROJECT["name"], __version__)
    there = {name: version for name, version, *_ in config["exts_list"]}
    modules = dict(config["dependencies"])
    for line in re.findall(r"^    \(.*\),  # (.+)$", path.read_text(), re.MULTILINE):
        there |= dict(part.split(" ") for part in line.split(", "))
    known = {canonicalize_name(name): version for name, version in there.items()}
    for name, specifier in NEEDED.items():
        assert name in known, f"no module or extension has {name}"
        assert Version(known[name]) in specifier, f"{name} {known[name]} is not {specifier}"
    assert Version(modules["Python"]) in SpecifierSet(PROJECT["requires-python"])
    for name, version, *more in config["exts_list"]:
        digests = more[0].get("checksums", [])
        assert name == config["name"] or [len(digest) for digest in digests] == [64], (name, version)


def environment_of(command: list[str]) -> dict[str, str]:
    """Variables that a module file sets, as the program of the module system tells bash."""
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": os.defpath, "HOME": "/"})
    script = f"{told.stdout}\nenv -0"
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={"PATH": os.defpath})
    return dict(item.split("=", 1) for item in done.stdout.decode().split("\0") if "=" in item)


def expected(found: dict[str, str]) -> None:
    assert found["PATH"].split(":")[0] == f"/opt/hpckit/{release()}/bin"
    assert found["HPCKIT_KERNELS"] == f"/opt/hpckit/{release()}/share/hpckit/kernels"
    assert found["HPCKIT_SITES"] == "/opt/hpckit/sites"


def release() -> str:
    return Version(__version__).base_version


LMOD = Path("/usr/share/lmod/lmod/libexec/lmod")
TCL = next(
    (
        path
        for path in (
            Path(os.environ.get("HPCKIT_MODULECMD", "/nowhere")),
            Path("/usr/lib/x86_64-linux-gnu/modulecmd.tcl"),
            Path("/usr/share/modules/libexec/modulecmd.tcl"),
        )
        if path.is_file()
    ),
    None,
)


@pytest.mark.skipif(not LMOD.is_file(), reason="Lmod (Debian: lmod) is not installed")
def test_lmod_loads_its_module_file(tmp_path: Path) -> None:
    (tmp_path / "hpckit").mkdir()
    shutil.copy(PACKAGING / "modulefiles" / "hpckit.lua", tmp_path / "hpckit" / f"{release()}.lua")
    command = ["env", f"MODULEPATH={tmp_path}", str(LMOD), "bash", "load", "hpckit"]
    expected(environment_of(command))


@pytest.mark.skipif(TCL is None or shutil.which("tclsh") is None, reason="Environment Modules are not installed")
def test_environment_modules_load_their_module_file(tmp_path: Path) -> None:
    (tmp_path / "hpckit").mkdir()
    shutil.copy(PACKAGING / "modulefiles" / "hpckit.tcl", tmp_path / "hpckit" / release())
    command = ["env", f"MODULEPATH={tmp_path}", "tclsh", str(TCL), "bash", "load", "hpckit"]
    expected(environment_of(command))


@pytest.mark.parametrize("name", ["hpckit.lua", "hpckit.tcl"])
def test_module_files_name_this_release(name: str) -> None:
    text = (PACKAGING / "modulefiles" / name).read_text()
    assert re.search(rf'version (= )?"?{re.escape(release())}"?$', text, re.MULTILINE)
