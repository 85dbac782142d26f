"""What data sets and zones are, as the pages need it."""

from __future__ import annotations

import math
from datetime import date
from typing import TYPE_CHECKING, Any, Final

import shapely
from starlette.requests import Request

from hpckit.base.version import __version__
from hpckit.errors import HpckitError
from hpckit.serve.dataset import Dataset
from hpckit.serve.service import Service
from hpckit.serve.viewer.shownlayers import described, shown
from hpckit.serve.zonemap import ZoneMap

if TYPE_CHECKING:
    from hpckit.campaign.signatures import SignatureReduction
    from hpckit.look.view import CampaignView

_DIGITS: Final = 7
"""Decimals of degrees: a centimetre."""


def visitor(service: Service, request: Request) -> dict[str, Any]:
    """Who the reader is, how they can log in, and which data sets they may know of."""
    reader = service.reader(request)
    return {
        "user": reader.name if reader.is_signed_in else None,
        "title": service.settings.title,
        "version": __version__,
        "logins": {
            "password": service.settings.users is not None,
            "oidc": [{"name": item.name, "title": item.title or item.name} for item in service.settings.oidc],
        },
        "datasets": [
            {
                "name": dataset.name,
                "title": dataset.title,
                "actions": sorted(service.access.actions(reader, dataset.name)),
            }
            for dataset in service.readable(request)
        ],
    }


def dataset(service: Service, request: Request, served: Dataset) -> dict[str, Any]:
    """What a data set has: reductions with their bands, layers of pixels, and where it lies."""
    edition = served.edition
    campaign, seen = edition.campaign, shown(served)
    end = campaign.period.end
    return {
        "name": served.name,
        "title": served.title,
        "digest": edition.digest,
        "period": [campaign.period.start.isoformat(), None if end is None else end.isoformat()],
        "sensor": campaign.scenes.collection,
        "actions": sorted(service.access.actions(service.reader(request), served.name)),
        "reductions": [_reduction(served, edition.view, item) for item in campaign.signatures],
        "layers": [described(key, choice) for key, choice in seen.choices.items()],
        "days": seen.days,
    }


def _reduction(served: Dataset, view: CampaignView, reduction: SignatureReduction) -> dict[str, Any]:
    campaign = view.campaign
    refs = {text: campaign.ref(text) for text in reduction.bands}
    values = [text for text, ref in refs.items() if not ref.band.is_categorical]
    found: dict[str, Any] = {
        "name": reduction.name,
        "bands": [*reduction.indices, *values],
        "first": view.band(None, reduction.name) if values or reduction.indices else None,
        "indices": dict(reduction.indices),
        "units": {text: ref.band.units for text, ref in refs.items() if text in values},
        "power": [text for text, ref in refs.items() if ref.band.kind == "power"],
        "statistics": list(reduction.statistics),
    }
    try:
        zones = served.edition.zones(reduction.name)
    except HpckitError as error:
        return found | {"zones": 0, "bounds": None, "kinds": {}, "fault": error.message}
    return found | {"zones": len(zones), "bounds": zones.bounds, "kinds": zones.kinds}


def short(zones: ZoneMap, row: int) -> dict[str, Any]:
    """A zone in a list: identifier, label, a box in degrees."""
    west, south, east, north = zones.in_degrees(row).bounds
    return {"id": zones.ids[row].as_py(), "label": zones.labels[row], "bounds": [west, south, east, north]}


def zone(zones: ZoneMap, row: int, *, outline: bool) -> dict[str, Any]:
    """All about a zone but its series."""
    shape = zones.in_degrees(row)
    inside = shape.representative_point()
    found = short(zones, row) | {
        "area_m2": round(zones.area_m2(row), 1),
        "place": [round(inside.x, _DIGITS), round(inside.y, _DIGITS)],
        "attributes": {name: _plain(column[row].as_py()) for name, column in zones.attributes.items()},
    }
    if outline:
        found["geometry"] = shapely.geometry.mapping(shapely.set_precision(shape, 10**-_DIGITS, mode="pointwise"))
    return found


def _plain(value: Any) -> Any:
    """A value as JSON has it: days and times as text, numbers that are none as nothing."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.isoformat() if isinstance(value, date) else value
