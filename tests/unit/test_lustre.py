"""Striping, with an `lfs` that writes down how it was called."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpckit.base.lustre import stripe


@pytest.fixture
def lfs(tmp_path, monkeypatch) -> Path:
    program = tmp_path / "bin" / "lfs"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "calls"


def mounts(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "mounts"
    path.write_text(f"root / ext4 rw 0 0\nserver:/w {tmp_path}/work {kind} rw 0 0\n")
    return path


def test_a_new_cube_on_lustre_is_striped_once(lfs, tmp_path):
    cube = tmp_path / "work" / "a b" / "cube.zarr"
    assert stripe(cube, mounts(tmp_path, "lustre"))
    assert lfs.read_text() == f"setstripe -c 1 -S 4M {cube}\n"
    (cube / "zarr.json").touch()
    assert not stripe(cube, mounts(tmp_path, "lustre"))


def test_other_file_systems_are_left_alone(lfs, tmp_path):
    assert not stripe(tmp_path / "work" / "cube.zarr", mounts(tmp_path, "nfs4"))
    assert not stripe(tmp_path / "elsewhere", mounts(tmp_path, "lustre"))
    assert not lfs.exists()
