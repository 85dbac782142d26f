"""What every store must do: a class of tests for pytest, that the tests of each store derive from.

::

    class TestMine(StoreTests):
        @pytest.fixture
        def fresh(self, …) -> Fresh:
            return Fresh(lambda: Mine(place), count_rows)
"""
# ruff: noqa: D102 -- names of tests say what they check

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hpckit.campaign.markers import MarkerRule
from hpckit.errors import SpoolError, StoreError
from hpckit.reduce.signatures.spool import Segment, SignatureBatch
from hpckit.space.attributes import NO_ATTRIBUTES, Attributes
from hpckit.store.batches import record_batches, schema, to_frame
from hpckit.store.markerrows import MARKER_COLUMNS, MarkerRows, joined
from hpckit.store.model import Store
from hpckit.store.owner import StoreOwner
from hpckit.testing.signatures import BANDS, INJECTIONS, REDUCTION, STATISTICS, batch, segment, zone_layer

LAYER = zone_layer()
"""The zones of all tests."""
Count = Callable[[str], int]
Seal = Callable[..., Segment]


@dataclass(frozen=True)
class Fresh:
    """An empty place, and two ways to it."""

    open: Callable[[], Store]
    """Makes a store object; all of them are of the same place."""
    count: Count
    """Rows of a table, counted around the store: `record`, `ledger`, `observation`, `acquisition`."""


def _check_series(store: Store, made: SignatureBatch, row: int) -> None:
    """Series of a zone equals what the batch holds of it, to the bit."""
    frame = store.series(REDUCTION, LAYER.ids[made.zone[row]])
    frame = frame[frame["acquisition"] == made.acquisition.id]
    assert list(frame["band"]) == list(made.bands)
    np.testing.assert_array_equal(frame[list(made.statistics)].to_numpy(np.float32), made.values[row])
    np.testing.assert_array_equal(frame["valid"].to_numpy(np.float32), made.valid[row])
    np.testing.assert_array_equal(frame["total"].to_numpy(np.float32), made.total[row])
    info = made.acquisition
    assert set(frame["time"]) == {pd.Timestamp(info.time).tz_localize(None)}
    assert set(frame["baseline"]) == {info.baseline}
    assert set(frame["relative_orbit"]) == {info.relative_orbit}
    assert set(frame["platform"]) == {info.platform}
    assert set(frame["tile"]) == {info.tile}


def _rule(name: str = "mowing", **fields: object) -> MarkerRule:
    return MarkerRule.model_validate({"name": name, "band": "NDVI", "drop": 0.2, "reduction": REDUCTION, **fields})


def _markers(zones: list[int], orbit: int = -1) -> MarkerRows:
    """Markers around New Year, in UTC, with one observation more for each."""
    count = len(zones)
    first = np.datetime64("2023-12-31T23:59:59.999000", "us") + np.arange(count).astype("timedelta64[s]")
    offsets = np.cumsum([0, *range(2, count + 2)])
    return MarkerRows(
        zone=np.array(zones, np.int64),
        orbit=np.full(count, orbit, np.int64),
        time=[first, first + np.timedelta64(5, "D"), first + np.timedelta64(9, "D")],
        value=[np.arange(count, dtype=np.float64) + share for share in (0.5, 0.25, 0.125)],
        confidence=np.linspace(0, 1, count),
        names=('GS2A "1"', "GS2B\\2, x"),
        used=np.arange(offsets[-1]) % 2,
        offsets=offsets,
    )


