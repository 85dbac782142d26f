"""State and fence of the part of a federation's campaign that a site has, as its home asks for them there."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

from hpckit.base.files import make_folder
from hpckit.base.version import __version__
from hpckit.campaign.campaign import Campaign
from hpckit.errors import HpckitError
from hpckit.runs.part import fence as fence_run
from hpckit.runs.part import is_fenced
from hpckit.sites.site import scheduler_of
from hpckit.submissions.attempts import working_in
from hpckit.submissions.follow import look
from hpckit.submissions.idle import cancel, runner_of
from hpckit.submissions.submission import latest

_SEALS_S: Final = 30
"""That elements get to seal their results when jobs are cancelled."""


def state(campaign: Campaign) -> dict[str, Any]:
    """What the scheduler says of this part: elements by state, and whether all is over."""
    last = latest(campaign.run_dir)
    facts = {"hpckit": __version__, "time": time.time(), "fenced": is_fenced(campaign.run_dir)}
    if last is None:
        return {**facts, "submission": None, "over": True, "elements": {}}
    scheduler = scheduler_of(last.site)
    try:
        seen = look(last, scheduler, runner_of(last.site, scheduler))
    except HpckitError as error:
        return {**facts, "submission": last.number, "over": False, "elements": {}, "silent": str(error)}
    counts = Counter(item.sighting.state.value for item in seen)
    return {**facts, "submission": last.number, "over": last.is_over, "elements": dict(counts)}


def fence(campaign: Campaign, why: str, *, at_once: bool) -> dict[str, Any]:
    """Cancel the jobs of this part, let elements seal what they have, and let nothing more be done here.

    Where the scheduler does not confirm that jobs are cancelled, the fence alone stops elements: before their next
    unit, and what they have not sealed is not kept.

    Parameters
    ----------
    at_once : bool
        Put up the fence first: results of this part do not count any more.

    Returns
    -------
    dict
        `cancelled`: number of jobs, None if the scheduler did not confirm it, and why in `silent`; `working`:
        elements that gave a sign of life lately.
    """
    make_folder(campaign.run_dir)
    if at_once:
        fence_run(campaign.run_dir, why)
    last, silent = latest(campaign.run_dir), ""
    cancelled: int | None = 0
    if last is not None and not last.is_over:
        scheduler = scheduler_of(last.site)
        try:
            cancelled = cancel(last, scheduler, runner_of(last.site, scheduler))
            if not at_once:
                _wait_for_seals(campaign.run_dir)
        except HpckitError as error:
            cancelled, silent = None, str(error)
    fence_run(campaign.run_dir, why)
    return {"cancelled": cancelled, "working": len(working_in(campaign.run_dir)), "silent": silent}


def _wait_for_seals(run_dir: Path) -> None:
    """Wait until no element gives a sign of life, or as long as schedulers let elements end."""
    limit = time.monotonic() + _SEALS_S
    while working_in(run_dir) and time.monotonic() < limit:
        time.sleep(0.5)
