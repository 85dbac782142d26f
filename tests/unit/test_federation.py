"""Searches of several STAC APIs at once, on loopback: all items once, in order, whatever a member does."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("cql2", reason="cql2 is not installed")


from hpckit.catalogue.federation import product_of, search, write
from hpckit.catalogue.moments import time_of
from hpckit.errors import CatalogueError
from hpckit.inputs import web
from tests.servers.stac import FILTER, StacServer, cut, page_of_text, send, serve, silent, status

AOI = shapely.box(5.0, 52.0, 6.0, 53.0)
PERIOD = (date(2024, 3, 1), date(2024, 5, 31))
L2A = "sentinel-2-l2a"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses between tries are those of the members, and short ones."""
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.02)


def item(number: int, *, cloud: float = 10.0, west: float = 5.2, collection: str = L2A, **changes) -> dict:
    when = datetime(2024, 3, 1, 10, 30, tzinfo=UTC) + timedelta(hours=7 * number)
    name = f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_N0510_R051_T31UFU_{when + timedelta(hours=3):%Y%m%dT%H%M%S}"
    shape = shapely.box(west, 52.2, west + 0.1, 52.3)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "collection": collection,
        "geometry": shapely.geometry.mapping(shape), "bbox": list(shape.bounds),
        "properties": {"datetime": when.isoformat(), "eo:cloud_cover": cloud}, "assets": {},
        "links": [{"rel": "self", "href": f"https://catalogue.example/{name}"}], **changes,
    }  # fmt: skip


def names(items) -> list[str]:
    return [one["id"] for one in items]


def find(*servers: StacServer, **options):
    return search([server.url for server in servers], [L2A], AOI, PERIOD, timeout_s=1.0, **options)


def test_members_are_merged_in_order_and_copies_are_linked():
    both = [item(n) for n in range(30)]
    by_name = [{**one, "id": f"x{n}", "properties": {**one["properties"], "s2:product_uri": f"{one['id']}.SAFE"}}
               for n, one in enumerate(both)]  # fmt: skip
    first = StacServer(both[::2], page=4)
    second = StacServer(by_name[5:25][::-1], page=3, post=False)
    with serve(first), serve(second):
        found = find(first, second)
    assert [product_of(one) for one in found.items] == sorted({*names(both[::2]), *names(both[5:25])})
    times = [one["properties"]["datetime"] for one in found.items]
    assert times == sorted(times)
    copies = [one for one in found.items if any(link["rel"] == "alternate" for link in one["links"])]
    assert len(copies) == 0, "both members have one host name here"
    reports = found.members
    assert [(r.found, r.copies, r.error) for r in reports] == [(15, 0, ""), (20, 10, "")]
    assert reports[0].pages == 4 and reports[1].pages == 7
    assert {request.partition(" ")[0] for request in second.requests} == {"GET"}


@given(st.lists(st.sets(st.integers(0, 25), max_size=20), min_size=1, max_size=3), st.integers(1, 9))
def test_every_product_once_whoever_has_it(holdings, page):
    servers = [StacServer([item(n) for n in sorted(held)], page=page, post=n % 2 == 0, collections=[L2A])
               for n, held in enumerate(holdings)]  # fmt: skip
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(serve(server))
        found = find(*servers)
    assert names(found.items) == names(item(n) for n in sorted(set().union(*holdings)))
    assert not found.failed
    assert sum(r.found - r.copies for r in found.members) == len(found.items)


def test_what_is_asked_for_is_checked_here_too():
    wrong = [
        item(1, cloud=80), item(2, west=8.0), item(900), item(4, properties={"datetime": "yesterday"}),
        item(5, geometry=None), item(6, properties={**item(6)["properties"], "eo:cloud_cover": None}),
        {"type": "Feature"}, "text",
    ]  # fmt: skip
    for conforms in (FILTER, ()):
        server = StacServer([item(0), *wrong], conforms=conforms, collections=[L2A])
        with serve(server):
            found = find(server, cql2="eo:cloud_cover < 40")
        assert names(found.items) == names([item(0)]) and found.members[0].unfit == 6
        assert ("filter" in server.searches[0]) == bool(conforms)


