"""Schemas of STAC without a network: when this is imported, requests and urllib have them from the files of pystac.

These are of STAC 1.1.0, which asks for no less than 1.0.0. Extensions have none here: nothing is asked of them.
"""

from __future__ import annotations

import io
import re
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pystac.validation
import requests

SCHEMAS = Path(pystac.validation.__file__).parent / "jsonschemas"
LOCAL = ("schemas.stacspec.org", "geojson.org", "json-schema.org", "stac-extensions.github.io")
_request = requests.sessions.Session.request
_urlopen = urllib.request.urlopen


def schema(url: str) -> bytes | None:
    """Of one that is here, or one that asks nothing; none for other addresses."""
    parts = urlsplit(url)
    if parts.hostname not in LOCAL:
        return None
    name = Path(parts.path).name
    for path in (SCHEMAS / "stac-spec" / "v1.1.0" / name, SCHEMAS / "geojson" / name):
        if path.is_file():
            version = re.search(r"/v(\d\.\d\.\d)/", parts.path)
            text = path.read_text(encoding="utf-8")
            return text.replace("1.1.0", version[1] if version else "1.1.0").encode()
    print(f"no schema here: {url}", file=sys.stderr)
    return b"{}"


def answer(session, method, url, *arguments, **options):
    """Answer of the network, or of the schemas that are here."""
    text = schema(url)
    if text is None:
        return _request(session, method, url, *arguments, **options)
    found = requests.Response()
    found.url, found.status_code, found._content = url, 200, text
    return found


def opened(url, *arguments, **options):
    """The same for urllib, which validators of JSON schemas use."""
    text = schema(url if isinstance(url, str) else url.full_url)
    return _urlopen(url, *arguments, **options) if text is None else io.BytesIO(text)


requests.sessions.Session.request = answer
urllib.request.urlopen = opened
