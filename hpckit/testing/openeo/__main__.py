"""Command: `python -m hpckit.testing.openeo FOLDER [PROCESS …]` prints which processes pass which official tests."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

from hpckit.processgraph.process import processes
from hpckit.testing.openeo.cases import Case, cases
from hpckit.testing.openeo.mistakes import MISTAKEN


def main(folder: Path, names: list[str]) -> int:
    """Run the tests; print faults of the processes that are named, and the share of all."""
    passed, total, mistaken = Counter[str](), Counter[str](), Counter[str]()
    for case in cases(folder):
        if names and case.process not in names:
            continue
        total[case.process] += 1
        found = _faults(case)
        passed[case.process] += not found
        mistaken[case.process] += bool(found) and case.name in MISTAKEN
        if names and found:
            print(f"{case.name}: {case.document['arguments']}"[:300], *found[:6], sep="\n    ")
    there = [name for name in total if name in processes()]
    full = [name for name in there if passed[name] + mistaken[name] == total[name]]
    for name in there:
        if passed[name] < total[name]:
            print(f"{name}: {passed[name]} of {total[name]}, {mistaken[name]} are wrong themselves")
    print(f"processes: {len(full)} pass all their tests, {len(there)} are there, {len(total)} have tests")
    print(f"tests: {passed.total()} of {total.total()} pass, {mistaken.total()} are wrong themselves")
    return 0 if len(full) == len(there) else 1


def _faults(case: Case) -> list[str]:
    try:
        return list(case.faults())
    except Exception as error:  # of any kind: the process is at fault, and the other tests go on
        return [f"{type(error).__name__}: {error}"]


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
