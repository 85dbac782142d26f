"""The official tests of openEO's processes: each process that is offered passes all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpckit.processgraph.listed import INCOMPLETE, listed
from hpckit.processgraph.process import processes
from hpckit.testing.openeo.cases import Case, cases
from hpckit.testing.openeo.mistakes import MISTAKEN, corrected

FOLDER = Path(__file__).parents[2].parent / "shared/data/openeo-process-graphs/openeo-processes-tests"
CASES: dict[str, list[Case]] = {}
for each in cases(FOLDER) if FOLDER.is_dir() else ():
    CASES.setdefault(each.process, []).append(each)

needs_cases = pytest.mark.skipif(not CASES, reason=f"no official tests of openEO in {FOLDER}")


def faults(process: str) -> list[str]:
    found = []
    for case in CASES.get(process, ()):
        if case.name in MISTAKEN:
            continue
        found += faults_of(case)
    return found


def faults_of(case: Case) -> list[str]:
    try:
        return [f"{case.name}: {fault}" for fault in case.faults()]
    except Exception as error:
        return [f"{case.name}: {type(error).__name__}: {error}"]


@needs_cases
@pytest.mark.parametrize("process", listed())
def test_a_process_that_is_offered_passes_all_official_tests(process):
    assert not faults(process)


@needs_cases
def test_every_process_with_official_tests_is_offered_and_most_tests_are_right():
    assert set(CASES) <= {*listed(), *INCOMPLETE}
    assert len(MISTAKEN) == 54
    assert sum(map(len, CASES.values())) == 1014


@needs_cases
@pytest.mark.parametrize("process", sorted(INCOMPLETE))
def test_a_process_that_is_not_offered_fails_one(process):
    assert process in processes()
    assert faults(process), f"{process} passes all its tests: take it out of INCOMPLETE"


@needs_cases
@pytest.mark.parametrize("name", sorted(MISTAKEN))
def test_a_mistaken_test_is_failed(name):
    (case,) = (case for case in CASES[name.rpartition("-")[0]] if case.name == name)
    assert faults_of(case), f"{name} is passed: take it out of MISTAKEN"


CORRECTED = [made for each in CASES.values() for case in each if (made := corrected(case)) is not None]


@needs_cases
@pytest.mark.parametrize("case", CORRECTED, ids=lambda case: case.name)
def test_a_mistaken_test_is_passed_as_it_was_meant(case):
    assert not list(case.faults())
