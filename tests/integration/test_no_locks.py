"""GeoPackages on file systems without locks."""

from __future__ import annotations

import errno
import json
import sqlite3
from pathlib import Path

import pytest

from hpckit.base.claims import hold
from tests.faulty import ENOTSUPP, faulty, hpckit, needs_cc
from tests.integration.test_sync import make_campaign

pytestmark = [pytest.mark.integration, needs_cc]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, ENOTSUPP])
def test_results_are_stored_and_read(tmp_path: Path, number: int) -> None:
    campaign = make_campaign(tmp_path / "c")
    env = faulty("lock,flock,link", str(tmp_path), number)
    done = hpckit("sync", campaign, "--json", env=env)
    assert (done.returncode, json.loads(done.stdout)["loaded"]) == (0, 3), done.stderr
    again = hpckit("sync", campaign, "--json", env=env)
    assert (again.returncode, json.loads(again.stdout)["known"]) == (0, 3), again.stderr
    with sqlite3.connect(campaign.parent / "N.o-1_x.gpkg") as db:
        assert db.execute("SELECT COUNT(*) FROM record_parcels").fetchone() == (24,)
    assert [path.name for path in campaign.parent.iterdir() if path.name.startswith(".")] == []


def test_two_programs_are_kept_apart(tmp_path: Path) -> None:
    campaign = make_campaign(tmp_path / "c")
    env = faulty("lock", str(tmp_path), errno.ENOLCK)
    with hold(campaign.parent / ".N.o-1_x.gpkg.lock", "it"):
        done = hpckit("sync", campaign, env=env)
    assert done.returncode == 75
    assert "another hpckit works on" in done.stderr
    assert hpckit("sync", campaign, env=env).returncode == 0
