"""`load_stac`: items of allowed servers as collections, listed once, and nobody else asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpckit.errors import GraphError
from hpckit.inputs import httpfiles, web
from hpckit.processgraph.parse import parse
from hpckit.reduce.graphs import stacitems
from hpckit.reduce.graphs.environment import GraphEnvironment
from hpckit.reduce.graphs.job import Job
from hpckit.space.box import Box
from tests.graph_examples import Graph, node
from tests.servers.files import FileServer, serve
from tests.stac_samples import SENSED, write_item
from tests.unit.test_stac_items import pixels

pytestmark = pytest.mark.slow

HERE = ["127.0.0.1"]
DATES = 3


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)
    monkeypatch.setattr(httpfiles, "_private", set())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static collection of some dates, and pages of an API."""
    folder = tmp_path_factory.mktemp("served")
    names = []
    for number in range(DATES):
        sensed = SENSED + timedelta(days=5 * number)
        path = write_item(folder, pixels(number), "stactools", sensed=sensed, **{"eo:cloud_cover": number})
        names.append(str(path.relative_to(folder)))
    items = [json.loads((folder / name).read_text()) for name in names]
    write(folder / "collection.json", {"type": "Collection", "links": links(item=names)})
    write(folder / "catalog.json", {"type": "Catalog", "links": links(child=["collection.json", "catalog.json"])})
    for item, name in zip(items, names, strict=True):
        for asset in item["assets"].values():
            asset["href"] = f"{Path(name).parent}/{asset['href'][2:]}"
    pages = [f"page{number}.json" for number in range(DATES)]
    for number, item in enumerate(items):
        following = pages[number + 1 : number + 2]
        write(
            folder / pages[number], {"type": "FeatureCollection", "features": [item], "links": links(next=following)}
        )
    write(folder / "api.json", {"type": "Collection", "links": links(items=["page0.json"])})
    write(
        folder / "loop.json", {"type": "FeatureCollection", "features": items[:1], "links": links(next=["loop.json"])}
    )
    return folder


@pytest.fixture
def server(made: Path) -> Iterator[FileServer]:
    with serve(FileServer(made)) as found:
        yield found


def links(**named: list[str]) -> list[dict[str, str]]:
    return [{"rel": rel, "href": f"./{href}"} for rel, hrefs in named.items() for href in hrefs]


def collected(items: list[Any], **named: list[str]) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": items, "links": links(**named)}


def write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document))


def job(url: str, hosts: list[str] = HERE, **arguments: Any) -> Job:
    loading = node("load_stac", url=url, **arguments)
    graph: Graph = {"load": {**loading, "result": True}}
    return Job(parse(graph), GraphEnvironment({}, hosts=frozenset(hosts)))


def refused(url: str, hosts: list[str] = HERE, **arguments: Any) -> GraphError:
    with pytest.raises(GraphError) as caught:
        assert job(url, hosts, **arguments).outputs
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("entry", ["collection.json", "catalog.json", "api.json"])
def test_pixels_of_all_items(server: FileServer, entry: str) -> None:
    made = job(f"{server.url}/{entry}", bands=["red", "SCL"])
    (output,) = made.outputs
    found = made.evaluate(output, Box(0, 0, 120, 120)).values
    assert found.shape == (DATES, 2, 120, 120)
    for number in range(DATES):
        numbers = pixels(number)
        red = np.where(numbers["B04@10m"] == 0, np.nan, numbers["B04@10m"] * 1e-4 - 0.1).astype(np.float32)
        np.testing.assert_allclose(found[number, 0], red, rtol=1e-5)
        classes = numbers["SCL@20m"].repeat(2, 0).repeat(2, 1).astype(np.float32)
        np.testing.assert_array_equal(np.nan_to_num(found[number, 1]), classes)


