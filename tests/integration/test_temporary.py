"""Mounts that fail: every command ends with 75 and says so, and the same command works when they answer."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from hpckit.errors import FileUnavailableError, HpckitError, SceneError, StoreError, is_temporary
from tests import small_campaign
from tests.faulty import ENOTSUPP, faulty, hpckit, needs_cc
from tests.integration.test_sync import make_campaign

pytestmark = [pytest.mark.integration, needs_cc]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_campaign(tmp_path_factory.mktemp("here") / "campaign")
    (path.parent / "products").mkdir()
    assert hpckit("sync", path).returncode == 0
    return path


@pytest.mark.parametrize(
    ("name", "command", "number"),
    [
        ("campaign.yaml", "check", errno.EIO),
        ("campaign.yaml", "plan", errno.ESTALE),
        ("parcels.gpkg", "check", errno.EIO),
        ("run.json", "status", errno.ETIMEDOUT),
        ("plan.parquet", "status", errno.ESTALE),
        ("N.o-1_x.gpkg", "sync", errno.EIO),
        ("N.o-1_x.gpkg", "sync", errno.ESTALE),
    ],
)
def test_a_mount_that_fails_is_temporary(campaign: Path, name: str, command: str, number: int) -> None:
    if name == "parcels.gpkg":
        (campaign.parent / name).write_bytes(b"SQLite format 3\0" + bytes(100))
    done = hpckit(command, campaign, env=faulty("open", f"/{name}", number))
    assert "Traceback" not in done.stderr and "an error in hpckit itself" not in done.stderr
    told = done.stdout + done.stderr
    assert name in told
    if name == "parcels.gpkg":  # other things are wrong with this campaign, for good
        assert "Input/output error" in told or "Stale" in told or "timed out" in told
    else:
        assert done.returncode == 75, told


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OSError(errno.EIO, "x"), True),
        (OSError(errno.ESTALE, "x"), True),
        (OSError(ENOTSUPP, "x"), True),
        (OSError(errno.ENOENT, "x"), False),
        (OSError(errno.ENOSPC, "x"), False),
        (OSError(errno.EACCES, "x"), False),
        (OSError("without a number"), False),
        (ValueError("x"), False),
        (FileUnavailableError("x"), True),
        (StoreError("x"), False),
    ],
)
def test_what_passes_by_itself(error: Exception, passes: bool) -> None:
    assert is_temporary(error) is passes
    try:
        try:
            raise error
        except Exception as cause:
            raise SceneError("outer") from cause
    except HpckitError as outer:
        assert is_temporary(outer) is passes


def test_a_store_that_fails_keeps_what_it_has(campaign: Path) -> None:
    path = campaign.parent / "N.o-1_x.gpkg"
    before = path.read_bytes()
    for calls in ["read"]:
        assert hpckit("sync", campaign, env=faulty(calls, f"/{path.name}", errno.EIO)).returncode == 75
        assert path.read_bytes() == before


def test_pixels_that_cannot_be_read_just_now_are_tried_again(tmp_path: Path) -> None:
    """GDAL says only that a file is broken: whether the file system refused, the file itself tells."""
    small_campaign.make(tmp_path)
    campaign = tmp_path / "campaign.yaml"
    image = sorted((tmp_path / "scenes").rglob("*_B04_10m.jp2"))[0]
    whole = image.read_bytes()
    assert hpckit("plan", campaign).returncode == 0
    image.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    refused = hpckit("run", campaign, "--no-sync", env=faulty("read", f"/{image.name}", errno.EIO))
    assert refused.returncode == 75, refused.stderr
    assert image.name in refused.stdout + refused.stderr
    broken = hpckit("run", campaign, "--no-sync")
    assert broken.returncode == 1, broken.stderr
    image.write_bytes(whole)
    assert hpckit("run", campaign, "--no-sync").returncode == 0
