"""Pixels in parts that fit into a processor's cache, worked on by several threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from hpckit.base.compiled import thread_count

Part = tuple[slice, ...]
"""One slice for each of the first axes of pixels; the other axes are whole."""
CACHED_BYTES: Final = 1 << 19
"""What one part may take: half of a common second-level cache."""


def parts(shape: Sequence[int], most: int) -> Iterator[Part]:
    """Parts of an array of pixels that together are all of it.

    Parameters
    ----------
    shape : sequence of int
        Of the axes of pixels.
    most : int
        Pixels of a part.

    Yields
    ------
    Part
        Of whole rows where one row has at most `most` pixels, so that parts lie in one piece in memory.
    """
    if not shape or math.prod(shape) <= most:
        yield ()
        return
    row = math.prod(shape[1:])
    if row > most:
        for place in range(shape[0]):
            for part in parts(shape[1:], most):
                yield (slice(place, place + 1), *part)
        return
    step = max(1, most // max(1, row))
    for first in range(0, shape[0], step):
        yield (slice(first, min(first + step, shape[0])),)


def for_each(work: Callable[[Part], None], parts: Iterable[Part]) -> None:
    """Work on parts, in as many threads as kernels may use in this process."""
    listed = list(parts)
    threads = min(thread_count(), len(listed))
    if threads <= 1:
        for part in listed:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work, part) for part in listed]:
            done.result()
