"""Whose file or folder keeps a person out, in one sentence."""

from __future__ import annotations

import errno
import stat
from pathlib import Path

from hpckit.base.account import group_name, user_name


def closed_by(path: Path, error: OSError) -> str | None:
    """Who keeps this person from a path, and what the owner can do; None where it is not a matter of rights.

    Parameters
    ----------
    path : Path
        What was to be read, or written in.
    error : OSError
        What the file system said.
    """
    if error.errno not in (errno.EACCES, errno.EPERM):
        return None
    here = Path(path.anchor)
    for place in (*reversed(path.parents), path):
        try:
            facts = place.stat()
        except OSError:
            break
        here = place
    facts = here.stat()
    owner, group = user_name(facts.st_uid), group_name(facts.st_gid)
    mode = f"mode {stat.S_IMODE(facts.st_mode):o}"
    return (
        f"{here} belongs to {owner}, group {group}, {mode}: let {owner} open it to a group that you are in"
        " (`group: true` in a campaign does that for a run)"
    )
