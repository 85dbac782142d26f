"""Make the outputs of a crate again in an empty folder, and compare digests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from hpckit.base.console import Console
from hpckit.base.files import write_bytes, write_json, write_text
from hpckit.base.reading import read_json
from hpckit.campaign.campaign import load_campaign
from hpckit.cubes.made import Made
from hpckit.errors import CrateError, DamagedFileError
from hpckit.production.driver import plan_campaign, run_campaign
from hpckit.production.provenance import crate as crates
from hpckit.production.provenance.crate import Crate
from hpckit.production.provenance.finding import Given, differences, find, of_servers
from hpckit.production.provenance.inputs import loaded, products
from hpckit.production.provenance.placing import campaign_of
from hpckit.production.provenance.record import outputs
from hpckit.production.provenance.software import differences as of_software
from hpckit.production.provenance.software import read_software, software

_MARK: Final = "reproduction.json"
State = Literal["equal", "different", "missing", "new", "unknown"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """An output of the crate, and what was made now."""

    name: str
    state: State
    """`missing`: not made now. `new`: not in the crate. `unknown`: the crate has no digest of it."""
    before: str
    """Digest in the crate."""
    now: str


@dataclass(frozen=True, slots=True)
class Reproduction:
    """What became of a crate."""

    crate: str
    """Its digest."""
    folder: Path
    campaign: Path
    outputs: tuple[Comparison, ...]
    software: tuple[str, ...]
    """What the program has otherwise than the one that made the crate."""
    failed: int
    """Units that failed."""

    @property
    def is_equal(self) -> bool:
        """Whether all outputs are those of the crate."""
        return bool(self.outputs) and all(item.state == "equal" for item in self.outputs)

    @property
    def counts(self) -> dict[State, int]:
        """Outputs by state."""
        found: dict[State, int] = {}
        for item in self.outputs:
            found[item.state] = found.get(item.state, 0) + 1
        return found


def reproduce(
    path: Path,
    folder: Path,
    given: Given,
    console: Console,
    *,
    workers: int | None = None,
    run_code: bool = False,
    expected: str = "",
) -> Reproduction:
    """Make the outputs of a crate again, and compare their digests.

    It may be stopped at any time and called again.

    Parameters
    ----------
    folder : Path
        Empty or not there; or of an earlier call with this crate.
    run_code : bool
        Run functions of the crate's author, and models that are code (joblib, pickle).
    expected : str
        Digest that the crate must have, as `hpckit crate` printed it.

    Raises
    ------
    CrateError
        If the crate was changed, inputs are missing or others, or it needs what this command does not do.
    """
    found = crates.read(path)
    if expected and not found.digest.startswith(expected.lower()):
        raise CrateError(f"{path}: the crate has digest {found.digest}, not {expected}", hint="it is another crate")
    _take(found, folder)
    described = campaign_of(found, folder, find(found, given), run_code=run_code)
    file = folder / _file_name(found)
    write_text(file, described)
    campaign = load_campaign(file)
    planned, _ = plan_campaign(campaign, console, workers)
    if planned.tiles is None:
        raise CrateError(f"{path}: steps that make products are not made again", hint=crates.BY_HAND)
    _require_none(
        found,
        differences(found, products(planned.tiles), planned.run.campaign.contents),
        "the inputs are not those of the crate",
        "say with --products where the products are, and with --at FIELD=PATH where other files are",
    )
    _require_none(
        found,
        of_servers(found, loaded(planned.run)),
        "servers do not have what the run loaded",
        "campaign.json of the crate, run by hand, computes from what they have now",
    )
    others = of_software(read_software(found.document(crates.RUN).get("software", {})), software(planned.run, (), 0))
    for other in others:
        console.warn(f"{other}; digests may differ for that")
    result = run_campaign(campaign, console, workers=workers)
    made = {} if result.stopped else {item.name: item for item in outputs(planned.tiles)}
    compared = tuple(_compare(_expected(found), made))
    done = Reproduction(found.digest, folder, file, compared, tuple(others), len(result.failed))
    write_json(folder / _MARK, {**asdict(done), "folder": ".", "campaign": file.name})
    return done


def _take(found: Crate, folder: Path) -> None:
    """Take an empty folder for a crate, or one that was taken for it before."""
    try:
        known = read_json(folder / _MARK).get("crate")
    except (FileNotFoundError, NotADirectoryError, DamagedFileError):
        known = None
    if known is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CrateError(f"{folder}: not empty", hint="give an empty folder: nothing in it is to be replaced")
    if known is not None and known != found.digest:
        raise CrateError(f"{folder}: another crate was made again here", hint="give an empty folder")
    try:
        write_json(folder / _MARK, {"crate": found.digest})
        for name in (crates.METADATA, crates.CAMPAIGN):
            write_bytes(folder / "crate" / name, found.files[name])
    except OSError as error:
        raise CrateError(f"{folder}: cannot be written") from error


def _file_name(found: Crate) -> str:
    name = Path(str(found.document(crates.CAMPAIGN).get("file", ""))).name
    return name if name.endswith((".yaml", ".yml")) else "campaign.yaml"


def _require_none(found: Crate, faults: Sequence[str], what: str, hint: str) -> None:
    if faults:
        more = f"; and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise CrateError(f"{found.path}: {what}: {'; '.join(faults[:3])}{more}", hint=hint)


def _expected(found: Crate) -> dict[str, str]:
    try:
        return {str(item["name"]): str(item["digest"]) for item in found.document(crates.OUTPUTS)["outputs"]}
    except (KeyError, TypeError) as error:
        raise CrateError(f"{found.path}: {crates.OUTPUTS} does not fit this version of hpckit") from error


def _compare(before: Mapping[str, str], now: Mapping[str, Made]) -> list[Comparison]:
    found = []
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name), now[name].digest if name in now else ""
        found.append(Comparison(name, _state(old, new), old or "", new))
    return found


def _state(before: str | None, now: str) -> State:
    if before is None:
        return "new"
    if not before:
        return "unknown"
    if not now:
        return "missing"
    return "equal" if before == now else "different"


def as_json(done: Reproduction) -> str:
    """A reproduction as JSON, for programs."""
    values: dict[str, Any] = {**asdict(done), "equal": done.is_equal, "counts": done.counts}
    return json.dumps(values, indent=1, default=str)
