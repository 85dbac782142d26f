"""A campaign that everything happens to: edits, kills, damage, copies. Small enough to run in a second."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
import xarray as xr

from hpckit.base.console import Console
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.catalogue import catalogue
from hpckit.cubes import read
from hpckit.production import driver
from hpckit.production.driver import run_campaign
from hpckit.production.worker import Worker
from hpckit.runs.journal import Entry
from hpckit.runs.plan import Unit, bundles
from hpckit.runs.run import open_run
from hpckit.sensors.bands import BandRef
from hpckit.sensors.sentinel2.bands import WINDOW
from hpckit.store import open_store
from tests import products
from tests.products import read_product
from tests.small_campaign import write_zones

QUIET = Console(quiet=True)
ROWS, COLUMNS = 96, 1320
"""Pixels of 10 m: two windows side by side, at 20 m too."""
SCENES = 4
CLOUDY = 3
"""Scene that its metadata call cloudy."""
LAYERS = {
    "all": [shapely.box(600100 + 2500 * n, 5699100, 600350 + 2500 * n, 5699900) for n in range(6)],
    "few": [shapely.box(600200, 5699200, 600900, 5699800), shapely.Point(610400, 5699500).buffer(400, 4)],
}
AREAS = {
    "all": "zones-all.gpkg",
    "west": "[4.41, 51.35, 4.45, 51.55]",
    "east": "[4.5868, 51.35, 4.65, 51.55]",
}
"""The windows of these: both, the western ones, the eastern ones and that of a zone that reaches over the border."""
EXTENTS = ("aoi", "zones", "granule")
PERIODS = {"whole": (-10, 40), "first": (-10, 6), "later": (4, 40)}
"""First and last day, counted from the first scene."""
MASKS = {"clouds": "{}", "none": "null", "vegetation": "{exclude: [4]}"}

Product = tuple[int, int]
"""Number of the scene, and version: 1 is reprocessed; 2 and 3 replace 0 and 1 under their names."""
EVERY = [(number, version) for number in range(SCENES) for version in range(4)]


@dataclass(frozen=True)
class Settings:
    """What a person edits."""

    mask: str = "clouds"
    index: str = "(B08 - B04) / (B08 + B04)"
    percentiles: tuple[int, ...] = (50,)
    bands: tuple[str, ...] = ("B04",)
    swir: bool = False
    period: str = "whole"
    zones: str = "all"
    max_cloud_cover: int = 100
    aoi: str = "all"
    extent: str = "aoi"

    def text(self, name: str, reduction: str, store: str, cube: str) -> str:
        first, last = (products.FIRST.date() + timedelta(days=days) for days in PERIODS[self.period])
        bands = [*self.bands, *(["B11"] if self.swir else [])]
        held = ["B04", "B08", "SCL", *(["B11"] if self.swir else [])]
        return f"""\
