"""Compiled kernels: whether they can be kept, and whether they are there."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hpckit.base.compiled import SHIPPED, instruction_set, kept_in
from hpckit.base.findings import Finding
from hpckit.base.quantities import format_count
from hpckit.production.compiling import lacking
from hpckit.production.kernels import of_signatures


def examine() -> Iterator[Finding]:
    """Folder of compiled code, and kernels of signatures in it."""
    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        says = "NUMBA_DISABLE_JIT is set: kernels run as Python, a hundred times slower"
        yield Finding("compiled kernels", False, says, "`unset NUMBA_DISABLE_JIT`", needed=False)
        return
    folder, level = kept_in(), instruction_set() or "this processor"
    if folder is None:
        yield Finding(
            "compiled kernels",
            False,
            "no folder can be written, so each process compiles them again",
            "set HPCKIT_KERNELS to a folder that you may write, on a file system that nodes share",
            needed=False,
        )
        return
    missing = lacking(of_signatures())
    says = f"{format_count(len(missing), 'group')} of kernels not compiled" if missing else "are there"
    remedy = "`hpckit kernels` compiles all of them once, in a minute or two; otherwise the first run does"
    where = f"for {level}, in {folder}" + (f" or {SHIPPED}" if SHIPPED.is_dir() else "")
    yield Finding("compiled kernels", None if missing else True, f"{says}, {where}", remedy, needed=False)
