"""`hpckit doctor` in environments that are wrong in one way each; probes that crash, hang and print."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hpckit.base.findings import Finding, failed
from hpckit.base.quotas import headroom
from hpckit.jobs.doctor import quotas as doctor_quotas
from hpckit.jobs.doctor.examine import PROBES, Probe, examine
from hpckit.sites.probe import quotas

pytestmark = pytest.mark.slow

BY_NAME = {probe.name: probe for probe in PROBES}
ROOT = Path(__file__).parents[2]


def found(name: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in examine([BY_NAME[name]], timeout_s=60)}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that probes may name."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    return tmp_path


def test_probes_that_crash_hang_or_print_harm_no_other(modules: Path) -> None:
    (modules / "crashes.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    (modules / "hangs.py").write_text(
        "import pathlib, subprocess\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"pathlib.Path({str(modules / 'pid')!r}).write_text(str(child.pid))\n"
        "def examine(): child.wait()\n"
    )
    (modules / "fails.py").write_text("def examine(): return 1 / 0\n")
    (modules / "prints.py").write_text(
        "import os\nfrom hpckit.base.findings import Finding\n"
        "def examine():\n    os.write(1, b'a library greets')\n    print('so does another')\n"
        "    return [Finding('printing', True, 'done')]\n"
    )
    names = ("crashes", "hangs", "fails", "prints", "is_not_there")
    start = time.monotonic()
    findings = examine([Probe(name, name, name, needed=name == "crashes") for name in names], timeout_s=4)
    assert time.monotonic() - start < 6
    by_name = {finding.what: finding for finding in findings}
    assert [*by_name] == ["crashes", "hangs", "fails", "printing", "is_not_there"]
    assert by_name["printing"] == Finding("printing", True, "done")
    assert (by_name["crashes"].ok, "SIGSEGV" in by_name["crashes"].says) == (False, True)
    assert (by_name["hangs"].ok, by_name["hangs"].says) == (None, "no answer within 4 s")
    assert "ZeroDivisionError" in by_name["fails"].says and "is_not_there" in by_name["is_not_there"].says
    assert failed(findings) and not failed(finding for finding in findings if finding.what != "crashes")
    assert all(finding.ok or finding.remedy for finding in findings)
    child = Path(f"/proc/{(modules / 'pid').read_text()}/stat")
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] in "ZX", "its child was killed too"


def test_a_gdal_without_jpeg_2000_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_SKIP", "JP2OpenJPEG JP2Grok JP2KAK JP2ECW JP2MrSID")
    findings = found("gdal")
    assert (findings["JPEG 2000"].ok, findings["JPEG 2000"].needed) == (False, True)
    assert findings["GDAL_SKIP"].remedy.startswith("`unset GDAL_SKIP`")


def test_data_of_another_proj_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proj.db").write_bytes(b"no database")
    monkeypatch.setenv("PROJ_DATA", str(tmp_path))
    findings = found("proj")
    wrong = [finding for finding in findings.values() if finding.ok is False]
    assert failed(wrong) and all("unset PROJ_DATA PROJ_LIB" in finding.remedy for finding in wrong)


def test_versions_that_do_not_fit_and_the_other_project(modules: Path) -> None:
    for name, version in (("zarr", "2.18.7"), ("hpckit", "1.0")):
        folder = modules / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    findings = found("packages")
    if "packages" in findings:
        pytest.skip("hpckit is not installed in this environment")
    assert (findings["zarr"].ok, findings["zarr"].needed) == (False, True)
    assert "2.18.7" in findings["zarr"].says and "pip install 'zarr" in findings["zarr"].remedy
    other = found("python")["hpckit"]
    assert (other.ok, other.needed) == (False, False) and "another project" in other.says


def test_a_launcher_of_another_mpi_than_mpi4py_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mpi4py")
    before = found("mpi")["mpi4py"]
    if before.ok is not True:
        pytest.skip("there is no MPI here that fits")
    other = (
        "HYDRA build details:\n    Version:                                 4.0.2"
        if "Open MPI" in before.says
        else "mpirun (Open MPI) 4.1.4"
    )
    (tmp_path / "mpirun").write_text(f"#!/bin/sh\necho '{other}'\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    after = found("mpi")["mpi4py"]
    assert (after.ok, after.needed) == (False, False) and "believes that it is alone" in after.remedy


def test_a_launcher_that_hangs_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mpirun").write_text("#!/bin/sh\nsleep 600\n")
    (tmp_path / "mpirun").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    [finding] = examine([BY_NAME["mpi"]], timeout_s=2)
    assert (finding.what, finding.ok) == ("MPI", None)


def test_locale_limits_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.ISO-8859-1")
    monkeypatch.setenv("PYTHONUTF8", "0")
    assert found("locale")["locale"].remedy.startswith("`export LC_ALL=C.UTF-8`")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "is" / "not"))
    monkeypatch.setenv("SCRATCH", str(tmp_path / "gone"))
    space = found("space")
    assert space["TMPDIR"].ok is False and "is used" in space["TMPDIR"].says
    assert space["$SCRATCH"].ok is False and space["temporary folder"].ok is True
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert found("kernels")["compiled kernels"].ok is False


def test_a_quota_that_is_nearly_used_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "lfs"
    program.write_text('#!/bin/sh\necho "$5 990 0 1000 - 1 0 0 -"\n')
    program.chmod(0o755)
    mounts = tmp_path / "mounts"
    mounts.write_text(f"10.0.0.1@o2ib:/work {tmp_path} lustre rw,usrquota 0 0\n")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quotas, "headroom", partial(headroom, mounts=mounts))
    findings = list(doctor_quotas.examine())
    assert findings and {finding.what for finding in findings} == {"quota of this folder"}, "once for a file system"
    assert findings[0].ok is False and not failed(findings)
    assert "10 KiB of 1000 KiB" in findings[0].says.replace(".0", "") and findings[0].remedy


def doctor(*words: str, before: str = "") -> subprocess.CompletedProcess[str]:
    command = f"{before} exec {sys.executable} -m hpckit doctor {' '.join(words)}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)


def test_the_command(tmp_path: Path) -> None:
    done = doctor("--json", "--timeout=120", before="ulimit -n 100;")
    told: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    names = [finding["what"] for finding in told]
    assert len(set(names)) == len(names) and {"Python", "GDAL", "PROJ of pyproj", "SQLite", "scheduler"} <= {*names}
    [files] = [finding for finding in told if finding["what"] == "open files"]
    assert (files["ok"], files["says"]) == (False, "at most 100")
    shown = doctor("--timeout=0.1")
    assert shown.returncode == 0 and "no answer within 0.1 s" in shown.stdout and "->" in shown.stdout
    assert doctor("--timeout=0").returncode == 2
    without = "export TMPDIR=/tmp/[bold];"
    assert "/tmp/[bold] cannot be written" in doctor("--timeout=120", before=without).stdout, "brackets are text"
    broken = doctor("--timeout=120", before=f"export PROJ_DATA={tmp_path} PROJ_LIB={tmp_path};")
    assert broken.returncode == 1 and "ERROR" in broken.stdout
