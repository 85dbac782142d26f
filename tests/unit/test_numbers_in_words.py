"""Numbers that people read: with a unit that suits them, and one thing is not several."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path

import pytest

from hpckit.base.quantities import format_area, format_count, format_large
from hpckit.cli.tables import show_faults
from hpckit.cubes.verify import Fault
from hpckit.production.sync import SyncReport


@pytest.mark.parametrize(("number", "text"), [(0, "0 zones"), (1, "1 zone"), (2, "2 zones"), (12000, "12,000 zones")])
def test_counts(number, text):
    assert format_count(number, "zone") == text


def test_a_plural_of_its_own():
    assert [format_count(n, "body", "bodies") for n in (1, 3)] == ["1 body", "3 bodies"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (950, "950"),
        (12_300, "12.3 thousand"),
        (999_900, "1 million"),
        (1.5e6, "1.5 million"),
        (4.56e9, "4.56 billion"),
        (120e9, "120 billion"),
        (7.2e12, "7.2 trillion"),
    ],
)
def test_large_numbers(number, text):
    assert format_large(number) == text


@pytest.mark.parametrize(
    ("area", "text"),
    [
        (0, "0 m²"),
        (0.5, "0.5 m²"),
        (820, "820 m²"),
        (45_000, "4.5 ha"),
        (999_990, "1 km²"),
        (2.4e6, "2.4 km²"),
        (1_234e6, "1,234 km²"),
        (510e12, "510,000,000 km²"),
    ],
)
def test_areas(area, text):
    assert format_area(area) == text


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (SyncReport(), "0 spool files loaded (0 zone observations)"),
        (SyncReport(loaded=1, rows=1, known=1), "1 spool file loaded (1 zone observation), 1 result known already"),
        (
            SyncReport(loaded=2, rows=1200, removed=1, failures=["a"]),
            "2 spool files loaded (1,200 zone observations), 1 outdated result removed, 1 damaged or gone",
        ),
    ],
)
def test_what_a_sync_did(report, text):
    assert report.describe() == text


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ([], "0 faulty files: all files are correct"),
        (["missing"], "1 faulty file; `hpckit run` writes faulty files again"),
        (["unread"], "1 file cannot be read at the moment, so the state is unknown; verify again"),
        (["missing", "missing"], "2 faulty files; `hpckit run` writes faulty files again"),
    ],
)
def test_faults_are_counted(capsys, kinds, text):
    show_faults([Fault(f"key{n}", kind, "", "ingest/a") for n, kind in enumerate(kinds)], as_json=False)
    assert capsys.readouterr().out.splitlines()[-1] == text


THINGS = (
    "batch|core|date|day|element|feature|file|granule|job|layer|page|point|product|row|scene|segment|shard|tile|unit|"
    "window|worker|zone"
)
ALWAYS_SEVERAL = {
    "hpckit/jobs/jobarrays.py",  # elements that the limits of jobs allow
    "hpckit/sensors/sentinel2/parts.py",
    "hpckit/sensors/sentinel2/product.py",
    "hpckit/inputs/files.py",
    "hpckit/serve/stac/products.py",  # a mission, no number
    "hpckit/serve/stac/query.py",  # limits
    "hpckit/serve/viewer/exports.py",
    "hpckit/look/view.py",
    "hpckit/catalogue/member.py",  # pages in a row
    "hpckit/cli/site.py",  # the limit of arrays
}
"""Files whose messages are of several things, or there is no message."""


def test_one_thing_is_not_several_in_any_message():
    """In no text, a number is followed by a plural that does not depend on it: `format_count` writes both."""
    found = []
    for path in sorted(Path("hpckit").rglob("*.py")):
        if path.as_posix() in ALWAYS_SEVERAL:
            continue
        for text in ast.walk(ast.parse(path.read_text())):
            if isinstance(text, ast.JoinedStr):
                found += [f"{path}:{text.lineno}: {words!r}" for words in _fixed_plurals(text)]
    assert not found, "\n".join(found)


def _fixed_plurals(text: ast.JoinedStr) -> list[str]:
    pairs = itertools.pairwise(text.values)
    return [
        after.value
        for number, after in pairs
        if isinstance(number, ast.FormattedValue)
        and number.format_spec is None
        and isinstance(after, ast.Constant)
        and re.match(rf" (?:(?!the |of )[a-z]+ )?(?:{THINGS})s\b", str(after.value))
        and not (isinstance(number.value, ast.Call) and getattr(number.value.func, "id", "").startswith("format_"))
    ]
