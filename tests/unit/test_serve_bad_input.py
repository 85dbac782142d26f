"""Requests that no client should send: each gets a JSON problem, and nothing breaks or is told."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from hpckit.errors import ServeError
from hpckit.serve.identity.access import COOKIE
from hpckit.serve.identity.links import new_keys
from hpckit.serve.service import Service
from hpckit.serve.settings import Limits, read_settings
from tests.asgi import Answer, ask, basic
from tests.unit.look_samples import make_campaign
from tests.unit.serve_samples import ANNA, BERT, EVE, serve, write_users

pytestmark = pytest.mark.slow

PARCEL = "/query/parcelByID?aoi=nl&year=2024&pid=17"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def campaign(folder: Path) -> Path:
    return make_campaign(folder)


@pytest.fixture(scope="module")
def served(folder: Path, campaign: Path) -> Iterator[tuple[Service, Starlette]]:
    made = serve(folder, campaign, limits={"burst": 100_000, "password_attempts_per_minute": 100_000})
    yield made
    made[0].close()


def is_problem(answer: Answer, status: int) -> bool:
    found = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert found["status"] == answer.status and found["detail"] and found["code"]
    assert "Traceback" not in answer.text and "/tmp" not in answer.text
    return answer.status == status


def test_headers_of_every_answer(served):
    for path in ("/health", "/none", "/metrics", PARCEL):
        answer = ask(served[1], path)
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert is_problem(ask(served[1], "/none"), 404) and is_problem(ask(served[1], "/health", method="POST"), 405)


def test_another_users_data_set_looks_like_none(served):
    app = served[1]
    asked = ask(app, PARCEL.replace("aoi=nl", "aoi=be"), headers=BERT)
    nothing = ask(app, PARCEL.replace("aoi=nl", "aoi=xx"), headers=BERT)
    assert is_problem(asked, 404) and asked.body == nothing.body
    assert ask(app, PARCEL, headers=EVE).body == nothing.body
    assert is_problem(ask(app, PARCEL), 401) and ask(app, PARCEL).body == ask(app, PARCEL.replace("nl", "xx")).body
    assert is_problem(ask(app, f"{PARCEL}&withGeometry=True", headers=BERT), 403)
    assert is_problem(ask(app, "/query/parcelTimeSeries?aoi=nl&year=2024&pid=17", headers=BERT), 403)
    assert ask(app, PARCEL, headers=BERT).json["pid"] == ["17"]


def test_logins(served):
    service, app = served
    asked = ask(app, PARCEL)
    assert asked.headers["www-authenticate"].startswith("Basic ")
    assert ask(app, PARCEL, headers=ANNA).status == 200
    for value in (
        "Basic",
        "Basic !!!",
        "Basic " + base64.b64encode(b"anna").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
        "Basic " + "A" * 10_000,
    ):
        assert is_problem(ask(app, PARCEL, headers={"Authorization": value}), 400)
    for name, password in (("anna", "wrong"), ("", ""), ("nobody", "annas password"), ("anna", "annas password\0")):
        assert is_problem(ask(app, PARCEL, headers=basic(name, password)), 401)
    for token in ("", "x", "\u00e4.\u00e4.\u00e4", "a.b.c.d", "x" * 5000, service.access.token_for.__name__):
        assert is_problem(ask(app, PARCEL, headers={"Authorization": f"Bearer {token}"}), 401)
        assert is_problem(ask(app, PARCEL, headers={"Cookie": f"{COOKIE}={token}"}), 401)
    token = service.access.token_for(service.access.check_password("anna", "annas password", "x"))
    assert ask(app, PARCEL, headers={"Authorization": f"Bearer {token}"}).status == 200
    assert ask(app, PARCEL, headers={"Cookie": f"{COOKIE}={token}"}).status == 200
    body, _, _ = token.partition(".")
    others = f"{body}.{new_keys().sign('session', body)}"
    assert is_problem(ask(app, PARCEL, headers={"Authorization": f"Bearer {others}"}), 401)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    entered = ask(app, "/login", method="POST", headers=form, body=b"name=anna&password=annas+password")
    assert entered.status == 200 and "HttpOnly" in entered.headers["set-cookie"]
    assert "samesite=lax" in entered.headers["set-cookie"].lower()
    assert ask(app, PARCEL, headers={"Cookie": f"{COOKIE}={entered.cookies[COOKIE]}"}).status == 200
    assert is_problem(ask(app, "/login", method="POST", headers=form, body=b"name=anna&password=x"), 401)
    assert is_problem(ask(app, "/login", method="POST", headers=form, body=b"name=" + b"a" * 2000), 400)
    assert is_problem(
        ask(app, "/login", method="POST", headers={"Content-Type": "multipart/form-data"}, body=b"x"), 400
    )
    assert is_problem(ask(app, "/token", method="POST"), 401)
    assert is_problem(ask(app, "/enter?token=x"), 401)


def test_requests_of_other_sites(served):
    app = served[1]
    own = ask(app, "/token", method="POST", headers={**ANNA, "Origin": "http://127.0.0.1:8642"})
    assert own.status == 200
    assert ask(app, "/token", method="POST", headers=ANNA).status == 200  # a program
    for headers in (
        {"Origin": "https://evil.example.org"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8642.evil.example.org"},
        {"Origin": "http://127.0.0.1:8641"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "http://127.0.0.1:8642"},
    ):
        # Browsers add cookies, and a name and password that were typed once.
        assert is_problem(ask(app, "/token", method="POST", headers={**ANNA, **headers}), 403), headers
        assert is_problem(ask(app, "/logout", method="POST", headers=headers), 403)
    bearer = {"Authorization": f"Bearer {own.json['token']}", "Origin": "https://notebook.example.org"}
    assert ask(app, "/token", method="POST", headers=bearer).status == 200


@pytest.mark.parametrize("text", ["a%0d%0aSet-Cookie:%20x=y", "a\r\nX: y", "%0a", "\x00", "%00", "\u2028"])
@pytest.mark.parametrize(
    "path",
    [
        "/query/parcelByID?aoi={}&year=2024&pid=17",
        "/query/parcelByID?aoi=nl&year={}&pid=17",
        "/query/parcelByID?aoi=nl&year=2024&pid={}",
        "/query/parcelTimeSeries?aoi=nl&year=2024&pid=17&tstype={}",
        "/query/parcelTimeSeries?aoi=nl&year=2024&pid=17&band={}",
        "/query/backgroundByLocation?lon=3.003&lat=51.44&tms={}&iformat=tif",
        "/query/backgroundByLocation?lon=3.003&lat=51.44&iformat={}",
        "/query/rawChipByLocation?lon=3.003&lat=51.44&band={}&start_date=2024-01-01&end_date=2024-12-31",
        "/query/{}",
        "/a/{}/mine/cube/zarr.json",
        "/{}",
    ],
)
def test_nothing_of_a_parameter_becomes_a_header(served, path, text):
    answer = ask(served[1], path.format(text), headers=ANNA)
    assert answer.status in (200, 400, 404)
    assert "set-cookie" not in answer.headers and "x" not in answer.headers


def test_host_is_not_repeated(served):
    path = "/query/info"
    assert (
        ask(served[1], path, headers=ANNA, host="maps.example.org").json["server"]["host"]
        == "http://maps.example.org"
    )
    for host in ("a b", "evil.example.org/x", "x\r\ny: z", "", "a@b", "[::1", "\u00e4"):
        assert ask(served[1], path, headers=ANNA, host=host).status == 400


def test_names_that_become_this_machine(folder, campaign):
    """A page of a site whose name leads to 127.0.0.1 all of a sudden (DNS rebinding)."""
    service, app = serve(folder, campaign, users=None, grants=[{"users": ["anyone"], "actions": ["info"]}])
    assert ask(app, PARCEL).status == 200 and ask(app, PARCEL, host="localhost:9000").status == 200
    for host in ("evil.example.org:8642", "127.0.0.1.evil.example.org", "", "127.0.0.1@evil.example.org"):
        assert is_problem(ask(app, PARCEL, host=host), 421)
    service.close()


def test_pages_of_other_sites_read_nothing_of_what_is_open_on_this_machine(folder, campaign):
    """STAC allows all origins: a page that somebody visits would read it by their browser."""
    service, app = serve(folder, campaign, users=None, grants=[{"users": ["anyone"]}], doors=["stac", "viewer"])
    for path in ("/stac/collections", "/api/d/mine"):
        assert ask(app, path).status == 200
        for origin in ("http://localhost:3000", "http://127.0.0.1:8888", "https://[::1]:8888"):
            assert ask(app, path, headers={"Origin": origin}).status == 200, "another program of this machine"
        for origin in ("https://evil.example.org", "null", "http://127.0.0.1.evil.example.org", ""):
            refused = ask(app, path, headers={"Origin": origin})
            assert is_problem(refused, 403) and "access-control-allow-origin" not in refused.headers
    service.close()
    service, app = serve(folder, campaign, grants=[{"users": ["anna"]}], doors=["stac"])
    answer = ask(app, "/stac/collections", headers={"Origin": "https://browser.example.org", **ANNA})
    assert answer.headers["access-control-allow-origin"] == "*", "where somebody logs in, they may read from any page"
    service.close()


def test_a_body_that_does_not_come(served, monkeypatch):
    monkeypatch.setattr("hpckit.serve.bodies._BODY_S", 0.05)
    for path in ("/login", "/query/rawChipsBatch"):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": "100", **ANNA}
        assert is_problem(ask(served[1], path, method="POST", headers=headers, body=[]), 408)


def test_the_printed_address_leads_to_the_page_beside_it(folder, campaign):
    """Behind a proxy that has removed its own prefix, `/` would be the proxy's page."""
    for prefix, url, path in (
        ("", None, None),  # the browser takes the folder of the address that it has asked for
        ("/eo", None, "/eo"),
        ("/eo", "https://a.example.org", "/eo"),
        ("", "https://hub.example.org/user/anna/proxy/8642/", "/user/anna/proxy/8642"),
    ):
        service, app = serve(folder, campaign, prefix=prefix, public_url=url)
        answer = ask(app, f"{prefix}/enter?token={service.access.first_token()}")
        assert (answer.status, answer.headers["location"]) == (303, "./")
        parts = dict(part.partition("=")[::2] for part in answer.headers["set-cookie"].split("; ")[1:])
        assert parts.get("Path") == path, "other servers behind the proxy do not get it"
        session = answer.headers["set-cookie"].partition(";")[0]
        ended = ask(app, f"{prefix}/logout", method="POST", headers={"Cookie": session})
        parts = dict(part.partition("=")[::2] for part in ended.headers["set-cookie"].split("; ")[1:])
        assert (parts.get("Path"), parts["Max-Age"]) == (path, "0")
        service.close()


