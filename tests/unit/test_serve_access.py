"""Who may do what: grants, entitlements as EGI and SRAM write them, passwords, limits."""

from __future__ import annotations

import asyncio
import string
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from hpckit.errors import ServeError
from hpckit.serve.identity.access import NOBODY, Access, Reader, fits, require
from hpckit.serve.identity.links import new_keys
from hpckit.serve.identity.passwords import Passwords, set_password
from hpckit.serve.limits import Attempts, Buckets, Turns
from hpckit.serve.problems import Problem
from hpckit.serve.settings import ACTIONS, Grant

pytestmark = pytest.mark.slow

EGI = "urn:mace:egi.eu:group:eo.example.org:crops:role=member#aai.egi.eu"
SRAM = "urn:mace:surf.nl:sram:group:uni:eo:writers"
PART = st.text(string.ascii_letters + string.digits + "._-=#*+()[]\\^$|?@ \n\u00e4", min_size=1, max_size=12)
PLAIN = PART.filter(lambda part: part != "*")


@given(parts=st.lists(PLAIN, min_size=1, max_size=8), stars=st.sets(st.integers(0, 7)), data=st.data())
def test_star_is_one_part_and_all_else_is_itself(parts, stars, data):
    pattern = ":".join("*" if number in stars else part for number, part in enumerate(parts))
    assert fits(pattern, ":".join(parts))
    place = data.draw(st.integers(0, len(parts) - 1))
    other = data.draw(PLAIN.filter(lambda part: part != parts[place]))
    changed = [*parts[:place], other, *parts[place + 1 :]]
    assert fits(pattern, ":".join(changed)) == (place in stars)
    assert not fits(pattern, ":".join([*parts, other])) and not fits(pattern, ":".join([other, *parts]))
    assert not fits(pattern, ":".join([*parts[:place], "", *parts[place + 1 :]]))
    if len(parts) > 1:
        assert not fits(pattern, ":".join(parts[:-1]))


@pytest.mark.parametrize(
    ("pattern", "held", "wanted"),
    [
        (EGI, EGI, True),
        ("urn:mace:egi.eu:group:eo.example.org:crops:*", EGI, True),
        ("urn:mace:egi.eu:group:eo.example.org:*:role=member#aai.egi.eu", EGI, True),
        ("urn:mace:egi.eu:group:eo.example.org:*", EGI, False),
        ("urn:mace:egi.eu:group:*:crops:role=member#aai.egi.eu", EGI, True),
        ("urn:mace:egi.eu:group:eo.example.org:crops:role=vm_operator#aai.egi.eu", EGI, False),
        ("urn:mace:egi.eu:group:eo.example.org:crops:role=member#aai.egi.eu", EGI.replace("aai", "dev"), False),
        ("urn:mace:egi.eu:group:eo-example-org:crops:role=member#aai.egi.eu", EGI, False),
        ("urn:mace:surf.nl:sram:group:uni:eo:writers", SRAM, True),
        ("urn:mace:surf.nl:sram:group:uni:eo:*", SRAM, True),
        ("urn:mace:surf.nl:sram:group:uni:eo", SRAM, False),
        ("urn:mace:surf.nl:sram:group:uni:*", SRAM, False),
        ("urn:mace:surf.nl:sram:group:*:eo:*", SRAM, True),
        ("*", SRAM, False),
        ("", SRAM, False),
    ],
)
def test_forms_of_entitlements(pattern, held, wanted):
    assert fits(pattern, held) is wanted


def access(*grants: Grant) -> Access:
    return Access(new_keys(), grants)


def test_grants_add_up():
    held = access(
        Grant(users=("anna",), datasets=("nl",), actions=("info",)),
        Grant(entitlements=(SRAM,), datasets=("nl", "be"), actions=("series",)),
        Grant(users=("anyone",), datasets=("open",), actions=("info", "chips")),
        Grant(users=("signed-in",), datasets=("open",), actions=("series",)),
    )
    anna = Reader("anna", (SRAM,))
    assert held.actions(anna, "nl") == {"info", "series"} and held.actions(anna, "be") == {"series"}
    assert held.actions(Reader("bert"), "nl") == frozenset()
    assert held.actions(NOBODY, "open") == {"info", "chips"}
    assert held.actions(Reader("bert"), "open") == {"info", "chips", "series"}
    assert held.actions(Reader("", (), is_signed_in=False), "nl") == frozenset()
    # Nobody is called by a word of the settings.
    assert held.actions(Reader("anna", is_signed_in=False), "nl") == frozenset()
    assert access().actions(Reader("bert"), "nl") == set(ACTIONS) and access().actions(NOBODY, "nl") == frozenset()


