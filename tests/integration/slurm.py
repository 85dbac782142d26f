"""Fixtures: a real Slurm of four nodes, shared by the tests of a session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.slurm import SlurmCluster


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """Started once; tests leave its nodes idle."""
    try:
        cluster = SlurmCluster()
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with cluster:
        yield cluster


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """The cluster, with the environment of its users; all jobs are cancelled afterwards."""
    for name, value in slurm_cluster.env.items():
        monkeypatch.setenv(name, value)
    yield slurm_cluster
    slurm_cluster.run("scancel", "--user=root", check=False)
    slurm_cluster.wait_idle()
