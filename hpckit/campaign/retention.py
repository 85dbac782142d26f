"""How long what a run needs no more stays, before `hpckit clean` removes it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hpckit.campaign.model import Model

Days = Annotated[float, Field(ge=0, le=36_525)]


class Retention(Model):
    """Days for which `hpckit clean` keeps what is not needed any more; what is left out has its default."""

    spool: Days | None = None
    """Spool files whose results the store holds."""
    outdated: Days | None = None
    """Spool files with results of earlier settings, and damaged ones."""
    logs: Days | None = None
    """Of workers and jobs, except those of the last submission."""
    inputs: Days | None = None
    """Frozen inputs that nothing names."""
    indexes: Days | None = None
    """Zone indexes of earlier zones, grids and settings."""
    run: Days | None = None
    """The run directory of a campaign whose period is over and whose results are all in the store."""

    @property
    def days(self) -> dict[str, float]:
        """Days by what they are said of."""
        return {name: value for name, value in self.model_dump().items() if value is not None}
