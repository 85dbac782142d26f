"""Size and checksum of a written file, as the STAC file extension has them, and whether it is still that file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

SIZE: Final = "file:size"
CHECKSUM: Final = "file:checksum"
_SHA256: Final = "1220"
"""What a multihash of SHA-256 begins with: the code of the function, and 32 bytes."""


def facts(path: Path) -> dict[str, Any]:
    """Bytes of a file, and their SHA-256 as a multihash in hexadecimal."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {SIZE: path.stat().st_size, CHECKSUM: _SHA256 + checksum}


def damage(path: Path, wanted: Mapping[str, Any]) -> tuple[Literal["missing", "corrupt"], str] | None:
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
        return "corrupt", str(error)
