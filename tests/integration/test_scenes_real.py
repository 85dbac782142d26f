"""Real products: metadata of several baselines against what stactools made of them."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from shapely.geometry import shape

from hpckit.catalogue import catalogue
from hpckit.catalogue.discover import find_products
from hpckit.catalogue.stac import to_item
from hpckit.errors import SceneError
from hpckit.sensors.integrity import check_files
from hpckit.sensors.model import Scene
from hpckit.sensors.sentinel2.metadata import parse_granule, parse_product
from hpckit.space import footprint
from tests.products import read_product as read_any
from tests.products import read_safe as read_product

pytestmark = [pytest.mark.integration, pytest.mark.realdata]


def expectations(shared_data: Path) -> list[tuple[Path, dict]]:
    folder = shared_data / "s2-stactools-metadata" / "data-files"
    return [
        (path.parent, json.loads(path.read_text()))
        for path in sorted(folder.glob("*.SAFE/expected_output.json"))
        if list(path.parent.glob("MTD_MSIL*.xml")) and list(path.parent.glob("GRANULE/*/MTD_TL.xml"))
    ]


def test_metadata_agree_with_stactools(shared_data):
    cases = expectations(shared_data)
    assert len(cases) >= 8
    for safe, item in cases:
        metadata = next(safe.glob("MTD_MSIL*.xml"))
        product = parse_product(metadata.name, metadata.read_bytes())
        granule_file = next(safe.glob("GRANULE/*/MTD_TL.xml"))
        granule = parse_granule(granule_file.name, granule_file.read_bytes())
        properties = item["properties"]
        code = properties.get("proj:epsg") or int(properties["proj:code"].partition(":")[2])
        assert granule.epsg == code, safe.name
        assert properties["s2:processing_baseline"] == product.baseline
        assert properties["s2:datatake_id"] == product.datatake
        assert properties["sat:relative_orbit"] == product.relative_orbit
        assert properties["eo:cloud_cover"] == pytest.approx(product.cloud_cover)
        assert f"MGRS-{granule.tile}" == properties["grid:code"] or granule.tile.endswith(
            properties["mgrs:grid_square"]
        )
        transforms = [a["proj:transform"] for a in item["assets"].values() if "proj:transform" in a]
        assert any(t[2] == granule.ulx and t[5] == granule.uly for t in transforms), safe.name
        offset = set(product.offsets.values())
        assert offset == ({-1000} if float(product.baseline) >= 4 else set()), safe.name


def with_images(safe: Path, folder: Path) -> Path:
    """The metadata of a real product, with placeholders where its images were."""
    metadata = next(safe.glob("MTD_MSIL*.xml"))
    copy = folder / safe.name
    for source in (metadata, next(safe.glob("GRANULE/*/MTD_TL.xml"))):
        target = copy / source.relative_to(safe)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    for name in parse_product(metadata.name, metadata.read_bytes()).images:
        image = copy / f"{name.removesuffix('.jp2')}.jp2"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(b"not read by a scan")
    return copy


def test_scenes_and_items_agree_with_stactools(shared_data, tmp_path):
    """Files, positions, sizes, radiometry and outlines of every product, through a catalogue file."""
    cases = expectations(shared_data)
    expected = {with_images(safe, tmp_path / str(n)): item for n, (safe, item) in enumerate(cases)}
    report = catalogue.scan([tmp_path])
    assert not report.failures and not report.incomplete and len(report.scenes) == len(cases)
    catalogue.write(tmp_path / "c.parquet", report.scenes)
    for scene in catalogue.read(tmp_path / "c.parquet"):
        theirs = expected[Path(scene.href)]
        ours = to_item(scene)
        assert scene.id == theirs["properties"]["s2:product_uri"].removesuffix(".SAFE")
        assert ours["properties"]["s2:datastrip_id"] == theirs["properties"]["s2:datastrip_id"]
        if scene.nodata is not None:
            assert scene.nodata == pytest.approx(theirs["properties"]["s2:nodata_pixel_percentage"])
        # stactools rounds to six decimals.
        outline, reference = shape(ours["geometry"]), shape(theirs["geometry"])
        assert outline.is_valid and outline.symmetric_difference(reference).area < 2e-6 * reference.length, scene.id
        assert ours["bbox"] == pytest.approx(theirs["bbox"], abs=1e-5), scene.id
        assert compared_assets(ours, theirs) >= 10, scene.id


def compared_assets(ours: dict, theirs: dict) -> int:
    """Number of assets of ours that stactools has, too; position, size, scale and offset must be equal."""
    by_file = {Path(asset["href"]).stem: asset for asset in theirs["assets"].values()}
    compared = 0
    for asset in ours["assets"].values():
        other = by_file.get(Path(asset["href"]).stem)
        if other is None or "proj:transform" not in other:
            continue
        compared += 1
        assert asset["proj:transform"][:6] == other["proj:transform"][:6], asset["href"]
        assert asset["proj:shape"] == other["proj:shape"], asset["href"]
        for mine, reference in zip(asset.get("raster:bands") or [], other.get("raster:bands", []), strict=False):
            assert mine["scale"] == pytest.approx(reference["scale"]), asset["href"]
            assert mine["offset"] == pytest.approx(reference["offset"]), asset["href"]
    return compared


def test_the_real_level_2a_product(shared_data):
    (scene,) = catalogue.scan([shared_data / "s2-l2a-safe-t29unu-2022"]).scenes
    assert scene.tile == "29UNU" and scene.baseline == "04.00" and scene.relative_orbit == 23
    reflectance = {asset.offset for asset in scene.assets.values() if asset.scale == 1e-4}
    assert reflectance == {-0.1} and len(scene.missing) == 18
    assert scene.nodata == pytest.approx(40.419397)
    check_files(scene, scene.assets)


def test_real_zip_files_and_tiles_of_aws(shared_data):
    scenes = [read_product(path) for path in find_products([shared_data / "s2-l1c-ga-eodatasets"])]
    assert {scene.tile for scene in scenes} == {"56JMM", "53JQJ", "48LWP", "55HFA", "55JGF"}
    assert all(scene.level == "L1C" and len(scene.assets) == 13 for scene in scenes)
    assert all(asset.offset == 0 for scene in scenes for asset in scene.assets.values())
    assert all(scene.id in scene.href for scene in scenes if scene.tile != "55JGF")
    (packed,) = (scene for scene in scenes if scene.tile == "55JGF")
    assert packed.datatake == "GS2B_20180617T001109_006677_N02.06"


def test_outlines_of_real_products_lie_on_their_granules(shared_data):
    """With heights, too: S2A_MSIL2A_20150826T185436_N0212 has them, but for the last point."""
    found = 0
    for path in sorted((shared_data / "s2-stactools-metadata" / "data-files").glob("*/MTD_MSIL*.xml")):
        metadata = [*path.parent.glob("GRANULE/*/MTD_TL.xml"), *path.parent.glob("MTD_TL.xml")]
        if metadata:
            product = parse_product(path.name, path.read_bytes())
            granule = parse_granule(metadata[0].name, metadata[0].read_bytes())
            square = footprint.square(granule.epsg, granule.ulx, granule.uly, granule.shapes[10])
            outline = footprint.of_positions(product.positions, square)
            assert outline is not square and shape(outline).difference(shape(square)).area < 0.01, path
            found += 1
    assert found >= 10


GRD = "S1B_IW_GRDH_1SDV_20210401T052623_20210401T052648_026269_032297_ECC8"


@pytest.mark.parametrize(
    ("place", "checksum"),
    [(f"{GRD}", True), ("may", False), (f"{GRD}.SAFE/{GRD}.SAFE", True), (f"a/{GRD}.SAFE", True)]
    + [(f"x.zip:{top}", GRD in top) for top in ("", "my data/", f"./{GRD}.SAFE/", f"{GRD}.SAFE\\")],
)
def test_radar_products_of_any_name_and_layout(shared_data, tmp_path, place, checksum):
    """The name comes from the folder, or else from the metadata, which have all of it but the checksum."""
    source = next((shared_data / "s1-grd-safe-xarray-sentinel").rglob(f"{GRD}.SAFE"))
    delivered = read_any(source)
    name, zipped, top = place.partition(":")
    if zipped:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for file in (file for file in source.rglob("*") if file.is_file()):
                member = zipfile.ZipInfo("x")
                path = f"{top}{file.relative_to(source).as_posix()}"
                member.filename = path.replace("/", "\\") if "\\" in top else path
                archive.writestr(member, file.read_bytes())
            archive.writestr("__MACOSX/._manifest.safe", b"x")
    else:
        shutil.copytree(source, tmp_path / name)
    (scene,) = catalogue.scan([tmp_path]).scenes
    assert scene.id == (GRD if checksum else GRD.rpartition("_")[0])
    assert _wherever(scene) == _wherever(delivered)


def _wherever(scene: Scene) -> Scene:
    """What is the same of a product under another name, and in another place."""
    return replace(scene, id="", href="", assets={key: replace(asset, uri="") for key, asset in scene.assets.items()})


def test_products_without_pixels_are_reported_one_by_one(shared_data):
    report = catalogue.scan([shared_data / "s2-stactools-metadata"])
    assert not report.scenes and len(report.failures) >= 10
    for failure in report.failures:
        with pytest.raises(SceneError):
            read_product(failure.path)
