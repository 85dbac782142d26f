"""A service with two data sets and some users, for the tests of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from hpckit.base.console import Console
from hpckit.serve.app import build
from hpckit.serve.identity.passwords import set_password
from hpckit.serve.service import Service, open_service
from hpckit.serve.settings import Settings
from tests.asgi import basic

ANNA = basic("anna", "annas password")
BERT = basic("bert", "berts password")
EVE = basic("eve", "eves password")
"""Anna may do everything, Bert read what parcels of `mine` are, Eve nothing."""


def write_users(folder: Path) -> Path:
    path = folder / "users.txt"
    if not path.exists():
        for name in ("anna", "bert", "eve"):
            set_password(path, name, f"{name}s password")
    return path


def serve(folder: Path, campaign: Path, **changes: Any) -> tuple[Service, Starlette]:
    """A service of the campaign twice, as `mine` and `other`, and its program."""
    asked: dict[str, Any] = {
        "datasets": [
            {"campaign": campaign, "name": "mine", "aoi": "nl"},
            {"campaign": campaign, "name": "other", "aoi": "be"},
        ],
        "doors": ["jrc"],
        "users": write_users(folder),
        "state": folder / "state",
        "grants": [{"users": ["anna"]}, {"users": ["bert"], "datasets": ["mine"], "actions": ["info"]}],
    }
    service = open_service(Settings.model_validate(asked | changes), Console(quiet=True))
    return service, build(service)
