"""What every scheduler must do: Slurm as it is packaged, PBS by its stand-in, and the queue of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hpckit.sites.scheduler.base import Scheduler
from hpckit.sites.scheduler.local import Local
from hpckit.sites.scheduler.pbs import Pbs
from hpckit.sites.scheduler.slurm import Slurm
from hpckit.testing.scheduler import SchedulerTests
from tests.servers.pbs import PbsServer
from tests.servers.slurm import SlurmCluster

pytestmark = [pytest.mark.integration, pytest.mark.slow]


class TestSlurm(SchedulerTests):
    @pytest.fixture
    def scheduler(self, slurm: SlurmCluster) -> Scheduler:
        return Slurm()


@pytest.fixture(scope="module", params=[False, True], ids=["no history", "history"])
def pbs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PbsServer]:
    folder = tmp_path_factory.mktemp("pbs")
    (folder / "home").mkdir()
    more = {"history": request.param, "name": "vm.cluster.example.org", "kill_delay_s": 1}
    with PbsServer(folder / "server", {"workq": {}}, ncpus=4, home=folder / "home", **more) as server:
        yield server


class TestPbs(SchedulerTests):
    @pytest.fixture
    def scheduler(self, pbs: PbsServer, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
        for name, value in pbs.env.items():
            monkeypatch.setenv(name, value)
        return Pbs()


class TestLocal(SchedulerTests):
    @pytest.fixture
    def scheduler(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scheduler:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        return Local()
