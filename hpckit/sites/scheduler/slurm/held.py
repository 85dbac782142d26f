"""What to do about jobs that do not start by waiting, by the reason that Slurm gives."""

from __future__ import annotations

import re
from typing import Final

from hpckit.sites.scheduler.slurm.clusters import split_id

_RELEASE: Final = "`scontrol{at} release {id}` lets it go on, or `hpckit cancel`, then `hpckit retry`"
_REMEDIES: Final = (
    (r"launch[ _]failed[ _]requeued[ _]held", "its node could not start it; see its output, then " + _RELEASE),
    (r"requeued[ _]in[ _]held[ _]state|requeued[ _]held", "it was put back and held; " + _RELEASE),
    (r"JobHeldAdmin", "the site's operators hold it: ask them"),
    (r"JobHeldUser", "it is held; `scontrol{at} release {id}` lets it go"),
    (r"DependencyNeverSatisfied", "what it waits for did not succeed: `hpckit cancel`, then `hpckit retry`"),
    (
        r"(?:Assoc|QOS)Grp\w*(?:Minutes|RunMins)",
        "the account's budget is used up: take another `--account`",
    ),
    (
        r"InvalidAccount|AccountNotAllowed",
        "`hpckit cancel`, then `hpckit retry --account` with one that may",
    ),
    (r"InvalidQOS|QOSNotAllowed", "`hpckit cancel`, then `hpckit retry --qos` with one that may run there"),
    (
        r"BadConstraints|PartitionTimeLimit|PartitionNodeLimit|MaxMemPerLimit|(?:QOS|Assoc)Max\w*PerJob",
        "it asks for more than is allowed: correct the site file, `hpckit cancel`, then `hpckit retry --site`",
    ),
)


def is_held(reason: str) -> bool:
    """Whether a job with this reason does not start by waiting.

    >>> is_held("job requeued in held state"), is_held("Priority"), is_held("QOSMaxJobsPerUserLimit")
    (True, False, False)
    """
    return any(re.search(pattern, reason) for pattern, _ in _REMEDIES)


def remedy(reason: str, identifier: str) -> str:
    """What to do about a job that is held for this reason; empty where that is not known."""
    number, cluster = split_id(identifier)
    at = f" -M {cluster}" if cluster else ""
    return next((text.format(id=number, at=at) for pattern, text in _REMEDIES if re.search(pattern, reason)), "")
