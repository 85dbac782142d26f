"""The smallest real image for user code: the Python that runs the tests with numpy, pandas and xarray, a squashfs.

It takes seconds and no network; Apptainer mounts it like any other image.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PACKAGES: Final = ("numpy", "pandas", "xarray", "packaging", "python-dateutil", "six", "tzdata")
_LEFT_OUT: Final = shutil.ignore_patterns(
    "site-packages",
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "ensurepip",
    "config-*",
    "*.a",
    "turtledemo",
    "lib2to3",
)


def make(image: Path) -> Path:
    """Make the image, unless there is one of this Python and these packages already."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES if _is_there(name)]
    wanted = "\n".join([sys.version, *versions])
    image.parent.mkdir(parents=True, exist_ok=True)
    with image.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests of other processes may want it too
        return _made(image, wanted)


def _made(image: Path, wanted: str) -> Path:
    note = image.with_suffix(".txt")
    if image.exists() and note.exists() and note.read_text() == wanted:
        return image
    root = image.with_suffix(".root")
    shutil.rmtree(root, ignore_errors=True)
    _fill(root)
    subprocess.run(
        ["mksquashfs", root, image, "-noappend", "-quiet", "-no-progress", "-all-root", "-Xcompression-level", "1"],
        check=True,
    )
    shutil.rmtree(root)
    image.chmod(0o644)
    note.write_text(wanted)
    return image


def _fill(root: Path) -> None:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    program = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    (root / "usr/bin").mkdir(parents=True)
    shutil.copy(program, root / "usr/bin" / version)
    (root / "usr/bin/python3").symlink_to(version)
    library = root / "usr/lib" / version
    shutil.copytree(sysconfig.get_path("stdlib"), library, ignore=_LEFT_OUT, symlinks=False)
    site = library / "site-packages"
    site.mkdir()
    for name in filter(_is_there, PACKAGES):
        _copy_package(name, site)
    for folder in ("bin", "etc", "tmp", "var/tmp", "proc", "sys", "dev", "home", "root", "mnt", "opt"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    shutil.copy("/bin/sh", root / "bin/sh")
    for path in set(_libraries(root)):
        target = root / path.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    # Without, each start compiles all that it imports: the image is read-only.
    words = [sys.executable, "-m", "compileall", "-q", "-j", "2", "-s", str(root), str(library)]
    subprocess.run(words, check=False)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    for folder in (root, *(path for path in root.rglob("*") if path.is_dir())):
        folder.chmod(0o755)


def _copy_package(name: str, site: Path) -> None:
    found = importlib.metadata.distribution(name)
    for file in found.files or []:
        if file.parts[0] == ".." or "__pycache__" in file.parts or "tests" in file.parts:
            continue
        target = site.joinpath(*file.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(str(file.locate()), target)


def _libraries(root: Path) -> Iterator[Path]:
    """Shared libraries of the system that programs and extensions load."""
    binaries = [root / "bin/sh", *(root / "usr/bin").glob("python3.*"), *root.rglob("*.so"), *root.rglob("*.so.*")]
    for start in range(0, len(binaries), 100):
        words = ["ldd", *map(str, binaries[start : start + 100])]
        said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        for path in re.findall(r"(/[^\s:()]+) \(0x", said):
            if not path.startswith(str(root)):
                yield Path(path)


def _is_there(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
