"""Building an image: a folder with all that goes in, a build as an ordinary user, one rename at the end."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Literal

from hpckit.base import account
from hpckit.base.console import Console
from hpckit.base.distribution import DISTRIBUTION
from hpckit.base.files import PARTIAL, digest, write_text
from hpckit.base.version import __version__
from hpckit.errors import ImageError
from hpckit.sites.image import source
from hpckit.sites.image.compare import Comparison, compare_images
from hpckit.sites.image.recipe import Recipe
from hpckit.sites.image.sif import read_header
from hpckit.sites.image.tools import command_of, look_for_tools, require_tools

_PLATFORMS: Final = (
    *(f"manylinux_2_{minor}_x86_64" for minor in (36, 34, 31, 28, 27, 26, 24, 17, 12, 5)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "any",
)
"""Wheels that run on Debian bookworm (glibc 2.36)."""
_STEPS: Final = (
    (r"Retrieving Release|I: Retrieving", "packages"),
    (r"I: Configuring", "packages"),
    (r"Running post scriptlet", "installing"),
    (r"Copying files from|Copying .* to", "copying"),
    (r"Adding (labels|environment|runscript|testscript|help)", "writing"),
    (r"Running testscript", "testing"),
    (r"Creating SIF file", "packing"),
)
_EMPTIED: Final = """
%post
    # Folders of users that only this build has: nobody else could remove them.
    rm -rf /var/cache/apt/archives /var/lib/apt/lists
"""
Compression = Literal["gzip", "zstd"]
_LAST_LINES: Final = 25


@dataclass(frozen=True, slots=True)
class Built:
    """An image, and whether it had to be built."""

    path: Path
    reused: bool
    size: int
    log: Path
    against: Comparison | None = None
    """With the image that was there before, if it was made of the same."""


def write_context(recipe: Recipe, folder: Path, console: Console) -> str:
    """Write definition, lock file and wheels to a folder; return the digest of all of it.

    Raises
    ------
    ImageError
        If packages cannot be had, or are not those of the lock file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "wheels").mkdir(exist_ok=True)
    definition = recipe.definition()
    write_text(folder / "hpckit.def", definition)
    shutil.copyfile(recipe.lock, folder / "requirements.lock")
    with console.progress("wheels"):
        locked = _locked_wheels(recipe)
        for wheel in locked:
            _place(wheel, folder / "wheels" / wheel.name)
        own = _own_wheel(folder)
    known = {path.name for path in locked} | {own.name}
    for path in (folder / "wheels").iterdir():
        if path.name not in known:
            path.unlink()
    return digest((definition + digest(recipe.lock.read_bytes()) + digest(own.read_bytes())).encode())


def build(
    recipe: Recipe,
    target: Path,
    console: Console,
    *,
    command: str = "apptainer",
    compression: Compression = "gzip",
    force: bool = False,
    with_test: bool = True,
) -> Built:
    """Build an image, unless there is one that was made of the same.

    Parameters
    ----------
    target : Path
        SIF file; it appears when the image is whole.
    compression : {"gzip", "zstd"}
        With zstd imports take two thirds of the time, where the site's kernel or squashfuse can read it.

    Raises
    ------
    ImageError
        If a tool is missing or the build fails; nothing is left under the final name then.
    """
    temporary = Path(os.environ.get("APPTAINER_TMPDIR") or tempfile.gettempdir())
    tools = look_for_tools(command, debootstrap=recipe.base == "debian", temporary=temporary)
    require_tools(tools)
    for tool in tools:
        if not tool.ok:
            console.warn(f"{tool.name}: {tool.says}; {tool.remedy}")
    folder = cache_folder() / f"context-{digest(recipe.definition().encode())[:12]}"
    inputs = f"{write_context(recipe, folder, console)} {compression}"
    mark, log = target.with_name(f".{target.name}.inputs"), target.with_suffix(".build.log")
    made_of_the_same = target.exists() and mark.exists() and mark.read_text().strip() == inputs
    if made_of_the_same and not force:
        return Built(target, True, target.stat().st_size, log)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.with_name(f".{target.stem}{PARTIAL}.sif")
    try:
        with _own_folder(temporary) as aside:
            options = [*_packing(command_of(command)[0], compression), *([] if with_test else ["--notest"])]
            log.unlink(missing_ok=True)
            definition = _definition(recipe, folder, aside, partial(_run_build, command, aside, log, console))
            _run_build(command, aside, log, console, [*options, str(made), definition])
        read_header(made)
        against = _compare(target, made, console) if made_of_the_same else None
        made.replace(target)
    finally:
        made.unlink(missing_ok=True)
    write_text(mark, inputs + "\n")
    return Built(target, False, target.stat().st_size, log, against)


def cache_folder() -> Path:
    """Wheels and build folders."""
    return account.folder("XDG_CACHE_HOME", ".cache") / "hpckit" / "images"


def _compare(before: Path, after: Path, console: Console) -> Comparison | None:
    """What two builds of the same inputs have in common; if this is unknown, the new build is kept."""
    try:
        return compare_images(before, after)
    except ImageError as error:
        console.warn(f"not compared with the image that was there: {error}")
        return None


