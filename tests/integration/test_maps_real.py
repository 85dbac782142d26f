"""Map tiles, overviews and chips of a real product: the pixels are those of its files."""

from __future__ import annotations

import io

import numpy as np
import pyproj
import pytest
import rasterio
import shapely
from PIL import Image

from hpckit.campaign.campaign import load_campaign
from hpckit.catalogue import catalogue
from hpckit.cubes import ingest, layout, overviews
from hpckit.cubes.layout import CubeSpec
from hpckit.cubes.manifest import Manifest
from hpckit.look.chips import calendar, read_chip, write_geotiff
from hpckit.look.tiles import Layer, days, draw_tile, layers
from hpckit.look.view import CampaignView
from tests.unit.test_map_tiles import centres, tile_at
from tests.unit.test_overviews import mean_of_valid

pytestmark = [pytest.mark.integration, pytest.mark.realdata]

CAMPAIGN = """\
name: real
aoi: [-9.5, 52.0, -7.0, 54.5]
period: 2022-10-01/2022-10-31
scenes: {paths: none}
cube: {bands: [B02@60m, B03@60m, B04@60m, B8A@60m, SCL@60m]}
reductions:
  - {name: fields, zones: none.gpkg, id: id, bands: [B04@60m], mask: {band: SCL@60m}}
"""


@pytest.fixture(scope="module")
def product(shared_data):
    found, _ = catalogue.acquisitions(catalogue.scan([shared_data / "s2-l2a-safe-t29unu-2022"]).scenes)
    return found


@pytest.fixture(scope="module")
def view(product, tmp_path_factory) -> CampaignView:
    folder = tmp_path_factory.mktemp("real")
    (folder / "campaign.yaml").write_text(CAMPAIGN)
    campaign = load_campaign(folder / "campaign.yaml")
    spec = CubeSpec.of(campaign)
    layout.prepare(spec, "29UNU", product)
    manifest = Manifest.load(spec.path)
    for unit in ingest.ingest_units(spec, "29UNU", product):
        result = ingest.ingest(spec, unit, product, manifest, "test")
        assert not result.failures
    return CampaignView(campaign)


def pixels(product, key: str) -> tuple[np.ndarray, rasterio.Affine]:
    with rasterio.open(product[0].scenes[0].assets[key].uri) as source:
        return source.read(1), source.transform


def test_map_tiles_show_the_pixels_of_the_product(view, product):
    (day,) = days(view)
    values, transform = pixels(product, "B04@60m")
    layer = Layer("band", ("B04@60m",), day.day, stretch=((0.0, 0.3),))
    rows, columns = np.nonzero(values)
    middle = transform @ (float(np.median(columns)), float(np.median(rows)))
    longitude, latitude = pyproj.Transformer.from_crs(32629, 4326, always_xy=True).transform(*middle)
    for z in (10, 12):
        place = tile_at(longitude, latitude, z)
        drawn = draw_tile(view, layer, *place, resampling="nearest")
        shown = np.asarray(Image.open(io.BytesIO(drawn.png)).convert("RGBA"))
        east, north = pyproj.Transformer.from_crs(3857, 32629, always_xy=True).transform(*centres(*place, 256))
        column, row = ~transform @ (east, north)
        certain = (np.abs(column - np.round(column)) > 0.03) & (np.abs(row - np.round(row)) > 0.03)
        inside = (column >= 0) & (row >= 0) & (column < 1830) & (row < 1830)
        i, j = np.floor(row).astype(int).clip(0, 1829), np.floor(column).astype(int).clip(0, 1829)
        expected = np.where(inside, values[i, j], 0)
        assert ((shown[..., 3] > 0) == (expected > 0))[certain].all() and (expected > 0).any()
        grey = ((expected - 1000.0) * 1e-4 / 0.3 * 255).clip(0, 255)
        assert np.abs(shown[..., 0] - grey)[certain & (expected > 0)].max() < 1.01


def test_overviews_are_means_of_the_product(view, product):
    import zarr

    built = overviews.build(view.campaign.cube_path)
    assert built.planes == 5 and not built.faults.shards
    values, _ = pixels(product, "B04@60m")
    for factor in (8, 64):
        path = view.campaign.cube_path / "29UNU" / "overviews" / "r60m" / f"r{60 * factor}m" / "B04"
        np.testing.assert_array_equal(zarr.open_array(path, mode="r")[0], mean_of_valid(values, factor))


def test_chips_are_windows_of_the_product(view, product):
    values, transform = pixels(product, "B04@60m")
    rows, columns = np.nonzero(values)
    x, y = transform @ (float(np.median(columns)), float(np.median(rows)))
    zone = shapely.Point(x, y).buffer(600)
    chip = read_chip(view, zone, "B04@60m", days(view)[0].day, crs=32629)
    with rasterio.MemoryFile(write_geotiff(chip)) as memory, memory.open() as source:
        column, row = (round(place) for place in ~transform @ (source.transform.c, source.transform.f))
        cut = values[row : row + source.height, column : column + source.width]
        np.testing.assert_array_equal(source.read(1), cut)
    for choice in layers(view):
        sprite = calendar(view, zone, choice.layer, crs=32629)
        assert len(sprite.cells) == 1 and sprite.cells[0].id == product[0].id and not sprite.notes
