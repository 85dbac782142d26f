"""Windows of products as they are, or resampled onto a grid: for sensors whose products are rasters in a CRS."""

from __future__ import annotations

from hpckit.sensors.masks import MaskBand
from hpckit.sensors.reader import WindowAnswer, WindowRequest


def windows_of(request: WindowRequest, mask: MaskBand | None) -> WindowAnswer:
    """Read windows of one acquisition; see `Sensor.read_windows`.

    Parameters
    ----------
    mask : MaskBand, optional
        Band of the products that masks clouds and pixels without data.

    Raises
    ------
    SceneError
        If a file cannot be read.
    """
    if request.treatment.onto is None:
        from hpckit.sensors.granules import decode_windows

        return decode_windows(request, mask)
    from hpckit.sensors.regrid import resample_windows  # imports odc.geo, which own pixels need not wait for

    return resample_windows(request, mask)
