"""Copies fetched by jobs of a real Slurm, in the partition that has a network; what decodes them waits for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from hpckit.base.console import Console
from hpckit.campaign.campaign import load_campaign
from hpckit.jobs.submit import submit_campaign
from hpckit.production.fetchable import read_notes
from hpckit.production.sync import sync
from hpckit.runs.run import find_run
from hpckit.sites.scheduler.model import State
from tests.integration.test_predict_slurm import THIS_CODE
from tests.integration.test_remote_items import expected, made, moved  # noqa: F401 -- fixtures
from tests.integration.test_slurm_run import finish, site, slow, undone
from tests.servers.files import FileServer, serve
from tests.small_campaign import results, same

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

QUIET = Console(quiet=True)
PARTITIONS = "{name: short, cores: 2, memory_mib: 4000, walltime: 60min}, {name: long, cores: 2, network: true}"


def test_copies_come_before_what_reads_them(slurm, made, expected, tmp_path):  # noqa: F811
    """A quota of one date: two submissions, and between them the first date's copies make room."""
    (tmp_path / "served").mkdir()
    with serve(FileServer(tmp_path / "served")) as server:
        folder, served = moved(made, tmp_path, server.url)
        path = folder / "campaign.yaml"
        sizes = [sum(file.stat().st_size for file in date.iterdir()) for date in sorted(served.iterdir())]
        text = path.read_text().replace("hosts:", f"fetch: {{quota: {max(sizes) + 10} B}}, hosts:")
        path.write_text(text.replace("cube: {", "cube: {dates_per_block: 1, "))
        campaign = load_campaign(path)
        lab = site(tmp_path, partition=PARTITIONS, more=slow(tmp_path, 0) + THIS_CODE)

        first = submit_campaign(campaign, lab, QUIET)
        assert first is not None
        jobs = {job.stage: job for job in first.jobs}
        assert (jobs["fetch"].resources.partition, jobs["ingest"].resources.partition) == ("long", "short")
        assert jobs["ingest"].follows == ("fetch",) and first.stage("fetch").throttle == 1
        assert "signatures" not in jobs, "one date of the tile is to come"
        states = finish(first)
        assert states["fetch"] == states["ingest"] == {State.SUCCEEDED}
        told = subprocess.run(
            ["sacct", "-n", "-X", "-P", "-o", "partition", "-j", first.submitted()[0].id],
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout.split() == ["long"]
        kept = set(read_notes(folder / "fetched"))
        assert len(kept) == 2

        second = submit_campaign(campaign, lab, QUIET)
        assert second is not None and {"fetch", "ingest", "signatures"} <= {job.stage for job in second.jobs}
        assert not kept & set(read_notes(folder / "fetched")), "they made room"
        finish(second)
        assert undone(campaign) == 0
        fetched = [stop - start for name, start, stop in server.requests if stop - start > 16384]
        assert sum(fetched) <= sum(sizes), "each byte came once, and ingest read the copies"
        sync(campaign, find_run(campaign.run_dir), QUIET)
        same(results(campaign), expected)
        assert submit_campaign(campaign, lab, QUIET) is None
        assert sum(path.stat().st_size for path in Path(folder / "fetched").glob("*/*.tif")) <= max(sizes) + 10