def test_members_that_cannot_hold_the_answer_are_not_searched():
    def extent_of(*box: float, until: str | None = None) -> dict:
        return {"spatial": {"bbox": [box]}, "temporal": {"interval": [["2015-01-01T00:00:00Z", until]]}}

    far, old = extent_of(100, -10, 120, 10), extent_of(0, 50, 10, 60, until="2020-01-01T00:00:00Z")
    near = extent_of(0, 50, -100, 10, 60, 4000)
    for extent, searches in ((far, 0), (old, 0), (near, 1), ({"spatial": None}, 1)):
        server = StacServer([item(0)], extent=extent)
        with serve(server):
            assert len(find(server).items) == searches
        assert len(server.searches) == searches
    other = StacServer([item(0)], collections=["landsat"])
    with serve(other):
        found = find(other)
    assert (found.items, found.members[0].error, other.searches) == ([], "", [])


def test_pages_come_by_get_where_post_is_promised_and_not_kept():
    server = StacServer([item(n) for n in range(7)], page=3)
    server.faults = {0: status(405)}
    with serve(server):
        found = find(server)
    assert len(found.items) == 7 and not found.failed


@pytest.mark.parametrize(
    "fault",
    [
        status(429, Retry_After="1"),
        status(429),
        status(503, Retry_After="Wed, 21 Oct 2015 07:28:00 GMT"),
        status(500),
        cut,
    ],
)
def test_what_passes_is_tried_again(fault):
    server = StacServer([item(n) for n in range(9)], page=3)
    server.faults = {1: fault, 2: fault}
    with serve(server):
        found = find(server)
    assert len(found.items) == 9 and not found.failed and found.members[0].pages == 3


@pytest.mark.parametrize(
    ("change", "words", "passes", "kept"),
    [
        ({"faults": dict.fromkeys(range(1, 9), status(429))}, "HTTP status 429, 5 times in a row", True, 3),
        ({"faults": dict.fromkeys(range(1, 9), cut)}, "cuts its answers off, 5 times", True, 3),
        ({"faults": {0: status(403)}}, "HTTP status 403: status 403", False, 0),
        ({"faults": {0: status(404)}, "post": False}, "HTTP status 404", False, 0),
        ({"faults": {1: page_of_text}}, "its answer is no JSON", False, 3),
        ({"faults": {1: lambda h: send(h, ["a"])}}, "no JSON object", False, 3),
        ({"faults": {1: lambda h: send(h, {"type": "x"})}}, "has no features", False, 3),
        ({"faults": {1: silent(3)}}, "no answer in time", True, 3),
        ({"faults": {1: status(302, Location="/search")}}, "redirects", False, 3),
        ({"faults": {1: status(302, Location="file:///etc/passwd")}}, "file address", False, 3),
        ({"faults": {1: status(302, Location="http://169.254.169.254/meta")}}, "private address 169.254", False, 3),
        ({"faults": {1: status(302, Location="http://[::1]:80/")}}, "private address ::1", False, 3),
        ({"next_link": lambda n: {"rel": "next", "href": "?same"}}, "run in circles", False, 3),
        ({"next_link": lambda n: {"rel": "next", "href": f"?{time.monotonic()}"}}, "hold nothing new", False, 3),
        ({"next_link": lambda n: {"rel": "next", "href": "http://10.0.0.1/"}}, "private address 10.0.0.1", False, 3),
        ({"next_link": lambda n: {"rel": "next", "href": "x", "method": "DELETE"}}, "'DELETE'", False, 3),
        ({"every": silent(3)}, "no answer in time", True, 0),
        ({"every": status(401)}, "HTTP status 401", False, 0),
        ({"every": status(302, Location="/")}, "redirects", False, 0),
    ],
)
def test_a_member_that_fails_is_told_and_takes_no_other_down(change, words, passes, kept):
    if "next_link" in change:
        change = {**change, "post": False}
    bad, good = StacServer([item(n) for n in range(9)], page=3, **change), StacServer([item(20)])
    if 1 in bad.faults and "Location" in str(bad.faults[1]):
        bad.faults = dict.fromkeys(range(1, 20), bad.faults[1])
    if words == "redirects":
        bad.faults = dict.fromkeys(range(1, 20), *bad.faults.values()) if bad.faults else {}
    with serve(bad), serve(good):
        found = find(bad, good)
    report = found.members[0]
    assert words in report.error and report.passes is passes and report.name in report.error, report.error
    assert report.found == kept and names(found.items)[-1] == item(20)["id"]
    assert found.failed == [report]


