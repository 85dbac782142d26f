"""What many ask for at once is worked out once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

pytest.importorskip("starlette", reason="starlette is not installed")

from hpckit.serve.once import Once
from hpckit.serve.viewer import flagging
from tests.asgi import ask
from tests.unit.look_samples import make_campaign
from tests.unit.serve_samples import serve


def test_the_oldest_value_is_forgotten_and_faults_are_tried_again():
    once, made = Once[str](2), []

    def get(key: str) -> str:
        return once.get(key, lambda: made.append(key) or key.upper())

    assert [get(key) for key in "abaca"] == list("ABACA")
    assert made == list("abc")
    get("b")
    assert made == list("abcb")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            once.get("x", lambda: made.append("x") or str(1 // 0))
    assert made == list("abcbxx")


def test_who_waits_has_the_value_or_the_fault_of_the_one_who_works():
    once, began, go, made = Once[int](4), threading.Event(), threading.Event(), []

    def work(fails: bool) -> int:
        made.append(fails)
        began.set()
        assert go.wait(20)
        if fails:
            raise KeyError("gone")
        return 7

    for fails in (False, True):
        began.clear(), go.clear(), made.clear()
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(once.get, fails, partial(work, fails))
            assert began.wait(20)
            others = [pool.submit(once.get, fails, partial(work, fails)) for _ in range(6)]
            go.set()
            answers = [each.exception() if fails else each.result() for each in (first, *others)]
        assert made == [fails]
        assert [type(each) for each in answers] == [KeyError if fails else int] * 7


def test_tiles_that_ask_for_quality_at_once_cost_one_assessment(tmp_path, monkeypatch):
    service, app = serve(tmp_path, make_campaign(tmp_path), grants=[{"users": ["anyone"]}], doors=["viewer"])
    began, assess, made = threading.Barrier(6), flagging.assess, []
    monkeypatch.setattr(flagging, "assess", lambda *words: made.append(words[1:3]) or assess(*words))

    def tile(start: str) -> bytes:
        began.wait(20)
        return ask(app, f"/api/d/mine/tiles/zones/13/4164/2726?colour=gap_days&start={start}").body

    with ThreadPoolExecutor(6) as pool:
        bodies = list(pool.map(tile, ["2024-03-01", "2024-03-02"] * 3))
    counts = [ask(app, f"/api/d/mine/flags?start=2024-03-01&gap_days={days}").json["counts"] for days in (5, 15)]
    assert [each["gap"] for each in counts] == [3, 0], "other bounds are no other measures"
    assert made == [("parcels", "NDVI")] * 2
    assert b"winter wheat" in bodies[0] and len(set(bodies)) == 1
    service.close()
