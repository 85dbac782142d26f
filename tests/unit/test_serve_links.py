"""Signed links: nothing but what was signed opens anything, and nothing beyond it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette

from hpckit.errors import ServeError
from hpckit.serve.identity.links import Keys, Links, load_keys, new_keys
from hpckit.serve.service import Service
from tests.asgi import ask
from tests.unit.look_samples import make_campaign
from tests.unit.serve_samples import serve

KEYS = Keys({"k1": b"a" * 32, "k0": b"b" * 32})
NOW = 1_700_000_000.0
ROOTS = st.text("abcxyz0123456789-_./", min_size=1, max_size=20)


def links(days: float = 7, now: float = NOW, keys: Keys = KEYS) -> Links:
    return Links(keys, "", days, lambda: now)


@given(root=ROOTS, other=ROOTS, later=st.floats(0, 20 * 86400), data=st.data())
def test_a_link_opens_its_root_until_it_expires(root, other, later, data):
    token = links().to(root).split("/")[2]
    assert links().is_valid(token, root)
    assert (other == root) == links().is_valid(token, other)
    expiry = int(token.split(".")[1])
    assert 7 * 86400 < expiry - NOW <= 8 * 86400
    after = links(now=NOW + later)
    assert after.is_valid(token, root) == (NOW + later < expiry)
    assert after.is_expired(token) == (NOW + later >= expiry)
    place = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.characters(codec="utf-8").filter(lambda letter: letter != token[place]))
    assert not links().is_valid(token[:place] + letter + token[place + 1 :], root)


@given(token=st.text(max_size=80) | st.from_regex(r"k1\.\d{1,30}\.[A-Za-z0-9_\u00e4-]{0,40}", fullmatch=True))
def test_nothing_else_opens_it_or_breaks(token):
    assert not links().is_valid(token, "mine/cube")
    links().is_expired(token)


def test_keys_have_purposes_and_names():
    signed = KEYS.sign("session", "text")
    assert KEYS.is_signed("session", "text", signed) and not KEYS.is_signed("link", "text", signed)
    assert not new_keys().is_signed("session", "text", signed)
    older = Keys({"k2": b"c" * 32, **KEYS.by_name})  # a new key signs, older ones still open
    assert older.sign("session", "text").startswith("k2.") and older.is_signed("session", "text", signed)
    assert not Keys({"k2": b"c" * 32}).is_signed("session", "text", signed)


def test_file_of_keys(tmp_path: Path):
    path = tmp_path / "state" / "keys.json"
    made = load_keys(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_keys(path).by_name == made.by_name
    path.chmod(0o640)
    with pytest.raises(ServeError, match="others may read"):
        load_keys(path)
    for text in ("", "[]", "{}", '{"k": "c2hvcnQ="}', '{"k": 5}', "{"):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ServeError, match="damaged"):
            load_keys(path)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Starlette]]:
    folder = tmp_path_factory.mktemp("served")
    made = serve(folder, make_campaign(folder))
    yield made
    made[0].close()


def _shard(service: Service) -> str:
    cube = service.datasets["mine"].campaign.cube_path
    return next(
        str(path.relative_to(cube)) for path in cube.rglob("*") if path.is_file() and path.name == "zarr.json"
    )


def test_files_by_link(served):
    service, app = served
    name = _shard(service)
    link = service.links.to("mine/cube", name)
    answer = ask(app, link)
    cube = service.datasets["mine"].campaign.cube_path
    assert answer.status == 200 and answer.body == (cube / name).read_bytes()
    assert ask(app, link, headers={"If-None-Match": answer.headers["etag"]}).status == 304
    part = ask(app, link, headers={"Range": "bytes=2-5"})
    assert part.status == 206 and part.body == (cube / name).read_bytes()[2:6]
    assert ask(app, link, method="HEAD").body == b""
    token = link.split("/")[2]
    # Another data set, another root, or a composite that is not there, by the same signature.
    for root in ("other/cube", "mine/composite-x", "mine/manifest", "none/cube", "mine/.."):
        assert ask(app, f"/a/{token}/{root}/{name}").status == 404
    assert ask(app, f"/a/{token}x/mine/cube/{name}").status == 404
    old = Links(service.links.keys, "", 7, lambda: NOW).to("mine/cube", name)
    assert ask(app, old).status == 410
    foreign = Links(new_keys()).to("mine/cube", name)
    assert ask(app, foreign).status == 404
    assert ask(app, f"/a/{token[:-1]}%C3%A4/mine/cube/{name}").status == 404


@pytest.mark.parametrize(
    "path",
    [
        "../campaign.yaml",
        "%2e%2e/campaign.yaml",
        "..%2fcampaign.yaml",
        "%2e%2e%2fcampaign.yaml",
        "..%5ccampaign.yaml",
        "..\\campaign.yaml",
        "%252e%252e/campaign.yaml",
        "31UFU/../../campaign.yaml",
        "31UFU/..;/campaign.yaml",
        "%c0%ae%c0%ae/campaign.yaml",
        "/etc/passwd",
        "%2fetc/passwd",
        "zarr.json%00",
        "zarr.json%00.tif",
        "./zarr.json",
        "//zarr.json",
        "",
        "31UFU",
        "31UFU/",
        ".lock",
        "31UFU/.hidden",
        "manifest/x",
        "link-out/campaign.yaml",
        "link-file",
        "a" * 5000,
        "zarr.json/",
        "zarr.json/x",
    ],
)
def test_no_path_leads_elsewhere(served, path):
    service, app = served
    cube = service.datasets["mine"].campaign.cube_path
    for name, target in (("link-out", cube.parent), ("link-file", cube.parent / "campaign.yaml")):
        if not (cube / name).is_symlink():
            (cube / name).symlink_to(target)
    answer = ask(app, f"{service.links.to('mine/cube')}{path}")
    assert answer.status == 404, answer.text
    assert answer.json["code"] == "not-found" and b"sample" not in answer.body


def test_chips_by_link(served):
    service, app = served
    middle = service.datasets["mine"].edition.zones().in_degrees(0).centroid
    from tests.unit.serve_samples import ANNA

    asked = f"lon={middle.x}&lat={middle.y}&start_date=2024-01-01&end_date=2024-12-31&chipsize=200"
    listed = ask(app, f"/query/rawChipByLocation?{asked}&band=B4", headers=ANNA).json
    assert len(listed["chips"]) == 3 and listed["dates"][0] == "20240401T105031"
    assert ask(app, listed["chips"][0]).headers["content-type"] == "image/tiff"
    base, _, file = listed["chips"][0].rpartition("/")
    assert ask(app, f"{base}/{file.replace('B04', 'SCL')}").status == 200
    before, _, window = base.rpartition("/")
    for path in (
        f"{before}/{window.replace('_200', '_201')}/{file}",
        f"{before}/../{window}/{file}",
        f"{before.replace('mine', 'other')}/{window}/{file}",
        f"{base}/{file.replace('B04', 'B99')}",
        f"{base}/{file.replace('.tif', '.exe')}",
        f"{base}/..%2f{file}",
        f"{base}/{file}%00",
        f"{base}/none.B04.tif",
        f"{base}/",
        service.links.to("mine/cube", file, "/query/chips"),
        service.links.to(f"mine/{'9' * 30}", file, "/query/chips"),
    ):
        assert ask(app, path).status == 404, path
    assert json.loads(ask(app, f"{base}/{file.replace('.tif', '.9_1.png')}").body)["status"] == 400
