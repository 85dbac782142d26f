"""Scenes of GRD products in EOPF Zarr: a hierarchy with a group for each polarisation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
import shapely.geometry

from hpckit.errors import SceneError
from hpckit.inputs.hierarchy import Hierarchy, is_hierarchy
from hpckit.inputs.uri import array_uri
from hpckit.sensors.model import Asset, Scene
from hpckit.sensors.sentinel1.eopf.tables import TABLES, Group, read_pixel_m
from hpckit.sensors.sentinel1.grd import resolution_letter
from hpckit.sensors.sentinel1.model import OrbitState, Radar, frame_id, moment, pass_id, relative_orbit
from hpckit.space.footprint import polygon

_ANY_GROUP: Final = re.compile(r"S01S(?:IW|EW|WV|S[1-6]|SM)(?P<kind>[A-Z]{3})_\d{8}T\d{6}_")
_GROUP: Final = re.compile(
    r"S01S(?P<mode>IW|EW|S[1-6])GRD_(?P<start>\d{8}T\d{6})_\d{4,5}_[A-Z]\d{3,4}_(?P<unique>[0-9A-F]{4})_"
    r"(?P<datatake>[0-9A-F]{6})_(?P<pol>VV|VH|HH|HV)"
)
_GRD: Final = "measurements/grd"


def is_group(name: str) -> bool:
    """Whether a group of a root is that of a polarisation of a product."""
    return _ANY_GROUP.match(name) is not None


def is_eopf(folder: Path, names: Sequence[str]) -> bool:
    """Whether a folder with these entries is a product of Sentinel-1."""
    return any(map(is_group, names)) and is_hierarchy(folder)


def read_eopf(place: Path | str, names: Sequence[str]) -> Scene:
    """Read the metadata of a product.

    Parameters
    ----------
    place : Path or str
        Its folder, or its address.
    names : sequence of str
        Entries of the folder, or groups of the root.

    Raises
    ------
    SceneError
        If it is no GRD product, or its metadata are missing or broken.
    """
    groups = {match["pol"]: match for name in sorted(names) if (match := _GROUP.fullmatch(name))}
    if not groups:
        raise SceneError(
            "unsupported: products of Sentinel-1 other than GRD", hint="take the GRD product of this pass"
        )
    hierarchy = Hierarchy(place)
    root = hierarchy.attributes
    first = next(iter(groups.values()))
    tables = {pol: Group(place, match[0]) for pol, match in groups.items()}
    present = [pol for pol, match in groups.items() if hierarchy.array(f"{match[0]}/{_GRD}") is not None]
    if not present:
        raise SceneError("incomplete: none of its groups has measurements/grd")
    images = {pol: _image(hierarchy, groups[pol][0], tables[pol]) for pol in present}
    properties = root["stac_discovery"]["properties"]
    radar = _radar(properties, first["mode"], tables[present[0]])
    platform = _platform(str(properties["platform"]))
    orbit = int(properties.get("sat:relative_orbit") or 0) or relative_orbit(platform, radar.absolute_orbit)
    return Scene(
        id=_identifier(platform, radar, first, read_pixel_m(tables[present[0]], groups[present[0]][0])),
        sensor="sentinel-1",
        href=place if isinstance(place, str) else str(place.absolute()),
        level="GRD",
        platform=platform,
        sensed=radar.start,
        part=frame_id(radar),
        datatake=pass_id(platform, radar.orbit_state, first["datatake"], radar.absolute_orbit, radar.start),
        baseline=_version(hierarchy, first[0]),
        relative_orbit=orbit,
        assets={f"{pol}@{size}m": images[pol] for pol in present for size in (10, 20)},
        beside=_beside(hierarchy, {pol: groups[pol][0] for pol in present}),
        footprint=_footprint(root["stac_discovery"]),
        missing=tuple(f"{groups[pol][0]}/{_GRD}" for pol in groups if pol not in present),
        details=radar,
    )


def _image(hierarchy: Hierarchy, group: str, tables: Group) -> Asset:
    """Image of a polarisation; raises what `Group.image` does."""
    image = tables.image()
    rows, columns = image.shape
    return Asset(
        array_uri(hierarchy.where, f"{group}/{_GRD}"),
        shape=(rows, columns),
        digest=hierarchy.digest,
        chunks=hierarchy.grid(image),
    )


def _beside(hierarchy: Hierarchy, groups: Mapping[str, str]) -> dict[str, Asset]:
    """Arrays on a server that calibrate and place images (`Scene.beside`), by polarisation and path in its group.

    None if no document lists them: then nobody can read them without a network.
    """
    if isinstance(hierarchy.where, Path) or not hierarchy.is_consolidated:
        return {}
    return {
        f"{pol}/{path.removeprefix(f'{group}/')}": Asset(
            array_uri(hierarchy.where, path), digest=hierarchy.digest, chunks=hierarchy.grid(array)
        )
        for pol, group in groups.items()
        for part in TABLES
        for path, array in hierarchy.arrays(f"{group}/{part}").items()
        if path != f"{group}/{_GRD}"
    }


def _radar(properties: Mapping[str, Any], mode: str, group: Group) -> Radar:
    state = str(properties["sat:orbit_state"]).lower()
    if state not in ("ascending", "descending"):
        raise SceneError(f"its attributes tell no direction of flight: sat:orbit_state is {state!r}")
    direction: OrbitState = "ascending" if state == "ascending" else "descending"
    angles = group.optional("conditions/gcp/incidence_angle")
    known = None if angles is None else angles[np.isfinite(angles)]
    return Radar(
        mode=mode,
        polarisations=tuple(properties["sar:polarizations"]),
        radiometry="dn",
        orbit_state=direction,
        absolute_orbit=int(properties["sat:absolute_orbit"]),
        start=moment(str(properties["start_datetime"])),
        stop=moment(str(properties["end_datetime"])),
        incidence=None if known is None or not len(known) else (float(known.min()), float(known.max())),
    )


def _platform(text: str) -> str:
    match = re.fullmatch(r"sentinel-?1([a-z])", text.lower())
    if match is None:
        raise SceneError(f"its attributes tell no satellite: platform is {text!r}")
    return f"S1{match[1].upper()}"


def _identifier(platform: str, radar: Radar, group: re.Match[str], pixel_m: float) -> str:
    """Name of the SAFE product: names of groups end with its checksum and its datatake."""
    several = "D" if len(radar.polarisations) > 1 else "S"
    return (
        f"{platform}_{radar.mode}_GRD{resolution_letter(pixel_m)}_1S{several}{radar.polarisations[0][0]}_{radar.start:%Y%m%dT%H%M%S}_"
        f"{radar.stop:%Y%m%dT%H%M%S}_{radar.absolute_orbit:06d}_{group['datatake']}_{group['unique']}"
    )


def _version(hierarchy: Hierarchy, group: str) -> str:
    """Version of ESA's processor, `3.31`, by the root or by the history."""
    root = hierarchy.attributes
    software = root["stac_discovery"]["properties"].get("processing:software")
    said = str(software.get("Sentinel-1 IPF", "")) if isinstance(software, Mapping) else ""
    match = re.fullmatch(r"0*(\d+\.\d+)", said)
    if match is None:
        history = json.dumps([root.get("other_metadata"), hierarchy.attributes_of(group)])
        match = re.search(r'"processor": "Sentinel-1 IPF"[^{}]*"version": "0*(\d+\.\d+)"', history)
    return match[1] if match else "0.00"


def _footprint(discovery: Mapping[str, Any]) -> shapely.Geometry:
    ring = discovery["geometry"]["coordinates"][0]
    return polygon([(float(point[0]), float(point[1])) for point in ring])
