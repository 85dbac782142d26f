"""The CRS of a layer: one that says where on Earth its coordinates lie, or an error that says what to do."""

from __future__ import annotations

import pyproj

from hpckit.errors import VectorError

_REMEDY = "set `crs`, for example `crs: EPSG:25832`, or write it again with one: ogr2ogr -a_srs EPSG:… OUT IN"


def layer_crs(declared: str | None, what: str, given: str | None = None) -> pyproj.CRS:
    """CRS of a layer, without heights.

    Parameters
    ----------
    declared : str, optional
        What the file says, as WKT, PROJJSON or code.
    what : str
        File and layer, for messages.
    given : str, optional
        What the user says, which holds instead.

    Raises
    ------
    VectorError
        If there is none, it is undefined, or has no place on Earth (a drawing's own coordinates).
    """
    if given is not None:
        return _flat(parse_crs(given), what)
    if not declared:
        raise VectorError(f"{what}: the layer has no CRS", hint=_REMEDY)
    try:
        crs = pyproj.CRS(declared)
    except pyproj.exceptions.CRSError as error:
        raise VectorError(f"{what}: the layer's CRS cannot be understood", hint=_REMEDY) from error
    if crs.name.lower().startswith(("undefined", "unspecified")):
        raise VectorError(f"{what}: the layer's CRS is undefined ({crs.name})", hint=_REMEDY)
    return _flat(crs, what)


def parse_crs(text: str) -> pyproj.CRS:
    """CRS that a user names.

    Raises
    ------
    VectorError
        If it is unknown.
    """
    try:
        return pyproj.CRS.from_user_input(text)
    except pyproj.exceptions.CRSError as error:
        raise VectorError(f"{text!r} is no known CRS", hint="write it like EPSG:25832") from error


def is_longitude_latitude(crs: pyproj.CRS) -> bool:
    """Whether coordinates are degrees of longitude and latitude that need no transformation for hpckit's purpose."""
    return crs.is_geographic and (crs.to_epsg() in (4326, 4258) or crs.to_authority() == ("OGC", "CRS84"))


def _flat(crs: pyproj.CRS, what: str) -> pyproj.CRS:
    horizontal = crs.sub_crs_list[0] if crs.is_compound and crs.sub_crs_list else crs
    if horizontal.is_bound and horizontal.source_crs is not None and not horizontal.source_crs.is_compound:
        plain = horizontal.source_crs
    else:
        plain = horizontal
    if not (plain.is_geographic or plain.is_projected):
        raise VectorError(
            f"{what}: the layer's CRS, {crs.name} ({crs.type_name}), does not say where on Earth it lies",
            hint=_REMEDY,
        )
    return horizontal.to_2d() if len(horizontal.axis_info) > 2 else horizontal
