"""Two real Slurm clusters share a campaign, one behind a real sshd; that one is killed at half, and comes back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.jobs.federation.ledger import load
from hpckit.production.driver import run_campaign
from hpckit.runs.journal import read_journal
from tests.federation_samples import hpckit, make, write_program, write_site
from tests.servers.slurm import SlurmCluster
from tests.servers.sshd import SshServer
from tests.small_campaign import results, same
from tests.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]

MORE = """\
partitions: [{name: short, cores: 2, memory_mib: 4000, walltime: 60min}]
stages: {default: {ranks: 1, cores: 1}}
"""
STEPWISE = """\
import time
from pathlib import Path
import hpckit.production.worker as worker
worker._SEAL_AFTER_S = 0
execute_bundle, steps = worker.execute_bundle, Path(FOLDER)
def stepwise(context, bundle):
    with (steps / "begun").open("a") as file:
        file.write("x")
    while not any(int(path.name) >= (steps / "begun").stat().st_size for path in steps.glob("[0-9]*")):
        time.sleep(0.2)
    return execute_bundle(context, bundle)
worker.execute_bundle = stepwise
"""
"""A bundle of units is done when a file with its number, or a larger one, is there, and is sealed at once."""


@pytest.fixture
def near(slurm: SlurmCluster) -> SlurmCluster:
    return slurm


@pytest.fixture
def far(near: SlurmCluster) -> Iterator[SlurmCluster]:
    """A second cluster, with a controller, nodes and configuration of its own."""
    with SlurmCluster(nodes=2, settings={"ClusterName": "far"}, beside=near, credential_s=30) as cluster:
        yield cluster


@pytest.fixture
def server(home: Path) -> Iterator[SshServer]:
    """The login node of the far cluster."""
    try:
        made = SshServer(keys=[(home / ".ssh" / "id_ed25519.pub").read_text()])
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(str(error))
    (home / ".ssh" / "known_hosts").write_text(made.known_hosts)
    yield made.start()
    made.remove()


def test_a_cluster_is_killed_at_half_and_comes_back(near, far, server, tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_CONF", raising=False)  # each site has its own
    place = tmp_path / "home"
    make(place)
    campaign = load_campaign(place / "campaign.yaml")
    alone = tmp_path / "alone"
    shutil.copytree(place, alone)
    assert run_campaign(load_campaign(alone / "campaign.yaml"), Console(quiet=True), workers=2).exit_code == 0
    expected = results(load_campaign(alone / "campaign.yaml"))

    command = write_program(tmp_path / "near-hpckit", near.env)
    write_site(
        place,
        "near",
        scenes=place / "all",
        base=tmp_path / "near",
        scheduler="slurm",
        command=command,
        cost=3,
        more=MORE,
    )
    steps = tmp_path / "steps"
    steps.mkdir()
    slow = write_program(tmp_path / "slow", {}, STEPWISE.replace("FOLDER", repr(str(steps))))
    login = {"host": "127.0.0.1", "port": server.port, "user": server.user}
    login |= {"command": write_program(tmp_path / "far-hpckit", far.env)}
    (place / "far.yaml").write_text(
        f"name: far\nscheduler: slurm\nlogin: {json.dumps(login)}\nfederation: {{scenes: [{place / 'east'}]}}\n"
        f"poll: {{first_s: 1, submit_pause_s: 0, timeout_s: 60}}\ncommand: {slow}\n{MORE}"
    )
    sent = hpckit(place, "submit", "campaign.yaml", "--site", "near", "--site", "far")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    by_site = {grant.member: grant for grant in load(campaign.run_dir).grants}
    assert by_site["far"].tiles == ("31UFT", "31UGT")
    (run_there,) = server.home.glob(f"hpckit/*/{by_site['far'].epoch:04d}/shared.run")

    def signatures_there() -> int:
        return sum(entry.stage == "signatures" for entry in read_journal(run_there))

    (steps / "1").touch()
    until(signatures_there, 300, "for the first units of the far site")
    status = hpckit(place, "status", "campaign.yaml")
    assert status.returncode == 0, status.stderr
    first = signatures_there()
    (steps / "2").touch()
    until(lambda: signatures_there() > first, 120, "for units that are never brought home")

    # All of the far cluster ends at once: login node, controller, nodes, jobs.
    server.stop()
    for node in far.nodes:
        far.kill_node(node)
    far.kill_controller()
    refused = hpckit(place, "federation", "take-over", "campaign.yaml", "far")
    assert refused.returncode == 75 and "nothing was changed" in refused.stderr, refused.stderr
    assert load(campaign.run_dir).of("far")
    at_home = far_lines(campaign.run_dir, by_site["far"].epoch)
    assert at_home
    taken = hpckit(place, "federation", "take-over", "campaign.yaml", "far", "--unreachable")
    assert taken.returncode == 0, taken.stdout + taken.stderr

    # It comes back, and believes that the tiles are its own: its nodes work again before its home reaches it.
    far.start_controller()
    for node in far.nodes:
        far.start_node(node)
        far.requeue(node)
    before = signatures_there()
    (steps / "4").touch()  # the third bundle was in work, and is begun again
    until(lambda: signatures_there() > before, 300, "for the far site to go on with what is not its own any more")
    server.start()
    (steps / "99").touch()
    told = hpckit(place, "status", "campaign.yaml")
    assert told.returncode == 0 and "the site knows" in told.stdout, told.stdout + told.stderr
    assert (run_there / "fence.json").exists()
    until(lambda: not far.run("squeue", "-h").stdout, 60, "for the fenced site to be idle")
    until(lambda: not near.run("squeue", "-h").stdout, 240, "for the end of the near site")
    stopped = signatures_there()

    done = hpckit(place, "sync", "campaign.yaml")
    assert done.returncode == 0, done.stderr
    same(results(campaign), expected)
    units = [entry.unit for entry in read_journal(campaign.run_dir) if entry.stage == "signatures"]
    assert len(units) == len(set(units)) == 14, "none twice, none lost"
    assert far_lines(campaign.run_dir, by_site["far"].epoch) == at_home, "nothing of the revoked epoch came"
    assert signatures_there() == stopped
    report = hpckit(place, "report", "campaign.yaml")
    assert report.returncode == 0, report.stderr


def far_lines(run_dir: Path, epoch: int) -> list[str]:
    """What of a site's part is at home."""
    path = run_dir / "journal" / f"g{epoch:04d}-far.jsonl"
    return path.read_text().splitlines() if path.exists() else []
