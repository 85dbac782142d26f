"""The run directory: everything that one campaign's production needs or leaves, as plain files.

::

    <name>.run/
      run.json             who made it, when, with which versions; which frozen inputs it last worked from
      scenes.parquet       the catalogue: every product that was found (stac-geoparquet)
      frozen/<digest>/     inputs of a run or submission, never changed once they are there (see `frozen`)
        campaign.json        the campaign
        selected.parquet     the scenes that are used
        tiles.parquet        which of them each tile is made from
        windows.parquet      which windows of the tiles the cube holds
        selection.json       what was dropped, and why
        zones/               zone layers and which tile answers for which zone
        plan.parquet         the units
        digests.json         of these files: their digest is the name of the folder
      index/               zone indexes
      journal/*.jsonl      what became of the units, one file per writer
      spool/*.h5           sealed results, loaded by `sync`
      cleaned/             results whose spool file `clean` removed, since the store holds them
      seen/                files that were compared with a checksum and found right
      tile-parts/          where the tiles of JPEG 2000 files on servers lie
      logs/                messages of the workers
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from hpckit.base import claims
from hpckit.base.files import digest, digest_json, write_json
from hpckit.base.reading import is_there, read_bytes
from hpckit.base.rights import closed_by
from hpckit.base.seen import Seen
from hpckit.campaign.campaign import Campaign
from hpckit.campaign.owner import require_own
from hpckit.campaign.paths import require_apart
from hpckit.errors import RunError

LOCK: Final = "run.lock"
"""Claim of the process that works on a run."""
NOT_FROZEN: Final = {"retention"}
"""Fields of a campaign that nothing is made from, so that a change of them is no edit."""
RUN_JSON: Final = "run.json"
FROZEN: Final = "frozen"
CAMPAIGN_JSON: Final = "campaign.json"
DIGESTS: Final = "digests.json"
_REFREEZE: Final = "`hpckit plan CAMPAIGN` freezes them again"


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory and the campaign that it serves."""

    path: Path
    run_id: str
    campaign: Campaign
    frozen: str = ""
    """Digest of the frozen inputs that it works from; empty before the first plan."""

    @property
    def inputs(self) -> Path:
        """Folder of the frozen inputs."""
        return self.path / FROZEN / (self.frozen or "none")

    @property
    def catalogue(self) -> Path:
        """All products that were found."""
        return self.path / "scenes.parquet"

    @property
    def selected(self) -> Path:
        """The scenes that are used."""
        return self.inputs / "selected.parquet"

    @property
    def tiles(self) -> Path:
        """What each tile is made from."""
        return self.inputs / "tiles.parquet"

    @property
    def windows(self) -> Path:
        """Which windows of the tiles the cube holds."""
        return self.inputs / "windows.parquet"

    @property
    def selection(self) -> Path:
        """What was used and dropped, for people."""
        return self.inputs / "selection.json"

    @property
    def plan(self) -> Path:
        """The units."""
        return self.inputs / "plan.parquet"

    @property
    def spool(self) -> Path:
        """Folder of the sealed results."""
        return self.path / "spool"

    @property
    def tile_parts(self) -> Path:
        """Notes of where the tiles of remote files lie."""
        return self.path / "tile-parts"

    def seen(self, what: str, writer: str) -> Seen:
        """Files of a kind that were compared with a checksum and found right."""
        return Seen(self.seen_folder(what), writer)

    def seen_folder(self, what: str) -> Path:
        """Folder of these notes."""
        return self.path / "seen" / what

    def zones(self, reduction: str) -> Path:
        """Frozen zone layer of a reduction."""
        return self.inputs / "zones" / f"{reduction}.parquet"

    def assignment(self, reduction: str) -> Path:
        """Which tile answers for which zone."""
        return self.inputs / "zones" / f"{reduction}.assignment.npz"