def test_bodies(served):
    app, path = served[1], "/query/rawChipsBatch"
    good = {"lon": 3.003, "lat": 51.44, "tiles": ["x"], "bands": ["B04"]}
    assert ask(app, path, method="POST", headers=ANNA, body=json.dumps(good).encode()).json == {}
    long = Limits().body_bytes
    assert is_problem(ask(app, path, method="POST", headers=ANNA, body=b" " * (long + 1)), 413)
    parts = [b" " * 65536] * (long // 65536 + 1)  # without a length
    assert is_problem(ask(app, path, method="POST", headers=ANNA, body=parts), 413)
    for length in ("-1", "x", "1e3", "9" * 5000, "\u00b2"):
        assert is_problem(ask(app, path, method="POST", headers={**ANNA, "Content-Length": length}), 413)
    for body in (b"", b"[]", b"{", b'"x"', b"\xff", b"[" * 100_000, b"NaN", b"1"):
        assert is_problem(ask(app, path, method="POST", headers=ANNA, body=body), 400), body[:20]
    for change in (
        {"lon": "x"},
        {"lon": None},
        {"lon": True},
        {"lon": [3]},
        {"lat": 91},
        {"lat": 1e400},
        {"tiles": "x"},
        {"tiles": []},
        {"tiles": [5]},
        {"tiles": ["x"] * 2000},
        {"bands": ["B04", ".."]},
        {"chipsize": 0},
        {"chipsize": "big"},
        {"chipsize": [1]},
        {"more": 1},
    ):
        body = json.dumps({**good, **change}).encode()
        assert is_problem(ask(app, path, method="POST", headers=ANNA, body=body), 400), change
    for missing in ("lon", "lat", "tiles", "bands"):
        body = json.dumps({name: value for name, value in good.items() if name != missing}).encode()
        assert is_problem(ask(app, path, method="POST", headers=ANNA, body=body), 400)


NAMES = ["aoi", "year", "pid", "ptype", "lon", "lat", "polygon", "distance", "max", "tstype", "band", "scl", "ref"]
NAMES += [
    "tsformat",
    "start_date",
    "end_date",
    "chipsize",
    "extend",
    "tms",
    "iformat",
    "lut",
    "bands",
    "values",
    "stype",
]
TEXTS = (
    "nl,2024,17,,True,-1,1e308,nan,inf,0,3.003,51.44,2024-04-01,B04,5_95,s2,../..,x'; DROP TABLE zones --,100-200,csv"
)
VALUES = st.sampled_from([*TEXTS.split(","), "9" * 21, "3.0_51.4-3.1_51.4-3.1_51.5", "%00"]) | st.text(
    max_size=30
).map(lambda text: "".join(f"%{byte:02x}" for byte in text.encode(errors="replace")))
ROUTES = ["info", "parcelByLocation", "parcelByID", "parcelsByPolygon", "parcelPeers", "parcelStatsPeers"]
ROUTES += ["parcelTimeSeries", "weatherTimeSeries", "markers", "rawChipByLocation", "rawChipByParcelId"]
ROUTES += ["chipsByLocation", "backgroundByLocation", "backgroundByParcelID"]
GOOD = {"aoi": "nl", "year": "2024", "pid": "17", "lon": "3.003", "lat": "51.44"}
GOOD |= {"start_date": "2024-01-01", "end_date": "2024-12-31", "band": "B04", "values": "1-20000", "chipsize": "64"}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(route=st.sampled_from(ROUTES), changes=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_no_parameters_break_it(served, route, changes):
    asked = "&".join(f"{name}={value}" for name, value in {**GOOD, **changes}.items())
    answer = ask(served[1], f"/query/{route}?{asked}", headers=ANNA)
    assert answer.status in (200, 400, 404), (route, changes, answer.text)
    if answer.status != 200:
        is_problem(answer, answer.status)


def test_wrong_passwords_must_wait(folder, campaign):
    service, app = serve(folder, campaign)
    for _ in range(5):
        assert ask(app, PARCEL, headers=basic("bert", "wrong")).status == 401
    answer = ask(app, PARCEL, headers=basic("bert", "wrong"))
    assert is_problem(answer, 429) and int(answer.headers["retry-after"]) >= 1
    assert ask(app, PARCEL, headers=ANNA).status == 429  # the same address
    assert ask(app, PARCEL, headers=ANNA, client="192.0.2.8").status == 200
    service.close()


def test_rate_of_requests(folder, campaign):
    service, app = serve(folder, campaign, limits={"requests_per_second": 0.1, "burst": 5})
    answers = [ask(app, "/health", headers={"Authorization": f"Bearer made-up-{n}"}).status for n in range(8)]
    assert answers == [200] * 5 + [429] * 3  # headers of one's own invention change nothing
    assert int(ask(app, "/health").headers["retry-after"]) >= 1
    assert ask(app, "/health", client="192.0.2.8").status == 200
    token = service.access.token_for(service.access.check_password("anna", "annas password", "x"))
    assert ask(app, "/health", headers={"Cookie": f"{COOKIE}={token}"}).status == 200  # a session of its own
    service.close()


def test_audit_has_every_reading(folder, campaign):
    service, app = serve(folder, campaign, state=folder / "audited")
    ask(app, PARCEL, headers=ANNA)
    ask(app, "/query/parcelTimeSeries?aoi=nl&year=2024&pid=18", headers=ANNA)
    service.close()
    path = folder / "audited" / "audit.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["user"], line["what"], line["dataset"]) for line in lines] == [
        ("anna", "parcels", "mine"),
        ("anna", "series", "mine"),
    ]
    assert lines[0]["zones"] == ["17"] and lines[1]["zone"] == "18" and lines[1]["address"] == "192.0.2.7"
    assert path.stat().st_mode & 0o777 == 0o600


def test_on_a_full_disk_nothing_is_told_and_nothing_is_marked(folder, campaign, monkeypatch, caplog):
    state = folder / "full"
    (state / "mine").mkdir(parents=True)
    for name in ("audit.jsonl", "mine/marks.jsonl"):
        (state / name).symlink_to("/dev/full")
    service, app = serve(folder, campaign, state=state, doors=["jrc", "viewer"], grants=[{"users": ["anyone"]}])
    for path in (PARCEL, "/api/d/mine/series?zone=17", "/api/d/mine/zone?zone=17", "/api/d/mine/export?zone=17"):
        answer = ask(app, path)
        assert is_problem(answer, 503) and answer.json["code"] == "disk-full" and answer.headers["retry-after"]
    marked = ask(app, "/api/d/mine/marks", method="POST", body=b'{"zone": "17"}')
    assert is_problem(marked, 503) and marked.json["code"] == "disk-full"
    (state / "audit.jsonl").unlink()
    assert ask(app, PARCEL).json["pid"] == ["17"]
    (state / "audit.jsonl").unlink()
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, content: write(file, content[:40]))
    assert is_problem(ask(app, PARCEL), 503)
    monkeypatch.setattr(os, "write", write)
    assert ask(app, PARCEL).status == 200
    lines = (state / "audit.jsonl").read_text().splitlines()
    assert len(lines) == 2 and json.loads(lines[1])["what"] == "parcels"
    service.close()


