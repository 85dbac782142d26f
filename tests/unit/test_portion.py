"""Which copies go and which units come where copies have a quota: never what is needed, never more than fits."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpckit.base.quantities import parse_bytes
from hpckit.production.fetch_stage import unit_of_date, used_by
from hpckit.production.fetchable import Note, add_note, discard, read_notes, write_notes
from hpckit.production.portion import fitting, oldest, waits_for
from hpckit.runs.plan import Unit

SIZES = st.integers(0, 50)


def fetch(name: str, sizes: list[int]) -> Unit:
    files = [f"{name}/{number}" for number in range(len(sizes))]
    return Unit(f"fetch/{name}", "fetch", 1.0, "", {"tile": name, "files": files, "nbytes": sum(sizes)})


@given(st.lists(st.lists(SIZES, max_size=4), max_size=8), st.integers(-20, 200), st.randoms())
def test_what_fits(every, room, random):
    units = [fetch(f"t{number}", sizes) for number, sizes in enumerate(every)]
    sizes = {
        file: size
        for unit, mine in zip(units, every, strict=True)
        for file, size in zip(unit.args["files"], mine, strict=True)
    }
    own = {file: size for file, size in sizes.items() if random.random() < 0.3}
    chosen, nbytes = fitting(units, room, own)
    left = {unit.id: sum(sizes[file] for file in unit.args["files"] if file not in own) for unit in units}
    assert nbytes == sum(left[unit] for unit in chosen) and (nbytes <= room or not chosen)
    assert all(nbytes + left[unit] > room for unit in left.keys() - chosen), "no unit that fits is left"


@given(
    st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 50)),
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["2024-01", "2024-02", "2024-03"])),
    st.integers(-10, 300),
)
def test_the_longest_unused_go_first_and_no_more_than_needed(spent, used, excess):
    gone = oldest(spent, used, excess)
    assert set(gone) <= spent.keys() and len(set(gone)) == len(gone)
    kept = spent.keys() - set(gone)
    assert all(used.get(name, "") <= used.get(other, "") for name in gone for other in kept)
    freed = sum(spent[name] for name in gone)
    assert freed >= min(excess, sum(spent.values()))
    assert not gone or freed - spent[gone[-1]] < excess, "the last one was needed, too"


def tiles(keep: bool) -> SimpleNamespace:
    dates = [SimpleNamespace(id=f"d{number}") for number in range(5)]
    return SimpleNamespace(
        campaign=SimpleNamespace(cube=SimpleNamespace(keep=keep)),
        spec=SimpleNamespace(dates_per_block=2),
        acquisitions={"A": dates, "B": dates},
    )


def unit(stage: str, **args: object) -> Unit:
    return Unit(f"{stage}/{'/'.join(map(str, args.values()))}", stage, 1.0, "", args)


def test_with_a_cube_blocks_wait_and_what_reads_tiles():
    ingest = [unit("ingest", tile=tile, block=block) for tile in "AB" for block in range(3)]
    others = [unit("signatures", tiles=names, acquisition="d0") for names in (["A"], ["B"], ["A", "B"])]
    made = tiles(True)
    waiting = waits_for(made, [*ingest, *others], {unit_of_date(made, "A", 3)})
    assert unit_of_date(made, "A", 3) == "fetch/A/b0001"
    assert waiting == {"fetch/A/b0001", ingest[1].id, others[0].id, others[2].id}
    assert waits_for(made, ingest, set()) == set()


def test_without_a_cube_bundles_wait():
    made, later = tiles(False), {"fetch/A/d1"}
    units = [
        unit("signatures", tiles=list(names), acquisition=day) for names in ("A", "B", "AB") for day in ("d0", "d1")
    ]
    assert unit_of_date(made, "A", 1) == "fetch/A/d1"
    waiting = waits_for(made, [*units, unit("zones", tile="A")], later)
    assert waiting == later | {
        item.id for item in units if "A" in item.args["tiles"] and item.args["acquisition"] == "d1"
    }
    assert list(used_by(made, units[5])) == ["fetch/A/d1", "fetch/B/d1"]


def test_notes_of_many_writers_are_one(tmp_path: Path):
    notes = {name: Note(f"p/{name}.tif", 3, "sha256:0", "run", moved=name == "c") for name in "abc"}
    add_note(tmp_path, notes["a"])
    for name in "bc":
        add_note(tmp_path, notes[name], f"fetched-w{name}.jsonl")
    (tmp_path / "fetched-notes.txt").write_text("mine")
    assert read_notes(tmp_path) == {note.name: note for note in notes.values()}
    (tmp_path / "p").mkdir()
    for name in "abx":
        (tmp_path / "p" / f"{name}.tif").write_text("abc")
    discard(tmp_path, read_notes(tmp_path), {"p/a.tif", "p/c.tif"})
    assert read_notes(tmp_path) == {"p/b.tif": notes["b"]}
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == [
        "b.tif",
        "fetched-notes.txt",
        "fetched.jsonl",
        "x.tif",
    ]
    write_notes(tmp_path, ())
    assert read_notes(tmp_path) == {} and read_notes(tmp_path / "none") == {}


@pytest.mark.parametrize("text", ["", "two", "-1", "0", "1 XB", "1e3", "1 GBit", "0.0001 kB"])
def test_what_is_no_size(text):
    with pytest.raises(ValueError, match="size"):
        parse_bytes(text)
