from __future__ import annotations

import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from hpckit.errors import SpoolError, SpoolFormatError
from hpckit.reduce.signatures.spool import SignatureBatch, read_segment, segments, spool_id, write_segment
from hpckit.testing.signatures import batch, header, zone_layer

pytestmark = pytest.mark.slow

HEADER = header(zone_layer())


def assert_equal(found: SignatureBatch, wanted: SignatureBatch) -> None:
    assert found.unit == wanted.unit
    assert found.bands == wanted.bands
    assert found.statistics == wanted.statistics
    assert asdict(found.acquisition) == asdict(wanted.acquisition)
    for name in ("zone", "valid", "total", "values"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), strict=True)
    assert list(found.classes) == list(wanted.classes)
    for band, (codes, counts) in wanted.classes.items():
        np.testing.assert_array_equal(found.classes[band][0], codes, strict=True)
        np.testing.assert_array_equal(found.classes[band][1], counts, strict=True)


@st.composite
def batches(draw: st.DrawFn) -> list[SignatureBatch]:
    bands, statistics, codes = (draw(st.integers(0, 3)) for _ in range(3))
    floats = st.floats(width=32)
    made = []
    for number in range(draw(st.integers(1, 4))):
        rows = draw(st.integers(0, 5))
        base = batch(number, range(rows), bands=BAND_NAMES[:bands], statistics=STATISTIC_NAMES[:statistics])
        counts = draw(npst.arrays(np.float32, (rows, codes), elements=floats))
        made.append(
            replace(
                base,
                unit=draw(st.text(max_size=20)),
                zone=draw(npst.arrays(np.int32, rows)),
                values=draw(npst.arrays(np.float32, (rows, bands, statistics), elements=floats)),
                classes={"SCL": (np.arange(codes, dtype=np.uint8), counts)},
            )
        )
    return made


BAND_NAMES = ("B04", "B08@60m", "NDVI")
STATISTIC_NAMES = ("mean", "std", "p12.5")


@given(batches())
@settings(max_examples=60)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, made: list[SignatureBatch]) -> None:
    path = tmp_path_factory.mktemp("spool") / "a.h5"
    identifier = write_segment(path, HEADER, made)
    found = read_segment(path)
    assert found.spool_id == identifier == spool_id(path)
    assert found.header == HEADER
    assert found.rows == sum(len(item.zone) for item in made)
    for one, other in zip(found.batches, made, strict=True):
        assert_equal(one, other)


def test_many_chunks_and_many_batches(tmp_path: Path) -> None:
    """More than one chunk, and descriptions of more than the 64 KiB that an HDF5 attribute holds."""
    made = [batch(number, range(1000)) for number in range(300)]
    write_segment(tmp_path / "a.h5", HEADER, made)
    found = read_segment(tmp_path / "a.h5")
    assert len(found.batches) == 300
    assert_equal(found.batches[-1], made[-1])
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["values"].chunks[0] < len(file["values"])
        np.testing.assert_array_equal(file["values"][-1000:], made[-1].values)


def test_names_are_unique_ids_and_writing_is_compressed(tmp_path: Path) -> None:
    item = replace(batch(0, range(5000)), values=np.zeros((5000, 3, 7), np.float32))
    ids = {write_segment(tmp_path / f"{number}.h5", HEADER, [item]) for number in range(3)}
    assert len(ids) == 3
    assert (tmp_path / "0.h5").stat().st_size < item.values.nbytes / 5
    assert [path.name for path in segments(tmp_path)] == ["0.h5", "1.h5", "2.h5"]


