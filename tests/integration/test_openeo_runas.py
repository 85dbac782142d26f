"""Jobs of the users' own: a real sudo, a real user of this machine, and commands that are refused."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpckit.errors import BusyError, SubmissionError
from hpckit.jobs.jobarrays import Request
from hpckit.serve.openeo import runas
from hpckit.serve.openeo.jobfolder import Job, create, new_id, stamp
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.openeo]

USER, GROUP = "hpckit-eo-test", "hpckit-eo-test"
RULES = Path("/etc/sudoers.d/hpckit-eo-test")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that all can enter, a user, and a command that sudo lets root run as this user only below it."""
    if os.getuid() != 0 or shutil.which("sudo") is None or shutil.which("useradd") is None:
        pytest.skip("needs root, sudo and useradd")
    folder = Path("/tmp/hpckit-eo-test")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o755)
    subprocess.run(["useradd", "--user-group", "--no-create-home", USER], check=True, capture_output=True)
    command = folder / "hpckit"
    command.write_text(
        "#!/bin/sh\n"
        # It does what the account may do, and no more: it writes who it is beside the campaign.
        'printf "%s\\n" "$(id -un)" "$@" > "$(dirname "$2")/ran" && echo "told on stderr" >&2\n'
        'exit "$(cat "$(dirname "$0")/code")"\n'
    )
    (folder / "code").write_text("3")
    command.chmod(0o755)
    jobs = folder / "jobs"
    RULES.write_text(
        f"Defaults!{command} umask=0007, umask_override\n"
        f"root ALL=(%{GROUP}) NOPASSWD: {command} submit {jobs}/*, {command} cancel {jobs}/*\n"
    )
    RULES.chmod(0o440)
    yield folder
    RULES.unlink()
    subprocess.run(["userdel", USER], check=False, capture_output=True)
    shutil.rmtree(folder)


def job_of(place: Path, user: str) -> runas.JobFolder:
    now = stamp()
    job = Job(new_id(), "anna", {}, now, now, "localhost", cluster_user=user, command=str(place / "hpckit"))
    return create(place / "jobs", job)


def test_a_command_runs_as_the_owner_and_writes_for_the_group(place: Path):
    folder = job_of(place, USER)
    runas.share(folder, GROUP)
    with pytest.raises(SubmissionError, match="as hpckit-eo-test failed: told on stderr"):
        runas._as_owner(folder, "submit", runas._words(Request(account="lab", partition="thin")))
    ran = folder.path / "ran"
    assert ran.read_text().splitlines() == [
        USER,
        "submit",
        str(folder.campaign),
        "--account",
        "lab",
        "--partition",
        "thin",
    ]
    assert pwd.getpwuid(ran.stat().st_uid).pw_name == USER
    assert ran.stat().st_mode & 0o077 == 0o060, "the group may read and delete it, and others may not"
    assert (folder.path.stat().st_mode & 0o7777) == 0o2770


def test_a_command_that_may_succeed_later_is_no_failure(place: Path, monkeypatch: pytest.MonkeyPatch):
    """Such as one that finds that of a killed follower still at work, or takes longer than is waited for."""
    folder = job_of(place, USER)
    runas.share(folder, GROUP)
    (place / "code").write_text("75")
    with pytest.raises(BusyError, match="as hpckit-eo-test: told on stderr"):
        runas._as_owner(folder, "submit", [])
    (place / "hpckit").write_text('#!/bin/sh\nsleep 1; touch "$(dirname "$2")/went-on"\n')
    monkeypatch.setattr(runas, "_LONGEST_S", 0.1)
    with pytest.raises(BusyError, match="has not ended"):
        runas._as_owner(folder, "submit", [])
    until((folder.path / "went-on").exists, 10, "for the command, which is not killed")


@pytest.mark.parametrize("user", ["root;id", "-u root", "", "nobody here", "Anna", "$(id)"])
def test_names_that_are_none_get_nowhere(place: Path, user: str):
    folder = job_of(place, user)
    with pytest.raises(SubmissionError, match="no user of the cluster"):
        runas._as_owner(folder, "submit", [])
    assert not (folder.path / "ran").exists()


@pytest.mark.parametrize("value", ["--uid=0", "a b", "x\n--foo", "$(id)", ""])
def test_words_that_are_none_get_nowhere(value: str):
    with pytest.raises(SubmissionError, match="is no name"):
        runas._words(Request(account=value))


def test_users_outside_of_the_rule_are_refused_by_sudo(place: Path):
    subprocess.run(["useradd", "--no-create-home", "hpckit-eo-other"], check=True, capture_output=True)
    try:
        folder = job_of(place, "hpckit-eo-other")
        # root may do everything by the usual rule of sudo; only this account's own rule counts here.
        listed = subprocess.run(["sudo", "-n", "-l", "-U", USER], capture_output=True, text=True, check=False)
        assert "not allowed" in listed.stdout + listed.stderr
        done = subprocess.run(
            [
                "sudo",
                "-n",
                "-u",
                USER,
                "--",
                "sudo",
                "-n",
                "-u",
                "hpckit-eo-other",
                "--",
                str(place / "hpckit"),
                "submit",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert not (folder.path / "ran").exists()
    finally:
        subprocess.run(["userdel", "-r", "hpckit-eo-other"], check=False, capture_output=True)
