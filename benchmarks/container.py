"""What an image costs and saves: start-up, imports from a cold cache, MPI; inside over outside, in one run.

python benchmarks/container.py [IMAGE] [--command apptainer]

Without IMAGE that of `make test-image` is taken. Dropping the page cache takes root; counting file operations
takes strace. What cannot be measured is said.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpckit.errors import ImageError
from hpckit.sites.image.contents import unpack
from tests.servers import apptainer

PLACE = Path("/var/tmp/hpckit-image-test")
IMPORT = "import hpckit.production.driver, rasterio, pyproj, zarr, numba, pandas, xarray, mpi4py"
TURNS = 5
COLD_TURNS = 3
SIZES = {"8 B": (8, 500), "64 KiB": (2**16, 200), "4 MiB": (2**22, 20)}
PING_PONG = f"""
import json, time
from mpi4py import MPI
import numpy as np
world, found = MPI.COMM_WORLD, {{}}
assert world.size == 2
for name, (size, count) in {SIZES!r}.items():
    block, best = np.zeros(size, np.uint8), []
    for turn in range(6):
        world.Barrier()
        start = time.perf_counter()
        for _ in range(count):
            if world.rank == 0:
                world.Send(block, 1); world.Recv(block, 1)
            else:
                world.Recv(block, 0); world.Send(block, 0)
        best.append((time.perf_counter() - start) / count / 2)
    found[name] = min(best[1:])
if world.rank == 0:
    print(json.dumps(found))
"""
"""Half a round trip in seconds by size of message, the best of five turns after one to warm up."""


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", type=Path, default=PLACE / "images" / "openmpi.sif")
    parser.add_argument("--command", default=str(PLACE / "apptainer" / "apptainer"))
    asked = parser.parse_args()
    if not asked.image.exists() or shutil.which(asked.command) is None:
        print(f"no image {asked.image} or no {asked.command}: `make test-image` makes both")
        return
    print(f"{asked.image}: {asked.image.stat().st_size / 2**20:.0f} MiB")
    start_up(asked.image, asked.command)
    imports(asked.image, asked.command)
    for transport in ("tcp,self", "vader,self"):
        messages(asked.image, asked.command, transport)


def start_up(image: Path, command: str) -> None:
    """`hpckit --version`, in turns."""
    outside = [str(Path(sys.executable).with_name("hpckit")), "--version"]
    inside = [command, "exec", str(image), "hpckit", "--version"]
    nothing = [command, "exec", str(image), "true"]
    found = in_turns({"outside": outside, "inside": inside, "true inside": nothing}, TURNS)
    print(
        f"hpckit --version: outside {found['outside']:.2f} s, inside {found['inside']:.2f} s, ratio "
        f"{found['inside'] / found['outside']:.2f}; entering the image alone {found['true inside']:.2f} s"
    )


def imports(image: Path, command: str) -> None:
    """The same environment out of the image, and unpacked on disk, under the same system."""
    with tempfile.TemporaryDirectory(dir=image.parent, prefix=".bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        unpack(image, folder / "root", ["opt/hpckit"])
        place = folder / "root" / "opt" / "hpckit"
        files = sum(len(names) for _, _, names in os.walk(place))
        python = ["/opt/hpckit/bin/python", "-c", IMPORT]
        packed = [command, "exec", str(image), *python]
        unpacked = [command, "exec", "--bind", f"{place}:/opt/hpckit", str(image), *python]
        commands = {"image": packed, "disk": unpacked}
        warm = in_turns(commands, TURNS)
        told("imports, warm cache", warm)
        if drop_caches():
            told("imports, cold cache", in_turns(commands, COLD_TURNS, before=drop_caches))
        else:
            print("imports, cold cache: not measured, since dropping the page cache takes root")
        operations(unpacked, files)


def told(what: str, found: Mapping[str, float]) -> None:
    """Print two times and their ratio."""
    print(
        f"{what}: image {found['image']:.2f} s, folder {found['disk']:.2f} s, "
        f"ratio {found['image'] / found['disk']:.2f}"
    )


def operations(unpacked: Sequence[str], files: int) -> None:
    """What a parallel file system would be asked: by name, for each file of a folder; for one file, the image."""
    if shutil.which("strace") is None:
        print("file operations: not counted, strace is not installed")
        return
    with tempfile.NamedTemporaryFile(suffix=".strace") as log:
        Path(log.name).chmod(0o666)
        words = ["strace", "-f", "-qq", "-s", "300", "-e", "trace=%file,getdents64", "-o", log.name, *unpacked]
        subprocess.run(words, check=True, capture_output=True)
        calls = [line for line in Path(log.name).read_text(errors="replace").splitlines() if '"/opt/hpckit/' in line]
    opens = sum(re.search(r"\bopen(at)?\(", line) is not None for line in calls)
    print(
        f"file operations of these imports under /opt/hpckit, which has {files} files: {len(calls)}, "
        f"{opens} of them opens; out of an image the file system outside sees the opens of one file"
    )


def messages(image: Path, command: str, transport: str) -> None:
    """Ping-pong of two ranks on this machine."""
    if shutil.which("mpirun.openmpi") is None:
        print("MPI: not measured, Open MPI is not installed")
        return
    # Ranks that wait let others have the core: there may be more to do than there are cores.
    polite = ["--mca", "mpi_yield_when_idle", "1"]
    launch = ["mpirun.openmpi", "-n", "2", "--oversubscribe", *polite, "--mca", "btl", transport]
    outside = [*launch, sys.executable, "-c", PING_PONG]
    inside = [*user(), *launch, command, "exec", str(image), "python", "-c", PING_PONG]
    results = {}
    for name, words in (("outside", outside), ("inside", inside)):
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment(name), cwd="/tmp")
        line = next((line for line in done.stdout.splitlines() if line.startswith("{")), None)
        if line is None:
            print(f"MPI over {transport} {name}: failed: {done.stderr.strip()[-300:]}")
            return
        results[name] = json.loads(line)
    for size, (count, _) in SIZES.items():
        before, after = results["outside"][size], results["inside"][size]
        rates = f", {count / before / 1e9:.2f} and {count / after / 1e9:.2f} GB/s" if count > 2**10 else ""
        print(
            f"MPI over {transport}, {size}: outside {1e6 * before:.1f} µs, inside {1e6 * after:.1f} µs, "
            f"ratio {after / before:.2f}{rates}"
        )


def in_turns(
    commands: Mapping[str, Sequence[str]], turns: int, before: Callable[[], object] | None = None
) -> dict[str, float]:
    """Median seconds of each command; they take turns, so that other work on the machine meets all of them."""
    found: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(turns):
        for name, words in commands.items():
            if before is not None:
                before()
            start = time.perf_counter()
            subprocess.run(words, check=True, capture_output=True)
            found[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in found.items()}


def drop_caches() -> bool:
    """Forget what was read; False where one may not."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3\n")
    except OSError:
        return False
    return True


def user() -> list[str]:
    """Words before a command: root hands over to the ordinary user of the tests."""
    if os.geteuid() != 0:
        return []
    return ["setpriv", "--reuid", apptainer.USER, "--regid", apptainer.USER, "--clear-groups"]


def environment(name: str) -> dict[str, str]:
    """Of the ranks; root is allowed to start them outside."""
    found = {**os.environ, "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if name == "inside" and os.geteuid() == 0:
        found["HOME"] = f"/home/{apptainer.USER}"
    return found


if __name__ == "__main__":
    try:
        main()
    except ImageError as error:
        sys.exit(f"{error}; {error.hint}")
