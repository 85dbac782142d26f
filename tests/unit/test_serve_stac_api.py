"""The STAC API over a catalogue of its own, by pystac-client and by hand: pages, links to files, bad input."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from time import sleep

import pytest
import shapely

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")
pytest.importorskip("cql2", reason="cql2 is not installed")
pytest.importorskip("orjson", reason="orjson is not installed")

import httpx

from hpckit.catalogue import federation
from hpckit.serve.settings import CatalogueSettings, Grant, Settings
from tests.servers.serving import serving

pytestmark = pytest.mark.slow

BEGIN = datetime(2024, 3, 1, 10, 30, tzinfo=UTC)


def item(number: int, folder: Path) -> dict:
    when = BEGIN + timedelta(hours=7 * number)
    west = 5.0 + number % 5 * 0.2
    outline = shapely.box(west, 52.2, west + 0.1, 52.3)
    assets = {
        "B04": {"href": f"{folder}/products/{number}.SAFE/B 04.jp2", "type": "image/jp2", "roles": ["data"]},
        "elsewhere": {"href": "/etc/passwd"},
        "escaping": {"href": f"{folder}/products/../secret.txt"},
        "remote": {"href": f"https://data.example/{number}.tif"},
    }
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": f"product-{number:03d}", "collection": "x",
        "geometry": shapely.geometry.mapping(outline), "bbox": list(outline.bounds),
        "properties": {"datetime": when.isoformat(), "eo:cloud_cover": float(number % 100), "platform": "s2a"},
        "links": [], "assets": assets,
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("catalogue")
    product = folder / "products" / "7.SAFE"
    product.mkdir(parents=True)
    (product / "B 04.jp2").write_bytes(bytes(range(256)) * 40)
    (folder / "secret.txt").write_text("secret")
    (product / "link.jp2").symlink_to(folder / "secret.txt")
    federation.write(folder / "scenes.parquet", [item(n, folder) for n in range(120)])
    return folder


@pytest.fixture(scope="module")
def url(folder):
    mine = CatalogueSettings(name="mine", path=folder / "scenes.parquet", folders=(folder / "products",))
    hidden = CatalogueSettings(name="hidden", path=folder / "scenes.parquet")
    grants = (Grant(users=("anyone",), datasets=("mine",)), Grant(users=("somebody",)))
    settings = Settings(catalogues=(mine, hidden), grants=grants, state=folder / "state", doors=("stac",))
    with serving(settings) as (address, _):
        yield f"{address}/stac"


def get(url: str, **parameters) -> dict:
    answer = httpx.get(url, params=parameters, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(page: dict) -> list[str]:
    return [feature["id"] for feature in page["features"]]


def test_pystac_client_walks_by_get_and_post(url):
    client = pytest.importorskip("pystac_client", reason="pystac-client is not installed").Client.open(url)
    assert [one.id for one in client.get_collections()] == ["mine"]
    for method in ("GET", "POST"):
        search = client.search(
            method=method, collections=["mine"], bbox=[5.0, 52, 5.25, 53], limit=7,
            filter="eo:cloud_cover < 50", filter_lang="cql2-text",
            sortby=[{"field": "properties.eo:cloud_cover", "direction": "desc"}],
        )  # fmt: skip
        found = list(search.items())
        wanted = [n for n in range(120) if n % 5 in (0, 1) and n % 100 < 50]
        wanted = sorted(wanted, key=lambda n: (-(n % 100), -n))
        assert [one.id for one in found] == [f"product-{n:03d}" for n in wanted]
        assert search.matched() == len(wanted)
    assert client.get_collection("mine").get_item("product-007").id == "product-007"
    one = next(client.search(collections=["mine"], max_items=1).items())
    assert one.get_collection().id == "mine" and one.get_root().id == "hpckit"


def test_fields_intersects_ids_and_times(url):
    page = get(f"{url}/search", fields="id,properties.platform,-links", limit=2)
    assert [set(one) for one in page["features"]] == [{"type", "stac_version", "id", "collection", "properties"}] * 2
    assert page["features"][0]["properties"] == {"platform": "s2a"}
    page = get(f"{url}/search", fields="-properties,+properties.platform", limit=1)
    assert page["features"][0]["properties"] == {"platform": "s2a"} and "geometry" not in page["features"][0]
    page = get(f"{url}/search", fields="-assets,-properties.platform", limit=1)
    assert "assets" not in page["features"][0]
    assert set(page["features"][0]["properties"]) == {"datetime", "eo:cloud_cover"}
    usual = httpx.post(f"{url}/search", json={"fields": {"include": [], "exclude": ["assets"]}, "limit": 1}).json()
    assert set(usual["features"][0]["properties"]) == {"datetime"} and "bbox" in usual["features"][0]
    triangle = {"type": "Polygon", "coordinates": [[[5.0, 52.25], [5.05, 52.25], [5.0, 52.28], [5.0, 52.25]]]}
    by_post = httpx.post(f"{url}/search", json={"intersects": triangle, "limit": 1000}).json()
    assert (
        ids(by_post)
        == [f"product-{n:03d}" for n in range(115, -1, -5)]
        == ids(get(f"{url}/search", intersects=json.dumps(triangle), limit=1000))
    )
    assert ids(get(f"{url}/search", ids="product-003,nobody,product-001")) == ["product-003", "product-001"]
    day = get(f"{url}/collections/mine/items", datetime="2024-03-01T00:00:00Z/2024-03-01T23:59:59Z")
    assert ids(day) == ["product-001", "product-000"] and day["numberMatched"] == 2
    assert ids(get(f"{url}/search", datetime="../2024-03-01T10:30:00Z")) == ["product-000"]
    assert get(f"{url}/search", collections="nowhere")["features"] == []
    assert get(f"{url}/search", limit=10**6)["numberReturned"] == 120


def test_of_an_acquisition_of_one_catalogue_what_has_the_newest_baseline(tmp_path):
    held = []
    for number, baseline in [(n, text) for n in range(3) for text in ("0300", "0511", "0400")[: n + 1]]:
        made = item(number, tmp_path)
        made["id"] = f"S2A_MSIL2A_202403{number + 1:02d}T103021_N{baseline}_R051_T31UFU_20240601T000000"
        held.append(made)
    federation.write(tmp_path / "scenes.parquet", held)
    settings = Settings(
        catalogues=(CatalogueSettings(name="mine", path=tmp_path / "scenes.parquet"),),
        grants=(Grant(users=("anyone",)),), state=tmp_path / "state", doors=("stac",),
    )  # fmt: skip
    with serving(settings) as (address, _):
        answers = [get(f"{address}/stac/search", dedup="acquisition", limit=2)]
        answers.append(httpx.get(answers[0]["links"][-1]["href"]).json())
        assert [[name[27:32] for name in ids(one)] for one in answers] == [["N0511", "N0511"], ["N0300"]]
        older = [link for link in answers[0]["features"][0]["links"] if link["rel"] == "predecessor-version"]
        assert [httpx.get(link["href"]).json()["id"] for link in older] == [link["title"] for link in older]
        assert {link["title"][27:32] for link in older} == {"N0300", "N0400"}
        assert len(ids(get(f"{address}/stac/search", limit=10))) == 6


def test_files_are_signed_links_and_lie_in_the_folders_of_the_catalogue(url):
    found = get(f"{url}/collections/mine/items/product-007")
    assert set(found["assets"]) == {"B04", "remote"}, "files elsewhere are not shown"
    assert "hpckit:scene" not in found["properties"] and "/products" not in json.dumps(found).replace(
        "/products-0", ""
    )
    href = found["assets"]["B04"]["href"]
    whole = httpx.get(href)
    content = bytes(range(256)) * 40
    assert whole.content == content and whole.headers["etag"]
    part = httpx.get(href, headers={"Range": "bytes=250-259"})
    assert part.status_code == 206 and part.content == content[250:260]
    assert part.headers["content-range"] == f"bytes 250-259/{len(content)}"
    head = httpx.head(href)
    assert head.headers["content-length"] == str(len(content)) and head.content == b""
    assert httpx.get(href, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert httpx.get(href, headers={"Range": "bytes=99999-"}).status_code == 416
    base = href.partition("/7.SAFE")[0]
    for path in (
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/7.SAFE/link.jp2",
        "/..%2fsecret.txt",
        "//etc/passwd",
        "/7.SAFE",
    ):
        assert httpx.get(base + path).status_code == 404, path
    token = base.split("/a/")[1].split("/")[0]
    name, expiry, signature = token.split(".")
    other = "Q" if signature.endswith("A") else "A"
    for forged in (
        f"{name}.{int(expiry) + 1}.{signature}", f"x.{expiry}.{signature}", f"{name}.{expiry}.", "..",
        f"{name}.{expiry}.{signature[:-1]}{other}", f"{name}.99999999999999.{signature}",
    ):  # fmt: skip
        assert httpx.get(href.replace(token, forged)).status_code == 404, forged
    assert httpx.get(href.replace("/mine/", "/hidden/")).status_code == 404
    assert httpx.get(href.replace(token, f"{name}.1000.{signature}")).status_code == 410


def test_what_a_reader_may_not_know_of_is_not_there(url):
    assert httpx.get(f"{url}/collections/hidden").status_code == 404
    assert httpx.get(f"{url}/collections/hidden/items").status_code == 404
    assert get(f"{url}/search", collections="hidden")["features"] == []
    assert {one["collection"] for one in get(f"{url}/search", limit=1000)["features"]} == {"mine"}
    assert "hidden" not in httpx.get(url).text


@pytest.mark.parametrize(
    "query",
    [
        "bbox=1,2,3", "bbox=a,b,c,d", "bbox=0,50,10,40", "bbox=[0,0,1,1]", "datetime=2024-03-01", "datetime=/",
        "limit=-1", "limit=x", "intersects={", 'intersects={"type":"Point"}', "sortby=a%20b", "fields=a/b",
        "filter=cloud%20<", "filter=x%20%3D%201&filter-lang=sql", "token=abc", "token=abc.def.ghi",
        "bbox=0,0,1,1&intersects=%7B%22type%22:%22Point%22,%22coordinates%22:[0,0]%7D", "dedup=maybe",
        "dedup=acquisition&sortby=eo:cloud_cover",
        "filter=%7B%22op%22:%22rm%22,%22args%22:[]%7D&filter-lang=cql2-json",
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_a_problem(url, query):
    answer = httpx.get(f"{url}/search?{query}")
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].isprintable()


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"3", b'{"bbox": 3}', b'{"limit": "ten"}', b"\xff\xfe", b'{"ids": [[]]}']
)
def test_bodies_that_cannot_be_understood_are_problems(url, body):
    answer = httpx.post(f"{url}/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400 and answer.headers["content-type"] == "application/problem+json"


def test_a_token_belongs_to_its_search_and_to_this_server(url):
    page = get(f"{url}/search", limit=5)
    token = httpx.URL(page["links"][-1]["href"]).params["token"]
    assert ids(get(f"{url}/search", limit=5, token=token)) == [f"product-{n:03d}" for n in range(114, 109, -1)]
    assert ids(get(f"{url}/search", limit=2, token=token)) == ["product-114", "product-113"], "the size may change"
    for parameters in ({"sortby": "id"}, {"filter": "eo:cloud_cover < 3"}, {"bbox": "5,52,6,53"}, {"ids": "a"}):
        answer = httpx.get(f"{url}/search", params={**parameters, "token": token})
        assert answer.status_code == 400 and "another search" in answer.json()["detail"]
    text, _, signed = token.partition(".")
    for forged in (text[:-2] + "." + signed, text + ".x" + signed, "." + signed, f"{text}.{signed}x", "é.x.y"):
        assert httpx.get(f"{url}/search", params={"token": forged}).status_code == 400


def test_headers_are_not_repeated(url):
    root = url.removesuffix("/stac")
    answer = httpx.get(f"{root}/stac", headers={"Host": 'evil"><script>'})
    assert answer.status_code in (400, 421)
    answer = httpx.get(f"{url}/search?datetime=%0d%0aSet-Cookie:%20a=b")
    assert answer.status_code == 400 and "set-cookie" not in answer.headers
    assert httpx.get(f"{url}/collections/..%2f..%2fetc%2fpasswd").status_code == 404
    assert httpx.get(f"{url}/collections/mine/items/..%2f..%2f..%2fetc%2fpasswd").status_code == 404


def test_pages_of_other_sites_may_read(url):
    other = {"Origin": "http://localhost:8888", "Sec-Fetch-Site": "cross-site"}
    asked = {**other, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    before = httpx.options(f"{url}/search", headers=asked)
    assert before.status_code == 204 and "POST" in before.headers["access-control-allow-methods"]
    answer = httpx.post(f"{url}/search", json={"limit": 1}, headers=other)
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    assert httpx.get(f"{url}/search?bbox=1", headers=other).headers["access-control-allow-origin"] == "*"


def test_answers_are_described(url):
    landing = get(url)
    assert landing["links"][0]["href"] == url
    for link in landing["links"]:
        answer = httpx.get(link["href"]) if link.get("method") != "POST" else httpx.post(link["href"], json={})
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(link["type"].partition(";")[0])
    assert get(f"{url}/conformance")["conformsTo"] == landing["conformsTo"]
    schema = get(f"{url}/collections/mine/queryables")
    assert schema["$id"] == f"{url}/collections/mine/queryables"
    assert schema["properties"]["eo:cloud_cover"] == {"type": "number"}
    collection = get(f"{url}/collections/mine")
    assert collection["extent"]["spatial"]["bbox"][0] == pytest.approx([5.0, 52.2, 5.9, 52.3])
    assert collection["extent"]["temporal"]["interval"][0][0] == "2024-03-01T10:30:00Z"


def test_a_catalogue_that_changes_is_read_again(folder, tmp_path, monkeypatch):
    from hpckit.serve.stac import own

    monkeypatch.setattr(own, "_LOOK_S", 0.0)
    path = tmp_path / "scenes.parquet"
    federation.write(path, [item(n, folder) for n in range(3)])
    settings = Settings(
        catalogues=(CatalogueSettings(name="mine", path=path),), grants=(Grant(users=("anyone",)),),
        state=tmp_path / "state", doors=("stac",),
    )  # fmt: skip
    with serving(settings) as (address, _):
        assert len(get(f"{address}/stac/search")["features"]) == 3
        federation.write(path, [item(n, folder) for n in range(5)])
        for _ in range(100):
            if len(get(f"{address}/stac/search")["features"]) == 5:
                break
        assert len(get(f"{address}/stac/search")["features"]) == 5
        assert len(list((tmp_path / "state" / "stac" / "mine").iterdir())) == 1, "old indexes are removed"
        path.write_bytes(b"damaged")
        assert len(get(f"{address}/stac/search")["features"]) == 5


def test_while_the_first_index_is_made_the_answer_is_no_empty_page(folder, tmp_path, monkeypatch):
    from hpckit.serve.stac import indexing, own

    going_on, build = Event(), indexing.build

    def slow(*arguments):
        assert going_on.wait(30)
        return build(*arguments)

    monkeypatch.setattr(indexing, "build", slow)
    monkeypatch.setattr(own, "_FIRST_S", 0.0)
    settings = Settings(
        catalogues=(CatalogueSettings(name="mine", path=folder / "scenes.parquet"),),
        grants=(Grant(users=("anyone",)),), state=tmp_path / "state", doors=("stac",),
    )  # fmt: skip
    with serving(settings) as (address, _):
        answer = httpx.get(f"{address}/stac/search")
        assert answer.status_code == 503 and answer.headers["retry-after"]
        assert httpx.get(f"{address}/stac/search?collections=other").json()["features"] == []
        going_on.set()
        for _ in range(200):
            answer = httpx.get(f"{address}/stac/search")
            if answer.status_code == 200:
                break
            sleep(0.05)
        assert answer.json()["numberMatched"] == 120


def test_a_process_of_its_own_makes_large_indexes(folder, tmp_path, monkeypatch, capfd):
    from hpckit.serve.stac import products

    monkeypatch.setattr(products, "_LARGE", 0)
    (tmp_path / "damaged.parquet").write_bytes(b"PAR1 and nothing else")
    names = {"mine": folder / "scenes.parquet", "damaged": tmp_path / "damaged.parquet"}
    settings = Settings(
        catalogues=tuple(CatalogueSettings(name=name, path=path) for name, path in names.items()),
        grants=(Grant(users=("anyone",)),), state=tmp_path / "state", doors=("stac",),
    )  # fmt: skip
    with serving(settings) as (address, _):
        assert get(f"{address}/stac/search")["numberMatched"] == 120
        assert httpx.get(f"{address}/stac/collections/damaged", timeout=60).status_code == 404
    assert sorted(path.name for path in (tmp_path / "state" / "stac" / "damaged").iterdir()) == []
    assert "ArrowInvalid" in capfd.readouterr().err


def test_without_a_login_where_one_is_needed(folder, tmp_path):
    mine = CatalogueSettings(name="mine", path=folder / "scenes.parquet")
    with serving(Settings(catalogues=(mine,), state=tmp_path / "state", doors=("stac",))) as (address, service):
        for path in ("", "/collections", "/search", "/collections/mine"):
            answer = httpx.get(f"{address}/stac{path}")
            assert answer.status_code == 401 and answer.headers["access-control-allow-origin"] == "*"
        from hpckit.serve.identity.access import Reader

        headers = {"Authorization": f"Bearer {service.access.token_for(Reader('somebody'))}"}
        assert httpx.get(f"{address}/stac/search", headers=headers).json()["numberMatched"] == 120
