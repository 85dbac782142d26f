"""Pictures of classes: the colour of each pixel, and the share of each class."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from hpckit.errors import CubeError, HpckitError
from hpckit.look.classes import colours, draw_class_map, draw_shares
from hpckit.look.pixels import PictureExtent, Snapshot
from hpckit.look.quicklook import compose
from hpckit.sensors.bands import Band, BandRef
from hpckit.sensors.sentinel2.sensor import SENTINEL2
from tests.raster_samples import options

CROP = Band("crop", 10, "class", (10,), dtype="uint8", flags=((1, "wheat"), (2, "2"), (7, "a very long name indeed")))


def labels(legend) -> list[str]:
    return [text.get_text() for text in legend.get_texts()]


def test_each_pixel_has_the_colour_of_its_class():
    codes = np.random.default_rng(1).choice(np.array([0, 1, 7, 9], np.uint8), (30, 40))
    extent = PictureExtent(32631, 600000, 5700000, 10, codes.shape)
    acquisition = {"time": "2024-05-01T00:00:00+00:00"}
    snapshot = Snapshot("north", extent, acquisition, {}, None, options().made)
    (axes,) = draw_class_map(snapshot, CROP, codes, name="mine").figure.axes
    image = np.asarray(axes.images[0].get_array())
    for code, colour in colours(CROP).items():
        np.testing.assert_allclose(image[codes == code], np.tile(to_rgba(colour), ((codes == code).sum(), 1)))
    assert (image[codes == 0][:, 3] == 0).all() and (image[codes == 9][:, 3] == 1).all()
    assert labels(axes.get_legend()) == ["1 wheat", "7 a very long n…", "other"]


def test_shares_are_those_of_pixels_with_a_class():
    days = pd.to_datetime(["2024-05-01", "2024-05-04", "2024-05-20", "2024-06-01"])
    counts = pd.DataFrame({"time": days, "1": [3, 0, 10, np.nan], "2": [0, 0, 0, np.nan], "7": [1, 0, 30, np.nan]})
    figure = draw_shares(counts, CROP, title="Zone 1", facts=["mine"]).figure
    bars = [(bar.get_y(), bar.get_height()) for bar in figure.axes[0].patches]
    assert bars == [(0, 0.75), (0, 0.25), (0.75, 0.25), (0.25, 0.75)]
    assert labels(figure.legends[0]) == ["7 a very long n…", "1 wheat"]
    with pytest.raises(HpckitError, match="Zone 1 has no pixel with a class of crop"):
        draw_shares(counts.iloc[[1, 3]], CROP, title="Zone 1", facts=[])


def test_what_is_shown_of_bands_with_classes():
    made = options(bands={"crop": {"classes": [1, 2]}, "qa": {"bits": [1]}, "ndvi": {}}).made
    held = [BandRef(name, 10, band) for name, band in made.bands.items()]
    assert compose(made, held, {}).classes(made) is None, "a value comes first"
    only = compose(made, held[:2], {})
    assert only.bands == ("crop",) and only.classes(made) is made.bands["crop"]
    assert compose(SENTINEL2, [], {}, index="SCL").classes(SENTINEL2) is SENTINEL2.bands["SCL"]
    for wrong in ({"index": "qa"}, {"rgb": ("crop", "ndvi", "ndvi")}):
        with pytest.raises(CubeError, match="holds"):
            compose(made, held, {}, **wrong)
    with pytest.raises(CubeError, match="no band that a picture can show"):
        compose(made, held[1:2], {})
