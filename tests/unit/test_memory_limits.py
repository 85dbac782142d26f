"""Ten million rows in a kernel of 2 GB, and login nodes that limit memory: a sentence, and no crash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpckit.base import quantities
from hpckit.base.quantities import available_memory, process_memory

pytestmark = pytest.mark.slow

TEN_MILLION = """\
import resource
import sys
from pathlib import Path
import numpy as np
import pyarrow as pa
import pandas
from hpckit.errors import HpckitError
from hpckit.look.frames import gathered

mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (mapped + 2 * 2**30,) * 2)
made = 0

def batches():
    global made
    while made < 10_000_000:
        made += 100_000
        yield pa.record_batch({f"c{n}": np.arange(100_000.0) + made for n in range(16)})

schema = pa.schema([(f"c{n}", pa.float64()) for n in range(16)])
try:
    table = gathered(pa.RecordBatchReader.from_batches(schema, batches()), sys.argv[1])
    print(table.num_rows)
except HpckitError as error:
    print(made, error, error.hint)
"""


def ten_million(kind: str) -> str:
    command = [sys.executable, "-c", TEN_MILLION, kind]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_ten_million_rows_in_a_kernel_of_two_gigabytes() -> None:
    rows, said = ten_million("pandas").split(" ", 1)
    assert int(rows) < 6_000_000, "said long before memory ends"
    assert "need more memory than the" in said and "rows fill it" in said and "format='batches'" in said
    # As Arrow, 1.2 GiB may fit, or memory ends while they are read: then the same is said.
    rows, _, said = ten_million("arrow").strip().partition(" ")
    assert said == "" or ("need more memory than the" in said and int(rows) > 4_000_000)


def test_the_limit_of_a_process_counts() -> None:
    code = (
        "import resource\nfrom hpckit.base.quantities import process_memory\n"
        "resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)\nprint(process_memory())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 2**30 < int(done.stdout) < 4 * 2**30 or int(done.stdout) == available_memory()


def test_the_limit_of_a_users_control_group_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Login nodes limit what all processes of a user take together."""
    free = available_memory()
    (tmp_path / "memory.max").write_text(f"{free // 2}\n")
    unlimited = tmp_path / "session"
    unlimited.mkdir()
    (unlimited / "memory.max").write_text("max\n")
    groups = [unlimited / "memory.max", tmp_path / "memory.max"]
    monkeypatch.setattr(quantities, "_own_groups", lambda: groups)
    assert available_memory() <= free // 2
    assert process_memory() <= free // 2


def test_control_groups_are_those_up_to_the_root() -> None:
    found = quantities._own_groups()
    assert all(path.name == "memory.max" and path.is_relative_to("/sys/fs/cgroup") for path in found)
    assert found == [] or found[-1] == Path("/sys/fs/cgroup/memory.max")


FAULTS = """\
import ctypes
import resource
import sys
import numpy as np
from hpckit.base.allocator import keep_freed_memory

if not hasattr(ctypes.CDLL(None), "mallopt"):
    sys.exit("no glibc")
if sys.argv[1] == "kept":
    keep_freed_memory()

def arrays():
    values = np.ones(2**21, np.float32)
    return float((values + values)[0])

arrays()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    arrays()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_arrays_of_a_worker_are_no_new_memory_each_time() -> None:
    def faults(memory: str) -> int:
        command = [sys.executable, "-c", FAULTS, memory]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "no glibc" in done.stderr:
            pytest.skip("another C library")
        return int(done.stdout)

    kept = faults("kept")
    assert kept < 200 and kept <= faults("as it is")


READ = """\
import resource
import sys
from pathlib import Path
from hpckit.base.reading import parsed
from hpckit.errors import DamagedFileError, HpckitError

if sys.argv[1] != "unlimited":
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped * 5 // 4,) * 2)

def parse(file):
    raise {"thread": OSError("Failed to launch worker thread"), "library": ImportError("failed to map segment")}[
        sys.argv[2]
    ]

try:
    parsed(Path(sys.argv[3]), parse, lambda fault: DamagedFileError("damaged"))
except (HpckitError, ImportError) as error:
    print(type(error).__name__, error)
"""


def read_file(path: Path, limit: str, raised: str) -> str:
    command = [sys.executable, "-c", READ, limit, raised, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_what_libraries_raise_without_memory_is_no_damage(tmp_path: Path) -> None:
    """Or the results in the file would be set aside, and computed again."""
    (path := tmp_path / "file").write_bytes(b"whole")
    said = read_file(path, "limited", "thread")
    assert said.startswith(
        f"FileUnavailableError {path} cannot be read: Failed to launch worker thread; the address "
    )
    assert read_file(path, "limited", "library") == "ImportError failed to map segment"
    assert read_file(path, "unlimited", "thread") == "DamagedFileError damaged: Failed to launch worker thread"


LIMITED = """\
import resource
import sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]) * 2**20,) * 2)
from hpckit.cli import main
main(sys.argv[2:])
"""


def test_a_limit_that_is_too_low_for_the_libraries_is_refused_before_they_are_loaded(tmp_path: Path) -> None:
    def call(mib: int, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", LIMITED, str(mib), *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    missing = str(tmp_path / "campaign.yaml")
    refused = call(400, "run", missing)
    assert refused.returncode == 1 and refused.stderr.splitlines() == [
        "hpckit: the address space of a process is limited to 400.0 MiB here by `ulimit -v`, "
        "and 700.0 MiB are needed",
        "  hint: raise the limit (`ulimit -v unlimited`), or run on a compute node",
    ]
    assert call(400, "run", "--help").returncode == 0
    assert missing in call(2000, "run", missing).stderr


@pytest.mark.parametrize("raised", ["MemoryError()", 'RuntimeError("can\'t start new thread")'])
def test_a_limit_that_is_met_is_named(raised: str) -> None:
    code = (
        "import resource\nfrom hpckit.base.quantities import tight_address_space\nfrom hpckit.cli import _explain\n"
        "resource.setrlimit(resource.RLIMIT_AS, (100 * 2**30,) * 2)\nassert not tight_address_space()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2**20,) * 2)\n"
        f"raise SystemExit(_explain({raised}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the address space of a process is limited to 1.0 MiB here by `ulimit -v`" in done.stderr
    assert "hint: run with fewer workers" in done.stderr and "hpckit itself" not in done.stderr
