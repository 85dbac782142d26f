"""Does an image work here: its own test, its MPI under this launcher, writable scratch, what is to be bound?"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from hpckit.errors import ImageError
from hpckit.image.info import Info, read_info
from hpckit.image.recipe import mpi_of
from hpckit.image.sif import require_usable
from hpckit.image.tools import command_of, has_fuse
from hpckit.probe.check import Finding
from hpckit.site import Site

HELLO: Final = (
    "from mpi4py import MPI; w = MPI.COMM_WORLD; import socket; "
    "print('hello', w.rank, w.size, socket.gethostname(), MPI.Get_library_version().split(',')[0].replace(' ', '_'))"
)
"""What each rank runs: it greets with its number, the size of its world, its host and its MPI."""
_RANKS: Final = 2
_TEST_S: Final = 900
_HELLO_S: Final = 300


def check(path: Path, site: Site | None, *, command: str = "apptainer", with_test: bool = True) -> list[Finding]:
    """Try an image on this machine, as jobs of a site would use it.

    Raises
    ------
    ImageError
        If it is no whole image for this processor, or Apptainer is missing.
    """
    require_usable(path)
    found, program, version = command_of(command)
    info = read_info(path, found)
    findings = [
        Finding("image", True, f"hpckit {info.version or 'unknown'}, MPI {info.mpi or 'unknown'}"),
        Finding("program", True, f"{program} {'.'.join(map(str, version))}"),
        Finding(
            "mounted, not unpacked",
            has_fuse() or None,
            "squashfuse and /dev/fuse are there" if has_fuse() else "each start unpacks it to a temporary folder",
            "install squashfuse, and open /dev/fuse",
        ),
    ]
    findings += [_version(info), _scratch(found, path)]
    if with_test:
        findings.append(_own_test(found, path))
    if site is not None:
        findings += [*_binds(found, path, site), *_gpu(found, path, site)]
        findings += _mpi(found, path, info, site)
    return findings


def _version(info: Info) -> Finding:
    import hpckit

    ok = info.version == hpckit.__version__
    says = f"{info.version or 'none'} in the image, {hpckit.__version__} here"
    return Finding("version of hpckit", ok, says, "build the image anew, or submit with the version that it holds")


def _scratch(command: str, path: Path) -> Finding:
    with tempfile.TemporaryDirectory(prefix="hpckit image ") as name:
        folder = Path(name)
        folder.chmod(0o777)
        # As one line of CSV: the folder's name has spaces on purpose.
        mount = f'type=bind,"source={folder}",destination=/hpckit-check'
        done = _run([command, "exec", "--mount", mount, str(path), "touch", "/hpckit-check/written"], 120)
        ok = done.returncode == 0 and (folder / "written").exists()
    return Finding("writable scratch", ok, "a bound folder can be written" if ok else _last(done), "see what it says")


def _own_test(command: str, path: Path) -> Finding:
    done = _run([command, "test", str(path)], _TEST_S)
    truth = re.search(
        r"NDVI of \d+ clear parcel observations: at most [\d.]+ from the truth", done.stderr + done.stdout
    )
    says = truth.group() if truth is not None and done.returncode == 0 else _last(done)
    return Finding("its own test", done.returncode == 0, says, f"{command} test {path} shows all of it")


def _binds(command: str, path: Path, site: Site) -> Iterator[Finding]:
    for text in site.container.binds:
        source = os.path.expandvars(text.partition(":")[0])
        if "$" in source:
            yield Finding(f"bind {text}", None, "set in jobs only")
            continue
        there = Path(source).exists()
        yield Finding(f"bind {text}", there, source if there else f"{source} is not here", "mend container.binds")


def _gpu(command: str, path: Path, site: Site) -> Iterator[Finding]:
    if not any(partition.gpus for partition in site.partitions):
        return
    if not Path("/proc/driver/nvidia/version").exists():
        yield Finding("GPU", None, "this machine has no NVIDIA driver: try it on a GPU node")
        return
    words = [command, "exec", "--nv", str(path), "python", "-c", "from numba import cuda; print(cuda.gpus)"]
    done = _run(words, 120)
    yield Finding("GPU", done.returncode == 0, _last(done), "is the driver newer than the CUDA of the image?")


def _mpi(command: str, path: Path, info: Info, site: Site) -> Iterator[Finding]:
    if site.mpi.launcher == "none":
        yield Finding("MPI", None, "the site starts no ranks by MPI")
        return
    wanted = mpi_of(site)
    if site.container.mpi == "hybrid" and info.mpi not in ("", wanted):
        says = f"{info.mpi} in the image, {site.mpi.flavour or wanted} at the site"
        yield Finding("MPI", False, says, f"hpckit image build --mpi {wanted}")
        return
    yield judge_hello(_hello(command, path, site), _RANKS)


def _hello(command: str, path: Path, site: Site) -> subprocess.CompletedProcess[str]:
    """Two ranks, on two nodes where that is srun's or the allocation's to decide."""
    count = ["--ntasks=2", "--nodes=2"] if site.mpi.launcher == "srun" else ["-n", "2"]
    words = [site.mpi.launcher, *count, *site.mpi.options]
    inside = [command, "exec", *site.container.options, str(path), "python", "-c", HELLO]
    return _run([*words, *inside], _HELLO_S, site.environment)


def judge_hello(done: subprocess.CompletedProcess[str], ranks: int) -> Finding:
    """What the greetings of ranks tell: one world, or as many worlds as ranks."""
    greetings = re.findall(r"^hello (\d+) (\d+) (\S+) (\S+)", done.stdout, re.MULTILINE)
    sizes = {int(size) for _, size, _, _ in greetings}
    hosts = ", ".join(sorted({host for _, _, host, _ in greetings}))
    if done.returncode == 0 and sizes == {ranks} and len(greetings) == ranks:
        library = greetings[0][3].replace("_", " ")
        return Finding(f"{ranks} ranks", True, f"one world of {ranks} on {hosts}; {library}")
    if sizes == {1} and len(greetings) > 1:
        says = f"{len(greetings)} times rank 0 of 1: the launcher and the image's MPI do not know each other"
        remedy = (
            "same MPI on both sides (hpckit image build --mpi …), the PMI that it speaks (mpi.options: --mpi=pmi2)"
        )
        return Finding(f"{ranks} ranks", False, says, remedy)
    return Finding(f"{ranks} ranks", False, _last(done), "run it by hand: the launcher, then apptainer exec")


def _run(
    words: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 124, "", f"no end within {timeout_s:.0f} s")
    except OSError as error:
        raise ImageError(f"{words[0]}: {error}") from error


def _last(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
    return re.sub(r"\x1b\[[0-9;]*m", "", lines[-1].strip())[:300] if lines else f"exit code {done.returncode}"
