"""Logins at a real provider of OpenID Connect: code with PKCE in a browser, bearer tokens, keys that change."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from hpckit.base.console import Console
from hpckit.serve.service import Service, open_service
from hpckit.serve.settings import Settings
from tests.integration.serving import browser_page, picture
from tests.servers.oidc import Provider, new_key, providing
from tests.servers.served import serving
from tests.unit.look_samples import make_campaign

pytestmark = [pytest.mark.integration, pytest.mark.serve]

SECRET = "a secret/with+signs & more"
EGI = "urn:mace:egi.eu:group:eo.example.org:role=member#aai.egi.eu"
SRAM = "urn:mace:surf.nl:sram:group:uni:eo:writers"
ACCOUNTS = {
    "anna": [EGI, *(f"urn:mace:egi.eu:group:other{n}.example.org:role=member#aai.egi.eu" for n in range(80))],
    "bert": [SRAM],
    "eve": ["urn:mace:egi.eu:group:other.example.org:role=member#aai.egi.eu"],
}
DATA = "/query/parcelByID?aoi=sample&year=2024&pid=17"


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with providing(tmp_path_factory.mktemp("provider"), ACCOUNTS) as found:
        yield found


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_campaign(tmp_path_factory.mktemp("sample"))


def service_for(folder: Path, campaign: Path, provider: Provider, **changes: Any) -> Service:
    (folder / "secret").write_text(SECRET + "\n")
    (folder / "secret").chmod(0o600)
    oidc = {
        "name": "egi",
        "title": "EGI Check-in",
        "issuer": provider.issuer,
        "client_id": "hpckit-secret",
        "client_secret_file": folder / "secret",
    }
    settings = Settings.model_validate(
        {
            "datasets": [{"campaign": campaign}],
            "doors": ["jrc"],
            "oidc": [oidc | changes.pop("oidc", {})],
            "grants": [{"entitlements": ["urn:mace:egi.eu:group:eo.example.org:*", SRAM]}],
            "state": folder / "state",
            **changes,
        }
    )
    return open_service(settings, Console(quiet=True))


def log_in(url: str, provider: Provider, account: str, to: str = "") -> tuple[httpx.Client, httpx.Response]:
    """A browser that logs in; and the answer to its coming back."""
    browser = httpx.Client(base_url=url, follow_redirects=False, timeout=20)
    begun = browser.get("/login/oidc/egi", params={"to": to} if to else {})
    assert begun.status_code == 303, begun.text
    return browser, browser.get(provider.back_from(begun.headers["location"], account))


@pytest.mark.parametrize(
    ("account", "oidc"),
    [("anna", {}), ("bert", {}), ("anna", {"client_id": "hpckit", "client_secret_file": None})],
    ids=["egi", "sram", "public client"],
)
@pytest.mark.parametrize("prefix", ["", "/eo"])
def test_browser(provider, campaign, tmp_path, account, oidc, prefix):
    if prefix:
        for client in provider.clients:
            client["redirect_uris"] = list({*client["redirect_uris"], "http://127.0.0.1/eo/login/oidc/egi/callback"})
        provider.stop()
        provider.start()
    service = service_for(tmp_path, campaign, provider, oidc=oidc, prefix=prefix)
    with serving(service.settings, service) as url:
        assert httpx.get(url + DATA).status_code == 401
        browser, back = log_in(url, provider, account, f"{prefix}/?zone=17")
        assert back.status_code == 303, back.text
        assert back.headers["location"] == f"{prefix}/?zone=17"
        assert len(back.headers["set-cookie"]) < 4096
        assert browser.get(url + DATA).json()["pid"] == ["17"]
        # The way back works once: code and ticket are used.
        assert browser.get(back.request.url).status_code == 400
        token = browser.post(f"{url}/token", headers={"Origin": url.removesuffix(prefix)}).json()["token"]
        assert httpx.get(url + DATA, headers={"Authorization": f"Bearer {token}"}).status_code == 200
        assert browser.post(f"{url}/logout").json() == {"user": None}
        assert browser.get(url + DATA).status_code == 401
    lines = [json.loads(line) for line in (tmp_path / "state" / "audit.jsonl").read_text().splitlines()]
    assert [line["user"] for line in lines if line["what"] == "login"] == [f"egi:{account}"]


def test_a_person_logs_in_and_is_asked_again_when_the_session_ends(provider, campaign, tmp_path):
    service = service_for(tmp_path, campaign, provider, doors=["viewer"])
    with serving(service.settings, service) as url, browser_page() as page:
        page.goto(f"{url}/#d=sample&zone=17")
        page.wait_for_selector("#login[open] a.provider")
        picture(page, "login-oidc")
        page.click("#login a.provider")
        page.wait_for_url("**/interaction/**")
        page.goto(f"{page.url}?account=anna")
        page.wait_for_selector(".zone h2")
        assert page.locator(".zone h2").inner_text() == "Parcel 17", "the way back leads to what was open"
        assert "egi:anna" in page.locator("#account").get_attribute("title")
        page.context.clear_cookies(domain="127.0.0.1")
        page.fill("#search", "1")
        page.wait_for_selector("#login[open] a.provider")
        page.click("#login a.provider")  # the provider remembers who this is
        page.wait_for_selector("#login", state="hidden")
        page.wait_for_selector(".zone h2")
        # 401 ends the session; the provider has no icon, which is its 404.
        told = [fault for fault in page.faults if "elsewhere" not in fault]
        assert all("401" in fault or "404" in fault for fault in told), told
        assert {urlsplit(fault.split()[1]).port for fault in page.faults if "elsewhere" in fault} == {provider.port}


def test_who_has_no_grant_is_told_what_to_join(provider, campaign, tmp_path):
    service = service_for(
        tmp_path, campaign, provider, oidc={"join": "Join the VO eo.example.org at https://aai.egi.eu."}
    )
    with serving(service.settings, service) as url:
        browser, back = log_in(url, provider, "eve")
        assert back.status_code == 403 and "Join the VO" in back.json()["hint"]
        assert browser.get(url + DATA).status_code == 401
        page = browser.get("/login/oidc/egi/callback?error=x", headers={"Accept": "text/html"})
        assert page.status_code == 400 and page.headers["content-type"].startswith("text/html")
        bearer = provider.tokens("hpckit-secret", "eve", SECRET)["access_token"]
        refused = httpx.get(url + DATA, headers={"Authorization": f"Bearer {bearer}"})
        assert refused.status_code == 403 and "Join the VO" in refused.json()["hint"]
    without = service_for(tmp_path, campaign, provider)
    with serving(without.settings, without) as url:
        assert EGI.split(":role")[0] in log_in(url, provider, "eve")[1].json()["hint"]


def test_refused_at_the_provider_or_on_the_way(provider, campaign, tmp_path):
    service = service_for(tmp_path, campaign, provider)
    oidc = service.oidc
    assert oidc is not None
    with serving(service.settings, service) as url:
        _, back = log_in(url, provider, "nobody")
        assert back.status_code == 401 and "access_denied" in back.json()["detail"]
        # Another browser's answer, and one without a ticket.
        begun = httpx.get(f"{url}/login/oidc/egi")
        answer = provider.back_from(begun.headers["location"], "anna")
        assert httpx.get(answer).json()["code"] == "login-lost"
        other = httpx.Client(base_url=url)
        other.get("/login/oidc/egi")
        assert other.get(answer).json()["code"] == "login-lost"
        assert httpx.get(f"{url}/login/oidc/none").status_code == 404
        elsewhere = log_in(url, provider, "anna", "//evil.example.org/")[1]
        assert elsewhere.headers["location"] == "/"
        # A forged code.
        began = oidc.begin("egi", f"{url}/login/oidc/egi/callback", "/")
        state = httpx.URL(began.address).params["state"]
        forged = httpx.get(
            f"{url}/login/oidc/egi/callback",
            params={"state": state, "code": "forged"},
            headers={"Cookie": f"hpckit_login={began.ticket}"},
        )
        assert forged.status_code == 401 and "invalid_grant" in forged.json()["detail"]
        # A code for another nonce: of a login that was begun by somebody else.
        began = oidc.begin("egi", f"{url}/login/oidc/egi/callback", "/")
        address = str(httpx.URL(began.address).copy_set_param("nonce", "another"))
        swapped = httpx.get(provider.back_from(address, "anna"), headers={"Cookie": f"hpckit_login={began.ticket}"})
        assert swapped.status_code == 401 and "another login" in swapped.json()["detail"]
        # An answer that comes too late.
        oidc._now = lambda: time.time() + 700
        late = httpx.get(
            provider.back_from(began.address, "anna"), headers={"Cookie": f"hpckit_login={began.ticket}"}
        )
        assert late.json()["code"] == "login-lost"


def test_opaque_bearers_are_introspected(provider, campaign, tmp_path):
    service = service_for(tmp_path, campaign, provider)
    with serving(service.settings, service) as url:

        def ask(token: str) -> httpx.Response:
            return httpx.get(url + DATA, headers={"Authorization": f"Bearer {token}"})

        token = provider.tokens("hpckit-secret", "anna", SECRET)["access_token"]
        assert "." not in token
        assert ask(token).status_code == 200
        assert ask(f"oidc/egi/{token}").status_code == 200
        assert ask(f"oidc/none/{token}").status_code == 401
        foreign = ask(provider.tokens("other", "anna")["access_token"])
        assert foreign.status_code == 401 and "another program" in foreign.json()["detail"]
        assert ask("made-up").status_code == 401
        provider.stop()
        try:
            assert ask(token).status_code == 200  # known for five minutes
            assert service.oidc is not None
            service.oidc._now = lambda: time.time() + 301
            away = ask(token)
            assert away.status_code == 503 and away.headers["retry-after"]
        finally:
            provider.start()
    allowed = service_for(tmp_path, campaign, provider, oidc={"audiences": ["other"]})
    with serving(allowed.settings, allowed) as url:
        token = provider.tokens("other", "anna")["access_token"]
        assert httpx.get(url + DATA, headers={"Authorization": f"Bearer {token}"}).status_code == 200
    public = service_for(tmp_path, campaign, provider, oidc={"client_id": "hpckit", "client_secret_file": None})
    with serving(public.settings, public) as url:
        token = provider.tokens("hpckit", "anna")["access_token"]
        refused = httpx.get(url + DATA, headers={"Authorization": f"Bearer {token}"})
        assert refused.status_code == 401 and "client_secret_file" in refused.json()["hint"]


def test_jwt_bearers_and_keys_that_change(campaign, tmp_path):
    folder = tmp_path / "provider"
    folder.mkdir()
    with providing(folder, ACCOUNTS, jwt=True) as provider:
        service = service_for(tmp_path, campaign, provider, oidc={"audiences": ["urn:hpckit"]})
        oidc = service.oidc
        assert oidc is not None
        with serving(service.settings, service) as url:

            def ask(token: str) -> httpx.Response:
                return httpx.get(url + DATA, headers={"Authorization": f"Bearer {token}"})

            tokens = provider.tokens("hpckit-secret", "anna", SECRET)
            assert tokens["access_token"].count(".") == 2
            assert ask(tokens["access_token"]).status_code == 200
            assert ask(tokens["id_token"]).json()["detail"] == "this is no access token"
            # Forged: by another key of the same name, by none, by a secret that is the public key.
            claims = {
                "iss": provider.issuer,
                "sub": "anna",
                "aud": "urn:hpckit",
                "exp": int(time.time()) + 600,
                "eduperson_entitlement": [EGI],
            }
            right, wrong = RSAKey.import_key(provider.keys[0]), RSAKey.import_key(new_key("first"))
            assert ask(jwt.encode({"alg": "RS256", "kid": "first"}, claims, right)).status_code == 200
            assert ask(jwt.encode({"alg": "RS256", "kid": "first"}, claims, wrong)).status_code == 401
            for changed in (
                {"aud": "another"},
                {"exp": int(time.time()) - 61},
                {"exp": None},
                {"exp": "never"},
                {"nbf": int(time.time()) + 600},
                {"iss": "http://localhost:1"},
                {"typ": "ID"},
                {"sub": None},
                {"sub": "anna\r\nX: y"},
            ):
                made = {name: value for name, value in {**claims, **changed}.items() if value is not None}
                assert ask(jwt.encode({"alg": "RS256", "kid": "first"}, made, right)).status_code == 401, changed
            header, body, _ = tokens["access_token"].split(".")
            import base64

            for algorithm in ("none", "HS256"):
                told = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
                assert ask(f"{told}.{body}.").status_code == 401
                assert ask(f"{told}.{body}.{header}").status_code == 401
            # A token that is valid, but not much longer.
            short = jwt.encode({"alg": "RS256", "kid": "first"}, {**claims, "exp": int(time.time()) + 30}, right)
            assert ask(short).status_code == 200
            oidc._now = oidc.providers["egi"].now = lambda: time.time() + 120
            assert ask(short).status_code == 401
            oidc._now = oidc.providers["egi"].now = time.time
            # The provider has new keys: they are fetched when a token needs them, and not for every forged one.
            provider.stop()
            provider.keys = [new_key("second")]
            provider.start()
            oidc.providers["egi"].now = lambda: time.time() + 10
            renewed = provider.tokens("hpckit-secret", "anna", SECRET)["access_token"]
            assert ask(renewed).status_code == 200
            stale = jwt.encode({"alg": "RS256", "kid": "first"}, {**claims, "sub": "bert"}, right)
            assert ask(stale).status_code == 401
