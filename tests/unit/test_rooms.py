"""The order of rooms: an import runs downward, wherever in a file it stands; no circle of files or rooms."""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from pathlib import Path

import hpckit

PACKAGE = Path(hpckit.__file__).parent
FLOORS = (
    ("__main__",),
    ("cli",),
    ("hpckit", "demo", "serve"),
    ("api",),
    ("look", "jobs", "testing"),
    ("production",),
    ("store",),
    ("reduce", "steps"),
    ("cubes", "submissions"),
    ("catalogue", "runs"),
    ("campaign",),
    ("sensors", "processgraph"),
    ("space", "inputs", "sites"),
    ("base",),
    ("errors",),
)
"""Rooms, from the top; a room may import from floors below it, and no room from one beside it."""
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}


@cache
def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports() -> dict[str, set[str]]:
    """Modules that each module imports, also late ones and those for type checkers."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                wanted = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: a relative import"
                wanted = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for text in wanted:
                while text and text not in modules():
                    text = text.rpartition(".")[0]
                if text and text != name:
                    found[name].add(text)
    return found


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def test_every_room_has_a_floor():
    assert {room(module) for module in modules()} == set(FLOOR)
    assert len(FLOOR) <= 25 and len(FLOORS) <= 15


def test_imports_run_downward():
    upward = [
        f"{module} imports {other}"
        for module, others in imports().items()
        for other in others
        if room(module) != room(other) and FLOOR[room(module)] >= FLOOR[room(other)]
    ]
    assert not upward, "\n".join(upward)


def test_no_circle_of_files():
    """Files that import each other, by whatever way, cannot be understood one at a time."""
    left = {module: set(others) for module, others in imports().items()}
    while True:
        ends = [module for module, others in left.items() if not others & left.keys()]
        if not ends:
            break
        for module in ends:
            del left[module]
    assert not left, f"in or above circles: {sorted(left)}"
