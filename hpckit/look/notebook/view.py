"""What `hpckit.open_campaign` gives: a campaign's results, and what notebooks show of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from hpckit.look.view import CampaignView

if TYPE_CHECKING:
    from hpckit.look.layers import Layer
    from hpckit.look.notebook.calendar import Calendar
    from hpckit.look.notebook.chart import Chart
    from hpckit.look.notebook.explore import Explorer


@dataclass(frozen=True, slots=True)
class NotebookView(CampaignView):
    """A view of a campaign with the viewer, calendars and charts of notebooks."""

    def explore(self, *, height_px: int = 720, proxy: str | None = None) -> Explorer:
        """Show the viewer of `hpckit serve` in a notebook; its server ends with the kernel.

        Parameters
        ----------
        height_px : int
            Height of the frame.
        proxy : str, optional
            Path of the notebook's server, where jupyter-server-proxy passes requests on: `/`, `/user/anna/`. Taken
            from JupyterHub if not given; without it, the browser must run on this machine.

        Raises
        ------
        HpckitError
            If the server does not start, for example because its packages are missing.
        """
        from hpckit.look.notebook.explore import explore

        return explore(self.campaign, height_px=height_px, proxy=proxy)

    def calendar(
        self,
        zone: str | int,
        layer: str | Layer | None = None,
        start: date | None = None,
        end: date | None = None,
        reduction: str | None = None,
    ) -> Calendar:
        """Make the calendar of a zone: a row for each week, a chip for each acquisition. A notebook shows it.

        Parameters
        ----------
        zone, reduction
            As in `series`.
        layer : str or Layer, optional
            `NDVI`, `SCL`, `B08,B04,B03`; true colour if the cube has it, else the first layer of the campaign.
        start, end : date, optional
            First and last day, both included.

        Returns
        -------
        Calendar
            `calendar.widget()` is a widget with the trait `day`, the day that was clicked last.

        Raises
        ------
        ZoneError
            If there is no such zone.
        HpckitError
            If there is no such layer, or no date.
        CubeError
            If the cube does not hold the zone.
        """
        from hpckit.look.notebook.calendar import calendar

        return calendar(self, str(zone), layer, start, end, reduction)

    def chart(self, zone: str | int, band: str | None = None, reduction: str | None = None) -> Chart:
        """Make the series of a zone as a chart for notebooks; parameters and errors as for `series`.

        Returns
        -------
        Chart
            `chart.widget()` is a widget with the trait `day`, the day that was clicked last.
        """
        from hpckit.look.notebook.chart import chart

        return chart(self, str(zone), band, reduction)
