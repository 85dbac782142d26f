"""What a worker costs on top of its units: units of one second, through draw, journal and report.

python benchmarks/overhead.py [--units 20]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import hpckit.production.worker as worker
from hpckit.production.stages import Outcome
from hpckit.runs.plan import Unit, bundles


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=20)
    count = parser.parse_args().units
    units = [Unit(f"ingest/{number}", "ingest", 1.0, "in", {"tile": "31UFU"}) for number in range(count)]
    start = time.perf_counter()
    for unit in units:
        _second(None, unit)
    bare = time.perf_counter() - start
    with tempfile.TemporaryDirectory() as folder:
        made = _worker(Path(folder))
        start = time.perf_counter()
        made.work(bundles(units), lambda entry: None)
        through = time.perf_counter() - start
    print(f"{count} units of one second: bare {bare:.3f} s, through a worker {through:.3f} s")
    print(f"overhead {100 * (through / bare - 1):.3f} %, {1000 * (through - bare) / count:.2f} ms a unit")


def _second(_context: object, _unit: Unit) -> Outcome:
    time.sleep(1)
    return Outcome({"decoded_pixels": 1.0})


def _worker(folder: Path) -> worker.Worker:
    """A worker without a campaign: what it draws and writes down is real, what it does is a second."""
    made = worker.Worker.__new__(worker.Worker)
    made.stop = worker.Stop()
    made.context = None  # type: ignore[assignment]
    made.journal = worker.Journal(folder, "bench")
    made._unsealed = worker._Unsealed()
    worker.execute = _second  # type: ignore[assignment]
    return made


if __name__ == "__main__":
    main()
