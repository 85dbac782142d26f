"""Search of several STAC APIs: every item once and in order, whatever members are like, and a report of each."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import shapely

from hpckit.base.reading import read_table
from hpckit.catalogue.federation import SearchResult, search
from hpckit.catalogue.items import items_of
from hpckit.cli import main
from hpckit.errors import CatalogueError
from hpckit.inputs import web
from tests.servers.stac import FILTER, StacServer, page_of_text, send, serve, silent, status

pytestmark = pytest.mark.slow

AREA = shapely.box(5, 52, 6, 53)
DAYS = (date(2024, 5, 1), None)
COLLECTION = "sentinel-2-l2a"
COUNT = itertools.count()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.01)


def item(number: int, catalogue: str = "a", **properties: Any) -> dict[str, Any]:
    """A product, an hour after the one before; each catalogue has an id of its own for it."""
    when = datetime(2024, 5, 1, 10, tzinfo=UTC) + timedelta(hours=number)
    name = f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_N0510_R051_T31UFU_{when:%Y%m%dT%H%M%S}"
    shape = shapely.box(5.2, 52.2, 5.3, 52.3)
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"{catalogue}-{number}",
        "collection": COLLECTION,
        "geometry": shapely.geometry.mapping(shape),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when.isoformat(), "s2:product_uri": f"{name}.SAFE", "eo:cloud_cover": number}
        | properties,
        "assets": {"red": {"href": f"https://example.org/{name}/B04.tif", "type": "image/tiff"}},
        "links": [{"rel": "self", "href": f"https://{catalogue}.example.org/{number}"}],
    }


def found(*servers: StacServer, **options: Any) -> SearchResult:
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(serve(server))
        urls = [server.url for server in servers]
        return search(urls, [COLLECTION], AREA, DAYS, **{"timeout_s": 0.5, **options})


def numbers(items: list[dict[str, Any]]) -> list[int]:
    return [int(one["id"].rpartition("-")[2]) for one in items]


def test_all_items_once_and_in_order_and_a_dead_member_costs_one_time_out():
    posts = StacServer([item(n, "a") for n in range(20, -1, -2)], page=3)  # all on one host
    gets = StacServer([item(n, "b") for n in range(0, 25, 3)], page=2, post=False)
    dead = StacServer([item(40)], every=silent(3))
    result = found(posts, gets, dead)
    assert numbers(result.items) == sorted({*range(0, 21, 2), *range(0, 25, 3)})
    first, second, third = result.members
    assert (first.found, first.pages, first.copies, first.error) == (11, 4, 0, "")
    assert (second.found, second.pages, second.copies, second.error) == (9, 5, 4, "")
    assert "no answer in time" in third.error and third.passes and len(dead.requests) == 1
    assert result.failed == [third]
    both = {n: one for n, one in zip(numbers(result.items), result.items, strict=True) if n % 6 == 0 and n <= 20}
    for number, one in both.items():
        assert one["id"] == f"a-{number}", "of a product the first member's item is taken"
        assert f"https://b.example.org/{number}" in {link["href"] for link in one["links"]}


@pytest.mark.parametrize("conforms", [(), FILTER])
def test_area_days_and_filter_hold_whatever_a_member_knows(conforms: list[str]):
    far = {**item(3), "geometry": shapely.geometry.mapping(shapely.box(20, 20, 21, 21)), "bbox": [20, 20, 21, 21]}
    early = item(4, datetime="2024-04-30T23:59:59Z")
    lacking = {**item(5), "properties": {"datetime": "2024-05-02T00:00:00Z"}}
    member = StacServer([item(1), item(2), far, early, lacking, item(6)], conforms=conforms)
    result = found(member, cql2="eo:cloud_cover < 6")
    assert numbers(result.items) == [1, 2] and result.members[0].unfit == 4
    assert ("filter" in member.searches[0]) == bool(conforms)
    with pytest.raises(CatalogueError, match="is no CQL2 filter"):
        found(member, cql2="eo:cloud_cover <")


def test_only_members_that_can_hold_the_answer_are_searched():
    other = StacServer([item(1)], collections=["landsat-c2-l2"])
    past = StacServer(
        [item(1)], extent=extent([[-180, -90, 180, 90]], [["2015-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]])
    )
    away = StacServer([item(1)], extent=extent([[20, 20, 30, 30]], [[None, None]]))
    result = found(other, past, away)
    assert not result.items and not result.failed
    assert not any(server.searches for server in (other, past, away))


def extent(boxes: list[Any], intervals: list[Any]) -> Mapping[str, Any]:
    return {"spatial": {"bbox": boxes}, "temporal": {"interval": intervals}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"next_link": lambda n: {"rel": "next", "href": "?same"}, "post": False}, "run in circles"),
        ({"next_link": lambda n: {"rel": "next", "href": f"?token=0&x={next(COUNT)}"}, "post": False}, "nothing new"),
        ({"next_link": lambda n: {"rel": "next", "href": "http://10.0.0.1/"}, "post": False}, "private address"),
        ({"next_link": lambda n: {"rel": "next", "href": "?x", "method": "DELETE"}}, "has the method 'DELETE'"),
        ({"faults": dict.fromkeys(range(1, 60), page_of_text)}, "no JSON"),
        ({"faults": dict.fromkeys(range(1, 60), status(403))}, "HTTP status 403"),
        ({"faults": dict.fromkeys(range(1, 60), status(503))}, "HTTP status 503"),
        ({"every": lambda handler: send(handler, ["a"])}, "no JSON object"),
        ({"every": status(302, Location="http://169.254.169.254/")}, "private address"),
    ],
)
def test_what_a_bad_member_does_is_told_and_costs_no_other_anything(change: dict[str, Any], words: str):
    bad = StacServer([item(n, "bad") for n in range(10, 20)], page=4, **change)
    result = found(bad, StacServer([item(n) for n in range(6)], page=2))
    told, good = result.members
    assert words in told.error and not good.error
    assert set(range(6)) <= set(numbers(result.items))
    assert told.passes == ("503" in words)


@pytest.mark.parametrize("fault", [status(429), status(429, Retry_After="0"), status(500)])
def test_a_busy_member_is_asked_again(fault: Any):
    busy = StacServer([item(n) for n in range(6)], page=2, faults={0: fault, 2: fault})
    result = found(busy)
    assert numbers(result.items) == list(range(6)) and not result.failed


def test_the_command_freezes_what_was_found_and_its_exit_code_tells_of_members(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    refusing = StacServer([item(9)], every=status(403))
    with serve(StacServer([item(n) for n in (3, 1, 2)], page=2)) as good, serve(refusing) as bad:
        words = ["scenes", "search", "--aoi", "5,52,6,53", "--period", "2024-05-01/2024-05-31", "--json"]
        alone = [*words, "--member", good.url, "-o", str(tmp_path / "alone.parquet")]
        main(alone)
        assert json.loads(capsys.readouterr().out)["items"] == 3
        frozen = [one["id"] for one in items_of(read_table(tmp_path / "alone.parquet"))]
        assert frozen == ["a-1", "a-2", "a-3"]
        both = [*words, "--member", good.url, "--member", bad.url, "-o", str(tmp_path / "both.parquet")]
        with pytest.raises(SystemExit) as caught:
            main(both)
        assert caught.value.code == 1 and (tmp_path / "both.parquet").exists()
        assert [bool(one["error"]) for one in json.loads(capsys.readouterr().out)["members"]] == [False, True]
        main([*both, "--partial"])
        refusing.every = status(503)
        with pytest.raises(SystemExit) as caught:
            main(both)
        assert caught.value.code == 75
