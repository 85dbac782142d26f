"""Two people of one group continue one run, as real users of the kernel; a third one is kept out."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.runs.journal import read_journal
from tests.integration.people import GROUP, Person, hpckit, people, share
from tests.small_campaign import make, results, same

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]


class Group:
    def __init__(self, folder: Path, one: Person, other: Person, stranger: Person) -> None:
        self.folder, self.one, self.other, self.stranger = folder, one, other, stranger
        self.path = folder / "campaign.yaml"
        self.run_dir = folder / "test.run"

    def start(self, person: Person, *words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            person.words(*hpckit(*words)),
            cwd=self.folder,
            env=person.environment(),
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def closed(self) -> list[Path]:
        """What the group could not change."""
        found = [self.folder, *self.folder.rglob("*")]
        needed = {True: 0o2070, False: 0o060}
        return [
            path
            for path in found
            if (facts := path.lstat()).st_gid != GROUP
            or facts.st_mode & needed[stat.S_ISDIR(facts.st_mode)] != needed[stat.S_ISDIR(facts.st_mode)]
        ]


@pytest.fixture
def group() -> Iterator[Group]:
    with people() as (folder, one, other, stranger):
        shared = folder / "campaign"
        shared.mkdir()
        make(shared)
        with (shared / "campaign.yaml").open("a") as file:
            file.write("group: true\n")
        share(shared, one)
        yield Group(shared, one, other, stranger)


def wait_for_a_unit(group: Group, process: subprocess.Popen[bytes]) -> None:
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        if any((group.run_dir / "journal").glob("*.jsonl")):
            return
        time.sleep(0.01)
    raise AssertionError(process.stderr.read().decode() if process.stderr else "")


def test_one_continues_what_the_other_began_and_was_killed_in(group: Group, tmp_path: Path) -> None:
    first = group.start(group.one, "run", "campaign.yaml", "--workers", "1")
    wait_for_a_unit(group, first)
    os.killpg(first.pid, signal.SIGSTOP)  # so that it is at work still, however slow the other one starts
    busy = group.other.run(*hpckit("run", "campaign.yaml", "--workers", "1"), folder=group.folder)
    assert busy.returncode == 75 and f"of {group.one.number} on" in busy.stderr and "Traceback" not in busy.stderr
    os.killpg(first.pid, signal.SIGKILL)
    assert first.wait(60) == -signal.SIGKILL
    assert group.closed() == []
    done = group.other.run(*hpckit("run", "campaign.yaml", "--workers", "1"), folder=group.folder)
    assert done.returncode == 0, done.stderr
    assert group.closed() == []
    owners = {path.stat().st_uid for path in group.run_dir.rglob("*.jsonl")}
    assert owners == {group.one.number, group.other.number}, "both wrote a part of it"
    # Each unit was done once, although another person continued.
    finished = [entry.unit for entry in read_journal(group.run_dir) if entry.state == "done"]
    assert len(finished) == len(set(finished))
    alone = tmp_path / "alone"
    alone.mkdir()
    make(alone)
    subprocess.run(hpckit("run", "campaign.yaml", "--workers", "1"), cwd=alone, check=True, capture_output=True)
    same(results(load_campaign(group.path)), results(load_campaign(alone / "campaign.yaml")))
    # The first person can still do everything: load again, verify, and look.
    for words in (("verify", "campaign.yaml"), ("sync", "campaign.yaml"), ("status", "campaign.yaml")):
        again = group.one.run(*hpckit(*words), folder=group.folder)
        assert again.returncode == 0, again.stderr
    # Code is loaded from caches in the home folder: those are not the group's.
    for home in (group.one.home, group.other.home):
        assert not [path for path in home.rglob("*") if path.stat().st_mode & 0o022]


def test_who_is_kept_out_gets_one_sentence_that_names_the_owner(group: Group) -> None:
    assert group.one.run(*hpckit("plan", "campaign.yaml"), folder=group.folder).returncode == 0
    for path in (group.run_dir / "frozen").iterdir():
        path.chmod(0o2770)
    for words, code in ((("status", "test.run"), 75), (("run", "campaign.yaml"), 1), (("plan", "campaign.yaml"), 1)):
        done = group.stranger.run(*hpckit(*words), folder=group.folder)
        told = done.stderr.splitlines()
        assert done.returncode == code and "Traceback" not in done.stderr, done.stderr
        assert f"belongs to {group.one.number}, group {GROUP}" in done.stderr
        assert len([line for line in told if line.startswith("hpckit: ")]) == 1, told


def test_a_folder_that_is_not_setgid_is_not_opened_and_that_is_told(group: Group) -> None:
    group.folder.chmod(0o775)
    done = group.one.run(*hpckit("plan", "campaign.yaml"), folder=group.folder)
    assert done.returncode == 0 and f"{group.folder} is not setgid" in done.stderr
    assert not [path for path in group.run_dir.rglob("*") if path.stat().st_mode & 0o020]


def test_a_umask_that_lets_the_group_write_suffices(group: Group) -> None:
    group.path.write_text(group.path.read_text().replace("group: true\n", ""))
    done = group.one.run(*hpckit("run", "campaign.yaml", "--workers", "1"), folder=group.folder, umask="002")
    assert done.returncode == 0, done.stderr
    assert group.closed() == []


def test_the_umask_is_given_back(group: Group) -> None:
    from hpckit.runs.group import group_files

    before = os.umask(0o027)
    try:
        campaign = load_campaign(group.path)
        with group_files(campaign), group_files(campaign):
            made = group.folder / "made"
            made.write_text("")
            assert made.stat().st_mode & 0o777 == 0o660
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
