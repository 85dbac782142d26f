"""Test cases of openEO's processes: one process, arguments, and what it returns or throws."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from hpckit.errors import GraphError
from hpckit.processgraph.process import processes
from hpckit.testing.openeo.compare import differences
from hpckit.testing.openeo.json5 import loads
from hpckit.testing.openeo.runner import ProcessRunner

JSON = Any
_DELTA: Final = 1e-10


@dataclass(frozen=True, slots=True)
class Case:
    """One test of a process."""

    process: str
    number: int
    document: Mapping[str, JSON]
    folder: Path

    @property
    def name(self) -> str:
        """`add-3`: the fourth test of `add`."""
        return f"{self.process}-{self.number}"

    @property
    def missing(self) -> list[str]:
        """Processes that the test needs and that there are not."""
        return sorted({self.process, *self.document.get("required", [])} - set(processes()))

    def faults(self) -> Iterator[str]:
        """Why the process does not pass the test; nothing if it does.

        Raises
        ------
        Exception
            That the process raised, if it is none of its own.
        """
        throws = self.document.get("throws")
        try:
            found = self.run()
        except GraphError as fault:
            if not throws or fault.fault == "ProcessUnsupported":
                yield f"{fault.fault}: {fault}"
            elif isinstance(throws, str) and fault.fault != throws:
                yield f"{throws} expected, {fault.fault} raised: {fault}"
            return
        if "returns" not in self.document:
            yield f"{throws if isinstance(throws, str) else 'a fault'} expected, {found!r} returned"
            return
        expected = _plain(self.document["returns"], self.folder)
        returned = ProcessRunner().decode_data(found, expected)
        yield from differences(expected, returned, self.document.get("delta", _DELTA))

    def run(self) -> JSON:
        """What the process returns."""
        given = self.document["arguments"]
        arguments = {name: self._argument(name, item) for name, item in given.items()}
        return ProcessRunner().execute(self.process, arguments)

    def _argument(self, name: str, item: JSON) -> JSON:
        runner = ProcessRunner()
        item = _resolved(item, self.folder)
        match item:
            case {"type": "labeled-array"}:
                return runner.encode_labeled_array(_plain(item, self.folder))
            case {"type": "datacube"}:
                return runner.encode_datacube(item)
            case {"type": "nodata"}:
                return runner.get_nodata_value()
            case {"type": "datetime", "value": str(text)}:
                return text
            case {"process_graph": _}:
                return runner.encode_process_graph(item, self.process, name)
            case Mapping():
                return {key: self._argument(name, inner) for key, inner in item.items()}
            case list():
                return [self._argument(name, inner) for inner in item]
            case _:
                return runner.encode_data(item)


def cases(folder: Path) -> list[Case]:
    """All tests in a folder of the official tests."""
    found = []
    for file in sorted(folder.glob("*.json5")):
        document = loads(file.read_text(encoding="utf-8"))
        found += [Case(document["id"], number, test, folder) for number, test in enumerate(document["tests"])]
    return found


def _plain(item: JSON, folder: Path) -> JSON:
    """What is expected, with files put in and null for nodata."""
    item = _resolved(item, folder)
    match item:
        case {"type": "nodata"}:
            return None
        case {"type": "datetime"}:
            return item
        case Mapping():
            return {key: _plain(inner, folder) for key, inner in item.items()}
        case list():
            return [_plain(inner, folder) for inner in item]
        case _:
            return item


def _resolved(item: JSON, folder: Path) -> JSON:
    if isinstance(item, Mapping) and isinstance(item.get("$ref"), str):
        return _file(folder / item["$ref"])
    return item


@cache
def _file(path: Path) -> JSON:
    text = path.read_text(encoding="utf-8")
    return text if path.suffix in {".txt", ".wkt2"} else loads(text)