def open_run(campaign: Campaign) -> Run:
    """Open the run directory of a campaign, make it if it is not there; nothing is frozen by that.

    Raises
    ------
    RunError
        If the directory belongs to another campaign file, or cannot be written.
    CampaignError, CubeError
        If the campaign would write over what it reads, or what belongs to another one; nothing is written then.
    """
    require_apart(campaign)
    require_own(campaign)
    path = campaign.run_dir
    try:
        known = read_run_json(path) if is_there(path / RUN_JSON) else _start(path, campaign)
    except OSError as error:
        raise RunError(f"{path}: the run directory cannot be written", hint=closed_by(path, error)) from error
    # The folder may have been copied or moved with all that is in it: the name of the file decides.
    owner = path.parent / Path(known["campaign_path"]).name
    if owner.name != campaign.path.name and owner.exists():
        raise RunError(
            f"{path} belongs to the campaign file {owner}",
            hint="give this campaign another name, or move the other run directory away",
        )
    return Run(path, known["run_id"], campaign, known.get("frozen") or known.get("planned") or "")


def find_run(path: Path) -> Run:
    """Open an existing run, by its directory or by its campaign file.

    The campaign is the frozen one: that with which the run last worked; before it has worked, that of the plan.

    Raises
    ------
    RunError
        If there is no run there.
    """
    run_dir = path if path.is_dir() or path.suffix == ".run" else _run_dir_of(path)
    if not is_there(run_dir / RUN_JSON):
        raise RunError(f"{path}: no run there", hint="`hpckit run CAMPAIGN` starts one")
    known = read_run_json(run_dir)
    digest = known.get("frozen") or known.get("planned")
    if not digest:
        raise RunError(f"{run_dir}: nothing was planned there yet", hint="`hpckit run CAMPAIGN` plans and works")
    return open_frozen(run_dir, digest)


def open_frozen(run_dir: Path, frozen: str) -> Run:
    """Open a run with the frozen inputs of a digest.

    Raises
    ------
    RunError
        If they are not there, or not as they were written.
    FileUnavailableError
        If they cannot be read at the moment.
    """
    run_dir = run_dir.absolute()
    folder = run_dir / FROZEN / frozen
    try:
        digests = json.loads(read_bytes(folder / DIGESTS))
        content = read_bytes(folder / CAMPAIGN_JSON)
        whole = digest_json(digests)[: len(frozen)] == frozen and digests[CAMPAIGN_JSON] == digest(content)
        known = json.loads(content)
        file, described, contents = str(known["file"]), known["campaign"], dict(known.get("contents", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{folder}: the frozen inputs are missing or damaged", hint=_REFREEZE) from error
    if not whole:
        raise RunError(f"{folder}: the frozen inputs are not as they were written", hint=_REFREEZE)
    try:
        campaign = Campaign.model_validate(described)
    except ValueError as error:
        raise RunError(f"{folder / CAMPAIGN_JSON}: the frozen campaign does not fit this version") from error
    campaign._path = run_dir.parent / file
    return Run(run_dir, read_run_json(run_dir)["run_id"], campaign.with_contents(contents), frozen)


@contextmanager
def claim(run: Run) -> Iterator[None]:
    """Work alone on a run while the block lasts.

    Raises
    ------
    BusyError
        If another process works on it.
    RunError
        If the run directory cannot be written.
    """
    try:
        with ExitStack() as claimed:
            claimed.enter_context(claims.hold(run.path / LOCK, str(run.path)))
            held = claimed.pop_all()
    except OSError as error:
        raise RunError(f"{run.path}: the run directory cannot be written", hint=closed_by(run.path, error)) from error
    with held:
        yield


def campaign_digest(campaign: Campaign) -> str:
    """Digest of a campaign's content: equal for equal campaigns, whatever their layout and comments."""
    return digest_json(campaign.model_dump(mode="json", exclude=NOT_FROZEN))


def _start(path: Path, campaign: Campaign) -> dict[str, Any]:
    """Begin a run directory: who it is, and nothing of what it will work from."""
    known = {"run_id": _new_run_id(), "campaign_path": str(campaign.path)}
    write_json(path / RUN_JSON, {**known, "created": datetime.now(UTC).isoformat(timespec="seconds")})
    return known


def read_run_json(path: Path) -> dict[str, Any]:
    """Content of `run.json`.

    Raises
    ------
    RunError
        If it is damaged.
    FileUnavailableError
        If it cannot be read at the moment.
    """
    try:
        known = json.loads(read_bytes(path / RUN_JSON))
        return {**known, "campaign_path": str(known["campaign_path"]), "run_id": str(known["run_id"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / RUN_JSON}: damaged", hint="delete this file; the run continues") from error


def _run_dir_of(campaign_path: Path) -> Path:
    from hpckit.campaign.campaign import load_campaign

    return load_campaign(campaign_path).run_dir


def _new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"
