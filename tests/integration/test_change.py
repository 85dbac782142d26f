"""Whatever happens to a campaign: after a run that ends with 0, store and cube are those of a fresh folder.

`HPCKIT_CHANGES=EXAMPLES,STEPS` runs longer.
"""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from hpckit.campaign.campaign import load_campaign
from hpckit.errors import HpckitError, StoreError
from hpckit.production.driver import plan_campaign, verify_campaign
from hpckit.production.sync import sync
from hpckit.runs.run import find_run, open_run
from tests.changing import (
    AREAS,
    CLOUDY,
    EXTENTS,
    LAYERS,
    MASKS,
    PERIODS,
    QUIET,
    SCENES,
    Folder,
    Shelf,
    content,
    replaced,
    run_and_die,
    run_here,
)

pytestmark = [pytest.mark.integration, pytest.mark.slow]

_USUAL = "4,14" if os.environ.get("CI") else "6,14"
EXAMPLES, STEPS = (int(number) for number in os.environ.get("HPCKIT_CHANGES", _USUAL).split(","))
PRODUCTS = st.tuples(st.integers(0, SCENES - 1), st.integers(0, 1))
EDITS = st.one_of(
    st.fixed_dictionaries({"mask": st.sampled_from(sorted(MASKS))}),
    st.fixed_dictionaries({"index": st.sampled_from(["(B08 - B04) / (B08 + B04)", "B08 / (B04 + 1)", "B08 - B04"])}),
    st.fixed_dictionaries({"percentiles": st.sampled_from([(50,), (5, 95), ()])}),
    st.fixed_dictionaries({"bands": st.sampled_from([("B04",), ("B08", "B04"), ("B08", "SCL")])}),
    st.fixed_dictionaries({"swir": st.booleans()}),
    st.fixed_dictionaries({"period": st.sampled_from(sorted(PERIODS))}),
    st.fixed_dictionaries({"zones": st.sampled_from(sorted(LAYERS))}),
    st.fixed_dictionaries({"max_cloud_cover": st.sampled_from([100, 50])}),
    st.fixed_dictionaries({"aoi": st.sampled_from(sorted(AREAS))}),
    st.fixed_dictionaries({"extent": st.sampled_from(EXTENTS)}),
)


