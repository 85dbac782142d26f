"""A product that is replaced under its name is an input that changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hpckit.campaign.campaign import load_campaign
from hpckit.runs.journal import read_journal
from hpckit.runs.run import open_run
from tests.changing import Folder, Shelf, replaced, run_here

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


def put(it: Folder, product: tuple[int, int]) -> None:
    it.shelf.put(product, it.path.parent)
    it.present = (it.present - {replaced(product)}) | {product}


def done(it: Folder) -> int:
    return len(list(read_journal(open_run(load_campaign(it.path)).path)))


def test_a_product_replaced_in_place_is_computed_again(shelf: Shelf, tmp_path: Path) -> None:
    shelf.start(tmp_path / "c")
    it = Folder(shelf, tmp_path / "c" / "campaign.yaml")
    it.write()
    for product in ((0, 0), (1, 0)):
        put(it, product)
    assert run_here(it.path) == 0
    it.check(it.used())
    for changed in ((0, 2), (1, 2), (0, 0)):  # and back
        put(it, changed)
        assert run_here(it.path) == 0
        assert it.used() == frozenset(it.present)
        it.check(it.used())


def test_touched_and_copied_products_compute_nothing(shelf: Shelf, tmp_path: Path) -> None:
    shelf.start(tmp_path / "c")
    it = Folder(shelf, tmp_path / "c" / "campaign.yaml")
    it.write()
    put(it, (0, 0))
    assert run_here(it.path) == 0
    before = done(it)
    scenes = tmp_path / "c" / "scenes"
    shutil.copytree(scenes, tmp_path / "copy", copy_function=shutil.copyfile)
    shutil.rmtree(scenes)
    (tmp_path / "copy").rename(scenes)
    for file in scenes.rglob("*"):
        os.utime(file, (1, 1))
    assert run_here(it.path) == 0
    assert done(it) == before
