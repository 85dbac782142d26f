"""What `hpckit.open_campaign` gives: a campaign's results, and what notebooks show of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from hpckit.errors import CampaignError
from hpckit.look.view import CampaignView

if TYPE_CHECKING:
    import xarray

    from hpckit.look.layers import Layer
    from hpckit.look.notebook.calendar import Calendar
    from hpckit.look.notebook.chart import Chart
    from hpckit.look.notebook.explore import Explorer
    from hpckit.reduce.blocks.apply import Applied


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

    def apply(
        self,
        function: Callable[..., Any],
        *,
        output: str | None = None,
        bands: Sequence[str] | None = None,
        composite: str | None = None,
        period: tuple[str, str] | None = None,
        halo: int = 0,
        options: Mapping[str, Any] | None = None,
        nodata: int | None = None,
        memory_mib: int = 768,
        format: str | None = "GTiff",
        window: tuple[int, int] | None = None,
    ) -> Applied:
        """Try a function on one window, and write the campaign that computes it for all pixels.

        Parameters
        ----------
        function : callable
            Takes a block, `xarray.DataArray` with `time`, `band`, `y`, `x`, float32 with NaN where there are no data,
            and gives back one with [`time`,] [`band`,] `y`, `x`. It must keep nothing from block to block.
        output : str, optional
            Name of the result; that of the function if not given.
        bands : sequence of str, optional
            Bands of the cube, or layers of the composite; all if not given.
        composite : str, optional
            Composite whose periods it gets, instead of the dates of the cube.
        period : two str, optional
            First moment and the one after the last.
        halo : int
            Pixels around a block that it gets as well.
        options : mapping, optional
            Further arguments by name, as JSON has them.
        nodata : int, optional
            Of results that are integers.
        memory_mib : int
            Memory of one block.
        format : str, optional
            Of the files of the result, beside its Zarr group; None for none.
        window : two int, optional
            First row and column of the window for the trial; the middle if not given.

        Returns
        -------
        Applied
            With `trial`, what it made of the window. `hpckit.run` and `hpckit.submit` take it as a campaign.

        Raises
        ------
        UserCodeError
            If the function raises, needs a package that is missing, keeps state, or gives back something unfit.

        Examples
        --------
        >>> def ndvi(block):
        ...     red, nir = block.sel(band="B04"), block.sel(band="B08")
        ...     return ((nir - red) / (nir + red)).max("time")
        >>> applied = campaign.apply(ndvi, bands=["B04", "B08"])
        >>> applied.trial.dims
        ('band', 'y', 'x')
        """
        from hpckit.reduce.blocks.apply import apply

        return apply(
            self.campaign,
            function,
            output=output,
            bands=bands,
            composite=composite,
            period=period,
            halo=halo,
            options=options,
            nodata=nodata,
            memory_mib=memory_mib,
            format=format,
            window=window,
        )

    def result(self, name: str | None = None) -> xarray.Dataset:
        """Open the result of a reduction of `kind: function` or `kind: predict`, lazily.

        Parameters
        ----------
        name : str, optional
            Of the reduction; may be left out where the campaign has one.

        Returns
        -------
        xarray.Dataset
            A variable for each band that the function or model makes.

        Raises
        ------
        CampaignError
            If there is no such reduction.
        UserCodeError
            If it is not computed yet.
        """
        from hpckit.reduce.blocks.apply import open_result

        known = {reduction.name: reduction for reduction in self.campaign.of_blocks}
        if name not in known and (name is not None or len(known) != 1):
            raise CampaignError(
                f"{self.campaign.path}: there is no function or model {name or ''}".rstrip(),
                hint=f"name one of {', '.join(known)}" if known else "`composite` and `cube` open other results",
            )
        return open_result(self.campaign, known[name] if name is not None else next(iter(known.values())))

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
