"""What the program in a container says: blocks, which code of users may have forged, faults, and lines of the log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from hpckit.base.quantities import format_count
from hpckit.errors import UserCodeError
from hpckit.reduce.udf.block import Block
from hpckit.sites.udf import Limits

_RECORD: Final = "\x1e"
"""Begins lines that are records of a logger."""


def block_of(values: Any, answer: Mapping[str, Any], given: Block) -> Block:
    """The block of an answer, which user code may have forged."""
    dims, labels = answer.get("dims"), answer.get("labels")
    unfit = UserCodeError("the user code returned dimensions that do not fit its values", kind="output")
    if not isinstance(dims, list) or not isinstance(labels, dict):
        raise unfit
    if not len(dims) == len(set(map(str, dims))) == values.ndim:
        raise unfit
    for dim, found in labels.items():
        if not isinstance(found, list) or dim not in dims or len(found) != values.shape[dims.index(dim)]:
            raise unfit
    named = {
        str(dim): tuple(one if isinstance(one, float) else str(one) for one in found) for dim, found in labels.items()
    }
    return Block(values, tuple(map(str, dims)), named, given.times & named.keys())


def fault_of(kind: str, said: str, limits: Limits) -> tuple[str, str | None]:
    """Message and remedy of what the host program reports."""
    passed = {
        "memory": f"more than {limits.memory_mib} MiB of memory",
        "processes": f"more than {limits.processes} processes or threads",
        "disk": f"more than {limits.disk_mib} MiB in a file or in its folder",
        "files": f"more than {format_count(limits.files, 'open file')}",
    }
    match kind:
        case "memory" | "processes" | "disk" | "files":
            more = "ask the site for a higher limit, or need less"
            return f"the user code needs {passed[kind]} (limit: {kind}): {said}", more
        case "output":
            return (
                f"{said.replace('it', 'the user code', 1)}, more than {limits.output_mib} MiB (limit: output)",
                None,
            )
        case "syntax":
            return f"the user code is not valid Python: {said}", None
        case "no-function":
            return f"there is nothing to call: {said}", "define apply_datacube(cube: xarray.DataArray, context: dict)"
        case "network":
            return (
                f"user code has no network (limit: network): {said}",
                "give what it needs as `context`, or in its image",
            )
        case "outside":
            seen = "user code sees its image and the block, and can write to /tmp (limit: files of the machine)"
            return f"the user code failed: {said}", seen
        case "package":
            return f"the user code failed: {said}", "name it under `dependencies` in a block `# /// script` (PEP 723)"
        case "type":
            return said.replace("it returned", "the user code returned"), "convert it with `astype`"
    return f"the user code failed: {said}", None


def record_of(line: str) -> tuple[str, str]:
    """Level and text of a line of the log."""
    if line.startswith(_RECORD):
        with suppress(ValueError):
            said = json.loads(line[1:])
            data = f" {said['data']}" if "data" in said else ""
            return str(said["level"]), f"{said['message']}{data}".strip()
    return "info", line
