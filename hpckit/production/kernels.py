"""Kernels of a campaign, compiled once a machine: before workers start, at `submit`, and into images.

Each entry of `_TASKS` calls kernels with small arrays of the types that workers give them, in a process that compiles
them and does not run them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from hpckit.base.compiled import compile_only, is_ready, mark_ready
from hpckit.base.processes import without_main
from hpckit.base.quantities import available_cores
from hpckit.campaign.campaign import Campaign, SignatureReduction
from hpckit.campaign.composite import Composite

_SOURCES: Final = ("reduce/kernels/*.py", "reduce/signatures/*.py", "sensors/sentinel1/*.py", "space/warp.py")
_PACKAGE: Final = Path(__file__).parents[1]
_FLOATS: Final = "float32"


def of_campaign(campaign: Campaign) -> list[str]:
    """Names of the tasks that compile what a campaign's units call."""
    names: set[str] = set()
    for reduction in campaign.signatures:
        names |= _of_signatures(campaign, reduction)
    for composite in campaign.composites:
        names |= _of_composite(composite)
    return sorted(names)


def of_signatures() -> list[str]:
    """Names of the tasks of all that signatures may call."""
    return sorted({f"{how} {dtype}" for how in ("plain", "weighted") for dtype in ("uint16", _FLOATS)} | _SHARED)


def everything() -> list[str]:
    """Names of all tasks."""
    return sorted(_TASKS)


def are_compiled(names: Iterable[str], level: str | None = None) -> bool:
    """Whether this was done on this machine, or came with its image, for these versions; also where nothing is kept.

    Parameters
    ----------
    level : str, optional
        Instruction set; that of this processor if not given.
    """
    return any(is_ready(_mark(each), level) for each in (sorted(names), everything()))


def compile_kernels(names: Sequence[str], *, processes: int | None = None) -> None:
    """Compile kernels side by side, and keep them for the workers to come."""
    if not names or are_compiled(names):
        return
    shares = _shares(names, min(processes or available_cores(), len(names)))
    try:
        started = [_start(share) for share in shares]
    except OSError:  # see `hpckit.production.local`: where TMPDIR is too long
        _compile(names)
    else:
        for process in started:
            process.join()
        if any(process.exitcode for process in started):
            return  # workers will say why
    mark_ready(_mark(sorted(names)))


def _shares(names: Iterable[str], count: int) -> list[list[str]]:
    """Names for each of some processes, so that all take about as long."""
    shares: list[list[str]] = [[] for _ in range(count)]
    loads = [0.0] * count
    for name in sorted(names, key=lambda name: -_TASKS[name][0]):
        place = loads.index(min(loads))
        shares[place].append(name)
        loads[place] += _TASKS[name][0]
    return shares


def _start(names: Sequence[str]) -> Any:
    # No pool: its processes would wait for ever if this one were killed.
    process = multiprocessing.get_context("forkserver").Process(target=_compile, args=(names,), daemon=True)
    with without_main():
        process.start()
    return process


def _compile(names: Sequence[str]) -> None:
    with compile_only():
        for name in names:
            _TASKS[name][1]()


def _mark(names: Sequence[str]) -> list[bytes | str]:
    """What decides whether compiled code is that of these sources."""
    return [*names, *(path.read_bytes() for pattern in _SOURCES for path in sorted(_PACKAGE.glob(pattern)))]


def _of_signatures(campaign: Campaign, reduction: SignatureReduction) -> set[str]:
    refs = [campaign.ref(text) for text in reduction.named_bands()]
    values = {np.dtype(campaign.ref(text).dtype).name for text in reduction.bands if not _is_class(campaign, text)}
    values |= {_FLOATS} if reduction.indices else set()
    how = "weighted" if reduction.coverage == "fraction" else "plain"
    names = {f"pixels {reduction.coverage}", *(f"gather {np.dtype(ref.dtype).name}" for ref in refs)}
    if reduction.device != "cuda":
        names |= {f"{how} {dtype}" for dtype in values}
        names |= {"classes"} if any(_is_class(campaign, text) for text in reduction.bands) else set()
    return names


def _is_class(campaign: Campaign, text: str) -> bool:
    return campaign.ref(text).band.is_categorical


def _of_composite(composite: Composite) -> set[str]:
    dtypes = ["uint16", *([_FLOATS] if composite.indices else [])]
    steps = {"percentiles" if composite.percentile(method) is not None else method for method in composite.methods}
    steps = {"summary" if method in ("mean", "min", "max", "count") else method for method in steps}
    names = {f"{step} {dtype}" for step in steps for dtype in dtypes} | {"nearness"}
    names |= {f"take {dtype}" for dtype in dtypes if steps & {"best", "max_ndvi", "medoid"}}
    return names & _TASKS.keys()


