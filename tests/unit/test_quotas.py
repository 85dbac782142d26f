"""Quotas: formats as the programs' manuals describe them, programs that fail or hang, plans that do not fit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.base import quotas
from hpckit.base.disks import Disk
from hpckit.base.mounts import mount_of
from hpckit.base.quotaformats import Quota, read_lfs, read_mmlsquota, read_quota, read_xfs
from hpckit.base.quotas import Headroom, UnknownError, ask, headroom
from hpckit.errors import PlanError
from hpckit.production.quotas import by_quota, describe_quotas, require_quota
from hpckit.sites.probe.quotas import quota_findings
from hpckit.sites.site import site_from

KIB = 1024
GPFS = (
    "mmlsquota::HEADER:version:reserved:reserved:filesystemName:quotaType:id:name:blockUsage:blockQuota:blockLimit:"
    "blockInDoubt:blockGrace:filesUsage:filesQuota:filesLimit:filesInDoubt:filesGrace:remarks:quota:defQuota:fid:"
    "filesetname:\n"
)


def gpfs(kind: str, name: str, fileset: str, *, device: str = "gpfs0", doubt: int = 0) -> str:
    return (
        f"mmlsquota::0:1:::{device}:{kind}:1:{name}:100:900:1000:{doubt}:none:5:0:50:0:none:e:on:off:0:{fileset}:\n"
    )


@given(*[st.integers(0, 2**50)] * 6, st.booleans(), st.booleans())
def test_numbers_of_lustre_are_read_whether_the_row_is_wrapped_or_marked(
    used: int, soft: int, hard: int, files: int, soft_files: int, hard_files: int, wrapped: bool, marked: bool
) -> None:
    star, end = "*" if marked else "", "\n" if wrapped else ""
    text = f"/scratch{end}   {used}{star}  {soft}  {hard}  -  {files}{star} {soft_files} {hard_files}   6d23h\n"
    found = read_lfs(text, "user quota")
    assert found == Quota(
        "user quota",
        used * KIB,
        soft * KIB or None,
        hard * KIB or None,
        files,
        soft_files or None,
        hard_files or None,
    )
    assert (found.free_bytes is None) == (not soft and not hard)
    assert found.free_bytes is None or 0 <= found.free_bytes <= (hard or soft) * KIB


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no numbers"),
        ("lfs: unknown id", "no numbers"),
        ("/scratch [12] 0 100 - 5 0 0 -", "does not answer"),
        ("/work 5 0 0 - 1 0 0 -\npid 42 is using default block quota setting\n", "default quota"),
        ("/work a b c - 1 0 0 -", "invalid literal"),
    ],
)
def test_answers_of_lustre_that_say_nothing_certain(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_lfs(text, "user quota")


def test_gpfs_by_the_names_of_its_header() -> None:
    text = GPFS + gpfs("USR", "jdoe", "root") + gpfs("USR", "jdoe", "data", doubt=50)
    text += gpfs("FILESET", "da%3Ata", "") + gpfs("USR", "jdoe", "data", device="other")
    found = read_mmlsquota(text, "gpfs0", "data")
    assert [quota.what for quota in found] == ["user quota", "quota of fileset da:ta"]
    assert found[0] == Quota("user quota", 150 * KIB, 900 * KIB, 1000 * KIB, 5, None, 50)
    # Fields in another order, as another version may have them.
    swapped = "mmlsquota::HEADER:filesLimit:blockLimit:filesUsage:blockUsage:quotaType:filesystemName:\n"
    swapped += "mmlsquota::0:9:8:7:6:USR:gpfs0:\n"
    assert read_mmlsquota(swapped, "gpfs0", None) == [Quota("user quota", 6 * KIB, None, 8 * KIB, 7, None, 9)]
    for nothing in ("", "mmlsquota: 6027-1388 File system x is not known", "mmlsquota::0:1:::gpfs0:USR:\n"):
        with pytest.raises(ValueError, match="no HEADER"):
            read_mmlsquota(nothing, "gpfs0", None)


def test_quota_of_linux() -> None:
    text = (
        "Disk quotas for user jdoe (uid 1000): \n"
        "     Filesystem  blocks   quota   limit   grace   files   quota   limit   grace\n"
        "nas:/home  5000*  4000  6000  1764582000  120  0  0  0\n"
        "Disk quotas for group eo (gid 100): none\n"
    )
    assert read_quota(text) == [Quota("user quota", 5000 * KIB, 4000 * KIB, 6000 * KIB, 120, None, None)]
    assert read_quota(text)[0].is_over_soft()
    with pytest.raises(ValueError, match="other columns"):
        read_quota("nas:/home 1 2 3\n")


def test_quota_of_xfs() -> None:
    blocks, files = (
        "/dev/sdb1  5120  40960  51200  00 [--------] /data\n",
        "/dev/sdb1  3  0  1000  00 [6 days] /data\n",
    )
    assert read_xfs(blocks, files, "user quota") == Quota(
        "user quota", 5120 * KIB, 40960 * KIB, 51200 * KIB, 3, None, 1000
    )
    with pytest.raises(ValueError, match="no numbers"):
        read_xfs("", files, "user quota")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for programs that alone are found, and a list of mounts."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(quotas, "_PLACES", ())
    return tmp_path


def program(cluster: Path, name: str, script: str) -> None:
    path = cluster / "bin" / name
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(0o755)


def mounted(cluster: Path, kind: str, source: str = "srv:/work", options: str = "rw") -> Path:
    path = cluster / "mounts"
    path.write_text(f"/dev/vda / ext4 rw 0 0\n{source} {cluster}/work {kind} {options} 0 0\n")
    return path


def test_lustre_asks_for_user_group_and_project(cluster: Path) -> None:
    program(
        cluster,
        "lfs",
        'echo "$@" >> "$0.calls"\n'
        'case "$*" in "project -d"*) echo "42 P $3";;'
        ' *"-p 42"*) echo "$5 100 0 300 - 10 0 20 -";; *) echo "$5 100 0 0 - 10 0 0 -";; esac',
    )
    found = headroom(cluster / "work" / "new" / "cube.zarr", mounts=mounted(cluster, "lustre"))
    assert found.unknown == () and len(found.quotas) == 3
    tight, files = found.tightest_bytes(), found.tightest_files()
    assert tight is not None and files is not None
    assert (tight.what, tight.free_bytes, files.free_files) == ("project 42", 200 * KIB, 10)
    calls = (cluster / "bin" / "lfs.calls").read_text().splitlines()
    assert calls[0] == f"quota -q -u {os.getuid()} {cluster}/work"
    assert calls[2:] == [f"project -d {cluster}/work", f"quota -q -p 42 {cluster}/work"]


def test_gpfs_asks_for_the_fileset_of_the_folder(cluster: Path) -> None:
    program(cluster, "mmlsattr", 'echo "file name: $2"; echo "fileset name:         data"')
    program(cluster, "mmlsquota", f"cat <<END\n{GPFS}{gpfs('FILESET', 'data', '')}END")
    found = headroom(cluster / "work", mounts=mounted(cluster, "gpfs", "/dev/gpfs0"))
    assert {quota.what for quota in found.quotas} == {"quota of fileset data"}
    assert found.unknown == ()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("sleep 60", "did not answer within 0.3 s"),
        ("trap '' TERM INT HUP; sleep 60 & wait", "did not answer within 0.3 s"),
        ("echo 'error while getting quota: Connection refused' >&2; exit 1", "failed: error while getting quota"),
        ("exit 3", "failed: exit code 3"),
        ("echo what is this", "is not understood"),
        (None, "`quota` is not installed here"),
    ],
)
def test_a_program_that_hangs_or_fails_makes_the_quota_unknown(cluster: Path, script: str | None, why: str) -> None:
    if script is not None:
        program(cluster, "quota", script)
    begun = time.monotonic()
    found = headroom(cluster / "work", patience_s=0.3, mounts=mounted(cluster, "nfs4"))
    assert time.monotonic() - begun < 10
    assert found.quotas == () and len(found.unknown) == 1 and why in found.unknown[0]
    shown = describe_quotas(Disk(cluster / "work", 1, 10**12), found)
    assert shown == [f"quota of {cluster / 'work'}: unknown, since {found.unknown[0]}"]


def test_one_that_fails_takes_no_other_down(cluster: Path) -> None:
    program(cluster, "lfs", 'case "$*" in *-u*) echo "$5 1 0 9 - 1 0 0 -";; *) exit 1;; esac')
    found = headroom(cluster / "work", mounts=mounted(cluster, "lustre"))
    assert len(found.quotas) == 1 and found.unknown == ("`lfs` failed: exit code 1",)


def test_who_is_over_a_limit_is_read_although_the_program_ends_with_1(cluster: Path) -> None:
    program(cluster, "quota", "echo 'nas:/h 9* 5 9 0 1 0 0 0'; exit 1")
    found = headroom(cluster / "work", mounts=mounted(cluster, "nfs"))
    assert found.quotas[0].free_bytes == 0 and found.unknown == ()


def test_local_file_systems_without_quotas_are_not_asked(cluster: Path) -> None:
    program(cluster, "quota", "touch $0.called")
    for options in ("rw,relatime", "rw,noquota", "rw,prjquota"):
        assert headroom(cluster / "work", mounts=mounted(cluster, "xfs", "/dev/sdb", options)).quotas == ()
    assert not (cluster / "bin" / "quota.called").exists()
    assert headroom(cluster / "work", mounts=mounted(cluster, "xfs", "/dev/sdb", "rw,usrquota")).unknown == ()
    assert (cluster / "bin" / "quota.called").exists()
    assert headroom(cluster / "work", mounts=cluster / "nothing").quotas == ()


def test_a_file_system_without_quotas_is_an_answer(cluster: Path) -> None:
    # As quota 4.06 says it of a mount without quotas.
    program(
        cluster, "quota", "echo 'quota: Mountpoint (or device) /w not found or has no quota enabled.' >&2; exit 1"
    )
    assert headroom(cluster / "work", mounts=mounted(cluster, "nfs4")) == Headroom(cluster / "work")


def test_an_answer_of_any_bytes_is_text(cluster: Path) -> None:
    program(cluster, "quota", "printf '\\377\\376'")
    with pytest.raises(UnknownError, match="not installed"):
        ask(["no-such-program"])
    assert ask(["quota"]) == "\ufffd\ufffd"


def test_mounts_with_spaces_and_links(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a b")
    table = tmp_path / "mounts"
    table.write_text(f"/dev/x / ext4 rw 0 0\nsrv {tmp_path}/a\\040b nfs4 rw,hard 0 0\nshort line\n")
    for path in (tmp_path / "a b", tmp_path / "link" / "new"):
        mount = mount_of(path, table)
        assert mount is not None and (mount.kind, mount.options) == ("nfs4", ("rw", "hard"))


ROOM = Quota("project 42", 900 * KIB, 950 * KIB, 1000 * KIB, 90, None, 100)


@pytest.mark.parametrize(("nbytes", "files"), [(101 * KIB, 0), (0, 11)])
def test_a_plan_that_exceeds_a_quota_is_refused_with_its_name(nbytes: int, files: int) -> None:
    disk, room = Disk(Path("/work"), nbytes, 10**15, files), Headroom(Path("/work"), (ROOM,))
    with pytest.raises(PlanError, match=r"/work: .* are to be written, the project 42 leaves"):
        require_quota(disk, room)


def test_a_plan_that_fits_or_of_which_nothing_is_known_is_not_refused() -> None:
    disk = Disk(Path("/work"), 100 * KIB, 10**15, 10)
    require_quota(disk, Headroom(Path("/work"), (ROOM,)))
    (line,) = describe_quotas(disk, Headroom(Path("/work"), (ROOM,)))
    assert "10 files left" in line and "beyond its soft limit" in line
    require_quota(disk, Headroom(Path("/work"), (), ("it hangs",)))


def test_folders_of_two_projects_on_one_file_system_are_added_up_by_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(folder: Path) -> Headroom:
        return Headroom(folder, (Quota(f"project {folder.name[0]}", 0, None, 1000, 0, None, None),))

    monkeypatch.setattr("hpckit.production.quotas.headroom", of)
    found = by_quota([(tmp_path / "a1", 600, 1), (tmp_path / "b", 900, 2), (tmp_path / "a2", 500, 4)])
    assert [(disk.wanted_bytes, disk.wanted_files, room.quotas[0].what) for disk, room in found] == [
        (1100, 5, "project a"),
        (900, 2, "project b"),
    ]
    with pytest.raises(PlanError, match="project a leaves"):
        require_quota(*found[0])
    require_quota(*found[1])


def test_site_check_reports_what_is_left_and_what_is_unknown(cluster: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"scratch": Headroom(Path("/s"), (ROOM,)), "project": Headroom(Path("/p"), (), ("it hangs",))}
    for name in answers:
        (cluster / name).mkdir()
    monkeypatch.setattr("hpckit.sites.probe.quotas.headroom", lambda path: answers[path.name])
    storage = {name: str(cluster / name) for name in answers}
    site = site_from({"name": "x", "scheduler": "slurm", "storage": storage})
    found = list(quota_findings(site))
    assert [finding.ok for finding in found] == [True, None]
    assert "project 42" in found[0].says and "10 of 100 files left" in found[0].says
    assert found[1].says == "unknown, since it hangs"