class StoreTests:
    """Derive from it, and give the fixture `fresh`."""

    @pytest.fixture
    def fresh(self) -> Fresh:
        """An empty store."""
        raise NotImplementedError("give the fixture `fresh`")

    @pytest.fixture
    def count(self, fresh: Fresh) -> Count:
        return fresh.count

    @pytest.fixture
    def store(self, fresh: Fresh) -> Iterator[Store]:
        made = fresh.open()
        made.prepare()
        made.load_zones(REDUCTION, LAYER)
        yield made
        made.close()

    @pytest.fixture
    def seal(self, tmp_path: Path) -> Seal:
        folder = tmp_path / "spool"
        folder.mkdir()
        return lambda *batches, layer=LAYER, **options: segment(folder, batches, layer, **options)

    def test_series_are_what_was_computed(self, store: Store, count: Count, seal: Seal) -> None:
        made = [batch(2, empty=[1, 4]), batch(0), batch(1, range(3))]
        assert store.load_segment(seal(*made)) == 19
        for one in made:
            for row in range(len(one.zone)):
                _check_series(store, one, row)
        frame = store.series(REDUCTION, LAYER.ids[0])
        assert list(frame["time"]) == sorted(frame["time"])
        np.testing.assert_allclose(frame["valid_fraction"], frame["valid"] / frame["total"])
        one_band = store.series(REDUCTION, LAYER.ids[0], "NDVI")
        pd.testing.assert_frame_equal(one_band, frame[frame["band"] == "NDVI"].reset_index(drop=True))
        assert set(frame["run_id"]) == {"run-1"}
        assert (count("record"), count("ledger")) == (19, 1)

    def test_attributes_are_known_by_their_digest_and_keep_results(
        self, fresh: Fresh, store: Store, count: Count, seal: Seal
    ) -> None:
        store.load_segment(seal(batch(0), batch(1)))
        assert store.attributes() == {REDUCTION: ""}
        rows = range(len(LAYER))
        crops = Attributes(
            {
                "crop": pa.array([f"crop {n}" if n else None for n in rows]),
                "code": pa.array([100 + n for n in rows]),
                "organic": pa.array([n % 2 == 0 if n else None for n in rows]),
            }
        )
        for attributes in (crops, crops, NO_ATTRIBUTES, crops):
            store.note_attributes(REDUCTION, attributes)
            other = fresh.open()
            assert other.attributes() == {REDUCTION: attributes.digest}
            assert other.attribute_values(REDUCTION) == {
                name: column.to_pylist() for name, column in attributes.columns.items()
            }
            assert set(other.made_from(REDUCTION)) == {batch(0).unit, batch(1).unit}
            other.close()
        assert count("record") == 16
        store.load_zones(REDUCTION, LAYER)
        assert store.attributes() == {REDUCTION: crops.digest}
        store.load_zones(REDUCTION, zone_layer(["other"]))
        assert store.attributes() == {REDUCTION: ""}

    def test_blocks_of_some_zones_and_bands(self, store: Store, seal: Seal) -> None:
        store.load_segment(seal(batch(0), batch(1, range(0, len(LAYER), 2))))
        for wanted in ([0], [2, 3], [1, 5, 6], list(range(len(LAYER))), []):
            blocks = store.blocks(REDUCTION, ["NDVI", "B04"], rows=4, zones=np.array(wanted, np.int64))
            assert blocks.layout.bands == ("B04", "NDVI")
            found: dict[str, int] = {}
            for block in blocks:
                for zone in block.zone.tolist():
                    found[block.names[zone]] = found.get(block.names[zone], 0) + 1
            assert {LAYER.ids[row] for row in wanted} <= set(found)
            assert all(found[LAYER.ids[row]] == (2 if row % 2 == 0 else 1) for row in wanted)

    def test_layers_are_known_by_their_digests(self, fresh: Fresh, store: Store) -> None:
        assert store.layers() == {REDUCTION: LAYER.digest}
        store.load_zones("second", LAYER)
        other = fresh.open()
        assert other.layers() == {REDUCTION: LAYER.digest, "second": LAYER.digest}
        other.close()

    def test_a_segment_counts_once(self, fresh: Fresh, store: Store, count: Count, seal: Seal) -> None:
        sealed = seal(batch(0), batch(1))
        assert store.load_segment(sealed) == 16
        assert store.load_segment(sealed) == 0
        other = fresh.open()
        other.prepare()
        other.load_zones(REDUCTION, LAYER)
        assert set(other.made_from(REDUCTION)) == {batch(0).unit, batch(1).unit}
        assert other.load_segment(sealed) == 0
        other.close()
        assert (count("record"), count("ledger"), count("observation"), count("acquisition")) == (16, 1, 2, 2)

    def test_two_programs_load_the_same_segments_at_once(
        self, fresh: Fresh, store: Store, count: Count, seal: Seal
    ) -> None:
        sealed = [seal(batch(number)) for number in range(6)]
        results: list[int] = []

        def work() -> None:
            mine = fresh.open()
            results.extend(mine.load_segment(item) for item in sealed)
            mine.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 18
        assert sum(results) == 6 * 8
        assert (count("record"), count("ledger")) == (48, 6)

    def test_other_inputs_replace_all_rows_of_a_unit(self, store: Store, count: Count, seal: Seal) -> None:
        """Whatever the baseline and the order of loading: what is planned was asked for."""
        old, new = batch(0, range(6), seed=1, baseline="05.10"), batch(0, range(4, 8), seed=2, baseline="04.00")
        store.load_segment(seal(old, batch(1)))
        store.load_segment(seal(new, run_id="run-2"))
        for row in range(4):
            _check_series(store, new, row)
        frame = store.series(REDUCTION, LAYER.ids[0])
        assert set(frame["acquisition"]) == {"GS2A_00001"}
        assert set(store.series(REDUCTION, LAYER.ids[5])["run_id"]) == {"run-1", "run-2"}
        assert (count("record"), count("observation")) == (4 + 8, 2)
        assert store.made_from(REDUCTION) == {new.unit: new.inputs, batch(1).unit: batch(1).inputs}
        store.load_segment(seal(old))
        for row in range(6):
            _check_series(store, old, row)
        assert count("record") == 6 + 8

    def test_zones_move_between_units_of_an_acquisition(self, store: Store, count: Count, seal: Seal) -> None:
        west, east = (
            batch(0, range(4)),
            replace(batch(0, range(4, 8), seed=1, tile="31UGU"), unit="signatures/parcels/e/0"),
        )
        store.load_segment(seal(west, east))
        moved = batch(0, range(6), seed=2)
        assert store.load_segment(seal(moved), drop=[east.unit]) == 6
        less = replace(batch(0, range(6, 8), seed=3, tile="31UGU"), unit=east.unit)
        store.load_segment(seal(less))
        for row in range(6):
            _check_series(store, moved, row)
        for row in range(2):
            _check_series(store, less, row)
        assert count("record") == 8

    def test_a_unit_twice_in_one_segment(self, store: Store, count: Count, seal: Seal) -> None:
        """Done twice by one worker."""
        first, second = batch(0, seed=1), batch(0, range(4), seed=2)
        assert store.load_segment(seal(first, second)) == 4
        _check_series(store, second, 3)
        assert count("record") == 4

    def test_only_some_units_of_a_segment(self, store: Store, count: Count, seal: Seal) -> None:
        made = [batch(number) for number in range(3)]
        sealed = seal(*made)
        assert store.load_segment(sealed, [made[1].unit]) == 8
        _check_series(store, made[1], 2)
        assert store.load_segment(sealed) == 16, "those that were not there"
        assert count("record") == 24

    def test_dropped_units_leave_nothing(self, store: Store, count: Count, seal: Seal) -> None:
        other = batch(1, range(3), bands=("B11",), statistics=("mean", "std", "min", "max", "p5"))
        store.load_segment(seal(batch(0)))
        store.load_segment(seal(other))
        store.drop(REDUCTION, [batch(0).unit, "signatures/parcels/never"])
        assert (count("record"), count("observation"), count("acquisition")) == (3, 1, 1)
        assert store.bands(REDUCTION) == ["B11"]
        _check_series(store, other, 2)
        assert list(store.image(REDUCTION, "GS2A_00001", "B11").columns)[-1] == "p5"
        store.load_segment(seal(batch(0)))
        _check_series(store, batch(0), 5)

    def test_removed_reductions_leave_the_others(self, store: Store, count: Count, seal: Seal) -> None:
        store.load_zones("meadows", zone_layer(["m"]))
        store.load_segment(seal(batch(0)))
        store.remove(REDUCTION)
        assert store.reductions() == ["meadows"]
        assert (count("observation"), count("acquisition")) == (0, 0)
        store.load_zones(REDUCTION, LAYER)
        store.load_segment(seal(batch(0)))
        _check_series(store, batch(0), 1)

    def test_owners(self, store: Store) -> None:
        mine = StoreOwner("mine", "run-1", "here:/a.yaml")
        assert store.owners() == {REDUCTION: StoreOwner()}
        store.load_zones(REDUCTION, LAYER, mine)
        store.load_zones("other", zone_layer(["m"]), StoreOwner("other", "run-2", "there:/b.yaml"))
        assert store.owners() == {REDUCTION: mine, "other": StoreOwner("other", "run-2", "there:/b.yaml")}

    def test_bands_and_statistics_may_change(self, store: Store, seal: Seal) -> None:
        old = batch(0, bands=("B04",), statistics=("mean", "std", "min", "max", "p12.5"))
        new = batch(1, bands=("NDVI", "B04"))
        store.load_segment(seal(old))
        store.load_segment(seal(new))
        assert store.bands(REDUCTION) == ["B04", "NDVI"]
        frame = store.series(REDUCTION, LAYER.ids[3])
        assert [(str(row.band), row.acquisition) for row in frame.itertuples()] == [
            ("B04", "GS2A_00000"),
            ("B04", "GS2A_00001"),
            ("NDVI", "GS2A_00001"),
        ]
        assert np.float32(frame["p12.5"][0]) == old.values[3, 0, 4]
        assert np.isnan(frame["p50"][0])
        assert np.float32(frame["p50"][1]) == new.values[3, 1, 5]
        replaced = batch(0, bands=("NDVI",))
        store.load_segment(seal(replaced))
        assert store.series(REDUCTION, LAYER.ids[3], "NDVI")["mean"].notna().sum() == 2
        assert len(store.series(REDUCTION, LAYER.ids[3], "B04")) == 1, "what the newer record lacks is gone"

    @pytest.mark.parametrize("zone", [None, UTC, timezone(timedelta(hours=-9, minutes=-30))])
    def test_times_are_utc(
        self, store: Store, seal: Seal, zone: timezone | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TZ", "Pacific/Auckland")
        time.tzset()
        try:
            moment = datetime(2024, 6, 30, 23, 59, 58, 999000)
            given = moment if zone is None else moment.replace(tzinfo=UTC).astimezone(zone)
            store.load_segment(seal(batch(0, time=given)))
            assert set(store.series(REDUCTION, LAYER.ids[0])["time"]) == {pd.Timestamp(moment)}
        finally:
            monkeypatch.undo()
            time.tzset()

    @pytest.mark.parametrize("band", [None, "NDVI", "B11"])
    @pytest.mark.parametrize("rows", [1, 7, 10_000])
    def test_blocks_are_the_series_of_all_zones(self, store: Store, seal: Seal, band: str | None, rows: int) -> None:
        """Whatever their size, and though records have several layouts, tiles and gaps."""
        east = replace(batch(3, [0, 6, 7], seed=4, tile="31UGU"), unit="signatures/parcels/e/3")
        store.load_segment(seal(batch(3, [1, 2, 4], empty=[1]), east))
        store.load_segment(
            seal(batch(1, range(5), bands=("B11", "NDVI"), statistics=("mean", "std", "min", "max", "p5")))
        )
        store.load_segment(seal(batch(0, [1, 2, 7], empty=[0, 2], cloud_cover=None)))
        batches = list(record_batches(store.blocks(REDUCTION, band, rows=rows)))
        found = to_frame(pa.Table.from_batches(batches, schema(store.blocks(REDUCTION, band).layout)))
        frames = [store.series(REDUCTION, zone, band).assign(zone=zone) for zone in LAYER.ids]
        expected = pd.concat([frame for frame in frames if len(frame)], ignore_index=True)[list(found.columns)]
        assert len(expected) >= 5 and sum(one.num_rows for one in batches) == len(expected)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, check_exact=True)
        assert len(batches) == {1: len(set(expected["zone"])), 10_000: 1}.get(rows, len(batches))

    def test_blocks_have_the_pixels_of_classes(self, store: Store, seal: Seal) -> None:
        made = batch(0, [5, 2, 3], empty=[1])
        store.load_segment(seal(made, batch(1)))
        (block,) = store.blocks(REDUCTION, "B04", "SCL")
        assert block.layout.classes == {"SCL": (4, 5, 9)}
        first = block.origins.time[block.origin] == block.origins.time[0]
        assert [block.names[row] for row in block.zone[first]] == [LAYER.ids[row] for row in (2, 3, 5)]
        np.testing.assert_array_equal(block.classes["SCL"][first], made.classes["SCL"][1][[1, 2, 0]])
        (other,) = store.blocks(REDUCTION, "B04", "CLD")
        assert other.classes == {} and len(other.zone) == 11

    def test_blocks_of_nothing(self, store: Store, seal: Seal) -> None:
        assert list(store.blocks(REDUCTION)) == []
        store.load_segment(seal(batch(0, [])))
        assert list(store.blocks(REDUCTION)) == []
        with pytest.raises(StoreError, match="B99"):
            store.blocks(REDUCTION, "B99")
        with pytest.raises(StoreError, match="meadows"):
            store.blocks("meadows")

    def test_blocks_are_of_one_state(self, fresh: Fresh, store: Store, seal: Seal) -> None:
        """What is loaded between two blocks is no part of either, so that the reading ends."""
        store.load_segment(seal(batch(0), batch(1)))
        blocks, other = iter(store.blocks(REDUCTION, rows=1)), fresh.open()
        assert len(next(blocks).zone) == 2
        other.load_segment(seal(batch(0, seed=1)))
        other.close()
        with pytest.raises(StoreError, match="while they were read"):
            list(blocks)
        assert sum(len(block.zone) for block in store.blocks(REDUCTION)) == 16

    def test_blocks_may_be_left(self, store: Store, seal: Seal) -> None:
        store.load_segment(seal(batch(0), batch(1)))
        for _ in range(3):
            assert len(next(iter(store.blocks(REDUCTION, rows=1))).zone) == 2
        assert store.load_segment(seal(batch(2))) == 8

    def test_markers_are_what_was_found(self, fresh: Fresh, store: Store) -> None:
        rows = _markers([5, 1, 1])
        store.load_markers(REDUCTION, _rule(practice="mowing"), "id-1", LAYER.digest, rows)
        store.load_markers(REDUCTION, _rule("other", drop=None, above=0.5), "id-2", LAYER.digest, _markers([5], 37))
        other = fresh.open()
        frame = other.markers(REDUCTION)
        assert other.marker_rules(REDUCTION) == {"mowing": "id-1", "other": "id-2"}
        assert list(frame.columns) == list(MARKER_COLUMNS)
        assert frame["foi_id"].tolist() == [LAYER.ids[row] for row in (1, 1, 5, 5)]
        assert frame["marker"].tolist() == ["mowing", "mowing", "mowing", "other"]
        assert frame["marker_type"].tolist() == ["drop"] * 3 + ["above"]
        assert frame["practice"].tolist()[:3] == ["mowing"] * 3 and pd.isna(frame["practice"][3])
        assert frame["relative_orbit"].isna().tolist() == [True] * 3 + [False] and frame["relative_orbit"][3] == 37
        days = ["date_start", "date_main", "date_end"]
        assert list(frame.loc[2, days]) == [pd.Timestamp(d) for d in ("2023-12-31", "2024-01-05", "2024-01-09")]
        assert frame.loc[0, "date_start"] == pd.Timestamp("2024-01-01") and set(frame["duration_days"]) == {9}
        assert frame.loc[2, "time_start"] == pd.Timestamp("2023-12-31T23:59:59.999")
        assert list(frame.loc[0, ["value_1", "value_2", "value_3", "confidence"]]) == [1.5, 1.25, 1.125, 0.5]
        assert frame["observations"].tolist()[0] == ['GS2A "1"', "GS2B\\2, x", 'GS2A "1"']
        one = other.markers(REDUCTION, LAYER.ids[5])
        pd.testing.assert_frame_equal(one, frame[2:].reset_index(drop=True))
        other.close()

    def test_markers_of_a_rule_are_replaced_and_no_others(self, store: Store) -> None:
        for name in ("mowing", "harvest"):
            store.load_markers(REDUCTION, _rule(name), "old", LAYER.digest, _markers([0, 1]))
        store.load_markers(REDUCTION, _rule("mowing", drop=0.3), "new", LAYER.digest, _markers([7]))
        assert store.markers(REDUCTION)["marker"].tolist() == ["harvest", "harvest", "mowing"]
        store.load_markers(REDUCTION, _rule("harvest"), "none", LAYER.digest, joined([]))
        assert store.marker_rules(REDUCTION) == {"mowing": "new", "harvest": "none"}
        store.drop_markers(REDUCTION, ["harvest", "never"])
        assert store.marker_rules(REDUCTION) == {"mowing": "new"}
        assert store.markers(REDUCTION)["foi_id"].tolist() == [LAYER.ids[7]]

    def test_markers_go_with_their_zones(self, store: Store) -> None:
        store.load_zones("meadows", zone_layer(["m"]))
        store.load_markers("meadows", _rule(reduction="meadows"), "m", zone_layer(["m"]).digest, _markers([0]))
        store.load_markers(REDUCTION, _rule(), "old", LAYER.digest, _markers([0]))
        store.load_zones(REDUCTION, zone_layer(["new", *LAYER.ids]))
        assert store.marker_rules(REDUCTION) == {} and store.markers(REDUCTION).empty
        with pytest.raises(StoreError, match="replaced"):
            store.load_markers(REDUCTION, _rule(), "old", LAYER.digest, _markers([0]))
        store.remove(REDUCTION)
        assert store.markers("meadows")["foi_id"].tolist() == ["m"]

    @pytest.mark.parametrize("zone", [*INJECTIONS, "' OR '1'='1", "x\0y", "nobody"])
    def test_markers_of_hostile_names(self, store: Store, zone: str) -> None:
        store.load_markers(REDUCTION, _rule(), "id", LAYER.digest, _markers(list(range(8))))
        assert len(store.markers(REDUCTION, zone)) == (1 if zone in INJECTIONS else 0)
        with pytest.raises(StoreError):
            store.markers(zone)
        assert len(store.markers(REDUCTION)) == 8

    def test_two_programs_write_the_same_markers_at_once(self, fresh: Fresh, store: Store) -> None:
        def work() -> None:
            mine = fresh.open()
            for _ in range(5):
                mine.load_markers(REDUCTION, _rule(), "id", LAYER.digest, _markers([1, 2, 3]))
            mine.close()

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert store.markers(REDUCTION)["foi_id"].tolist() == [LAYER.ids[row] for row in (1, 2, 3)]

    def test_class_counts(self, store: Store, seal: Seal) -> None:
        made = batch(0, empty=[2])
        store.load_segment(seal(made, batch(1)))
        frame = store.class_counts(REDUCTION, LAYER.ids[2], "SCL")
        assert list(frame.columns) == ["time", "acquisition", "4", "5", "9"]
        np.testing.assert_array_equal(frame[["4", "5", "9"]].to_numpy()[0], made.classes["SCL"][1][2])
        with pytest.raises(StoreError, match="CLD"):
            store.class_counts(REDUCTION, LAYER.ids[2], "CLD")

    def test_image(self, store: Store, seal: Seal) -> None:
        made = batch(1, range(5), empty=[0])
        store.load_segment(
            seal(batch(0), made, replace(batch(1, range(5, 8), tile="31UGU"), unit="signatures/parcels/e/1"))
        )
        frame = store.image(REDUCTION, "GS2A_00001", "NDVI")
        assert list(frame["zone"]) == list(LAYER.ids)
        np.testing.assert_array_equal(frame[list(STATISTICS)].to_numpy(np.float32)[:5], made.values[:, 2])
        assert len(store.image(REDUCTION, "no such", "NDVI")) == 0

    def test_summary_and_names(self, store: Store, seal: Seal) -> None:
        assert store.summary() == {REDUCTION: {"zones": 8, "acquisitions": 0, "records": 0, "signatures": 0}}
        store.load_segment(seal(batch(0), batch(1, range(3))))
        assert store.summary() == {REDUCTION: {"zones": 8, "acquisitions": 2, "records": 11, "signatures": 33}}
        assert store.reductions() == [REDUCTION]
        assert store.bands(REDUCTION) == list(BANDS)
        assert store.zone_ids(REDUCTION) == list(LAYER.ids)

    def test_what_is_not_there(self, store: Store, seal: Seal) -> None:
        store.load_segment(seal(batch(0)))
        assert store.series(REDUCTION, "nobody").empty
        assert "mean" in store.series(REDUCTION, "nobody").columns
        with pytest.raises(StoreError, match="B99"):
            store.series(REDUCTION, LAYER.ids[0], "B99")
        with pytest.raises(StoreError, match="meadows"):
            store.series("meadows", LAYER.ids[0])

    @pytest.mark.parametrize("zone", [*INJECTIONS, "' OR '1'='1", "x\0y"])
    def test_injection(self, store: Store, count: Count, seal: Seal, zone: str) -> None:
        store.load_segment(seal(batch(0)))
        assert len(store.series(REDUCTION, zone)) == (3 if zone in INJECTIONS else 0)
        for hostile in (zone, f'a"; DROP TABLE {zone}'):
            with pytest.raises(StoreError):
                store.series(REDUCTION, LAYER.ids[0], hostile)
            with pytest.raises(StoreError):
                store.series(hostile, LAYER.ids[0])
            if "\0" not in hostile:
                assert store.image(REDUCTION, hostile, "NDVI").empty
        assert count("record") == 8

    def test_changed_zones_remove_their_results(self, store: Store, count: Count, seal: Seal) -> None:
        old = seal(batch(0))
        store.load_segment(old)
        store.load_zones(REDUCTION, LAYER)
        assert count("record") == 8, "the same layer again changes nothing"
        changed = zone_layer(["new", *LAYER.ids])
        store.load_zones(REDUCTION, changed)
        assert (count("record"), count("ledger"), count("observation")) == (0, 0, 0)
        with pytest.raises(StoreError, match="zone layer"):
            store.load_segment(old)
        made = batch(0, range(9))
        store.load_segment(seal(made, layer=changed))
        assert np.float32(store.series(REDUCTION, "new", "B04")["mean"][0]) == made.values[0, 0, 0]
        store.load_zones(REDUCTION, LAYER)
        assert store.load_segment(old) == 8, "the first layer is back, and its segments with it"

    def test_several_reductions(self, store: Store, seal: Seal) -> None:
        layer = zone_layer(["a", "b"], epsg=3035)
        store.load_zones("forest", layer)
        one, other = seal(batch(0)), seal(batch(0, range(2), seed=5), layer=layer)
        other = replace(other, header=replace(other.header, reduction="forest"))
        store.load_segment(one)
        store.load_segment(other)
        assert store.reductions() == [REDUCTION, "forest"]
        assert len(store.series("forest", "b")) == len(store.series(REDUCTION, LAYER.ids[0])) == 3
        assert store.series("forest", LAYER.ids[0]).empty
        store.load_zones("forest", zone_layer(["a", "c"], epsg=3035))
        assert store.series("forest", "a").empty
        assert len(store.series(REDUCTION, LAYER.ids[0])) == 3

    @pytest.mark.parametrize("zones", [[7, 8], [-1, 3]])
    def test_rows_beyond_the_layer(self, store: Store, count: Count, seal: Seal, zones: list[int]) -> None:
        with pytest.raises(SpoolError, match="beyond"):
            store.load_segment(seal(batch(0), batch(1, zones)))
        assert (count("record"), count("ledger")) == (0, 0)

    def test_failure_in_the_middle_leaves_nothing(self, store: Store, count: Count, seal: Seal) -> None:
        store.load_segment(seal(batch(0)))
        sealed = seal(batch(1), batch(2))
        torn = replace(sealed.batches[1], valid=sealed.batches[1].valid[:3])
        with pytest.raises((ValueError, StoreError)):
            store.load_segment(replace(sealed, batches=(sealed.batches[0], torn)))
        assert (count("record"), count("ledger")) == (8, 1)
        assert store.load_segment(sealed) == 16

    def test_segment_without_rows(self, store: Store, seal: Seal) -> None:
        assert store.load_segment(seal(batch(0, []))) == 0
        assert store.series(REDUCTION, LAYER.ids[0]).empty