def _pixels(coverage: str) -> None:
    import shapely
    from affine import Affine

    from hpckit.reduce.signatures.index import build_index

    square = np.array([shapely.MultiPolygon([shapely.box(0, -1, 1, 0)])])
    index = build_index(square, np.zeros(1, np.int32), Affine(1, 0, 0, 0, -1, 0), (2, 2), coverage)  # type: ignore[arg-type]
    index.windows(1)


def _gather(dtype: str) -> None:
    from hpckit.reduce.signatures.index import ZoneIndex, gather

    offsets, pixels = np.array([0, 1], np.int64), np.zeros(1, np.uint32)
    index = ZoneIndex(np.zeros(1, np.int32), offsets, pixels, None, np.zeros(1), (2, 2))
    for ratio in (1.0, 2.0):
        gather(np.zeros((2, 2), dtype), index, ratio)


def _statistics(dtype: str, weights: Any = None) -> None:
    from hpckit.reduce.kernels import cpu

    offsets, pixels, excluded = np.array([0, 1], np.int64), np.zeros(1, np.uint32), np.zeros(1, np.bool_)
    cpu.signatures(np.zeros(4, dtype), offsets, pixels, weights, excluded, 0, np.array([50.0]))


def _classes() -> None:
    from hpckit.reduce.kernels import cpu

    cpu.histogram(np.zeros(4, np.uint8), np.array([0, 1], np.int64), np.zeros(1, np.uint32), None)


def _composites(step: str, dtype: str) -> None:
    from hpckit.reduce.kernels import composite_cpu, composite_float, nearness

    stack, mask, days = np.zeros((2, 1, 1), dtype), np.zeros((2, 1, 1), np.bool_), np.array([0, 1])
    kernels: Any = composite_float if dtype == _FLOATS else composite_cpu
    calls: dict[str, Callable[[], object]] = {
        "percentiles": lambda: kernels.rounded(kernels.percentiles(stack, np.array([50.0]), mask)),
        "summary": lambda: kernels.rounded(kernels.summary(stack, mask).mean),
        "best": lambda: composite_cpu.best_score(
            np.zeros((2, 1, 1), np.uint16), np.zeros(2, np.float32), np.zeros((2, 1, 1), np.uint8),
            np.zeros(256, np.float32), mask,
        ),
        "max_ndvi": lambda: composite_cpu.max_ndvi(stack, stack, 0, mask),
        "medoid": lambda: composite_cpu.medoid(stack[None], mask),
        "geomad": lambda: composite_cpu.rounded(composite_cpu.geomad(stack[None], 1e-4, 0.0, mask).median[0]),
        "take": lambda: composite_cpu.take(stack, np.zeros((1, 1), np.int32)),
        "interpolate": lambda: kernels.rounded(kernels.interpolate(stack, days, days, mask)),
        "smooth": lambda: kernels.rounded(kernels.smooth(stack, days, days, 1.0, 0.5, 0, mask)),
        "nearness": lambda: nearness.squared_distance(mask, 1),
    }  # fmt: skip
    calls[step]()


_SHARED: Final = {"pixels centre", "pixels fraction", "gather uint16", "gather uint8", "classes"}
_SECONDS: Final = {"percentiles": 3.0, "smooth": 4.0, "geomad": 6.0, "medoid": 3.0}
_METHODS: Final = ("percentiles", "smooth", "summary", "interpolate", "take")
_OF_INTEGERS: Final = ("geomad", "medoid", "best", "max_ndvi")
_TASKS: Final[dict[str, tuple[float, Callable[[], None]]]] = {
    **{
        f"{step} {dtype}": (_SECONDS.get(step, 1.0), partial(_composites, step, dtype))
        for dtype in ("uint16", _FLOATS)
        for step in (*_METHODS, *(_OF_INTEGERS if dtype == "uint16" else ()))
    },
    "nearness": (1.0, partial(_composites, "nearness", "uint16")),
    **{f"plain {dtype}": (2.0, partial(_statistics, dtype)) for dtype in ("uint16", _FLOATS)},
    **{
        f"weighted {dtype}": (2.5, partial(_statistics, dtype, np.ones(1, np.float32)))
        for dtype in ("uint16", _FLOATS)
    },
    "pixels centre": (2.5, partial(_pixels, "centre")),
    "pixels fraction": (1.5, partial(_pixels, "fraction")),
    **{f"gather {dtype}": (0.3, partial(_gather, dtype)) for dtype in ("uint16", "uint8")},
    "classes": (0.3, _classes),
}
"""By name: seconds that it takes, about, and what does it."""
