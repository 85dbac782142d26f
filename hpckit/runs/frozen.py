"""Frozen inputs: all that workers compute from, in a folder that is named by its content and never changes.

A plan writes them to a draft, which is sealed when it is whole. Workers of a run and elements of a submission are
given the digest, so that neither an edited campaign nor a later plan reaches what is under way.
"""

from __future__ import annotations

import platform
import shutil
import socket
import uuid
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from hpckit.base.commit import commit
from hpckit.base.files import PARTIAL, digest, digest_json, write_json
from hpckit.base.reading import files_below, is_there, read_bytes, read_json
from hpckit.base.rights import closed_by
from hpckit.base.version import __version__
from hpckit.errors import DamagedFileError, PlanError, RunError
from hpckit.inputs.opening import driver_of
from hpckit.runs.plan import plan_digest
from hpckit.runs.run import CAMPAIGN_JSON, DIGESTS, FROZEN, NOT_FROZEN, RUN_JSON, Run, campaign_digest, read_run_json

_LENGTH: Final = 16
_REPORTED_PACKAGES: Final = ("numpy", "numba", "zarr", "numcodecs", "rasterio", "h5py", "shapely", "pyproj")


def begin(run: Run) -> Run:
    """Start a draft of frozen inputs: a run whose files may be written. Only under the run's claim."""
    draft = replace(run, frozen=f".{uuid.uuid4().hex[:12]}{PARTIAL}")
    campaign = run.campaign.model_dump(mode="json", by_alias=True, exclude=NOT_FROZEN)
    frozen = {"file": run.campaign.path.name, "campaign": campaign, "contents": dict(run.campaign.contents)}
    try:
        draft.inputs.mkdir(parents=True)
        write_json(draft.inputs / CAMPAIGN_JSON, frozen)
    except OSError as error:
        raise RunError(f"{run.path}: the run directory cannot be written", hint=closed_by(run.path, error)) from error
    return draft


def seal(draft: Run) -> Run:
    """Give a draft the name of its content; what was frozen so before stays as it is.

    Raises
    ------
    FileUnavailableError
        If it cannot be read at the moment whether what was frozen before is whole.
    """
    digests = _digests(draft.inputs)
    write_json(draft.inputs / DIGESTS, digests)
    sealed = replace(draft, frozen=digest_json(digests)[:_LENGTH])
    if _is_whole(sealed.inputs, digests):
        shutil.rmtree(draft.inputs)
        return sealed
    if is_there(sealed.inputs):  # damaged since
        aside = sealed.inputs.with_name(f".{uuid.uuid4().hex[:12]}{PARTIAL}")
        sealed.inputs.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    draft.inputs.rename(sealed.inputs)
    return sealed


def adopt(run: Run, *, works: bool) -> None:
    """Write down in `run.json` what was planned, and, if it `works`, that this is what the run stands for now.

    Only under the run's claim: status, report and sync look at what the run last worked from.
    """
    known = read_run_json(run.path)
    described = _describe(run, known.get("created"))
    frozen = run.frozen if works else known.get("frozen")
    if frozen and not works:
        # Paths of the products that the run last used start there, also if the folder was copied since.
        described["campaign_path"] = known["campaign_path"]
    write_json(run.path / RUN_JSON, {**described, "frozen": frozen, "planned": run.frozen})


def prune(run: Run, keep: Collection[str]) -> None:
    """Remove frozen inputs that nothing names any more. Only under the run's claim."""
    for folder in unnamed(run, keep):
        shutil.rmtree(folder, ignore_errors=True)


def unnamed(run: Run, keep: Collection[str]) -> list[Path]:
    """Folders of frozen inputs that neither the run names, nor `keep`, which is of its submissions."""
    known = read_run_json(run.path)
    named = {run.frozen, known.get("frozen"), known.get("planned"), *keep}
    return sorted(folder for folder in (run.path / FROZEN).glob("*") if folder.name not in named)


def _digests(folder: Path) -> dict[str, str]:
    names = sorted(str(path.relative_to(folder)) for path in files_below(folder, ""))
    # Bytecode is what Python made of frozen source files, and no input.
    return {
        name: _digest(folder / name) for name in names if name != DIGESTS and "__pycache__" not in Path(name).parts
    }


def _digest(path: Path) -> str:
    # Estimates of how long units last may differ from plan to plan, and make no other plan.
    return plan_digest(path) if path.name == "plan.parquet" else digest(read_bytes(path))


def _is_whole(folder: Path, digests: dict[str, str]) -> bool:
    """Whether frozen inputs are as they were sealed; what cannot be read at the moment is no damage."""
    try:
        return read_json(folder / DIGESTS) == digests and _digests(folder) == digests
    except (FileNotFoundError, DamagedFileError, PlanError):
        return False


def _describe(run: Run, created: str | None) -> dict[str, Any]:
    return {
        "run_id": run.run_id,
        "campaign_path": str(run.campaign.path),
        "campaign_digest": campaign_digest(run.campaign),
        "created": created or datetime.now(UTC).isoformat(timespec="seconds"),
        "hpckit": __version__,
        "commit": commit(),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "jpeg2000": driver_of(".jp2"),
        "packages": {name: metadata.version(name) for name in _REPORTED_PACKAGES},
    }
