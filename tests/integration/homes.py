"""Fixture: a home folder for tests of logins."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.login_samples import short_home
from tests.servers.sshd import make_key


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder with a key; no agent, no settings of the real user."""
    for name in [name for name in os.environ if name.startswith(("SSH_", "HPCKIT_", "XDG_"))]:
        monkeypatch.delenv(name)
    with short_home() as folder:
        monkeypatch.setenv("HOME", str(folder))
        make_key(folder / ".ssh" / "id_ed25519")
        yield folder