@pytest.mark.parametrize(
    ("change", "line", "field"),
    [
        ("prefix: eo", 2, "prefix"),
        ("prefix: /e o", 2, "prefix"),
        ("listen: nowhere", 2, "listen"),
        ("listen: 127.0.0.1:99999", 2, "listen"),
        ("doors: [viewer, opendap]", 2, "doors"),
        ("openeo: {sites: x}", 2, "sites"),
        ("openeo: {accounts: [{account: a}]}", 2, "accounts"),
        ("grants: [{actions: [info]}]", 2, "grants"),
        ("grants: [{users: [a], actions: [fly]}]", 2, "grants"),
        ("grants: [{users: [a], dataset: [b]}]", 2, "dataset"),
        ("oidc: [{name: a b, issuer: 'https://x', client_id: c}]", 2, "name"),
        ("oidc: [{name: a, issuer: 'http://x.example.org', client_id: c}]", 2, "issuer"),
        ("oidc: [{name: a, issuer: 'https://x'}]", 2, "client_id"),
        ("limits: {burst: 0}", 2, "burst"),
        ("limits: {brust: 5}", 2, "brust"),
        ("link_days: -1", 2, "link_days"),
        ("public_url: monitoring.example.org", 2, "public_url"),
        ("public_url: https://a.example.org/?x=1", 2, "public_url"),
        ("nonsense: 1", 2, "nonsense"),
    ],
)
def test_faults_of_settings_name_line_and_field(tmp_path, change, line, field):
    path = tmp_path / "serve.yaml"
    path.write_text(f"datasets: []\n{change}\n")
    with pytest.raises(ServeError) as error:
        read_settings(path)
    assert f"{path}:{line}" in str(error.value) and field in str(error.value), str(error.value)


