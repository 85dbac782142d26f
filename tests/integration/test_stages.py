"""The contract of stages, for each of those that hpckit has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import zarr

from hpckit.campaign.campaign import Campaign
from hpckit.reduce.signatures.index import ZoneIndex
from hpckit.testing.stage import StageTests, run_twice
from tests.small_campaign import copy, results

pytestmark = [pytest.mark.integration, pytest.mark.slow]

COMPOSITES = """\
  - {name: season, kind: composite, period: month, bands: [B04], methods: [median]}
steps:
  - name: note
    each: tile
    command: "cp {zones} {out_file}"
    inputs: {zones: zones.gpkg}
    outputs: {out_file: "{tile}.gpkg"}
"""


def write(made: Path, folder: Path) -> Path:
    path = copy(made, folder)
    path.write_text(path.read_text() + COMPOSITES)
    return path


@pytest.fixture(scope="session")
def pair(made: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return run_twice(write(made, tmp_path_factory.mktemp("stages") / "campaign"))


class _Own(StageTests):
    @pytest.fixture
    def campaign(self, made: Path, tmp_path: Path) -> Path:
        return write(made, tmp_path / "campaign")

    @pytest.fixture
    def finished(self, pair: tuple[Path, Path]) -> tuple[Path, Path]:
        return pair


def arrays(store: Path) -> dict[str, bytes]:
    names = [str(path.parent.relative_to(store)) for path in store.rglob("c") if path.is_dir()]
    group = zarr.open_group(store, mode="r")
    return {name: np.asarray(group[name][...]).tobytes() for name in sorted(names)}


class TestIngest(_Own):
    stage = "ingest"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        return arrays(campaign.cube_path)


class TestZones(_Own):
    stage = "zones"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        found = {path.name: ZoneIndex.load(path) for path in campaign.run_dir.glob("index/*/*/*.npz")}
        return {name: (index.pixels.tobytes(), index.offsets.tobytes()) for name, index in found.items()}


class TestSignatures(_Own):
    stage = "signatures"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        frame = results(campaign)
        return {name: frame[name].astype(str).tolist() for name in frame if name != "run_id"}


class TestComposites(_Own):
    stage = "composites"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        return arrays(campaign.folder / "composites" / "season.zarr")


class TestExport(_Own):
    stage = "export"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        files = sorted((campaign.folder / "composites" / "season").rglob("*.tif"))
        return {path.name: path.read_bytes() for path in files}


class TestStep(_Own):
    stage = "exec-note"

    def outputs(self, campaign: Campaign) -> Mapping[str, object]:
        return {path.name: path.read_bytes() for path in (campaign.folder / "note").glob("*.gpkg")}
