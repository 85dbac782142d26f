"""Size and checksum of a written file, as the STAC file extension has them, and whether it is still that file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.reading import unavailable
from hpckit.base.seen import Seen
from hpckit.errors import FileUnavailableError

SIZE: Final = "file:size"
CHECKSUM: Final = "file:checksum"
SHA256: Final = "1220"
"""What a multihash of SHA-256 begins with: the code of the function, and 32 bytes."""


def facts(path: Path) -> dict[str, Any]:
    """Bytes of a file, and their SHA-256 as a multihash in hexadecimal."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {SIZE: path.stat().st_size, CHECKSUM: SHA256 + checksum}


def is_sound(path: Path, wanted: Mapping[str, Any], seen: Seen) -> bool:
    """Whether a file is the one of which facts were kept: by content only where its time stamp is not known."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise unavailable(path, error) from None
    checksum = str(wanted.get(CHECKSUM))
    if status.st_size != wanted.get(SIZE):
        return False
    if seen.has(str(path), status, checksum):
        return True
    found = damage(path, wanted)
    if found is not None and found[0] == "unread":
        raise FileUnavailableError(f"{path} cannot be read at the moment: {found[1]}", hint="try again")
    if found is not None:
        return False
    seen.add([(str(path), status, checksum)])
    return True


def damage(path: Path, wanted: Mapping[str, Any]) -> tuple[Literal["missing", "corrupt", "unread"], str] | None:
    """What is wrong with a file of which facts were kept; None if nothing is."""
    try:
        size = path.stat().st_size
        if CHECKSUM not in wanted or SIZE not in wanted:
            return "corrupt", "no checksum was kept of it"
        if size != wanted[SIZE]:
            return "corrupt", f"{size} bytes instead of {wanted[SIZE]}"
        return None if facts(path)[CHECKSUM] == wanted[CHECKSUM] else ("corrupt", "checksum differs")
    except FileNotFoundError:
        return "missing", "the file is gone"
    except OSError as error:
        return "unread", error.strerror or str(error)
