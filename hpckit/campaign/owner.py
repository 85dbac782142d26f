"""Whose a cube is, or the Zarr group of a composite: one campaign's, since one only can lay out its time axis.

`<store>/.manifest/owner.json` names the campaign, its file and its run directory, both relative to the store: a
copied folder owns the copy. A campaign that moved, or lost its run directory, is known by what is left of these.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from hpckit.base.files import create, make_folder, write_json
from hpckit.base.reading import unavailable
from hpckit.campaign.campaign import Campaign
from hpckit.errors import BusyError, CubeError

_FILE: Final = "owner.json"
_FOLDER: Final = ".manifest"
_ROOT: Final = {"zarr_format": 3, "node_type": "group", "attributes": {}}
"""What an hpckit that noted no owner wrote before anything else."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A campaign that a store belongs to."""

    campaign: str
    """Its name."""
    file: str
    """Campaign file, relative to the store."""
    run: str
    """Run directory, relative to the store."""

    @classmethod
    def of(cls, campaign: Campaign, store: Path) -> Owner:
        """A campaign as owner of a store."""
        real = os.path.realpath(store)
        paths = (os.path.relpath(os.path.realpath(path), real) for path in (campaign.path, campaign.run_dir))
        return cls(campaign.name, *paths)


def manifest_folder(store: Path) -> Path:
    """Folder of what hpckit knows of a store: its owner, and the manifests of all writers."""
    return store / _FOLDER


def stores(campaign: Campaign) -> Iterator[tuple[str, Path]]:
    """Stores that a campaign writes, by the field that names them."""
    if campaign.cube.keep:
        yield "cube.path", campaign.cube_path
    for reduction in campaign.of_pixels:
        field = f"reductions.{reduction.name}.outputs.path"
        yield field, campaign.resolve(reduction.outputs.path) / f"{reduction.name}.zarr"


def require_own(campaign: Campaign) -> None:
    """Refuse to work on what belongs to another campaign, or to nobody that hpckit knows.

    Raises
    ------
    CubeError
        Names the store and its owner.
    """
    for field, store in stores(campaign):
        fault = stranger(campaign, store)
        if fault is not None:
            raise CubeError(fault, hint=remedy(field))


def remedy(field: str) -> str:
    """What to do about a store of somebody else's."""
    return f"give this campaign another `{field}`, or put the reductions of both into one campaign file"


def stranger(campaign: Campaign, store: Path) -> str | None:
    """Why a store is not this campaign's to write; None if it is, or may become."""
    owner = read(store)
    if owner is not None:
        if _is_mine(owner, campaign, store):
            return None
        file = _place(store, owner.file)
        return f"{store} belongs to campaign {owner.campaign!r} ({file}); two campaigns cannot write one time axis"
    if store.is_file():
        return f"{store} is a file"
    return None if _is_free(store) else f"{store} exists already and was not written by hpckit"


def take(campaign: Campaign, *, cube: bool = True) -> None:
    """Note a campaign as owner of the stores that it writes.

    Parameters
    ----------
    cube : bool
        Also of the cube; a home of a federation writes none.

    Raises
    ------
    CubeError
        If another one was quicker.
    """
    for field, store in stores(campaign):
        if field == "cube.path" and not cube:
            continue
        path, owner = manifest_folder(store) / _FILE, Owner.of(campaign, store)
        make_folder(path.parent)
        if create(path, (json.dumps(asdict(owner), indent=1) + "\n").encode()):
            continue
        fault = stranger(campaign, store)
        if fault is not None:
            raise CubeError(fault, hint=remedy(field))
        if read(store) != owner:
            write_json(path, asdict(owner))


def read(store: Path) -> Owner | None:
    """Owner of a store; None if it has none.

    Raises
    ------
    CubeError
        If this is unknown, since its note is damaged.
    """
    path = manifest_folder(store) / _FILE
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unavailable(path, error) from None
    except ValueError:
        text = "?"
    if not text:
        raise BusyError(
            f"another campaign begins to write {store} at this moment", hint=f"try again, or delete {path}"
        )
    try:
        values = json.loads(text)
        names = [values[name] for name in ("campaign", "file", "run")]
        if not all(isinstance(name, str) and "\0" not in name for name in names):
            raise TypeError("names are text")
        return Owner(*names)
    except (ValueError, KeyError, TypeError):
        raise CubeError(
            f"{path}: damaged; the owner of {store} is unknown", hint="delete it if the store is this campaign's"
        ) from None


def _is_mine(owner: Owner, campaign: Campaign, store: Path) -> bool:
    """The same file or run directory; or a campaign of that name whose file and run directory are gone: it moved."""
    file, run = _place(store, owner.file), _place(store, owner.run)
    if file == Path(os.path.realpath(campaign.path)) or run == Path(os.path.realpath(campaign.run_dir)):
        return True
    return owner.campaign == campaign.name and _is_gone(file) and _is_gone(run / "run.json")


def _is_gone(path: Path) -> bool:
    """Whether a path is certainly not there; one that may not be looked at is not gone."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _place(store: Path, relative: str) -> Path:
    return Path(os.path.normpath(os.path.join(os.path.realpath(store), relative)))  # noqa: PTH118


def _is_free(store: Path) -> bool:
    """Whether nothing of others is there: no folder, an empty one, or a cube without an owner's note."""
    try:
        names = {path.name for path in store.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        raise unavailable(store, error) from None
    if not names or manifest_folder(store).name in names:
        return True
    try:
        return bool(json.loads((store / "zarr.json").read_text()) == _ROOT)
    except (OSError, ValueError):
        return False
