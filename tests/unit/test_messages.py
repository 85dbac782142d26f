"""What messages tell people to correct: fields that exist, and those that are the reason."""

from __future__ import annotations

import ast
import re
import types
import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import shapely
from pydantic import BaseModel

import hpckit
from hpckit.campaign.campaign import Campaign, load_campaign
from hpckit.campaign.composite import Composite
from hpckit.catalogue.selection import fitting, misfit
from hpckit.errors import CampaignError, LoginError
from hpckit.production.check import check_campaign
from hpckit.sensors.model import Dropped
from hpckit.sensors.sentinel1.model import Radar
from hpckit.serve.settings import Settings
from hpckit.sites.login.names import find_access
from hpckit.sites.site import Site, load_site
from hpckit.testing.safe import ProductSpec, write_product
from tests.scene_samples import scene

PACKAGE = Path(hpckit.__file__).parent
VERBS = r"(?:set|correct|mend|choose another|extend|add|give)"
FILES = ("zarr", "parquet", "yaml", "json", "gpkg")


def models(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    """A model and all that its fields hold."""
    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for other in within(field.annotation):
                models(other, seen)
    return seen


def within(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for part in typing.get_args(annotation):
        yield from within(part)


KNOWN = models(Settings, models(Site, models(Composite, models(Campaign, set()))))


def exists(path: list[str], among: set[type[BaseModel]]) -> bool:
    """Whether fields lead from some model along a path; `NAME` stands for any name, a mapping takes any."""
    if not path:
        return True
    for model in among:
        for name, field in model.model_fields.items():
            if path[0] in (name, field.alias):
                inner = set(within(field.annotation))
                rest = path[1:]
                if "dict" in str(field.annotation) or (rest and rest[0] == "NAME"):
                    rest = rest[1:]
                if not rest or exists(rest, inner):
                    return True
    return False


def texts(path: Path) -> Iterator[str]:
    """String constants of a file, without documentation."""
    tree = ast.parse(path.read_text())
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.value
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "NAME" for part in node.values)


def named_fields() -> Iterator[tuple[str, str]]:
    """Fields in backquotes, with the place of the message."""
    for path in sorted(PACKAGE.rglob("*.py")):
        if {"testing", "processgraph"} & set(path.parts):  # arguments of processes are openEO's
            continue
        for text in texts(path):
            for found in re.findall(r"`([a-z_]+(?:\.(?:[a-z_]+|NAME))+)(?::[^`]*)?`", text):
                yield path.name, found
            for found in re.findall(r"(?<![\w./`])((?:scenes|cube|store)(?:\.[a-z_]+)+)\b(?![(/])", text):
                if not found.endswith(FILES):
                    yield path.name, found
            for found in re.findall(rf"\b{VERBS} `([a-z_]+)(?:: [^`]*)?`", text):
                yield path.name, found


def test_fields_in_messages_exist():
    found = sorted(set(named_fields()))
    assert len(found) > 20
    assert [item for item in found if not exists(item[1].split("."), KNOWN)] == []


CAMPAIGN = """\
name: c
aoi: [4.4, 51.4, 4.5, 51.45]
period: 2024-04-01/2024-05-20
scenes: {paths: [scenes]}
cube: {bands: [B04]}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("one")
    spec = ProductSpec(sensed=datetime(2024, 5, 1, 10, 50, 31, tzinfo=UTC), cloud_cover=87.0)
    write_product(path / "scenes", spec, {"B04@10m": np.full((120, 120), 3000, np.uint16)})
    return path


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("paths: [scenes]", "paths: [scenes], max_cloud_cover: 20", "`scenes.max_cloud_cover`"),
        ("paths: [scenes]", "paths: [scenes], collection: sentinel-2-l1c", "`scenes.collection`"),
        ("paths: [scenes]", "paths: [scenes], tiles: [31UGT]", "`scenes.tiles`"),
        ("2024-04-01/2024-05-20", "2023-04-01/2023-05-20", "`period`"),
        ("[4.4, 51.4, 4.5, 51.45]", "[8.4, 51.4, 8.5, 51.45]", "`aoi`"),
    ],
)
def test_check_names_the_field_that_no_product_fits(folder, old, new, field):
    (folder / "campaign.yaml").write_text(CAMPAIGN.replace(old, new))
    (found,) = [item for item in check_campaign(load_campaign(folder / "campaign.yaml")) if item.what == "scenes"]
    assert found.verdict == "error" and found.remedy == f"correct {field}" and "()" not in found.text


def test_a_band_that_products_have_at_another_resolution_is_named(folder):
    (folder / "campaign.yaml").write_text(CAMPAIGN.replace("[B04]", "[B04@20m, B11]"))
    found = [item for item in check_campaign(load_campaign(folder / "campaign.yaml")) if item.what == "cube"]
    assert [item.verdict for item in found] == ["error", "error", "ok"]
    assert found[0].text == "1 of 1 scene without band B04@20m" and found[0].remedy.endswith(
        "has it at 10 m: write `B04` in `cube.bands`"
    )
    assert found[1].remedy.startswith("see S2A_MSIL2A_20240501") and "write" not in found[1].remedy


def test_without_a_product_the_paths_are_named(folder):
    (folder / "empty").mkdir(exist_ok=True)
    (folder / "campaign.yaml").write_text(CAMPAIGN.replace("[scenes]", "[empty]"))
    (found,) = [item for item in check_campaign(load_campaign(folder / "campaign.yaml")) if item.what == "scenes"]
    assert found.remedy == "correct `scenes.paths`" and "there is none" in found.text


def radar_scene(**changes: object):
    day = datetime(2024, 5, 1, 17, 25, tzinfo=UTC)
    radar = Radar("IW", ("VV",), "gamma0", "ascending", 53000, day, day)
    values = {"level": "CARD-BS", "frame": None, "details": radar, "sensed": day, "cloud_cover": None}
    return scene(**{**values, "footprint": shapely.box(4, 51, 5, 52), "relative_orbit": 88, **changes})


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ("tiles: [31UGT]", "`scenes.tiles`"),
        ("radar: {orbit: descending}", "`scenes.radar.orbit`"),
        ("radar: {relative_orbits: [7]}", "`scenes.radar.relative_orbits`"),
    ],
)
def test_radar_products_that_do_not_fit_say_why(tmp_path, more, field):
    text = CAMPAIGN.replace("paths: [scenes]", f"paths: [scenes], collection: sentinel-1-card-bs, {more}")
    (tmp_path / "campaign.yaml").write_text(text.replace("B04", "VV"))
    chosen, dropped = fitting(load_campaign(tmp_path / "campaign.yaml"), [radar_scene()])
    why, remedy = misfit(dropped)
    assert not chosen and why and remedy == f"correct {field}"


def test_of_several_reasons_the_commonest_comes_first():
    dropped = [
        Dropped("a", "tile 31UGT", "scenes.tiles"),
        *[Dropped("b", "cloud cover 90 %", "scenes.max_cloud_cover")] * 2,
    ]
    why, remedy = misfit(dropped, "steps.snap.")
    assert why == "2 times, as cloud cover 90 %; tile 31UGT"
    assert remedy == "correct `steps.snap.scenes.max_cloud_cover` or `steps.snap.scenes.tiles`"


@pytest.mark.parametrize("kind", ["signatures", "composite"])
def test_level_1c_has_nothing_to_mask_by(tmp_path, kind):
    zones = "zones: z.gpkg, id: id, " if kind == "signatures" else ""
    text = CAMPAIGN.replace("[scenes]", "[scenes], collection: sentinel-2-l1c")
    text += f"reductions: [{{name: r, kind: {kind}, {zones}bands: [B04]}}]\n"
    (tmp_path / "campaign.yaml").write_text(text)
    with pytest.raises(
        CampaignError, match="reduction 'r' masks by SCL, which sentinel-2-l1c does not have: write `mask: null`"
    ):
        load_campaign(tmp_path / "campaign.yaml")
    (tmp_path / "campaign.yaml").write_text(text.replace("bands: [B04]}]", "bands: [B04], mask: null}]"))
    assert load_campaign(tmp_path / "campaign.yaml").reductions[0].mask is None


@pytest.mark.parametrize("band", ["VV", "B10", "SCL@10m"])
def test_bands_that_a_collection_lacks_name_it(tmp_path, band):
    (tmp_path / "campaign.yaml").write_text(CAMPAIGN.replace("B04", band))
    with pytest.raises(CampaignError, match=r"cube\.bands: .*`scenes\.collection` is sentinel-2-l2a"):
        load_campaign(tmp_path / "campaign.yaml")


def test_a_login_name_that_is_not_known_yet_leads_to_a_command_that_keeps_it(tmp_path, monkeypatch):
    """`--host` takes no `--user`: the remedy is a command of its own."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "far.yaml"
    path.write_text("name: far\nscheduler: slurm\nlogin: {host: far.example.org, user: '{user}'}\n")
    site = load_site(path)
    with pytest.raises(LoginError) as caught:
        find_access(site)
    assert "`hpckit login open far --user USER`" in caught.value.hint and "`--host`" in caught.value.hint
    assert find_access(site, {"user": "jdoe"}).name == "jdoe" == find_access(site).name