def test_a_dead_member_costs_one_timeout():
    slow = StacServer([item(n) for n in range(60)], page=3, every=silent(5))
    with serve(slow):
        began = time.monotonic()
        find(slow)
        assert time.monotonic() - began < 3 and len(slow.requests) == 1
    gone = search([slow.url], [L2A], AOI, PERIOD, timeout_s=1)
    assert gone.failed[0].error.startswith("127.0.0.1: no connection") and gone.failed[0].passes


def test_names_of_products():
    grd = "S1A_IW_GRDH_1SDV_20240501T171523_20240501T171548_053676_0684B2"
    assert product_of({"id": grd, "properties": {}}) == grd
    assert product_of({"id": "x", "properties": {"s1:product_identifier": f"{grd}_1A2B_COG.SAFE"}}) == grd
    assert product_of({"id": f"{grd}_rtc", "properties": {}}) is None
    assert product_of({"id": "S2B_24MWV_20250731_0_L2A", "properties": {}}) is None


def test_mistakes_of_the_person():
    for urls, cql2, words in (
        (["file:///etc"], None, "is no catalogue"),
        (["earthsearch"], None, "cdse, earth-search"),
        (["http://127.0.0.1:1"], "cloud <", "is no CQL2 filter"),
    ):
        with pytest.raises(CatalogueError) as caught:
            search(urls, [L2A], AOI, PERIOD, cql2=cql2)
        assert words in f"{caught.value} {caught.value.hint}"


def test_items_of_unlike_members_become_one_file(tmp_path):
    import pyarrow.parquet as pq

    mixed = [item(0), item(1), item(2)]
    mixed[0]["properties"]["x:row"] = 3
    mixed[1]["properties"]["x:row"] = "three"
    mixed[2]["properties"]["x:list"] = [1.5]
    write(tmp_path / "items.parquet", mixed)
    table = pq.read_table(tmp_path / "items.parquet").to_pydict()
    assert table["id"] == names(mixed) and table["x:row"] == ["3", "three", None]
    with pytest.raises(CatalogueError, match="nothing was found"):
        write(tmp_path / "none.parquet", [])


def test_real_items_of_all_dialects_become_one_file(shared_data: Path, tmp_path):
    import pyarrow.parquet as pq

    found = {}
    for path in sorted((shared_data / "stac-items").rglob("*.json")):
        content = json.loads(path.read_bytes())
        for one in content.get("features", [content]) if isinstance(content, dict) else []:
            if (
                isinstance(one, dict)
                and one.get("type") == "Feature"
                and time_of(one) is not None
                and one.get("bbox")
                and one.get("geometry")
            ):
                found[f"{path}{one['id']}"] = {**one, "collection": one.get("collection") or "x"}
    sentinel = [one for one in found.values() if str(one["collection"]).startswith("sentinel")]
    assert len(sentinel) > 40
    write(tmp_path / "items.parquet", sentinel)
    assert pq.read_table(tmp_path / "items.parquet")["id"].to_pylist() == names(sentinel)
    assert sum(product_of(one) is not None for one in sentinel) > len(sentinel) / 2


def test_the_command_writes_what_was_found_and_names_who_failed(tmp_path, capsys):
    from hpckit.cli import main

    output = tmp_path / "items.parquet"

    def call(*servers: StacServer, more: tuple[str, ...] = ()) -> tuple[int, str, str]:
        options = [word for server in servers for word in ("--member", server.url)]
        area = ("--aoi", "5,52,6,53", "--period", "2024-03-01/..", "-o", str(output))
        with pytest.raises(SystemExit) as caught:
            main(["scenes", "search", *options, *area, *more])
            raise SystemExit(0)
        return int(caught.value.code or 0), *capsys.readouterr()

    good, bad = StacServer([item(n, cloud=10 * n) for n in range(9)]), StacServer([item(0)])
    bad.faults = dict.fromkeys(range(9), status(403))
    empty = StacServer([])
    empty.collections = [L2A]
    with serve(good), serve(bad), serve(empty):
        code, out, err = call(good, bad, more=("--max-cloud", "50", "--json"))
        assert code == 1 and json.loads(out)["items"] == 6
        assert [one["error"] != "" for one in json.loads(out)["members"]] == [False, True]
        assert output.exists()
        code, out, err = call(good, bad, more=("--partial", "--filter", "platform IS NULL OR eo:cloud_cover >= 0"))
        assert code == 0 and out == "" and "9 items on 1 page" in err and "FAILED: 127.0.0.1: HTTP status 403" in err
        assert call(empty)[0] == 1
        bad.faults = {}
        bad.every = silent(0)
        assert call(good, bad)[0] == 75