def test_what_is_not_granted_looks_as_if_it_were_not_there():
    for actions, reader, status in (
        (frozenset(), NOBODY, 401),
        (frozenset(), Reader("eve"), 404),
        (frozenset({"info"}), Reader("bert"), 403),
    ):
        with pytest.raises(Problem) as problem:
            require(actions, reader, "chips")
        assert problem.value.status == status
    require(frozenset({"chips"}), Reader("anna"), "chips")


def test_sessions_keep_the_entitlements_that_matter():
    held = access(Grant(entitlements=("urn:mace:egi.eu:group:*:crops:*", SRAM)), Grant(users=("x",)))
    many = [f"urn:mace:egi.eu:group:vo{number}:role=member#aai.egi.eu" for number in range(200)]
    kept = held.relevant([*many, EGI, EGI.replace("eo.", "eu."), SRAM])
    assert kept == (EGI, SRAM)
    token = held.token_for(Reader("egi:1@egi.eu", kept))
    assert len(token) < 1000 and held.from_token(token) == Reader("egi:1@egi.eu", kept)


@given(text=st.text(max_size=60) | st.binary(max_size=60).map(lambda data: data.decode("latin-1")))
def test_forged_tokens(text):
    held = access()
    token = held.token_for(Reader("anna"))
    body, _, signature = token.partition(".")
    for forged in (
        text,
        f"{body}.{text}",
        f"{text}.{signature}",
        f"{body}x.{signature}",
        f"{body}.",
        f".{signature}",
    ):
        assert held.from_token(forged) is None
    assert access().from_token(token) is None
    # Other purposes of the same keys.
    assert held.from_token(f"{body}.{held.keys.sign('link', body)}") is None


def test_tokens_end():
    now = [1000.0]
    held = Access(new_keys(), now=lambda: now[0])
    token = held.token_for(Reader("anna"), 60)
    assert held.from_token(token) is not None
    now[0] = 1060.0
    assert held.from_token(token) is None


def test_tokens_end_with_their_password(tmp_path: Path):
    path = tmp_path / "users"
    for name in ("anna", "bert"):
        set_password(path, name, f"{name}s password")
    held = Access(new_keys(), passwords=Passwords(path))
    tokens = {name: held.token_for(Reader(name)) for name in ("anna", "bert", "egi:anna", "owner")}
    assert all(held.from_token(token) == Reader(name) for name, token in tokens.items())
    set_password(path, "anna", "another password")
    path.write_text("".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith("anna")))
    alive = [name for name, token in tokens.items() if held.from_token(token)]
    assert alive == ["egi:anna", "owner"]
    assert Access(held.keys).from_token(tokens["bert"]) is None


def test_the_printed_address_works_once():
    held = access()
    assert held.use_first_token("") is None
    token = held.first_token()
    assert held.use_first_token(token + "x") is None and held.use_first_token("\u00e4") is None
    assert held.use_first_token(token) == Reader("owner")
    assert held.use_first_token(token) is None


