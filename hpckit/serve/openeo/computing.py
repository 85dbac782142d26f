"""The process that computes one graph for `POST /result`: `python -m hpckit.serve.openeo.computing`.

It imports what graphs need, and waits for a line with a folder on standard input. There it reads `question.json`, and
writes `answer.json`, with the files that it made or what was wrong, as its last step.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import resource
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpckit.base.files import write_json
from hpckit.errors import GraphError, HpckitError
from hpckit.serve.openeo.errors import code_of, sentence
from hpckit.serve.openeo.synchronous import ANSWER, QUESTION


def main() -> None:
    """Compute the graph of a folder within limits."""
    parser = argparse.ArgumentParser(prog="computing", description=__doc__)
    parser.add_argument("--memory-mib", type=int, required=True)
    parser.add_argument("--file-mib", type=int, required=True)
    arguments = parser.parse_args()
    from hpckit import api

    _import_all()
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        return
    folder = Path(line)
    question = json.loads((folder / QUESTION).read_bytes())
    _limit(arguments.memory_mib, arguments.file_mib)
    try:
        collections = {name: Path(path) for name, path in question["collections"].items()}
        found = api.compute_graph(question["graph"], collections, folder / "results", hosts=question.get("hosts", ()))
        answer: dict[str, Any] = {"files": [_described(asdict(item), folder) for item in found]}
    except GraphError as fault:
        answer = {"code": code_of(fault), "message": sentence(fault)}
    except HpckitError as error:
        answer = {"code": "ProcessGraphInvalid", "message": f"{error}" + (f"; {error.hint}" if error.hint else "")}
    except MemoryError:
        answer = {
            "code": "ProcessGraphComplexity",
            "message": "the graph needs more memory than is allowed here; submit it as a batch job",
        }
    except Exception as error:
        traceback.print_exc()
        told = (
            "its files are larger than is allowed here" if _is_too_large(error) else "an error in the server itself"
        )
        answer = {"code": "ProcessGraphComplexity" if _is_too_large(error) else "Internal", "message": told}
    write_json(folder / ANSWER, answer)


def _is_too_large(error: BaseException | None) -> bool:
    """Whether a file met its limit, as far as the error tells."""
    while error is not None:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            return True
        error = error.__cause__ or error.__context__
    return False


def _import_all() -> None:
    """Import what is imported late elsewhere."""
    import pyproj  # noqa: F401
    import rasterio  # noqa: F401

    from hpckit.processgraph.process import processes
    from hpckit.reduce.graphs import ask  # noqa: F401

    processes()


def _limit(memory_mib: int, file_mib: int) -> None:
    """Limit address space, beyond what is mapped by now, and the size of files."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    for kind, most in ((resource.RLIMIT_AS, mapped + memory_mib * 2**20), (resource.RLIMIT_FSIZE, file_mib * 2**20)):
        _, hard = resource.getrlimit(kind)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))


def _described(item: dict[str, Any], folder: Path) -> dict[str, Any]:
    return item | {"path": str(Path(item["path"]).relative_to(folder))}


if __name__ == "__main__":
    main()
