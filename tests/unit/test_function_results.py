"""Results of functions and models, opened: bands come in the order in which the function gives them."""

from __future__ import annotations

import numpy as np
import pytest
import xarray

from hpckit.reduce.blocks.apply import _in_order


@pytest.mark.parametrize("listed", [["b", "class", "a_1"], ["a_1", "b", "class"], ["class", "a_1", "b"]])
def test_bands_are_in_the_order_of_the_function_however_the_folder_lists_them(listed):
    labels = {"class": "class", "a_1": "a/1", "b": "b"}
    found = xarray.Dataset({name: ("x", np.zeros(2), {"long_name": labels[name]}) for name in listed})
    found.attrs["hpckit:dimensions"] = [
        {"name": "x", "kind": "spatial", "labels": []},
        {"name": "band", "kind": "bands", "labels": ["class", "a/1", "b"]},
    ]
    assert list(found[_in_order(found)]) == ["class", "a_1", "b"]


def test_a_result_of_one_band_without_a_name():
    found = xarray.Dataset({"value": ("x", np.zeros(2))}, attrs={"hpckit:dimensions": []})
    assert _in_order(found) == ["value"]
