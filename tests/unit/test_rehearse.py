"""The rehearsal of an SRAM login: its steps, the dialogue with a code, and what it must not touch."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from hpckit.cli import cli
from hpckit.errors import LoginError
from hpckit.sites.login.names import Choice
from hpckit.sites.login.rehearse import members_example, rehearse_login, steps_of
from hpckit.sites.login.weblogin import WebLogin, dialogue, serving
from hpckit.sites.site import Site, find_site

pytestmark = pytest.mark.slow

CHOICE = Choice(co="mycrop", uid="jdoe", org="uni")


@pytest.fixture
def site() -> Site:
    return find_site("sram-slurm")


def read(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as answer:
        return str(answer.read().decode())


def test_the_code_of_the_browser_opens_the_login_and_is_used_up(site: Site) -> None:
    shown: list[str] = []

    def person(prompt: str, known: str) -> str:
        """Opens the link, and types what the page shows."""
        link = re.search(r"http://\S+", shown[0])
        assert link is not None
        code = re.search(r"<b>(\d{4})</b>", read(link[0]))
        assert code is not None and code[1] == known
        return code[1]

    assert rehearse_login(site, CHOICE, shown.append, person) == "mycrop"
    assert shown[0].startswith("Get a verification code via: http://127.0.0.1:")


def test_a_wrong_code_ends_after_three_times_and_a_code_counts_once() -> None:
    with serving(WebLogin("hpc", {"jdoe": ["mycrop"]})) as web:
        asked: list[str] = []
        with pytest.raises(LoginError, match="wrong 3 times"):
            dialogue(web, "jdoe", lambda _: None, lambda prompt, _: asked.append(prompt) or "12")  # type: ignore[func-returns-value]
        assert len(asked) == 3
        ((session, (_, code)),) = web.codes.items()
        assert web.check(session, code)["result"] == "SUCCESS"
        assert web.check(session, code)["result"] == "FAIL"
        assert web.check("", "")["result"] == "FAIL"


def test_who_is_in_no_collaboration_gets_no_code() -> None:
    with serving(WebLogin("hpc", {})) as web, pytest.raises(LoginError, match="in no collaboration"):
        dialogue(web, "eve", lambda _: None, lambda *_: "0000")


def test_a_group_is_chosen_where_there_are_several() -> None:
    answers = iter(["7", "x", "2"])
    with serving(WebLogin("hpc", {"jdoe": ["one", "two"]})) as web:
        chosen = dialogue(
            web, "jdoe", lambda _: None, lambda prompt, known: known if "code" in prompt else next(answers)
        )
    assert chosen == "two"


def test_the_server_answers_nobody_without_its_token_and_is_gone_afterwards() -> None:
    with serving(WebLogin("hpc", {"jdoe": ["mycrop"]})) as web:
        url = web.url
        for path in ("start", "check-pin"):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                urllib.request.urlopen(urllib.request.Request(f"{url}/pam-weblogin/{path}", b"{}"), timeout=10)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            read(f"{url}/weblogin/hpc/nothing")
    with pytest.raises(urllib.error.URLError):
        read(url)


def test_steps_come_from_the_site_file(site: Site) -> None:
    steps = {step.title: step.text for step in steps_of(site, CHOICE)}
    assert any("sram-mycrop-jdoe" in text for text in steps.values())
    sync = YAML(typ="safe").load(next(text for title, text in steps.items() if "SRAMsync" in title))
    assert site.login is not None
    assert sync["sram"]["basedn"] == site.login.base_dn and sync["service"] == "hpc"
    assert sync["sync"]["users"]["rename_user"] == site.login.user
    assert set(sync["sync"]["groups"]) == {"operators"} and isinstance(sync["sync"]["event_handler"], list)
    assert "project_17" in steps["Members to accounts, from `login.accounts` of the site file"]


def test_members_are_judged_by_the_rules_for_real_ones(site: Site) -> None:
    found = members_example(site, CHOICE)
    assert [member.may_login for member in found] == [True, False, False, False]
    assert [" ".join(member.missing)[:20] for member in found[2:]] == ["has not accepted the", "the membership is ex"]


def test_the_command_shows_all_and_leaves_settings_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    folder = tmp_path / "rehearsal"
    done = CliRunner().invoke(cli, ["login", "rehearse", "sram-slurm", "--folder", str(folder)])
    assert done.exit_code == 0, done.output
    assert "Enter verification code: " in done.output and "sram-slurm: open, as sram-mycrop-jdoe" in done.output
    assert "1 of 4 may log in" in done.output
    assert {path.name for path in folder.iterdir()} == {
        "sram-slurm.conf", "sramsync.yaml", "sshd.conf", "pam-weblogin.conf"
    }  # fmt: skip
    assert not (tmp_path / "home").exists() and not (tmp_path / "config").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [(["snellius"], "are not SRAM's"), (["sram-slurm", "--uid", "no such user"], "at most 16 small letters")],
)
def test_what_cannot_be_rehearsed_is_one_sentence(words: list[str], says: str) -> None:
    done = CliRunner().invoke(cli, ["login", "rehearse", *words])
    assert isinstance(done.exception, LoginError) and says in str(done.exception)
