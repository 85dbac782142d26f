"""Python packages that code of users asks for: a block `# /// script` (PEP 723), against what the site allows.

Packages that the image has are used. Others are fetched on a login node, if the site allows them, into a folder that
is named after their digest, with a list of their checksums; compute nodes only check and read it.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name, parse_wheel_filename

from hpckit.base.files import PARTIAL, digest_file, digest_json, write_json
from hpckit.base.reading import read_json
from hpckit.errors import UserCodeError
from hpckit.reduce.udf.sandbox import Image
from hpckit.sites.udf import Udf

_BLOCK: Final = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
"""PEP 723."""
_LOCK: Final = "lock.json"
_FETCH_S: Final = 900
Describe = Callable[[Image], Mapping[str, Any]]


def wanted(code: str) -> tuple[Requirement, ...]:
    """What code asks for; empty if it has no such block.

    Raises
    ------
    UserCodeError
        If the block cannot be read.
    """
    blocks = [match["content"] for match in _BLOCK.finditer(code.replace("\r\n", "\n")) if match["type"] == "script"]
    if not blocks:
        return ()
    if len(blocks) > 1:
        raise _wrong("there are several blocks `# /// script`", "keep one")
    text = "".join(line.removeprefix("# ").removeprefix("#") for line in blocks[0].splitlines(keepends=True))
    try:
        known = tomllib.loads(text).get("dependencies", [])
        if not isinstance(known, list):
            raise _wrong("`dependencies` of the user code is no list", 'write `dependencies = ["name>=1"]`')
        return tuple(Requirement(str(item)) for item in known)
    except tomllib.TOMLDecodeError as error:
        raise _wrong(f"the block `# /// script` of the user code is no TOML: {error}", "correct it") from None
    except InvalidRequirement as error:
        raise _wrong(f"a dependency of the user code cannot be read: {error}", "write `name>=1.2`") from None


def folder_for(needed: Sequence[Requirement], settings: Udf, image: Image, describe: Describe) -> Path | None:
    """Folder with the packages that an image lacks; None if it has all.

    Raises
    ------
    UserCodeError
        Names what is missing, and what the site would allow.
    """
    key = digest_json([sorted(map(str, needed)), str(image.path), sorted(settings.packages)])[:32]
    folder = None if settings.wheels is None else Path(settings.wheels) / key
    if folder is not None and (folder / _LOCK).exists():
        return _checked(folder)
    known = describe(image)
    there: dict[str, str] = {canonicalize_name(name): str(version) for name, version in known["packages"].items()}
    missing = [one for one in needed if _applies(one) and not _is_met(one, there)]
    if not missing:
        return None
    _require_allowed(missing, there, settings)
    if folder is None:
        raise _wrong("packages cannot be fetched: the site has no `udf.wheels`", "ask the site, or use an own image")
    return _fetched(missing, folder, settings, known)


def _applies(one: Requirement) -> bool:
    return one.marker is None or one.marker.evaluate()


def _is_met(one: Requirement, there: Mapping[str, str]) -> bool:
    version = there.get(canonicalize_name(one.name))
    try:
        return version is not None and SpecifierSet(str(one.specifier)).contains(version, prereleases=True)
    except InvalidSpecifier:
        return False


def _require_allowed(missing: Sequence[Requirement], there: Mapping[str, str], settings: Udf) -> None:
    allowed = {canonicalize_name(name) for name in settings.packages}
    for one in missing:
        if one.url is not None:
            raise _wrong(f"{one.name} is wanted from an address", "name a version instead")
        if canonicalize_name(one.name) not in allowed:
            have = there.get(canonicalize_name(one.name))
            lacks = f"has {one.name} {have}" if have else f"lacks {one.name}"
            listed = ", ".join(sorted(settings.packages))
            raise _wrong(
                f"the user code needs {one}, and its image {lacks}",
                f"the site allows {listed}" if listed else "the site allows no further packages; use its image's",
            )


def _fetched(missing: Sequence[Requirement], folder: Path, settings: Udf, known: Mapping[str, Any]) -> Path:
    """Fetch wheels for the Python of the image, with all that they need, and unpack them."""
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        _fetch(missing, draft, settings, known)
        with suppress(OSError):  # another process was faster
            draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return _checked(folder)


def _fetch(missing: Sequence[Requirement], draft: Path, settings: Udf, known: Mapping[str, Any]) -> None:
    python = ".".join(str(known["python"]).split(".")[:2])
    wheels = draft / "wheels"
    wheels.mkdir(parents=True)
    wanted_names = {canonicalize_name(one.name) for one in missing}
    held = [f"{name}=={version}" for name, version in known["packages"].items()]
    held = [line for line in held if canonicalize_name(line.partition("==")[0]) not in wanted_names]
    (draft / "held.txt").write_text("\n".join(held))
    machine = known["machine"]
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in (28, 17)] + [f"manylinux2014_{machine}"]
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    words += [
        "--only-binary=:all:",
        "--python-version",
        python,
        "--dest",
        str(wheels),
        "--constraint",
        str(draft / "held.txt"),
    ]
    words += [word for name in platforms for word in ("--platform", name)]
    try:
        done = subprocess.run(
            [*words, "--", *map(str, missing)], capture_output=True, text=True, check=False, timeout=_FETCH_S
        )
    except subprocess.TimeoutExpired:
        raise _wrong("packages could not be fetched in time", "try again on a login node with a network") from None
    if done.returncode != 0:
        last = done.stderr.strip().splitlines()[-1:] or ["pip failed"]
        raise _wrong(f"packages cannot be fetched: {last[0]}", "fetch them on a login node with a network")
    there = {canonicalize_name(name) for name in known["packages"]}
    allowed = {canonicalize_name(name) for name in settings.packages}
    for wheel in sorted(wheels.glob("*.whl")):
        name = parse_wheel_filename(wheel.name)[0]
        if name in there and name not in allowed:
            wheel.unlink()  # what they share with the image stays that of the image
        elif name not in allowed:
            raise _wrong(f"the user code needs {name} through others, which the site does not allow", "ask the site")
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(draft / "packages")
    write_json(draft / _LOCK, {wheel.name: digest_file(wheel) for wheel in sorted(wheels.glob("*.whl"))})


def _checked(folder: Path) -> Path:
    """The packages of a folder, if its wheels are those that were fetched."""
    for name, digest in read_json(folder / _LOCK).items():
        wheel = folder / "wheels" / name
        if not wheel.exists() or digest_file(wheel) != digest:
            raise _wrong(f"{wheel} is not the file that was fetched", f"remove {folder}, and prepare the job again")
    return folder / "packages"


def _wrong(message: str, hint: str) -> UserCodeError:
    return UserCodeError(message, hint=hint, kind="package")