class Changes(RuleBasedStateMachine):
    """All that may happen to a campaign, in any order."""

    shelf: ClassVar[Shelf]
    root: ClassVar[Path]
    dsn: ClassVar[str | None] = None
    runs: ClassVar[int] = 0

    @initialize(scenes=st.sets(st.integers(0, SCENES - 1), min_size=1, max_size=3))
    def begin(self, scenes: set[int]) -> None:
        self.schema = f"c_{uuid.uuid4().hex[:12]}"
        folder = self.root / self.schema
        self.shelf.start(folder)
        self.it = Folder(self.shelf, folder / "campaign.yaml", self._store())
        self.it.write()
        for number in scenes:
            self._put((number, 0))
        self.beside: Any = None

    def teardown(self) -> None:
        try:
            if hasattr(self, "beside"):
                self.run()  # whatever happened before
        finally:
            self._clean()

    def _clean(self) -> None:
        if hasattr(self, "it"):
            shutil.rmtree(self.it.path.parent, ignore_errors=True)
        if self.dsn is not None and hasattr(self, "schema"):
            import psycopg2

            with psycopg2.connect(self.dsn) as connection, connection.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")

    def _store(self) -> str:
        return "" if self.dsn is None else f"store: {{dsn: '{self.dsn}', schema: {self.schema}}}"

    def _put(self, product: tuple[int, int]) -> None:
        self.shelf.put(product, self.it.path.parent)
        self.it.present = (self.it.present - {replaced(product)}) | {product}

    @rule(changes=EDITS)
    def edit(self, changes: dict[str, Any]) -> None:
        self.it.edit(**changes)

    @rule(product=PRODUCTS)
    def add_or_reprocess(self, product: tuple[int, int]) -> None:
        self._put(product)

    @rule(position=st.integers(0, 7))
    def replace_in_place(self, position: int) -> None:
        """Other pixels under the same name."""
        present = sorted(self.it.present)
        self._put(replaced(present[position % len(present)]))

    @rule(product=PRODUCTS)
    def remove_product(self, product: tuple[int, int]) -> None:
        product = product if product in self.it.present else replaced(product)
        if product in self.it.present and len(self.it.present) > 1:
            self.it.present.discard(product)
            from tests.changing import spec_of

            shutil.rmtree(self.it.path.parent / "scenes" / f"{spec_of(product).name}.SAFE")

    @rule()
    def plan(self) -> None:
        if self.it.used():
            plan_campaign(load_campaign(self.it.path), QUIET)

    @rule()
    def run(self) -> None:
        used = self.it.used()
        if not used:
            with pytest.raises(HpckitError):
                run_here(self.it.path)
            return
        if run_here(self.it.path) == 0:
            type(self).runs += 1
            self.it.check(used)
            if self.beside is not None:
                again = content(load_campaign(self.it.path.with_name("beside.yaml")))
                assert again[0].equals(self.beside[0]), "the results of the campaign beside"
        else:  # a product that is gone was needed: nothing else keeps a run from its end
            assert used - self.it.present, "why did it fail?"

    @rule(after=st.integers(0, 12))
    def kill(self, after: int) -> None:
        if self.it.used():
            run_and_die(self.it.path, after)

    @rule()
    def sync_alone(self) -> None:
        campaign = load_campaign(self.it.path)
        if open_run(campaign).selected.exists():
            sync(campaign, find_run(campaign.run_dir), QUIET)

    @rule(position=st.integers(0, 5), damage=st.sampled_from(["delete", "cut", "flip"]))
    def harm_a_segment(self, position: int, damage: str) -> None:
        self._harm(sorted((self.it.path.parent / "test.run" / "spool").glob("*.h5")), position, damage)

    @rule(position=st.integers(0, 40), damage=st.sampled_from(["delete", "cut", "flip"]))
    def harm_a_shard(self, position: int, damage: str) -> None:
        shards = (self.it.path.parent / "cube.zarr").rglob("c/*/*/*")
        self._harm(sorted(path for path in shards if path.is_file()), position, damage)

    def _harm(self, paths: list[Path], position: int, damage: str) -> None:
        if not paths:
            return
        path = paths[position % len(paths)]
        data = bytearray(path.read_bytes())
        if damage == "delete":
            path.unlink()
            return
        data[len(data) // 2] ^= 0x55
        path.write_bytes(data if damage == "flip" else data[: len(data) * 2 // 3])

    @rule()
    def verify(self) -> None:
        campaign = load_campaign(self.it.path)
        if open_run(campaign).selected.exists():
            verify_campaign(campaign, QUIET)

    @rule(keep=st.booleans())
    def copy_the_folder(self, keep: bool) -> None:
        before = self.it.path.parent
        after = before.with_name(f"{self.schema}-{uuid.uuid4().hex[:6]}")
        shutil.copytree(before, after)
        if not keep or self.dsn is not None:
            shutil.rmtree(before)
        self.it.path = after / "campaign.yaml"

    @rule()
    def new_store(self) -> None:
        self.beside = None
        if self.dsn is None:
            (self.it.path.parent / "test.gpkg").unlink(missing_ok=True)
        else:
            self.schema = f"c_{uuid.uuid4().hex[:12]}"
            self.it.store = self._store()
            self.it.write()

    @rule()
    def delete_the_run_directory(self) -> None:
        shutil.rmtree(self.it.path.parent / "test.run", ignore_errors=True)

    @precondition(lambda self: self.beside is None and not self.it.present & {(CLOUDY, 0), (CLOUDY, 2)})
    @rule()
    def second_campaign_beside(self) -> None:
        """One with the same reduction is refused, one with another lives beside."""
        folder, store = self.it.path.parent, self._store() or "store: {path: test.gpkg}"
        if not self.it.settings.takes(min(self.it.present)):
            return
        other = folder / "beside.yaml"
        known = open_run(load_campaign(self.it.path)).selected.exists() and (
            self.dsn is not None or (folder / "test.gpkg").exists()
        )
        if known and find_run(self.it.path).campaign.signatures:
            sync(load_campaign(self.it.path), find_run(self.it.path), QUIET)
            other.write_text(self.it.settings.text("beside", "fields", store, "beside.zarr"))
            with pytest.raises(StoreError, match="belongs to"):
                run_here(other)
        other.write_text(self.it.settings.text("beside", "others", store, "beside.zarr"))
        assert run_here(other) == 0
        self.beside = content(load_campaign(other))


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


def machine(shelf: Shelf, root: Path, dsn: str | None, examples: int, steps: int) -> int:
    made = type("Changes", (Changes,), {"shelf": shelf, "root": root, "dsn": dsn, "runs": 0})
    run_state_machine_as_test(
        made,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
    return int(made.runs)


def test_whatever_happens_geopackage(shelf: Shelf, tmp_path: Path) -> None:
    print("runs that ended with 0:", machine(shelf, tmp_path, None, EXAMPLES, STEPS))


@pytest.mark.postgis
def test_whatever_happens_postgis(shelf: Shelf, tmp_path: Path, postgis_dsn: str) -> None:
    print("runs that ended with 0:", machine(shelf, tmp_path, postgis_dsn, max(1, EXAMPLES // 2), STEPS))
