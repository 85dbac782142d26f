"""The openEO door without a graph: errors, logins, files, processes of users, bodies, options, paging."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.serve.identity.access import Reader
from hpckit.serve.openeo.errors import STATUS, OpenEoError
from hpckit.serve.openeo.options import DESCRIBED, read_options, write_site
from hpckit.serve.openeo.settings import AccountLimits
from hpckit.serve.openeo.users import user_id
from hpckit.sites.site import Site, load_site
from tests.asgi import Answer, ask, basic
from tests.unit.look_samples import make_campaign
from tests.unit.serve_samples import ANNA, BERT, serve

pytestmark = pytest.mark.slow

ROOT = "/openeo/1.2"
NDVI = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("sample"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, campaign: Path):
    folder = tmp_path_factory.mktemp("served")
    service, app = serve(folder, campaign, doors=["openeo", "jrc"], openeo={"quota_mib": 1})
    yield service, app
    service.close()


def token_of(app: Any, login: dict[str, str]) -> dict[str, str]:
    answer = ask(app, f"{ROOT}/credentials/basic", headers=login)
    return {"Authorization": f"Bearer basic//{answer.json['access_token']}"}


@pytest.fixture(scope="module")
def anna(served) -> dict[str, str]:
    return token_of(served[1], ANNA)


@pytest.fixture(scope="module")
def bert(served) -> dict[str, str]:
    return token_of(served[1], BERT)


def is_error(answer: Answer, status: int, code: str) -> bool:
    body = answer.json
    assert (answer.status, body["code"]) == (status, code), body
    assert set(body) == {"id", "code", "message", "links"} and body["message"]
    assert answer.headers["access-control-allow-origin"] == "*"
    return True


# -- errors and browsers --------------------------------------------------------------------------------------------
def test_codes_are_those_of_openeo():
    path = Path("../ref/openeo-api/errors.json")
    if not path.exists():
        pytest.skip("the errors.json of openeo-api is not beside the repository")
    known = json.loads(path.read_text())
    assert {code: known[code]["http"] for code in STATUS} == STATUS


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        (f"{ROOT}/me", "GET", 401, "AuthenticationRequired"),
        (f"{ROOT}/jobs", "POST", 401, "AuthenticationRequired"),
        (f"{ROOT}/nothing", "GET", 404, "NotFound"),
        ("/openeo/1.0/", "GET", 404, "NotFound"),
        (f"{ROOT}/collections", "POST", 405, "MethodNotAllowed"),
        (f"{ROOT}/credentials/basic", "GET", 401, "AuthenticationRequired"),
        (f"{ROOT}/download/a.1.b/j-000000000000-00000000/k/x.tif", "GET", 410, "ResultLinkExpired"),
        (f"{ROOT}/download/a.99999999999.b/j-000000000000-00000000/k/x.tif", "GET", 404, "NotFound"),
        (f"{ROOT}/download/a.1.b/..%2f..%2fetc/k/x.tif", "GET", 404, "NotFound"),
    ],
)
def test_errors_have_the_form_of_openeo(served, path, method, status, code):
    assert is_error(ask(served[1], path, method=method), status, code)


def test_a_full_disk_passes(served, anna, monkeypatch):
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/srv/state/graph.json")

    monkeypatch.setattr(os, "replace", full)
    graph = {"add": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
    body = json.dumps({"process_graph": graph}).encode()
    answer = ask(served[1], f"{ROOT}/process_graphs/my_sum", method="PUT", headers=anna, body=body)
    assert is_error(answer, 503, "InfrastructureBusy") and "/srv" not in answer.text
    assert answer.headers["retry-after"]


def test_wrong_logins(served):
    app = served[1]
    for header in ("Bearer basic//x.y", "Bearer x", "Bearer oidc/egi/x", "Bearer basic//", "Bearer "):
        assert is_error(ask(app, f"{ROOT}/me", headers={"Authorization": header}), 403, "TokenInvalid")
    wrong = basic("carl", "wrong password")
    assert is_error(ask(app, f"{ROOT}/credentials/basic", headers=wrong), 403, "CredentialsInvalid")
    answers = [ask(app, f"{ROOT}/credentials/basic", headers=wrong, client="192.0.2.99") for _ in range(7)]
    assert answers[-1].status == 429 and answers[-1].headers["retry-after"]
    assert answers[-1].json["code"] == "TooManyAttempts"


def test_cookies_are_no_login_here(served):
    service, app = served
    cookie = {"Cookie": f"hpckit_session={service.access.token_for(Reader('anna'))}"}
    assert is_error(ask(app, f"{ROOT}/me", headers=cookie), 401, "AuthenticationRequired")


def test_preflight_and_exposed_headers(served, anna):
    app = served[1]
    asked = {"Origin": "https://editor.example.org", "Access-Control-Request-Method": "PATCH"}
    answer = ask(app, f"{ROOT}/jobs/j-1", method="OPTIONS", headers=asked)
    assert answer.status == 204
    assert {"PATCH", "PUT", "DELETE"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert "Authorization" in answer.headers["access-control-allow-headers"]
    told = ask(app, f"{ROOT}/me", headers={**anna, "Origin": "https://editor.example.org"})
    assert told.status == 200 and told.headers["access-control-allow-origin"] == "*"
    for name in ("OpenEO-Identifier", "OpenEO-Costs", "Location", "Content-Range", "Accept-Ranges", "Link"):
        assert name in told.headers["access-control-expose-headers"]
    assert "access-control-allow-credentials" not in told.headers
    assert "access-control-allow-origin" not in ask(app, "/query/info").headers, "other doors are as they were"


def test_two_slashes_are_one(served, anna):
    app = served[1]
    assert ask(app, "/openeo//1.2//me", headers=anna).json == ask(app, f"{ROOT}/me", headers=anna).json
    assert ask(app, "//.well-known/openeo").json["versions"][0]["api_version"] == "1.2.0"


def test_versions_and_capabilities(served):
    app = served[1]
    for path in ("/.well-known/openeo", "/openeo/.well-known/openeo", f"{ROOT}/.well-known/openeo"):
        version = ask(app, path).json["versions"][0]
        assert version == {"url": f"http://127.0.0.1:8642{ROOT}/", "api_version": "1.2.0", "production": False}
    first = ask(app, f"{ROOT}/").json
    assert first == ask(app, "/openeo").json
    listed = {(item["path"], method) for item in first["endpoints"] for method in item["methods"]}
    assert {("/jobs/{job_id}/results", "DELETE"), ("/files/{path}", "PUT"), ("/result", "POST")} <= listed
    assert ("/credentials/oidc", "GET") not in listed and ("/services", "GET") not in listed
    assert not any("download" in path for path, _ in listed)
    for path, method in listed:
        if method == "GET" and "{" not in path:
            assert ask(app, ROOT + path).status in (200, 401), path
    assert ask(app, f"{ROOT}/conformance").json["conformsTo"] == first["conformsTo"]


def test_with_a_prefix(tmp_path, campaign):
    service, app = serve(tmp_path, campaign, doors=["openeo"], prefix="/eo", public_url="https://x.example.org")
    found = ask(app, "/eo/.well-known/openeo").json["versions"][0]["url"]
    assert found == "https://x.example.org/eo/openeo/1.2/"
    assert is_error(ask(app, "/eo/openeo/1.2/me"), 401, "AuthenticationRequired")
    service.close()


# -- bodies ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "ContentTypeInvalid"),
        (b"[]", "ContentTypeInvalid"),
        (b"{", "ContentTypeInvalid"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "ContentTypeInvalid"),
        (b"{}", "ProcessGraphMissing"),
        (b'{"process": []}', "ProcessGraphMissing"),
        (b'{"process": {"process_graph": {}}}', "ProcessGraphMissing"),
        (b'{"process": {"process_graph": 5}}', "ProcessGraphMissing"),
    ],
)
def test_bodies_that_are_no_jobs(served, anna, body, code):
    assert is_error(ask(served[1], f"{ROOT}/jobs", method="POST", headers=anna, body=body), 400, code)


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"title": 5}, "ParameterInvalid"),
        ({"plan": "gold"}, "BillingPlanInvalid"),
        ({"budget": -1}, "BudgetInvalid"),
        ({"budget": True}, "BudgetInvalid"),
        ({"log_level": "loud"}, "ParameterInvalid"),
        ({"job_options": []}, "ProcessingParameterInvalid"),
        ({"job_options": {"driver-memory": "4G"}}, "ProcessingParameterUnsupported"),
        ({"job_options": {"memroy": "4G"}}, "ProcessingParameterUnsupported"),
        ({"memory": "much"}, "ProcessingParameterInvalid"),
        ({"job_options": {"account": "x"}}, "PermissionsInsufficient"),
        ({"job_options": {"account": "x; rm -rf /"}}, "PermissionsInsufficient"),
    ],
)
def test_jobs_with_wrong_fields(served, anna, more, code):
    body = json.dumps({"process": {"process_graph": NDVI}, **more}).encode()
    answer = ask(served[1], f"{ROOT}/jobs", method="POST", headers=anna, body=body)
    assert answer.json["code"] == code
    if "memroy" in str(more):
        assert "did you mean 'memory'" in answer.json["message"]


def test_a_graph_that_is_too_long(tmp_path, campaign):
    service, app = serve(tmp_path, campaign, doors=["openeo"], openeo={"graph_kib": 16})
    login = token_of(app, ANNA)
    assert is_error(ask(app, f"{ROOT}/jobs", method="POST", headers=login, body=b" " * 20_000), 413, "TooLong")
    service.close()


# -- users ----------------------------------------------------------------------------------------------------------
@given(name=st.text(min_size=1, max_size=40), other=st.text(min_size=1, max_size=40))
def test_names_of_users_are_safe_and_different(served, name, other):
    import re

    service = served[0]
    ids = [user_id(service, Reader(each)) for each in (name, other, f"egi:{name}", f"egi:{other}")]
    assert all(re.fullmatch(r"[\w\-.~]+", found, re.ASCII) and not found.startswith(".") for found in ids)
    assert (len(set(ids)) == 4) == (name != other) or ":" in name + other


def test_me(served, anna):
    found = ask(served[1], f"{ROOT}/me", headers=anna).json
    assert found["user_id"] == "anna" and found["storage"]["quota"] == 2**20


@pytest.mark.parametrize(
    ("reader", "wanted"),
    [
        (
            Reader("egi:abc@egi.eu", ("urn:mace:egi.eu:group:eo.example.org:role=member#aai.egi.eu",)),
            [("eoproj", None)],
        ),
        (
            Reader(
                "sram:anna", ("urn:mace:surf.nl:sram:group:uni:crops:w", "urn:mace:surf.nl:sram:group:uni:water:w")
            ),
            [("crops", "sram-crops-anna"), ("water", "sram-water-anna")],
        ),
        (Reader("sram:a b", ("urn:mace:surf.nl:sram:group:uni:crops:w",)), []),
        (Reader("sram:anna", ("urn:mace:surf.nl:sram:group:uni:$(id):w",)), []),
        (Reader("egi:anna", ("urn:mace:surf.nl:sram:group:uni:crops:w",)), []),
        (Reader("bert"), [("lab", "bert")]),
        (Reader("eve"), []),
    ],
)
def test_accounts_follow_rules(served, reader, wanted):
    from hpckit.serve.openeo.settings import OpenEo
    from hpckit.serve.openeo.users import _accounts
    from hpckit.serve.settings import Settings

    rules = [
        {
            "issuer": "https://egi.example.org/",
            "entitlement": "urn:mace:egi.eu:group:eo.example.org:role=member#aai.egi.eu",
            "account": "eoproj",
        },
        {
            "issuer": "https://sram.example.org",
            "entitlement": "urn:mace:surf.nl:sram:group:uni:*:w",
            "account": "{co}",
            "user": "sram-{co}-{uid}",
        },
        {"users": ["bert"], "account": "lab", "user": "{uid}"},
    ]
    settings = Settings.model_validate(
        {
            "oidc": [
                {"name": name, "issuer": f"https://{name}.example.org", "client_id": "c"} for name in ("egi", "sram")
            ],
            "openeo": {"accounts": rules},
        }
    )
    service = type("Some", (), {"settings": settings})
    found = [(item.name, item.user) for item in _accounts(service, OpenEo(accounts=rules).accounts, reader)]
    assert found == wanted


def test_a_login_without_an_account_is_told_what_to_join(tmp_path, campaign):
    rules = [{"entitlement": "urn:mace:egi.eu:group:eo.example.org:*", "account": "eoproj"}]
    service, app = serve(tmp_path, campaign, doors=["openeo"], openeo={"accounts": rules})
    answer = ask(app, f"{ROOT}/me", headers=token_of(app, ANNA))
    assert is_error(answer, 403, "PermissionsInsufficient")
    assert "urn:mace:egi.eu:group:eo.example.org:*" in answer.json["message"]
    service.close()


# -- options --------------------------------------------------------------------------------------------------------
SITE = Site.model_validate(
    {
        "name": "lab",
        "scheduler": "slurm",
        "partitions": [
            {"name": "thin", "cores": 16, "memory_mib": 32_000, "walltime": "24h", "max_nodes": 4},
            {"name": "gpu", "cores": 8, "memory_mib": 64_000, "walltime": "4h", "gpus": 2},
        ],
        "stages": {"default": {"ranks": 2}, "graph": {"walltime": "1h", "partition": "thin"}},
    }
)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"walltime": "48h"}, "24:00:00"),
        ({"walltime": 5}, "minute"),
        ({"walltime": True}, "walltime"),
        ({"walltime": "9" * 400}, "walltime"),
        ({"memory": "64G"}, "32000 MiB"),
        ({"memory": "1"}, "at least 64"),
        ({"memory": 1e400}, "memory"),
        ({"cores": 17}, "16"),
        ({"cores": 0}, "from 1"),
        ({"nodes": 2}, "several nodes"),
        ({"gpus": 1}, "none"),
        ({"gpus": 4, "partition": "gpu"}, "2"),
        ({"partition": "thn"}, "did you mean 'thin'"),
        ({"partition": "a b"}, "partition"),
        ({"retries": 6}, "from 0 to 5"),
        ({"qos": "x\n#SBATCH"}, "qos"),
    ],
)
def test_options_beyond_the_site(given, names):
    with pytest.raises(OpenEoError, match="job option") as caught:
        read_options(given, SITE, AccountLimits())
    assert names in caught.value.detail and caught.value.status == 400


def test_partitions_of_an_account():
    limits = AccountLimits(partitions=("gpu",))
    assert read_options({"gpus": 2}, SITE, limits).gpus == 2, "the first of the account's is taken"
    with pytest.raises(OpenEoError, match="may use gpu"):
        read_options({"partition": "thin"}, SITE, limits)


def test_options_go_into_the_site_file(tmp_path):
    asked = {"walltime": "90min", "memory": "2G", "cores": 4, "retries": 0}
    options = read_options(asked, SITE, AccountLimits())
    write_site(SITE, options, tmp_path / "site.yaml")
    found = load_site(tmp_path / "site.yaml")
    for name, ranks in (("default", 2), ("graph", None)):
        stage = found.stages[name]
        assert (stage.walltime, stage.memory_mib, stage.cores, stage.ranks) == (5400, 2048, 4, ranks)
    assert found.partitions == SITE.partitions and found.scheduler == "slurm"
    write_site(SITE, read_options({}, SITE, AccountLimits()), tmp_path / "same.yaml")
    assert load_site(tmp_path / "same.yaml").model_dump() == SITE.model_dump()


def test_options_are_described(served):
    found = ask(served[1], f"{ROOT}/processing_parameters").json["create_job_parameters"]
    assert [item["name"] for item in found] == list(DESCRIBED)


# -- files ----------------------------------------------------------------------------------------------------------
def test_files(served, anna, bert):
    service, app = served
    content = b"id,crop\n" * 1000
    put = ask(app, f"{ROOT}/files/a/b%20c/parcels.csv", method="PUT", headers=anna, body=content)
    assert put.status == 200 and put.json["path"] == "a/b c/parcels.csv" and put.json["size"] == len(content)
    assert [item["path"] for item in ask(app, f"{ROOT}/files", headers=anna).json["files"]] == ["a/b c/parcels.csv"]
    assert ask(app, f"{ROOT}/files", headers=bert).json["files"] == []
    assert ask(app, f"{ROOT}/files/a/b%20c/parcels.csv", headers=anna).body == content
    part = ask(app, f"{ROOT}/files/a/b%20c/parcels.csv", headers={**anna, "Range": "bytes=3-6"})
    assert part.status == 206 and part.body == content[3:7]
    assert is_error(ask(app, f"{ROOT}/files/a/b%20c/parcels.csv", headers=bert), 404, "FileNotFound")
    assert is_error(ask(app, f"{ROOT}/files/a", headers=anna), 400, "FileOperationUnsupported")
    assert is_error(ask(app, f"{ROOT}/files/a", method="DELETE", headers=anna), 400, "FileOperationUnsupported")
    assert is_error(ask(app, f"{ROOT}/files/a", method="PUT", headers=anna, body=b"x"), 400, "FilePathInvalid")
    inside = ask(app, f"{ROOT}/files/a/b%20c/parcels.csv/x", method="PUT", headers=anna, body=b"x")
    assert is_error(inside, 400, "FilePathInvalid")
    assert ask(app, f"{ROOT}/files/a/b%20c/parcels.csv", method="DELETE", headers=anna).status == 204
    assert not (service.state / "openeo" / "files" / "anna" / "a").exists(), "empty folders go"
    assert is_error(ask(app, f"{ROOT}/files/a/x", method="DELETE", headers=anna), 404, "FileNotFound")


@pytest.mark.parametrize(
    "path", ["..%2f..%2fx", "%2e%2e/x", ".hidden", "a%00b", "a%0ab", "a%5cb", "x" * 300, "a/" * 20 + "b"]
)
def test_paths_that_are_none(served, anna, path):
    answer = ask(served[1], f"{ROOT}/files/{path}", method="PUT", headers=anna, body=b"x")
    assert answer.status in (400, 404) and answer.json["code"] in ("FilePathInvalid", "NotFound")


def test_quota(served, anna):
    service, app = served
    half = b"x" * (600 * 1024)
    assert ask(app, f"{ROOT}/files/one", method="PUT", headers=anna, body=[half]).status == 200
    refused = ask(app, f"{ROOT}/files/two", method="PUT", headers=anna, body=[half[:1000], half])
    assert is_error(refused, 400, "StorageQuotaExceeded")
    assert ask(app, f"{ROOT}/files/one", method="PUT", headers=anna, body=[half]).status == 200, "replaced, not added"
    folder = service.state / "openeo" / "files" / "anna"
    assert [path.name for path in folder.iterdir()] == ["one"], "nothing is left of what was refused"
    assert ask(app, f"{ROOT}/files/one", method="DELETE", headers=anna).status == 204


# -- processes of users ---------------------------------------------------------------------------------------------
def test_user_processes(served, anna, bert):
    app = served[1]
    process = {"process_graph": NDVI, "summary": "three", "id": "other", "strange": 1}
    path = f"{ROOT}/process_graphs/three"
    assert ask(app, path, method="PUT", headers=anna, body=json.dumps(process).encode()).status == 200
    assert ask(app, path, headers=anna).json == {"process_graph": NDVI, "summary": "three", "id": "three"}
    assert ask(app, f"{ROOT}/process_graphs", headers=anna).json["processes"] == [{"id": "three", "summary": "three"}]
    assert is_error(ask(app, path, headers=bert), 404, "ProcessGraphNotFound")
    assert is_error(ask(app, path, method="DELETE", headers=bert), 404, "ProcessGraphNotFound")
    assert ask(app, path, method="DELETE", headers=anna).status == 204
    assert is_error(ask(app, path, headers=anna), 404, "ProcessGraphNotFound")


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("add", {"process_graph": NDVI}, "PredefinedProcessExists"),
        ("a.b", {"process_graph": NDVI}, "ProcessInvalid"),
        ("..%2fx", {"process_graph": NDVI}, "ProcessInvalid"),
        ("mine", {}, "ProcessGraphMissing"),
        ("mine", {"process_graph": []}, "ProcessGraphMissing"),
        ("mine", {"process_graph": NDVI, "parameters": {}}, "ProcessInvalid"),
    ],
)
def test_processes_that_are_none(served, anna, name, body, code):
    answer = ask(
        served[1], f"{ROOT}/process_graphs/{name}", method="PUT", headers=anna, body=json.dumps(body).encode()
    )
    assert answer.json["code"] in (code, "NotFound")


def test_processes_come_in_one_page(served):
    """The builder of the JavaScript client asks for 50, and takes them for all."""
    whole = ask(served[1], f"{ROOT}/processes").json["processes"]
    assert ask(served[1], f"{ROOT}/processes?limit=50").json == {"processes": whole, "links": []}
    assert len(whole) > 100


def test_pages(served, anna):
    app = served[1]
    names = [f"p{number}.txt" for number in range(5)]
    for name in names:
        ask(app, f"{ROOT}/files/{name}", method="PUT", headers=anna, body=b"x")
    seen, query = [], "?limit=2"
    while query:
        found = ask(app, f"{ROOT}/files{query}", headers=anna).json
        seen += [item["path"] for item in found["files"]]
        query = next((link["href"] for link in found["links"] if link["rel"] == "next"), "")
    assert seen == names
    for limit in ("0", "-1", "x", "9" * 20):
        answer = ask(app, f"{ROOT}/files?limit={limit}", headers=anna)
        assert is_error(answer, 400, "ParameterInvalid")
    for name in names:
        ask(app, f"{ROOT}/files/{name}", method="DELETE", headers=anna)


def test_what_is_stored_is_the_owners(served):
    folder = served[0].state / "openeo"
    assert all(not path.stat().st_mode & stat.S_IWOTH for path in folder.rglob("*"))
