"""`hpckit --host`: plan at home, submit there, follow from home, through a real sshd."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.sites.login.ssh import session_for
from hpckit.sites.site import load_site
from tests.servers.sshd import SshServer
from tests.small_campaign import copy, make, results

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def server(home):
    """A login node that has hpckit, and no scheduler but its own processes."""
    try:
        server = SshServer(keys=[(home / ".ssh" / "id_ed25519.pub").read_text()])
    except FileNotFoundError as error:
        pytest.skip(str(error))
    program = server.bin / "hpckit"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m hpckit "$@"\n')
    program.chmod(0o755)
    # Sessions begin in the login node's home, with nothing of the environment of these tests.
    (server.home / ".bash_profile").write_text(
        f"export PYTHONPATH={Path(__file__).parents[2]} PATH={server.bin}:$PATH\n"
    )
    server.start()
    (home / ".ssh" / "known_hosts").write_text(server.known_hosts)
    yield server
    server.remove()


@pytest.fixture
def campaign(tmp_path, server) -> Path:
    """At home there are the campaign file and the zones; the products are on the site."""
    make(tmp_path / "site")
    path = copy(tmp_path / "site", tmp_path / "at home")
    for product in (path.parent / "scenes").iterdir():
        subprocess.run(["rm", "-r", product], check=True)
    path.write_text(path.read_text().replace("paths: [scenes]", f"paths: ['{tmp_path / 'site' / 'scenes'}']"))
    (path.parent / "near.yaml").write_text(
        "name: near\nscheduler: local\npartitions: [{name: here, cores: 2, memory_mib: 8000}]\n"
        "stages: {default: {ranks: 2}}\npoll: {first_s: 0.5, submit_pause_s: 0}\n"
        f"login: {{host: 127.0.0.1, port: {server.port}, user: '{{user}}'}}\n"
    )
    session_for(load_site(path.parent / "near.yaml"), {"user": server.user})  # remembered, as `hpckit login` does
    return path


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hpckit", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        timeout=200,
        check=False,
    )


def test_a_campaign_is_submitted_and_followed_from_home(campaign, server, home):
    folder = campaign.parent
    site = load_site(folder / "near.yaml")
    session = session_for(site)
    try:
        sent = call(folder, "--host", "near", "submit", "campaign.yaml", "--site", "near")
        assert sent.returncode == 0, sent.stderr
        assert "ingest: job 1" in sent.stdout
        seen = call(folder, "--host=near", "watch", "campaign.yaml")
        assert seen.returncode == 0 and "signatures 4/4" in seen.stdout, seen.stdout + seen.stderr
        assert call(folder, "--host", "near", "report", "campaign.yaml", "-o", "there.html").returncode == 0
        assert "<html" in (folder / "there.html").read_text()
        assert not (folder / "test.run").exists()
        there = load_campaign(server.home / "hpckit" / "test" / "campaign.yaml")
        assert len(results(there)) == 64 * 4 * 3
        unknown = call(folder, "--host", "near", "status", "nosuch.yaml")
        assert unknown.returncode == 2 and "nosuch.yaml" in unknown.stderr
    finally:
        session.close()


def test_files_outside_of_the_folder_are_named(campaign, server):
    text = campaign.read_text().replace("zones: zones.gpkg", "zones: ../zones.gpkg")
    campaign.write_text(text)
    done = call(campaign.parent, "--host", "near", "status", "campaign.yaml")
    assert done.returncode == 1 and "lies outside of the campaign's folder" in done.stderr


def test_a_login_node_that_is_away_is_said(campaign, server):
    server.stop()
    done = call(campaign.parent, "--host", "near", "status", "campaign.yaml")
    assert done.returncode == 75 and "near" in done.stderr
