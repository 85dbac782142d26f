"""How outputs were made, and what that took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpckit.api.shown import QUIET
from hpckit.api.sites import find_site, refresh
from hpckit.errors import SiteError

if TYPE_CHECKING:
    from hpckit.base.console import Console
    from hpckit.production.provenance.make import Written
    from hpckit.production.provenance.reproduce import Reproduction
    from hpckit.runs.run import Run
    from hpckit.sites.parts import Energy
    from hpckit.submissions.energy import EnergyUse


def crate(
    run: str | Path,
    path: str | Path | None = None,
    *,
    agent: str = "",
    agent_id: str = "",
    license: str = "",
) -> Written:
    """Write the RO-Crate of a run: what its outputs were made from, by what, and their digests.

    Parameters
    ----------
    run : str or Path
        Campaign file, or run directory.
    path : str or Path, optional
        Folder, or `.zip` file; `<name>.crate` beside the run directory if not given.
    agent, agent_id : str
        Who ran it: a name, and an ORCID or the address of an organisation.
    license : str
        Address of the licence of the outputs.

    Raises
    ------
    CrateError
        If no unit is done, an input was changed since, or something else lies at `path`.
    """
    from hpckit.production.provenance.entities import About
    from hpckit.production.provenance.make import make
    from hpckit.runs.run import find_run

    found = find_run(Path(run))
    target = found.path.with_name(f"{found.campaign.name}.crate") if path is None else Path(path)
    return make(found, target, About(agent, agent_id, license), energy_figures(found))


def reproduce(
    crate: str | Path,
    folder: str | Path,
    *,
    products: Sequence[str | Path] = (),
    at: Mapping[str, str | Path] | None = None,
    workers: int | None = None,
    run_code: bool = False,
    expected: str = "",
    console: Console = QUIET,
) -> Reproduction:
    """Make the outputs of a crate again in an empty folder, and compare their digests.

    Parameters
    ----------
    products : sequence of str or Path
        Folders that are searched for the products; where they lay if not given.
    at : mapping, optional
        Files and campaigns that the crate names, by the field of the campaign that names them.
    workers : int, optional
        Processes; the cores of this machine if not given.
    run_code : bool
        Run functions of the crate's author, and models that are code (joblib, pickle).
    expected : str
        Digest that the crate must have.

    Raises
    ------
    CrateError
        If the crate was changed, inputs are missing or others, or it has steps.
    """
    from hpckit.production.provenance.finding import Given
    from hpckit.production.provenance.reproduce import reproduce as again

    given = Given([Path(item) for item in products], {name: Path(item) for name, item in (at or {}).items()})
    return again(Path(crate), Path(folder), given, console, workers=workers, run_code=run_code, expected=expected)


def energy_of(run: Run) -> EnergyUse:
    """Energy and emissions of a run: measured, or estimated by the figures of the site.

    The scheduler is asked once for the jobs of submissions that are over.
    """
    from hpckit.runs.journal import seconds_by_writer
    from hpckit.submissions.energy import energy
    from hpckit.submissions.follow import remembered
    from hpckit.submissions.submission import submissions

    known = submissions(run.path)
    for submission in known:
        if submission.is_over and not any(item.sighting.elapsed_s for item in remembered(submission)):
            refresh(run, submission, QUIET, details=True)
    return energy(known, seconds_by_writer(run.path), energy_figures(run))


def energy_figures(run: Run) -> dict[str, Energy]:
    """What the sites of a run draw, by the site files as they are now; the empty name is the site of this machine."""
    from hpckit.runs.part import is_home
    from hpckit.submissions.submission import submissions

    here = {} if is_home(run.path) else {"": None}  # units of a home were computed at other sites
    names = {**here, **{item.site.name: item.site.name for item in submissions(run.path)}}
    found = {}
    for key, name in names.items():
        try:
            found[key] = find_site(name, run.campaign.folder).energy
        except SiteError:
            continue  # this machine belongs to none, or its file is gone: that of the submission counts
    return found
