"""Locale: whether names of files and text outside ASCII survive."""

from __future__ import annotations

import locale
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpckit.base.findings import Finding

_NAME: Final = "prüf-日.txt"


def examine() -> Iterator[Finding]:
    """Encodings of Python, the locale that is named, and a file with such a name."""
    names, text = sys.getfilesystemencoding(), locale.getpreferredencoding(False)
    right = all(each.lower().replace("-", "") == "utf8" for each in (names, text))
    named = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "none")
    remedy = "`export LC_ALL=C.UTF-8` (or PYTHONUTF8=1), also in `environment` of the site file"
    yield Finding("encoding", right, f"file names {names}, text {text}, locale {named}", remedy, needed=False)
    try:
        locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        says = f"{named} is not installed on this machine"
        yield Finding("locale", False, says, "`export LC_ALL=C.UTF-8`, which glibc always has", needed=False)
    yield from _file()


def _file() -> Iterator[Finding]:
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / _NAME).write_text("ä", encoding="utf-8")
            there = [path.name for path in Path(folder).iterdir()] == [_NAME]
    except (OSError, UnicodeError) as error:
        if isinstance(error, OSError) and not isinstance(error, UnicodeError):
            return  # `space` says why nothing can be written
        there = False
    if not there:
        says = f"the temporary folder does not keep the name {_NAME!a}"
        yield Finding("file names", False, says, "use names of ASCII letters, or another TMPDIR", needed=False)
