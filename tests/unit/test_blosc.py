"""Parts of what Blosc compressed are those of the whole, and damage is never taken for data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import Blosc

from hpckit.inputs.blosc import decode_part


def reader(data: bytes, asked: list[int] | None = None):
    def read(offset: int, nbytes: int) -> bytes:
        if asked is not None:
            asked.append(nbytes)
        return data[offset : offset + nbytes]

    return read


def values(size: int, noise: int) -> np.ndarray:
    """Numbers that compress well (`noise` 0) or not at all."""
    random = np.random.default_rng(size)
    return (np.arange(size) // 7 + random.integers(0, noise + 1, size)).astype(np.uint16)


@settings(max_examples=60, deadline=None)
@given(
    codec=st.builds(
        Blosc,
        st.sampled_from(["zstd", "lz4", "blosclz", "zlib"]),
        st.integers(0, 9),
        st.integers(0, 2),
        st.sampled_from([0, 4096, 16384]),
    ),
    size=st.integers(1, 60_000),
    noise=st.sampled_from([0, 9, 65_000]),
    part=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_part_is_that_of_the_whole(codec, size, noise, part):
    array = values(size, noise)
    whole = array.tobytes()
    start, stop = sorted(int(share * (size - 1)) for share in part)
    found = decode_part(reader(codec.encode(array)), len(whole), 2 * start, 2 * stop + 2)
    assert found == whole[2 * start : 2 * stop + 2]


def test_only_needed_blocks_are_read():
    array = values(8_000_000, 2000)
    data = Blosc("zstd", 3, Blosc.BITSHUFFLE).encode(array)
    asked: list[int] = []
    found = decode_part(reader(data, asked), array.nbytes, 8_000_000, 8_400_000)
    assert found == array.tobytes()[8_000_000:8_400_000] and sum(asked) < len(data) / 5


@pytest.mark.parametrize("cut", [0, 3, 15, 16, 40, 0.5, 0.99])
def test_truncated_data(cut):
    array = values(300_000, 2000)
    data = Blosc("zstd", 3, Blosc.BITSHUFFLE).encode(array)
    data = data[: cut if isinstance(cut, int) else int(cut * len(data))]
    with pytest.raises(ValueError, match=r"truncated|damaged"):
        decode_part(reader(data), array.nbytes, 0, array.nbytes)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 15 + 4 * 5), st.integers(0, 255))
def test_damaged_heads_are_refused_or_harmless(position, value):
    """A header or table that lies is an error; where it decodes all the same, the length is right."""
    array = values(300_000, 2000)
    data = bytearray(Blosc("zstd", 3, Blosc.BITSHUFFLE).encode(array))
    data[position] = value
    try:
        found = decode_part(reader(bytes(data)), array.nbytes, 0, array.nbytes)
    except ValueError:
        return
    assert len(found) == array.nbytes


def test_data_of_another_size_are_refused():
    data = Blosc("zstd").encode(values(1000, 5))
    with pytest.raises(ValueError, match="not 4000 bytes"):
        decode_part(reader(data), 4000, 0, 100)
