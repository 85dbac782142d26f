"""Expressions over bands: what they take, what they refuse in one sentence, and the ranges that they stay in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.campaign.expression import Expression, ExpressionError

RANGES = {"B04": (-0.0999, 6.4535), "B08": (-0.0999, 6.4535), "VV": (1e-4, 6.5535)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-" * 2000 + "B04", "at most"),
        ("B04 + " * 400 + "B04", "at most"),
        ("(" * 60 + "B04" + ")" * 60, "nested more than"),
        ("abs(" * 60 + "B04" + ")" * 60, "nested more than"),
        ("**".join(["B04"] * 80), "nested more than"),
        ("B04 * " + "9" * 400, "too large"),
        ("B04 * 1e999", "too large"),
        ("B04 * 1e39", "too large"),
        ("B04 * (10 ** 300)", "too large"),
        ("B04 + nan", "not allowed"),
        ("B04 + inf", "not allowed"),
        ("B04 * ٣", "not allowed"),
        ("B04²", "not allowed"),
        ("B04 − B08", "not allowed"),
        ("B04 / 0", "divides by 0"),
        ("B04 / (1 - 1)", "divides by 0"),
        ("B04 / 1e-60", "divides by 0"),
        ("B04 + 1 / 0", "divides by 0"),
        ("B04 + log(0)", "without a value"),
        ("B04 + sqrt(-1)", "without a value"),
        ("B04 + 0 ** -1", "without a value"),
        ("B04 +", "ends too early"),
        ("(B04", "ends too early"),
        ("B04 B08", "out of place"),
        ("B04)", "out of place"),
        ("B04 // 2", "out of place"),
        ("0x10 * B04", "not allowed"),
        ("1_000 * B04", "not allowed"),
        ("2j * B04", "not allowed"),
        ("B8A@20 - B04", "not allowed"),
        ("B8A @20m", "not allowed"),
        ("eval(B04)", "not allowed"),
        ("log", "ends too early"),
        ("sqrt(B04, B08)", "takes 1 argument"),
        ("minimum(B04)", "takes 2 arguments"),
        ("", "ends too early"),
        ("3 + 4", "names no band"),
    ],
)
def test_what_is_no_expression_is_refused_in_one_short_sentence(text, words):
    with pytest.raises(ExpressionError, match=words) as caught:
        Expression.parse(text)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-B04 ** 2", -4),
        ("2 ** 3 ** 2 + 0 * B04", 512),
        ("B04 ** -1", 0.5),
        ("B08 / B04 / 5", 1),
        ("B08 - B04 - 1", 7),
        ("--B04", 2),
        ("-" * 900 + "B04", 2),
        ("1.5e1 * .5 + 1. + B04*0", 8.5),
        ("maximum(B04, minimum(B08, 3))", 3),
        ("log(exp(B04))", 2),
    ],
)
def test_order_of_operations(text, value):
    found = Expression.parse(text).evaluate({"B04": np.float32([2]), "B08": np.float32([10])})
    np.testing.assert_allclose(found, [value], rtol=1e-6)


def test_bands_carry_resolutions():
    expression = Expression.parse("(B8A@20m - B04@20m) / (B8A@20m+B04)")
    assert expression.bands == {"B8A@20m", "B04@20m", "B04"}
    values = {"B8A@20m": np.float32([3]), "B04@20m": np.float32([1]), "B04": np.float32([2])}
    np.testing.assert_allclose(expression.evaluate(values), [0.4])
    assert expression.renamed({"B04": "B04@60m"}) == "(B8A@20m - B04@20m) / (B8A@20m+B04@60m)"


TREES = st.recursive(
    st.sampled_from(["B04", "B08", "VV", "2", "0.5", "3"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/"]), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from(["2", "3", "0.5", "-1", "-2"])).map(lambda t: f"({t[0]}) ** {t[1]}"),
        st.tuples(st.sampled_from(["abs", "sqrt", "log", "exp", "-"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        st.tuples(st.sampled_from(["minimum", "maximum"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    ),
    max_leaves=6,
)


@given(TREES, st.integers(0, 2**32 - 1))
def test_values_stay_within_what_is_proved(text, seed):
    try:
        expression = Expression.parse(text)
    except ExpressionError:
        return
    random = np.random.default_rng(seed)
    values = {
        name: np.concatenate([[low, high], random.uniform(low, high, 200)]).astype(np.float32)
        for name, (low, high) in RANGES.items()
    }
    low, high = expression.bounds(RANGES)
    found = expression.evaluate(values)
    found = found[np.isfinite(found)]
    found = found.astype(np.float64)
    slack = 1e-4 * max(1, *(abs(end) for end in (low, high) if np.isfinite(end)), 1)
    assert not found.size or (found.min() >= low - slack and found.max() <= high + slack)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("B08 - B04", (-6.5534, 6.5534)),
        ("minimum(maximum((B08 - B04) / (B08 + B04), -1), 1)", (-1, 1)),
        ("VV / VV", (1e-4 / 6.5535, 65535)),
        ("B08 / B04", (-np.inf, np.inf)),
        ("abs(B04)", (0, 6.4535)),
        ("B04 ** 2", (0, 6.4535**2)),
        ("log(VV)", (np.log(1e-4), np.log(6.5535))),
    ],
)
def test_bounds(text, bounds):
    np.testing.assert_allclose(Expression.parse(text).bounds(RANGES), bounds, rtol=1e-6)
