"""Fixtures of user code: a real Apptainer, and a small real image."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpckit.reduce.udf.sandbox import Image, Sandbox
from hpckit.sites.udf import Limits
from tests.servers import apptainer, udf_image

_ENTRY = struct.Struct("<HHI")
_OWNER, _GROUP, _OTHERS, _NOBODY = 0x01, 0x04, 0x20, 0xFFFFFFFF
"""Of access control lists: acl(5), `linux/posix_acl_xattr.h`."""
PLACE = Path("/var/tmp/hpckit-image-test")
"""Shared with the tests of images: Apptainer is unpacked once."""


@pytest.fixture(scope="session")
def udf_program() -> Path:
    """Apptainer."""
    try:
        return apptainer.install(PLACE / "apptainer")
    except apptainer.MissingError as error:
        pytest.skip(f"no Apptainer here: {error}")


@pytest.fixture(scope="session")
def udf_image_file(udf_program: Path) -> Path:
    """An image with numpy, pandas and xarray."""
    return udf_image.make(PLACE / "udf.sqfs")


@pytest.fixture
def udf_place(udf_program: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A scratch folder of all users: Apptainer runs as another user here, since it refuses the root of tests."""
    monkeypatch.setenv("HPCKIT_APPTAINER", str(udf_program))
    folder = PLACE / f"run-{next(tempfile._get_candidate_names())}"  # type: ignore[attr-defined]
    folder.mkdir()
    folder.chmod(0o777)
    # Folders in it are open to that user, too, whatever umask their makers have.
    rights = [(_OWNER, 7, _NOBODY), (_GROUP, 7, _NOBODY), (_OTHERS, 7, _NOBODY)]
    os.setxattr(
        folder, "system.posix_acl_default", struct.pack("<I", 2) + b"".join(_ENTRY.pack(*one) for one in rights)
    )
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sandbox(udf_image_file: Path, udf_place: Path) -> Iterator[Callable[..., Sandbox]]:
    """Makes sandboxes with limits that a shared machine bears."""
    made: list[Sandbox] = []

    def make(log: Any = None, image: Image | None = None, **limits: Any) -> Sandbox:
        small = {"memory_mib": 300, "processes": 24, "disk_mib": 40, "files": 64, "seconds": 20, "output_mib": 20}
        scratch = udf_place / str(len(made))
        scratch.mkdir()
        made.append(Sandbox(image or Image(udf_image_file), Limits(**{**small, **limits}), scratch, log=log))
        return made[-1]

    yield make
    for one in made:
        one.close()