@pytest.mark.parametrize("keep", [0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.h5"
    write_segment(path, HEADER, [batch(0, range(500))])
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(SpoolError, match=r"a\.h5"):
        read_segment(path)


def test_flipped_byte_in_any_dataset(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    made = batch(0, range(500))
    write_segment(path, HEADER, [made])
    data = path.read_bytes()
    with h5py.File(path) as file:
        places = {
            name: file[name].id.get_chunk_info(0).byte_offset + file[name].id.get_chunk_info(0).size // 2
            for name in ("zone", "valid", "total", "values", "classes/SCL", "description")
        }
    for name, place in places.items():
        for offset in (0, 3):
            changed = bytearray(data)
            changed[place + offset] ^= 0x10
            path.write_bytes(changed)
            with pytest.raises(SpoolError, match=r"a\.h5"):
                read_segment(path)
                pytest.fail(f"a flipped byte in {name} was not seen")
    path.write_bytes(data)
    assert_equal(read_segment(path).batches[0], made)


def as_format_2(path: Path) -> None:
    """Make a segment of it as they were before the whole file had a digest."""
    path.write_bytes(path.read_bytes()[512:])
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 2


def test_wrong_digest_names_file_and_dataset(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_segment(path, HEADER, [batch()])
    as_format_2(path)
    with h5py.File(path, "r+") as file:
        file["total"][0, 0] += 1
    with pytest.raises(SpoolError, match=r"a\.h5.*total"):
        read_segment(path)


def test_segments_without_a_digest_of_the_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    identifier = write_segment(path, HEADER, [batch()])
    as_format_2(path)
    assert read_segment(path).spool_id == identifier == spool_id(path)
    assert_equal(read_segment(path).batches[0], batch())


def test_other_format_and_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    write_segment(path, HEADER, [batch()])
    as_format_2(path)
    with h5py.File(path, "r+") as file:
        file.attrs["format"] = 99
    with pytest.raises(SpoolFormatError, match="format 99"):
        read_segment(path)
    with monkeypatch.context() as later:
        later.setattr("hpckit.reduce.signatures.spool.FORMAT", 98)
        write_segment(path, HEADER, [batch()])
    with pytest.raises(SpoolFormatError, match="format 98"):
        read_segment(path)
    path.write_text("no HDF5")
    with pytest.raises(SpoolError, match="damaged"):
        read_segment(path)
    assert spool_id(path) is None


def test_nothing_damaged_reaches_hdf5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    write_segment(path, HEADER, [batch()])
    data = path.read_bytes()
    monkeypatch.setattr("h5py.File", lambda *_, **__: pytest.fail("HDF5 was asked"))
    for place in [*range(100), *range(100, len(data), 97), len(data) - 1]:
        changed = bytearray(data)
        changed[place] ^= 0x04
        path.write_bytes(changed)
        with pytest.raises(SpoolError, match=r"a\.h5.*damaged"):
            read_segment(path)


def test_incompressible_data(tmp_path: Path) -> None:
    """HDF5 stores a chunk as it is where compression would not make it smaller."""
    noise = np.random.default_rng(0).integers(0, 2**32, (4000, 3, 7), dtype=np.uint32).view(np.float32)
    made = replace(batch(0, range(4000)), values=noise)
    write_segment(tmp_path / "a.h5", HEADER, [made])
    found = read_segment(tmp_path / "a.h5").batches[0]
    assert found.values.tobytes() == noise.tobytes()


def test_unlike_batches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match="shapes"):
        write_segment(tmp_path / "a.h5", HEADER, [batch(0), batch(1, bands=("B04",))])
    assert list(tmp_path.iterdir()) == []


def test_kill_in_the_middle_of_writing_leaves_no_segment(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from hpckit.reduce.signatures.spool import write_segment
from hpckit.testing.signatures import batch, header, zone_layer
made = [batch(0, range(100_000))] * 12
print("ready", flush=True)
write_segment(Path(sys.argv[1]) / "a.h5", header(zone_layer()), made)
"""
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        limit = time.monotonic() + 30
        while not list(tmp_path.glob(".*.partial.h5")) and time.monotonic() < limit:
            time.sleep(0.001)
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert list(segments(tmp_path)) == []
    assert list(tmp_path.glob(".*.partial.h5")), "it was killed too early or too late to prove anything"
