"""Does an image work here: its own test, its MPI under this launcher, writable scratch, what is to be bound?"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hpckit.base.findings import Finding
from hpckit.base.version import __version__
from hpckit.jobs.ranks import try_ranks
from hpckit.sites.image.info import Info, read_info
from hpckit.sites.image.recipe import mpi_of
from hpckit.sites.image.sif import require_usable
from hpckit.sites.image.tools import command_of, has_fuse, last_line, run
from hpckit.sites.site import Site

_TEST_S: Final = 900


def check(
    path: Path,
    site: Site | None,
    *,
    command: str = "apptainer",
    with_test: bool = True,
    with_ranks: bool = True,
    account: str = "",
    wait_s: float = 900,
) -> list[Finding]:
    """Try an image on this machine, as jobs of a site would use it.

    Parameters
    ----------
    with_test, with_ranks : bool
        Whether to run the image's own test, and two ranks, which may take a job.
    account, wait_s
        Of that job: who pays, and seconds after which it is given up.

    Raises
    ------
    ImageError
        If it is no whole image for this processor, or Apptainer is missing.
    SiteError
        If the site wants an account for a job and nobody names one.
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
        if with_ranks:
            findings.append(_mpi(info, site) or try_ranks(path, site, found, account=account, wait_s=wait_s))
    return findings


def _version(info: Info) -> Finding:
    ok = info.version == __version__
    says = f"{info.version or 'none'} in the image, {__version__} here"
    return Finding(
        "version of hpckit", ok, says, "build the image again, or submit with the version that it contains"
    )


def _scratch(command: str, path: Path) -> Finding:
    with tempfile.TemporaryDirectory(prefix="hpckit image ") as name:
        folder = Path(name)
        folder.chmod(0o777)
        # As one line of CSV: the folder's name has spaces on purpose.
        mount = f'type=bind,"source={folder}",destination=/hpckit-check'
        done = run([command, "exec", "--mount", mount, str(path), "touch", "/hpckit-check/written"], 120)
        ok = done.returncode == 0 and (folder / "written").exists()
    return Finding(
        "writable scratch", ok, "a bound folder can be written" if ok else last_line(done), "see what it says"
    )


def _own_test(command: str, path: Path) -> Finding:
    done = run([command, "test", str(path)], _TEST_S)
    truth = re.search(
        r"NDVI of \d+ clear parcel observations: at most [\d.]+ from the truth", done.stderr + done.stdout
    )
    says = truth.group() if truth is not None and done.returncode == 0 else last_line(done)
    return Finding("its own test", done.returncode == 0, says, f"{command} test {path} shows all of it")


def _binds(command: str, path: Path, site: Site) -> Iterator[Finding]:
    for text in site.container.binds:
        source = os.path.expandvars(text.partition(":")[0])
        if "$" in source:
            yield Finding(f"bind {text}", None, "set in jobs only")
            continue
        there = Path(source).exists()
        yield Finding(f"bind {text}", there, source if there else f"{source} is not here", "correct container.binds")


def _gpu(command: str, path: Path, site: Site) -> Iterator[Finding]:
    if not any(partition.gpus for partition in site.partitions):
        return
    if not Path("/proc/driver/nvidia/version").exists():
        yield Finding("GPU", None, "this machine has no NVIDIA driver: try it on a GPU node")
        return
    words = [command, "exec", "--nv", str(path), "python", "-c", "from numba import cuda; print(cuda.gpus)"]
    done = run(words, 120)
    yield Finding("GPU", done.returncode == 0, last_line(done), "is the driver newer than the CUDA of the image?")


def _mpi(info: Info, site: Site) -> Finding | None:
    """What can be said of the MPI without trying it."""
    if site.mpi.launcher == "none":
        return Finding("MPI", None, "the site starts no ranks by MPI")
    wanted = mpi_of(site)
    if site.container.mpi == "hybrid" and info.mpi not in ("", wanted):
        says = f"{info.mpi} in the image, {site.mpi.flavour or wanted} at the site"
        return Finding("MPI", False, says, f"hpckit image build --mpi {wanted}")
    return None
