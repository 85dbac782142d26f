"""Fixtures and settings that all tests share."""

from __future__ import annotations

import gc
import os
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.integration.campaigns",
    "tests.integration.homes",
    "tests.integration.openeo_samples",
    "tests.integration.openeo_scenes",
    "tests.integration.postgis",
    "tests.integration.slurm",
    "tests.integration.udf",
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


def pytest_collection_finish() -> None:
    """Modules and tests stay to the end: searches for circles would look at them again and again."""
    gc.freeze()
    gc.set_threshold(100_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow files first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: not any(item.iter_markers("slow")) and not any(item.iter_markers("integration")))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup`, keep tests of a file in one process: they share what the file makes.

    Long files that share nothing are halved. Groups of pytest-xdist are not used: version 3.8 gives them to tests by
    an attribute that pytest 9.2 does not read, so that it spreads the tests of a file without a word.
    """
    if config.getvalue("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            half = zlib.crc32(nodeid.encode()) % 2 if _is_halved(config.rootpath / file) else 0
            return f"{file}-{half}"

    return ByFile(config, log)


@cache
def _is_halved(file: Path) -> bool:
    return "mark.halved" in file.read_text()


@pytest.fixture(scope="module", autouse=True)
def in_one_process(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Fail where tests of a file are spread after all: each process would make what they share."""
    if not getattr(request.config.option, "loadgroup", False) or _is_halved(request.path):
        return
    worker = os.environ["PYTEST_XDIST_WORKER"]
    note = tmp_path_factory.getbasetemp().parent / f"worker-of-{zlib.crc32(bytes(request.path)):08x}"
    if not note.exists():
        note.write_text(worker)
    assert note.read_text() == worker, f"{request.path.name}: some of its tests ran in another process"


SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real Sentinel and parcel data beside the project."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data: {SHARED_DATA} is absent")
    return SHARED_DATA
