"""The run directory: everything that one campaign's production needs or leaves, as plain files.

::

    <name>.run/
      run.json             who made it, when, with which versions; the frozen campaign
      scenes.parquet       the catalogue: every product that was found (stac-geoparquet)
      selected.parquet     the scenes that are used
      tiles.parquet        which of them each tile is made from, on a grid other than mgrs
      selection.json       what was dropped, and why
      zones/               frozen zone layers and which tile answers for which zone
      index/               zone indexes
      plan.parquet         the units
      journal/*.jsonl      what became of the units, one file per writer
      spool/*.h5           sealed results, loaded by `sync`
      logs/                messages of the workers
"""

from __future__ import annotations

import json
import os
import platform
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import hpckit
from hpckit.campaign import Campaign
from hpckit.errors import BusyError, RunError
from hpckit.files import digest_json, write_json

_STALE_AFTER_S: Final = 600
_HEARTBEAT_S: Final = 30
_REPORTED_PACKAGES: Final = ("numpy", "numba", "zarr", "numcodecs", "rasterio", "h5py", "shapely", "pyproj")


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory and the campaign that it serves."""

    path: Path
    run_id: str
    campaign: Campaign

    @property
    def catalogue(self) -> Path:
        """All products that were found."""
        return self.path / "scenes.parquet"

    @property
    def selected(self) -> Path:
        """The scenes that are used."""
        return self.path / "selected.parquet"

    @property
    def tiles(self) -> Path:
        """What the tiles of a grid other than mgrs are made from."""
        return self.path / "tiles.parquet"

    @property
    def selection(self) -> Path:
        """What was used and dropped, for people."""
        return self.path / "selection.json"

    @property
    def plan(self) -> Path:
        """The units."""
        return self.path / "plan.parquet"

    @property
    def spool(self) -> Path:
        """Folder of the sealed results."""
        return self.path / "spool"

    def zones(self, reduction: str) -> Path:
        """Frozen zone layer of a reduction."""
        return self.path / "zones" / f"{reduction}.parquet"

    def assignment(self, reduction: str) -> Path:
        """Which tile answers for which zone."""
        return self.path / "zones" / f"{reduction}.assignment.npz"


def open_run(campaign: Campaign) -> Run:
    """Open the run directory of a campaign, make it if it is not there, and freeze the campaign in it.

    Raises
    ------
    RunError
        If the directory belongs to another campaign file, or cannot be written.
    """
    path = campaign.run_dir
    known = _read_run_json(path) if (path / "run.json").exists() else {}
    if known and known["campaign_path"] != str(campaign.path) and Path(known["campaign_path"]).exists():
        raise RunError(
            f"{path} belongs to the campaign file {known['campaign_path']}",
            hint="give this campaign another name, or move the other run directory away",
        )
    run = Run(path, known.get("run_id") or _new_run_id(), campaign)
    try:
        write_json(path / "run.json", _describe(run, known.get("created")))
    except OSError as error:
        raise RunError(f"{path}: the run directory cannot be written") from error
    return run


def find_run(path: Path) -> Run:
    """Open an existing run, by its directory or by its campaign file.

    The campaign is the frozen one: that with which the run last worked.

    Raises
    ------
    RunError
        If there is no run there.
    """
    run_dir = path if path.is_dir() else _run_dir_of(path)
    if not (run_dir / "run.json").exists():
        raise RunError(f"{path}: no run there", hint="`hpckit run CAMPAIGN` starts one")
    known = _read_run_json(run_dir)
    try:
        campaign = Campaign.model_validate(known["campaign"])
    except ValueError as error:
        raise RunError(f"{run_dir / 'run.json'}: the frozen campaign does not fit this version") from error
    campaign._path = Path(known["campaign_path"])
    return Run(run_dir.absolute(), known["run_id"], campaign)


@contextmanager
def claim(run: Run) -> Iterator[None]:
    """Work alone on a run while the block lasts.

    The claim is a file made by `link`, which fails where one exists, on every file system. A claim is taken
    over if its process is gone, or, for one of another host, if it has not been renewed for ten minutes.

    Raises
    ------
    BusyError
        If another process works on it.
    """
    lock = run.path / "run.lock"
    mine = _take(lock)
    stop = threading.Event()
    heart = threading.Thread(target=_beat, args=(lock, stop), daemon=True)
    heart.start()
    try:
        yield
    finally:
        stop.set()
        heart.join()
        if _holder(lock) == mine:
            lock.unlink(missing_ok=True)


def campaign_digest(campaign: Campaign) -> str:
    """Digest of a campaign's content: equal for equal campaigns, whatever their layout and comments."""
    return digest_json(campaign.model_dump(mode="json"))


def _describe(run: Run, created: str | None) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "campaign_path": str(run.campaign.path),
        "campaign_digest": campaign_digest(run.campaign),
        "campaign": run.campaign.model_dump(mode="json", by_alias=True),
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "hpckit": hpckit.__version__,
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "packages": {name: metadata.version(name) for name in _REPORTED_PACKAGES},
    }


def _read_run_json(path: Path) -> dict[str, Any]:
    try:
        known = json.loads((path / "run.json").read_text())
        return {**known, "campaign": known["campaign"], "run_id": known["run_id"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path / 'run.json'}: damaged", hint="delete this file; the run goes on") from error


def _run_dir_of(campaign_path: Path) -> Path:
    from hpckit.campaign import load_campaign

    return load_campaign(campaign_path).run_dir


def _new_run_id() -> str:
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:6]}"


def _take(lock: Path) -> dict[str, Any]:
    identity = _identity()
    mine = lock.with_name(f".{lock.name}.{uuid.uuid4().hex}")
    mine.write_text(json.dumps(identity))
    try:
        for _ in range(3):
            try:
                os.link(mine, lock)
                return identity
            except FileExistsError:
                holder = _holder(lock)
                # The clock that counts is the file server's: compare with a file made just now.
                if holder is not None and _is_alive(holder, lock, now=mine.stat().st_mtime):
                    raise BusyError(
                        f"another hpckit works on {lock.parent} "
                        f"(process {holder.get('pid')} on {holder.get('host')}, since {holder.get('since')})",
                        hint=f"wait for it, or stop it; if it is surely gone, delete {lock}",
                    ) from None
                _remove_stale(lock, holder)
        raise BusyError(f"another hpckit starts on {lock.parent} at this moment", hint="try again")
    finally:
        mine.unlink(missing_ok=True)


def _remove_stale(lock: Path, holder: dict[str, Any] | None) -> None:
    """Remove the claim of `holder`; that of a third process, which was quicker, is put back."""
    aside = lock.with_name(f".{lock.name}.{uuid.uuid4().hex}.stale")
    try:
        lock.rename(aside)
    except FileNotFoundError:
        return
    if _holder(aside) != holder:
        with suppress(FileExistsError):
            os.link(aside, lock)
    aside.unlink(missing_ok=True)


def _identity() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _process_start(os.getpid()),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _holder(lock: Path) -> dict[str, Any] | None:
    try:
        holder = json.loads(lock.read_text())
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def _is_alive(holder: dict[str, Any], lock: Path, now: float) -> bool:
    if holder.get("host") == socket.gethostname():
        return _process_start(holder.get("pid", -1)) == holder.get("started")
    try:
        return now - lock.stat().st_mtime < _STALE_AFTER_S
    except FileNotFoundError:
        return False


def _process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot: tells a process from a later one of its number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _beat(lock: Path, stop: threading.Event) -> None:
    while not stop.wait(_HEARTBEAT_S):
        try:
            os.utime(lock)
        except OSError:
            return
