"""The audit file: a JSON line for every reading of a parcel, and every login and mark."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from hpckit.base.files import make_folder


class Audit:
    """Appends lines to a file that only its owner may read.

    Parameters
    ----------
    path : Path or None
        The file; None keeps no record.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._lock = Lock()
        self._file: int | None = None
        self._torn = False
        """Whether the last line has no end, since the disk became full."""

    def note(self, user: str, address: str, what: str, **facts: Any) -> None:
        """Append a line with the time, the user, the client's address and what they did.

        Raises
        ------
        OSError
            If the line cannot be written; what it would have told must not be done then.
        """
        if self.path is None:
            return
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": at, "user": user, "address": address, "what": what, **facts}, ensure_ascii=False)
        with self._lock:
            # Opened each time where somebody moved it away, as logrotate does.
            if self._file is None or not _is_same(self._file, self.path):
                if self._file is not None:
                    os.close(self._file)
                make_folder(self.path.parent)
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            content = ("\n" * self._torn + line + "\n").encode()
            written = os.write(self._file, content)
            self._torn = written < len(content)
            if self._torn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
