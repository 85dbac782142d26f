"""Numbers of printed series."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas as pd
import pytest

from hpckit.look.tables import print_series

VALUES = [0.3, 0.1234567, np.nan, 1e-7, 12345.678, -0.7]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_single_precision_is_printed_shortest(capsys, form):
    times = pd.date_range("2024-01-01", periods=len(VALUES), tz="UTC")
    single = np.array(VALUES, "float32").astype("float64")
    frame = pd.DataFrame({"time": times, "mean": single, "double": [1 / 3] * len(VALUES), "valid": range(6)})
    print_series({"7": frame}, "B04", form)
    text = capsys.readouterr().out
    if form == "csv":
        read = pd.read_csv(io.StringIO(text), dtype=str)
        assert read["mean"].fillna("").tolist() == ["0.3", "0.1234567", "", "1e-07", "12345.678", "-0.7"]
        assert float(read["double"][0]) == 1 / 3
    else:
        assert [row["mean"] for row in json.loads(text)] == [0.3, 0.1234567, None, 1e-7, 12345.678, -0.7]
