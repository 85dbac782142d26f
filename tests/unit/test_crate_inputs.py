"""Inputs of a crate on another machine: found by name, told apart by digest, and missed by name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from hpckit.base.files import digest_file
from hpckit.errors import CrateError
from hpckit.production.provenance import crate
from hpckit.production.provenance.finding import Given, differences, find, of_servers
from hpckit.production.provenance.inputs import Loaded, Product

NAMES = ("S2A_MSIL2A_20240501T105031_T31UFU", "S2B_MSIL2A_20240506T105031_T31UFU")
MODEL = "reductions.classes.model"


def product(name: str, place: str, digest: str = "d") -> dict[str, str]:
    return {"id": name, "digest": digest, "place": place, "sensed": "", "platform": "", "tile": ""}


def crate_at(path: Path, *, products=(), files=(), campaigns=None, folder="/nowhere") -> crate.Crate:
    inputs = {"products": list(products), "files": list(files), "campaigns": campaigns or {}}
    return crate.Crate(path, "0", {crate.INPUTS: crate.as_json(inputs), crate.RUN: crate.as_json({"folder": folder})})


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_products_are_found_at_any_depth_however_they_are_packed(tmp_path):
    touch(tmp_path / "archive/2024/05" / f"{NAMES[0]}.zip")
    touch(tmp_path / "archive/2024/06" / f"{NAMES[1]}.SAFE" / "manifest.safe")
    made = crate_at(tmp_path / "a", products=[product(name, f"scenes/{name}.SAFE") for name in NAMES])
    found = find(made, Given([tmp_path / "archive"]))
    assert [Path(text).name for text in found.products] == [f"{NAMES[0]}.zip", f"{NAMES[1]}.SAFE"]


def test_products_within_others_are_not_meant(tmp_path):
    touch(tmp_path / "archive" / "OTHER.SAFE" / f"{NAMES[0]}.zip")
    with pytest.raises(CrateError, match="1 product not found"):
        find(crate_at(tmp_path / "a", products=[product(NAMES[0], NAMES[0])]), Given([tmp_path / "archive"]))


@pytest.mark.parametrize("where", ["beside", "recorded", "home", "absolute"])
def test_products_are_looked_for_where_they_lay(tmp_path, monkeypatch, where):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    file = f"{NAMES[0]}.zip"
    places = {
        "beside": (tmp_path / "scenes" / file, f"scenes/{file}", "/nowhere"),
        "recorded": (tmp_path / "farm" / "scenes" / file, f"scenes/{file}", str(tmp_path / "farm")),
        "home": (tmp_path / "home" / "data" / file, f"~/data/{file}", "/nowhere"),
        "absolute": (tmp_path / "data" / file, str(tmp_path / "data" / file), "/nowhere"),
    }
    path, place, folder = places[where]
    touch(path)
    found = find(crate_at(tmp_path / "a.crate", products=[product(NAMES[0], place)], folder=folder), Given())
    assert found.products == (str(path),)


def test_addresses_stay_addresses(tmp_path):
    made = crate_at(tmp_path / "a", products=[product(NAMES[0], "s3://eodata/a.zarr")])
    assert find(made, Given()).products == ("s3://eodata/a.zarr",)


def test_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CrateError, match="no such folder"):
        find(crate_at(tmp_path / "a"), Given([tmp_path / "lost"]))


def model(path: Path) -> dict[str, str]:
    return {"field": MODEL, "name": "model.onnx", "digest": digest_file(path), "place": "model.onnx"}


def test_models_are_found_by_field_by_name_or_where_they_lay(tmp_path):
    path = touch(tmp_path / "models" / "model.onnx", b"weights")
    made = crate_at(tmp_path / "a", files=[model(path)])
    assert find(made, Given(at={MODEL: path})).fields == {MODEL: path}
    assert find(made, Given([tmp_path / "models"])).fields == {MODEL: path}
    made = crate_at(tmp_path / "a", files=[model(path)], folder=str(tmp_path / "models"))
    assert find(made, Given()).fields == {MODEL: path}


def test_another_model_is_refused(tmp_path):
    made = crate_at(tmp_path / "a", files=[model(touch(tmp_path / "model.onnx", b"weights"))])
    other = touch(tmp_path / "other.onnx", b"others")
    with pytest.raises(CrateError, match="not the file that the run used") as caught:
        find(made, Given(at={MODEL: other}))
    assert f"--at {MODEL}=PATH" in str(caught.value.hint)
    with pytest.raises(CrateError, match="no file"):
        find(crate_at(tmp_path / "b" / "c", files=[model(other)]), Given())


def test_campaigns_that_a_graph_reads(tmp_path):
    field = "reductions.means.collections.farm"
    made = crate_at(tmp_path / "a", campaigns={field: "/nowhere/farm.yaml"})
    path = touch(tmp_path / "farm.yaml")
    assert find(made, Given(at={field: path})).fields == {field: path}
    with pytest.raises(CrateError, match="no campaign at"):
        find(made, Given())


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ([Product("a", "1", "", "", "", "")], ["product b is not used"]),
        ([Product(n, "1", "", "", "", "") for n in "abc"], ["product c is used, and was not"]),
        (
            [Product("a", "1", "", "", "", ""), Product("b", "2", "", "", "", "")],
            ["product b holds something else: digest 2, not 1"],
        ),
        ([Product(n, "1", "elsewhere", "", "", "") for n in "ab"], []),
    ],
)
def test_other_inputs_are_said(tmp_path, now, said):
    made = crate_at(tmp_path / "a", products=[product(name, "", "1") for name in "ab"])
    assert differences(made, now, {}) == said


def test_another_terrain_model_is_said(tmp_path):
    dem = {"field": "scenes.radar.dem", "name": "dem.tif", "digest": "1", "place": ""}
    made = crate_at(tmp_path / "a", files=[dem])
    assert differences(made, [], {"dem": "1"}) == []
    assert differences(made, [], {"dem": "2"}) == ["scenes.radar.dem is another file"]


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b'{"products": [{"id": 1}], "files": [], "campaigns": {}}', b"\xff"]
)
def test_inputs_of_another_form(tmp_path, content):
    made = crate.Crate(tmp_path / "a", "0", {crate.INPUTS: content, crate.RUN: b"{}"})
    with pytest.raises(CrateError, match=r"inputs\.json"):
        find(made, Given())


def loaded(*digests: str, products=()) -> list[Loaded]:
    return [Loaded("reductions.x", "load_url", "https://a.example/x.json", digest, products) for digest in digests]


def with_loaded(path: Path, value: object) -> crate.Crate:
    inputs = {"products": [], "files": [], "campaigns": {}, "loaded": value}
    return crate.Crate(path, "0", {crate.INPUTS: crate.as_json(inputs)})


def test_answers_of_servers_are_compared_in_any_order(tmp_path):
    made = with_loaded(tmp_path, [asdict(item) for item in loaded("a", "b")])
    assert of_servers(made, loaded("b", "a")) == []
    for other in (loaded("a"), loaded("a", "c"), []):
        assert of_servers(made, other) == ["reductions.x: load_url of https://a.example/x.json gives something else"]


def test_crates_of_before_do_not_say_what_was_loaded(tmp_path):
    assert of_servers(crate_at(tmp_path), loaded("a")) == []
    with pytest.raises(CrateError, match="does not fit this version"):
        of_servers(with_loaded(tmp_path, [{"field": "x"}]), [])
