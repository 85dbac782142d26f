"""Which of GDAL's drivers decodes the images of products."""

from __future__ import annotations

import pytest
import rasterio

from hpckit.inputs.opening import driver_of


@pytest.mark.parametrize(
    ("there", "chosen"),
    [
        ({"GTiff", "JP2OpenJPEG"}, "JP2OpenJPEG"),
        ({"JP2OpenJPEG", "JP2Grok", "GTiff"}, "JP2Grok"),
        ({"JP2OpenJPEG", "JP2Grok", "JP2KAK"}, "JP2KAK"),
        ({"JP2MrSID", "JP2ECW"}, "JP2ECW"),
    ],
)
def test_the_fastest_decoder_that_is_there(there: set[str], chosen: str) -> None:
    assert driver_of(".jp2", there) == chosen


def test_without_any_gdal_itself_refuses_the_first() -> None:
    assert driver_of(".jp2", ()) == "JP2KAK"


def test_this_gdal_has_what_is_chosen() -> None:
    with rasterio.Env() as environment:
        known = environment.drivers()
    assert all(driver_of(ending) in known for ending in (".jp2", ".tif", ".tiff", ".img"))
