"""An item of a member as one of ours: under our name of its collection, and with links that can be followed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urljoin

from hpckit.catalogue.federation import MEMBER
from hpckit.catalogue.member import all_links, links_of

_KEPT_LINKS: Final = ("derived_from", "via", "license", "about", "cite-as", "describedby", "alternate", "preview")


def shown_item(raw: Mapping[str, Any], collection: str, member: str, url: str) -> dict[str, Any] | None:
    """An item of a member as one of ours; None if it has no properties.

    Parameters
    ----------
    collection : str
        Our name of its collection.
    member : str
        Short name of the member.
    url : str
        Address of the member, to which addresses of items without one of their own are relative.
    """
    properties, assets = raw.get("properties"), raw.get("assets")
    if not isinstance(properties, dict):
        return None
    own = next((str(link["href"]) for link in links_of(raw, "self")), url)
    links = [{**link, "href": urljoin(own, str(link.get("href")))} for link in all_links(raw)]
    kept = [link for link in links if link.get("rel") in _KEPT_LINKS and _is_web(link["href"])]
    if _is_web(own) and links_of(raw, "self"):
        kept.append({"rel": "canonical", "href": own, "type": "application/geo+json"})
    known = assets if isinstance(assets, dict) else {}
    return {
        **raw,
        "type": "Feature",
        "stac_version": str(raw.get("stac_version") or "1.0.0"),
        "collection": collection,
        "geometry": raw.get("geometry"),
        "properties": {**properties, MEMBER: member},
        "links": kept,
        "assets": {
            key: {**asset, "href": urljoin(own, asset["href"])}
            for key, asset in known.items()
            if isinstance(asset, dict) and isinstance(asset.get("href"), str)
        },
    }


def _is_web(address: str) -> bool:
    return address.startswith(("https://", "http://"))
