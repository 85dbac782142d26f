"""OpenAPI document of JRC's interface."""

from __future__ import annotations

from typing import Any, Final

from hpckit.serve.openapi import Schema, document, in_query, operation, posted

_JSON: Final = "application/json"
_TEXT: Final = {"type": "string"}
_FLAG: Final = {"type": "string", "enum": ["True", "False"]}
_DAY: Final = {"type": "string", "format": "date"}
_AREA: Final = (
    in_query("aoi", _TEXT, "Area.", required=True),
    in_query("year", {"type": "integer"}, required=True),
    in_query("ptype", _TEXT, "Kind of parcels."),
)
_PID: Final = in_query("pid", _TEXT, "Identifier of a parcel.", required=True)
_PLACE: Final = (
    in_query("lon", {"type": "number", "minimum": -180, "maximum": 180}, required=True),
    in_query("lat", {"type": "number", "minimum": -90, "maximum": 90}, required=True),
)
_SHOWN: Final = (in_query("withGeometry", _FLAG), in_query("wgs84", _FLAG))
_DAYS: Final = (in_query("start_date", _DAY, required=True), in_query("end_date", _DAY, required=True))
_SIZE: Final = in_query("chipsize", {"type": "integer"}, "Edge of a chip in metres.")
_BAND: Final = in_query("band", _TEXT)
_SERIES: Final = in_query("tstype", {"type": "string", "enum": ["s2", "bs", "c6", "c1", "scl"]})
_FORM: Final = in_query("tsformat", {"type": "string", "enum": ["json", "csv"]})
_ONLY: Final = in_query("onlylist", _FLAG)


def jrc_document(title: str, root: str) -> dict[str, Any]:
    """OpenAPI 3.0 of `/query/…`."""
    paths: dict[str, Any] = {f"/query/{name}": {"get": made} for name, made in _asked().items()}
    for name in ("rawChipsBatch", "rawS1ChipsBatch"):
        paths[f"/query/{name}"] = {"post": posted(operation("Chips as GeoTIFF", _JSON))}
    return document(f"{title}: interface of JRC's Checks by Monitoring", root, paths)


def _asked() -> dict[str, dict[str, Any]]:
    distance = in_query("distance", {"type": "number", "minimum": 0, "maximum": 1e7}, "Metres.")
    most = in_query("max", {"type": "integer", "minimum": 0}, "Number of parcels.")
    polygon = in_query("polygon", _TEXT, "lon_lat-lon_lat-…", required=True)
    reference = (in_query("scl", _FLAG), in_query("ref", _FLAG))
    of_parcel: tuple[Schema, ...] = (*_AREA, _PID)
    chips = (*_DAYS, in_query("band", _TEXT, required=True), _SIZE, _ONLY)
    return {
        "info": operation("Areas, years and kinds of series", _JSON, [in_query("aoi", _TEXT)]),
        "parcelByLocation": operation("The parcel at a place", _JSON, [*_AREA, *_PLACE, *_SHOWN]),
        "parcelByID": operation("A parcel", _JSON, [*of_parcel, *_SHOWN]),
        "parcelsByPolygon": operation(
            "Parcels in a polygon", _JSON, [*_AREA, polygon, in_query("only_ids", _FLAG), *_SHOWN]
        ),
        "parcelPeers": operation("Near parcels with the same crop", _JSON, [*of_parcel, distance, most]),
        "parcelTimeSeries": operation(
            "Series of a parcel", [_JSON, "text/csv"], [*of_parcel, _SERIES, _BAND, *reference, _FORM]
        ),
        "weatherTimeSeries": operation("Nothing: there are no such data", _JSON, list(of_parcel)),
        "markers": operation("Events of a parcel that marker rules found", _JSON, list(of_parcel)),
        "rawChipByLocation": operation("Chips of a place as GeoTIFF", _JSON, [*_PLACE, *chips]),
        "rawChipByParcelID": operation("Chips of a parcel as GeoTIFF", _JSON, [*of_parcel, *chips]),
    }
