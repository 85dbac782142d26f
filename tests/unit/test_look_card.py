"""What notebooks show of campaigns, zones and runs: well-formed, escaped, and small."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from PIL import Image

from hpckit.campaign.campaign import load_campaign
from hpckit.look.view import CampaignView
from hpckit.runs.status import StageStatus, Status
from hpckit.testing.signatures import INJECTIONS, zone_layer
from tests.unit import map_samples

pytestmark = pytest.mark.slow


def parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(html)


def texts(root: ElementTree.Element) -> dict[str, str]:
    return {"".join(row[0].itertext()): "".join(row[1].itertext()) for row in root.iter("tr")}


def test_a_campaign_with_a_cube(tmp_path: Path) -> None:
    view = map_samples.make(tmp_path)
    root = parsed(view._repr_html_())
    rows = texts(root)
    assert rows["area"] == "5, 51, 7, 53 (west, south, east, north)"
    assert rows["period"] == "2024-03-01 to 2024-10-31" and rows["tiles"] == "31UGT, 32ULC"
    assert "run" in rows and "zones of parcels" not in rows, "there is no run and no zone file yet"
    (image,) = root.iter("img")
    data = base64.b64decode(image.attrib["src"].partition(",")[2])
    assert Image.open(io.BytesIO(data)).size[0] > 200 and len(data) < 1_000_000
    assert repr(view) == f"<hpckit campaign 'sample': {tmp_path / 'campaign.yaml'}>"


def test_a_campaign_without_anything(tmp_path: Path) -> None:
    (tmp_path / "campaign.yaml").write_text(map_samples.CAMPAIGN)
    root = parsed(CampaignView(load_campaign(tmp_path / "campaign.yaml"))._repr_html_())
    assert texts(root)["tiles"] == "none yet" and not list(root.iter("img"))


def test_zones_are_few_words_however_many() -> None:
    layer = replace(zone_layer([f"P{k}" for k in range(2000)]), repaired=("P1",), dropped=(("<b>", "a line"),))
    assert repr(layer) == "<ZoneLayer: 2,000 zones, 'P0' to 'P1999', WGS 84 / UTM zone 31N>"
    rows = texts(parsed(layer._repr_html_()))
    assert rows["first, last"] == "P0, P1999" and rows["repaired"] == "1" and "'<b>': a line" in rows["left out"]
    assert repr(replace(layer, ids=())).startswith("<ZoneLayer: 0 zones, WGS")


@pytest.mark.parametrize("name", INJECTIONS)
def test_texts_are_escaped(name: str) -> None:
    hostile = f"<script>{name}</script>&"
    status = Status("r1", hostile, (StageStatus("ingest", 3, 1, 1200, 5.0),), {hostile: ("a", "b")}, 0)
    root = parsed(status._repr_html_())
    assert not list(root.iter("script"))
    assert texts(root) == {"ingest": "3 of 1,204 units done, 1 failed, 1,200 waiting", "2 failed": hostile}