name: {name}
aoi: {AREAS[self.aoi]}
period: {first}/{last}
scenes: {{paths: [scenes], max_cloud_cover: {self.max_cloud_cover}}}
cube: {{path: {cube}, bands: [{", ".join(held)}], dates_per_block: 2, extent: {self.extent}}}
reductions:
  - name: {reduction}
    zones: zones-{self.zones}.gpkg
    id: name
    bands: [{", ".join(bands)}]
    indices: {{ONE: {self.index}}}
    percentiles: {list(self.percentiles)}
    mask: {MASKS[self.mask]}
{store}
"""

    def takes(self, product: Product) -> bool:
        """Whether a product fits."""
        number, _ = product
        first, last = PERIODS[self.period]
        return first <= 5 * number <= last and (number != CLOUDY or self.max_cloud_cover >= 80)


def replaced(product: Product) -> Product:
    """The product of the same name with other pixels."""
    return product[0], product[1] ^ 2


def spec_of(product: Product) -> Any:
    number, version = product
    cover = 80.0 if number == CLOUDY else 10.0
    return products.spec(number, baseline=f"05.1{version % 2}", cloud_cover=cover)


class Shelf:
    """All products there are, and what fresh folders make of some of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, tuple[pd.DataFrame, list[str], dict[str, xr.Dataset]]] = {}
        self.counted = 0
        self.made_of: dict[Product, str] = {}
        for number, version in EVERY:
            square = products.arrays(10 * number + version, COLUMNS)
            pixels = {key: array[: array.shape[0] * ROWS // COLUMNS] for key, array in square.items()}
            classes = np.random.default_rng(number).choice([4, 5, 9], (ROWS // 2, COLUMNS // 2)).astype(np.uint8)
            spec = spec_of((number, version))
            path = products.write_product(folder / f"products-{version}", spec, {**pixels, "SCL@20m": classes})
            self.made_of[number, version] = read_product(path).made_of
        for name, shapes in LAYERS.items():
            write_zones(folder / f"zones-{name}.gpkg", shapes)

    def put(self, product: Product, folder: Path) -> None:
        """Copy a product into the folder of a campaign."""
        name = f"{spec_of(product).name}.SAFE"
        shutil.copytree(self.folder / f"products-{product[1]}" / name, folder / "scenes" / name, dirs_exist_ok=True)

    def start(self, folder: Path) -> None:
        """A campaign's folder without products."""
        (folder / "scenes").mkdir(parents=True)
        for name in LAYERS:
            shutil.copy(self.folder / f"zones-{name}.gpkg", folder)

    def fresh(self, settings: Settings, used: frozenset[Product]) -> tuple[Any, ...]:
        """What a folder holds that saw only these settings and products."""
        key = json.dumps([asdict(settings), sorted(used)])
        if key not in self.known:
            self.counted += 1
            folder = self.folder / f"fresh-{self.counted}"
            self.start(folder)
            for product in used:
                self.put(product, folder)
            path = folder / "campaign.yaml"
            path.write_text(settings.text("test", "fields", "", "cube.zarr"))
            assert run_here(path) == 0
            self.known[key] = content(load_campaign(path))
            shutil.rmtree(folder)
        return self.known[key]


def content(campaign: Campaign) -> tuple[pd.DataFrame, list[str], dict[str, xr.Dataset]]:
    """All signatures, bands, and pixels."""
    store, name = open_store(campaign), campaign.signatures[0].name
    try:
        frames = [store.series(name, zone).assign(zone=zone) for zone in store.zone_ids(name)]
        bands, names = store.bands(name), [item for item in store.reductions() if item == name]
        assert names == [name]
    finally:
        store.close()
    frames = [frame for frame in frames if not frame.empty]  # of zones beyond the area
    table = pd.concat(frames).sort_values(["zone", "time", "band"]).reset_index(drop=True).drop(columns="run_id")
    cube = {}
    for ref in campaign.cube_bands():
        pixels = read.open_tile(campaign.cube_path, "31UFU", ref.resolution_m)[ref.name].load()
        held = read.held_windows(read.band_array(campaign.cube_path, "31UFU", ref))
        cube[ref.key] = pixels.drop_attrs().assign_coords(held=("x", _held(held, pixels.sizes["x"], ref)))
    return table, bands, cube


def _held(windows: np.ndarray, columns: int, ref: BandRef) -> np.ndarray:
    """Whether each column of pixels lies in a window that is held; there is one row of windows."""
    return windows[0].repeat(WINDOW[ref.resolution_m])[:columns]


def equal(found: tuple[Any, ...], wanted: tuple[Any, ...]) -> None:
    """Equal to the last bit."""
    pd.testing.assert_frame_equal(found[0], wanted[0])
    assert found[1] == wanted[1]
    assert found[2].keys() == wanted[2].keys()
    for name, pixels in wanted[2].items():
        held = pixels["held"].to_numpy()
        np.testing.assert_array_equal(found[2][name]["held"].to_numpy(), held)
        np.testing.assert_array_equal(
            found[2][name].to_numpy()[..., held], pixels.to_numpy()[..., held], err_msg=name
        )
        np.testing.assert_array_equal(found[2][name]["time"].to_numpy(), pixels["time"].to_numpy())


def kept(found: tuple[Any, ...], whole: tuple[Any, ...]) -> None:
    """What is left in windows that are not asked for is right, or empty at a date."""
    for name, pixels in whole[2].items():
        beyond = ~found[2][name]["held"].to_numpy()
        for left, right in zip(found[2][name].to_numpy()[..., beyond], pixels.to_numpy()[..., beyond], strict=True):
            empty = not np.nan_to_num(left).any()
            assert empty or np.array_equal(left, right, equal_nan=left.dtype.kind == "f"), name


def run_here(path: Path, die_after: int | None = None) -> int:
    """`hpckit run` in this process; SIGKILL after so many units, if given."""
    left = die_after

    def inline(
        run_dir: Path, units: Sequence[Unit], *, report: Callable[[Entry], None], frozen: str, **_: object
    ) -> list[Unit]:
        def told(entry: Entry) -> None:
            nonlocal left
            if left is not None:
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
            report(entry)

        Worker(run_dir, f"inline-{os.getpid()}", 1, frozen=frozen).work(bundles(units), told)
        return []

    before, driver.run_units = driver.run_units, inline
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    try:
        return run_campaign(load_campaign(path), QUIET, workers=1).exit_code
    finally:
        driver.run_units = before
        root.handlers = handlers  # a worker sets up the logging of its process
        root.setLevel(level)


def run_and_die(path: Path, after: int) -> None:
    """Run in a process of its own that is killed after so many units, or ends before."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["hpckit.production.worker", "tests.changing"])
    process = context.Process(target=run_here, args=(path, after))
    process.start()
    process.join()


@dataclass
class Folder:
    """A campaign's folder and what a model of it knows."""

    shelf: Shelf
    path: Path
    store: str = ""
    settings: Settings = field(default_factory=Settings)
    present: set[Product] = field(default_factory=set)

    def write(self) -> None:
        """Write the campaign file."""
        self.path.write_text(self.settings.text("test", "fields", self.store, "cube.zarr"))

    def edit(self, **changes: Any) -> None:
        """Change settings, and write them."""
        self.settings = replace(self.settings, **changes)
        self.write()

    def used(self) -> frozenset[Product]:
        """Products that the next run uses: those there, and removed ones that the last run used."""
        selected = open_run(load_campaign(self.path)).selected
        before = {scene.made_of for scene in catalogue.read(selected)} if selected.exists() else set()
        gone = {product for product in EVERY if self.shelf.made_of[product] in before}
        known = self.present | {product for product in gone if replaced(product) not in self.present}
        return frozenset(product for product in known if self.settings.takes(product))

    def check(self, used: frozenset[Product]) -> None:
        """Store and cube are those of a fresh folder."""
        found = content(load_campaign(self.path))
        equal(found, self.shelf.fresh(self.settings, used))
        if self.settings.extent != "granule":
            kept(found, self.shelf.fresh(replace(self.settings, extent="granule"), used))


def first_day() -> date:
    """Of the first scene."""
    return products.FIRST.date()