def test_extents_bands_and_properties(server: FileServer) -> None:
    few = {"process_graph": {"few": {**node("lte", x={"from_parameter": "value"}, y=1), "result": True}}}
    made = job(
        f"{server.url}/collection.json",
        bands=["B04"],
        temporal_extent=["2024-05-02", "2024-06-01"],
        spatial_extent={"west": 600_100, "south": 5_699_500, "east": 600_300, "north": 5_699_900, "crs": 32631},
        properties={"eo:cloud_cover": few},
    )
    (output,) = made.outputs
    assert output.type.grid.shape == (40, 20)
    assert [label[:10] for label in output.type.dim("t").labels] == ["2024-05-06"]


def test_an_item_alone_and_pages_that_turn_in_circles(server: FileServer, made: Path) -> None:
    (item, *_) = sorted(made.glob("S2*/*.json"))
    for address in (f"{item.parent.name}/{item.name}", "loop.json"):
        (output,) = job(f"{server.url}/{address}").outputs
        assert len(output.type.dim("t").labels) == 1


def test_no_host_is_asked_that_is_not_allowed(server: FileServer, made: Path) -> None:
    address = f"{server.url}/collection.json"
    assert "hosts for load_stac are not configured here" in refused(address, []).message
    assert "127.0.0.1 is not among the hosts" in refused(address, ["example.org"]).message
    assert "127.0.0.1 is not among the hosts" in refused(address, ["*"]).message, "it is a private address"
    assert not server.requests
    with pytest.raises(GraphError, match="is not an address"):
        job("file:///etc/passwd")


@pytest.mark.parametrize(
    "href", ["file:///etc/hostname", "/etc/hostname.tif", "http://10.0.0.1/a.tif", "s3://b/a.tif"]
)
def test_images_elsewhere_are_not_read(server: FileServer, made: Path, href: str, tmp_path: Path) -> None:
    """Of this machine, of a host that is not allowed, and of a store whose keys this machine has."""
    item = json.loads(sorted(made.glob("S2*/*.json"))[0].read_text())
    here = str(sorted(made.glob("S2*/red.tif"))[0])
    item["assets"] = {"red": {**item["assets"]["red"], "href": href, "alternate": {"local": {"href": here}}}}
    write(made / "elsewhere.json", item)
    fault = refused(f"{server.url}/elsewhere.json")
    assert fault.fault == "ProcessParameterInvalid" and "elsewhere.json" in fault.message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<html>", "it is no JSON"),
        (b"[1]", "it is no JSON object"),
        (b'{"type": "Topology"}', "its type is 'Topology'"),
        (
            b'{"type": "FeatureCollection", "features": [{"type": "Feature", "id": "a", "assets": {}}]}',
            "items of Sent",
        ),
    ],
)
def test_what_is_no_stac(server: FileServer, made: Path, content: bytes, message: str) -> None:
    (made / "bad.json").write_bytes(content)
    fault = refused(f"{server.url}/bad.json")
    assert message in f"{fault.message} {fault.hint}"


def test_nothing_in_the_extents(server: FileServer) -> None:
    away = {"west": 20, "south": 10, "east": 21, "north": 11}
    fault = refused(f"{server.url}/api.json", spatial_extent=away)
    assert fault.fault == "NoDataAvailable" and "no item in the extents" in fault.message
    assert refused(f"{server.url}/api.json", temporal_extent=["2020-01-01", "2020-02-01"]).fault == "NoDataAvailable"


def test_too_many_items(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacitems, "MOST_ITEMS", 2)
    assert "more than 2 items" in refused(f"{server.url}/collection.json").message


def test_extents_are_asked_of_an_api(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    real = stacitems.fetched
    monkeypatch.setattr(stacitems, "fetched", lambda url, hosts: asked.append(url) or real(url, hosts))
    extent = {"west": 4.4, "south": 51.4, "east": 4.5, "north": 51.5}
    made = job(f"{server.url}/api.json?key=1", spatial_extent=extent, temporal_extent=["2024-05-01", None])
    assert made.outputs
    box = "bbox=4.4000000%2C51.4000000%2C4.5000000%2C51.5000000"
    assert asked[1].endswith(f"page0.json?limit=100&{box}&datetime=2024-05-01T00%3A00%3A00Z%2F..")