def test_settings_that_make_no_sense_together(folder, campaign, tmp_path):
    write_users(folder)
    oidc = {"name": "egi", "issuer": "https://aai.example.org", "client_id": "c"}
    for changes, words in (
        ({"listen": "0.0.0.0:8642", "users": None, "grants": []}, "nobody has to log in"),
        ({"oidc": [oidc], "grants": []}, "without `grants`"),
        ({"oidc": [oidc, oidc]}, "one name"),
        ({"oidc": [{**oidc, "client_secret_file": tmp_path / "none"}]}, "cannot be read"),
        ({"users": tmp_path / "none"}, "file of users"),
        ({"datasets": [{"campaign": campaign}, {"campaign": campaign}]}, f"{campaign} and .*two data sets"),
    ):
        with pytest.raises(ServeError, match=words):
            serve(folder, campaign, **changes)
    secret = tmp_path / "secret"
    secret.write_text("s")
    secret.chmod(0o644)
    with pytest.raises(ServeError, match="others may read"):
        serve(folder, campaign, oidc=[{**oidc, "client_secret_file": secret}])
    secret.chmod(0o600)
    secret.write_text("\n")
    with pytest.raises(ServeError, match="holds no secret"):
        serve(folder, campaign, oidc=[{**oidc, "client_secret_file": secret}])
