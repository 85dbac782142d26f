"""Callbacks of process graphs on pixels, against numpy written by hand and numpy's functions that leave NaN out.

Elementwise: NDVI of two bands, a threshold, and a linear scale to 0 to 255, null elsewhere. Statistics: a stack of
dates of float32 with a third of the values NaN. Figures are ratios of processor times, the least of some runs that
take turns, on one core each; so they hold on a busy machine, too.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from hpckit.base.compiled import limit_threads
from hpckit.processgraph.evaluate import Evaluation
from hpckit.processgraph.labelled import Labelled
from hpckit.processgraph.parse import parse_callback
from hpckit.processgraph.process import Callback, processes
from hpckit.testing.graphs import MemoryEnvironment, graph, step

Runs = Mapping[str, Callable[[], Any]]
NDVI = {
    "nir": {"process_id": "array_element", "arguments": {"data": {"from_parameter": "data"}, "label": "B08"}},
    "red": {"process_id": "array_element", "arguments": {"data": {"from_parameter": "data"}, "label": "B04"}},
    "ndvi": {
        "process_id": "normalized_difference",
        "arguments": {"x": {"from_node": "nir"}, "y": {"from_node": "red"}},
    },
    "high": {"process_id": "gt", "arguments": {"x": {"from_node": "ndvi"}, "y": 0.3}},
    "scaled": {
        "process_id": "linear_scale_range",
        "arguments": {"x": {"from_node": "ndvi"}, "inputMin": -1, "inputMax": 1, "outputMax": 255},
    },
    "kept": {
        "process_id": "if",
        "arguments": {"value": {"from_node": "high"}, "accept": {"from_node": "scaled"}},
        "result": True,
    },
}


def least(runs: Runs, rounds: int) -> dict[str, float]:
    """Seconds of processor time of each, the least of some rounds."""
    seconds = dict.fromkeys(runs, np.inf)
    for number in range(rounds + 1):
        for name, run in runs.items():
            start = time.process_time()
            run()
            if number:  # the first one loads kernels
                seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def reducer() -> Callback:
    child = parse_callback({"process_graph": NDVI}, "reduce_dimension", "reducer")
    found: Callback = Evaluation(graph(around=step("pi")), MemoryEnvironment()).value(child)
    return found


def elementwise(size: int, rounds: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    bands = random.random((2, size, size), np.float32)
    bands[:, random.random((size, size)) < 0.1] = np.nan
    data, called = Labelled(bands, ("B04", "B08"), "bands"), reducer()

    def by_hand() -> Any:
        red, nir = bands
        ndvi = (nir - red) / (nir + red)
        return np.where(ndvi > 0.3, (np.clip(ndvi, -1, 1) + 1) / 2 * 255, np.float32(np.nan))

    np.testing.assert_allclose(called(data=data, context=None), by_hand(), rtol=1e-5)
    seconds = least({"graph": lambda: called(data=data, context=None), "numpy": by_hand}, rounds)
    pixels = size * size / 1e6
    return {
        "graph, ns per pixel": 1e3 * seconds["graph"] / pixels,
        "by hand, ns per pixel": 1e3 * seconds["numpy"] / pixels,
        "graph / by hand": seconds["graph"] / seconds["numpy"],
    }


def statistics(dates: int, size: int, rounds: int) -> dict[str, float]:
    random = np.random.default_rng(0)
    stack = random.normal(size=(dates, size, size)).astype(np.float32)
    stack[random.random(stack.shape) < 0.3] = np.nan
    data = Labelled(stack)
    others: dict[str, Callable[[], Any]] = {
        "median": lambda: np.nanmedian(stack, axis=0),
        "mean": lambda: np.nanmean(stack, axis=0),
        "sd": lambda: np.nanstd(stack, axis=0, ddof=1),
        "sum": lambda: np.nansum(stack, axis=0),
        "min": lambda: np.nanmin(stack, axis=0),
        "count": lambda: np.isfinite(stack).sum(axis=0),
        "sort": lambda: np.sort(stack, axis=0),
        "order": lambda: np.argsort(stack, axis=0, kind="stable"),
        "cumsum": lambda: np.nancumsum(stack, axis=0),
    }
    runs = {name: partial(processes()[name].run, data=data) for name in others}
    ours = least(runs, rounds)
    theirs = least(others, 1)
    return {f"numpy / {name}": theirs[name] / ours[name] for name in others}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=1024, help="rows and columns")
    parser.add_argument("--dates", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    limit_threads(1)
    figures = elementwise(2 * options.size, options.rounds) | statistics(options.dates, options.size, options.rounds)
    print(json.dumps({name: round(figure, 2) for name, figure in figures.items()}, indent=1))


if __name__ == "__main__":
    main()
