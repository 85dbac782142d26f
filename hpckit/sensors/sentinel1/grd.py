"""Sentinel-1 GRD products as ESA delivers them: SAFE folders, and zip files that hold one.

Radar geometry: lines in flight direction, samples in ground range. Source: Sentinel-1 Product Specification
(S1-RS-MDA-52-7441), and real products of IPF 2.4 to 3.7.
"""

from __future__ import annotations

import re
from typing import Final

import shapely

from hpckit.errors import SceneError
from hpckit.inputs.files import Files
from hpckit.sensors.bands import split_key
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel1.model import ESA_NAME, OrbitState, Radar, frame_id, moment, pass_id
from hpckit.sensors.sentinel2.metadata import Metadata
from hpckit.space.footprint import polygon

MANIFEST: Final = "manifest.safe"
_MEASUREMENT: Final = re.compile(r"^measurement/(?P<stem>(?:.*-)?(?P<pol>vv|vh|hh|hv)(?:-.*)?)\.tiff$", re.IGNORECASE)
_PLACE: Final = re.compile(r"(?P<folder>.+)/measurement/[^/?]+(?P<signature>(?:\?.*)?)", re.DOTALL)
_KINDS: Final = ("GRD",)
_HIGH_M: Final = 10.0
_MEDIUM_M: Final = 40.0
"""Pixels in range of products of high and of medium resolution."""


def folder_of(measurement: str) -> str:
    """Place of the product of which a measurement file is, by the place of this; a signature stays at the end.

    Raises
    ------
    ValueError
        If it does not lie where those of products do.
    """
    match = _PLACE.fullmatch(measurement)
    if match is None:
        raise ValueError("it lies in no folder measurement/")
    return f"{match['folder']}{match['signature']}"


def sidecars(measurement: str) -> dict[str, str]:
    """Annotation files that belong to a measurement file: `product`, `calibration`, `noise`."""
    stem = measurement.rpartition("/")[2].removesuffix(".tiff")
    return {
        "product": f"annotation/{stem}.xml",
        "calibration": f"annotation/calibration/calibration-{stem}.xml",
        "noise": f"annotation/calibration/noise-{stem}.xml",
    }


def beside(scene: Scene, files: Files) -> dict[str, str]:
    """Annotation files of a raw product that are there, by band and kind (`Scene.beside`)."""
    images = {split_key(key)[0]: asset for key, asset in scene.assets.items()}
    return {
        f"{band}/{kind}": name
        for band, image in sorted(images.items())
        for kind, name in sidecars(image.name).items()
        if name in files and files.size(name) > 0
    }


def read_grd(files: Files) -> Scene:
    """Read what the manifest and one annotation of a product tell.

    Raises
    ------
    SceneError
        If it is no GRD product, or its metadata are missing or broken. A product that lacks image or
        calibration files is no error: `Scene.missing` lists them.
    """
    manifest = Metadata(MANIFEST, files.read(MANIFEST))
    kind = manifest.text("productType")
    if kind not in _KINDS:
        raise SceneError(f"unsupported: Sentinel-1 products of type {kind}", hint="take the GRD product of this pass")
    polarisations = tuple(manifest.texts("transmitterReceiverPolarisation"))
    listed = _measurements(manifest, files)
    present = {pol: name for pol, name in listed.items() if name in files and files.size(name) > 0}
    if not present:
        raise SceneError("incomplete: none of its measurement files is there")
    annotation = _annotation(files, present)
    radar = _radar(manifest, annotation, polarisations)
    platform = f"S1{manifest.text('number').upper()}"
    datatake = f"{int(manifest.matching('missionDataTakeID', '[0-9]{1,8}')):06X}"
    shape = (
        int(annotation.matching("numberOfLines", r"\d{1,6}")),
        int(annotation.matching("numberOfSamples", r"\d{1,6}")),
    )
    rasters = {pol: Asset(files.uri(file), shape=shape) for pol, file in present.items()}
    return Scene(
        id=identifier(files.name, files.root) or _eight_fields(platform, radar, datatake, annotation),
        sensor="sentinel-1",
        href=files.href,
        level="GRD",
        platform=platform,
        sensed=radar.start,
        part=frame_id(radar),
        datatake=pass_id(platform, radar.orbit_state, datatake, radar.absolute_orbit, radar.start),
        baseline=_version(manifest),
        relative_orbit=int(manifest.matching("relativeOrbitNumber", r"\d{1,3}")),
        assets={f"{pol}@{res}m": raster for pol, raster in rasters.items() for res in (10, 20)},
        footprint=_footprint(manifest),
        missing=_missing(files, listed),
        details=radar,
    )


