"""One process at a time, as openeo-test-suite wants it: an object with the methods of its `ProcessTestRunner`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpckit.processgraph.cube import Cube
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.graph import ChildGraph
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.parse import one_call, parse_callback
from hpckit.processgraph.process import Value, processes
from hpckit.processgraph.specs import documents
from hpckit.testing.graphs import MemoryEnvironment
from hpckit.testing.openeo.encoding import cube_of, encoded, labelled_of

JSON = Any


class ProcessRunner:
    """Runs single processes; `openeo_test_suite` takes it where it takes its own runners."""

    def list_processes(self) -> list[JSON]:
        """Specifications of the processes that there are."""
        return [documents()[name] for name in sorted(processes()) if name in documents()]

    def execute(self, id: str, arguments: Mapping[str, JSON]) -> Value:
        """Run one process.

        Raises
        ------
        GraphError
            With openEO's name of the fault.
        """
        return Evaluation(one_call(id, arguments), MemoryEnvironment()).evaluate()

    def encode_process_graph(
        self, process: JSON, parent_process_id: str | None = None, parent_parameter: str | None = None
    ) -> ChildGraph:
        """A child process."""
        return parse_callback(process, parent_process_id or "", parent_parameter or "")

    def encode_labeled_array(self, data: JSON) -> Labelled:
        """A labelled array."""
        return labelled_of(data)

    def encode_datacube(self, data: JSON) -> Cube:
        """A data cube."""
        return cube_of(data)

    def encode_data(self, data: JSON) -> JSON:
        """JSON is what processes take."""
        return data

    def decode_data(self, data: Value, expected: JSON) -> JSON:
        """What a process returned, as the tests write it."""
        return encoded(data, expected)

    def is_json_only(self) -> bool:
        """Infinity and NaN are taken."""
        return False

    def get_nodata_value(self) -> None:
        """Null is None."""