@contextmanager
def _own_folder(temporary: Path) -> Iterator[Path]:
    """A temporary folder for one build: Apptainer leaves things behind, gigabytes of them if it is killed."""
    with tempfile.TemporaryDirectory(dir=temporary, prefix="hpckit-build-", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            # Apptainer refuses root on many machines: what root calls then hands over to an ordinary user.
            Path(name).chmod(0o1777)
        yield Path(name)


def _definition(recipe: Recipe, context: Path, folder: Path, run: Callable[[Sequence[str]], None]) -> str:
    """Lay out what a build reads in its own folder; return the name of the definition file.

    Debian is set up once, by a call of its own: after debootstrap, Apptainer keeps a core busy until the call ends,
    for each stage that began with it (a loop that watches for a file, and does not end; seen in 1.4).
    """
    for name in ("hpckit.def", "requirements.lock", "wheels"):
        (folder / name).symlink_to(context / name)
    if recipe.base != "debian":
        return "hpckit.def"
    (folder / "debian.def").write_text(recipe.debian() + _EMPTIED)
    run(["--sandbox", "--notest", "debian", "debian.def"])
    (folder / "image.def").write_text(recipe.definition(root="debian"))
    return "image.def"


def _run_build(command: str, folder: Path, log: Path, console: Console, options: Sequence[str]) -> None:
    found, _, _ = command_of(command)
    words = [found, "build", "--force", "--fakeroot", *options]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source.epoch()), "APPTAINER_REPRODUCIBLE": "1"}
    environment["PATH"] += ":/usr/sbin:/sbin"
    environment["APPTAINER_TMPDIR"] = environment["SINGULARITY_TMPDIR"] = str(folder)
    tail: deque[str] = deque(maxlen=_LAST_LINES)
    with (
        log.open("a") as file,
        console.progress("build") as progress,
        subprocess.Popen(
            words,
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        follow = _follower(console)
        assert process.stdout is not None
        try:
            for line in process.stdout:
                file.write(line)
                tail.append(line.rstrip())
                follow(line)
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise ImageError(_why(list(tail), log), hint=f"all that it said is in {log}")
    progress(1, 1)


def _packing(command: str, compression: Compression) -> list[str]:
    """How hard to compress: gzip's default is the hardest, which takes five times as long for 1 % of the size."""
    shown = subprocess.run([command, "build", "--help"], capture_output=True, text=True, check=False).stdout
    if "--mksquashfs-args" in shown:
        words = {"gzip": "-Xcompression-level 6", "zstd": "-comp zstd -Xcompression-level 9"}
        return ["--mksquashfs-args", words[compression]]
    if compression != "gzip":
        raise ImageError(f"{command} is too old to choose {compression}", hint="leave --compression out")
    return []


def _follower(console: Console) -> Callable[[str], None]:
    """Say in which of its steps a build is."""
    shown = ""

    def follow(line: str) -> None:
        nonlocal shown
        step = next((name for pattern, name in _STEPS if re.search(pattern, line)), shown)
        if step != shown:
            shown = step
            console.say(f"build: {step}")

    return follow


def _why(lines: list[str], log: Path) -> str:
    text = "\n".join(lines)
    for pattern, sentence in (
        (r"[Nn]o space left on device|Disk quota exceeded", "the disk is full: set TMPDIR to a larger local disk"),
        (r"subuid|newuidmap|newgidmap", "user ids cannot be mapped: see /etc/subuid, /etc/subgid and newuidmap"),
        (
            r"Requesting capability set|operation not permitted",
            "this user may not: build as an ordinary user, not as root",
        ),
        (
            r"Couldn't download|Failed getting release|Could not resolve|no such host|i/o timeout",
            "the base cannot be reached",
        ),
        (r"FATAL:.*while (?:performing|running) %?post|FATAL:.*post", "a step of %post failed"),
        (r"test.*failed|FATAL:.*test", "the image was built, and its %test failed"),
    ):
        if re.search(pattern, text):
            return f"the build failed: {sentence}"
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"the build failed: {last.strip()}"


def _locked_wheels(recipe: Recipe) -> list[Path]:
    """Wheels of the lock file, downloaded once; pip checks their hashes."""
    folder = cache_folder() / f"wheels-{digest(recipe.lock.read_bytes())[:12]}"
    if not (folder / "complete").exists():
        folder.mkdir(parents=True, exist_ok=True)
        platforms = [word for name in _PLATFORMS for word in ("--platform", name)]
        number = recipe.python.replace(".", "")
        _pip(
            "download", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--implementation", "cp",
            "--python-version", recipe.python, "--abi", f"cp{number}", "--abi", "abi3", "--abi", "none", *platforms,
            "-r", str(recipe.lock), "-d", str(folder),
        )  # fmt: skip
        (folder / "complete").touch()
    return sorted(folder.glob("*.whl"))


def _own_wheel(folder: Path) -> Path:
    """Wheel of this hpckit, from the source tree that it runs from, or from where it was installed from."""
    tree = source.tree()
    with tempfile.TemporaryDirectory() as made:
        if (tree / "pyproject.toml").exists():
            _pip("wheel", "--no-deps", "--wheel-dir", made, str(tree))
        else:
            _pip("download", "--no-deps", "--dest", made, f"{DISTRIBUTION}=={__version__}")
        wheel = next(Path(made).glob(f"{DISTRIBUTION.replace('-', '_')}-*.whl"))
        target = folder / "wheels" / wheel.name
        shutil.copyfile(wheel, target)
    return target


def _pip(*words: str) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(source.epoch())}
    done = subprocess.run(
        [sys.executable, "-m", "pip", *words, "--quiet", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
        raise ImageError(
            f"pip {words[0]} failed: {' '.join(lines[-2:]) or done.stderr[-300:]}",
            hint="it needs pip beside this Python, and a package index that it reaches",
        )


def _place(wheel: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.link(wheel, target)
    except OSError:
        shutil.copyfile(wheel, target)
