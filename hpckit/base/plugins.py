"""What other packages add to hpckit by entry points: sensors, schedulers, stages."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from typing import Any

from hpckit.errors import HpckitError


def added(group: str) -> dict[str, str]:
    """Places of objects, `package.module:OBJECT`, by the names that installed packages give them in a group."""
    from importlib.metadata import entry_points  # costs a tenth of a start

    return dict(sorted((point.name, point.value) for point in entry_points(group=group)))


def load(what: str, place: str, error: type[HpckitError], make: Callable[[Any], Any] = lambda found: found) -> Any:
    """Import an object, and make something of it.

    Parameters
    ----------
    what : str
        Kind and name, for the message: `sensor 'plover'`.

    Raises
    ------
    HpckitError
        Of the class `error`, if its package is broken in whatever way.
    """
    try:
        return make(pkgutil.resolve_name(place))
    except Exception as fault:
        raise error(
            f"{what}: {place} cannot be loaded ({type(fault).__name__}: {fault})",
            hint="repair or reinstall the package that brings it",
        ) from fault