def test_wrong_passwords(tmp_path: Path):
    path, now = tmp_path / "users", [0.0]
    for name in ("anna", "bert"):
        set_password(path, name, f"{name}s password")
    held = Access(new_keys(), (), Passwords(path), Attempts(5, lambda: now[0]))
    assert held.check_password("anna", "annas password", "a") == Reader("anna")
    for number in range(5):
        with pytest.raises(Problem) as problem:
            held.check_password("bert", f"wrong {number}", "b")
        assert problem.value.status == 401
    with pytest.raises(Problem) as problem:
        held.check_password("bert", "berts password", "c")  # of the name, from wherever
    assert problem.value.status == 429 and int(problem.value.headers["Retry-After"]) > 0
    with pytest.raises(Problem) as problem:
        held.check_password("nobody", "x", "b")  # of the address, whatever name
    assert problem.value.status == 429
    for number in range(5):
        with pytest.raises(Problem):
            held.check_password("anna", f"wrong {number}", f"d{number}")
    # Who logged in lately is not locked out by others.
    assert held.check_password("anna", "annas password", "a") == Reader("anna")
    now[0] = 61.0
    assert held.check_password("bert", "berts password", "b") == Reader("bert")
    for _ in range(20):  # right ones are not counted
        held.check_password("bert", "berts password", "b")
    set_password(path, "anna", "a new password")
    with pytest.raises(Problem):
        held.check_password("anna", "annas password", "a")
    assert held.check_password("anna", "a new password", "a") == Reader("anna")


def test_file_of_users(tmp_path: Path):
    path = tmp_path / "users"
    with pytest.raises(ServeError, match="cannot be read"):
        Passwords(path)
    for name in ("", "a:b", "a b", "egi:1", "\u00e4", "-x", "a\nb"):
        with pytest.raises(ServeError, match="no name of a user"):
            set_password(path, name, "long enough")
    with pytest.raises(ServeError, match="too short"):
        set_password(path, "anna", "short")
    set_password(path, "anna", "long enough")
    assert path.stat().st_mode & 0o777 == 0o600
    good = path.read_text()
    users = Passwords(path)
    for text in ("anna", "anna:secret", "anna:scrypt$x$8$1$a$b", good + "bert:plain text", "\x00"):
        path.write_text(text)
        with pytest.raises(ServeError, match=r"users:\d: is no line"):
            Passwords(path)
    path.write_text(f"# people\n\n{good}")
    assert Passwords(path).are_right("anna", "long enough")
    # A hash that is none is no password, and no error.
    path.write_text("anna:scrypt$32768$8$1$!$!\nbert:scrypt$3$8$1$YQ==$YQ==\n")
    assert not users.are_right("anna", "long enough") and not users.are_right("bert", "x")
    path.unlink()
    with pytest.raises(ServeError, match="cannot be read"):
        users.are_right("anna", "long enough")


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 3)), max_size=60))
def test_buckets(requests):
    now = [0.0]
    buckets = Buckets(2.0, 4, lambda: now[0])
    allowed: dict[str, list[float]] = {"a": [], "b": []}
    for client, pause in requests:
        now[0] += pause
        wait = buckets.wait_s(client)
        if wait == 0:
            allowed[client].append(now[0])
        else:
            assert 0 < wait <= 0.5
            assert sum(at > now[0] - 1 for at in allowed[client]) >= 2
    for times in allowed.values():
        for start in times:  # never more than the burst and what has come since
            assert sum(start <= at <= start + 2 for at in times) <= 4 + 2 * 2


def test_turns():
    turns, free, at_once, most = Turns(2, 3), threading.Event(), 0, 0
    lock = threading.Lock()

    def work() -> Response:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        free.wait(20)
        with lock:
            at_once -= 1
        return Response(b"done")

    async def some() -> list[Response | BaseException]:
        asked = [asyncio.create_task(turns.run(_request(gone=number == 4), work)) for number in range(5)]
        await asyncio.sleep(0.05)
        with pytest.raises(Problem) as problem:
            await turns.run(_request(), work)
        assert (problem.value.status, problem.value.headers["Retry-After"]) == (503, "5")
        # Other answers have threads while these wait.
        assert await asyncio.wait_for(run_in_threadpool(lambda: 1), 5) == 1
        free.set()
        return list(await asyncio.gather(*asked))

    answers = asyncio.run(some())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 499], (
        "nothing is drawn for who has gone"
    )
    assert most == 2
    assert asyncio.run(turns.run(_request(), work)).status_code == 200, "all places are free again"


def _request(*, gone: bool = False) -> Request:
    async def receive() -> dict[str, str]:
        if not gone:
            await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    return Request({"type": "http", "method": "GET", "path": "/", "headers": []}, receive)
