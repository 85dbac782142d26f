"""Logins of programs at the openEO door: tokens of a real provider, by openEO's Python client and by hand."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from hpckit.serve.service import Service, open_service
from tests.integration.openeo_samples import QUIET, door_settings
from tests.servers.oidc import Provider, new_key, providing
from tests.servers.openeo_clients import run_client, start_client
from tests.servers.served import serving

pytestmark = [pytest.mark.integration, pytest.mark.openeo]

EGI = "urn:mace:egi.eu:group:eo.example.org:role=member#aai.egi.eu"
SRAM = "urn:mace:surf.nl:sram:group:uni:eo:writers"
ACCOUNTS = {"anna": [EGI], "bert": [SRAM], "eve": ["urn:mace:egi.eu:group:other.example.org:role=member#aai.egi.eu"]}
SECRET = "a secret/with+signs & more"
JOIN = "join the VO eo.example.org at https://aai.example.org"
USER = re.compile(r"u-[a-z2-7]{16}")


@pytest.fixture(scope="module", params=[False, True], ids=["opaque", "jwt"])
def provider(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    """Access tokens are opaque, as EGI's may be, or JWT."""
    with providing(tmp_path_factory.mktemp("provider"), ACCOUNTS, jwt=request.param) as found:
        robots = [found.client(name, SECRET) for name in ("robot", "stranger")]
        found.clients += [found.for_openeo("openeo-clients"), *robots]
        found.stop()
        found.start()
        yield found


@contextmanager
def door(folder: Path, ingested: Path, provider: Provider, **changes: Any) -> Iterator[tuple[str, Service]]:
    (folder / "secret").write_text(SECRET)
    (folder / "secret").chmod(0o600)
    oidc = {
        "name": "egi",
        "issuer": provider.issuer,
        "client_id": "hpckit-secret",
        "client_secret_file": folder / "secret",
        "audiences": ["urn:hpckit"] if provider.jwt else ["openeo-clients", "robot", "stranger"],
        "scopes": ["openid", "profile", "eduperson_entitlement", "offline_access"],
        "join": JOIN,
    }
    robot = "egi:client.robot"
    settings = door_settings(
        folder,
        {"S2": ingested},
        oidc=[oidc | changes.pop("oidc", {})],
        grants=[{"entitlements": [EGI, SRAM], "users": [robot]}],
        openeo={
            "clients": [{"provider": "egi", "id": "openeo-clients"}],
            "accounts": [
                {"issuer": provider.issuer, "entitlement": EGI, "account": "eoproj"},
                {"entitlement": "urn:mace:surf.nl:sram:group:uni:*:writers", "account": "{co}"},
                {"users": [robot], "account": "robots"},
            ],
        },
        **changes,
    )
    service = open_service(settings, QUIET)
    with serving(settings, service) as url:
        yield f"{url}/openeo/1.2", service


def me(url: str, token: str) -> httpx.Response:
    return httpx.get(f"{url}/me", headers={"Authorization": f"Bearer oidc/egi/{token}"})


def user(answer: httpx.Response) -> str:
    """Identifier of the user in an answer that is right."""
    assert answer.status_code == 200, answer.text
    found = str(answer.json()["user_id"])
    assert USER.fullmatch(found)
    return found


def refused(answer: httpx.Response, code: str, text: str) -> None:
    """An answer is an error of openEO that says what is wrong."""
    told = answer.json()
    assert (answer.status_code, told["code"]) == (403, code), answer.text
    assert text in told["message"] and set(told) == {"id", "code", "message", "links"}, told


# -- openEO's Python client -----------------------------------------------------------------------------------------
DEVICE = """
import sys, time
import openeo

connection = openeo.connect(sys.argv[1])
connection.authenticate_oidc_device(store_refresh_token=True, use_pkce=True, max_poll_time=60)
print("FIRST", connection.describe_account()["user_id"])
time.sleep(float(sys.argv[2]))
print("RENEWED", connection.describe_account()["user_id"])
print("COLLECTIONS", *connection.list_collection_ids())
print("JOBS", len(connection.list_jobs()))
again = openeo.connect(sys.argv[1])
again.authenticate_oidc_refresh_token(provider_id="egi")
print("AGAIN", again.describe_account()["user_id"])
"""


@pytest.mark.slow
def test_a_token_that_expires_is_renewed_by_the_client(provider: Provider, ingested: Path, tmp_path: Path):
    provider.stop()
    provider.ttl = {"AccessToken": 3}
    provider.start()
    try:
        with door(tmp_path, ingested, provider) as (url, service):
            assert service.oidc is not None
            # Signed tokens are taken for a minute longer, as clocks differ.
            service.oidc.providers["egi"].now = lambda: time.time() + 60
            client = start_client(DEVICE, url, 5, folder=tmp_path)
            assert client.stdout is not None
            told = ""
            for line in client.stdout:
                told += line
                if address := re.search(r"http://localhost:\d+/device\?user_code=[\w-]+", line):
                    provider.confirm_device(address[0], "anna")
                    break
            told += client.stdout.read()
            assert client.wait(60) == 0, told
        found = re.findall(r"^(?:FIRST|RENEWED|AGAIN) (\S+)$", told, re.MULTILINE)
        assert len(found) == 3 and len(set(found)) == 1 and USER.fullmatch(found[0]), told
        assert "COLLECTIONS S2" in told and "JOBS 0" in told
    finally:
        provider.stop()
        provider.ttl = {}
        provider.start()


