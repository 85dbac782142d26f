"""What the attributes of a product's root tell: identity, pass, tile, baseline.

Every generation of the converter (EOPF-CPM 2.5 to 3.0) has its own names for them, and leaves something out: a value
may be the text "null" or "MISSING", the name of the SAFE product may stand in the history only, and so may the tile.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import shapely
import shapely.geometry

from hpckit.errors import SceneError

_NOTHING: Final = frozenset({"", "null", "none", "missing", "nan", "???"})
_NAME: Final = re.compile(
    r"(?P<platform>S2[A-Z])_MSIL(?P<level>1C|2A)_(?P<start>\d{8}T\d{6})_N(?P<baseline>\d{4})_R(?P<orbit>\d{3})_"
    r"T(?P<tile>\d{2}[C-HJ-NP-X][A-Z]{2})_\d{8}T\d{6}"
)
_DATATAKE: Final = re.compile(r"GS2[A-Z]_(?P<start>\d{8}T\d{6})_\d{6}(?:_N\d\d\.\d\d)?")
_GRANULE: Final = re.compile(
    r"S2[A-Z]_OPER_MSI_L(?:1C|2A)_TL_\w{4}_\d{8}T\d{6}_A\d{6}_T(?P<tile>\d{2}[C-HJ-NP-X][A-Z]{2})"
)
_CODED: Final = re.compile(r"(?:MGRS-|T)?(?P<tile>\d{1,2}[C-HJ-NP-X][A-Z]{2})")
_IN_FOLDER: Final = re.compile(r"_T(?P<tile>\d{2}[C-HJ-NP-X][A-Z]{2})(?=_|\.|$)")
_BASELINE: Final = re.compile(r"\d\d\.\d\d")


def is_sentinel2(root: Mapping[str, Any]) -> bool:
    """Whether attributes of a root are those of a product of Sentinel-2."""
    discovery = root.get("stac_discovery")
    properties = discovery.get("properties") if isinstance(discovery, Mapping) else None
    if not isinstance(discovery, Mapping) or not isinstance(properties, Mapping):
        return False
    said = (discovery.get("id"), *map(properties.get, ("constellation", "product:type", "platform")))
    return any(re.match(r"sentinel-?2|S02MSI|S2[A-Z]_MSI", str(text), re.IGNORECASE) for text in said)


@dataclass(frozen=True, slots=True)
class Told:
    """What a product is."""

    id: str
    """Name of the SAFE product that it was made from, or as that would be called."""
    level: str
    platform: str
    baseline: str
    datatake: str
    datastrip: str
    granule: str
    tile: str
    sensed: datetime
    relative_orbit: int
    cloud_cover: float | None
    epsg: int | None
    """None where only arrays tell it."""
    outline: shapely.Geometry | None


def read_told(root: Mapping[str, Any], folder: str) -> Told:
    """Read attributes of a root.

    Parameters
    ----------
    folder : str
        Name of the product's folder, which tells the tile where nothing else does.

    Raises
    ------
    SceneError
        If tile, baseline, platform or time of the pass are missing, or contradict each other.
    """
    return _Reader(root, folder).told()


class _Reader:
    """Attributes of one root."""

    def __init__(self, root: Mapping[str, Any], folder: str) -> None:
        self._root = root
        self._folder = folder
        self._discovery: Mapping[str, Any] = root["stac_discovery"]
        self._properties: Mapping[str, Any] = self._discovery["properties"]
        other = root.get("other_metadata")
        # Upper and lower case changed between generations.
        self._other = {str(key).lower(): value for key, value in other.items()} if isinstance(other, Mapping) else {}

    def told(self) -> Told:
        """All of it."""
        level, datatake = self._level(), self._text("eopf:datatake_id", "eopf:data_take_id")
        match = _DATATAKE.fullmatch(datatake)
        start = match["start"] if match else f"{self._moment('start_datetime', 'datetime'):%Y%m%dT%H%M%S}"
        name = self._name(level, start)
        baseline, platform = self._baseline(name, datatake), self._platform(name, datatake)
        orbit = self._number(self._properties.get("sat:relative_orbit"))
        relative = round(orbit) if orbit is not None else int(name["orbit"]) if name else 0
        if not match:
            absolute = self._number(self._properties.get("sat:absolute_orbit")) or 0
            datatake = f"G{platform}_{start}_{round(absolute):06d}_N{baseline}"
        tile, granule = self._tile(name)
        made = f"{self._moment('created', 'datetime', 'start_datetime'):%Y%m%dT%H%M%S}"
        parts = (
            f"{platform}_MSI{level}",
            start,
            f"N{baseline.replace('.', '')}",
            f"R{relative:03d}",
            f"T{tile}",
            made,
        )
        return Told(
            id=name[0] if name else "_".join(parts),
            level=level,
            platform=platform,
            baseline=baseline,
            datatake=datatake,
            datastrip=self._text("eopf:datastrip_id"),
            granule=granule,
            tile=tile,
            sensed=self._sensed(),
            relative_orbit=relative,
            cloud_cover=self._number(self._properties.get("eo:cloud_cover")),
            epsg=epsg_of(self._properties) or epsg_of({"proj:code": self._other.get("horizontal_crs_code")}),
            outline=self._outline(),
        )

    def _text(self, *names: str) -> str:
        """The first of some properties that tells something."""
        return next((text for name in names if (text := _something(self._properties.get(name)))), "")

    def _level(self) -> str:
        said = " ".join((self._text("processing:level"), self._text("product:type"), str(self._discovery.get("id"))))
        match = re.search(r"L(1C|2A)", said)
        if match is None:
            raise SceneError("its attributes tell no level: neither L1C nor L2A in processing:level and product:type")
        return f"L{match[1]}"

    def _name(self, level: str, start: str) -> re.Match[str] | None:
        """Name of the SAFE product: its id of older generations, else in its history or that of the processing."""
        known = _NAME.match(str(self._discovery.get("id")))
        if known is not None:
            return known
        history = json.dumps([self._root.get("processing_history"), self._other.get("history")])
        found = [
            match for match in _NAME.finditer(history) if f"L{match['level']}" == level and match["start"] == start
        ]
        if len({match[0] for match in found}) > 1:
            raise SceneError(f"its history names two products: {found[0][0]} and {found[-1][0]}")
        return found[0] if found else None

    def _baseline(self, name: re.Match[str] | None, datatake: str) -> str:
        said = [self._text("eopf:baseline"), self._text("processing:version")]
        said += [f"{name['baseline'][:2]}.{name['baseline'][2:]}"] if name else []
        said.append(datatake.rpartition("_N")[2])
        found = next((text for text in said if _BASELINE.fullmatch(text)), None)
        if found is None:
            raise SceneError("its attributes tell no processing baseline: no eopf:baseline and no processing:version")
        return found

    def _platform(self, name: re.Match[str] | None, datatake: str) -> str:
        match = re.fullmatch(r"sentinel-?2([a-z])", self._text("platform").lower())
        if match:
            return f"S2{match[1].upper()}"
        if name or _DATATAKE.fullmatch(datatake):
            return name["platform"] if name else datatake[1:4]
        raise SceneError("its attributes tell no platform")

    def _tile(self, name: re.Match[str] | None) -> tuple[str, str]:
        """Tile, and identifier of the granule where it is there."""
        granule = _something(self._other.get("utm_zone_identification"))
        of_granule = _GRANULE.match(granule)
        parts = [self._text(f"mgrs:{part}") for part in ("utm_zone", "latitude_band", "grid_square")]
        coded = [_CODED.fullmatch(text) for text in (self._text("grid:code"), "".join(parts)) if text]
        found = {match["tile"].zfill(5) for match in (name, of_granule, *coded) if match}
        if len(found) > 1:
            raise SceneError(f"its attributes tell different tiles: {' and '.join(sorted(found))}")
        if not found and (match := _IN_FOLDER.search(self._folder)):
            found = {match["tile"]}
        if not found:
            raise SceneError(
                "nothing tells its tile: no SAFE name in its id or processing_history, no granule and no grid:code",
                hint="give its folder the name of the SAFE product with .zarr at the end",
            )
        return found.pop(), granule if of_granule else ""

    def _sensed(self) -> datetime:
        """When the granule was sensed, as the SAFE product has it; else when the datatake began."""
        said = _something(self._other.get("mean_sensing_time"))
        return _moment(said) if said else self._moment("datetime", "start_datetime")

    def _moment(self, *names: str) -> datetime:
        said = self._text(*names)
        if not said:
            raise SceneError(f"its attributes tell no time: {names[0]} is empty")
        return _moment(said)

    def _number(self, value: Any) -> float | None:
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        return number if math.isfinite(number) else None

    def _outline(self) -> shapely.Geometry | None:
        """Outline of the data; None where it is left out. The box beside it has its corners in another order."""
        geometry = self._discovery.get("geometry")
        try:
            found = shapely.make_valid(shapely.geometry.shape(geometry)) if isinstance(geometry, Mapping) else None
        except (ValueError, TypeError, LookupError, AttributeError, shapely.errors.ShapelyError):
            return None
        return None if found is None or found.is_empty or found.area == 0 else found


def epsg_of(attributes: Mapping[str, Any]) -> int | None:
    """Code of the zone of UTM that attributes of a root or an array tell; None if they tell none.

    Raises
    ------
    SceneError
        If it is no zone of UTM.
    """
    said = _something(attributes.get("proj:code")) or _something(attributes.get("proj:epsg"))
    if not said:
        return None
    match = re.fullmatch(r"(?:EPSG:)?(32[67]\d\d)(?:\.0)?", said, re.IGNORECASE)
    if match is None:
        raise SceneError(f"its CRS {said} is no zone of UTM on WGS 84")
    return int(match[1])


def _something(value: Any) -> str:
    """Text of a value; empty for what stands where nothing is known."""
    text = "" if value is None else str(value).strip()
    return "" if text.lower() in _NOTHING else text


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
