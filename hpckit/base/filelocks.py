"""GeoPackages on file systems without locks: SQLite's are left off, and a claim keeps programs of hpckit apart."""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from hpckit.base.files import PARTIAL

_NO_LOCKS: Final = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, 524})
"""What `fcntl` says of a lock where there are none; the last one is Linux's ENOTSUPP."""

_OPTION: Final = "SQLITE_USE_OGR_VFS"


def locks_work(folder: Path) -> bool:
    """Whether files in a folder can be locked; yes where that cannot be tried."""
    # Not tried on the database itself: closing any descriptor of it would give SQLite's own locks back.
    probe = folder / f".locks.{uuid.uuid4().hex}{PARTIAL}"
    try:
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:
        return True
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in _NO_LOCKS
    finally:
        os.close(descriptor)
        with suppress(OSError):
            probe.unlink()
    return True


@contextmanager
def gdal_without_locks(wanted: bool) -> Iterator[None]:
    """Let GDAL read and write SQLite files, and so GeoPackages, without locks while the block lasts."""
    if not wanted:
        yield
        return
    from hpckit.base.ogr import pyogrio

    before = pyogrio.get_gdal_config_option(_OPTION)
    pyogrio.set_gdal_config_options({_OPTION: True})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({_OPTION: before})
