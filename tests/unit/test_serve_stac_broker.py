"""One search over members of a federation, on loopback: all products once, in order, whatever a member does."""

from __future__ import annotations

import json
import random
import time
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("cql2", reason="cql2 is not installed")

import httpx

from hpckit.catalogue.federation import product_of
from hpckit.inputs import web
from hpckit.serve.identity.links import new_keys
from hpckit.serve.settings import Grant, Settings
from hpckit.serve.settings import Member as MemberSettings
from hpckit.serve.stac import remote as remote_module
from hpckit.serve.stac import tokens
from hpckit.serve.stac.broker import Broker
from hpckit.serve.stac.merging import Dedup
from hpckit.serve.stac.order import Order, SortKey
from hpckit.serve.stac.own import OwnCatalogue
from hpckit.serve.stac.query import Search
from tests.servers.serving import serving
from tests.servers.stac import FILTER, SORT, StacServer, page_of_text, send, serve, silent, status

pytestmark = pytest.mark.slow

L2A = "sentinel-2-l2a"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Pauses between tries are short."""
    monkeypatch.setattr(web, "_LONGEST_PAUSE_S", 0.02)


def item(
    number: int, *, cloud: float | None = None, shift_s: float = 0, name: str | None = None, baseline: str = "0510"
) -> dict:
    when = datetime(2024, 3, 1, 10, 30, tzinfo=UTC) + timedelta(hours=7 * (number // 2))  # two products have one time
    product = (
        f"S2A_MSIL2A_{when:%Y%m%dT%H%M%S}_N{baseline}_R051_T31UF{'ABCDEFGH'[number % 8]}_{20240601 + number}T000000"
    )
    outline = shapely.box(5.2, 52.2, 5.3, 52.3)
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name or product, "collection": L2A,
        "geometry": shapely.geometry.mapping(outline), "bbox": list(outline.bounds),
        "properties": {
            "datetime": (when + timedelta(seconds=shift_s)).isoformat(), "s2:product_uri": f"{product}.SAFE",
            "eo:cloud_cover": float(number * 37 % 100) if cloud is None else cloud,
        },
        "assets": {"B04": {"href": "./B04.tif"}}, "links": [{"rel": "self", "href": f"https://m.example/{product}"}],
    }  # fmt: skip


def product(number: int) -> str:
    return str(product_of(item(number)))


@contextmanager
def broker(tmp_path, *servers: StacServer, timeout_s: float = 5.0, merged: bool = True):
    with ExitStack() as stack:
        for server in servers:
            stack.enter_context(serve(server))
        names = [f"M{number}" for number in range(len(servers))]
        members = [
            MemberSettings(id=name, url=server.url, timeout_s=timeout_s)
            for name, server in zip(names, servers, strict=True)
        ]
        own = OwnCatalogue(lambda: (), tmp_path)
        made = Broker(own, members, {"s2": [f"{name}|{L2A}" for name in names]} if merged else {})
        try:
            yield made
        finally:
            made.close()
            own.close()


def walk(
    made: Broker, limit: int = 5, order: Order | None = None, dedup: Dedup = "product", **more
) -> tuple[list[dict], list]:
    """Items of all pages, by tokens as clients send them, and the answers."""
    keys, items, answers, token = new_keys(), [], [], None
    while True:
        search = Search(("s2",), limit=limit, order=order or Order(), token=token, **more)
        answer = made.search(search, [], tokens.read(keys, search), dedup)
        items += answer.items
        answers.append(answer)
        assert len(answer.items) <= limit and len(answers) < 200
        if answer.next is None:
            return items, answers
        token = tokens.write(keys, search, answer.next)
        assert "127.0.0.1" not in str(tokens.read(keys, Search(("s2",), order=search.order, token=token, **more)))


def shuffled(items: list[dict]) -> list[dict]:
    items = list(items)
    random.Random(len(items)).shuffle(items)
    return items


def newest_first(items: list[dict]) -> list[dict]:
    return sorted(items, key=lambda one: one["properties"]["datetime"], reverse=True)


KINDS = {
    "whole": lambda items, page: StacServer(items, page=page, selects=True, conforms=[*SORT, *FILTER]),
    "get": lambda items, page: StacServer(items, page=page, selects=True, conforms=SORT, post=False),
    "newest first": lambda items, page: StacServer(newest_first(items), page=page),
    "newest first by get": lambda items, page: StacServer(newest_first(items), page=page, post=False),
    "shuffled": lambda items, page: StacServer(shuffled(items), page=page),
    "oldest first": lambda items, page: StacServer(newest_first(items)[::-1], page=page),
}  # fmt: skip
orders = st.sampled_from([None, "datetime", "-datetime", "-eo:cloud_cover", "id"])


@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), st.sets(st.integers(0, 25), max_size=20), st.integers(3, 9)),
        min_size=1, max_size=3,
    ),
    st.integers(1, 12),
    orders,
)  # fmt: skip
def test_all_products_once_and_in_order_whatever_members_are_like(tmp_path_factory, members, limit, sort):
    key = [] if sort is None else [SortKey(sort.lstrip("-"), sort.startswith("-"))]
    order = Order.of(key)
    servers = [KINDS[kind]([item(n) for n in sorted(held)], page) for kind, held, page in members]
    for server in servers:
        server.collections = [L2A]
    with broker(tmp_path_factory.mktemp("own"), *servers) as made:
        items, answers = walk(made, limit, order)
    wanted = [{**item(n), "collection": "s2"} for n in set().union(*(held for _, held, _ in members))]
    wanted.sort(key=lambda one: order.place(order.values(one)))
    assert [one["id"] for one in items] == [one["id"] for one in wanted]
    assert {one["collection"] for one in items} <= {"s2"}
    assert all(report.status == "ok" for answer in answers for report in answer.members)


def test_copies_are_known_by_product_though_ids_and_times_differ(tmp_path):
    first = KINDS["whole"]([item(n) for n in range(12)], 10)
    second = KINDS["whole"]([item(n, shift_s=-400, name=f"urn:eop:{product(n)}") for n in range(12)], 10)
    with broker(tmp_path, first, second) as made:
        items, answers = walk(made, 5)
        assert [product_of(one) for one in items] == [product(n) for n in (10, 11, 8, 9, 6, 7, 4, 5, 2, 3, 0, 1)]
        alternates = [link for one in items for link in one["links"] if link["rel"] == "alternate"]
        assert alternates and all(link["alternate:name"] == "M1" for link in alternates)
        assert sum(report.copies for answer in answers for report in answer.members) == 12
        both = made.search(Search(("s2",), limit=100), [], tokens.Cursor(), "none")
        assert len(both.items) == 24
        assert all("canonical" in [link["rel"] for link in one["links"]] for one in both.items)
        assert both.items[0]["assets"]["B04"]["href"] == "https://m.example/B04.tif"


processings = st.sets(st.tuples(st.integers(0, 9), st.sampled_from(["0300", "0510", "0511", "9999"])), max_size=14)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(KINDS)), processings, st.integers(-1500, 1500)), min_size=1, max_size=3
    ),
    st.integers(1, 9),
    st.sampled_from(["datetime", "-datetime"]),
)
def test_of_an_acquisition_what_has_the_newest_baseline(tmp_path_factory, members, limit, sort):
    """Members may have other times for one product: those of the orbit, or of the tile."""
    order = Order.of([SortKey("datetime", sort.startswith("-"))])
    made_up = [[item(n, baseline=text, shift_s=shift) for n, text in held] for _, held, shift in members]
    servers = [KINDS[kind](items, 6) for (kind, _, _), items in zip(members, made_up, strict=True)]
    for server in servers:
        server.collections = [L2A]
    with broker(tmp_path_factory.mktemp("own"), *servers) as made:
        items, answers = walk(made, limit, order, "acquisition")
    best: dict[int, str] = {}
    for number, text in set().union(*(held for _, held, _ in members)):
        best[number] = max(best.get(number, "9999"), text, key=lambda one: -1 if one == "9999" else int(one))
    assert sorted(one["id"] for one in items) == sorted(item(n, baseline=text)["id"] for n, text in best.items())
    places = [order.place(order.values(one)) for one in items]
    assert places == sorted(places)
    if len(answers) == 1:
        older = [link["title"] for one in items for link in one["links"] if link["rel"] == "predecessor-version"]
        given_up = {one["id"] for held in made_up for one in held} - {one["id"] for one in items}
        assert sorted(set(older)) == sorted(given_up)
        assert sum(report.superseded for report in answers[0].members) >= len(given_up)


def test_parts_of_a_pass_stay_and_other_missions_have_no_baselines(tmp_path):
    halves = [item(1), item(1, name=item(1)["id"].replace("20240602T", "20240603T"))]
    halves[1]["properties"]["s2:product_uri"] = halves[1]["id"]
    radar = item(2, name="S1A_IW_GRDH_1SDV_20240301T055124_20240301T055149_052784_0662C5_COG")
    del radar["properties"]["s2:product_uri"]
    with broker(tmp_path, KINDS["whole"]([*halves, radar, item(1, baseline="0400")], 10)) as made:
        items, _ = walk(made, 9, dedup="acquisition")
    assert {one["id"] for one in items} == {halves[0]["id"], halves[1]["id"], radar["id"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"every": silent(3)}, "no answer in time"),
        ({"every": status(401)}, "HTTP status 401"),
        ({"every": status(503)}, "HTTP status 503"),
        ({"every": page_of_text}, "no JSON"),
        ({"every": lambda h: send(h, ["a"])}, "no JSON object"),
        ({"every": status(302, Location="http://169.254.169.254/")}, "private address"),
        ({"next_link": lambda n: {"rel": "next", "href": "?same"}, "post": False}, "run in circles"),
        ({"next_link": lambda n: {"rel": "next", "href": "http://10.0.0.1/"}, "post": False}, "private address"),
        ({"next_link": lambda n: {"rel": "next", "href": "file:///etc/passwd"}, "post": False}, "file address"),
        ({"faults": dict.fromkeys(range(1, 50), page_of_text)}, "no JSON"),
    ],
)
def test_a_member_that_fails_is_told_and_takes_no_other_down(tmp_path, change, words):
    bad = StacServer(newest_first([item(n) for n in range(20, 26)]), page=3, **change)
    good = KINDS["whole"]([item(n) for n in range(8)], 4)
    with broker(tmp_path, bad, good, timeout_s=0.5) as made:
        began = time.monotonic()
        items, answers = walk(made, 50)
        assert time.monotonic() - began < 2.5
    assert {product(n) for n in range(8)} <= {product_of(one) for one in items}
    report = answers[-1].members[0]
    assert words in report.error and report.status == "failed", report


def test_a_dead_member_costs_one_timeout_in_a_walk(tmp_path):
    slow = StacServer([item(20)], every=silent(3))
    good = KINDS["whole"]([item(n) for n in range(12)], 4)
    with broker(tmp_path, slow, good, timeout_s=0.6) as made:
        began = time.monotonic()
        items, answers = walk(made, 2)
        assert len(items) == 12 and time.monotonic() - began < 2.5
        assert len(slow.requests) == 1
        assert [answer.members[0].status for answer in answers[1:]] == ["resting"] * (len(answers) - 1)


def test_a_member_that_comes_back_gives_what_was_missed(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_module, "REST_S", 0.0)
    flaky = KINDS["whole"]([item(n) for n in range(20, 26)], 10)
    good = KINDS["whole"]([item(n) for n in range(12)], 10)
    flaky.every = status(503)
    with broker(tmp_path, flaky, good) as made:
        keys, token, found = new_keys(), None, []
        for number in range(50):
            search = Search(("s2",), limit=4, token=token)
            answer = made.search(search, [], tokens.read(keys, search))
            found += [product_of(one) for one in answer.items]
            if number == 0:
                assert answer.members[0].status == "failed"
                flaky.every = None
            if answer.next is None:
                break
            token = tokens.write(keys, search, answer.next)
    assert sorted(found) == sorted(product(n) for n in (*range(12), *range(20, 26)))
    assert answer.members[0].status == "ok"


def test_a_member_that_breaks_the_order_late_is_sorted_here_from_then_on(tmp_path):
    ordered = newest_first([item(n) for n in range(12)])
    liar = StacServer([*ordered[:6], *ordered[6:][::-1]], page=3, conforms=SORT)
    with broker(tmp_path, liar) as made:
        items, _ = walk(made, 30)
        assert [one["id"] for one in items] == [one["id"] for one in sorted(ordered, key=_newest)]
        assert made.remotes["M0"].unsorted


def _newest(one: dict) -> tuple:
    return tuple(Order().place(Order().values(one)))


def test_too_much_to_sort_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_module, "SORTED_HERE", 20)
    many = StacServer(shuffled([item(n) for n in range(60)]), page=10)
    with broker(tmp_path, many, KINDS["whole"]([item(99)], 5)) as made:
        items, answers = walk(made, 5)
    assert [product_of(one) for one in items] == [product(99)]
    assert answers[0].members[0].status == "unsorted" and "too many to sort" in answers[0].members[0].error


def test_conditions_and_areas_hold_for_members_that_cannot_select(tmp_path):
    import cql2

    held = [item(n) for n in range(20)]
    far = item(30)
    far["geometry"] = shapely.geometry.mapping(shapely.box(100, 0, 101, 1))
    broken = [{"type": "Feature", "id": "x"}, {**item(31), "properties": None}, {**item(32), "collection": "other"}]
    plain = StacServer(newest_first([*held, far]) + broken, page=7, post=False)
    plain.collections = [L2A]
    can = KINDS["whole"](held, 7)
    condition = cql2.parse_text("eo:cloud_cover < 40").to_json()
    with broker(tmp_path, plain, can) as made:
        area = shapely.box(5, 52, 6, 53)
        items, answers = walk(made, 6, filter=condition, area=area)
    wanted = {product(n) for n in range(20) if n * 37 % 100 < 40}
    assert {product_of(one) for one in items} == wanted and len(items) == len(wanted)
    assert "filter" in can.searches[0] and "filter" not in plain.searches[0] and plain.searches[0]["bbox"]
    assert answers[0].members[0].unfit > 0


def test_ids_and_single_members(tmp_path):
    first, second = (KINDS["whole"]([item(n) for n in held], 9) for held in (range(6), range(4, 9)))
    with broker(tmp_path, first, second) as made:
        items, _ = walk(made, 9, ids=(product(5), product(8), "nobody"))
        assert [one["id"] for one in items] == [product(8), product(5)]
        second.requests.clear()
        one = made.search(Search((f"M0|{L2A}",)), [], tokens.Cursor())
        assert {each["collection"] for each in one.items} == {f"M0|{L2A}"} and not second.requests
        assert made.item(f"M1|{L2A}", product(8))["collection"] == f"M1|{L2A}"
        assert made.item("s2", product(8))["properties"]["hpckit:member"] == "M1"
        assert made.item("s2", "nobody") is None and made.targets("s3") == [] == made.targets("M7|x")
        shown, reports = made.collections()
        assert sorted(shown) == [f"M0|{L2A}", f"M1|{L2A}"] and [one.status for one in reports] == ["ok", "ok"]


def test_the_federation_by_pystac_client(tmp_path):
    pystac_client = pytest.importorskip("pystac_client", reason="pystac-client is not installed")
    first = KINDS["newest first"]([item(n) for n in range(0, 20)], 6)
    second = KINDS["newest first by get"]([item(n) for n in range(10, 26)], 6)
    gone = StacServer([item(1)], every=status(503))
    with serve(first), serve(second), serve(gone):
        members = tuple(
            MemberSettings(id=name, url=server.url, timeout_s=5)
            for name, server in (("ONE", first), ("TWO", second), ("GONE", gone))
        )
        merged = {"s2": (f"ONE|{L2A}", f"TWO|{L2A}", f"GONE|{L2A}")}
        settings = Settings(
            members=members, merged=merged, grants=(Grant(users=("anyone",)),), state=tmp_path / "state",
            doors=("stac",), prefix="/eo",
        )  # fmt: skip
        with serving(settings) as (address, _):
            url = f"{address}/eo/stac"
            client = pystac_client.Client.open(url)
            assert {one.id for one in client.get_collections()} == {"s2", f"ONE|{L2A}", f"TWO|{L2A}"}
            for method in ("GET", "POST"):
                found = list(client.search(method=method, collections=["s2"], limit=4).items())
                assert len(found) == 26 and [one.datetime for one in found] == sorted(
                    (one.datetime for one in found), reverse=True
                )
                assert len({product_of(one.to_dict()) for one in found}) == 26
            collection = client.get_collection(f"TWO|{L2A}")
            assert len(list(collection.get_items())) == 16
            one = collection.get_item(product(12))
            assert one.collection_id == f"TWO|{L2A}" and one.get_collection().id == f"TWO|{L2A}"
            linked = [link.href for each in found for link in each.links if link.rel == "alternate"]
            assert linked and httpx.get(linked[0]).json()["id"] in {product(n) for n in range(10, 20)}
            answer = httpx.post(f"{url}/search", json={"collections": ["s2"]})
            reports = {one["id"]: one for one in answer.json()["federation:members"]}
            assert reports["GONE"]["status"] == "resting" and "GONE" in answer.headers["warning"]
            strict = httpx.get(f"{url}/search", params={"collections": "s2", "strict": "true"})
            assert strict.status_code == 502 and "GONE" in strict.json()["detail"]
            assert httpx.get(f"{url}/collections/GONE%7C{L2A}").status_code == 502
            assert httpx.get(f"{url}/collections/NOBODY%7C{L2A}").status_code == 404
            assert first.url not in json.dumps(answer.json()["links"])
