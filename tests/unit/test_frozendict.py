"""Mappings that can be hashed: one whose values are made late is the same as one that is made at once."""

from __future__ import annotations

import pickle

from hypothesis import given
from hypothesis import strategies as st

from hpckit.base.frozendict import FrozenDict, LateDict

MAPPINGS = st.dictionaries(st.text(max_size=3), st.integers(), max_size=5)


@given(MAPPINGS, MAPPINGS, st.lists(st.text(max_size=3)))
def test_made_late_or_at_once(told: dict[str, int], other: dict[str, int], asked: list[str]) -> None:
    late, whole = LateDict(told, lambda value: (value,)), FrozenDict({key: (value,) for key, value in told.items()})
    for key in asked:
        assert (key in late) == (key in whole) and late.get(key) == whole.get(key)
    assert late == whole and whole == late and late == dict(whole) and hash(late) == hash(whole)
    assert list(late) == list(whole) and len(late) == len(whole) and repr(late) == repr(whole)
    assert pickle.loads(pickle.dumps(late)) == whole
    unlike = LateDict(other, lambda value: (value,))
    assert (late == unlike) == (told == other) == (whole == unlike) == (unlike == whole)


def test_only_what_is_asked_for_is_made() -> None:
    made: list[int] = []
    late = LateDict({"a": 1, "b": 2}, lambda value: made.append(value) or value * 10)  # type: ignore[func-returns-value]
    assert "a" in late and len(late) == 2 and not made
    assert late["b"] == late["b"] == 20 and made == [2]
