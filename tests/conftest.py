"""Fixtures and settings that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.integration.campaigns",
    "tests.integration.homes",
    "tests.integration.postgis",
    "tests.integration.slurm",
]

os.environ.setdefault("NUMBA_NUM_THREADS", "2")
# Kernels are compiled once for all tests, also for those that have a home folder of their own.
os.environ.setdefault("HPCKIT_KERNELS", str(Path(__file__).parents[1] / ".cache" / "kernels"))
# Programs that tests start are many; each would compile hpckit's sources.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Worker processes that tests start must find the project, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
)

# No deadline: the first example compiles numba kernels.
settings.register_profile("hpckit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("hpckit"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "hpckit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    for number, item in enumerate(items):
        # Tests of a file stay in one process, since they share what it makes; long files without that are halved.
        half = f"-{number % 2}" if item.get_closest_marker("halved") else ""
        item.add_marker(pytest.mark.xdist_group(f"{item.path.stem}{half}"))


SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real Sentinel and parcel data beside the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data: {SHARED_DATA} is absent")
    return SHARED_DATA
