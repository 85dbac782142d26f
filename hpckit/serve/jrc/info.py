"""`/query/info`: what a reader may ask for, with examples."""

from __future__ import annotations

from typing import Any, Final

from hpckit.serve.dataset import Dataset
from hpckit.serve.jrc.names import jrc_band
from hpckit.serve.jrc.questions import aoi_of, year_of
from hpckit.serve.jrc.series import has_series

_MOST_IN_DETAIL: Final = 20
_KINDS: Final = ("s2", "bs", "c6")


def describe(address: str, title: str, datasets: list[Dataset]) -> dict[str, Any]:
    """Areas and years in JRC's order, with kinds of parcels, series, bands, and requests to try.

    Parameters
    ----------
    address : str
        Of the interface, as clients know it.
    datasets : list of Dataset
        Those that the reader may know of.
    """
    aois: dict[str, Any] = {}
    in_detail = len(datasets) <= _MOST_IN_DETAIL  # details need the zones of each data set
    for dataset in datasets:
        years = aois.setdefault(aoi_of(dataset), {})
        known = years.setdefault(str(year_of(dataset)), {"ptypes": [], "tstypes": [], "bands": []})
        _add(known, dataset)
        if in_detail:
            _add_details(known, dataset, address)
    return {
        "server": {"title": title, "host": address},
        "helpers": {"information_page": f"{address}/query/info", "documentation": "https://jrc-cbm.readthedocs.io"},
        "aois": aois,
    }


def _add(known: dict[str, Any], dataset: Dataset) -> None:
    reduction = dataset.view.reduction()
    ptype = dataset.settings.ptype
    if ptype and ptype not in known["ptypes"]:
        known["ptypes"].append(ptype)
    known["tstypes"] += [kind for kind in _KINDS if has_series(dataset, kind) and kind not in known["tstypes"]]
    known["bands"] += [jrc_band(dataset.campaign.ref(text).band) for text in reduction.bands]


def _add_details(known: dict[str, Any], dataset: Dataset, address: str) -> None:
    zones, ptype = dataset.edition.zones(), dataset.settings.ptype
    known["parcels"] = max(known.get("parcels", 0), len(zones))
    west, south, east, north = zones.bounds
    known["bounds"] = [round(value, 6) for value in (west, south, east, north)]
    asked = f"aoi={aoi_of(dataset)}&year={year_of(dataset)}&pid={zones.ids[0].as_py()}"
    asked += f"&ptype={ptype}" if ptype else ""
    known["examples"] = [
        f"{address}/query/{name}?{asked}" for name in ("parcelByID", "parcelTimeSeries", "parcelPeers")
    ]