def identifier(name: str, root: str) -> str:
    """Name of a product as its folder or zip file has it; empty where these were renamed."""
    match = ESA_NAME.search(root.rpartition("/")[2]) or ESA_NAME.search(name)
    return match[0].upper() if match else ""


def _eight_fields(platform: str, radar: Radar, datatake: str, annotation: Metadata) -> str:
    """Name of a product by its metadata: all but the checksum at the end, which stands nowhere else."""
    resolution = resolution_letter(annotation.number("rangePixelSpacing") or _HIGH_M)
    one = radar.polarisations[0] if radar.polarisations else "VV"
    several = "D" if len(radar.polarisations) > 1 else "S"
    return (
        f"{platform}_{radar.mode}_GRD{resolution}_1S{several}{one[0]}_{radar.start:%Y%m%dT%H%M%S}_"
        f"{radar.stop:%Y%m%dT%H%M%S}_{radar.absolute_orbit:06d}_{datatake}"
    )


def resolution_letter(spacing_m: float) -> str:
    """Letter of the resolution in names of products, by the pixels in range: `H` is high."""
    return "M" if spacing_m >= _MEDIUM_M else "F" if spacing_m < _HIGH_M / 2 else "H"


def _measurements(manifest: Metadata, files: Files) -> dict[str, str]:
    """Measurement files by polarisation: those that the manifest lists, and those that are there.

    The archives of Amazon and Microsoft give files short names, `measurement/iw-vv.tiff`, that no manifest lists.
    """
    hrefs = [href.removeprefix("./") for href in manifest.attributes("fileLocation", "href")]
    there = files.names()
    found: dict[str, str] = {}
    for name in [*(href for href in hrefs if href in there), *there, *hrefs]:
        match = _MEASUREMENT.match(name)
        if match and match["pol"].upper() not in found:
            found[match["pol"].upper()] = name
    return found


def _annotation(files: Files, present: dict[str, str]) -> Metadata:
    for measurement in present.values():
        name = sidecars(measurement)["product"]
        if name in files:
            return Metadata(name, files.read(name))
    raise SceneError("incomplete: none of its annotation files is there")


def _radar(manifest: Metadata, annotation: Metadata, polarisations: tuple[str, ...]) -> Radar:
    direction = manifest.matching("pass", r"(?i)ascending|descending").lower()
    state: OrbitState = "ascending" if direction == "ascending" else "descending"
    # One per point of the geolocation grid; older antenna patterns have lists under the same name.
    angles = [float(text) for text in annotation.texts("incidenceAngle") if " " not in text]
    return Radar(
        mode=manifest.text("mode"),
        polarisations=polarisations,
        radiometry="dn",
        orbit_state=state,
        absolute_orbit=int(manifest.matching("orbitNumber", r"\d{1,6}")),
        start=moment(manifest.text("startTime")),
        stop=moment(manifest.text("stopTime")),
        incidence=(min(angles), max(angles)) if angles else None,
    )


def _version(manifest: Metadata) -> str:
    """Version of the processor, `3.31`."""
    match = re.fullmatch(r"0*(\d+\.\d+)", manifest.attribute("software", "version") or "")
    return match[1] if match else "0.00"


def _footprint(manifest: Metadata) -> shapely.Geometry:
    pairs = [pair.split(",") for pair in manifest.text("coordinates").split()]
    return polygon([(float(longitude), float(latitude)) for latitude, longitude in [*pairs, pairs[0]]])


def _missing(files: Files, listed: dict[str, str]) -> tuple[str, ...]:
    wanted = [name for file in listed.values() for name in (file, *sidecars(file).values())]
    return tuple(name.rpartition("/")[2] for name in wanted if name not in files or files.size(name) == 0)