CREDENTIALS = """
import sys
import openeo

connection = openeo.connect(sys.argv[1])
connection.authenticate_oidc_client_credentials(client_id=sys.argv[2], client_secret=sys.argv[3], provider_id="egi")
try:
    account = connection.describe_account()
except openeo.rest.OpenEoApiError as error:
    print("REFUSED", error.http_status_code, error.code, error.message)
else:
    cube = connection.load_collection("S2", bands=["B04"]).reduce_dimension(dimension="t", reducer="max")
    job = cube.create_job(title="of a program")
    print("ACCOUNT", account["user_id"], [item["title"] for item in connection.list_jobs()])
    job.delete()
"""


@pytest.mark.slow
def test_programs_log_in_by_themselves(provider: Provider, ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested, provider) as (url, _):
        told = run_client(CREDENTIALS, url, "robot", SECRET, folder=tmp_path)
        assert re.search(r"^ACCOUNT u-[a-z2-7]{16} \['of a program'\]$", told, re.MULTILINE), told
        told = run_client(CREDENTIALS, url, "stranger", SECRET, folder=tmp_path)
        assert "REFUSED 403 PermissionsInsufficient" in told and JOIN in told, told


# -- tokens by hand -------------------------------------------------------------------------------------------------
def test_users_and_their_accounts(provider: Provider, ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested, provider) as (url, _):
        tokens = {name: provider.tokens("hpckit-secret", name, SECRET)["access_token"] for name in ACCOUNTS}
        names = {name: user(me(url, tokens[name])) for name in ("anna", "bert")}
        names["robot"] = user(me(url, provider.own_token("robot", SECRET)))
        assert len(set(names.values())) == 3
        bare = httpx.get(f"{url}/me", headers={"Authorization": f"Bearer {tokens['anna']}"})
        assert bare.status_code == 200, "API 1.3 names no provider"
        refused(me(url, tokens["eve"]), "PermissionsInsufficient", JOIN)
        # The account of a scheduler is one's own only.
        graph = {"one": {"process_id": "add", "arguments": {"x": 1, "y": 2}, "result": True}}
        body = {"process": {"process_graph": graph}, "job_options": {"account": "eoproj"}}
        bearer = {"Authorization": f"Bearer oidc/egi/{tokens['bert']}"}
        answer = httpx.post(f"{url}/jobs", json=body, headers=bearer)
        assert answer.json()["code"] == "PermissionsInsufficient" and "your accounts are eo" in answer.text


def test_tokens_that_are_not_valid(provider: Provider, ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested, provider, oidc={"audiences": []}) as (url, _):
        refused(me(url, provider.tokens("other", "anna")["access_token"]), "TokenInvalid", "another program")
        refused(me(url, "made-up"), "TokenInvalid", "not valid")
    with door(tmp_path, ingested, provider) as (url, service):
        assert service.oidc is not None
        tokens = provider.tokens("hpckit-secret", "anna", SECRET)
        refused(me(url, tokens["id_token"]), "TokenInvalid", "")
        refused(httpx.get(f"{url}/me", headers={"Authorization": "Bearer oidc/none/x"}), "TokenInvalid", "")
        user(me(url, tokens["access_token"]))
        # Ten minutes later it is expired, at the provider too.
        later = time.time() + 700
        service.oidc._now = service.oidc.providers["egi"].now = lambda: later
        refused(me(url, tokens["access_token"]), "TokenInvalid", "")


def test_revoked_tokens(provider: Provider, ingested: Path, tmp_path: Path):
    if provider.jwt:
        pytest.skip("signed tokens are valid until they expire; the provider is not asked")
    with door(tmp_path, ingested, provider) as (url, service):
        assert service.oidc is not None
        used, unused = (provider.tokens("hpckit-secret", "anna", SECRET)["access_token"] for _ in range(2))
        user(me(url, used))
        for token in (used, unused):
            provider.revoke(token, "hpckit-secret", SECRET)
        refused(me(url, unused), "TokenInvalid", "not valid any more")
        user(me(url, used))  # answers are believed for five minutes
        service.oidc._now = lambda: time.time() + 301
        refused(me(url, used), "TokenInvalid", "not valid any more")


def test_keys_of_the_provider_change(provider: Provider, ingested: Path, tmp_path: Path):
    if not provider.jwt:
        pytest.skip("opaque tokens have no signature")
    with door(tmp_path, ingested, provider) as (url, service):
        assert service.oidc is not None
        before = user(me(url, provider.tokens("hpckit-secret", "anna", SECRET)["access_token"]))
        old = provider.tokens("hpckit-secret", "bert", SECRET)["access_token"]
        provider.stop()
        provider.keys = [new_key("second")]
        provider.start()
        service.oidc.providers["egi"].now = lambda: time.time() + 10
        assert user(me(url, provider.tokens("hpckit-secret", "anna", SECRET)["access_token"])) == before
        refused(me(url, old), "TokenInvalid", "signature")


def test_a_provider_that_is_away(provider: Provider, ingested: Path, tmp_path: Path):
    with door(tmp_path, ingested, provider) as (url, _):
        token = provider.tokens("hpckit-secret", "anna", SECRET)["access_token"]
        provider.stop()
        try:
            answer = me(url, token)
            assert (answer.status_code, answer.json()["code"]) == (503, "InfrastructureBusy"), answer.text
            assert int(answer.headers["retry-after"]) > 0
            assert httpx.get(f"{url}/credentials/oidc").json()["providers"][0]["id"] == "egi"
        finally:
            provider.start()
